/*
 * A day with a flapping provider: 24 hours of the simulated clock, in which it is well, slow, down or limits
 * us (429 with Retry-After), for 1 to 20 minutes each; every hour, and now and then in between, the program ends and starts
 * again from its snapshot. A message every 12 s on average.
 *
 *   - each limit (3 a second, 60 a minute, strict) holds in every window: fewer than `count` attempts are
 *     under way or ended less than a period ago at any start;
 *   - nothing starts before a Retry-After is over;
 *   - the breaker moves as its table says, and each opening in a row is twice as long as the last;
 *   - every message ends, once: sent, or refused for good.
 * SEED=n repeats a day.
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

#define HOUR_NS      (3600 * NS_PER_SECOND)
#define MINUTE_NS    (60 * NS_PER_SECOND)
#define OPEN_NS      (10 * NS_PER_SECOND)
#define OPEN_MAX_NS  (5 * MINUTE_NS)
#define TIMEOUT_NS   (10 * NS_PER_SECOND)
#define PER_SECOND   3u
#define PER_MINUTE   60u
#define PROBES       3u
#define ATTEMPTS_MAX 200000u
#define LOOK_BACK    500u /* more than any window holds */
#define UNDER_WAY    UINT64_MAX

enum weather { WELL, SLOW, DOWN, LIMITING, WEATHERS };
enum action { OTHER, START, END };

struct call {
    struct attempt_start start;
    uint64_t started_ns, answer_ns,
        end_ns; /* end_ns: when its token's second begins; or UNDER_WAY */
    uint16_t status;
    uint64_t retry_after_ns;
    uint32_t probing; /* 0: no probe; else which half-open time it probes for */
};

struct day {
    struct world w;
    struct call calls[ATTEMPTS_MAX];
    uint32_t count, first_open; /* no call before first_open is under way */
    enum weather weather;
    uint64_t weather_until_ns, publish_ns, crash_ns, closed_until_ns;
    uint64_t published, sent, refused;
    enum breaker_state breaker;
    uint32_t openings, probes, reached[4]; /* openings in a row; starts since half-open; states */
};

static uint64_t below(struct day *t, uint64_t bound) {
    return rng_below(&t->w.rng, bound);
}

static void draw_weather(struct day *t) {
    t->weather = (enum weather)below(t, WEATHERS);
    t->weather_until_ns = t->w.now_ns + MINUTE_NS + below(t, 19 * MINUTE_NS);
}

/* ---- what is defined ---- */

static void guards(struct destination_def *def, void *context) {
    (void)context;
    struct pace_def *minute = calloc(1, sizeof *minute);
    assert_non_null(minute);
    *minute = (struct pace_def){
        .mode = PACE_STRICT, .count = PER_MINUTE, .period_ns = MINUTE_NS, .burst = PER_MINUTE};
    def->limits.items = minute;
    def->limits.count = 1;
    def->timeout_ns = TIMEOUT_NS;
    def->budget.percent = 50;
    def->breaker = (struct breaker_def){.window_calls = 20,
                                        .failure_percent = 50,
                                        .slow_ns = 2 * NS_PER_SECOND,
                                        .slow_percent = 80,
                                        .minimum_calls = 10,
                                        .probes = PROBES,
                                        .open_ns = OPEN_NS,
                                        .open_max_ns = OPEN_MAX_NS};
}

static void define(struct day *t) {
    struct pace_def second = push_pace(PER_SECOND, PER_SECOND);
    second.mode = PACE_STRICT;
    struct retry_def retry = {
        .min_backoff_ns = NS_PER_SECOND, .max_backoff_ns = 5 * MINUTE_NS, .max_doublings = 10};
    assert_int_equal(push_define_more(&t->w, "d", second, guards, NULL), REFUSAL_NONE);
    assert_int_equal(push_define_queue(&t->w, "q", "d", push_pace(0, 1), &retry), REFUSAL_NONE);
}

/* ---- the promises ---- */

static void check_window(const struct day *t, uint32_t count, uint64_t period_ns) {
    uint32_t spent = 0;
    for (uint32_t i = t->count > LOOK_BACK ? t->count - LOOK_BACK : 0; i < t->count; i++) {
        uint64_t end_ns = t->calls[i].end_ns;
        spent += end_ns == UNDER_WAY || end_ns + period_ns > t->w.now_ns;
    }
    assert_true(spent < count);
}

static void check_breaker(struct day *t, enum action action) {
    static const uint8_t allowed[3][3] = {
        /* to, as bits, from CLOSED, OPEN, HALF_OPEN */
        [OTHER] = {1 << BREAKER_CLOSED, 1 << BREAKER_OPEN, 1 << BREAKER_HALF_OPEN},
        [START] = {1 << BREAKER_CLOSED, 1 << BREAKER_HALF_OPEN, 1 << BREAKER_HALF_OPEN},
        [END] = {1 << BREAKER_CLOSED | 1 << BREAKER_OPEN, 1 << BREAKER_OPEN,
                 1 << BREAKER_CLOSED | 1 << BREAKER_OPEN | 1 << BREAKER_HALF_OPEN},
    };
    struct destination_info info = push_info(&t->w, "d");
    enum breaker_state now = (enum breaker_state)info.breaker;
    assert_true(allowed[action][t->breaker] >> now & 1);
    if (now == BREAKER_OPEN && t->breaker != BREAKER_OPEN) {
        uint64_t open_ns = OPEN_NS << (t->openings < 10 ? t->openings : 10);
        open_ns = open_ns < OPEN_MAX_NS ? open_ns : OPEN_MAX_NS;
        assert_int_equal(info.breaker_until_ns, t->w.now_ns + open_ns);
        t->openings++;
    }
    t->openings = now == BREAKER_CLOSED ? 0 : t->openings;
    t->probes = now != BREAKER_HALF_OPEN ? 0 : t->probes + (action == START);
    assert_true(t->probes <= PROBES);
    t->reached[now] += now != t->breaker;
    t->breaker = now;
}

/* ---- what happens ---- */

static void answer(struct day *t, struct call *c) {
    uint64_t now_ns = t->w.now_ns, quick_ns = NS_PER_MS * (20 + below(t, 200));
    c->started_ns = now_ns;
    c->end_ns = UNDER_WAY;
    c->answer_ns = now_ns + quick_ns;
    c->retry_after_ns = 0;
    c->status = below(t, 100) == 0 ? 422 : 200;
    if (t->weather == SLOW) {
        c->answer_ns = now_ns + 3 * NS_PER_SECOND + below(t, 2 * NS_PER_SECOND);
    } else if (t->weather == DOWN) {
        bool silent = below(t, 2);
        c->answer_ns = silent ? now_ns + TIMEOUT_NS : c->answer_ns;
        c->status = silent ? 0 : 503;
    } else if (t->weather == LIMITING && below(t, 4) != 0) {
        c->status = 429;
        c->retry_after_ns = NS_PER_SECOND * (1 + below(t, 120));
    }
}

static void start_all(struct day *t) {
    assert_true(t->count < ATTEMPTS_MAX);
    struct call *c = &t->calls[t->count];
    while (push_start(&t->w, &c->start)) {
        assert_true(t->closed_until_ns <= t->w.now_ns);
        check_window(t, PER_SECOND, NS_PER_SECOND);
        check_window(t, PER_MINUTE, MINUTE_NS);
        answer(t, c);
        t->count++;
        assert_true(t->count < ATTEMPTS_MAX);
        check_breaker(t, START);
        c->probing = t->breaker == BREAKER_HALF_OPEN ? t->reached[BREAKER_HALF_OPEN] : 0;
        c = &t->calls[t->count];
    }
    check_breaker(t, OTHER);
}

static void end_one(struct day *t, struct call *c) {
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish = (struct attempt_finish){
        .message = c->start.message,
        .attempt = c->start.attempt,
        .status = c->status,
        .error = c->status == 0 ? ATTEMPT_TIMEOUT : ATTEMPT_OK,
        .retriable = c->status == 0 || c->status == 429 || c->status >= 500,
        .success = c->status == 200,
        .duration_ns = t->w.now_ns - c->started_ns,
        .retry_after_ns = c->retry_after_ns,
        .excerpt = span_text("what it said"),
    };
    assert_int_equal(world_ask(&t->w, &r), REFUSAL_NONE);
    request_release(&r);
    c->end_ns = t->w.now_ns;
    t->sent += c->status == 200;
    t->refused += c->status == 422;
    if (c->retry_after_ns != 0 && t->closed_until_ns < t->w.now_ns + c->retry_after_ns) {
        t->closed_until_ns = t->w.now_ns + c->retry_after_ns;
    }
    check_breaker(t, END);
}

static void end_all_due(struct day *t) {
    for (uint32_t i = t->first_open; i < t->count; i++) {
        if (t->calls[i].end_ns == UNDER_WAY && t->calls[i].answer_ns <= t->w.now_ns) {
            end_one(t, &t->calls[i]);
        }
    }
    while (t->first_open < t->count && t->calls[t->first_open].end_ns != UNDER_WAY) {
        t->first_open++;
    }
}

/* Ends without a word, and is back some seconds later: what was under way is unknown, and counts as made. */
static void crash(struct day *t) {
    world_reload(&t->w);
    t->w.now_ns += below(t, 5 * NS_PER_SECOND);
    uint32_t open = 0;
    for (uint32_t i = t->first_open; i < t->count; i++) {
        struct call *c = &t->calls[i];
        if (c->end_ns == UNDER_WAY) {
            uint64_t over_ns = c->started_ns + c->start.timeout_ns;
            c->end_ns = over_ns > t->w.now_ns ? over_ns : t->w.now_ns;
            open++;
            /* A probe of unknown outcome decides nothing: another one goes in its place. */
            t->probes -= c->probing != 0 && c->probing == t->reached[BREAKER_HALF_OPEN] &&
                         t->breaker == BREAKER_HALF_OPEN;
        }
    }
    assert_int_equal(push_recover(&t->w), open);
    check_breaker(t, END);
    t->crash_ns = t->w.now_ns + (below(t, 3) ? HOUR_NS : below(t, HOUR_NS));
}

static void earlier(uint64_t *ns, uint64_t other_ns) {
    *ns = other_ns < *ns ? other_ns : *ns;
}

/* The clock goes to whatever comes next; false: nothing does. */
static bool wait_for_next(struct day *t, bool day) {
    uint64_t next_ns = UINT64_MAX;
    earlier(&next_ns, model_next_start_ns(t->w.model, t->w.now_ns));
    earlier(&next_ns, model_next_due_ns(t->w.model));
    for (uint32_t i = t->first_open; i < t->count; i++) {
        earlier(&next_ns, t->calls[i].end_ns == UNDER_WAY ? t->calls[i].answer_ns : UINT64_MAX);
    }
    if (day) {
        earlier(&next_ns, t->publish_ns);
        earlier(&next_ns, t->weather_until_ns);
        earlier(&next_ns, t->crash_ns);
    }
    if (next_ns == UINT64_MAX) {
        return false;
    }
    t->w.now_ns = next_ns > t->w.now_ns ? next_ns : t->w.now_ns;
    return true;
}

static void step_of_day(struct day *t) {
    if (t->w.now_ns >= t->weather_until_ns) {
        draw_weather(t);
    }
    if (t->w.now_ns >= t->publish_ns) {
        push_publish(&t->w, "q");
        t->published++;
        t->publish_ns = t->w.now_ns + below(t, 24 * NS_PER_SECOND);
    }
    if (t->w.now_ns >= t->crash_ns) {
        crash(t);
    }
}

static void run(uint64_t seed) {
    struct day *t = calloc(1, sizeof *t);
    assert_non_null(t);
    world_init(&t->w, NULL);
    rng_init(&t->w.rng, seed);
    define(t);
    uint64_t end_ns = t->w.now_ns + 24 * HOUR_NS;
    t->crash_ns = t->w.now_ns + HOUR_NS;
    draw_weather(t);
    while (t->w.now_ns < end_ns) {
        step_of_day(t);
        end_all_due(t);
        start_all(t);
        assert_true(wait_for_next(t, true));
    }
    t->weather = WELL;
    do {
        end_all_due(t);
        start_all(t);
    } while (t->sent + t->refused < t->published && wait_for_next(t, false));
    struct destination_info info = push_info(&t->w, "d");
    print_message(
        "seed %llu: %llu messages, %u attempts; %llu sent, %llu refused; opened %u times, "
        "probed %u, closed %u\n",
        (unsigned long long)seed, (unsigned long long)t->published, t->count,
        (unsigned long long)t->sent, (unsigned long long)t->refused, t->reached[BREAKER_OPEN],
        t->reached[BREAKER_HALF_OPEN], t->reached[BREAKER_CLOSED]);
    assert_int_equal(t->sent + t->refused, t->published);
    assert_int_equal(info.succeeded, t->sent);
    assert_int_equal(info.waiting + info.in_flight, 0);
    assert_true(t->reached[BREAKER_CLOSED] > 0);
    model_check(t->w.model);
    world_release(&t->w);
    free(t);
}

static void a_day_with_a_flapping_provider(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(3);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        run(seed);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_day_with_a_flapping_provider)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
