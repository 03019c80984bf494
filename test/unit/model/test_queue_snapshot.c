/* What a snapshot of queues keeps, and that damage is found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include <stdlib.h>

#include "base/error.h"
#include "mail.h"

static void fill(void) {
    assert_int_equal(push_define_destination(&mail, "out", (struct pace_def){0}), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    def.retry.max_duration_ns = 1000 * NS_PER_SECOND;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    mail_queue("other");
    for (unsigned i = 0; i < 40; i++) {
        mail_put((struct letter){.queue = i % 3 ? "orders" : "other",
                                 .key = i % 5 ? "" : "key",
                                 .priority = (uint8_t)(i % 4),
                                 .ttl_ns = i % 7 ? 0 : 1000 + i,
                                 .schedule_ns = i % 6 ? 0 : mail.now_ns + 500 + i,
                                 .body = "body"});
    }
    struct attempt_start s;
    for (unsigned i = 0; i < 9; i++) {
        assert_true(push_start(&mail, &s));
        if (i % 3 != 2) {
            push_finish(&mail, &s, i % 2 ? 500 : 422, 0);
        }
    }
}

static void test_goes_on_as_before(void **state) {
    fill();
    struct queue_info before = mail_info("orders");
    uint64_t due_ns = model_next_due_ns(mail.model);
    uint64_t live = model_segment_live_bytes(mail.model, 0);
    world_reload(&mail);
    struct queue_info after = mail_info("orders");
    assert_memory_equal(&before, &after, offsetof(struct queue_info, paused));
    assert_int_equal(model_next_due_ns(mail.model), due_ns);
    assert_int_equal(model_segment_live_bytes(mail.model, 0), live);
    mail.now_ns += 2000;
    assert_true(world_run_timers(&mail) > 0);
}

/* With its checksums made good again, damage must still not be taken: the loader looks for itself. */
static void test_nonsense_is_refused_or_harmless(void **state) {
    fill();
    struct buffer chunk;
    buffer_init(&chunk, 64u << 20);
    assert_int_equal(modules[MODULE_QUEUE]->save(mail.model, &chunk, NULL, NULL), 0);
    for (size_t at = 0; at < chunk.size; at++) {
        struct model *fresh;
        struct model_limits limits = {0};
        assert_int_equal(model_create(&limits, (struct hash_key){1, 2}, &fresh), 0);
        struct reader section;
        reader_init(&section, span_of(chunk.data, at));
        int rc = modules[MODULE_QUEUE]->load(fresh, &section);
        assert_true(rc == E_CORRUPT || section.failed);
        model_free(fresh);
        uint8_t kept = chunk.data[at];
        chunk.data[at] ^= (uint8_t)(1u << at % 8);
        assert_int_equal(model_create(&limits, (struct hash_key){1, 2}, &fresh), 0);
        reader_init(&section, buffer_span(&chunk));
        rc = modules[MODULE_QUEUE]->load(fresh, &section); /* must not crash */
        model_free(fresh);
        chunk.data[at] = kept;
    }
    buffer_release(&chunk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goes_on_as_before, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_nonsense_is_refused_or_harmless, mail_setup,
                                        mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
