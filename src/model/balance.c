/*
 * Choosing among endpoints.
 *
 * Round robin, weighted and dynamic are one algorithm with other weights, nginx's smooth weighted round robin:
 * each endpoint that is in gains its weight, the one with the most goes and pays the sum of all. In any run of
 * sum(w) choices each is chosen w times, and never in a lump.
 *
 * Consistent hashing is by rendezvous: each endpoint has a score for the key, the best one has it. With
 * h uniform in (0,1] from key and endpoint, the score w / -ln(h) makes the shares proportional to the
 * weights, and since the scores of the others do not depend on who is there, a key only moves to or from
 * the endpoint that came or went. The logarithm is to base 2 in fixed point (log2_q32), so that it is the
 * same on every machine.
 */
#include "model/balance.h"

#include <assert.h>

#include "base/clock.h"
#include "base/hash.h"

#define FADE_NS (10 * NS_PER_SECOND)

__extension__ typedef unsigned __int128 uint128;

/* log2(x) * 2^32 for x >= 1, by squaring the mantissa a bit at a time. */
static uint64_t log2_q32(uint64_t x) {
    unsigned whole = 63 - (unsigned)__builtin_clzll(x);
    uint64_t mantissa = x << (63 - whole); /* 1.0 is 2^63 */
    uint64_t bits = 0;
    for (unsigned i = 0; i < 32; i++) {
        uint128 square = (uint128)mantissa * mantissa >> 63;
        bool carry = square >> 64 != 0;
        mantissa = (uint64_t)(carry ? square >> 1 : square);
        bits = bits << 1 | carry;
    }
    return (uint64_t)whole << 32 | bits;
}

/* -log2(h) in 2^-32, for h uniform in (0,1]; at least 1. */
static uint64_t distance(uint64_t key, uint32_t id) {
    uint64_t h = hash_u64(key ^ hash_u64(id + UINT64_C(0x9e3779b97f4a7c15)));
    uint64_t log = log2_q32(h != 0 ? h : 1);
    uint64_t most = UINT64_C(64) << 32;
    return most > log ? most - log : 1;
}

static uint32_t choose_consistent(const struct endpoints *e, uint64_t key, uint64_t now_ns) {
    const struct endpoint *best = NULL;
    uint64_t best_distance = 0, best_weight = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        const struct endpoint *n = &e->items[i];
        if (!endpoint_is_in(n, now_ns, NULL)) {
            continue;
        }
        uint64_t d = distance(key, n->id);
        uint64_t weight = n->weight; /* no slow start: a key that moved would move back */
        /* weight / d > best_weight / best_distance */
        if (best == NULL || (uint128)weight * best_distance > (uint128)best_weight * d) {
            best = n;
            best_distance = d;
            best_weight = weight;
        }
    }
    return best != NULL ? best->id : 0;
}

/* ---- smooth weighted ---- */

static uint64_t least_average(const struct endpoints *e, uint64_t now_ns) {
    uint64_t least = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        const struct endpoint *n = &e->items[i];
        if (endpoint_is_in(n, now_ns, NULL) && n->average_us != 0 &&
            (least == 0 || n->average_us < least)) {
            least = n->average_us;
        }
    }
    return least;
}

/* By what it may be asked more or less often than the others; at least a hundredth, so that it is seen recover. */
static uint64_t share_of(const struct endpoint *n, const struct balance_def *def, uint64_t least_us,
                         uint64_t now_ns) {
    uint64_t whole = endpoint_weight(n, def, now_ns);
    if (def->policy == BALANCE_ROUND_ROBIN) {
        return whole / n->weight > 0 ? whole / n->weight : 1;
    }
    if (def->policy != BALANCE_DYNAMIC) {
        return whole;
    }
    uint64_t good = endpoint_success_percent(n, now_ns);
    uint64_t share = (uint64_t)((uint128)whole * good * good / 10000);
    if (n->average_us > least_us && least_us != 0) {
        share = (uint64_t)((uint128)share * least_us / n->average_us);
    }
    uint64_t least = whole / 100 > 0 ? whole / 100 : 1;
    return share > least ? share : least;
}

static uint32_t choose_by_turn(const struct endpoints *e, const struct balance_def *def,
                               uint64_t now_ns) {
    const struct endpoint *best = NULL;
    int64_t most = 0;
    uint64_t least_us = least_average(e, now_ns);
    for (uint32_t i = 0; i < e->count; i++) {
        const struct endpoint *n = &e->items[i];
        if (!endpoint_is_in(n, now_ns, NULL)) {
            continue;
        }
        int64_t turn = n->turn + (int64_t)share_of(n, def, least_us, now_ns);
        if (best == NULL || turn > most) {
            best = n;
            most = turn;
        }
    }
    return best != NULL ? best->id : 0;
}

/* After a long absence an endpoint is neither owed nor owing much. */
static int64_t bounded(int64_t turn, int64_t sum) {
    return turn > sum ? sum : turn < -sum ? -sum : turn;
}

static void take_turn(struct endpoints *e, const struct balance_def *def, struct endpoint *chosen,
                      uint64_t now_ns) {
    uint64_t least_us = least_average(e, now_ns);
    int64_t sum = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        struct endpoint *n = &e->items[i];
        if (endpoint_is_in(n, now_ns, NULL)) {
            int64_t share = (int64_t)share_of(n, def, least_us, now_ns);
            n->turn += share;
            sum += share;
        }
    }
    chosen->turn -= sum;
    for (uint32_t i = 0; i < e->count; i++) {
        e->items[i].turn = bounded(e->items[i].turn, sum);
    }
}

/* ---- the least of something ---- */

/* What a call more would cost; compared after division by the weight. */
static uint128 load_of(const struct endpoint *n, const struct balance_def *def, uint64_t now_ns) {
    uint128 calls = (uint128)n->in_flight + 1;
    if (def->policy != BALANCE_LEAST_TIME) {
        return calls;
    }
    if (n->average_us ==
        0) { /* nobody knows: one call finds out, the others wait for what it says */
        return n->in_flight == 0 ? 0 : (uint128)1 << 60;
    }
    /* Who is not asked cannot show that it is quick again: what was measured fades. */
    uint64_t age_ns = now_ns > n->answered_ns ? now_ns - n->answered_ns : 0;
    return calls * n->average_us * FADE_NS / (FADE_NS + age_ns) + 1;
}

static bool is_less(const struct endpoint *a, const struct endpoint *b,
                    const struct balance_def *def, uint64_t now_ns) {
    return load_of(a, def, now_ns) * endpoint_weight(b, def, now_ns) <
           load_of(b, def, now_ns) * endpoint_weight(a, def, now_ns);
}

/* Among equals the one that was chosen least lately, so that idle ones take turns: `turn` counts for that. */
static uint32_t choose_least(const struct endpoints *e, const struct balance_def *def,
                             uint64_t now_ns) {
    const struct endpoint *best = NULL;
    for (uint32_t i = 0; i < e->count; i++) {
        const struct endpoint *n = &e->items[i];
        if (!endpoint_is_in(n, now_ns, NULL)) {
            continue;
        }
        if (best == NULL || is_less(n, best, def, now_ns) ||
            (!is_less(best, n, def, now_ns) && n->turn < best->turn)) {
            best = n;
        }
    }
    return best != NULL ? best->id : 0;
}

static const struct endpoint *nth_in(const struct endpoints *e, uint64_t nth, uint64_t now_ns) {
    for (uint32_t i = 0; i < e->count; i++) {
        if (endpoint_is_in(&e->items[i], now_ns, NULL) && nth-- == 0) {
            return &e->items[i];
        }
    }
    return NULL;
}

static uint32_t choose_of_two(const struct endpoints *e, const struct balance_def *def,
                              uint64_t now_ns, struct rng *random) {
    uint32_t in = 0;
    for (uint32_t i = 0; i < e->count; i++) {
        in += endpoint_is_in(&e->items[i], now_ns, NULL);
    }
    if (in == 0) {
        return 0;
    }
    uint64_t first = rng_below(random, in);
    uint64_t other = in > 1 ? (first + 1 + rng_below(random, in - 1)) % in : first;
    const struct endpoint *a = nth_in(e, first, now_ns), *b = nth_in(e, other, now_ns);
    return is_less(b, a, def, now_ns) ? b->id : a->id;
}

/* ---- the whole ---- */

uint32_t balance_choose(const struct endpoints *e, const struct balance_def *def, uint64_t key,
                        uint64_t now_ns, struct rng *random) {
    const struct endpoint *pinned = endpoint_find(e, pin_find(e, key, now_ns));
    if (pinned != NULL && endpoint_is_in(pinned, now_ns, NULL)) {
        return pinned->id;
    }
    switch (def->policy) {
    case BALANCE_CONSISTENT:
        if (key != 0) {
            return choose_consistent(e, key, now_ns);
        }
        break;
    case BALANCE_LEAST_CALLS:
    case BALANCE_LEAST_TIME:
        return choose_least(e, def, now_ns);
    case BALANCE_TWO_CHOICES:
        return choose_of_two(e, def, now_ns, random);
    default:
        break;
    }
    return choose_by_turn(e, def, now_ns);
}

void balance_started(struct endpoints *e, const struct balance_def *def, uint32_t id, uint64_t key,
                     uint64_t now_ns) {
    struct endpoint *n = endpoint_find(e, id);
    if (n == NULL) {
        return;
    }
    if (def->policy == BALANCE_LEAST_CALLS || def->policy == BALANCE_LEAST_TIME) {
        int64_t last = 0;
        for (uint32_t i = 0; i < e->count; i++) {
            last = e->items[i].turn > last ? e->items[i].turn : last;
        }
        n->turn = last + 1;
    } else {
        take_turn(e, def, n, now_ns);
    }
    n->in_flight++;
    n->started++;
    if (def->pin_ns != 0) {
        pin_set(e, key, id, now_ns + def->pin_ns);
    }
}
