/*
 * Two levels, asked in this order at each turn.
 *
 * Guarantees. A lane with p % is owed a turn every 100/p turns: a job that is released at due_turn and must
 * have been done 100/p turns later. Of those released the one with the earliest end goes first, which keeps
 * all ends as long as the percentages are at most 100 together (Liu and Layland, 1973). A lane without
 * work saves nothing up: when it comes back its job is released at once, not in the past.
 *
 * Weights, over all lanes with work, for the turns that no guarantee takes. Virtual time `now` moves by
 * 1/(sum of weights) a turn, so that in one unit of it each lane ought to have `weight` turns. The next turn
 * of a lane ought to lie between begins and begins + 1/weight. Of those whose begins is not after now,
 * the one with the earliest end goes first; to wait for begins is what keeps a heavy lane from having
 * all of its turns in a row (WF2Q+: Bennett and Zhang, 1997).
 *
 *         its turn: begins += 1/weight         now has come to begins
 *      ready ------------------------> early ------------------------> ready; out when it has no work
 *
 * A lane whose work ended early still counts among the weights until then: what it had ahead of time it pays
 * for, and virtual time does not run away from those that waited for it.
 *
 * A lane that comes back and has not used up its share (begins <= now) begins now, and its end is said to be
 * now, too: it overtakes all but those that are late, so that a message for an idle queue does not wait for
 * the backlog of the others. It pays for that turn as for any, so it cannot do it again before its share
 * allows. With no lane ready, now goes on to the first begins; so when none has work any more, all is forgotten.
 *
 * Virtual time is in 2^-20 of a unit: 2^42 turns of the smallest weight until it would overflow, and the rests that
 * do not divide are kept, so that shares are exact over any time. A key in the heap `ready` has one bit more,
 * by which who comes back is before the others at the same end.
 */
#include "model/lane.h"

#include <assert.h>

#include "base/error.h"
#include "base/u64.h"

__extension__ typedef unsigned __int128 uint128;

#define UNIT (UINT64_C(1) << 20)

static void lane_moved(void *owner, const struct heap_entry *e, uint32_t index) {
    struct lanes *g = owner;
    g->table[e->kind].index = index;
}

void lanes_init(struct lanes *g, struct lane *table) {
    *g = (struct lanes){.table = table};
    heap_init(&g->ready, g, lane_moved);
    heap_init(&g->early, g, lane_moved);
}

void lanes_release(struct lanes *g) {
    heap_release(&g->ready);
    heap_release(&g->early);
}

int lanes_reserve(struct lanes *g, uint32_t count) {
    int rc = heap_reserve(&g->ready, count);
    return rc != 0 ? rc : heap_reserve(&g->early, count);
}

/* value += whole/parts, exactly. */
static void advance(uint64_t *value, uint32_t *rest, uint64_t whole, uint32_t parts) {
    *value += whole / parts;
    *rest += (uint32_t)(whole % parts);
    if (*rest >= parts) {
        *rest -= parts;
        ++*value;
    }
}

/* ---- where they stand ---- */

static void put(struct heap *h, uint64_t key, uint32_t slot) {
    int rc = heap_insert(h, (struct heap_entry){.due_ns = key, .kind = slot});
    assert(rc == 0); /* lanes_reserve made room */
}

static void place(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    l->place = l->begins <= g->now ? LANE_READY : LANE_EARLY;
    if (l->place == LANE_READY) {
        put(&g->ready, 2 * (l->begins + UNIT / l->weight) + 1, slot);
    } else {
        put(&g->early, l->begins, slot);
    }
}

static void take(struct lanes *g, struct lane *l) {
    heap_remove(l->place == LANE_READY ? &g->ready : &g->early, l->index);
    l->place = LANE_OUT;
}

static void count_out(struct lanes *g, struct lane *l) {
    take(g, l);
    g->weights -= l->weight;
}

/* Whose time has come; with nobody ready, time goes on to where one is. */
static void settle(struct lanes *g) {
    const struct heap_entry *first;
    while ((first = heap_first(&g->early)) != NULL &&
           (first->due_ns <= g->now || g->ready.count == 0)) {
        g->now = u64_max(g->now, first->due_ns);
        uint32_t slot = first->kind;
        if (g->table[slot].in) {
            take(g, &g->table[slot]);
            place(g, slot);
        } else {
            count_out(g, &g->table[slot]);
        }
    }
}

static void guarantee(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    l->due_turn = u64_max(l->due_turn, g->turns);
    l->prev = 0;
    l->next = g->guaranteed;
    g->guaranteed = slot;
    if (l->next != 0) {
        g->table[l->next].prev = slot;
    }
}

static void unguarantee(struct lanes *g, const struct lane *l) {
    *(l->prev != 0 ? &g->table[l->prev].next : &g->guaranteed) = l->next;
    if (l->next != 0) {
        g->table[l->next].prev = l->prev;
    }
}

void lanes_join(struct lanes *g, uint32_t slot, uint32_t ref, uint32_t weight, uint32_t percent) {
    struct lane *l = &g->table[slot];
    assert(slot != 0 && !l->in && weight >= 1 && weight <= LANE_WEIGHT_MAX && percent <= 100);
    assert(l->ref == 0 || (l->ref == ref && l->weight == weight && l->percent == percent));
    l->ref = ref;
    l->weight = weight;
    l->percent = percent;
    l->in = true;
    g->count++;
    if (percent > 0) {
        guarantee(g, slot);
    }
    if (l->place == LANE_OUT) {
        assert(l->begins <= g->now);
        l->begins = g->now;
        l->place = LANE_READY;
        g->weights += weight;
        put(&g->ready, 2 * g->now, slot);
    }
    settle(g);
}

void lanes_leave(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    assert(l->in);
    if (l->percent > 0) {
        unguarantee(g, l);
    }
    if (l->place == LANE_READY) {
        count_out(g, l);
    }
    l->in = false;
    g->count--;
}

void lanes_forget(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    assert(!l->in);
    if (l->place != LANE_OUT) {
        count_out(g, l);
    }
    *l = (struct lane){.ref = 0};
}

/* ---- turns ---- */

static void turn_by_weight(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    if (l->place != LANE_OUT) {
        take(g, l);
    } else {
        g->weights += l->weight; /* it left with this turn */
    }
    advance(&l->begins, &l->rest, UNIT, l->weight);
    g->now += UNIT / g->weights;
    place(g, slot);
    if (!l->in && l->place == LANE_READY) {
        count_out(g, l);
    }
}

void lanes_turn(struct lanes *g, uint32_t slot) {
    struct lane *l = &g->table[slot];
    assert(l->ref != 0);
    if (l->percent > 0 && l->due_turn <= g->turns) {
        advance(&l->due_turn, &l->due_rest, 100, l->percent);
    } else {
        turn_by_weight(g, slot);
    }
    g->turns++;
    settle(g);
}

struct search {
    const struct heap *heap;
    lane_can *can;
    void *asker;
    const struct lanes *lanes;
    uint64_t key; /* of the best so far */
    uint32_t slot;
};

/* A lane that can go is before all below it, so only what is below those that cannot is looked at. */
static void search(struct search *s, uint32_t i) {
    if (i > s->heap->count || (s->slot != 0 && s->heap->entries[i].due_ns >= s->key)) {
        return;
    }
    const struct heap_entry *e = &s->heap->entries[i];
    const struct lane *l = &s->lanes->table[e->kind];
    if (l->in && s->can(s->asker, l->ref)) {
        s->key = e->due_ns;
        s->slot = e->kind;
        return;
    }
    search(s, 2 * i);
    search(s, 2 * i + 1);
}

static uint32_t pick_guaranteed(const struct lanes *g, lane_can *can, void *asker) {
    uint32_t best = 0;
    uint64_t best_end = UINT64_MAX;
    for (uint32_t slot = g->guaranteed; slot != 0; slot = g->table[slot].next) {
        const struct lane *l = &g->table[slot];
        uint64_t end = l->due_turn + 100 / l->percent;
        if (l->due_turn <= g->turns && end < best_end && can(asker, l->ref)) {
            best = slot;
            best_end = end;
        }
    }
    return best;
}

uint32_t lanes_pick(const struct lanes *g, lane_can *can, void *asker) {
    uint32_t slot = pick_guaranteed(g, can, asker);
    if (slot != 0) {
        return slot;
    }
    struct search s = {.heap = &g->ready, .can = can, .asker = asker, .lanes = g};
    search(&s, 1);
    if (s.slot == 0) {
        s.heap = &g->early;
        search(&s, 1);
    }
    return s.slot;
}

static uint32_t one_that_is_in(const struct lanes *g, const struct heap *h) {
    for (uint32_t i = 1; i <= h->count; i++) {
        if (g->table[h->entries[i].kind].in) {
            return h->entries[i].kind;
        }
    }
    return 0;
}

uint32_t lanes_only(const struct lanes *g) {
    if (g->count != 1) {
        return 0;
    }
    uint32_t slot = one_that_is_in(g, &g->ready);
    return slot != 0 ? slot : one_that_is_in(g, &g->early);
}

/* ---- how long it takes ---- */

struct forecast {
    const struct lanes *lanes;
    lane_backlog *backlog;
    const void *asker;
    uint32_t slot; /* of the lane in question, of this weight and percentage */
    uint32_t weight, percent;
    uint64_t own;     /* its turns */
    uint64_t weights; /* of all that go on long enough, it among them */
    uint32_t left;    /* percentage that no guarantee takes */
    uint64_t turns;   /* of anybody */
    uint64_t done_weights;
    uint32_t done_percent; /* of those that end meanwhile */
};

/* What `l` gets while the lane has its own: shares are percent + left * weight / weights. */
static uint64_t meanwhile(const struct forecast *f, const struct lane *l) {
    uint128 theirs = (uint128)l->percent * f->weights + (uint64_t)f->left * l->weight;
    uint128 mine = (uint128)f->percent * f->weights + (uint64_t)f->left * f->weight;
    uint128 turns = mine == 0 ? UINT64_MAX : theirs * f->own / mine;
    return turns < UINT64_MAX ? (uint64_t)turns : UINT64_MAX;
}

static void count_heap(struct forecast *f, const struct heap *h) {
    for (uint32_t i = 1; i <= h->count && i <= LANES_LOOKED_AT; i++) {
        const struct lane *l = &f->lanes->table[h->entries[i].kind];
        if (!l->in || h->entries[i].kind == f->slot) {
            continue;
        }
        uint64_t turns = meanwhile(f, l), has = f->backlog(f->asker, l->ref);
        if (has < turns) {
            turns = has;
            f->done_weights += l->weight;
            f->done_percent += l->percent;
        }
        f->turns = f->turns > UINT64_MAX - turns ? UINT64_MAX : f->turns + turns;
    }
}

static void count_others(struct forecast *f) {
    f->turns = f->own;
    f->done_weights = f->done_percent = 0;
    count_heap(f, &f->lanes->ready);
    count_heap(f, &f->lanes->early);
}

/* Twice: what those who end soon leave unused is for the others, which is known after the first time. */
uint64_t lanes_before(const struct lanes *g, uint32_t slot, uint32_t weight, uint32_t percent,
                      uint64_t own, lane_backlog *backlog, const void *asker) {
    uint32_t guaranteed = percent;
    for (uint32_t i = g->guaranteed; i != 0; i = g->table[i].next) {
        guaranteed += i != slot ? g->table[i].percent : 0;
    }
    bool counted = slot != 0 && g->table[slot].place != LANE_OUT;
    struct forecast f = {.lanes = g,
                         .backlog = backlog,
                         .asker = asker,
                         .slot = slot,
                         .weight = weight,
                         .percent = percent,
                         .own = own,
                         .weights = g->weights + (counted ? 0 : weight),
                         .left = guaranteed < 100 ? 100 - guaranteed : 0};
    count_others(&f);
    if (f.done_weights > 0) {
        f.weights -= f.done_weights;
        f.left += f.done_percent;
        count_others(&f);
    }
    return f.turns;
}

void lanes_check(const struct lanes *g) {
    heap_check(&g->ready);
    heap_check(&g->early);
    uint64_t weights = 0;
    uint32_t in = 0;
    for (uint32_t i = 1; i <= g->ready.count; i++) {
        const struct lane *l = &g->table[g->ready.entries[i].kind];
        assert(l->in && l->place == LANE_READY && l->index == i && l->begins <= g->now);
        weights += l->weight;
        in++;
    }
    for (uint32_t i = 1; i <= g->early.count; i++) {
        const struct lane *l = &g->table[g->early.entries[i].kind];
        assert(l->place == LANE_EARLY && l->index == i && l->begins > g->now);
        weights += l->weight;
        in += l->in;
    }
    assert(weights == g->weights && in == g->count);
    for (uint32_t slot = g->guaranteed; slot != 0; slot = g->table[slot].next) {
        assert(g->table[slot].in && g->table[slot].percent > 0);
    }
}
