#include "model/failover.h"

#include "base/clock.h"
#include "base/error.h"

#define TIME_MAX_NS (365 * 86400 * NS_PER_SECOND)

const char *health_name(enum health h) {
    static const char *const names[] = {"healthy", "caution", "critical"};
    return h <= HEALTH_CRITICAL ? names[h] : "unknown";
}

bool failover_def_valid(const struct failover_def *def) {
    return def->within_ns >= NS_PER_MS && def->within_ns <= TIME_MAX_NS &&
           def->every_ns >= 10 * NS_PER_MS && def->every_ns <= TIME_MAX_NS &&
           def->pending_ns <= TIME_MAX_NS && def->return_after_ns <= TIME_MAX_NS &&
           def->probes >= 1 && def->probes <= BREAKER_CALLS_MAX;
}

void failover_define(struct failover *f, const struct failover_def *def) {
    window_define(&f->failures, def->within_ns);
}

uint32_t failover_failures(const struct failover *f, uint64_t now_ns) {
    return window_sum(&f->failures, now_ns).bad;
}

/* Which evaluation it was: each comes a little after its time, and not by as much as another one. */
static uint64_t evaluation_of(const struct failover_def *def, uint64_t ns) {
    return ns / def->every_ns * def->every_ns;
}

static bool has_been_pending(const struct failover *f, const struct failover_def *def,
                             uint64_t now_ns) {
    return evaluation_of(def, now_ns) - evaluation_of(def, f->since_ns) >= def->pending_ns;
}

enum health failover_evaluate(const struct failover *f, const struct failover_def *def,
                              uint64_t now_ns) {
    bool bad = def->failures != 0 && failover_failures(f, now_ns) > def->failures;
    switch (f->health) {
    case HEALTH_HEALTHY:
        return !bad ? HEALTH_HEALTHY : def->pending_ns == 0 ? HEALTH_CRITICAL : HEALTH_CAUTION;
    case HEALTH_CAUTION:
        return !bad                               ? HEALTH_HEALTHY
               : has_been_pending(f, def, now_ns) ? HEALTH_CRITICAL
                                                  : HEALTH_CAUTION;
    case HEALTH_CRITICAL:
        break;
    }
    return f->health;
}

/* The grid is that of the clock, so evaluations do not drift with what happens. */
static uint64_t next_evaluation(const struct failover_def *def, uint64_t now_ns) {
    return evaluation_of(def, now_ns) + def->every_ns;
}

void failover_set(struct failover *f, const struct failover_def *def, enum health health,
                  bool by_hand, uint64_t now_ns) {
    if (health != f->health) {
        f->since_ns = now_ns;
        f->probes_out = f->probes_good = 0;
        f->period++;
        f->return_ns = health == HEALTH_CRITICAL ? now_ns + def->return_after_ns : 0;
        if (f->health == HEALTH_CRITICAL) {
            window_clear(&f->failures); /* of before */
        }
    }
    f->health = health;
    f->by_hand = by_hand;
    bool goes_on =
        health == HEALTH_CAUTION || (health == HEALTH_HEALTHY && failover_failures(f, now_ns) > 0);
    f->evaluate_ns = goes_on && def->failures != 0 ? next_evaluation(def, now_ns) : 0;
}

bool failover_is_over(const struct failover *f) {
    return f->health == HEALTH_CRITICAL;
}

bool failover_may_probe(const struct failover *f, const struct failover_def *def, uint64_t now_ns) {
    return f->health == HEALTH_CRITICAL && !f->by_hand && !def->manual_return &&
           now_ns >= f->return_ns && f->probes_out + f->probes_good < def->probes;
}

uint32_t failover_probe(struct failover *f) {
    f->probes_out++;
    return f->period;
}

bool failover_would_return(const struct failover *f, const struct failover_def *def,
                           uint32_t period, enum call_outcome outcome) {
    return period != 0 && period == f->period && f->health == HEALTH_CRITICAL && !f->by_hand &&
           outcome == OUTCOME_GOOD && f->probes_good + 1 >= def->probes;
}

static void end_probe(struct failover *f, const struct failover_def *def, enum call_outcome outcome,
                      uint64_t now_ns) {
    if (f->probes_out > 0) {
        f->probes_out--;
    }
    if (outcome == OUTCOME_GOOD) {
        f->probes_good++;
    } else if (outcome == OUTCOME_BAD) {
        f->period++; /* what the others say is of no interest any more */
        f->probes_out = f->probes_good = 0;
        f->return_ns = now_ns + def->return_after_ns;
    }
}

void failover_end(struct failover *f, const struct failover_def *def, uint32_t period,
                  enum call_outcome outcome, uint64_t now_ns) {
    if (f->health == HEALTH_CRITICAL) {
        if (period != 0 && period == f->period) {
            end_probe(f, def, outcome, now_ns);
        }
        return;
    }
    if (outcome == OUTCOME_BAD && def->failures != 0) {
        window_add(&f->failures, now_ns, (struct call_count){.total = 1, .bad = 1});
        if (f->evaluate_ns == 0) {
            f->evaluate_ns = next_evaluation(def, now_ns);
        }
    }
}

int failover_save(const struct failover *f, struct buffer *out) {
    int rc = buffer_put_u8(out, (uint8_t)f->health);
    rc = rc != 0 ? rc : buffer_put_u8(out, f->by_hand);
    const uint64_t longs[] = {f->since_ns, f->evaluate_ns, f->return_ns};
    const uint32_t words[] = {f->period, f->probes_out, f->probes_good};
    for (unsigned i = 0; i < ARRAY_LENGTH(longs) && rc == 0; i++) {
        rc = buffer_put_u64(out, longs[i]);
    }
    for (unsigned i = 0; i < ARRAY_LENGTH(words) && rc == 0; i++) {
        rc = buffer_put_u32(out, words[i]);
    }
    return rc != 0 ? rc : window_save(&f->failures, out);
}

int failover_load(struct failover *f, struct reader *in) {
    uint8_t health = reader_u8(in), by_hand = reader_u8(in);
    f->health = (enum health)health;
    f->by_hand = by_hand == 1;
    f->since_ns = reader_u64(in);
    f->evaluate_ns = reader_u64(in);
    f->return_ns = reader_u64(in);
    f->period = reader_u32(in);
    f->probes_out = reader_u32(in);
    f->probes_good = reader_u32(in);
    window_load(&f->failures, in);
    return in->failed || health > HEALTH_CRITICAL || by_hand > 1 ? E_CORRUPT : 0;
}
