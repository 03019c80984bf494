#include "model/breaker.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define CALL_BAD  1u
#define CALL_SLOW 2u

const char *breaker_state_name(enum breaker_state s) {
    static const char *const names[] = {"closed", "open", "half-open", "forced-open"};
    return s <= BREAKER_FORCED ? names[s] : "unknown";
}

static bool is_on(const struct breaker_def *def) {
    return def->window_calls != 0 || def->window_ns != 0;
}

bool breaker_def_valid(const struct breaker_def *def) {
    if (!is_on(def)) {
        return true;
    }
    return (def->window_calls == 0 || def->window_ns == 0) &&
           def->window_calls <= BREAKER_CALLS_MAX && def->failure_percent <= 100 &&
           def->slow_percent >= 1 && def->slow_percent <= 100 && def->minimum_calls >= 1 &&
           (def->window_calls == 0 || def->minimum_calls <= def->window_calls) &&
           def->probes >= 1 && def->probes <= BREAKER_CALLS_MAX && def->open_ns >= 1 &&
           def->open_max_ns >= def->open_ns && def->open_max_ns <= INT64_MAX;
}

void breaker_init(struct breaker *b) {
    *b = (struct breaker){0};
}

void breaker_release(struct breaker *b) {
    free(b->calls);
    b->calls = NULL;
}

static void forget_calls(struct breaker *b) {
    window_clear(&b->window);
    b->calls_next = b->calls_count = 0;
    b->counted = (struct call_count){0};
}

static void go(struct breaker *b, enum breaker_state to, uint64_t now_ns) {
    b->state = to;
    b->since_ns = now_ns;
    b->until_ns = 0;
    b->probes_out = b->probes_done = b->probes_bad = b->probes_slow = 0;
    forget_calls(b);
}

int breaker_define(struct breaker *b, const struct breaker_def *def) {
    assert(breaker_def_valid(def));
    if (def->window_calls != b->def.window_calls) {
        uint8_t *calls = NULL;
        if (def->window_calls != 0 && (calls = calloc(def->window_calls, 1)) == NULL) {
            return E_NOMEM;
        }
        free(b->calls);
        b->calls = calls;
        forget_calls(b);
    }
    window_define(&b->window, def->window_ns);
    b->def = *def;
    if (!is_on(def) && b->state != BREAKER_FORCED) {
        go(b, BREAKER_CLOSED, b->since_ns);
    }
    return 0;
}

uint64_t breaker_wait_ns(const struct breaker *b, uint64_t now_ns) {
    switch (b->state) {
    case BREAKER_CLOSED:
        return 0;
    case BREAKER_OPEN:
        return b->until_ns > now_ns ? b->until_ns - now_ns : 0;
    case BREAKER_HALF_OPEN:
        return b->probes_out + b->probes_done < b->def.probes ? 0 : UINT64_MAX;
    case BREAKER_FORCED:
        break;
    }
    return UINT64_MAX;
}

uint32_t breaker_start(struct breaker *b, uint64_t now_ns) {
    assert(breaker_wait_ns(b, now_ns) == 0);
    if (b->state == BREAKER_CLOSED) {
        return 0;
    }
    if (b->state == BREAKER_OPEN) {
        go(b, BREAKER_HALF_OPEN, now_ns);
        b->period++;
    }
    b->probes_out++;
    return b->period;
}

static void open_it(struct breaker *b, uint64_t now_ns) {
    uint32_t doublings = b->openings < 62 ? b->openings : 62;
    uint64_t open_ns = b->def.open_ns;
    while (doublings-- > 0 && open_ns < b->def.open_max_ns) {
        open_ns *= 2; /* below 2^63: open_max_ns is */
    }
    go(b, BREAKER_OPEN, now_ns);
    b->until_ns = now_ns + (open_ns < b->def.open_max_ns ? open_ns : b->def.open_max_ns);
    b->openings++;
}

/* Whether `part` of `whole` calls reach `percent`; 0 percent: never. */
static bool reaches(uint32_t part, uint32_t whole, uint32_t percent) {
    return percent != 0 && (uint64_t)part * 100 >= (uint64_t)whole * percent && part > 0;
}

static void ring_add(struct breaker *b, uint8_t call) {
    uint8_t *at = &b->calls[b->calls_next];
    if (b->calls_count == b->def.window_calls) {
        b->counted.total--;
        b->counted.bad -= (*at & CALL_BAD) != 0;
        b->counted.slow -= (*at & CALL_SLOW) != 0;
    } else {
        b->calls_count++;
    }
    *at = call;
    b->counted.total++;
    b->counted.bad += (call & CALL_BAD) != 0;
    b->counted.slow += (call & CALL_SLOW) != 0;
    b->calls_next = (b->calls_next + 1) % b->def.window_calls;
}

struct call_count breaker_counts(const struct breaker *b, uint64_t now_ns) {
    return b->def.window_calls != 0 ? b->counted : window_sum(&b->window, now_ns);
}

static void end_closed(struct breaker *b, bool bad, bool slow, uint64_t now_ns) {
    if (b->def.window_calls != 0) {
        ring_add(b, (uint8_t)((bad ? CALL_BAD : 0) | (slow ? CALL_SLOW : 0)));
    } else {
        window_add(&b->window, now_ns, (struct call_count){1, bad, slow});
    }
    struct call_count t = breaker_counts(b, now_ns);
    if (t.total >= b->def.minimum_calls && (reaches(t.bad, t.total, b->def.failure_percent) ||
                                            reaches(t.slow, t.total, b->def.slow_percent))) {
        open_it(b, now_ns);
    }
}

/* Judged by all probes; that they cannot do it any more is seen as soon as it is so. */
static bool end_probe(struct breaker *b, bool bad, bool slow, uint64_t now_ns) {
    b->probes_done++;
    b->probes_bad += bad;
    b->probes_slow += slow;
    if (reaches(b->probes_bad, b->def.probes, b->def.failure_percent) ||
        reaches(b->probes_slow, b->def.probes, b->def.slow_percent)) {
        open_it(b, now_ns);
        return false;
    }
    if (b->probes_done < b->def.probes) {
        return false;
    }
    go(b, BREAKER_CLOSED, now_ns);
    b->openings = 0;
    return true;
}

bool breaker_end(struct breaker *b, uint32_t period, enum call_outcome outcome,
                 uint64_t duration_ns, uint64_t now_ns) {
    if (!is_on(&b->def)) {
        return false;
    }
    bool bad = outcome == OUTCOME_BAD;
    bool slow = outcome != OUTCOME_NONE && b->def.slow_ns != 0 && duration_ns >= b->def.slow_ns;
    if (b->state == BREAKER_CLOSED && period == 0 && outcome != OUTCOME_NONE) {
        end_closed(b, bad, slow, now_ns);
        return false;
    }
    if (b->state != BREAKER_HALF_OPEN || period != b->period) {
        return false;
    }
    assert(b->probes_out > 0);
    b->probes_out--;
    return outcome != OUTCOME_NONE && end_probe(b, bad, slow, now_ns);
}

void breaker_force(struct breaker *b, bool open, uint64_t now_ns) {
    go(b, open ? BREAKER_FORCED : BREAKER_CLOSED, now_ns);
    b->openings = 0;
}

/*
 * u8 state, u64 since, u64 until, u32 openings, u32 period, u32 probes out, done, bad, slow, the window,
 * u32 n, n bytes: the calls in the ring, oldest first.
 */
int breaker_save(const struct breaker *b, struct buffer *out) {
    int rc = buffer_put_u8(out, (uint8_t)b->state);
    rc = rc != 0 ? rc : buffer_put_u64(out, b->since_ns);
    rc = rc != 0 ? rc : buffer_put_u64(out, b->until_ns);
    const uint32_t numbers[] = {b->openings,    b->period,     b->probes_out,
                                b->probes_done, b->probes_bad, b->probes_slow};
    for (unsigned i = 0; i < ARRAY_LENGTH(numbers) && rc == 0; i++) {
        rc = buffer_put_u32(out, numbers[i]);
    }
    rc = rc != 0 ? rc : window_save(&b->window, out);
    rc = rc != 0 ? rc : buffer_put_u32(out, b->calls_count);
    for (uint32_t i = 0; i < b->calls_count && rc == 0; i++) {
        uint32_t first = b->calls_next + b->def.window_calls - b->calls_count;
        rc = buffer_put_u8(out, b->calls[(first + i) % b->def.window_calls]);
    }
    return rc;
}

int breaker_load(struct breaker *b, struct reader *in) {
    uint8_t state = reader_u8(in);
    b->state = (enum breaker_state)state;
    b->since_ns = reader_u64(in);
    b->until_ns = reader_u64(in);
    uint32_t *numbers[] = {&b->openings,    &b->period,     &b->probes_out,
                           &b->probes_done, &b->probes_bad, &b->probes_slow};
    for (unsigned i = 0; i < ARRAY_LENGTH(numbers); i++) {
        *numbers[i] = reader_u32(in);
    }
    window_load(&b->window, in);
    uint32_t calls = reader_u32(in);
    if (in->failed || state > BREAKER_FORCED || calls > b->def.window_calls) {
        return E_CORRUPT;
    }
    for (uint32_t i = 0; i < calls; i++) {
        ring_add(b, reader_u8(in) & (CALL_BAD | CALL_SLOW));
    }
    bool fits = (b->state == BREAKER_OPEN || b->until_ns == 0) &&
                (b->state == BREAKER_HALF_OPEN || (b->probes_out | b->probes_done) == 0);
    return in->failed || !fits ? E_CORRUPT : 0;
}

void breaker_check(const struct breaker *b) {
    assert(b->calls_count <= b->def.window_calls);
    assert(b->counted.total == b->calls_count);
    assert(b->counted.bad <= b->counted.total && b->counted.slow <= b->counted.total);
    assert(b->state == BREAKER_OPEN || b->until_ns == 0);
    assert(b->state == BREAKER_HALF_OPEN || b->probes_out + b->probes_done == 0);
}
