#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "base/error.h"
#include "dispatch/header_list.h"

static void expect(struct header_list *l, struct header_list *more, const char *const *lines) {
    struct curl_slist *n = header_list_curl(l, more);
    for (; *lines != NULL; lines++, n = n->next) {
        assert_non_null(n);
        assert_string_equal(n->data, *lines);
    }
    assert_null(n);
}

static void init(struct header_list *l, struct header_list *none) {
    header_list_init(l);
    header_list_init(none);
}

static void release(struct header_list *l, struct header_list *none) {
    header_list_release(l);
    header_list_release(none);
}

static void lines_are_written_as_curl_reads_them(void **state) {
    (void)state;
    struct header_list l, none;
    init(&l, &none);
    header_list_add_text(&l, "A", "  1 ");
    header_list_add_text(&l, "Empty", " ");
    header_list_suppress(&l, "Expect");
    expect(&l, &none, (const char *const[]){"A: 1", "Empty;", "Expect:", NULL});
    header_list_clear(&l);
    expect(&l, &none, (const char *const[]){NULL});
    release(&l, &none);
}

static void lines_that_could_break_out_are_left_out(void **state) {
    (void)state;
    struct header_list l, none;
    init(&l, &none);
    header_list_add_text(&l, "A", "1\r\nEvil: 1");
    header_list_add_text(&l, "B\r\nEvil", "1");
    header_list_add_text(&l, "", "1");
    header_list_add_text(&l, "C D", "1");
    header_list_add(&l, "E", span_of("a\0b", 3));
    header_list_add_lines(
        &l, span_text("Good: 1\r\nno colon\n: no name\nBad\rName: 1\nX: a\rb\nLast: 2"), NULL);
    expect(&l, &none, (const char *const[]){"Good: 1", "Last: 2", NULL});
    release(&l, &none);
}

static void reserved_names_are_left_out(void **state) {
    (void)state;
    struct header_list l, destination;
    init(&l, &destination);
    header_list_add_lines(&destination, span_text("Authorization: s\nHost: evil\n"), NULL);
    header_list_add_lines(&l,
                          span_text("authorization: mine\nCONTENT-LENGTH: 1\nIdempotency-key: x\n"
                                    "Transfer-Encoding: chunked\nsluice-attempt: 9\nX-A: 1\n"),
                          &destination);
    expect(&l, &destination, (const char *const[]){"X-A: 1", "Authorization: s", NULL});
    assert_true(header_list_has(&l, span_text("x-a")));
    assert_false(header_list_has(&l, span_text("x-")));
    release(&l, &destination);
}

static void what_stands_there_already_is_left_out_however_long_its_name(void **state) {
    (void)state;
    struct header_list l, none;
    init(&l, &none);
    char line[300], longer[300];
    snprintf(line, sizeof line, "%0200d: 1", 7);
    snprintf(longer, sizeof longer, "%0201d: 1", 7);
    header_list_add_text(&l, "X-A", "mine");
    header_list_add_lines(&l, span_text("x-a: forged\nB: 1\nb: 2\n"), NULL);
    header_list_add_lines(&l, span_text(line), NULL);
    header_list_add_lines(&l, span_text(line), NULL);
    header_list_add_lines(&l, span_text(longer), NULL);
    expect(&l, &none, (const char *const[]){"X-A: mine", "B: 1", "b: 2", line, longer, NULL});
    release(&l, &none);
}

static void it_grows_and_has_a_limit(void **state) {
    (void)state;
    struct header_list l, none;
    init(&l, &none);
    char value[1025];
    memset(value, 'v', 1024);
    value[1024] = '\0';
    uint32_t count = 0;
    while (l.failed == 0 && count < 1000) {
        header_list_add_text(&l, "Name", value);
        count++;
    }
    assert_int_equal(l.failed, E_LIMIT);
    assert_in_range(count, 100, 130);
    uint32_t nodes = 0;
    for (struct curl_slist *n = header_list_curl(&l, &none); n != NULL; n = n->next) {
        nodes++;
    }
    assert_int_equal(nodes, count - 1);
    header_list_clear(&l);
    header_list_add_text(&l, "A", "1");
    expect(&l, &none, (const char *const[]){"A: 1", NULL});
    release(&l, &none);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_are_written_as_curl_reads_them),
        cmocka_unit_test(lines_that_could_break_out_are_left_out),
        cmocka_unit_test(reserved_names_are_left_out),
        cmocka_unit_test(what_stands_there_already_is_left_out_however_long_its_name),
        cmocka_unit_test(it_grows_and_has_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
