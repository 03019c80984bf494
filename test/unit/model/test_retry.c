/*
 * Waits by list, errors that are not tried again, and what a message says instead of its queue. The growing waits:
 * test_attempt.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "model/retry.h"
#include "push.h"

/* As many bytes as there may be. */
#define LONGEST "100, 101,102,103,104,105,106,107,108,109,110,111,112,113,114,115"

static char none[1], longest[] = LONGEST;

static const struct retry_def full = {.max_attempts = 1,
                                      .min_backoff_ns = 2,
                                      .max_backoff_ns = 3,
                                      .max_doublings = 4,
                                      .max_duration_ns = 5,
                                      .backoffs = {.count = 2, .ms = {6, 7}},
                                      .errors = 8,
                                      .statuses = longest};

static void an_override_says_what_it_says(void **state) {
    (void)state;
    for (unsigned members = 0; members < 1u << RETRY_MEMBERS; members++) {
        struct buffer bytes;
        buffer_init(&bytes, RETRY_OVERRIDE_MAX_BYTES);
        assert_int_equal(retry_override_encode(&full, (uint8_t)members, &bytes), 0);
        struct retry_def d = {.max_attempts = 100, .errors = 1, .statuses = none};
        assert_int_equal(retry_override_apply(buffer_span(&bytes), &d), 0);
        assert_int_equal(d.max_attempts, members & 1u << RETRY_MAX_ATTEMPTS ? 1 : 100);
        assert_int_equal(d.max_backoff_ns, members & 1u << RETRY_MAX_BACKOFF ? 3 : 0);
        assert_int_equal(d.max_duration_ns, members & 1u << RETRY_MAX_DURATION ? 5 : 0);
        assert_int_equal(d.backoffs.count, members & 1u << RETRY_BACKOFFS ? 2 : 0);
        assert_int_equal(d.errors, members & 1u << RETRY_ERRORS ? 8 : 1);
        assert_string_equal(d.statuses, members & 1u << RETRY_STATUSES ? LONGEST : "");
        for (size_t size = 1; size < bytes.size; size++) {
            struct retry_def same = d;
            assert_int_not_equal(retry_override_apply(span_of(bytes.data, size), &same), 0);
            assert_memory_equal(&same, &d, sizeof d);
        }
        buffer_release(&bytes);
    }
}

static void lists_are_exact(void **state) {
    (void)state;
    assert_int_equal(retry_backoff_ns(&full, 1), 6 * NS_PER_MS);
    assert_int_equal(retry_backoff_ns(&full, 2), 7 * NS_PER_MS);
    assert_int_equal(retry_backoff_ns(&full, 50), 7 * NS_PER_MS);
    assert_true(retry_is_exact(&full));
}

static void errors_are_chosen(void **state) {
    (void)state;
    struct retry_def d = {.errors = 1u << (ATTEMPT_TIMEOUT - ATTEMPT_CONNECT)};
    assert_true(retry_takes_error(&d, ATTEMPT_TIMEOUT) && retry_takes_error(&d, ATTEMPT_OK));
    assert_false(retry_takes_error(&d, ATTEMPT_CONNECT));
    assert_true(retry_takes_error(&d, ATTEMPT_UNKNOWN)); /* our own fault */
    assert_false(retry_takes_error(&d, ATTEMPT_BROKEN)); /* as it may have been done */
    d.errors = 1u << 6;
    assert_true(retry_takes_error(&d, ATTEMPT_BROKEN));
    assert_false(retry_takes_error(&d, ATTEMPT_CONNECT) ||
                 retry_takes_error(&d, ATTEMPT_ADDRESS_REFUSED));
    d.errors = 0x3f; /* what a definition of 0.1.0 says that was shown and sent back: all */
    assert_true(retry_takes_error(&d, ATTEMPT_BROKEN));
    d.errors = 0;
    assert_true(retry_takes_error(&d, ATTEMPT_CONNECT) && retry_takes_error(&d, ATTEMPT_BROKEN));
}

static void statuses_are_chosen(void **state) {
    (void)state;
    char own[] = "404,500-502";
    struct retry_def d = {.statuses = none};
    assert_true(retry_takes_status(&d, "503", 503));
    assert_false(retry_takes_status(&d, "503", 404));
    d.statuses = own;
    assert_false(retry_takes_status(&d, "503", 503));
    assert_true(retry_takes_status(&d, "503", 404) && retry_takes_status(&d, "503", 501));
}

/* How an attempt of a message ends that was answered so, when its queue says what comes again; the destination's list is the usual one. */
static enum message_state ends_as(const char *statuses, uint16_t status, bool retriable) {
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(0, 1));
    struct queue_def def = world_queue_def("q", "out");
    assert_int_equal(def_set_text(&def.retry.statuses, span_text(statuses)), 0);
    assert_int_equal(world_define(&w, &def), REFUSAL_NONE);
    uint64_t id = push_publish(&w, "q");
    struct attempt_start start;
    assert_true(push_start(&w, &start));
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){
        .message = id, .attempt = 1, .status = status, .retriable = retriable};
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    request_release(&r);
    enum message_state s = push_message(&w, id).state;
    world_check_replay(&w);
    world_reload(&w);
    world_release(&w);
    return s;
}

static void a_queue_has_its_own_statuses(void **state) {
    (void)state;
    assert_int_equal(ends_as("", 503, true), MESSAGE_DELAYED);
    assert_int_equal(ends_as("", 404, false), MESSAGE_DEAD);
    assert_int_equal(ends_as("404,429", 503, true), MESSAGE_DEAD);
    assert_int_equal(ends_as("404,429", 404, false), MESSAGE_DELAYED);
    assert_int_equal(ends_as("404,429", 401, true), MESSAGE_DELAYED); /* another token is there */
}

/* Its queue would try three times; what it says comes back with the end of each attempt. */
static void a_message_has_its_own_way(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(0, 1));
    struct retry_def three = {.max_attempts = 3, .min_backoff_ns = 1, .max_backoff_ns = 1};
    push_define_queue(&w, "q", "out", push_pace(0, 1), &three);
    struct buffer bytes;
    buffer_init(&bytes, RETRY_OVERRIDE_MAX_BYTES);
    struct retry_def own = {.max_attempts = 2, .backoffs = {.count = 1, .ms = {1000}}};
    assert_int_equal(
        retry_override_encode(&own, 1u << RETRY_MAX_ATTEMPTS | 1u << RETRY_BACKOFFS, &bytes), 0);
    uint64_t id = push_publish(&w, "q");
    for (uint32_t attempt = 1; attempt <= 2; attempt++) {
        struct attempt_start start;
        assert_true(push_start(&w, &start));
        struct request r;
        request_init(&r, REQUEST_ATTEMPT_FINISH);
        r.in.finish = (struct attempt_finish){.message = id,
                                              .attempt = attempt,
                                              .status = 503,
                                              .retriable = true,
                                              .retry = buffer_span(&bytes)};
        assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
        request_release(&r);
        if (attempt == 1) {
            assert_int_equal(push_message(&w, id).due_ns, w.now_ns + NS_PER_SECOND);
            w.now_ns += NS_PER_SECOND;
        }
    }
    assert_int_equal(push_message(&w, id).dead_reason, DEAD_EXHAUSTED);
    buffer_release(&bytes);
    world_check_replay(&w);
    world_reload(&w);
    world_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_override_says_what_it_says),
        cmocka_unit_test(lists_are_exact),
        cmocka_unit_test(errors_are_chosen),
        cmocka_unit_test(statuses_are_chosen),
        cmocka_unit_test(a_queue_has_its_own_statuses),
        cmocka_unit_test(a_message_has_its_own_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
