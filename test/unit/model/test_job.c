/* Jobs: what they touch, how fast, how they end, and that nothing is done twice. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "model/audit.h"
#include "worker.h"

/* A queue with so many dead letters. */
static void dead_letters(const char *queue, unsigned count) {
    mail_queue(queue);
    for (unsigned i = 0; i < count; i++) {
        mail_put((struct letter){.queue = queue, .ttl_ns = 1 + i});
    }
    mail.now_ns += count + 1;
    world_run_timers(&mail);
    assert_int_equal(mail_info(queue).dead, count);
    mail.now_ns++;
}

static uint64_t start(struct worker_job job) {
    uint64_t id;
    job.queue = "q";
    job.state = job.state != 0 ? job.state : MESSAGE_DEAD;
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_NONE);
    return id;
}

static unsigned run(uint32_t max) {
    unsigned steps = 0;
    enum refusal refusal;
    while (worker_step(&mail, NULL, max, &refusal)) {
        assert_int_equal(refusal, REFUSAL_NONE);
        assert_true(++steps < 1000);
    }
    return steps;
}

static void test_redrive(void **state) {
    dead_letters("q", 10);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    assert_int_equal(worker_look(&mail, "q", id).total, 10);
    enum refusal refusal;
    assert_true(worker_step(&mail, NULL, 4, &refusal));
    assert_int_equal(mail_info("q").ready, 4);
    world_reload(&mail); /* a restart goes on where it was */
    run(4);
    struct job_info i = worker_look(&mail, "q", id);
    assert_true(i.status == JOB_DONE && i.done == 10 && i.failed == 0 && i.ended_ns == mail.now_ns);
    assert_int_equal(mail_info("q").ready, 10);
    assert_int_equal(worker_look(&mail, "other", id).id, 0);
}

/* What dies again while the job runs is not sent again. */
static void test_what_dies_again_stays(void **state) {
    struct queue_def def = mail_def("q", "");
    def.message_ttl_ns = 5;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    for (unsigned i = 0; i < 6; i++) {
        mail_put((struct letter){.queue = "q"});
    }
    mail.now_ns += 5;
    world_run_timers(&mail);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    enum refusal refusal;
    for (unsigned steps = 0; worker_step(&mail, NULL, 1, &refusal); steps++) {
        assert_true(steps < 100);
        mail.now_ns += 5; /* it lives no longer */
        world_run_timers(&mail);
    }
    assert_int_equal(worker_look(&mail, "q", id).done, 6);
    assert_int_equal(mail_info("q").dead, 6);
}

static void test_pace(void **state) {
    dead_letters("q", 30);
    uint64_t id = start((struct worker_job){.action = JOB_DISCARD, .interval_ns = 40000000});
    uint64_t begun = mail.now_ns;
    enum refusal refusal;
    assert_true(worker_step(&mail, NULL, 2, &refusal)); /* 100 ms of pace are two */
    assert_int_equal(refusal, REFUSAL_NONE);
    assert_false(worker_step(&mail, NULL, 2, &refusal));
    mail.now_ns += 79999999;
    assert_false(worker_step(&mail, NULL, 2, &refusal));
    mail.now_ns += 1;
    assert_true(worker_step(&mail, NULL, 3, &refusal));
    assert_int_equal(refusal, REFUSAL_CONFLICT); /* more than the pace allows */
    world_reload(&mail);
    while (worker_look(&mail, "q", id).status == JOB_RUNNING) {
        if (!worker_step(&mail, NULL, 2, &refusal)) {
            mail.now_ns += 1000000;
        }
    }
    assert_int_equal(worker_look(&mail, "q", id).done, 30);
    assert_in_range(mail.now_ns - begun, UINT64_C(28) * 40000000, UINT64_C(31) * 40000000);
}

/* With messages in between that the filter leaves alone: each is looked at once. */
static void test_filter_and_cursor(void **state) {
    mail_queue("q");
    for (unsigned i = 0; i < 40; i++) {
        mail_put((struct letter){.queue = "q", .ttl_ns = 1 + i, .key = i % 3 == 0 ? "k" : NULL});
    }
    mail.now_ns += 50;
    world_run_timers(&mail);
    uint64_t id = start((struct worker_job){.action = JOB_DISCARD});
    struct message_filter keyed = {.ordering_key = span_text("k")};
    enum refusal refusal;
    while (worker_step(&mail, &keyed, 3, &refusal)) {
        assert_int_equal(refusal, REFUSAL_NONE);
    }
    struct job_info i = worker_look(&mail, "q", id);
    assert_true(i.done == 14 && i.visited == 40);
    assert_int_equal(mail_info("q").dead, 26);
}

static void test_no_step_twice(void **state) {
    dead_letters("q", 3);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    struct request r;
    request_init(&r, REQUEST_JOB_STEP);
    r.id = id;
    r.in.job_step = (struct job_step){.step = 1};
    assert_int_equal(world_ask(&mail, &r), REFUSAL_CONFLICT);
    r.in.job_step.step = 0;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(world_ask(&mail, &r), REFUSAL_CONFLICT);
    request_release(&r);
}

/* Whoever asks for a step may name what he likes: what was touched since the job began is left alone. */
static void test_step_names_what_was_touched(void **state) {
    dead_letters("q", 1);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    struct message_info m;
    memcpy(&m, r.out_bytes.data, sizeof m);
    request_release(&r);
    mail.now_ns++;
    struct stored_message content = {.version = 1, .envelope.body = span_text("mended")};
    request_init(&r, REQUEST_MESSAGE_EDIT);
    r.name = span_text("q");
    r.id = m.id;
    r.in.edit.seen = (struct message_seen){m.address, m.attempts, m.state};
    r.in.edit.content = &content;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    struct job_item item = {.id = m.id};
    request_init(&r, REQUEST_JOB_STEP);
    r.id = id;
    r.in.job_step = (struct job_step){.items = &item, .count = 1, .end = true};
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(mail_get(m.id).state, MESSAGE_DEAD);
    assert_int_equal(worker_look(&mail, "q", id).done, 0);
}

static void die_again(uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.name = span_text("q");
    r.in.redrive.id = id;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    mail.now_ns += 10;
    world_run_timers(&mail);
}

/* The message behind which the job goes on is sent again meanwhile and dies: it stands behind all others then. */
static void test_none_passed_over(void **state) {
    struct queue_def def = mail_def("q", "");
    def.message_ttl_ns = 5;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t first = mail_put((struct letter){.queue = "q"});
    for (unsigned i = 0; i < 3; i++) {
        mail.now_ns++;
        mail_put((struct letter){.queue = "q", .key = "k"});
    }
    mail.now_ns += 30;
    world_run_timers(&mail);
    mail.now_ns++;
    for (unsigned i = mail_info("q").dead; i < 4; i++) { /* those behind the first of their key */
        mail.now_ns += 30;
        world_run_timers(&mail);
    }
    assert_int_equal(mail_info("q").dead, 4);
    mail.now_ns++;
    uint64_t id = start((struct worker_job){.action = JOB_DISCARD});
    struct message_filter keyed = {.ordering_key = span_text("k")};
    enum refusal refusal;
    assert_true(worker_step(&mail, &keyed, 1, &refusal));
    die_again(first);
    while (worker_step(&mail, &keyed, 1, &refusal)) {
        assert_int_equal(refusal, REFUSAL_NONE);
    }
    assert_int_equal(worker_look(&mail, "q", id).done, 3);
    assert_int_equal(mail_info("q").dead, 1);
}

static void step_for_all(uint64_t id, uint32_t number) {
    struct job_item items[8];
    struct request list, r;
    request_init(&list, REQUEST_QUEUE_MESSAGES);
    list.name = span_text("q");
    assert_int_equal(world_ask(&mail, &list), REFUSAL_NONE);
    request_init(&r, REQUEST_JOB_STEP);
    r.id = id;
    r.actor = span_text("operator");
    r.in.job_step = (struct job_step){.step = number, .items = items, .end = true};
    for (; r.in.job_step.count < list.count; r.in.job_step.count++) {
        struct message_info m;
        memcpy(&m, list.out_bytes.data + r.in.job_step.count * sizeof m, sizeof m);
        items[r.in.job_step.count] = (struct job_item){.id = m.id};
    }
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&list);
    request_release(&r);
}

/* On the last page there is room for a part of it: the job goes on, and its end is told when it has ended. */
static void test_one_entry_for_its_end(void **state) {
    dead_letters("q", 4);
    struct queue_def def = mail_def("small", "");
    def.max_messages = 3;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t id = start((struct worker_job){.action = JOB_MOVE, .to = "small"});
    const uint64_t entries = audit_state(mail.model).count;
    step_for_all(id, 0);
    assert_int_equal(worker_look(&mail, "q", id).status, JOB_RUNNING);
    assert_int_equal(audit_state(mail.model).count, entries);
    struct request r;
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("small");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    step_for_all(id, 1);
    assert_int_equal(worker_look(&mail, "q", id).status, JOB_DONE);
    assert_int_equal(audit_state(mail.model).count, entries + 1);
}

static void test_cancel(void **state) {
    dead_letters("q", 5);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    enum refusal refusal;
    assert_true(worker_step(&mail, NULL, 2, &refusal));
    assert_int_equal(mail_ask_id(REQUEST_JOB_CANCEL, "other", id), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_ask_id(REQUEST_JOB_CANCEL, "q", id), REFUSAL_NONE);
    assert_int_equal(mail_ask_id(REQUEST_JOB_CANCEL, "q", id), REFUSAL_NONE);
    assert_false(worker_step(&mail, NULL, 2, &refusal));
    struct job_info i = worker_look(&mail, "q", id);
    assert_true(i.status == JOB_CANCELLED && i.done == 2);
    assert_int_equal(mail_info("q").dead, 3);
}

/* Room for some only: those go, the rest waits until there is room, and none is passed over. */
static void test_move_into_a_full_queue(void **state) {
    dead_letters("q", 7);
    struct queue_def def = mail_def("small", "");
    def.max_messages = 3;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t id = start((struct worker_job){.action = JOB_MOVE, .to = "small"});
    enum refusal refusal;
    unsigned moved = 0;
    for (unsigned i = 0; i < 50 && worker_step(&mail, NULL, 5, &refusal); i++) {
        if (refusal == REFUSAL_QUEUE_FULL) {
            moved += (unsigned)mail_info("small").ready;
            struct request r;
            request_init(&r, REQUEST_QUEUE_PURGE);
            r.name = span_text("small");
            assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
            request_release(&r);
        } else {
            assert_int_equal(refusal, REFUSAL_NONE);
        }
    }
    assert_int_equal(moved + mail_info("small").ready, 7);
    assert_true(worker_look(&mail, "q", id).status == JOB_DONE && mail_info("q").dead == 0);
}

static void test_its_queue_goes(void **state) {
    dead_letters("q", 2);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE});
    struct request r;
    request_init(&r, REQUEST_QUEUE_DELETE);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    enum refusal refusal;
    assert_true(worker_step(&mail, NULL, 2, &refusal));
    assert_false(worker_step(&mail, NULL, 2, &refusal));
    assert_int_equal(worker_look(&mail, "q", id).status, JOB_FAILED);
}

static void test_limits(void **state) {
    mail_queue("q");
    mail_queue("to");
    uint64_t id;
    struct worker_job job = {.queue = "q", .action = JOB_REDRIVE, .state = MESSAGE_READY};
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_INVALID);
    job = (struct worker_job){.queue = "q", .action = JOB_DISCARD, .state = MESSAGE_IN_FLIGHT};
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_INVALID);
    job = (struct worker_job){.queue = "q", .action = JOB_MOVE, .to = "q", .state = MESSAGE_READY};
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_INVALID);
    job.to = "none";
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_REFERENCE);
    job.queue = "none";
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_NOT_FOUND);
    job = (struct worker_job){.queue = "q", .action = JOB_REDRIVE, .state = MESSAGE_DEAD};
    for (unsigned i = 0; i < JOBS_RUNNING_MAX; i++) {
        assert_int_equal(worker_start(&mail, job, &id), REFUSAL_NONE);
    }
    assert_int_equal(worker_start(&mail, job, &id), REFUSAL_LIMIT);
    run(10);
    uint64_t first = id;
    for (unsigned i = 0; i < JOBS_KEPT_MAX; i++) {
        assert_int_equal(worker_start(&mail, job, &id), REFUSAL_NONE);
        run(10);
    }
    assert_int_equal(worker_look(&mail, "q", first).id, 0); /* the oldest are forgotten */
    assert_int_equal(worker_look(&mail, "q", id).status, JOB_DONE);
}

static void test_audit(void **state) {
    dead_letters("q", 1);
    uint64_t id = start((struct worker_job){.action = JOB_REDRIVE, .actor = "ops#1"});
    struct request r;
    request_init(&r, REQUEST_AUDIT_LIST);
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(r.count, 1);
    char resource[64], receipt[18];
    receipt_format(id, receipt);
    snprintf(resource, sizeof resource, "queues/q/jobs/j%s", receipt + 1);
    assert_non_null(memmem(r.out_bytes.data, r.out_bytes.size, resource, strlen(resource)));
    assert_non_null(memmem(r.out_bytes.data, r.out_bytes.size, "redrive", 7));
    request_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_redrive, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_what_dies_again_stays, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_pace, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_filter_and_cursor, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_no_step_twice, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_step_names_what_was_touched, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_none_passed_over, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_one_entry_for_its_end, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_cancel, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_move_into_a_full_queue, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_its_queue_goes, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_limits, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_audit, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
