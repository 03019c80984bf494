/*
 * Destinations under random use: several destinations and queues, publishes, starts, ends of all kinds,
 * crashes, definitions and pauses at run time. The naive twin is the history of starts and ends:
 *
 *   P1  strict destinations: of all attempts at it, fewer than `count` are under way or ended less than a
 *       period ago at any start (as in test/model/pace, here through the whole model);
 *       smooth destinations: in any window at most burst + window / T of the turns that starts have, whether they were
 *       decided ahead of them or not, over crashes;
 *   P2  in_flight as the history counts it;
 *   P3  nothing starts while paused or before closed_until, nor while the breaker is open;
 *   P5  an attempt goes to an endpoint that is there, when there are any.
 *
 * Definitions are drawn with several limits, breakers, budgets, ramps, adaptive limits, endpoints and
 * failover to another destination.
 *
 * Every message ends done or dead, and never has two attempts under way. All invariants are checked on the
 * way; the log replayed and the snapshot reloaded give the same bytes. SEED=n repeats a run.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <string.h>

#include "push.h"
#include "seeds.h"

#define HISTORY_MAX  4000u
#define DESTINATIONS 3u
#define QUEUES       6u
#define UNDER_WAY    UINT64_MAX

struct past {
    struct attempt_start start;
    uint64_t started_ns, end_ns; /* its turn */
    uint32_t destination;        /* ours, 0.. */
    uint32_t since;              /* which definition of it */
};

struct twin {
    struct world w;
    struct past history[HISTORY_MAX];
    uint32_t count;
    struct pace_def paces[DESTINATIONS];
    struct pace_def seconds[DESTINATIONS]; /* a further limit; count 0: none */
    uint32_t endpoints[DESTINATIONS];
    bool paused[DESTINATIONS];
    uint32_t since[DESTINATIONS];
    uint32_t indices[DESTINATIONS];
    uint64_t published;
};

static const char *const destination_names[DESTINATIONS] = {"d0", "d1", "d2"};
static const char *const queue_names[QUEUES] = {"q0", "q1", "q2", "q3", "q4", "q5"};

static uint64_t below(struct twin *t, uint64_t bound) {
    return rng_below(&t->w.rng, bound);
}

static struct pace_def random_pace(struct twin *t) {
    struct pace_def pace = push_pace((uint32_t)below(t, 20), 1 + (uint32_t)below(t, 5));
    pace.mode = below(t, 2) ? PACE_STRICT : PACE_SMOOTH;
    pace.concurrency = (uint32_t)below(t, 3) ? 0 : 1 + (uint32_t)below(t, 4);
    return pace;
}

struct drawn {
    struct twin *t;
    uint32_t d;
};

static void draw_endpoints(struct twin *t, uint32_t d, struct destination_def *def) {
    uint32_t count = below(t, 2) ? 0 : 1 + (uint32_t)below(t, 4);
    t->endpoints[d] = count;
    if (count == 0) {
        return;
    }
    def->endpoints.items = calloc(count, sizeof *def->endpoints.items);
    assert_non_null(def->endpoints.items);
    for (uint32_t i = 0; i < count; i++) {
        struct endpoint_def *e = &def->endpoints.items[def->endpoints.count++];
        char name[] = {'e', (char)('0' + i), '\0'};
        assert_int_equal(endpoint_def_init(e), 0);
        assert_int_equal(def_set_text(&e->name, span_text(name)), 0);
        assert_int_equal(def_set_text(&e->url, span_text("http://provider.example/e")), 0);
        e->weight = 1 + (uint32_t)below(t, 5);
    }
    def->balance.policy = (enum balance_policy)below(t, 7);
    def->balance.key = (enum balance_key)below(t, 3);
    def->balance.pin_ns = below(t, 2) ? 0 : NS_PER_SECOND;
    def->balance.eject_errors = (uint32_t)below(t, 4);
    def->balance.eject_success_percent = below(t, 2) ? 0 : 60;
    def->balance.eject_minimum = 3;
    def->balance.eject_ns = 300 * NS_PER_MS;
    def->balance.slow_start_ns = below(t, 2) ? 0 : NS_PER_SECOND;
}

static void draw_guards(struct twin *t, uint32_t d, struct destination_def *def) {
    if (below(t, 2)) {
        def->breaker.window_calls = below(t, 2) ? 6 : 0;
        def->breaker.window_ns = def->breaker.window_calls == 0 ? 2 * NS_PER_SECOND : 0;
        def->breaker.minimum_calls = 4;
        def->breaker.probes = 1 + (uint32_t)below(t, 3);
        def->breaker.slow_ns = below(t, 2) ? 0 : 10 * NS_PER_MS;
        def->breaker.open_ns = 200 * NS_PER_MS;
        def->breaker.open_max_ns = NS_PER_SECOND;
    }
    def->adaptive.ceiling = below(t, 2) ? 0 : 10;
    def->ramp.duration_ns = below(t, 2) ? 0 : NS_PER_SECOND;
    def->ramp.idle_ns = below(t, 2) ? 0 : NS_PER_SECOND;
    def->budget.percent = below(t, 2) ? 100 : 30;
    def->budget.min_per_second = 2;
    if (below(t, 2)) {
        const char *second = destination_names[(d + 1) % DESTINATIONS];
        assert_int_equal(def_set_text(&def->failover.destination, span_text(second)), 0);
        assert_int_equal(def_set_text(&def->failover.queue, span_text(queue_names[0])), 0);
        def->failover.failures = 2;
        def->failover.within_ns = 2 * NS_PER_SECOND;
        def->failover.every_ns = 200 * NS_PER_MS;
        def->failover.pending_ns = below(t, 2) ? 0 : 300 * NS_PER_MS;
        def->failover.return_after_ns = NS_PER_SECOND;
        def->failover.probes = 1 + (uint32_t)below(t, 3);
    }
}

static void draw_more(struct destination_def *def, void *context) {
    const struct drawn *drawn = context;
    struct twin *t = drawn->t;
    t->seconds[drawn->d] = (struct pace_def){.count = 0};
    if (below(t, 2)) {
        struct pace_def *more = calloc(1, sizeof *more);
        assert_non_null(more);
        *more = (struct pace_def){.mode = PACE_STRICT,
                                  .count = 5 + (uint32_t)below(t, 60),
                                  .period_ns = 3 * NS_PER_SECOND,
                                  .burst = 1 + (uint32_t)below(t, 20)};
        def->limits.items = more;
        def->limits.count = 1;
        t->seconds[drawn->d] = *more;
    }
    draw_guards(t, drawn->d, def);
    draw_endpoints(t, drawn->d, def);
}

static void define_destination(struct twin *t, uint32_t d) {
    struct drawn drawn = {t, d};
    t->paces[d] = random_pace(t);
    assert_int_equal(push_define_more(&t->w, destination_names[d], t->paces[d], draw_more, &drawn),
                     REFUSAL_NONE);
    t->since[d]++;
    t->indices[d] = destination_find(t->w.model, span_text(destination_names[d]));
}

static void define_queue(struct twin *t, uint32_t q) {
    struct pace_def own = below(t, 2) ? push_pace(0, 1) : random_pace(t);
    struct retry_def retry = {.max_attempts = 1 + (uint32_t)below(t, 6),
                              .min_backoff_ns = 10 * NS_PER_MS,
                              .max_backoff_ns = NS_PER_SECOND,
                              .max_doublings = 3,
                              .max_duration_ns = below(t, 2) ? 0 : 3 * NS_PER_SECOND};
    const char *destination = destination_names[below(t, DESTINATIONS)];
    assert_int_equal(push_define_queue(&t->w, queue_names[q], destination, own, &retry),
                     REFUSAL_NONE);
}

/* ---- the promises ---- */

/* Of a strict limit that was always there while this history lasts. */
static void check_second(const struct twin *t, const struct past *now) {
    const struct pace_def *def = &t->seconds[now->destination];
    uint32_t spent = 0;
    for (uint32_t i = 0; i + 1 < t->count && def->count > 0; i++) {
        const struct past *p = &t->history[i];
        spent += p->destination == now->destination && p->since == t->since[now->destination] &&
                 (p->end_ns == UNDER_WAY || p->end_ns + def->period_ns > now->started_ns);
    }
    assert_true(def->count == 0 || spent < def->count);
}

/* As GCRA promises it, by turns, since the definition that holds now. */
static void check_smooth(const struct twin *t, const struct past *now) {
    const struct pace_def *def = &t->paces[now->destination];
    if (def->mode != PACE_SMOOTH || def->count == 0) {
        return;
    }
    uint64_t cost_ns = def->period_ns / def->count, starts = 1;
    for (uint32_t i = t->count - 1; i-- > 0;) {
        const struct past *p = &t->history[i];
        if (p->destination == now->destination && p->since == now->since) {
            uint64_t window_ns =
                now->started_ns > p->started_ns ? now->started_ns - p->started_ns : 0;
            starts++;
            assert_true(starts * cost_ns <= window_ns + def->burst * cost_ns);
        }
    }
}

static void check_start(const struct twin *t, const struct past *now) {
    uint32_t d = now->destination;
    check_second(t, now);
    check_smooth(t, now);
    assert_true((now->start.endpoint != 0) == (t->endpoints[d] > 0)); /* P5 */
    uint32_t spent = 0, open = 0;
    for (uint32_t i = 0; i + 1 < t->count; i++) {
        const struct past *p = &t->history[i];
        assert_true(p->end_ns != UNDER_WAY || p->start.message != now->start.message);
        if (p->destination == d) {
            open += p->end_ns == UNDER_WAY;
            spent += p->end_ns == UNDER_WAY || p->end_ns + t->paces[d].period_ns > now->started_ns;
        }
    }
    if (t->paces[d].mode == PACE_STRICT && t->paces[d].count > 0) {
        assert_true(spent < t->paces[d].count); /* P1 */
    }
    assert_true(t->paces[d].concurrency == 0 || open < t->paces[d].concurrency);
    assert_false(t->paused[d]); /* P3 */
}

static void check_info(struct twin *t, uint32_t d) {
    struct destination_info info = push_info(&t->w, destination_names[d]);
    uint64_t open = 0;
    for (uint32_t i = 0; i < t->count; i++) {
        open += t->history[i].destination == d && t->history[i].end_ns == UNDER_WAY;
    }
    assert_int_equal(info.in_flight, open); /* P2 */
}

/* ---- steps ---- */

static void step_start(struct twin *t) {
    if (t->count == HISTORY_MAX) {
        return;
    }
    struct past *p = &t->history[t->count];
    uint64_t next_ns = model_next_start_ns(t->w.model, t->w.now_ns);
    if (below(t, 2) ? !push_start(&t->w, &p->start) : !push_start_ahead(&t->w, &p->start)) {
        uint64_t due_ns = model_next_due_ns(t->w.model);
        assert_true(due_ns > t->w.now_ns);
        assert_true(model_next_start_ns(t->w.model, t->w.now_ns) > t->w.now_ns);
        if (next_ns != UINT64_MAX && next_ns < due_ns && next_ns > t->w.now_ns && below(t, 2)) {
            t->w.now_ns = next_ns; /* as the engine sleeps until then: it must have been worth it */
        }
        return;
    }
    assert_true(p->start.ahead_ns <= 56 * NS_PER_MS);
    p->started_ns = t->w.now_ns + p->start.ahead_ns;
    p->end_ns = UNDER_WAY;
    for (uint32_t d = 0; d < DESTINATIONS; d++) {
        p->destination = t->indices[d] == p->start.destination ? d : p->destination;
    }
    p->since = t->since[p->destination];
    t->count++;
    struct destination_info info = push_info(&t->w, destination_names[p->destination]);
    assert_true(info.closed_until_ns <= t->w.now_ns);
    assert_true(info.breaker == BREAKER_CLOSED || info.breaker == BREAKER_HALF_OPEN); /* P3 */
    check_start(t, p);
}

static void step_finish(struct twin *t, bool any) {
    static const uint16_t statuses[] = {200, 200, 200, 503, 429, 422, 0};
    for (uint32_t i = 0; i < t->count; i++) {
        struct past *p = &t->history[i];
        if (p->end_ns == UNDER_WAY && (any || below(t, 3) == 0)) {
            uint64_t after_ns = below(t, 10) == 0 ? below(t, 2 * NS_PER_SECOND) : 0;
            push_finish(&t->w, &p->start, statuses[below(t, 7)], after_ns);
            p->end_ns =
                t->w.now_ns; /* also before its turn: no engine does that, and it must do no harm */
        } else if (p->end_ns != UNDER_WAY && below(t, 500) == 0) {
            push_finish(&t->w, &p->start, 200, 0); /* stale: nothing may come of it */
        }
    }
}

static void step_crash(struct twin *t) {
    world_reload(&t->w);
    if (below(t, 2)) {
        t->w.now_ns += below(t, 2 * NS_PER_SECOND);
        uint32_t open = 0;
        for (uint32_t i = 0; i < t->count; i++) {
            struct past *p = &t->history[i];
            if (p->end_ns == UNDER_WAY) {
                uint64_t over_ns = p->started_ns + p->start.timeout_ns;
                p->end_ns = over_ns > t->w.now_ns ? over_ns : t->w.now_ns;
                open++;
            }
        }
        assert_int_equal(push_recover(&t->w), open);
    }
}

static void step_definition(struct twin *t) {
    uint32_t d = (uint32_t)below(t, DESTINATIONS);
    switch (below(t, 3)) {
    case 0:
        define_destination(t, d);
        break;
    case 1:
        define_queue(t, (uint32_t)below(t, QUEUES));
        break;
    default:
        t->paused[d] = !t->paused[d];
        push_ask_name(&t->w, t->paused[d] ? REQUEST_DESTINATION_PAUSE : REQUEST_DESTINATION_RESUME,
                      destination_names[d]);
    }
}

static void step(struct twin *t) {
    uint64_t what = below(t, 1000);
    t->w.now_ns += below(t, 60 * NS_PER_MS);
    if (what < 300) {
        push_publish(&t->w, queue_names[below(t, QUEUES)]);
        t->published++;
    } else if (what < 800) {
        step_start(t);
    } else if (what < 960) {
        step_finish(t, false);
    } else if (what < 975) {
        step_crash(t);
    } else if (what < 990) {
        step_definition(t);
    } else {
        model_check(t->w.model);
        check_info(t, (uint32_t)below(t, DESTINATIONS));
    }
}

/* With all doors open the backlog runs dry. */
static void drain(struct twin *t) {
    for (uint32_t d = 0; d < DESTINATIONS; d++) {
        t->paces[d] = push_pace(0, 1);
        t->seconds[d] = push_pace(0, 1);
        t->endpoints[d] = 0;
        assert_int_equal(push_define_destination(&t->w, destination_names[d], t->paces[d]),
                         REFUSAL_NONE);
        push_ask_name(&t->w, REQUEST_DESTINATION_RESUME, destination_names[d]);
        t->paused[d] = false;
    }
    for (int i = 0; i < 20000 && t->count < HISTORY_MAX; i++) {
        uint32_t before = t->count;
        step_start(t);
        step_finish(t, true);
        uint64_t next_ns = model_next_start_ns(t->w.model, t->w.now_ns);
        uint64_t due_ns = model_next_due_ns(t->w.model);
        next_ns = due_ns < next_ns ? due_ns : next_ns;
        if (next_ns == UINT64_MAX) {
            break;
        }
        if (t->count == before && next_ns > t->w.now_ns) {
            t->w.now_ns = next_ns;
        }
    }
    uint64_t succeeded = 0;
    for (uint32_t d = 0; d < DESTINATIONS; d++) {
        struct destination_info info = push_info(&t->w, destination_names[d]);
        assert_int_equal(info.in_flight, 0);
        assert_true(info.waiting == 0 || t->count == HISTORY_MAX);
        succeeded += info.succeeded;
    }
    assert_true(succeeded > 0 && succeeded <= t->published);
}

static void run(uint64_t seed) {
    static struct twin t;
    memset(&t, 0, sizeof t);
    world_init(&t.w, NULL);
    rng_init(&t.w.rng, seed);
    for (uint32_t d = 0; d < DESTINATIONS; d++) {
        define_destination(&t, d);
    }
    for (uint32_t q = 0; q < QUEUES; q++) {
        define_queue(&t, q);
    }
    for (int i = 0; i < 3000; i++) {
        step(&t);
    }
    model_check(t.w.model);
    drain(&t);
    model_check(t.w.model);
    world_check_replay(&t.w);
    world_reload(&t.w);
    world_release(&t.w);
}

static void promises_hold(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(15);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        run(seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(promises_hold)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
