#include "fuse.h"

#include <string.h>

#define CALL_BAD  1u
#define CALL_SLOW 2u

void fuse_init(struct fuse *f, const struct breaker_def *def) {
    *f = (struct fuse){.def = *def, .sure = true};
}

/* ---- the state machine ---- */

static void become(struct fuse_state *f, enum breaker_state state) {
    f->state = state;
    f->until_ns = 0;
    f->out = f->done = f->bad = f->slow = f->count = 0;
}

static void open_at(struct fuse_state *f, const struct breaker_def *def, uint64_t now_ns) {
    uint64_t length_ns = def->open_ns;
    for (uint32_t i = 0; i < f->openings && length_ns < def->open_max_ns; i++)
        length_ns *= 2;
    become(f, BREAKER_OPEN);
    f->until_ns = now_ns + (length_ns < def->open_max_ns ? length_ns : def->open_max_ns);
    f->openings++;
}

static bool is_share(uint32_t part, uint32_t whole, uint32_t percent) {
    return percent != 0 && part != 0 && part * 100 >= whole * percent;
}

static uint32_t calls_with(const struct fuse_state *f, unsigned bit) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < f->count; i++)
        n += (f->calls[i] & bit) != 0;
    return n;
}

static void add_call(struct fuse_state *f, const struct breaker_def *def, uint8_t call,
                     uint64_t now_ns) {
    if (f->count == def->window_calls)
        memmove(f->calls, f->calls + 1, --f->count);
    f->calls[f->count++] = call;
    if (f->count >= def->minimum_calls &&
        (is_share(calls_with(f, CALL_BAD), f->count, def->failure_percent) ||
         is_share(calls_with(f, CALL_SLOW), f->count, def->slow_percent)))
        open_at(f, def, now_ns);
}

/* True: closed by it. */
static bool end_probe(struct fuse_state *f, const struct breaker_def *def, uint8_t call,
                      uint64_t now_ns) {
    f->done++;
    f->bad += (call & CALL_BAD) != 0;
    f->slow += (call & CALL_SLOW) != 0;
    if (is_share(f->bad, def->probes, def->failure_percent) ||
        is_share(f->slow, def->probes, def->slow_percent)) {
        open_at(f, def, now_ns);
        return false;
    }
    if (f->done < def->probes)
        return false;
    become(f, BREAKER_CLOSED);
    f->openings = 0;
    return true;
}

static bool take_end(struct fuse_state *f, const struct breaker_def *def, const struct fuse_end *e,
                     uint64_t now_ns) {
    bool slow = def->slow_ns != 0 && e->duration_ns >= def->slow_ns;
    uint8_t call = (uint8_t)((e->outcome == OUTCOME_BAD ? CALL_BAD : 0) | (slow ? CALL_SLOW : 0));
    if (f->state == BREAKER_CLOSED && e->period == 0 && e->outcome != OUTCOME_NONE)
        add_call(f, def, call, now_ns);
    if (f->state != BREAKER_HALF_OPEN || e->period != f->period)
        return false;
    f->out -= f->out > 0;
    return e->outcome != OUTCOME_NONE && end_probe(f, def, call, now_ns);
}

/* ---- what is seen ---- */

uint32_t fuse_start(struct sim *s, struct fuse *f, const char *name) {
    struct fuse_state *n = &f->now;
    SIM_CHECK(s, !f->sure || n->state != BREAKER_FORCED, "a start at %s, which is held open", name);
    SIM_CHECK(s, !f->sure || n->state != BREAKER_OPEN || n->until_ns <= sim_engine_ns(s),
              "a start at %s, whose breaker is open for %llu us more", name,
              (unsigned long long)(n->until_ns - sim_engine_ns(s)) / 1000);
    s->result->guarded += f->sure && f->now.state != BREAKER_CLOSED;
    if (n->state == BREAKER_CLOSED)
        return 0;
    if (n->state != BREAKER_HALF_OPEN) {
        become(n, BREAKER_HALF_OPEN);
        n->period++;
    }
    n->out++;
    SIM_CHECK(s, !f->sure || n->out + n->done <= f->def.probes, "%u probes at %s, %u are allowed",
              n->out + n->done, name, f->def.probes);
    return n->period;
}

bool fuse_end(const struct sim *s, struct fuse *f, const struct fuse_end *e) {
    return take_end(&f->now, &f->def, e, s->turn_engine_ns) && f->sure;
}

void fuse_end_lost(struct fuse *f, const struct fuse_end *e, uint64_t order) {
    assert(f->lost_count < FUSE_LOST_MAX);
    uint32_t at = f->lost_count++;
    for (; at > 0 && f->lost_order[at - 1] > order; at--) {
        f->lost_order[at] = f->lost_order[at - 1];
        f->lost[at] = f->lost[at - 1];
    }
    f->lost_order[at] = order;
    f->lost[at] = *e;
}

/* ---- by hand ---- */

void fuse_ask(struct fuse *f) {
    f->sure_before = f->sure;
    f->sure = false;
}

/* Closed by hand and known not before: it may have been closed, and then its window is as it was. */
bool fuse_forced(struct fuse *f, bool open) {
    bool was_open = f->now.state != BREAKER_CLOSED, known = f->sure_before;
    enum breaker_state state = open ? BREAKER_FORCED : BREAKER_CLOSED;
    f->sure = known || open;
    if (f->now.state != state) {
        become(&f->now, state);
        f->now.openings = 0;
    }
    return known && was_open && !open;
}

void fuse_not_forced(struct fuse *f) {
    f->sure = f->sure_before;
}

void fuse_ask_lost(struct fuse *f) {
    f->act_lost = true;
}

void fuse_doubt(struct fuse *f) {
    f->sure = false;
    f->lost_count = 0;
}

/* ---- audits ---- */

static bool is_as_found(const struct fuse_state *f, const struct destination_info *info) {
    if ((uint64_t)f->state != info->breaker)
        return false;
    return f->state != BREAKER_CLOSED ||
           (f->count == info->breaker_calls && calls_with(f, CALL_BAD) == info->breaker_bad &&
            calls_with(f, CALL_SLOW) == info->breaker_slow);
}

/* What cannot be explained by what is known is believed; in its window nothing is known unless it is empty. */
static void believe(struct fuse *f, const struct destination_info *info) {
    uint32_t period = f->now.period, openings = f->now.openings;
    become(&f->now, (enum breaker_state)info->breaker);
    f->now.period = period + 1;
    f->now.openings = f->act_lost ? 0 : openings;
    f->now.until_ns = info->breaker_until_ns;
    f->act_lost = false;
    f->sure = info->breaker == BREAKER_OPEN || info->breaker == BREAKER_FORCED ||
              (info->breaker == BREAKER_CLOSED && info->breaker_calls == 0);
}

/* A probe whose start nobody was told of is over by now. */
static bool is_unseen_probe(const struct fuse_state *f, const struct destination_info *info) {
    return info->breaker == BREAKER_HALF_OPEN && f->state == BREAKER_OPEN;
}

/* More of the lost ends would do as well: a full window counts the same and holds other calls. */
static bool is_ambiguous(const struct sim *s, const struct fuse *f, uint32_t first,
                         const struct destination_info *info) {
    struct fuse_state other = f->now;
    for (uint32_t i = first; i < f->lost_count; i++) {
        (void)take_end(&other, &f->def, &f->lost[i], sim_engine_ns(s));
        if (is_as_found(&other, info))
            return true;
    }
    return false;
}

static void explain(struct sim *s, struct fuse *f, const char *name,
                    const struct destination_info *info) {
    bool probes_lost = false;
    for (uint32_t i = 0;; i++) {
        f->now.out = 0;
        if (is_as_found(&f->now, info) || is_unseen_probe(&f->now, info)) {
            if (f->now.state == BREAKER_OPEN && info->breaker == BREAKER_HALF_OPEN) {
                become(&f->now, BREAKER_HALF_OPEN);
                f->now.period++;
            }
            f->now.until_ns = info->breaker_until_ns;
            for (uint32_t k = i; k < f->lost_count; k++)
                probes_lost |= f->lost[k].period != 0 && f->lost[k].period == f->now.period;
            f->sure =
                (f->now.state != BREAKER_HALF_OPEN || !probes_lost) && !is_ambiguous(s, f, i, info);
            break;
        }
        SIM_CHECK(s, i < f->lost_count,
                  "the breaker of %s is %s with %llu calls, %llu bad; by the ends it is %s with %u",
                  name, breaker_state_name((enum breaker_state)info->breaker),
                  (unsigned long long)info->breaker_calls, (unsigned long long)info->breaker_bad,
                  breaker_state_name(f->now.state), f->now.count);
        (void)take_end(&f->now, &f->def, &f->lost[i], sim_engine_ns(s));
    }
}

void fuse_audit(struct sim *s, struct fuse *f, const char *name,
                const struct destination_info *info, bool fresh) {
    if (!fresh && f->sure) {
        SIM_CHECK(s, is_as_found(&f->now, info),
                  "the breaker of %s is %s with %llu calls; by the ends it is %s with %u", name,
                  breaker_state_name((enum breaker_state)info->breaker),
                  (unsigned long long)info->breaker_calls, breaker_state_name(f->now.state),
                  f->now.count);
        return;
    }
    if (f->sure && !f->act_lost)
        explain(s, f, name, info);
    else
        believe(f, info);
    f->lost_count = 0;
}
