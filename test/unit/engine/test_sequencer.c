/* Timers, starts and their pace, and what becomes of them on a full disk. */
#include "world.h"

#include "engine/internal.h"

/* ---- a provider that answers 20 ms after each start ---- */

#define STARTS_MAX 8192u
#define ANSWER_NS  (20 * NS_PER_MS)
#define STEP_NS    (NS_PER_MS / 4)
#define RATE       500u
#define BACKLOG    4500u

struct provider {
    struct world w; /* first: it is the context of the engine's callbacks */
    struct engine_port port;
    struct attempt_start starts[STARTS_MAX];
    uint64_t times_ns[STARTS_MAX];
    size_t started, answered;
};

static void on_starts(void *context, const struct attempt_start *starts, size_t count) {
    struct provider *p = context;
    for (size_t i = 0; i < count; i++) {
        assert_true(p->started < STARTS_MAX);
        p->starts[p->started] = starts[i];
        p->times_ns[p->started++] = p->w.now_ns;
    }
}

static void free_requests(struct engine_port *port, struct engine_request *first,
                          struct engine_request *last) {
    (void)port;
    (void)last;
    while (first != NULL) {
        struct engine_request *next = first->next;
        assert_int_equal(first->r.refusal, REFUSAL_NONE);
        request_release(&first->r);
        free(first);
        first = next;
    }
}

static void answer_due(struct provider *p) {
    while (p->answered < p->started && p->times_ns[p->answered] + ANSWER_NS <= p->w.now_ns) {
        const struct attempt_start *s = &p->starts[p->answered++];
        struct engine_request *q = calloc(1, sizeof(*q));
        request_init(&q->r, REQUEST_ATTEMPT_FINISH);
        q->r.in.finish = (struct attempt_finish){
            .message = s->message, .attempt = s->attempt, .status = 200, .success = true};
        q->port = &p->port;
        assert_int_equal(engine_submit(p->w.engine, q, q, 1), 0);
    }
}

static void run_for(struct provider *p, uint64_t ns) {
    for (uint64_t end = p->w.now_ns + ns; p->w.now_ns < end; p->w.now_ns += STEP_NS) {
        answer_due(p);
        engine_turn(p->w.engine);
    }
}

static struct provider *provider_create(unsigned messages) {
    struct provider *p = calloc(1, sizeof(*p));
    world_init(&p->w);
    p->port.deliver = free_requests;
    p->w.options.paranoid = false;
    p->w.options.start_attempts = on_starts;
    world_open(&p->w);
    world_define_destination(&p->w, RATE);
    world_define_queue(&p->w, "q", "provider");
    for (unsigned i = 0; i < messages; i++)
        assert_int_equal(world_publish(&p->w, "q", 10, 0, NULL), REFUSAL_NONE);
    return p;
}

static void provider_free(struct provider *p) {
    world_release(&p->w);
    free(p);
}

/* No second, wherever it begins, has more than RATE starts. */
static void check_pace(const struct provider *p) {
    for (size_t i = 0; i + RATE < p->started; i++)
        assert_true(p->times_ns[i + RATE] - p->times_ns[i] >= NS_PER_SECOND);
}

static size_t started_between(const struct provider *p, uint64_t from_ns, uint64_t to_ns) {
    size_t count = 0;
    for (size_t i = 0; i < p->started; i++)
        count += p->times_ns[i] >= from_ns && p->times_ns[i] < to_ns;
    return count;
}

static void strict_pace_holds_and_is_used(void **state) {
    (void)state;
    struct provider *p = provider_create(BACKLOG);
    uint64_t begin_ns = p->w.now_ns;
    run_for(p, 7 * NS_PER_SECOND);
    check_pace(p);
    size_t count = started_between(p, begin_ns + 2 * NS_PER_SECOND, begin_ns + 7 * NS_PER_SECOND);
    assert_in_range(count, 5 * RATE * 97 / 100, 5 * RATE);
    provider_free(p);
}

/* What was under way may be sent again, but only when its token is back. */
static void a_restart_makes_no_burst(void **state) {
    (void)state;
    struct provider *p = provider_create(BACKLOG);
    for (unsigned i = 0; i < 4; i++) {
        run_for(p, 700 * NS_PER_MS);
        size_t before = p->started;
        if (i % 2 == 0)
            assert_int_equal(engine_snapshot(p->w.engine), 0);
        run_for(p, 3 * NS_PER_MS);
        world_crash(&p->w, SIM_KEEP);
        p->answered = p->started; /* whatever it answered, nobody heard */
        world_open(&p->w);
        assert_true(p->started >= before);
    }
    run_for(p, NS_PER_SECOND);
    check_pace(p);
    provider_free(p);
}

/* ---- nothing is heard before the flush ---- */

static unsigned heard;

static void count_heard(struct engine_port *port, struct engine_request *first,
                        struct engine_request *last) {
    (void)port;
    for (struct engine_request *q = first; q != NULL; q = q == last ? NULL : q->next)
        heard++;
}

/* Decided; whatever is durable by now is delivered; nothing is flushed. */
static void decide_only(struct world *w, struct engine_request *q, enum request_kind kind) {
    static struct engine_port port = {.deliver = count_heard};
    *q = (struct engine_request){.port = &port};
    request_init(&q->r, kind);
    q->r.name = span_text("q");
    if (kind == REQUEST_QUEUE_PUBLISH) {
        q->r.in.publish.queue = span_text("q");
        q->r.in.publish.envelope.body = span_text("a body");
    }
    atomic_fetch_add(&w->engine->waiting, 1);
    pthread_mutex_lock(&w->engine->lock);
    sequencer_work(w->engine, q);
    pthread_mutex_unlock(&w->engine->lock);
    replies_release(w->engine, log_durable_position(w->engine->log));
}

/* A read has seen what is not on disk yet; a refusal may rest on it. Both wait as the write does. */
static void a_read_waits_for_what_it_saw(void **state) {
    (void)state;
    struct world w;
    struct engine_request publish, read, refused;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    heard = 0;
    decide_only(&w, &publish, REQUEST_QUEUE_PUBLISH);
    decide_only(&w, &read, REQUEST_QUEUE_GET);
    decide_only(&w, &refused, REQUEST_QUEUE_DELETE);
    assert_int_equal(read.r.out.queue.ready, 1);
    assert_int_equal(refused.r.refusal, REFUSAL_CONFLICT);
    assert_int_equal(heard, 0);
    assert_int_equal(log_flush(w.engine->log), 0);
    assert_int_equal(heard, 3);
    request_release(&read.r);
    world_release(&w);
}

/* The token that it spends must be on disk before the provider can see the request. */
static void a_start_waits_for_its_record(void **state) {
    (void)state;
    struct provider *p = provider_create(0);
    struct engine_request publish;
    heard = 0;
    decide_only(&p->w, &publish, REQUEST_QUEUE_PUBLISH);
    assert_int_equal(world_queue(&p->w, "q").in_flight, 1); /* this call flushes */
    assert_int_equal(p->started, 1);
    decide_only(&p->w, &publish, REQUEST_QUEUE_PUBLISH);
    for (uint64_t at = log_durable_position(p->w.engine->log); at < p->w.engine->last_position;
         at++) {
        replies_release(p->w.engine, at);
        assert_int_equal(p->started, 1);
    }
    assert_int_equal(log_flush(p->w.engine->log), 0);
    assert_int_equal(p->started, 2);
    provider_free(p);
}

/* Before a stop: what is decided then nobody would send. */
static void held_starts_are_not_decided(void **state) {
    (void)state;
    struct provider *p = provider_create(2);
    run_for(p, NS_PER_SECOND);
    assert_int_equal(p->started, 2);
    engine_hold_starts(p->w.engine);
    assert_int_equal(world_publish(&p->w, "q", 10, 0, NULL), REFUSAL_NONE);
    run_for(p, NS_PER_SECOND);
    assert_int_equal(p->started, 2);
    assert_int_equal(world_queue(&p->w, "q").ready, 1);
    assert_true(sequencer_next_wake_ns(p->w.engine) > p->w.now_ns); /* nor does it spin */
    world_crash(&p->w, SIM_KEEP);
    world_open(&p->w);
    run_for(p, NS_PER_SECOND);
    assert_int_equal(p->started, 3);
    provider_free(p);
}

/* ---- a market that opens ---- */

static void requests_have_their_turns_between_timers(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.paranoid = false;
    world_open(&w);
    world_define_queue(&w, "q", "");
    uint64_t due_ns = w.now_ns + 60 * NS_PER_SECOND;
    for (uint64_t i = 0; i < TIMERS_A_TURN + 10; i++) {
        assert_int_equal(world_publish(&w, "q", 10, due_ns, NULL), REFUSAL_NONE);
    }
    w.now_ns = due_ns + NS_PER_SECOND;
    engine_decide(w.engine);
    assert_true(sequencer_next_wake_ns(w.engine) <= w.now_ns);
    struct engine_request read;
    decide_only(&w, &read, REQUEST_QUEUE_GET);
    assert_int_equal(read.r.out.queue.delayed, 10);
    request_release(&read.r);
    assert_int_equal(world_queue(&w, "q").delayed, 0);
    world_release(&w);
}

#define LATER 10u

/* Timers of LATER messages come due, three turns of them, and behind them that of a message of "q" which dies then; or without that one. */
static struct provider *provider_with_timers_due(bool has_mortal) {
    struct provider *p = provider_create(0);
    struct world *w = &p->w;
    w->engine->options.timers_a_turn = LATER / 2 - 1;
    world_define_queue(w, "later", "");
    engine_hold_starts(w->engine);
    uint64_t due_ns = w->now_ns + NS_PER_SECOND;
    for (unsigned i = 0; i < LATER; i++) {
        assert_int_equal(world_publish(w, "later", 10, due_ns, NULL), REFUSAL_NONE);
    }
    if (has_mortal) {
        struct request mortal;
        request_init(&mortal, REQUEST_QUEUE_PUBLISH);
        mortal.in.publish.queue = span_text("q");
        mortal.in.publish.ttl_ns = NS_PER_SECOND;
        assert_int_equal(engine_call(w->engine, &mortal), 0);
        assert_int_equal(mortal.refusal, REFUSAL_NONE);
        request_release(&mortal);
    }
    w->now_ns = due_ns;
    w->engine->starts_held = false;
    return p;
}

static void starts_have_their_turns_between_timers(void **state) {
    (void)state;
    for (int has_mortal = 0; has_mortal < 2; has_mortal++) {
        struct provider *p = provider_with_timers_due(has_mortal);
        struct engine_request publish;
        decide_only(&p->w, &publish, REQUEST_QUEUE_PUBLISH);
        assert_int_equal(log_flush(p->w.engine->log), 0);
        assert_true(sequencer_next_wake_ns(p->w.engine) <= p->w.now_ns);
        assert_int_equal(p->started, has_mortal ? 0 : 1);
        for (unsigned turns = 0; turns < LATER; turns++) {
            engine_turn(p->w.engine);
        }
        assert_int_equal(p->started, 1);
        assert_true(p->starts[0].message == publish.r.receipt.id);
        assert_int_equal(world_queue(&p->w, "q").expired, has_mortal);
        provider_free(p);
    }
}

/* ---- a full disk ---- */

#define DELAYED 256u
#define DUE_NS  (60 * NS_PER_SECOND)

/*
 * Delayed messages; then the disk is filled, and deletes use up what was kept for them, at most `max`.
 * Returns how many there were.
 */
static unsigned fill_disk(struct world *w, unsigned max) {
    static uint64_t ids[8192];
    unsigned count = 0, deleted = 0;
    uint64_t due_ns = w->now_ns + DUE_NS;
    sim_disk_set_capacity(w->disk, 9 * WORLD_SEGMENT_BYTES / 2);
    for (unsigned i = 0; i < DELAYED; i++)
        assert_int_equal(world_publish(w, "q", 10, due_ns, NULL), REFUSAL_NONE);
    while (count < 8192 && world_publish(w, "q", 10, 0, &ids[count]) == REFUSAL_NONE)
        count++;
    assert_in_range(count, 500, 8191);
    for (unsigned i = 0; i < count && deleted < max; i++) {
        enum refusal refusal = world_delete(w, "q", ids[i]);
        if (refusal == REFUSAL_DISK_FULL)
            break;
        deleted += refusal == REFUSAL_NONE; /* others are in flight, or gone */
    }
    return deleted;
}

static void timers_become_due(unsigned deletes) {
    struct world w;
    world_init(&w);
    w.options.paranoid = false;
    world_open(&w);
    world_define_queue(&w, "q", "");
    fill_disk(&w, deletes);
    w.now_ns += DUE_NS + NS_PER_SECOND;
    for (unsigned i = 0; i < 5; i++, w.now_ns += NS_PER_SECOND)
        engine_turn(w.engine);
    assert_int_equal(w.failures, 0);
    sim_disk_set_capacity(w.disk, 64 * WORLD_SEGMENT_BYTES);
    for (unsigned i = 0; i < 5; i++, w.now_ns += NS_PER_SECOND)
        engine_turn(w.engine);
    assert_int_equal(world_queue(&w, "q").delayed, 0);
    world_release(&w);
}

static void timers_wait_for_room(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.paranoid = false;
    world_open(&w);
    world_define_queue(&w, "q", "");
    unsigned deletes = fill_disk(&w, UINT32_MAX);
    assert_int_equal(engine_room(w.engine), LOG_ROOM_NONE);
    world_release(&w);
    for (unsigned less = 0; less < 200; less += 20)
        timers_become_due(deletes - less);
}

/* Without room the ends of interrupted attempts cannot be written: the engine opens and starts nothing. */
static void recovery_waits_for_room(void **state) {
    (void)state;
    struct provider *p = provider_create(20);
    engine_turn(p->w.engine);
    assert_true(p->started > 0);
    fill_disk(&p->w, UINT32_MAX);
    assert_int_equal(engine_room(p->w.engine), LOG_ROOM_NONE);
    world_crash(&p->w, SIM_KEEP);
    world_open(&p->w);
    size_t started = p->answered = p->started;
    p->w.now_ns += 300 * NS_PER_SECOND;
    engine_turn(p->w.engine);
    assert_int_equal(p->started, started);
    assert_true(world_queue(&p->w, "q").in_flight > 0);
    assert_int_equal(p->w.failures, 0);
    sim_disk_set_capacity(p->w.disk, 64 * WORLD_SEGMENT_BYTES);
    run_for(p, NS_PER_SECOND);
    assert_true(p->started > started);
    provider_free(p);
}

/* Recovery would close it with those of before. */
static void no_consumer_begins_before_recovery_is_over(void **state) {
    (void)state;
    struct world w;
    struct request r;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    w.engine->recovering = true; /* as after a start without room on the disk */
    request_init(&r, REQUEST_BASIC_GET);
    r.session = 1;
    r.vhost = span_text("/");
    r.name = span_text("q");
    assert_int_equal(engine_call(w.engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_DISK_FULL);
    request_release(&r);
    engine_turn(w.engine);
    assert_false(w.engine->recovering);
    request_init(&r, REQUEST_BASIC_GET);
    r.session = 1;
    r.vhost = span_text("/");
    r.name = span_text("q");
    assert_int_equal(engine_call(w.engine, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
    world_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_consumer_begins_before_recovery_is_over),
        cmocka_unit_test(strict_pace_holds_and_is_used),
        cmocka_unit_test(a_restart_makes_no_burst),
        cmocka_unit_test(a_read_waits_for_what_it_saw),
        cmocka_unit_test(requests_have_their_turns_between_timers),
        cmocka_unit_test(starts_have_their_turns_between_timers),
        cmocka_unit_test(a_start_waits_for_its_record),
        cmocka_unit_test(held_starts_are_not_decided),
        cmocka_unit_test(timers_wait_for_room),
        cmocka_unit_test(recovery_waits_for_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
