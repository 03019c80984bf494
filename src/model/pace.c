/*
 * Pacing: GCRA for the spread, a ring of end times for the strict promise.
 *
 * GCRA keeps one number, the theoretical arrival time (TAT) of the next start. With T = period / count,
 * the ns that one start costs, and an allowance A = (burst - 1) * T:
 *
 *      may start:  now >= TAT - A              start:  TAT = max(TAT, now) + T
 *
 * T is rarely a whole number of ns, so TAT is kept as theoretical_ns + theoretical_rest / count, exactly:
 * rounding T up would waste up to a ns per start, rounding it down would break the promise.
 *
 * Strict mode adds `count` tokens. A start takes one; it comes back one period after the *end*. Tokens
 * of ended starts lie in the ring by their end times:
 *
 *      in_flight tokens   |  ring: e1 <= e2 <= ... <= en  |  free ones: count - in_flight - n
 *
 * With k = in_flight + n + 1 - count more tokens out than there may be, the next start must wait until the
 * k oldest ends are one period old. pace_start then forgets those k. So ends are only forgotten when they
 * are spent and somebody needs the place, which leaves the ring holding the newest ones: when the
 * period becomes longer or the count sinks at run time, what the new promise needs is mostly still there.
 * What is not is covered by `forgotten_ns`, the latest forgotten end: a new definition fills the ring up
 * to `count` with it, which errs on the slow side.
 *
 * Invariants:
 *   A1  theoretical_rest < count, or 0 without a rate.
 *   A2  the ring is ascending; only strict mode has one.
 *   A3  in_flight + ends_count <= ends_capacity in strict mode, so that an end always finds its place.
 *   A4  after a start in strict mode: in_flight + ends_count <= count.
 */
#include "model/pace.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/u64.h"

/* burst * T may span this much: keeps every sum of times far from 2^64. */
#define ALLOWANCE_MAX_NS (UINT64_C(366) * 86400 * 1000000000)

/* Tokens out and known ends of one pace: far above what may be under way; a snapshot with more is none of ours. */
#define RING_MAX (64u << 20)

__extension__ typedef unsigned __int128 uint128;

/* A time with its fraction: ns + rest / count. */
struct exact {
    uint64_t ns;
    uint64_t rest;
};

static bool is_strict(const struct pace_def *def) {
    return def->mode == PACE_STRICT && def->count > 0;
}

bool pace_def_valid(const struct pace_def *def) {
    if ((def->mode != PACE_SMOOTH && def->mode != PACE_STRICT) || def->count > PACE_COUNT_MAX) {
        return false;
    }
    if (def->count == 0) {
        return true;
    }
    if (def->burst > PACE_COUNT_MAX || def->period_ns < 1) {
        return false;
    }
    return def->period_ns / def->count < ALLOWANCE_MAX_NS / pace_burst(def);
}

/*
 * An allowance of one makes every start that comes a little late a start lost for ever: at 500/s on a busy
 * machine 15 % of the limit went unused. Smooth has 16 ms for starts that leave when they are decided; those that
 * have turns (pace_by_turns) need none of it. Strict does not rest on GCRA, so there it is only as small as evenness wants.
 */
static uint32_t burst_by_rate(const struct pace_def *def) {
    uint32_t burst = def->count / (def->mode == PACE_STRICT ? 10 : 62);
    return burst > 1 ? burst : 1;
}

uint32_t pace_burst(const struct pace_def *def) {
    return def->burst != 0 ? def->burst : burst_by_rate(def);
}

void pace_forget_chosen(struct pace_def *def) {
    def->burst = def->burst == burst_by_rate(def) ? 0 : def->burst;
}

/* What `starts` starts cost: starts * period / count. */
static struct exact cost_of(const struct pace_def *def, uint64_t starts) {
    if (def->count == 0) {
        return (struct exact){0, 0};
    }
    uint64_t rest = starts * (def->period_ns % def->count); /* < 10^6 * 10^6 */
    return (struct exact){
        .ns = starts * (def->period_ns / def->count) + rest / def->count,
        .rest = rest % def->count,
    };
}

/* The earliest time at which GCRA lets the next one start: TAT - A, rounded up. */
static uint64_t earliest_ns(const struct pace *p) {
    if (p->def.count == 0) {
        return p->theoretical_ns;
    }
    struct exact allowance = cost_of(&p->def, pace_burst(&p->def) - 1);
    uint64_t at_ns = p->theoretical_ns + (p->theoretical_rest > allowance.rest);
    return at_ns > allowance.ns ? at_ns - allowance.ns : 0;
}

/* ---- the ring of ends ---- */

static uint32_t ring_index(const struct pace *p, uint32_t nth) {
    uint64_t i = (uint64_t)p->ends_first + nth;
    return (uint32_t)(i < p->ends_capacity ? i : i - p->ends_capacity);
}

static uint64_t ring_at(const struct pace *p, uint32_t nth) {
    assert(nth < p->ends_count);
    return p->ends[ring_index(p, nth)];
}

/* Nearly always at the end; only after an outcome was unknown do later ends stand there already. */
static void ring_insert(struct pace *p, uint64_t end_ns) {
    assert(p->ends_count < p->ends_capacity); /* A3 */
    uint32_t nth = p->ends_count++;
    while (nth > 0 && ring_at(p, nth - 1) > end_ns) {
        p->ends[ring_index(p, nth)] = ring_at(p, nth - 1);
        nth--;
    }
    p->ends[ring_index(p, nth)] = end_ns;
}

static void forget(struct pace *p, uint64_t end_ns) {
    if (end_ns > p->forgotten_ns) {
        p->forgotten_ns = end_ns;
    }
}

static void ring_forget_oldest(struct pace *p) {
    forget(p, ring_at(p, 0));
    p->ends_first = ring_index(p, 1);
    p->ends_count--;
}

/* How many of the oldest ends must have come back before one more may start. */
static uint32_t ends_needed(const struct pace *p) {
    uint64_t out = (uint64_t)p->in_flight + p->ends_count;
    return out < p->def.count ? 0 : (uint32_t)(out + 1 - p->def.count);
}

static uint64_t tokens_wait_ns(const struct pace *p, uint64_t now_ns) {
    uint32_t needed = ends_needed(p);
    if (needed == 0) {
        return 0;
    }
    if (needed > p->ends_count) {
        return PACE_WAIT_FOR_END;
    }
    uint64_t back_ns = ring_at(p, needed - 1) + p->def.period_ns;
    return back_ns > now_ns ? back_ns - now_ns : 0;
}

/* ---- definition ---- */

static void ring_release(struct pace *p) {
    free(p->ends);
    p->ends = NULL;
    p->ends_first = p->ends_count = p->ends_capacity = 0;
}

/* The old ends in a new ring, among them `filled` times forgotten_ns. */
static void ring_move(struct pace *p, uint64_t *ends, uint32_t capacity, uint32_t filled) {
    uint32_t known = p->ends_count;
    uint32_t at = 0;
    uint32_t nth = 0;
    while (nth < known && ring_at(p, nth) <= p->forgotten_ns) {
        ends[at++] = ring_at(p, nth++);
    }
    for (uint32_t i = 0; i < filled; i++) {
        ends[at++] = p->forgotten_ns;
    }
    while (nth < known) {
        ends[at++] = ring_at(p, nth++);
    }
    free(p->ends);
    p->ends = ends;
    p->ends_first = 0;
    p->ends_count = at;
    p->ends_capacity = capacity;
}

static int define_ring(struct pace *p, const struct pace_def *def) {
    if (!is_strict(def)) {
        if (p->ends_count > 0) {
            forget(p, ring_at(p, p->ends_count - 1));
        }
        ring_release(p);
        return 0;
    }
    /* As if every token without a known end had ended last of all that is forgotten. */
    uint32_t known = p->ends_count;
    uint32_t filled = p->forgotten_ns != 0 && known < def->count ? def->count - known : 0;
    uint32_t out = p->in_flight + known + filled;
    uint32_t capacity = out > def->count ? out : def->count;
    uint64_t *ends = malloc(capacity * sizeof *ends);
    if (ends == NULL) {
        return E_NOMEM;
    }
    ring_move(p, ends, capacity, filled);
    return 0;
}

/*
 * The earliest next start stays where it is, so a larger burst has to be earned first; TAT never goes
 * back, so a smaller one gives nothing back of what was spent.
 */
static void define_theoretical(struct pace *p, const struct pace_def *def) {
    uint64_t floor_ns = p->theoretical_ns + (p->theoretical_rest > 0);
    if (floor_ns > 0 && def->count > 0) {
        struct exact allowance = cost_of(def, pace_burst(def) - 1);
        uint64_t kept_ns = earliest_ns(p) + allowance.ns + (allowance.rest > 0);
        floor_ns = kept_ns > floor_ns ? kept_ns : floor_ns;
    }
    p->theoretical_ns = floor_ns;
    p->theoretical_rest = 0;
}

static bool same_def(const struct pace_def *a, const struct pace_def *b) {
    return a->mode == b->mode && a->count == b->count && a->period_ns == b->period_ns &&
           a->burst == b->burst && a->concurrency == b->concurrency;
}

int pace_define(struct pace *p, const struct pace_def *def) {
    assert(pace_def_valid(def));
    if (same_def(&p->def, def)) {
        return 0;
    }
    int rc = define_ring(p, def);
    if (rc != 0) {
        return rc;
    }
    define_theoretical(p, def);
    p->def = *def;
    return 0;
}

void pace_init(struct pace *p) {
    *p = (struct pace){0};
}

void pace_release(struct pace *p) {
    ring_release(p);
}

/* ---- running ---- */

uint64_t pace_wait_ns(const struct pace *p, uint64_t now_ns) {
    if (p->def.concurrency != 0 && p->in_flight >= p->def.concurrency) {
        return PACE_WAIT_FOR_END;
    }
    if (p->def.count == 0) {
        return 0;
    }
    uint64_t at_ns = earliest_ns(p);
    uint64_t wait_ns = at_ns > now_ns ? at_ns - now_ns : 0;
    if (is_strict(&p->def)) {
        uint64_t tokens_ns = tokens_wait_ns(p, now_ns);
        wait_ns = tokens_ns > wait_ns ? tokens_ns : wait_ns;
    }
    return wait_ns;
}

bool pace_by_turns(const struct pace *p) {
    return p->def.count > 0 && !is_strict(&p->def) && p->def.burst == 0;
}

uint64_t pace_turn_ns(const struct pace *p, uint64_t now_ns) {
    uint64_t turn_ns = p->theoretical_ns + (p->theoretical_rest > 0);
    return pace_by_turns(p) && turn_ns > now_ns ? turn_ns : now_ns;
}

/* Ends so long ago that their tokens are back. */
static uint32_t ends_back(const struct pace *p, uint64_t now_ns) {
    uint32_t least_back = 0, most = p->ends_count;
    while (least_back < most) {
        uint32_t middle = least_back + (most - least_back) / 2;
        if (ring_at(p, middle) + p->def.period_ns <= now_ns) {
            least_back = middle + 1;
        } else {
            most = middle;
        }
    }
    return least_back;
}

static uint64_t tokens_left(const struct pace *p, uint64_t now_ns) {
    uint64_t out = (uint64_t)p->in_flight + p->ends_count - ends_back(p, now_ns);
    return out < p->def.count ? p->def.count - out : 0;
}

static uint64_t burst_left(const struct pace *p, uint64_t now_ns) {
    uint64_t burst = pace_burst(&p->def);
    uint64_t ahead_ns = p->theoretical_ns > now_ns ? p->theoretical_ns - now_ns : 0;
    uint64_t interval_ns = p->def.period_ns / p->def.count;
    uint64_t spent = interval_ns > 0 ? (ahead_ns + interval_ns - 1) / interval_ns : 0;
    return spent < burst ? burst - spent : 0;
}

uint64_t pace_left(const struct pace *p, uint64_t now_ns) {
    uint64_t left = UINT64_MAX;
    if (p->def.concurrency != 0) {
        left = p->in_flight < p->def.concurrency ? p->def.concurrency - p->in_flight : 0;
    }
    if (p->def.count == 0) {
        return left;
    }
    left = u64_min(left, burst_left(p, now_ns));
    return is_strict(&p->def) ? u64_min(left, tokens_left(p, now_ns)) : left;
}

/* Until the token of the start number `nth` is back, if each is used again as soon as it is. */
static uint128 token_takes_ns(const struct pace *p, uint64_t now_ns, uint64_t nth) {
    uint64_t free = tokens_left(p, now_ns), in_round = nth % p->def.count;
    uint128 rounds_ns = (uint128)(nth / p->def.count) * p->def.period_ns;
    if (in_round < free) {
        return rounds_ns;
    }
    uint64_t end = ends_back(p, now_ns) + in_round - free;
    uint64_t back_ns = end < p->ends_count ? ring_at(p, (uint32_t)end) : now_ns;
    return rounds_ns + back_ns + p->def.period_ns - now_ns;
}

uint64_t pace_takes_ns(const struct pace *p, uint64_t now_ns, uint64_t starts) {
    if (p->def.count == 0) {
        return 0;
    }
    bool even = pace_by_turns(p);
    uint64_t left = burst_left(p, now_ns), at_ns = even ? pace_turn_ns(p, now_ns) : earliest_ns(p);
    uint128 takes_ns = at_ns > now_ns ? at_ns - now_ns : 0;
    if (even) {
        takes_ns += (uint128)starts * p->def.period_ns / p->def.count;
    } else if (starts >= left) {
        uint128 even_ns = ((uint128)starts + 1 - left) * p->def.period_ns / p->def.count;
        takes_ns = takes_ns > even_ns ? takes_ns : even_ns;
    }
    if (is_strict(&p->def)) {
        uint128 token_ns = token_takes_ns(p, now_ns, starts);
        takes_ns = takes_ns > token_ns ? takes_ns : token_ns;
    }
    return takes_ns < PACE_TAKES_MAX_NS ? (uint64_t)takes_ns : PACE_TAKES_MAX_NS;
}

void pace_start(struct pace *p, uint64_t now_ns) {
    assert(pace_wait_ns(p, now_ns) == 0);
    if (is_strict(&p->def)) {
        for (uint32_t needed = ends_needed(p); needed > 0; needed--) {
            ring_forget_oldest(p);
        }
    }
    if (p->theoretical_ns < now_ns) {
        p->theoretical_ns = now_ns;
        p->theoretical_rest = 0;
    }
    if (p->def.count > 0) {
        struct exact cost = cost_of(&p->def, 1);
        uint64_t rest = p->theoretical_rest + cost.rest;
        p->theoretical_ns += cost.ns + rest / p->def.count;
        p->theoretical_rest = (uint32_t)(rest % p->def.count);
    }
    p->in_flight++;
}

void pace_end(struct pace *p, uint64_t end_ns) {
    assert(p->in_flight > 0);
    p->in_flight--;
    if (is_strict(&p->def)) {
        ring_insert(p, end_ns);
    } else {
        forget(p, end_ns);
    }
}

/* ---- snapshot ---- */

/* With the mode: the burst is the one that was asked for. Without: see pace_forget_chosen. */
#define BURST_AS_ASKED 2u

/*
 * u8 mode, u32 count, u64 period_ns, u32 burst, u32 concurrency, u64 theoretical_ns, u32 rest,
 * u32 in_flight, u64 forgotten_ns, u32 n, n * u64 ends ascending.
 */
int pace_save(const struct pace *p, struct buffer *out) {
    int rc = buffer_reserve(out, 49 + (size_t)p->ends_count * 8);
    if (rc != 0) {
        return rc;
    }
    /* Room is reserved: none of these can fail, the sum only says so to the compiler. */
    rc |= buffer_put_u8(out, (uint8_t)(p->def.mode | BURST_AS_ASKED));
    rc |= buffer_put_u32(out, p->def.count);
    rc |= buffer_put_u64(out, p->def.period_ns);
    rc |= buffer_put_u32(out, p->def.burst);
    rc |= buffer_put_u32(out, p->def.concurrency);
    rc |= buffer_put_u64(out, p->theoretical_ns);
    rc |= buffer_put_u32(out, p->theoretical_rest);
    rc |= buffer_put_u32(out, p->in_flight);
    rc |= buffer_put_u64(out, p->forgotten_ns);
    rc |= buffer_put_u32(out, p->ends_count);
    for (uint32_t nth = 0; nth < p->ends_count; nth++) {
        rc |= buffer_put_u64(out, ring_at(p, nth));
    }
    assert(rc == 0);
    return rc;
}

static int load_ends(struct pace *p, struct reader *in, uint32_t ends_count) {
    if (!is_strict(&p->def)) {
        return ends_count == 0 ? 0 : E_CORRUPT;
    }
    uint64_t out = (uint64_t)p->in_flight + ends_count;
    uint64_t capacity = out > p->def.count ? out : p->def.count;
    if (ends_count > in->left / 8 || capacity > RING_MAX) {
        return E_CORRUPT;
    }
    p->ends = malloc(capacity * sizeof *p->ends);
    if (p->ends == NULL) {
        return E_NOMEM;
    }
    p->ends_capacity = (uint32_t)capacity;
    for (uint32_t i = 0; i < ends_count; i++) {
        p->ends[i] = reader_u64(in);
        if (i > 0 && p->ends[i] < p->ends[i - 1]) {
            return E_CORRUPT;
        }
    }
    p->ends_count = ends_count;
    return 0;
}

int pace_load(struct pace *p, struct reader *in) {
    struct pace next = {0};
    uint8_t mode = reader_u8(in);
    next.def.mode = (enum pace_mode)(mode & ~BURST_AS_ASKED);
    next.def.count = reader_u32(in);
    next.def.period_ns = reader_u64(in);
    next.def.burst = reader_u32(in);
    next.def.concurrency = reader_u32(in);
    next.theoretical_ns = reader_u64(in);
    next.theoretical_rest = reader_u32(in);
    next.in_flight = reader_u32(in);
    next.forgotten_ns = reader_u64(in);
    uint32_t ends_count = reader_u32(in);
    uint32_t rest_limit = next.def.count > 0 ? next.def.count : 1;
    if ((mode & BURST_AS_ASKED) == 0) {
        pace_forget_chosen(&next.def);
    }
    if (in->failed || !pace_def_valid(&next.def) || next.theoretical_rest >= rest_limit) {
        return E_CORRUPT;
    }
    int rc = load_ends(&next, in, ends_count);
    if (rc != 0) {
        pace_release(&next);
        return rc;
    }
    pace_release(p);
    *p = next;
    return 0;
}

void pace_check(const struct pace *p) {
    assert(p->theoretical_rest == 0 || p->theoretical_rest < p->def.count); /* A1 */
    if (!is_strict(&p->def)) {
        assert(p->ends == NULL && p->ends_count == 0); /* A2 */
        return;
    }
    assert((uint64_t)p->in_flight + p->ends_count <= p->ends_capacity); /* A3 */
    for (uint32_t nth = 1; nth < p->ends_count; nth++) {
        assert(ring_at(p, nth - 1) <= ring_at(p, nth)); /* A2 */
    }
}
