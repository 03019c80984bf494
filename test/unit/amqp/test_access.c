#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "amqp/access.h"

static struct amqp_access *make(struct list *all, const char *configure, const char *write,
                                const char *read) {
    struct amqp_access *a;
    list_init(all);
    assert_int_equal(amqp_access_create(all, span_text("ann"), span_text("/"), &a), 0);
    amqp_access_set(a, (struct span[]){span_text(configure), span_text(write), span_text(read)});
    return a;
}

static bool allows(struct amqp_access *a, enum amqp_right right, const char *name) {
    return amqp_access_allows(a, right, span_text(name));
}

static void patterns_match_as_they_do_elsewhere(void **state) {
    (void)state;
    struct list all;
    struct amqp_access *a = make(&all, "^shop\\.", "mail", "");
    assert_true(allows(a, AMQP_CONFIGURE, "shop.orders"));
    assert_false(allows(a, AMQP_CONFIGURE, "shopxorders"));
    assert_false(allows(a, AMQP_CONFIGURE, "my.shop.orders"));
    assert_true(allows(a, AMQP_WRITE, "all mail of today"));
    assert_false(allows(a, AMQP_WRITE, "orders"));
    assert_true(allows(a, AMQP_WRITE, "mail"));
    assert_true(allows(a, AMQP_WRITE, "mail")); /* remembered */
    assert_false(allows(a, AMQP_WRITE, "fail"));
    assert_false(allows(a, AMQP_READ, "orders"));
    assert_false(allows(a, AMQP_READ, ""));
    amqp_access_unref(a);
    assert_true(list_empty(&all));
}

static void a_change_forgets_what_was_remembered(void **state) {
    (void)state;
    struct list all;
    struct amqp_access *a = make(&all, ".*", "^a", ".*");
    assert_true(allows(a, AMQP_WRITE, "a1"));
    assert_true(allows(a, AMQP_WRITE, "a1"));
    assert_true(allows(a, AMQP_CONFIGURE, "anything"));
    amqp_access_set(a, (struct span[]){span_text(""), span_text("^b"), span_text("(")});
    assert_false(allows(a, AMQP_WRITE, "a1"));
    assert_false(allows(a, AMQP_CONFIGURE, "anything"));
    assert_false(allows(a, AMQP_READ, "(")); /* does not compile */
    amqp_access_unref(a);
}

static void connections_share(void **state) {
    (void)state;
    struct list all;
    struct amqp_access *a = make(&all, ".*", ".*", ".*");
    assert_ptr_equal(amqp_access_find(&all, span_text("ann"), span_text("/")), a);
    assert_null(amqp_access_find(&all, span_text("ann"), span_text("other")));
    assert_null(amqp_access_find(&all, span_text("bob"), span_text("/")));
    amqp_access_unref(a);
    assert_false(list_empty(&all));
    amqp_access_unref(a);
}

static bool check(struct amqp_access *a, struct amqp_op *op) {
    bool good = amqp_access_check(a, op);
    assert_int_equal(op->code, good ? 0 : AMQP_ACCESS_REFUSED);
    free(op->text);
    *op = (struct amqp_op){0};
    return good;
}

static void a_queue_with_a_dead_letter_exchange_needs_the_right_to_write_there(void **state) {
    (void)state;
    static const uint8_t dead[] = "\x16x-dead-letter-exchangeS\0\0\0\4dead";
    struct list all;
    struct amqp_access *a = make(&all, "^q", "^q", "^q");
    struct amqp_op op = {.kind = AMQP_OP_METHOD, .method.id = AMQP_QUEUE_DECLARE};
    op.method.as.queue_declare.queue = span_text("q1");
    assert_true(check(a, &op));
    op = (struct amqp_op){.kind = AMQP_OP_METHOD, .method.id = AMQP_QUEUE_DECLARE};
    op.method.as.queue_declare.queue = span_text("q1");
    op.method.as.queue_declare.arguments = span_of(dead, sizeof dead - 1);
    assert_false(check(a, &op));
    op = (struct amqp_op){.kind = AMQP_OP_METHOD, .method.id = AMQP_QUEUE_DECLARE};
    op.method.as.queue_declare.queue = span_text("other");
    op.method.as.queue_declare.passive = true;
    assert_true(check(a, &op));
    op = (struct amqp_op){.kind = AMQP_OP_PUBLISH}; /* the default exchange has a name here */
    assert_false(check(a, &op));
    amqp_access_set(a, (struct span[]){span_text(""), span_text("^amq\\.default$"), span_text("")});
    op = (struct amqp_op){.kind = AMQP_OP_PUBLISH};
    assert_true(check(a, &op));
    amqp_access_unref(a);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(patterns_match_as_they_do_elsewhere),
        cmocka_unit_test(a_change_forgets_what_was_remembered),
        cmocka_unit_test(connections_share),
        cmocka_unit_test(a_queue_with_a_dead_letter_exchange_needs_the_right_to_write_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
