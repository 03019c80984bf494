/*
 * Confirmations: told in time, before the attempt has ended, late, twice, by the wrong caller, never; what counts for the
 * concurrency; and random ends, confirmations, deadlines and restarts against a twin of states. SEED=n runs one seed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mail.h"
#include "model/module.h"
#include "model/state.h"
#include "seeds.h"

#define DEADLINE_NS (60 * NS_PER_SECOND)
#define SECRET      "a secret of sixteen bytes"

struct wish {
    enum confirm_deadline at_deadline;
    bool holds_place;
};

static void with_confirmation(struct destination_def *def, void *context) {
    const struct wish *w = context;
    assert_int_equal(def_set_text(&def->confirm.statuses, span_text("202")), 0);
    assert_int_equal(def_set_text(&def->confirm.secret, span_text(SECRET)), 0);
    def->confirm.deadline_ns = DEADLINE_NS;
    def->confirm.at_deadline = w->at_deadline;
    def->confirm.holds_place = w->holds_place;
}

static void begin(struct wish wish) {
    struct pace_def pace = push_pace(0, 1);
    pace.concurrency = 2;
    assert_int_equal(push_define_more(&mail, "out", pace, with_confirmation, &wish), REFUSAL_NONE);
    mail_queue("told");
    mail_queue("undo");
    struct queue_def def = mail_def("q", "out");
    def.retry.max_attempts = 2;
    def.retry.min_backoff_ns = NS_PER_SECOND;
    assert_int_equal(def_set_text(&def.on_success.queue, span_text("told")), 0);
    assert_int_equal(def_set_text(&def.on_failure.queue, span_text("undo")), 0);
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
}

static enum refusal tell(uint64_t id, enum confirm_outcome outcome, const char *signature) {
    struct request r;
    request_init(&r, REQUEST_CONFIRM);
    r.id = id;
    r.in.confirm = (struct confirm){.outcome = outcome,
                                    .note = span_text("booked as 17"),
                                    .signature = span_text(signature != NULL ? signature : "")};
    enum refusal refusal = world_ask(&mail, &r);
    request_release(&r);
    return refusal;
}

/* One message, sent and answered. */
static uint64_t sent(const char *key, uint16_t status) {
    struct attempt_start start;
    uint64_t id = mail_put((struct letter){.queue = "q", .key = key});
    assert_true(push_start(&mail, &start));
    assert_int_equal(start.message, id);
    push_finish(&mail, &start, status, 0);
    return id;
}

static void it_waits_until_it_is_told(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    uint64_t id = sent("k", 202);
    uint64_t behind = mail_put((struct letter){.queue = "q", .key = "k"});
    struct attempt_start start;
    assert_false(push_start(&mail, &start)); /* its ordering key waits with it */
    assert_int_equal(mail_receipt(id).state, MESSAGE_CONFIRMING);
    assert_int_equal(mail_receipt(id).due_ns, mail.now_ns + DEADLINE_NS);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", id), REFUSAL_CONFLICT);
    world_reload(&mail);
    assert_int_equal(mail_info("told").ready, 0);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
    assert_int_equal(mail_receipt(id).state, MESSAGE_DONE);
    assert_int_equal(mail_receipt(id).confirmed, CONFIRM_SUCCEEDED);
    assert_int_equal(mail_info("told").ready, 1);
    assert_true(push_start(&mail, &start));
    assert_int_equal(start.message, behind);
    /* Told once. */
    world_reload(&mail);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
    assert_int_equal(tell(id, CONFIRM_FAILED, NULL), REFUSAL_CONFLICT);
    assert_int_equal(mail_info("told").ready, 1);
    assert_int_equal(tell(id + 99999, CONFIRM_FAILED, NULL), REFUSAL_NOT_FOUND);
}

static void a_failure_is_a_dead_letter(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    uint64_t id = sent(NULL, 202);
    assert_int_equal(tell(id, CONFIRM_FAILED, NULL), REFUSAL_NONE);
    assert_int_equal(mail_get(id).state, MESSAGE_DEAD);
    assert_int_equal(mail_get(id).dead_reason, DEAD_REFUSED);
    assert_int_equal(mail_info("undo").ready, 1);
    assert_int_equal(tell(id, CONFIRM_FAILED, NULL), REFUSAL_NONE);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_CONFLICT);
    assert_int_equal(mail_info("undo").ready, 1);
}

static void again_is_a_retry_like_others(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    struct attempt_start start;
    uint64_t id = sent(NULL, 202);
    assert_int_equal(tell(id, CONFIRM_RETRY, NULL), REFUSAL_NONE);
    assert_int_equal(mail_get(id).state, MESSAGE_DELAYED);
    mail.now_ns += 3600 * NS_PER_SECOND;
    world_run_timers(&mail);
    assert_true(push_start(&mail, &start));
    assert_int_equal(start.attempt, 2);
    push_finish(&mail, &start, 202, 0);
    assert_int_equal(tell(id, CONFIRM_RETRY, NULL), REFUSAL_NONE);
    assert_int_equal(mail_get(id).dead_reason, DEAD_EXHAUSTED);
    assert_int_equal(mail_info("undo").ready, 1);
}

static void the_deadline_ends_it(void **state) {
    (void)state;
    begin((struct wish){.at_deadline = CONFIRM_DEADLINE_DEAD});
    uint64_t id = sent(NULL, 202);
    mail.now_ns += DEADLINE_NS - 1;
    assert_int_equal(world_run_timers(&mail), 0);
    world_reload(&mail);
    mail.now_ns++;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(id).dead_reason, DEAD_UNCONFIRMED);
    assert_int_equal(mail_info("undo").ready, 1);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_CONFLICT);
}

static void the_deadline_may_mean_again(void **state) {
    (void)state;
    begin((struct wish){.at_deadline = CONFIRM_DEADLINE_RETRY});
    uint64_t id = sent(NULL, 202);
    mail.now_ns += DEADLINE_NS;
    world_run_timers(&mail);
    assert_true(mail_get(id).state == MESSAGE_DELAYED || mail_get(id).state == MESSAGE_READY);
    /* What is told now is no less true. */
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
    assert_int_equal(mail_receipt(id).state, MESSAGE_DONE);
    assert_int_equal(mail_info("told").ready, 1);
}

/* However the attempt ends: 202, an error, or by the end of the program. */
static void what_is_told_early_is_kept(void **state) {
    (void)state;
    static const uint16_t ends[] = {202, 500, 0, 1};
    begin((struct wish){.holds_place = false});
    struct attempt_start start;
    for (size_t i = 0; i < ARRAY_LENGTH(ends); i++) {
        uint64_t id = mail_put((struct letter){.queue = "q"});
        assert_true(push_start(&mail, &start));
        assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
        assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
        assert_int_equal(tell(id, CONFIRM_FAILED, NULL), REFUSAL_CONFLICT);
        assert_int_equal(mail_get(id).state, MESSAGE_IN_FLIGHT);
        world_reload(&mail);
        if (ends[i] == 1) {
            assert_int_equal(push_recover(&mail), 1);
        } else {
            push_finish(&mail, &start, ends[i], 0);
        }
        assert_int_equal(mail_receipt(id).state, MESSAGE_DONE);
        assert_int_equal(mail_receipt(id).confirmed, CONFIRM_SUCCEEDED);
        assert_int_equal(mail_info("told").ready, i + 1);
    }
}

static void it_may_hold_its_place(void **state) {
    (void)state;
    for (int holds = 0; holds < 2; holds++) {
        world_release(&mail);
        world_init(&mail, NULL);
        begin((struct wish){.holds_place = holds == 1});
        struct attempt_start start;
        uint64_t first = sent(NULL, 202);
        sent(NULL, 202);
        mail_put((struct letter){.queue = "q"});
        world_reload(&mail);
        assert_int_equal(push_start(&mail, &start), holds == 0);
        if (holds == 1) {
            assert_int_equal(tell(first, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
            assert_true(push_start(&mail, &start));
        }
    }
}

/* Half of the places are for what is really under way, and what is held stands there as well. */
static void held_places_are_none_to_decide_ahead_in(void **state) {
    (void)state;
    struct attempt_start start;
    struct pace_def pace = push_pace(100, 0);
    struct wish wish = {.holds_place = true};
    pace.concurrency = 4;
    begin(wish);
    assert_int_equal(push_define_more(&mail, "out", pace, with_confirmation, &wish), REFUSAL_NONE);
    uint64_t first = sent(NULL, 202);
    mail_put((struct letter){.queue = "q"});
    assert_true(
        push_start_ahead(&mail, &start)); /* one of four is held: the next turn is decided */
    assert_int_equal(start.ahead_ns, 10 * NS_PER_MS);
    mail.now_ns += 10 * NS_PER_MS;
    push_finish(&mail, &start, 202, 0);
    mail_put((struct letter){.queue = "q"});
    assert_false(push_start_ahead(&mail, &start)); /* two of four */
    assert_int_equal(tell(first, CONFIRM_SUCCEEDED, NULL), REFUSAL_NONE);
    assert_true(push_start_ahead(&mail, &start));
}

static void a_signature_is_of_one_message(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    char mine[CONFIRM_SIGNATURE_BYTES + 1], other[CONFIRM_SIGNATURE_BYTES + 1];
    uint64_t id = sent(NULL, 202);
    confirm_sign(SECRET, id, mine);
    confirm_sign(SECRET, id + 1, other);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, other), REFUSAL_NOT_FOUND);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, "x"), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_get(id).state, MESSAGE_CONFIRMING);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, mine), REFUSAL_NONE);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, mine), REFUSAL_NONE);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, other), REFUSAL_NOT_FOUND);
}

static void what_was_not_sent_cannot_be_confirmed(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    uint64_t id = mail_put((struct letter){.queue = "q"});
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_CONFLICT);
}

static void a_plain_success_needs_none(void **state) {
    (void)state;
    begin((struct wish){.holds_place = false});
    uint64_t id = sent(NULL, 200);
    assert_int_equal(mail_receipt(id).state, MESSAGE_DONE);
    assert_int_equal(tell(id, CONFIRM_SUCCEEDED, NULL), REFUSAL_CONFLICT);
}

/* ---- random ---- */

#define MESSAGES 40u
#define STEPS    800u
#define SEEDS    30u

static void step(uint64_t *ids, unsigned *count, struct attempt_start *starts, unsigned *started) {
    uint64_t what = rng_below(&mail.rng, 12);
    if (what < 3 && *count < MESSAGES) {
        ids[(*count)++] = mail_put((struct letter){.queue = "q", .key = what == 0 ? "k" : NULL});
    } else if (what < 6 && *started < 2) {
        *started += push_start(&mail, &starts[*started]);
    } else if (what < 8 && *started > 0) {
        static const uint16_t statuses[] = {202, 202, 202, 200, 500, 422, 0};
        push_finish(&mail, &starts[--*started],
                    statuses[rng_below(&mail.rng, ARRAY_LENGTH(statuses))], 0);
    } else if (what < 11 && *count > 0) {
        uint64_t id = ids[rng_below(&mail.rng, *count)];
        enum confirm_outcome outcome = (enum confirm_outcome)(1 + rng_below(&mail.rng, 3));
        struct receipt_info before = mail_receipt(id);
        uint64_t told = mail_info("told").ready, undone = mail_info("undo").ready;
        enum refusal refusal = tell(id, outcome, NULL);
        struct receipt_info after = mail_receipt(id);
        if (before.state == MESSAGE_CONFIRMING) {
            bool dead = after.state == MESSAGE_DEAD;
            assert_int_equal(refusal, REFUSAL_NONE);
            assert_int_equal(after.state == MESSAGE_DONE, outcome == CONFIRM_SUCCEEDED);
            assert_int_equal(mail_info("told").ready - told, outcome == CONFIRM_SUCCEEDED);
            assert_int_equal(mail_info("undo").ready - undone, dead);
        } else if (before.state == MESSAGE_DONE || before.state == MESSAGE_DEAD) {
            assert_int_equal(after.state, before.state); /* what has ended stays so */
            assert_int_equal(mail_info("told").ready, told);
        }
    } else {
        mail.now_ns += rng_below(&mail.rng, DEADLINE_NS);
        world_run_timers(&mail);
    }
}

static void nothing_ends_twice(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(SEEDS);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        world_release(&mail);
        world_init(&mail, NULL);
        rng_init(&mail.rng, seed);
        begin((struct wish){.at_deadline = (enum confirm_deadline)(seed % 2),
                            .holds_place = seed % 4 > 1});
        uint64_t ids[MESSAGES];
        struct attempt_start starts[2];
        unsigned count = 0, started = 0;
        for (unsigned i = 0; i < STEPS; i++) {
            step(ids, &count, starts, &started);
            if (rng_below(&mail.rng, 60) == 0) {
                model_check(mail.model);
                world_reload(&mail);
            }
        }
        model_check(mail.model);
        world_check_replay(&mail);
        /* Each end was told once. */
        uint64_t ends = 0;
        for (unsigned i = 0; i < count; i++) {
            enum message_state s = mail_receipt(ids[i]).state;
            ends += s == MESSAGE_DONE || s == MESSAGE_DEAD;
        }
        assert_int_equal(mail_info("told").ready + mail_info("undo").ready, ends);
    }
}

static int keep_all(void *sink, struct buffer *chunk) {
    return buffer_append_span(sink, buffer_span(chunk));
}

static void save(enum module_id id, struct buffer *out) {
    struct buffer chunk;
    buffer_init(&chunk, 1u << 20);
    buffer_init(out, 1u << 20);
    assert_int_equal(modules[id]->save(mail.model, &chunk, keep_all, out), 0);
    assert_int_equal(buffer_append_span(out, buffer_span(&chunk)), 0);
    buffer_release(&chunk);
}

static int load(struct model *m, enum module_id id, struct span section) {
    struct reader in;
    reader_init(&in, section);
    m->section_version = modules[id]->section_version;
    return modules[id]->load(m, &in);
}

/* Nothing could end it: a snapshot that says so is refused. */
static void what_waits_was_sent_somewhere(void **state) {
    (void)state;
    struct buffer before, after, queues;
    begin((struct wish){.holds_place = false});
    save(MODULE_DESTINATION, &before);
    sent("k", 202);
    save(MODULE_DESTINATION, &after);
    save(MODULE_QUEUE, &queues);
    for (unsigned i = 0; i < 2; i++) {
        struct model *m;
        assert_int_equal(model_create(&(struct model_limits){0}, (struct hash_key){1, 2}, &m), 0);
        assert_int_equal(load(m, MODULE_QUEUE, buffer_span(&queues)), 0);
        assert_int_equal(load(m, MODULE_DESTINATION, buffer_span(i == 0 ? &before : &after)), 0);
        assert_int_equal(destination_knows_confirming(m), i == 1);
        model_free(m);
    }
    buffer_release(&before);
    buffer_release(&after);
    buffer_release(&queues);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, mail_setup, mail_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(it_waits_until_it_is_told),     TEST(a_failure_is_a_dead_letter),
        TEST(again_is_a_retry_like_others),  TEST(the_deadline_ends_it),
        TEST(the_deadline_may_mean_again),   TEST(what_is_told_early_is_kept),
        TEST(it_may_hold_its_place),         TEST(held_places_are_none_to_decide_ahead_in),
        TEST(a_signature_is_of_one_message), TEST(what_was_not_sent_cannot_be_confirmed),
        TEST(a_plain_success_needs_none),    TEST(nothing_ends_twice),
        TEST(what_waits_was_sent_somewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
