/*
 * Greedy: each reduction that still fails is kept, and all are tried again until none helps. What counts is that the
 * smaller plan fails, not that it fails with the same words.
 */
#include "shrink.h"

#include <string.h>

#define RUNS_MAX 160u

struct shrinker {
    struct pool *pool;
    struct plan best;
    unsigned runs;
    bool progress;
};

static bool fails(struct shrinker *s, const struct plan *plan) {
    const struct outcome *o;
    if (s->runs >= RUNS_MAX)
        return false;
    s->runs++;
    if (pool_run_one(s->pool, plan, &o))
        return false;
    s->best = *plan;
    /* Nothing behind the operation that failed was needed. */
    if (o->result->operations + 1 < s->best.operations)
        s->best.operations = o->result->operations + 1;
    s->progress = true;
    return true;
}

static void without_faults(struct shrinker *s, uint32_t from, uint32_t count) {
    struct plan smaller = s->best;
    memmove(&smaller.faults[from], &smaller.faults[from + count],
            (smaller.fault_count - from - count) * sizeof(smaller.faults[0]));
    smaller.fault_count -= count;
    fails(s, &smaller);
}

static void fewer_faults(struct shrinker *s) {
    for (uint32_t count = s->best.fault_count; count > 0; count /= 2)
        for (uint32_t from = 0; from + count <= s->best.fault_count;) {
            uint32_t before = s->best.fault_count;
            without_faults(s, from, count);
            from += s->best.fault_count == before ? count : 0;
        }
}

static void fewer_operations(struct shrinker *s) {
    for (uint32_t cut = s->best.operations / 2; cut > 0; cut /= 2) {
        struct plan smaller = s->best;
        if (cut >= smaller.operations)
            continue;
        smaller.operations -= cut;
        fails(s, &smaller);
    }
}

static void fewer_clients(struct shrinker *s) {
    for (uint32_t clients = 1; clients < s->best.clients; clients += 1 + clients / 2) {
        struct plan smaller = s->best;
        smaller.clients = clients;
        if (fails(s, &smaller))
            return;
    }
}

void shrink(struct pool *p, struct plan *plan, const struct outcome **ret) {
    struct shrinker s = {.pool = p, .best = *plan};
    do {
        s.progress = false;
        fewer_faults(&s);
        fewer_clients(&s);
        fewer_operations(&s);
    } while (s.progress && s.runs < RUNS_MAX);
    *plan = s.best;
    pool_run_one(p, plan, ret);
}
