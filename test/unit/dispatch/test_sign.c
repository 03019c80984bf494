#include "dispatch/sign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#define KEY "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

static const char *line(struct header_list *l, const char *name) {
    struct header_list none;
    header_list_init(&none);
    for (struct curl_slist *n = header_list_curl(l, &none); n != NULL; n = n->next)
        if (strncmp(n->data, name, strlen(name)) == 0 && n->data[strlen(name)] == ':')
            return n->data + strlen(name) + 2;
    return NULL;
}

/* The example that the specification's reference libraries are tested with. */
static void the_published_example(void **state) {
    (void)state;
    struct header_list l;
    header_list_init(&l);
    sign_request(&l, KEY, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330,
                 span_text("{\"test\": 2432232314}"));
    assert_int_equal(l.failed, 0);
    assert_string_equal(line(&l, "webhook-id"), "msg_p5jXN8AQM9LWM0D4loKWxJek");
    assert_string_equal(line(&l, "webhook-timestamp"), "1614265330");
    assert_string_equal(line(&l, "webhook-signature"),
                        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    header_list_release(&l);
}

static void each_key_signs(void **state) {
    (void)state;
    struct header_list one, both;
    header_list_init(&one);
    header_list_init(&both);
    sign_request(&one, KEY, "id", 1, span_of(NULL, 0));
    sign_request(&both, KEY " whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "id", 1, span_of(NULL, 0));
    const char *first = line(&one, "webhook-signature"), *text = line(&both, "webhook-signature");
    assert_true(strncmp(text, first, strlen(first)) == 0 && text[strlen(first)] == ' ');
    assert_true(strncmp(text + strlen(first) + 1, "v1,", 3) == 0);
    assert_string_not_equal(text + strlen(first) + 1, first);
    header_list_release(&one);
    header_list_release(&both);
}

static void without_a_key_there_is_no_signature(void **state) {
    (void)state;
    struct header_list l;
    header_list_init(&l);
    sign_request(&l, "", "id", 1, span_text("x"));
    assert_int_equal(l.count, 0);
    header_list_release(&l);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_published_example),
        cmocka_unit_test(each_key_signs),
        cmocka_unit_test(without_a_key_there_is_no_signature),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
