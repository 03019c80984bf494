/*
 * Which queue of which destination is next.
 *
 * Each destination has a ring of the queues that have a ready message; a queue that had its turn goes to
 * the end, so queues share a destination fairly. A queue with a pace of its own that waits leaves the
 * ring until its time (parked, in a heap) or until one of its attempts ends (blocked), so that a thousand
 * slow queues cost a fast one nothing; from the heap it returns to where its last turn puts it, ahead
 * of those that had theirs meanwhile. Destinations with a ring or parked queues are in one list, which
 * is all that is walked; those without ready work cost nothing.
 *
 *                 ready(true)                 turn, its pace waits for a time
 *      NONE -------------------> RING -------------------------------------> PARKED
 *       ^                        |  ^ <------- its time has come ---------------+
 *       +---- ready(false) ------+  |
 *       |  (from any place)      |  +------------ an attempt ended -------- BLOCKED
 *                                +-- turn, its pace waits for an end --------->^
 *
 * The places are hints: destination_pick asks the queue and its pace again, so a queue that stands
 * in the ring although it must wait is passed over. All of it is derived from the queues and is no part
 * of a snapshot: after a restart the rings begin anew, which changes who is next, never what is allowed.
 */
#include "model/destination_state.h"

#include <assert.h>
#include <stdlib.h>

#define QUEUE_SLOT(queue) ((queue) & ((1u << ROSTER_SLOT_BITS) - 1))

static struct ready_node *node_at(const struct destinations *s, uint32_t queue) {
    assert(QUEUE_SLOT(queue) < s->ready_slots);
    return &s->ready[QUEUE_SLOT(queue)];
}

static void parked_moved(void *owner, const struct heap_entry *e, uint32_t index) {
    struct destinations *s = owner;
    node_at(s, e->ref)->heap_index = index;
}

void destination_ready_init(struct destinations *s, struct destination *t) {
    heap_init(&t->parked, s, parked_moved);
}

static void note_active(struct destinations *s, struct destination *t) {
    bool has_work = t->ring_head != 0 || t->parked.count > 0;
    if (has_work && !list_linked(&t->active)) {
        list_append(&s->active, &t->active);
    } else if (!has_work && list_linked(&t->active)) {
        list_remove(&t->active);
    }
}

/* Before `next`, 0: at the end. */
static void ring_insert(struct destinations *s, struct destination *t, uint32_t next,
                        uint32_t queue) {
    struct ready_node *n = node_at(s, queue);
    n->place = READY_RING;
    n->next = next;
    n->prev = next != 0 ? node_at(s, next)->prev : t->ring_tail;
    *(n->prev != 0 ? &node_at(s, n->prev)->next : &t->ring_head) = queue;
    *(next != 0 ? &node_at(s, next)->prev : &t->ring_tail) = queue;
}

static void ring_append(struct destinations *s, struct destination *t, uint32_t queue) {
    node_at(s, queue)->turn = ++s->turns;
    ring_insert(s, t, 0, queue);
}

/* To its old place: who waited for its own pace has not had a turn since. A short walk, it is among the first. */
static void ring_return(struct destinations *s, struct destination *t, uint32_t queue) {
    uint64_t turn = node_at(s, queue)->turn;
    uint32_t next = t->ring_head;
    while (next != 0 && node_at(s, next)->turn < turn) {
        next = node_at(s, next)->next;
    }
    ring_insert(s, t, next, queue);
}

static void ring_remove(struct destinations *s, struct destination *t, uint32_t queue) {
    struct ready_node *n = node_at(s, queue);
    if (n->prev != 0) {
        node_at(s, n->prev)->next = n->next;
    } else {
        assert(t->ring_head == queue);
        t->ring_head = n->next;
    }
    if (n->next != 0) {
        node_at(s, n->next)->prev = n->prev;
    } else {
        assert(t->ring_tail == queue);
        t->ring_tail = n->prev;
    }
    n->next = n->prev = 0;
}

/* Out of wherever it stands; the node keeps its destination. */
static void take_out(struct destinations *s, struct destination *t, uint32_t queue) {
    struct ready_node *n = node_at(s, queue);
    if (n->place == READY_RING) {
        ring_remove(s, t, queue);
    } else if (n->place == READY_PARKED) {
        heap_remove(&t->parked, n->heap_index);
    }
    n->place = READY_NONE;
}

static void place_by_pace(struct model *m, struct destination *t, uint32_t queue, uint64_t now_ns) {
    struct destinations *s = m->destinations;
    const struct pace *pace = queue_pace_view(m, queue);
    uint64_t wait_ns = pace != NULL ? pace_wait_ns(pace, now_ns) : 0;
    take_out(s, t, queue);
    node_at(s, queue)->turn = ++s->turns;
    if (wait_ns == PACE_WAIT_FOR_END) {
        node_at(s, queue)->place = READY_BLOCKED;
        return;
    }
    struct heap_entry entry = {.due_ns = now_ns + wait_ns, .ref = queue};
    if (wait_ns == 0 || heap_insert(&t->parked, entry) != 0) {
        ring_append(s, t, queue); /* without memory to park it it is passed over in the ring */
    } else {
        node_at(s, queue)->place = READY_PARKED;
    }
}

static void unpark_due(struct destinations *s, struct destination *t, uint64_t now_ns) {
    const struct heap_entry *first;
    while ((first = heap_first(&t->parked)) != NULL && first->due_ns <= now_ns) {
        uint32_t queue = first->ref;
        take_out(s, t, queue);
        ring_return(s, t, queue);
    }
}

void destination_queue_ready(struct model *m, uint32_t destination, uint32_t queue, bool ready) {
    struct destinations *s = m->destinations;
    struct ready_node *n = node_at(s, queue);
    struct destination *before = n->destination != 0 ? destination_at(m, n->destination) : NULL;
    struct destination *t = destination_at(m, destination);
    if (before != NULL && before == t && ready && n->place == READY_RING) {
        return;
    }
    if (before != NULL) {
        take_out(s, before, queue);
        note_active(s, before);
    }
    *n = (struct ready_node){.destination = 0};
    if (ready && t != NULL) {
        n->destination = destination;
        ring_append(s, t, queue);
        note_active(s, t);
    }
}

void destination_ready_turn(struct model *m, struct destination *t, uint32_t queue,
                            uint64_t now_ns) {
    struct destinations *s = m->destinations;
    unpark_due(s, t, now_ns);
    struct ready_node *n = node_at(s, queue);
    if (n->destination == t->index && n->place != READY_NONE) {
        place_by_pace(m, t, queue, now_ns);
    }
    if (list_linked(&t->active)) { /* destinations take turns too */
        list_remove(&t->active);
    }
    note_active(s, t);
}

void destination_ready_ended(struct model *m, uint32_t queue, uint64_t now_ns) {
    struct ready_node *n = node_at(m->destinations, queue);
    struct destination *t = n->destination != 0 ? destination_at(m, n->destination) : NULL;
    if (t != NULL && n->place == READY_BLOCKED) {
        place_by_pace(m, t, queue, now_ns);
        note_active(m->destinations, t);
    }
}

/* 0: `queue` can send now, its next message in ret_view. Else ns to wait, UINT64_MAX: for something else. */
static uint64_t queue_wait_ns(const struct model *m, uint32_t queue, uint64_t now_ns,
                              struct message_view *ret_view) {
    const struct pace *pace = queue_pace_view(m, queue);
    uint64_t wait_ns = pace != NULL ? pace_wait_ns(pace, now_ns) : 0;
    if (wait_ns != 0) {
        return wait_ns;
    }
    return queue_peek(m, queue, ret_view) ? 0 : UINT64_MAX;
}

/* Parked queues whose time has come, the first one that can send. */
static uint32_t pick_parked(const struct model *m, const struct destination *t, uint64_t now_ns,
                            struct message_view *ret_view, uint64_t *next_ns) {
    const struct heap_entry *first = heap_first(&t->parked);
    if (first == NULL) {
        return 0;
    }
    if (first->due_ns > now_ns) {
        *next_ns = first->due_ns < *next_ns ? first->due_ns : *next_ns;
        return 0;
    }
    for (uint32_t i = 1; i <= t->parked.count; i++) {
        const struct heap_entry *e = &t->parked.entries[i];
        uint64_t wait_ns =
            e->due_ns > now_ns ? e->due_ns - now_ns : queue_wait_ns(m, e->ref, now_ns, ret_view);
        if (wait_ns == 0) {
            return e->ref;
        }
        if (wait_ns != UINT64_MAX && now_ns + wait_ns < *next_ns) {
            *next_ns = now_ns + wait_ns;
        }
    }
    return 0;
}

uint32_t destination_pick(const struct model *m, const struct destination *t, uint64_t now_ns,
                          struct message_view *ret_view, uint64_t *ret_next_ns) {
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t q = t->ring_head; q != 0; q = node_at(m->destinations, q)->next) {
        uint64_t wait_ns = queue_wait_ns(m, q, now_ns, ret_view);
        if (wait_ns == 0) {
            return q;
        }
        if (wait_ns != UINT64_MAX && now_ns + wait_ns < next_ns) {
            next_ns = now_ns + wait_ns;
        }
    }
    uint32_t queue = pick_parked(m, t, now_ns, ret_view, &next_ns);
    *ret_next_ns = next_ns;
    return queue;
}

/* When this destination can start something: now_ns if at once, UINT64_MAX if only a request can tell. */
static uint64_t next_of(const struct model *m, const struct destination *t, uint64_t now_ns) {
    uint64_t wait_ns;
    const struct destination *to = destination_route(m, t, now_ns, &wait_ns);
    if (wait_ns == PACE_WAIT_FOR_END) {
        return UINT64_MAX;
    }
    if (wait_ns > 0) {
        wait_ns += limits_gather_ns(&to->limits); /* a turn of the engine costs more than a start */
    }
    uint64_t own_ns = now_ns + wait_ns;
    struct message_view view;
    uint64_t queue_ns;
    if (destination_pick(m, t, now_ns, &view, &queue_ns) != 0) {
        return own_ns;
    }
    return queue_ns > own_ns ? queue_ns : own_ns;
}

uint64_t destination_next_start_ns(const struct model *m, uint64_t now_ns) {
    const struct list *active = &m->destinations->active;
    uint64_t next_ns = UINT64_MAX;
    for (struct list_node *n = list_first(active); n != NULL; n = list_next(active, n)) {
        uint64_t at_ns = next_of(m, CONTAINER_OF(n, struct destination, active), now_ns);
        if (at_ns <= now_ns) {
            return now_ns;
        }
        next_ns = at_ns < next_ns ? at_ns : next_ns;
    }
    return next_ns;
}

void destination_ready_check(const struct model *m) {
    const struct destinations *s = m->destinations;
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct destination *t = destination_at(m, i);
        heap_check(&t->parked);
        assert(list_linked(&t->active) == (t->ring_head != 0 || t->parked.count > 0));
        uint32_t prev = 0;
        for (uint32_t q = t->ring_head; q != 0; q = node_at(s, q)->next) {
            const struct ready_node *n = node_at(s, q);
            assert(n->place == READY_RING && n->destination == i && n->prev == prev);
            assert(prev == 0 || node_at(s, prev)->turn < n->turn);
            prev = q;
        }
        assert(prev == t->ring_tail);
    }
}
