#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "model/destination_state.h"

#define KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static const char *pointer_of(size_t count, const size_t *offsets, const char *const *values) {
    static const char *pointer;
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("out")), 0);
    assert_int_equal(def_set_text(&def.url, span_text("https://provider.example/v1")), 0);
    for (size_t i = 0; i < count; i++) {
        char **field = (char **)(void *)((char *)&def + offsets[i]);
        assert_int_equal(def_set_text(field, span_text(values[i])), 0);
    }
    const char *problem = destination_def_problem(&def, &pointer);
    destination_def_release(&def);
    return problem == NULL ? NULL : pointer;
}

#define AT(field)           offsetof(struct destination_def, field)
#define ONE(field, text)    pointer_of(1, (size_t[]){AT(field)}, (const char *const[]){text})
#define TWO(f1, t1, f2, t2) pointer_of(2, (size_t[]){AT(f1), AT(f2)}, (const char *const[]){t1, t2})

static void templates(void **state) {
    (void)state;
    assert_null(ONE(url, "https://h/{orderingKey}?x={body:/id}"));
    assert_string_equal(ONE(url, "https://{header.Host}/"), "/url");
    assert_string_equal(ONE(url, "https://h/{nothing}"), "/url");
    assert_null(ONE(headers, "X-Order: {header.Order}\n"));
    assert_string_equal(ONE(headers, "X-Order: {order}\n"), "/headers");
    assert_null(ONE(method, "{header.Method}"));
    assert_string_equal(ONE(method, "{verb}"), "/method");
    assert_string_equal(ONE(making.event_source, "{"), "/cloudEvents");
}

static void signing_keys(void **state) {
    (void)state;
    assert_null(ONE(making.signing_keys, KEY));
    assert_null(ONE(making.signing_keys, KEY " " KEY));
    assert_string_equal(ONE(making.signing_keys, "secret"), "/signing");
    assert_string_equal(ONE(making.signing_keys, "whsec_c2hvcnQ="), "/signing");
    assert_string_equal(ONE(making.signing_keys, KEY "  " KEY), "/signing");
}

static void one_way_to_say_who_we_are(void **state) {
    (void)state;
    assert_null(ONE(making.bearer, "t"));
    assert_null(TWO(making.user, "u", making.password, "p:q"));
    assert_string_equal(TWO(making.user, "u", making.bearer, "t"), "/authorization");
    assert_string_equal(ONE(making.user, "u:v"), "/authorization");
    assert_string_equal(ONE(making.bearer, "a\nb"), "/authorization");
    assert_string_equal(ONE(making.token_url, "https://login.example/token"), "/authorization");
    size_t fields[] = {AT(making.token_url), AT(making.client_id), AT(making.client_secret)};
    const char *good[] = {"https://login.example/token", "id", "secret"};
    assert_null(pointer_of(3, fields, good));
    const char *bad[] = {"ftp://login.example/token", "id", "secret"};
    assert_string_equal(pointer_of(3, fields, bad), "/authorization");
}

static void files_and_proxy(void **state) {
    (void)state;
    assert_null(TWO(making.client_certificate, "/c.pem", making.client_key, "/k.pem"));
    assert_string_equal(ONE(making.client_certificate, "/c.pem"), "/tls");
    assert_string_equal(ONE(making.client_key, "/k.pem"), "/tls");
    assert_null(ONE(making.proxy, "http://proxy:3128"));
    assert_string_equal(ONE(making.proxy, "socks5://proxy"), "/proxy");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates),
        cmocka_unit_test(signing_keys),
        cmocka_unit_test(one_way_to_say_who_we_are),
        cmocka_unit_test(files_and_proxy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
