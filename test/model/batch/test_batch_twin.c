/*
 * Requests of several messages under random use, beside a twin of arrays and loops (test/model/queue/twin.h):
 *
 *   - a request begins when the next message of its queue may leave and it is full or has waited;
 *   - it holds exactly the next messages of that queue, as many, as big and as differently keyed as it may;
 *   - tokens: one for the request (tokenPer: request) or one for each message, never more than the limits allow,
 *     given back when the one ends that took it;
 *   - the breaker hears of each request once, as it was answered, whatever became of its first message;
 *   - each message ends by its own result, is ready again after a crash, and none is lost.
 *
 * SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "push.h"
#include "seeds.h"
#include "twin.h"

#define QUEUES       2u
#define REQUESTS_MAX 64u
#define ATTEMPTS_MAX 4u
#define PERIOD_NS    (100 * NS_PER_MS)
#define SPENT_MAX    4096u
#define NOT_MADE     0u /* for a status: it was not in the request at all */

/* One that is under way. */
struct parcel {
    struct attempt_start items[BATCH_MESSAGES_MAX];
    uint32_t count;
};

static struct world w;
static struct twin twin;
static struct batch_def batch;
static struct pace_def pace;
static struct parcel parcels[REQUESTS_MAX];
static uint32_t parcel_count;
static uint64_t accepted_ns[1u << 16]; /* by position of the record */
/* Tokens that were given back, by when. */
static uint64_t spent_ns[SPENT_MAX];
static uint32_t spent_count;
static uint64_t heard, heard_bad; /* by the breaker */

static const char *const names[QUEUES] = {"q0", "q1"};
static const char *const keys[TWIN_KEYS] = {"", "a", "b", "c", "d"};

static uint64_t pick(uint64_t bound) {
    return rng_below(&w.rng, bound);
}

static bool token_each(void) {
    return batch.token == BATCH_TOKEN_MESSAGE;
}

/* ---- definitions ---- */

static void with_batch(struct destination_def *def, void *context) {
    (void)context;
    def->batch.max_messages = batch.max_messages;
    def->batch.max_bytes = batch.max_bytes;
    def->batch.wait_ns = batch.wait_ns;
    def->batch.token = batch.token;
    def->budget.percent = 100;
    def->breaker.window_ns = 86400 * NS_PER_SECOND;
    def->breaker.minimum_calls = UINT32_MAX; /* it listens and does nothing */
}

/* Its token is decided once: what is under way has taken its own by what was said then. */
static void define_far(void) {
    batch.max_messages = 2 + (uint32_t)pick(6);
    batch.max_bytes = 10 + (uint32_t)pick(60);
    batch.wait_ns = pick(3) * 10 * NS_PER_MS;
    assert_int_equal(push_define_more(&w, "far", pace, with_batch, NULL), REFUSAL_NONE);
}

static void define_all(void) {
    batch = (struct batch_def){.token = pick(2) ? BATCH_TOKEN_REQUEST : BATCH_TOKEN_MESSAGE};
    uint32_t count = pick(3) ? 3 + (uint32_t)pick(8) : 0;
    pace = push_pace(count, count);
    pace.mode = PACE_STRICT;
    pace.period_ns = PERIOD_NS;
    pace.concurrency = pick(3) ? 1 + (uint32_t)pick(5) : 0;
    define_far();
    for (uint32_t i = 0; i < QUEUES; i++) {
        twin.queues[i] = (struct twin_queue){.dead_letters = true, .max_dead = 20};
        struct queue_def def = world_queue_def(names[i], "far");
        def.max_priority = TWIN_LEVELS - 1;
        def.max_dead = 20;
        def.retry.max_attempts = ATTEMPTS_MAX;
        def.retry.max_duration_ns = 0;
        assert_int_equal(world_define(&w, &def), REFUSAL_NONE);
    }
}

/* ---- what the twin says ---- */

static uint64_t tokens_out(void) {
    uint64_t n = 0;
    for (uint32_t i = 0; i < parcel_count; i++) {
        n += token_each() ? parcels[i].count : 1;
    }
    return n;
}

static bool may_take_token(uint64_t also_taken) {
    uint64_t out = tokens_out() + also_taken, held = out;
    for (uint32_t i = 0; i < spent_count; i++) {
        held += spent_ns[i] + PERIOD_NS > w.now_ns;
    }
    return (pace.concurrency == 0 || out < pace.concurrency) &&
           (pace.count == 0 || held < pace.count);
}

static uint64_t ready_bytes(uint32_t queue, uint32_t *ret_count) {
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < twin.count; i++) {
        const struct twin_message *m = &twin.messages[i];
        bool is = m->queue == queue && m->state == MESSAGE_READY;
        bytes += is ? m->body_bytes : 0;
        *ret_count += is;
    }
    return bytes;
}

static bool is_due(uint32_t queue) {
    uint64_t head = twin_head(&twin, queue);
    uint32_t count = 0;
    uint64_t bytes = ready_bytes(queue, &count);
    return head != 0 && (count >= batch.max_messages || bytes >= batch.max_bytes ||
                         accepted_ns[id_position(head)] + batch.wait_ns <= w.now_ns);
}

/* The next one of the request, as the twin has it; 0: none. */
static uint64_t next_item(uint32_t queue, const struct parcel *p, uint64_t left_bytes) {
    uint64_t head = twin_head(&twin, queue);
    bool fits = head != 0 && twin_find(&twin, head)->body_bytes <= left_bytes;
    return fits && p->count < batch.max_messages && (!token_each() || may_take_token(p->count))
               ? head
               : 0;
}

/* ---- steps ---- */

static void step_publish(void) {
    struct twin_message t = {.queue = (uint32_t)pick(QUEUES),
                             .key = (uint32_t)pick(TWIN_KEYS),
                             .priority = (uint8_t)pick(TWIN_LEVELS)};
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    struct publish *p = &r.in.publish;
    r.name = p->queue = span_text(names[t.queue]);
    p->priority = t.priority;
    p->schedule_ns = pick(5) == 0 ? w.now_ns + pick(200 * NS_PER_MS) : 0;
    p->envelope.ordering_key = span_text(keys[t.key]);
    p->envelope.body = span_of("\"0123456789012345678\"", 1 + pick(20));
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    t.id = r.receipt.id;
    t.body_bytes = (uint32_t)p->envelope.body.size;
    t.due_ns = p->schedule_ns;
    accepted_ns[id_position(t.id)] = w.now_ns;
    twin_put(&twin, &t, w.now_ns);
    request_release(&r);
}

/* As the next decision of the record before. */
static bool join(struct attempt_start *ret) {
    w.position--;
    struct decision d = world_begin(&w);
    bool is = model_decide_start(w.model, &d, ret) && ret->lead != 0;
    if (is) {
        world_commit(&w, &d);
    } else {
        w.position++;
    }
    return is;
}

static void fill(struct parcel *p, uint32_t queue) {
    uint32_t first_bytes = twin_find(&twin, p->items[0].message)->body_bytes;
    uint64_t left = first_bytes < batch.max_bytes ? batch.max_bytes - first_bytes : 0, next;
    while ((next = next_item(queue, p, left)) != 0) {
        struct attempt_start *s = &p->items[p->count];
        assert_true(join(s));
        assert_int_equal(s->message, next);
        assert_int_equal(s->lead, p->items[0].message);
        left -= twin_find(&twin, next)->body_bytes;
        twin_start(&twin, next);
        p->count++;
    }
    struct attempt_start none;
    assert_false(join(&none));
}

static void step_start(void) {
    struct attempt_start first;
    if (parcel_count == REQUESTS_MAX) {
        return;
    }
    if (!push_start(&w, &first)) {
        assert_false(may_take_token(0) && (is_due(0) || is_due(1)));
        return;
    }
    assert_true(may_take_token(0) && first.lead == 0);
    uint32_t queue = twin_find(&twin, first.message)->queue;
    assert_true(is_due(queue));
    assert_int_equal(twin_head(&twin, queue), first.message);
    twin_start(&twin, first.message);
    struct parcel *p = &parcels[parcel_count];
    *p = (struct parcel){.items = {first}, .count = 1};
    fill(p, queue);
    parcel_count++;
}

static void token_comes_back(uint64_t at_ns) {
    assert_true(spent_count < SPENT_MAX);
    spent_ns[spent_count++] = at_ns;
}

static void tell_twin(const struct attempt_start *s, uint16_t status) {
    if (status == 200) {
        twin_done(&twin, s->message);
    } else if (status == 422 || status == NOT_MADE) {
        twin_bury(&twin, s->message, DEAD_REFUSED);
    } else if (s->attempt >= ATTEMPTS_MAX) {
        twin_bury(&twin, s->message, DEAD_EXHAUSTED);
    } else {
        twin_retry(&twin, s->message, push_message(&w, s->message).due_ns, w.now_ns);
    }
}

static void end_item(const struct attempt_start *s, uint16_t status, uint16_t answer) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish =
        (struct attempt_finish){.message = s->message,
                                .attempt = s->attempt,
                                .status = status,
                                .error = status == NOT_MADE ? ATTEMPT_NOT_MADE : ATTEMPT_OK,
                                .retriable = status == 503,
                                .success = status == 200,
                                .shared = true,
                                .answer_status = answer};
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    request_release(&r);
    tell_twin(s, status);
}

static void hear(uint16_t status) {
    heard += status != NOT_MADE;
    heard_bad += status == 503;
}

/* The first one, with the token, last: so it comes from dispatch. */
static void step_finish(void) {
    static const uint16_t statuses[] = {200, 200, 503, 422, NOT_MADE};
    if (parcel_count == 0) {
        return;
    }
    uint32_t at = (uint32_t)pick(parcel_count);
    struct parcel p = parcels[at];
    parcels[at] = parcels[--parcel_count];
    uint16_t answer = statuses[pick(4)];
    bool split = answer == 200;
    for (uint32_t i = p.count; i-- > 0;) {
        uint16_t own = split ? statuses[pick(5)] : answer;
        end_item(&p.items[i], own, answer);
        if (token_each()) {
            token_comes_back(w.now_ns);
            hear(own);
        }
    }
    if (!token_each()) {
        token_comes_back(w.now_ns);
        hear(answer);
    }
}

/* What was under way is ready again, the earliest first; a token is out until its attempt would have been over. */
static void step_crash(void) {
    uint32_t open = 0;
    world_reload(&w);
    for (uint32_t i = 0; i < parcel_count; i++) {
        open += parcels[i].count;
    }
    assert_int_equal(push_recover(&w), open);
    for (uint32_t i = 0; i < parcel_count; i++) {
        for (uint32_t k = 0; k < parcels[i].count; k++) {
            twin_retry(&twin, parcels[i].items[k].message, w.now_ns, w.now_ns);
            if (k == 0 || token_each()) {
                token_comes_back(w.now_ns + parcels[i].items[k].timeout_ns);
            }
        }
    }
    parcel_count = 0;
    w.now_ns += 60 * NS_PER_SECOND; /* more than any timeout: all tokens are back */
    spent_count = 0;
}

/* ---- comparing ---- */

static void compare(void) {
    model_check(w.model);
    struct destination_info info = push_info(&w, "far");
    assert_int_equal(info.in_flight, tokens_out());
    assert_int_equal(info.breaker_calls, heard);
    assert_int_equal(info.breaker_bad, heard_bad);
    for (uint32_t i = 0; i < twin.count; i++) {
        const struct twin_message *m = &twin.messages[i];
        struct message_info is = push_message(&w, m->id);
        assert_int_equal(is.state, m->state);
        assert_int_equal(is.attempts, m->attempts);
    }
}

static void step(void) {
    uint64_t what = pick(1000);
    w.now_ns += pick(10 * NS_PER_MS);
    world_run_timers(&w);
    twin_run_timers(&twin, w.now_ns);
    if (what < 450 && twin.count < 300) {
        step_publish();
    } else if (what < 750) {
        step_start();
    } else if (what < 980) {
        step_finish();
    } else if (what < 985) {
        step_crash();
    } else if (what < 990) {
        define_far();
    } else {
        compare();
    }
}

static void run(uint64_t seed) {
    memset(&twin, 0, sizeof twin);
    parcel_count = spent_count = 0;
    heard = heard_bad = 0;
    world_init(&w, NULL);
    rng_init(&w.rng, seed);
    define_all();
    for (int i = 0; i < 3000; i++) {
        step();
    }
    compare();
    assert_true(twin.gone > 100);
    world_check_replay(&w);
    world_reload(&w);
    world_release(&w);
}

static void it_does_as_its_twin(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(12);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run(seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(it_does_as_its_twin)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
