#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>

#include "api/json_scan.h"
#include "base/error.h"
#include "base/rng.h"

static struct json_pointer pointer_of(const char *text) {
    struct json_pointer p;
    assert_int_equal(json_pointer_parse(span_text(text), &p), 0);
    return p;
}

static void finds_what_the_pointer_says(void **state) {
    (void)state;
    static const struct {
        const char *text, *pointer, *raw;
        enum json_kind kind;
    } rows[] = {
        {"{\"member\":\"m1\"}", "/member", "\"m1\"", JSON_KIND_STRING},
        {" { \"a\" : { \"b\" : [ 1 , -20 , 3 ] } } ", "/a/b/1", "-20", JSON_KIND_INTEGER},
        {"{\"a\":{\"member\":1},\"member\":2}", "/member", "2", JSON_KIND_INTEGER},
        {"{\"a/b\":{\"m~n\":true}}", "/a~1b/m~0n", "true", JSON_KIND_BOOL},
        {"{\"\\u006dember\":1.5}", "/member", "1.5", JSON_KIND_REAL},
        {"{\"\":{\"\":null}}", "//", "null", JSON_KIND_NULL},
        {"[[],{\"x\":{}}]", "/1/x", "{}", JSON_KIND_OBJECT},
        {"{\"0\":[7]}", "/0/0", "7", JSON_KIND_INTEGER},
        {"[1,2]", "/01", "", JSON_KIND_NONE},
        {"{\"a\":1}", "/b", "", JSON_KIND_NONE},
        {"{\"a\":1}", "/a/b", "", JSON_KIND_NONE},
        {"3", "", "3", JSON_KIND_INTEGER},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        struct json_pointer p = pointer_of(rows[i].pointer);
        struct json_found found;
        struct json_fault fault;
        assert_int_equal(json_scan(span_text(rows[i].text), &p, &found, &fault), 0);
        assert_int_equal(found.kind, rows[i].kind);
        assert_true(span_is(found.raw, rows[i].raw));
    }
}

static void refuses_what_is_not_json(void **state) {
    (void)state;
    static const char *const bad[] = {"",
                                      " ",
                                      "{",
                                      "}",
                                      "[",
                                      "[1",
                                      "[1,]",
                                      "{\"a\"}",
                                      "{\"a\":}",
                                      "{\"a\":1,}",
                                      "{a:1}",
                                      "{1:2}",
                                      "\"",
                                      "\"\\x\"",
                                      "\"\\u12\"",
                                      "\"\\ud800\"",
                                      "\"\\ud800\\u0041\"",
                                      "\"\\udc00\"",
                                      "\"\t\"",
                                      "\"\x80\"",
                                      "\"\xc0\xaf\"",
                                      "\"\xed\xa0\x80\"",
                                      "\"\xf4\x90\x80\x80\"",
                                      "\"\xe2\x82\"",
                                      "01",
                                      "-",
                                      "1.",
                                      ".5",
                                      "1e",
                                      "1e+",
                                      "+1",
                                      "0x1",
                                      "tru",
                                      "truex",
                                      "nul",
                                      "NaN",
                                      "1 2",
                                      "[] []",
                                      "\xef\xbb\xbf{}",
                                      "'a'",
                                      "[1 2]",
                                      "{\"a\":1 \"b\":2}",
                                      "/**/1"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        struct json_fault fault;
        assert_int_equal(json_scan(span_text(bad[i]), NULL, NULL, &fault), E_INVALID);
        assert_true(fault.offset <= strlen(bad[i]));
        assert_non_null(fault.reason);
    }
}

static void depth_and_doubles(void **state) {
    (void)state;
    char deep[JSON_DEPTH_MAX * 2 + 4] = "";
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++) {
        strcat(deep, "[");
    }
    for (unsigned i = 0; i < JSON_DEPTH_MAX; i++) {
        strcat(deep, "]");
    }
    struct json_fault fault;
    assert_int_equal(json_scan(span_text(deep), NULL, NULL, &fault), 0);
    memmove(deep + 1, deep, strlen(deep) + 1);
    assert_int_equal(json_scan(span_text(deep), NULL, NULL, &fault), E_LIMIT);

    /* Two of the same on the way: which one counts? Elsewhere it does not matter. */
    struct json_pointer p = pointer_of("/member");
    struct json_found found;
    static const char twice[] = "{\"member\":1,\"m\\u0065mber\":2}";
    assert_int_equal(json_scan(span_text(twice), &p, &found, &fault), E_INVALID);
    assert_int_equal(json_scan(span_text("{\"a\":1,\"a\":2,\"member\":3}"), &p, &found, &fault), 0);
}

static void strings_are_decoded(void **state) {
    (void)state;
    uint8_t out[64];
    struct span plain;
    struct span raw = span_text("\"a\\n\\\"\\/\\u00e9\\ud83d\\ude00z\"");
    size_t size = json_string_decode(raw, out, &plain);
    assert_null(plain.data);
    assert_true(span_is(span_of(out, size), "a\n\"/\xc3\xa9\xf0\x9f\x98\x80z"));
    assert_int_equal(json_string_decode(span_text("\"abc\""), out, &plain), 3);
    assert_true(span_is(plain, "abc"));
}

static void pointers(void **state) {
    (void)state;
    struct json_pointer p;
    static const char *const bad[] = {"a", "/a~", "/a~2", "~"};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        assert_int_equal(json_pointer_parse(span_text(bad[i]), &p), E_INVALID);
    }
    assert_int_equal(json_pointer_parse(span_text("/1/2/3/4/5/6/7/8/9"), &p), E_LIMIT);
    assert_int_equal(json_pointer_parse(span_text(""), &p), 0);
    assert_int_equal(p.count, 0);
}

/* ---- random texts: jansson is the judge ---- */

static size_t random_text(struct rng *r, char *out, size_t size) {
    static const char *const pieces[] = {"{",          "}",
                                         "[",          "]",
                                         ",",          ":",
                                         "\"",         "\"a\"",
                                         "\"member\"", "\\",
                                         "\\u00",      "1",
                                         "-",          "0",
                                         ".5",         "e3",
                                         "true",       "null",
                                         " ",          "\n",
                                         "\xc3\xa9",   "\x80",
                                         "\"\\n\"",    "{\"member\":",
                                         "[1,2]",      "\\ud83d\\ude00"};
    size_t used = 0;
    out[0] = '\0';
    for (uint64_t n = 1 + rng_below(r, 9); n > 0; n--) {
        const char *piece = pieces[rng_below(r, ARRAY_LENGTH(pieces))];
        if (used + strlen(piece) + 1 > size) {
            break;
        }
        strcpy(out + used, piece);
        used += strlen(piece);
    }
    return used;
}

/* A good text, damaged at one byte. */
static size_t damaged_text(struct rng *r, char *out, size_t size) {
    static const char *const good[] = {
        "{\"member\":\"m-1\",\"answers\":[1,2.5,-3e2,true,false,null],\"x\":{\"y\":\"\\u00e9\"}}",
        "[\"a\",{\"member\":17},\"\xe2\x82\xac\",[[[]]]]", "{\"member\":{\"member\":\"z\"}}"};
    const char *text = good[rng_below(r, ARRAY_LENGTH(good))];
    size_t length = strlen(text);
    assert_true(length < size);
    memcpy(out, text, length);
    if (rng_below(r, 4) != 0) {
        out[rng_below(r, length)] = (char)rng_below(r, 256);
    }
    return length;
}

static void agrees_with_jansson(void **state) {
    (void)state;
    struct rng r;
    rng_init(&r, 77);
    struct json_pointer p = pointer_of("/member");
    int accepted = 0;
    for (int i = 0; i < 200000; i++) {
        char text[256];
        size_t size = rng_below(&r, 2) == 0 ? random_text(&r, text, sizeof text)
                                            : damaged_text(&r, text, sizeof text);
        json_error_t error;
        struct json_found found;
        struct json_fault fault;
        json_t *tree = json_loadb(text, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
        int mine = json_scan(span_of(text, size), &p, &found, &fault);
        enum json_error_code code = tree == NULL ? json_error_code(&error) : json_error_unknown;
        bool twice = mine != 0 && strstr(fault.reason, "twice") != NULL;
        if (memchr(text, '\0', size) != NULL) {
            /* jansson overlooks a NUL behind a number. A NUL is in no JSON text. */
            assert_int_equal(mine, E_INVALID);
            json_decref(tree);
            continue;
        }
        if (code != json_error_numeric_overflow && code != json_error_null_byte_in_key && !twice) {
            if ((mine == 0) != (tree != NULL)) {
                fail_msg("%.*s: %s", (int)size, text, mine != 0 ? fault.reason : error.text);
            }
        }
        if (tree != NULL && mine == 0) {
            const json_t *value = json_object_get(tree, "member");
            accepted++;
            assert_int_equal(value != NULL, found.kind != JSON_KIND_NONE);
            json_t *same = value == NULL ? NULL
                                         : json_loadb((const char *)found.raw.data, found.raw.size,
                                                      JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            assert_true(value == NULL || json_equal(value, same));
            json_decref(same);
        }
        json_decref(tree);
    }
    assert_true(accepted > 10000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_the_pointer_says),
        cmocka_unit_test(refuses_what_is_not_json),
        cmocka_unit_test(depth_and_doubles),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(pointers),
        cmocka_unit_test(agrees_with_jansson),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
