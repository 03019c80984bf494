#include "model/budget.h"

#include "base/clock.h"

bool budget_def_valid(const struct budget_def *def) {
    return def->percent <= 100 && def->window_ns >= NS_PER_MS &&
           def->window_ns <= 86400 * NS_PER_SECOND && def->min_per_second <= 1000000;
}

void budget_define(struct budget *b, const struct budget_def *def) {
    window_define(&b->starts, def->window_ns);
}

/* Retries that always may be in a window; at least one, or a lone message would never be tried again. */
static uint64_t always(const struct budget_def *def) {
    uint64_t least = (uint64_t)def->min_per_second * (def->window_ns / NS_PER_MS) / 1000;
    return least > 0 ? least : 1;
}

bool budget_allows(const struct budget *b, const struct budget_def *def, uint64_t now_ns) {
    if (def->percent >= 100) {
        return true;
    }
    struct call_count t = window_sum(&b->starts, now_ns);
    return t.bad < always(def) ||
           ((uint64_t)t.bad + 1) * 100 <= ((uint64_t)t.total + 1) * def->percent;
}

void budget_start(struct budget *b, bool is_retry, uint64_t now_ns) {
    window_add(&b->starts, now_ns, (struct call_count){.total = 1, .bad = is_retry});
}

uint64_t budget_slot(const struct budget *b, const struct budget_def *def, uint64_t now_ns) {
    struct call_count t = window_sum(&b->starts, now_ns);
    uint64_t share = (uint64_t)t.total * def->percent / 100;
    uint64_t in_window = share > always(def) ? share : always(def);
    uint64_t apart_ns = def->window_ns / in_window;
    uint64_t from_ns = b->slot_ns > now_ns ? b->slot_ns : now_ns;
    return from_ns + (apart_ns > 0 ? apart_ns : 1);
}

uint64_t budget_starts_for(const struct budget *b, uint64_t firsts, uint64_t now_ns) {
    struct call_count t = window_sum(&b->starts, now_ns);
    if (t.bad == 0 || t.bad >= t.total || firsts > UINT64_MAX / t.total) {
        return firsts;
    }
    return firsts * t.total / (t.total - t.bad);
}

void budget_give_slot(struct budget *b, uint64_t slot_ns) {
    b->slot_ns = slot_ns > b->slot_ns ? slot_ns : b->slot_ns;
}
