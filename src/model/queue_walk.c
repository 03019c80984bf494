/*
 * Walking through the messages of a queue in the order of its lists: all at once, or as jobs do, which take messages out of
 * the list they walk through, page after page. (What people and programs page through is queue_list.c.)
 *
 * A page of a job is of one state. `next` names the last message looked at:
 *
 *      bits 63..61 state   60..53 priority (ready only; else 60: it was newer than the filter)   52..0 message id, 0: none
 *
 * A message that left its list and came back stands at the end, behind others that nobody has looked at. The filter of a job
 * asks for what was not changed lately, so such a message is known by its change: it counts as one that has left.
 *
 * While that message stands where it was, the next page goes on right behind it, also when others in front of
 * it have left. When it has left itself, the page goes on at the beginning, since no list is in order of ids: some are looked
 * at twice then, none is passed over. A job keeps to one that stays: queue_cursor_before. Of a ready one that is newer than the
 * filter nobody can say whether it left and came back: then it goes on behind the leading ones that are not younger, which are few.
 *
 * A page looks at LIST_VISITS_MAX messages and no more, whether a filter takes them or not: it holds
 * everybody up. Among the delayed each place of one that has left counts as a message, too.
 */
#include <assert.h>

#include "base/error.h"
#include "model/queue_filter.h"
#include "model/queue_tenant.h"
#include "model/session_state.h"

#define LIST_SKIPS_MAX 10000u
#define CURSOR_ID_BITS 53u
#define CURSOR_ID_MASK (((uint64_t)1 << CURSOR_ID_BITS) - 1)
#define CURSOR_NEWER   ((uint64_t)1 << 60)

/* What is done to each message; false: no further. */
struct visitor {
    const struct model *m;
    const struct queues *s;
    bool (*visit)(void *arg, uint32_t slot);
    void *arg;
};

/* ---- all of a state ---- */

/* From `slot` to the end of its list. */
static bool each_from(const struct visitor *v, uint32_t slot) {
    for (; slot != 0; slot = message_next(v->s, slot)) {
        if (!v->visit(v->arg, slot)) {
            return false;
        }
    }
    return true;
}

static bool each_of_keys(const struct visitor *v, uint32_t key) {
    bool more = true;
    for (; more && key != 0; key = key_at(v->s, key)->next) {
        more = each_from(v, key_at(v->s, key)->blocked.first);
    }
    return more;
}

/* What consumers hold, from this one on. */
static bool each_held(const struct visitor *v, uint32_t consumer) {
    bool more = true;
    for (uint32_t c = consumer; more && c != 0; c = consumer_at(v->m->sessions, c)->of_queue.next) {
        more = each_from(v, consumer_at(v->m->sessions, c)->held.first);
    }
    return more;
}

/* One more than the highest level below `level` that has messages; 0: none has. */
static uint32_t level_below(const struct ready_set *set, uint32_t level) {
    while (level > 0) {
        uint32_t top = level - 1;
        uint64_t bits = set->levels->bits[top / 64] << (63 - top % 64);
        if (bits != 0) {
            return level - (uint32_t)__builtin_clzll(bits);
        }
        level = top - top % 64;
    }
    return 0;
}

/* The levels below `level`, from the highest down. */
static bool each_of_levels(const struct visitor *v, const struct ready_set *set, uint32_t level) {
    bool more = true;
    while (more && (level = level_below(set, level)) > 0) {
        level--;
        more = each_from(v, set->levels->lists[level].first);
    }
    return more;
}

/* Set by set in order of the round, behind the one at `at`. */
static bool each_of_sets(const struct visitor *v, const struct queue *q, uint32_t at) {
    bool more = true;
    const struct ready_set *set;
    while (more && (set = tenant_next_set(v->s, q, &at)) != NULL) {
        more = each_of_levels(v, set, set->level_count);
    }
    return more;
}

static bool each_of_state(const struct visitor *v, const struct queue *q, unsigned state) {
    switch (state) {
    case MESSAGE_READY:
        return each_of_sets(v, q, 0);
    case MESSAGE_BLOCKED:
        return each_of_keys(v, q->keys.first);
    case MESSAGE_DELAYED:
        return each_from(v, delayed_first(v->s, q));
    case MESSAGE_CONFIRMING:
        return each_from(v, q->confirming.first);
    case MESSAGE_IN_FLIGHT:
        return each_from(v, q->in_flight.first) && each_held(v, q->holders.first);
    default:
        return each_from(v, q->dead.first);
    }
}

bool queue_each(const struct model *m, const struct queue *q, unsigned state,
                bool (*visit)(void *arg, uint32_t slot), void *arg) {
    const struct visitor v = {.m = m, .s = m->queues, .visit = visit, .arg = arg};
    return each_of_state(&v, q, state);
}

uint64_t queue_each_cost(const struct queue *q, unsigned state) {
    switch (state) {
    case MESSAGE_DELAYED:
        return roll_places(&q->delayed);
    case MESSAGE_IN_FLIGHT:
        return (uint64_t)q->counts[state] + q->holders.count;
    default:
        return q->counts[state];
    }
}

/* ---- cursors ---- */

/* Three bits: 7 is no state of a message that is there. */
static uint64_t section_of(enum message_state state) {
    return state == MESSAGE_CONFIRMING ? 7 : (uint64_t)state;
}

static uint64_t cursor_of(enum message_state state, uint32_t priority, uint64_t id) {
    uint64_t level = state == MESSAGE_READY ? priority : 0;
    assert(id <= CURSOR_ID_MASK);
    return section_of(state) << 61 | level << CURSOR_ID_BITS | id;
}

static uint64_t cursor_make(const struct message *g) {
    return cursor_of((enum message_state)g->state, g->priority, g->id);
}

uint64_t queue_cursor_at(const struct model *m, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    uint32_t prev = message_prev(m->queues, slot);
    if (prev != 0) {
        return cursor_make(message_at(m->queues, prev));
    }
    return g->state == MESSAGE_READY ? 0 : cursor_of((enum message_state)g->state, 0, 0);
}

uint64_t queue_cursor_before(const struct model *m, const struct queue *q, uint64_t cursor,
                             const uint32_t *leaving, uint32_t count) {
    uint32_t slot = message_find(m->queues, cursor & CURSOR_ID_MASK);
    while (slot != 0 && message_at(m->queues, slot)->queue == q->index) {
        while (count > 0 && leaving[count - 1] != slot) {
            count--; /* it stands behind, in a section of its own or behind the cursor */
        }
        if (count == 0) {
            break;
        }
        cursor = queue_cursor_at(m, slot);
        slot = message_prev(m->queues, slot);
    }
    return cursor;
}

/* ---- a page of a job ---- */

struct page {
    struct visitor v;
    struct request *r;
    struct decision *d;
    const struct message_filter *filter; /* NULL: all */
    uint64_t key;                        /* hash of the filter's ordering key, 0: any */
    uint32_t max, visits;
    uint32_t place; /* delayed: of the last one that was looked at; 0: none was */
};

static bool is_newer(const struct page *p, const struct message *g) {
    return p->filter != NULL && p->filter->changed_to_ns != 0 &&
           message_changed_ns(p->v.m, g) >= p->filter->changed_to_ns;
}

/* What it takes to come here: the places that were passed over, too. */
static uint32_t visits_of(struct page *p, const struct message *g) {
    uint32_t from = p->place;
    if (g->state != MESSAGE_DELAYED) {
        return 1;
    }
    p->place = g->place;
    return from == 0 ? 1 : roll_distance(from, g->place);
}

/* False: the page is full. */
static bool page_take(void *arg, uint32_t slot) {
    struct page *p = arg;
    const struct message *g = message_at(p->v.s, slot);
    if (p->r->count == p->max || p->visits == 0 || p->d->failed) {
        return false;
    }
    uint32_t visits = visits_of(p, g);
    p->visits -= visits < p->visits ? visits : p->visits;
    p->r->visited++;
    bool newer = g->state != MESSAGE_READY && is_newer(p, g);
    p->r->next = cursor_make(g) | (newer ? CURSOR_NEWER : 0);
    if (p->filter != NULL && !queue_filter_takes(p->v.m, p->filter, p->key, g)) {
        return true;
    }
    struct message_info info;
    message_describe(p->v.m, g, &info);
    info.after = cursor_make(g);
    p->d->failed |= buffer_append(&p->r->out_bytes, &info, sizeof info) != 0;
    p->r->count++;
    return true;
}

/* Where to go on in a level of which the last message seen is newer. False: too far. */
static bool level_skip(const struct queues *s, uint32_t first, uint64_t id, uint32_t *ret_slot) {
    uint32_t slot = first;
    for (uint32_t steps = 0; slot != 0 && message_at(s, slot)->id <= id; steps++) {
        if (steps == LIST_SKIPS_MAX) {
            return false;
        }
        slot = message_at(s, slot)->next;
    }
    *ret_slot = slot;
    return true;
}

static enum refusal resume_ready(struct page *p, struct queue *q, uint64_t after,
                                 const struct message *g, bool *ret_more) {
    const struct queues *s = p->v.s;
    uint32_t level = (uint32_t)(after >> CURSOR_ID_BITS) & PRIORITY_MAX;
    const struct ready_set *set = g != NULL ? tenant_set(s, q, g) : &q->ready;
    level = level < set->level_count ? level : set->level_count;
    uint32_t first = level < set->level_count ? set->levels->lists[level].first : 0;
    uint32_t slot = g != NULL ? g->next : 0;
    if (g == NULL && !level_skip(s, first, after & CURSOR_ID_MASK, &slot)) {
        return request_refuse(p->r, REFUSAL_CONFLICT,
                              "the list changed too much since the last page: start again");
    }
    *ret_more = each_from(&p->v, slot) && each_of_levels(&p->v, set, level) &&
                each_of_sets(&p->v, q, tenant_round_place(s, q, g));
    return REFUSAL_NONE;
}

/* What is left of a section behind a message that stands in it. */
static bool resume_behind(struct page *p, const struct queue *q, uint32_t slot) {
    const struct message *g = message_at(p->v.s, slot);
    p->place = g->state == MESSAGE_DELAYED ? g->place : 0;
    if (!each_from(&p->v, message_next(p->v.s, slot))) {
        return false;
    }
    if (g->state == MESSAGE_BLOCKED) {
        return each_of_keys(&p->v, key_at(p->v.s, g->key)->next);
    }
    if (g->state == MESSAGE_IN_FLIGHT) {
        const struct sessions *sessions = p->v.m->sessions;
        return each_held(&p->v, g->held ? consumer_at(sessions, g->outcome)->of_queue.next
                                        : q->holders.first);
    }
    return true;
}

static enum refusal page_resume(struct page *p, struct queue *q, unsigned state, uint64_t after,
                                bool *ret_more) {
    uint32_t at = message_find(p->v.s, after & CURSOR_ID_MASK);
    const struct message *g = at == 0 ? NULL : message_at(p->v.s, at);
    bool was_newer = state != MESSAGE_READY && (after & CURSOR_NEWER) != 0;
    bool is_there = g != NULL && g->queue == q->index &&
                    cursor_make(g) == (was_newer ? after & ~CURSOR_NEWER : after);
    bool stands = is_there && (was_newer || !is_newer(p, g));
    if (state == MESSAGE_READY && is_there) {
        return resume_ready(p, q, after, stands ? g : NULL, ret_more);
    }
    *ret_more = stands ? resume_behind(p, q, at) : each_of_state(&p->v, q, state);
    return REFUSAL_NONE;
}

enum refusal queue_decide_walk(const struct model *m, struct decision *d, struct request *r,
                               struct queue *q) {
    const struct message_filter *f = r->in.list.filter;
    const unsigned state = r->in.list.state;
    struct page p = {.r = r, .d = d, .filter = f};
    p.v = (struct visitor){.m = m, .s = m->queues, .visit = page_take, .arg = &p};
    p.max = request_list_max(r);
    p.visits = LIST_VISITS_MAX;
    p.key = f == NULL ? 0 : queue_filter_hash(f, q->index);
    uint64_t after = r->in.list.after;
    bool more = true;
    if (after != 0 && after >> 61 != section_of((enum message_state)state)) {
        return request_invalid(r, "/pageToken", "not a place in this list");
    }
    if (after == 0) {
        more = each_of_state(&p.v, q, state);
    } else {
        enum refusal refusal = page_resume(&p, q, state, after, &more);
        if (refusal != REFUSAL_NONE) {
            return refusal;
        }
    }
    r->next = more ? 0 : r->next;
    return REFUSAL_NONE;
}
