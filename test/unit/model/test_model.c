/* The model as a whole: keys of idempotency, limits by default, timers, memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static enum refusal publish_keyed(const char *key, uint64_t fingerprint, struct request *r) {
    request_init(r, REQUEST_QUEUE_PUBLISH);
    r->idempotency = (struct idempotency){span_text(key), 1, fingerprint};
    r->in.publish.queue = span_text("orders");
    r->in.publish.envelope.body = span_text("x");
    enum refusal refusal = world_ask(&mail, r);
    request_release(r);
    return refusal;
}

static void test_same_key_same_answer(void **state) {
    mail_queue("orders");
    struct request first, again;
    assert_int_equal(publish_keyed("k", 7, &first), REFUSAL_NONE);
    assert_false(first.replayed);
    world_reload(&mail);
    mail.now_ns += 5;
    assert_int_equal(publish_keyed("k", 7, &again), REFUSAL_NONE);
    assert_true(again.replayed && again.receipt.id == first.receipt.id);
    assert_int_equal(again.receipt.accepted_ns, first.receipt.accepted_ns);
    assert_int_equal(mail_info("orders").published, 1);
    assert_int_equal(publish_keyed("k", 8, &again), REFUSAL_KEY_REUSED);
    assert_int_equal(publish_keyed("another", 7, &again), REFUSAL_NONE);
    assert_int_equal(mail_info("orders").published, 2);
}

/* What was refused is not stored: it may succeed later. */
static void test_refused_is_not_stored(void **state) {
    struct request r;
    assert_int_equal(publish_keyed("k", 7, &r), REFUSAL_NOT_FOUND);
    mail_queue("orders");
    assert_int_equal(publish_keyed("k", 7, &r), REFUSAL_NONE);
    assert_false(r.replayed);
}

static void test_key_limits(void **state) {
    world_release(&mail);
    struct model_limits limits = {.dedup_keys = 1};
    world_init(&mail, &limits);
    mail_queue("orders");
    struct request r;
    assert_int_equal(publish_keyed("a", 7, &r), REFUSAL_NONE);
    assert_int_equal(publish_keyed("b", 7, &r), REFUSAL_LIMIT);
    assert_int_equal(publish_keyed("a", 7, &r), REFUSAL_NONE);
    char key[KEY_MAX_BYTES + 2];
    memset(key, 'k', sizeof key);
    key[KEY_MAX_BYTES + 1] = '\0';
    assert_int_equal(publish_keyed(key, 7, &r), REFUSAL_INVALID);
}

/* On refusal the facts that were there before stay, and no others. */
static void test_refusal_leaves_no_facts(void **state) {
    mail_queue("orders");
    struct decision d = world_begin(&mail);
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text("orders");
    assert_int_equal(model_decide(mail.model, &d, &r), REFUSAL_NONE);
    size_t size = mail.facts.size;
    assert_true(size > 0 && d.fact_count == 1 && d.operation == 1);
    r.in.publish.queue = span_text("nowhere");
    assert_int_equal(model_decide(mail.model, &d, &r), REFUSAL_NOT_FOUND);
    assert_int_equal(r.refusal, REFUSAL_NOT_FOUND);
    assert_true(mail.facts.size == size && d.fact_count == 1 && d.operation == 1);
    request_release(&r);
    world_commit(&mail, &d);
}

static void test_no_timer_no_decision(void **state) {
    struct decision d = world_begin(&mail);
    assert_false(model_decide_timer(mail.model, &d));
    assert_true(model_next_due_ns(mail.model) == UINT64_MAX);
    assert_true(model_next_start_ns(mail.model, mail.now_ns) == UINT64_MAX);
    assert_false(model_decide_recovery(mail.model, &d));
    assert_int_equal(mail.facts.size, 0);
}

static void test_memory_is_counted(void **state) {
    mail_queue("orders");
    mail_put((struct letter){.queue = "orders"});
    uint64_t before = model_memory_bytes(mail.model);
    for (unsigned i = 0; i < 20000; i++) {
        mail_put((struct letter){.queue = "orders"});
    }
    uint64_t bytes = model_memory_bytes(mail.model) - before;
    assert_true(bytes >= 20000 * 64 - (512u << 10) && bytes <= 20000 * 96 + (512u << 10));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_same_key_same_answer, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_refused_is_not_stored, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_key_limits, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_refusal_leaves_no_facts, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_no_timer_no_decision, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_memory_is_counted, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
