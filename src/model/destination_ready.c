/*
 * Which queue of which destination is next.
 *
 * Each destination has lanes (lane.h): of the queues that have a ready message, each gets the share of the
 * starts that its definition says. A queue with a pace of its own that waits leaves the lanes until its
 * time (parked, in a heap) or until one of its attempts ends (blocked), so that a thousand slow queues
 * cost a fast one nothing, and what it leaves unused the others take; when its time has come it is next,
 * if its share allows. Destinations with lanes or parked queues are in one list, which is all that is
 * walked; those without ready work cost nothing.
 *
 *                 ready(true)                 turn, its pace waits for a time
 *      NONE -------------------> LANE -------------------------------------> PARKED
 *       ^                        |  ^ <------- its time has come ---------------+
 *       +---- ready(false) ------+  |
 *       |  (from any place)      |  +------------ an attempt ended -------- BLOCKED
 *                                +-- turn, its pace waits for an end --------->^
 *
 * The places are hints: destination_pick asks the queue and its pace again, so a queue that stands
 * in a lane although it must wait is passed over. All of it is derived from the queues and is no part
 * of a snapshot: after a restart the shares begin anew, which changes who is next, never what is allowed.
 * Room for all queues that push to a destination is reserved when they are linked to it, so that
 * becoming ready cannot fail.
 */
#include "model/destination_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"

/* As late a start may be that is not decided ahead, without being lost: of the allowance of a burst chosen by rate. */
#define LATENESS_NS (6 * NS_PER_MS)

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
    lanes_init(&t->lanes, s->lanes);
}

void destination_ready_release(struct destination *t) {
    heap_release(&t->parked);
    lanes_release(&t->lanes);
}

int destination_ready_reserve(struct destination *t, uint32_t queues) {
    int rc = heap_reserve(&t->parked, queues);
    return rc != 0 ? rc : lanes_reserve(&t->lanes, queues);
}

int destination_reserve(struct model *m, uint32_t destination, uint32_t queues) {
    struct destination *t = destination_at(m, destination);
    return t == NULL ? 0 : destination_ready_reserve(t, queues);
}

static bool has_work(const struct destination *t) {
    return t->lanes.count > 0 || t->parked.count > 0;
}

static void note_active(struct destinations *s, struct destination *t) {
    if (has_work(t) && !list_linked(&t->active)) {
        list_append(&s->active, &t->active);
    } else if (!has_work(t) && list_linked(&t->active)) {
        list_remove(&t->active);
    }
}

static void join(struct model *m, struct destination *t, uint32_t queue) {
    struct destinations *s = m->destinations;
    struct ready_node *n = node_at(s, queue);
    const struct queue_def *def = queue_definition(m, queue);
    if (n->lanes_of != t->index) {
        s->lanes[QUEUE_SLOT(queue)] = (struct lane){.ref = 0};
        n->lanes_of = t->index;
    }
    n->place = READY_LANE;
    lanes_join(&t->lanes, QUEUE_SLOT(queue), queue, def->weight, def->guaranteed_percent);
}

/* Out of wherever it stands; the node keeps its destination. */
static void take_out(struct destinations *s, struct destination *t, uint32_t queue) {
    struct ready_node *n = node_at(s, queue);
    if (n->place == READY_LANE) {
        lanes_leave(&t->lanes, QUEUE_SLOT(queue));
    } else if (n->place == READY_PARKED) {
        heap_remove(&t->parked, n->heap_index);
    }
    n->place = READY_NONE;
}

/* Joins, waits for a time, or for an end. */
static void place_by_pace(struct model *m, struct destination *t, uint32_t queue, uint64_t now_ns) {
    struct destinations *s = m->destinations;
    const struct pace *pace = queue_pace_view(m, queue);
    uint64_t wait_ns = pace != NULL ? pace_wait_ns(pace, now_ns) : 0;
    struct ready_node *n = node_at(s, queue);
    if (n->place == READY_LANE && wait_ns == 0) {
        return;
    }
    take_out(s, t, queue);
    if (wait_ns == 0) {
        join(m, t, queue);
    } else if (wait_ns == PACE_WAIT_FOR_END) {
        n->place = READY_BLOCKED;
    } else {
        int rc = heap_insert(&t->parked, (struct heap_entry){now_ns + wait_ns, queue, 0});
        assert(rc == 0); /* destination_ready_reserve made room */
        n->place = READY_PARKED;
    }
}

static void unpark_due(struct model *m, struct destination *t, uint64_t now_ns) {
    const struct heap_entry *first;
    while ((first = heap_first(&t->parked)) != NULL && first->due_ns <= now_ns) {
        uint32_t queue = first->ref;
        take_out(m->destinations, t, queue);
        join(m, t, queue);
    }
}

void destination_queue_ready(struct model *m, uint32_t destination, uint32_t queue, bool ready) {
    struct destinations *s = m->destinations;
    struct ready_node *n = node_at(s, queue);
    struct destination *before = n->destination != 0 ? destination_at(m, n->destination) : NULL;
    struct destination *t = destination_at(m, destination);
    if (before != NULL && before == t && ready && n->place == READY_LANE) {
        return;
    }
    if (before != NULL) {
        take_out(s, before, queue);
        note_active(s, before);
    }
    n->destination = 0;
    if (ready && t != NULL) {
        n->destination = destination;
        join(m, t, queue);
        note_active(s, t);
    }
}

void destination_queue_unlinked(struct model *m, uint32_t destination, uint32_t queue) {
    struct destinations *s = m->destinations;
    struct ready_node *n = node_at(s, queue);
    destination_queue_ready(m, destination, queue, false);
    struct destination *t = n->lanes_of != 0 ? destination_at(m, n->lanes_of) : NULL;
    if (t != NULL) {
        lanes_forget(&t->lanes, QUEUE_SLOT(queue));
    }
    n->lanes_of = 0;
}

void destination_ready_turn(struct model *m, struct destination *t, uint32_t queue,
                            uint64_t now_ns) {
    struct destinations *s = m->destinations;
    struct ready_node *n = node_at(s, queue);
    unpark_due(m, t, now_ns);
    if (n->lanes_of == t->index) {
        lanes_turn(&t->lanes, QUEUE_SLOT(queue));
    }
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

/* A request for several waits until it is full, or the message that leaves next has waited enough. */
static uint64_t batch_wait_ns(const struct model *m, const struct destination *t,
                              const struct message_view *next, uint64_t now_ns) {
    const struct batch_def *b = &t->def.batch;
    if (b->max_messages <= 1 || queue_ready_count(m, next->queue) >= b->max_messages ||
        queue_ready_bytes(m, next->queue) >= b->max_bytes) {
        return 0;
    }
    uint64_t at_ns = next->accepted_ns_hint + b->wait_ns;
    return at_ns > now_ns ? at_ns - now_ns : 0;
}

/* 0: `queue` can send now, its next message in ret_view. Else ns to wait, UINT64_MAX: for something else. */
static uint64_t queue_wait_ns(const struct model *m, const struct destination *t, uint32_t queue,
                              uint64_t now_ns, struct message_view *ret_view) {
    const struct pace *pace = queue_pace_view(m, queue);
    uint64_t wait_ns = pace != NULL ? pace_wait_ns(pace, now_ns) : 0;
    if (wait_ns != 0) {
        return wait_ns;
    }
    return queue_peek(m, queue, now_ns, ret_view) ? batch_wait_ns(m, t, ret_view, now_ns)
                                                  : UINT64_MAX;
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
            e->due_ns > now_ns ? e->due_ns - now_ns : queue_wait_ns(m, t, e->ref, now_ns, ret_view);
        if (wait_ns == 0) {
            return e->ref;
        }
        if (wait_ns != UINT64_MAX && now_ns + wait_ns < *next_ns) {
            *next_ns = now_ns + wait_ns;
        }
    }
    return 0;
}

struct asked {
    const struct model *m;
    const struct destination *t;
    uint64_t now_ns, next_ns;
    struct message_view *view;
};

static bool can_send(void *arg, uint32_t queue) {
    struct asked *a = arg;
    uint64_t wait_ns = queue_wait_ns(a->m, a->t, queue, a->now_ns, a->view);
    if (wait_ns != 0 && wait_ns != UINT64_MAX && a->now_ns + wait_ns < a->next_ns) {
        a->next_ns = a->now_ns + wait_ns;
    }
    return wait_ns == 0;
}

/* Parked queues whose time has come join the lanes at the next turn; they are asked if nobody there can send. */
uint32_t destination_pick(const struct model *m, const struct destination *t, uint64_t now_ns,
                          struct message_view *ret_view, uint64_t *ret_next_ns) {
    struct asked a = {m, t, now_ns, UINT64_MAX, ret_view};
    uint32_t slot = lanes_pick(&t->lanes, can_send, &a);
    uint32_t queue = slot != 0 ? m->destinations->lanes[slot].ref : 0;
    if (queue == 0) {
        queue = pick_parked(m, t, now_ns, ret_view, &a.next_ns);
    } else {
        bool found = queue_peek(m, queue, now_ns, ret_view); /* another one was asked last */
        assert(found);
    }
    *ret_next_ns = a.next_ns;
    return queue;
}

/* The queue that has all that waits to go there, 0: there is none. */
static uint32_t only_queue(const struct model *m, const struct destination *t, uint64_t now_ns) {
    uint32_t slot = t->parked.count == 0 && now_ns >= t->lent_until_ns ? lanes_only(&t->lanes) : 0;
    uint32_t queue = slot != 0 ? m->destinations->lanes[slot].ref : 0;
    return queue != 0 && queue_is_all_there_is(m, queue) ? queue : 0;
}

/* Of a request for several, each of which has a token of its own, the others have no turns. */
static bool batch_has_tokens(const struct destination *t) {
    return t->def.batch.max_messages > 1 && t->def.batch.token != BATCH_TOKEN_REQUEST;
}

/* What is decided ahead holds a place long before it leaves: half of them are for what is really under way, or held on. */
static bool has_places_to_spare(const struct destination *t) {
    return limits_in_flight(&t->limits) + t->held_places < limits_concurrency(&t->limits) / 2;
}

/* An adaptive limit goes by how many are under way, and a queue's own rate by the records. */
bool destination_by_turns(const struct model *m, const struct destination *t, uint64_t now_ns) {
    if (!limits_by_turns(&t->limits) || t->def.adaptive.ceiling != 0 || batch_has_tokens(t) ||
        !has_places_to_spare(t)) {
        return false;
    }
    uint32_t queue = only_queue(m, t, now_ns);
    return queue != 0 && queue_pace_view(m, queue)->def.count == 0;
}

uint64_t destination_early_ns(const struct model *m, const struct way *way, uint64_t now_ns) {
    uint64_t ahead_ns = limits_turn_ns(&way->to->limits, now_ns) - now_ns;
    if (ahead_ns <= LATENESS_NS || way->by_turns ||
        (batch_has_tokens(way->to) && only_queue(m, way->to, now_ns) != 0)) {
        return 0;
    }
    return ahead_ns - LATENESS_NS;
}

/*
 * When this destination can start something: now_ns if at once, UINT64_MAX if only a request can tell. By turns only the
 * time is looked at until it has come, since the messages of a hundred of them are not in any cache.
 */
static uint64_t next_of(const struct model *m, const struct destination *t, uint64_t now_ns) {
    struct way way = destination_route(m, t, now_ns, TURN_NEAR_NS);
    uint64_t wait_ns = way.wait_ns;
    if (wait_ns == PACE_WAIT_FOR_END) {
        return UINT64_MAX;
    }
    if (way.by_turns && way.to == t && wait_ns > 0) {
        return now_ns + wait_ns;
    }
    struct message_view view;
    uint64_t queue_ns;
    uint32_t queue = destination_pick(m, t, now_ns, &view, &queue_ns);
    if (queue != 0) {
        uint64_t early_ns = destination_early_ns(m, &way, now_ns);
        wait_ns = wait_ns > early_ns ? wait_ns : early_ns;
        if (wait_ns > 0 && !way.by_turns) { /* a turn of the engine costs more than a start */
            wait_ns += limits_gather_ns(&way.to->limits);
        }
    }
    uint64_t own_ns = now_ns + wait_ns;
    return queue != 0 || own_ns > queue_ns ? own_ns : queue_ns;
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

/* Whether an end could let a start begin that waits for a place, or a message for its key. */
static bool waits_for_an_end(const struct model *m, const struct destination *t, uint64_t now_ns) {
    struct way way = destination_route(m, t, now_ns, TURN_NEAR_NS);
    return !way.by_turns || way.to != t || way.wait_ns == PACE_WAIT_FOR_END ||
           queue_has_blocked(m, only_queue(m, t, now_ns));
}

/* Not where all attempts under way are of destinations that go by their rates alone. */
bool destination_end_is_awaited(const struct model *m, uint64_t now_ns) {
    const struct destinations *s = m->destinations;
    uint64_t under_way = 0;
    for (struct list_node *n = list_first(&s->active); n != NULL; n = list_next(&s->active, n)) {
        const struct destination *t = CONTAINER_OF(n, struct destination, active);
        if (waits_for_an_end(m, t, now_ns)) {
            return true;
        }
        under_way += limits_in_flight(&t->limits);
    }
    return list_first(&s->active) == NULL || s->attempt_cells.live != under_way;
}

void destination_ready_check(const struct model *m) {
    const struct destinations *s = m->destinations;
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct destination *t = destination_at(m, i);
        heap_check(&t->parked);
        lanes_check(&t->lanes);
        assert(list_linked(&t->active) == has_work(t));
    }
}
