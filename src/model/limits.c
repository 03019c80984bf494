#include "model/limits.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

#define GATHER_MAX_NS (2 * NS_PER_MS)

void limits_init(struct limits *l) {
    *l = (struct limits){0};
}

void limits_release(struct limits *l) {
    for (uint32_t i = 0; i < l->count; i++) {
        pace_release(&l->paces[i]);
    }
    free(l->paces);
    limits_init(l);
}

/* ---- definition ---- */

/* Which old pace each new one goes on from; l->count: none. */
static void match(const struct limits *l, const struct pace_def *defs, uint32_t count,
                  uint32_t from[LIMITS_MAX]) {
    bool taken[LIMITS_MAX] = {false};
    for (uint32_t i = 0; i < count; i++) {
        from[i] = l->count;
        for (uint32_t k = 0; k < l->count && from[i] == l->count; k++) {
            if (!taken[k] && l->paces[k].def.period_ns == defs[i].period_ns) {
                from[i] = k;
                taken[k] = true;
            }
        }
    }
    for (uint32_t i = 0; i < count; i++) {
        for (uint32_t k = 0; k < l->count && from[i] == l->count; k++) {
            if (!taken[k]) {
                from[i] = k;
                taken[k] = true;
            }
        }
    }
}

/* A copy with a ring of its own, so that a failure leaves the old one whole. */
static int pace_copy(const struct pace *from, struct pace *to) {
    struct buffer bytes;
    buffer_init(&bytes, 64 + (size_t)from->ends_count * 8);
    int rc = pace_save(from, &bytes);
    if (rc == 0) {
        struct reader in;
        reader_init(&in, buffer_span(&bytes));
        rc = pace_load(to, &in);
    }
    buffer_release(&bytes);
    return rc;
}

static int make_one(const struct limits *l, uint32_t from, const struct pace_def *def,
                    uint64_t now_ns, struct pace *to) {
    pace_init(to);
    if (from < l->count) {
        int rc = pace_copy(&l->paces[from], to);
        if (rc != 0) {
            return rc;
        }
    } else if (l->count > 0) {
        to->in_flight = limits_in_flight(l);
        to->theoretical_ns = now_ns;
    }
    return pace_define(to, def);
}

int limits_define(struct limits *l, const struct pace_def *defs, uint32_t count, uint64_t now_ns) {
    assert(count >= 1 && count <= LIMITS_MAX);
    if (l->count == 1 && count == 1) {
        return pace_define(&l->paces[0], &defs[0]);
    }
    struct limits next = {.paces = calloc(count, sizeof *next.paces)};
    if (next.paces == NULL) {
        return E_NOMEM;
    }
    uint32_t from[LIMITS_MAX];
    match(l, defs, count, from);
    while (next.count < count) {
        int rc = make_one(l, from[next.count], &defs[next.count], now_ns, &next.paces[next.count]);
        next.count++;
        if (rc != 0) {
            limits_release(&next);
            return rc;
        }
    }
    limits_release(l);
    *l = next;
    return 0;
}

/* ---- running ---- */

uint64_t limits_wait_ns(const struct limits *l, uint64_t now_ns) {
    uint64_t longest_ns = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        uint64_t wait_ns = pace_wait_ns(&l->paces[i], now_ns);
        longest_ns = wait_ns > longest_ns ? wait_ns : longest_ns;
    }
    return longest_ns;
}

void limits_start(struct limits *l, uint64_t now_ns) {
    for (uint32_t i = 0; i < l->count; i++) {
        pace_start(&l->paces[i], now_ns);
    }
}

void limits_end(struct limits *l, uint64_t end_ns) {
    for (uint32_t i = 0; i < l->count; i++) {
        pace_end(&l->paces[i], end_ns);
    }
}

uint32_t limits_in_flight(const struct limits *l) {
    return l->count > 0 ? l->paces[0].in_flight : 0;
}

uint64_t limits_interval_ns(const struct limits *l) {
    uint64_t least_ns = 0;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct pace_def *def = &l->paces[i].def;
        uint64_t interval_ns = def->count != 0 ? def->period_ns / def->count : 0;
        if (interval_ns != 0 && (least_ns == 0 || interval_ns < least_ns)) {
            least_ns = interval_ns;
        }
    }
    return least_ns;
}

uint64_t limits_gather_ns(const struct limits *l) {
    uint64_t least_ns = UINT64_MAX;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct pace_def *def = &l->paces[i].def;
        uint64_t interval_ns = def->count != 0 ? def->period_ns / def->count : 0;
        if (interval_ns == 0) {
            continue;
        }
        uint64_t spare_ns =
            def->mode == PACE_STRICT ? 0 : (pace_burst(def) - 1) * interval_ns / 3 * 2;
        spare_ns = spare_ns < GATHER_MAX_NS ? spare_ns : GATHER_MAX_NS;
        spare_ns -= spare_ns % interval_ns; /* to the time of a later one */
        least_ns = spare_ns < least_ns ? spare_ns : least_ns;
    }
    return least_ns != UINT64_MAX ? least_ns : 0;
}

bool limits_by_turns(const struct limits *l) {
    bool any = false;
    for (uint32_t i = 0; i < l->count; i++) {
        if (l->paces[i].def.count != 0 && !pace_by_turns(&l->paces[i])) {
            return false;
        }
        any |= l->paces[i].def.count != 0;
    }
    return any;
}

/* NULL: none has turns. */
static const struct pace *latest_turn(const struct limits *l) {
    const struct pace *latest = NULL;
    for (uint32_t i = 0; i < l->count; i++) {
        const struct pace *p = &l->paces[i];
        if (pace_by_turns(p) && (latest == NULL || pace_turn_ns(p, 0) > pace_turn_ns(latest, 0))) {
            latest = p;
        }
    }
    return latest;
}

uint64_t limits_turn_ns(const struct limits *l, uint64_t now_ns) {
    const struct pace *latest = latest_turn(l);
    return latest != NULL ? pace_turn_ns(latest, now_ns) : now_ns;
}

uint64_t limits_gap_ns(const struct limits *l) {
    const struct pace *latest = latest_turn(l);
    return latest != NULL ? latest->def.period_ns / latest->def.count : 0;
}

uint32_t limits_concurrency(const struct limits *l) {
    uint32_t least = UINT32_MAX;
    for (uint32_t i = 0; i < l->count; i++) {
        uint32_t cap = l->paces[i].def.concurrency;
        least = cap != 0 && cap < least ? cap : least;
    }
    return least;
}

uint64_t limits_memory_bytes(const struct limits *l) {
    uint64_t bytes = l->count * sizeof *l->paces;
    for (uint32_t i = 0; i < l->count; i++) {
        bytes += (uint64_t)l->paces[i].ends_capacity * sizeof *l->paces[i].ends;
    }
    return bytes;
}

/* u8 count, then each pace. */
int limits_save(const struct limits *l, struct buffer *out) {
    int rc = buffer_put_u8(out, (uint8_t)l->count);
    for (uint32_t i = 0; i < l->count && rc == 0; i++) {
        rc = pace_save(&l->paces[i], out);
    }
    return rc;
}

int limits_load(struct limits *l, struct reader *in) {
    uint8_t count = reader_u8(in);
    if (in->failed || count == 0 || count > LIMITS_MAX) {
        return E_CORRUPT;
    }
    struct limits next = {.paces = calloc(count, sizeof *next.paces)};
    int rc = next.paces == NULL ? E_NOMEM : 0;
    while (rc == 0 && next.count < count) {
        pace_init(&next.paces[next.count]);
        rc = pace_load(&next.paces[next.count++], in);
    }
    if (rc != 0) {
        limits_release(&next);
        return rc;
    }
    limits_release(l);
    *l = next;
    return 0;
}

void limits_check(const struct limits *l) {
    for (uint32_t i = 0; i < l->count; i++) {
        pace_check(&l->paces[i]);
        assert(l->paces[i].in_flight == l->paces[0].in_flight);
    }
}
