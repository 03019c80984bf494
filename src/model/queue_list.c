/*
 * Listing the messages of a queue for people and programs, in pages, all of them or those that a filter takes.
 *
 * Promise: whoever goes through all pages sees each message that was in the queue (in the state that is listed, if one is)
 *          from the first page to the last, once, whatever it or others did meanwhile; and comes to an end.
 *
 * So pages do not follow the lists of the queue: these change while somebody reads. They follow what a message keeps for
 * life, its id or its cell:
 *
 *      few    at most limits.list_looks to look at: a page looks at all of them and has those that follow in order of ids.
 *             Who came after the first page is not shown, so there is an end
 *      many   a page goes on through the cells of all queues, CELLS_FACTOR * list_looks of them at most, so it may be short
 *             or empty. Cells that were made after the first page are not looked at
 *
 *      place            after                                     bound
 *      few              52..0 id: those up to it were shown       the last id that is
 *      many             the same, and bit 63                      63..32 cell: those up to it were shown   31..0 where cells end
 *
 * Few may become many between two pages: cells are then gone through from the first, without ids that were shown. Many may
 * become few: who is looked at is then looked for in the lists again, but still told in order of cells. Cells are another
 * process's after a restart, ids are not: queue_place_lasts.
 *
 * A page asks a filter about LIST_VISITS_MAX messages at most, whether it takes them or not: it holds everybody up.
 */
#include <assert.h>

#include "base/error.h"
#include "model/queue_filter.h"
#include "model/queue_state.h"

#define BY_CELL      ((uint64_t)1 << 63)
#define ID_MASK      (((uint64_t)1 << 53) - 1)
#define CELLS_FACTOR 10u /* side by side they are cheaper to look at */

struct found {
    uint64_t key; /* id or slot */
    uint32_t slot;
};

struct page {
    const struct model *m;
    const struct queues *s;
    struct request *r;
    struct decision *d;
    const struct queue *q;
    const struct message_filter *filter; /* NULL: all */
    uint64_t key;                        /* hash of the filter's ordering key, 0: any */
    unsigned state;                      /* 0: all */
    uint32_t max;
    bool by_cell;
    uint64_t after, last; /* ids: those behind the one and up to the other; last 0: not known yet */
    uint32_t slot, slot_end; /* by_cell: behind the one and before the other */
    /* Of those that were found in the lists the first `room`, the last of them in front as long as there are more. */
    uint32_t room, count;
    uint64_t total, newest;
    struct found found[LIST_VISITS_MAX];
};

/* ---- places ---- */

static void place_read(struct page *p, uint64_t after, uint64_t bound) {
    p->by_cell = (after & BY_CELL) != 0;
    p->after = after & ID_MASK;
    p->last = p->by_cell ? UINT64_MAX : bound;
    p->slot = (uint32_t)(bound >> 32);
    p->slot_end = (uint32_t)bound;
}

static uint64_t place_after(const struct page *p) {
    return p->after | (p->by_cell ? BY_CELL : 0);
}

static uint64_t place_bound(const struct page *p) {
    return p->by_cell ? (uint64_t)p->slot << 32 | p->slot_end : p->last;
}

bool queue_place_lasts(uint64_t after) {
    return (after & BY_CELL) == 0;
}

/* ---- one message ---- */

/* Is it listed, and was it not shown before? */
static bool is_open(const struct page *p, const struct message *g, uint32_t slot) {
    bool listed = g->queue == p->q->index && (p->state == 0 ? g->state != 0 : g->state == p->state);
    return listed && g->id > p->after && (p->last == 0 || g->id <= p->last) &&
           (!p->by_cell || (slot > p->slot && slot < p->slot_end));
}

static bool is_full(const struct page *p) {
    return p->r->count == p->max || p->r->visited == LIST_VISITS_MAX || p->d->failed;
}

static void take(struct page *p, uint32_t slot) {
    const struct message *g = message_at(p->s, slot);
    p->slot = p->by_cell ? slot : 0;
    p->after = p->by_cell ? p->after : g->id;
    p->r->visited++;
    if (p->filter != NULL && !queue_filter_takes(p->m, p->filter, p->key, g)) {
        return;
    }
    struct message_info info;
    message_describe(p->m, g, &info);
    info.after = place_after(p);
    info.bound = place_bound(p);
    p->d->failed |= buffer_append(&p->r->out_bytes, &info, sizeof info) != 0;
    p->r->count++;
}

/* ---- out of the lists ---- */

/* Lets it sink to where none below it is greater: the greatest of a heap stands in front. */
static void sink(struct found *heap, uint32_t count, uint32_t at) {
    const struct found moved = heap[at];
    for (uint32_t below; (below = 2 * at + 1) < count; at = below) {
        below += below + 1 < count && heap[below + 1].key > heap[below].key;
        if (heap[below].key <= moved.key) {
            break;
        }
        heap[at] = heap[below];
    }
    heap[at] = moved;
}

static void heap_make(struct found *heap, uint32_t count) {
    for (uint32_t i = count / 2; i-- > 0;) {
        sink(heap, count, i);
    }
}

/* Of a heap. */
static void sort(struct found *heap, uint32_t count) {
    for (uint32_t last = count; last-- > 1;) {
        const struct found greatest = heap[0];
        heap[0] = heap[last];
        heap[last] = greatest;
        sink(heap, last, 0);
    }
}

static bool find(void *arg, uint32_t slot) {
    struct page *p = arg;
    const struct message *g = message_at(p->s, slot);
    if (!is_open(p, g, slot)) {
        return true;
    }
    const struct found f = {.key = p->by_cell ? slot : g->id, .slot = slot};
    p->newest = g->id > p->newest ? g->id : p->newest;
    p->total++;
    if (p->count < p->room) {
        p->found[p->count++] = f;
        if (p->count == p->room) {
            heap_make(p->found, p->count);
        }
    } else if (f.key < p->found[0].key) {
        p->found[0] = f;
        sink(p->found, p->count, 0);
    }
    return true;
}

static const uint8_t states[] = {MESSAGE_READY,     MESSAGE_BLOCKED,    MESSAGE_DELAYED,
                                 MESSAGE_IN_FLIGHT, MESSAGE_CONFIRMING, MESSAGE_DEAD};

/* What it takes to look at all that are listed. */
static uint64_t cost(const struct page *p) {
    uint64_t sum = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        sum += p->state == 0 || p->state == states[i] ? queue_each_cost(p->q, states[i]) : 0;
    }
    return sum;
}

/* False: there are more. */
static bool page_of_lists(struct page *p) {
    p->room = p->filter == NULL ? p->max : LIST_VISITS_MAX;
    for (size_t i = 0; i < ARRAY_LENGTH(states); i++) {
        if (p->state == 0 || p->state == states[i]) {
            (void)queue_each(p->m, p->q, states[i], find, p);
        }
    }
    p->last = p->last == 0 ? p->newest : p->last;
    heap_make(p->found, p->count);
    sort(p->found, p->count);
    uint32_t looked = 0;
    while (looked < p->count && !is_full(p)) {
        take(p, p->found[looked++].slot);
    }
    return looked == p->total;
}

/* ---- through the cells ---- */

static void begin_cells(struct page *p) {
    p->by_cell = true;
    p->last = UINT64_MAX;
    p->slot = 0;
    p->slot_end = p->s->messages.used_limit;
}

/* False: there are more. */
static bool page_of_cells(struct page *p) {
    uint32_t limit = p->s->messages.used_limit;
    uint32_t end = p->slot_end < limit ? p->slot_end : limit;
    uint64_t left = (uint64_t)p->m->limits.list_looks * CELLS_FACTOR;
    for (uint32_t slot = p->slot + 1; slot < end; slot++) {
        if (left-- == 0 || is_full(p)) {
            return false;
        }
        if (is_open(p, message_at(p->s, slot), slot)) {
            take(p, slot);
        }
        p->slot = slot;
    }
    return true;
}

enum refusal queue_decide_messages(const struct model *m, struct decision *d, struct request *r,
                                   struct queue *q) {
    const struct message_filter *f = r->in.list.filter;
    const unsigned state = r->in.list.state;
    r->visited = 0;
    if (state >= STATES_LIVE || state == MESSAGE_DONE || state == MESSAGE_DROPPED) {
        return request_invalid(r, "/state", "ready, delayed, inFlight, dead or blocked");
    }
    if (r->in.list.in_order) {
        return queue_decide_walk(m, d, r, q);
    }
    struct page p; /* 32 KB, of which few are used: not zeroed */
    p.m = m;
    p.s = m->queues;
    p.r = r;
    p.d = d;
    p.q = q;
    p.filter = f;
    p.key = f == NULL ? 0 : queue_filter_hash(f, q->index);
    p.state = state;
    p.max = request_list_max(r);
    p.room = p.count = 0;
    p.total = p.newest = 0;
    place_read(&p, r->in.list.after, r->in.list.bound);
    bool few = cost(&p) <= m->limits.list_looks;
    if (!few && !p.by_cell) {
        begin_cells(&p);
    }
    bool ended = few ? page_of_lists(&p) : page_of_cells(&p);
    r->next = ended ? 0 : place_after(&p);
    r->next_bound = ended ? 0 : place_bound(&p);
    return REFUSAL_NONE;
}
