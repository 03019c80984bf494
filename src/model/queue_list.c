/*
 * Listing the messages of a queue, in pages, all of them or those that a filter takes.
 *
 * A page goes through the lists of a queue, section by section: ready from the highest priority down, blocked,
 * delayed, in flight (at the destination first, then what each consumer holds), dead. `next` names the last
 * message looked at and its section:
 *
 *      bits 63..61 state   60..53 priority (ready only; else 60: it was newer than the filter)   52..0 message id, 0: none
 *
 * A message that left its list and came back stands at the end, behind others that nobody has looked at. With a filter
 * that asks for what was not changed lately (those of jobs do) such a message is known by its change: it counts as one
 * that has left.
 *
 * While that message stands where it was, the next page goes on right behind it, also when others in front of
 * it have left. When it has left itself, a page of ready messages goes on behind the leading ones that are not
 * younger (they leave from the front, so these are few); in the other sections, which are in no order of ids,
 * it goes on at the section's beginning: some are shown twice then, none is passed over. Whoever walks
 * through a list and takes messages out of it keeps to one that stays: queue_cursor_before.
 *
 * A request looks at LIST_VISITS_MAX messages and no more, whether a filter takes them or not: it holds
 * everybody up. (Among the delayed it passes over the places of others that have left, 26 for each at most: base/roll.h.)
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

struct page {
    const struct model *m;
    const struct queues *s;
    struct request *r;
    struct decision *d;
    const struct message_filter *filter; /* NULL: all */
    uint64_t key;                        /* hash of the filter's ordering key, 0: any */
    uint32_t max, visits;
};

static const uint8_t sections[] = {MESSAGE_READY,     MESSAGE_BLOCKED,    MESSAGE_DELAYED,
                                   MESSAGE_IN_FLIGHT, MESSAGE_CONFIRMING, MESSAGE_DEAD};

/* Three bits: 7 is no state of a message that is there. */
static uint64_t section_of(enum message_state state) {
    return state == MESSAGE_CONFIRMING ? 7 : (uint64_t)state;
}

static uint64_t cursor_of(enum message_state state, uint32_t priority, uint64_t id) {
    uint64_t level = state == MESSAGE_READY ? priority : 0;
    assert(id <= CURSOR_ID_MASK);
    return section_of(state) << 61 | level << CURSOR_ID_BITS | id;
}

static unsigned state_of(uint64_t cursor) {
    return cursor >> 61 == 7 ? MESSAGE_CONFIRMING : (unsigned)(cursor >> 61);
}

static uint64_t cursor_make(const struct message *g) {
    return cursor_of((enum message_state)g->state, g->priority, g->id);
}

uint64_t queue_list_cursor(const struct message_info *info) {
    return cursor_of(info->state, info->priority, info->id);
}

static bool is_newer(const struct page *p, const struct message *g) {
    return p->filter != NULL && p->filter->changed_to_ns != 0 &&
           message_changed_ns(p->m, g) >= p->filter->changed_to_ns;
}

/* From `slot` to the end of its list, or until the page is full. False: full. */
static bool page_take(struct page *p, uint32_t slot) {
    for (; slot != 0; slot = message_next(p->s, slot)) {
        const struct message *g = message_at(p->s, slot);
        if (p->r->count == p->max || p->visits == 0 || p->d->failed) {
            return false;
        }
        p->visits--;
        p->r->visited++;
        bool newer = g->state != MESSAGE_READY && is_newer(p, g);
        p->r->next = cursor_make(g) | (newer ? CURSOR_NEWER : 0);
        if (p->filter != NULL && !queue_filter_takes(p->m, p->filter, p->key, g)) {
            continue;
        }
        struct message_info info;
        message_describe(p->m, g, &info);
        p->d->failed |= buffer_append(&p->r->out_bytes, &info, sizeof info) != 0;
        p->r->count++;
    }
    return true;
}

static bool page_take_keys(struct page *p, uint32_t key) {
    bool more = true;
    for (; more && key != 0; key = key_at(p->s, key)->next) {
        more = page_take(p, key_at(p->s, key)->blocked.first);
    }
    return more;
}

/* What consumers hold, from this one on. */
static bool page_take_held(struct page *p, uint32_t consumer) {
    bool more = true;
    for (uint32_t c = consumer; more && c != 0; c = consumer_at(p->m->sessions, c)->of_queue.next) {
        more = page_take(p, consumer_at(p->m->sessions, c)->held.first);
    }
    return more;
}

/* The levels below `level`, from the highest down. */
static bool page_take_levels(struct page *p, const struct ready_set *set, uint32_t level) {
    bool more = true;
    for (uint32_t i = level; more && i > 0; i--) {
        more = page_take(p, set->levels->lists[i - 1].first);
    }
    return more;
}

/* Set by set in order of the round, behind the one at `at`. */
static bool page_take_sets(struct page *p, const struct queue *q, uint32_t at) {
    bool more = true;
    const struct ready_set *set;
    while (more && (set = tenant_next_set(p->s, q, &at)) != NULL) {
        more = page_take_levels(p, set, set->level_count);
    }
    return more;
}

static bool page_take_section(struct page *p, const struct queue *q, unsigned state) {
    switch (state) {
    case MESSAGE_READY:
        return page_take_sets(p, q, 0);
    case MESSAGE_BLOCKED:
        return page_take_keys(p, q->keys.first);
    case MESSAGE_DELAYED:
        return page_take(p, delayed_first(p->s, q));
    case MESSAGE_CONFIRMING:
        return page_take(p, q->confirming.first);
    case MESSAGE_IN_FLIGHT:
        return page_take(p, q->in_flight.first) && page_take_held(p, q->holders.first);
    default:
        return page_take(p, q->dead.first);
    }
}

/* ---- walking and taking out ---- */

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

/* ---- the next page ---- */

/* Where to go on in a level of which the last message seen has left. False: too far. */
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

static enum refusal resume_ready(struct page *p, const struct queue *q, uint64_t after,
                                 const struct message *g, bool *ret_more) {
    uint32_t level = (uint32_t)(after >> CURSOR_ID_BITS) & PRIORITY_MAX;
    const struct ready_set *set =
        g != NULL ? tenant_set(p->s, queue_at(p->s, q->index), g) : &q->ready;
    level = level < set->level_count ? level : set->level_count;
    uint32_t first = level < set->level_count ? set->levels->lists[level].first : 0;
    uint32_t slot = g != NULL ? g->next : 0;
    if (g == NULL && !level_skip(p->s, first, after & CURSOR_ID_MASK, &slot)) {
        return request_refuse(p->r, REFUSAL_CONFLICT,
                              "the list changed too much since the last page: start again");
    }
    *ret_more = page_take(p, slot) && page_take_levels(p, set, level) &&
                page_take_sets(p, q, tenant_round_place(p->s, q, g));
    return REFUSAL_NONE;
}

/* What is left of a section behind a message that stands in it. */
static bool resume_behind(struct page *p, const struct queue *q, uint32_t slot) {
    const struct message *g = message_at(p->s, slot);
    if (!page_take(p, message_next(p->s, slot))) {
        return false;
    }
    if (g->state == MESSAGE_BLOCKED) {
        return page_take_keys(p, key_at(p->s, g->key)->next);
    }
    if (g->state == MESSAGE_IN_FLIGHT) {
        return page_take_held(p, g->held ? consumer_at(p->m->sessions, g->outcome)->of_queue.next
                                         : q->holders.first);
    }
    return true;
}

static enum refusal page_resume(struct page *p, const struct queue *q, uint64_t after,
                                bool *ret_more) {
    uint32_t at = message_find(p->s, after & CURSOR_ID_MASK);
    const struct message *g = at == 0 ? NULL : message_at(p->s, at);
    bool was_newer = after >> 61 != MESSAGE_READY && (after & CURSOR_NEWER) != 0;
    bool stands = g != NULL && g->queue == q->index &&
                  cursor_make(g) == (was_newer ? after & ~CURSOR_NEWER : after) &&
                  (was_newer || !is_newer(p, g));
    if (after >> 61 == MESSAGE_READY) {
        return resume_ready(p, q, after, stands ? g : NULL, ret_more);
    }
    *ret_more = stands ? resume_behind(p, q, at) : page_take_section(p, q, state_of(after));
    return REFUSAL_NONE;
}

enum refusal queue_decide_messages(const struct model *m, struct decision *d, struct request *r,
                                   struct queue *q) {
    const struct message_filter *f = r->in.list.filter;
    struct page p = {.m = m, .s = m->queues, .r = r, .d = d, .filter = f};
    unsigned wanted = r->in.list.state;
    uint64_t after = r->in.list.after;
    bool more = true, begun = after == 0;
    p.max = request_list_max(r);
    p.visits = LIST_VISITS_MAX;
    p.key = f == NULL ? 0 : queue_filter_hash(f, q->index);
    r->visited = 0;
    if (wanted >= STATES_LIVE || wanted == MESSAGE_DONE || wanted == MESSAGE_DROPPED) {
        return request_invalid(r, "/state", "ready, delayed, inFlight, dead or blocked");
    }
    for (size_t i = 0; more && i < ARRAY_LENGTH(sections); i++) {
        if (begun && (wanted == 0 || wanted == sections[i])) {
            more = page_take_section(&p, q, sections[i]);
        } else if (!begun && section_of((enum message_state)sections[i]) == after >> 61) {
            begun = true;
            enum refusal refusal = page_resume(&p, q, after, &more);
            if (refusal != REFUSAL_NONE) {
                return refusal;
            }
        }
    }
    if (!begun) {
        return request_invalid(r, "/pageToken", "not a token of this list");
    }
    r->next = more ? 0 : r->next;
    return REFUSAL_NONE;
}
