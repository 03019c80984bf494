/*
 * Lists, moves and ends of messages.
 *
 * Allowed moves (message_move asserts them); "new" and "gone" are no state, the message stands in no list:
 *
 *      from \ to    ready  delayed  in flight  dead  blocked
 *      new            x       x                         x
 *      ready                             x       x
 *      delayed        x                          x      x
 *      in flight      x       x                  x             or confirming
 *      confirming     x       x                  x
 *      dead           x                                 x      (redriven)
 *      blocked        x                          x
 *
 * From every state a message can go (message_end). Q1 and Q2 hold because state, list and counters change
 * only in state_enter and state_leave, which nobody outside this file can call.
 */
#include "model/queue_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/dedup.h"
#include "model/history.h"
#include "model/destination.h"
#include "model/queue_tenant.h"
#include "model/receipt.h"
#include "model/session_state.h"

#define BY_AGE_STEPS 256u /* how far a returned message looks for its old place */

static const uint16_t moves[STATES_LIVE] = {
    [0] = STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_DELAYED) | STATE_BIT(MESSAGE_BLOCKED),
    [MESSAGE_READY] =
        STATE_BIT(MESSAGE_IN_FLIGHT) | STATE_BIT(MESSAGE_DELAYED) | STATE_BIT(MESSAGE_DEAD),
    [MESSAGE_DELAYED] =
        STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_BLOCKED) | STATE_BIT(MESSAGE_DEAD),
    [MESSAGE_IN_FLIGHT] = STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_DELAYED) |
                          STATE_BIT(MESSAGE_DEAD) | STATE_BIT(MESSAGE_CONFIRMING),
    [MESSAGE_CONFIRMING] =
        STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_DELAYED) | STATE_BIT(MESSAGE_DEAD),
    [MESSAGE_DEAD] = STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_BLOCKED),
    [MESSAGE_BLOCKED] = STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_DEAD),
};

/* ---- lists ---- */

static void list_insert(const struct queues *s, struct slot_list *l, uint32_t before,
                        uint32_t slot) {
    struct message *g = message_at(s, slot);
    g->next = before;
    g->prev = before != 0 ? message_at(s, before)->prev : l->last;
    *(g->prev != 0 ? &message_at(s, g->prev)->next : &l->first) = slot;
    *(before != 0 ? &message_at(s, before)->prev : &l->last) = slot;
    l->count++;
}

static void list_take(const struct queues *s, struct slot_list *l, uint32_t slot) {
    struct message *g = message_at(s, slot);
    *(g->prev != 0 ? &message_at(s, g->prev)->next : &l->first) = g->next;
    *(g->next != 0 ? &message_at(s, g->next)->prev : &l->last) = g->prev;
    g->next = g->prev = 0;
    l->count--;
}

/* Where a returned message goes: before the first younger one, if it is near the front. */
static uint32_t place_by_age(const struct queues *s, const struct slot_list *l, uint64_t id) {
    uint32_t at = l->first;
    for (unsigned i = 0; i < BY_AGE_STEPS && at != 0; i++) {
        const struct message *g = message_at(s, at);
        if (g->id > id) {
            break;
        }
        at = g->next;
    }
    return at;
}

/* The first that is still there, from this place on: a cell that has another message by now has another place. */
static uint32_t delayed_there(const struct queues *s, const struct queue *q, uint32_t place,
                              uint32_t (*step)(const struct rolls *, const struct roll *,
                                               uint32_t)) {
    while ((place = step(&s->delayed, &q->delayed, place)) != 0) {
        uint32_t slot = roll_at(&s->delayed, place);
        const struct message *g = message_at(s, slot);
        if (g->state == MESSAGE_DELAYED && g->place == place) {
            return slot;
        }
    }
    return 0;
}

uint32_t delayed_first(const struct queues *s, const struct queue *q) {
    return delayed_there(s, q, 0, roll_after);
}

uint32_t message_next(const struct queues *s, uint32_t slot) {
    const struct message *g = message_at(s, slot);
    return g->state != MESSAGE_DELAYED
               ? g->next
               : delayed_there(s, queue_at(s, g->queue), g->place, roll_after);
}

uint32_t message_prev(const struct queues *s, uint32_t slot) {
    const struct message *g = message_at(s, slot);
    return g->state != MESSAGE_DELAYED
               ? g->prev
               : delayed_there(s, queue_at(s, g->queue), g->place, roll_before);
}

static size_t levels_bytes(uint32_t count) {
    return count == 0 ? 0 : sizeof(struct ready_levels) + count * sizeof(struct slot_list);
}

size_t ready_set_bytes(const struct ready_set *set) {
    return levels_bytes(set->level_count);
}

static int levels_cover(struct ready_set *set, uint32_t level, uint32_t max_priority) {
    if (level < set->level_count) {
        return 0;
    }
    uint32_t count = level > max_priority ? level + 1 : max_priority + 1u;
    struct ready_levels *levels = realloc(set->levels, levels_bytes(count));
    if (levels == NULL) {
        return E_NOMEM;
    }
    size_t before = levels_bytes(set->level_count);
    memset((char *)levels + before, 0, levels_bytes(count) - before);
    set->levels = levels;
    set->level_count = count;
    return 0;
}

uint32_t ready_set_first(const struct ready_set *set) {
    for (unsigned word = set->messages == 0 ? 0 : ARRAY_LENGTH(set->levels->bits); word-- > 0;) {
        uint64_t bits = set->levels->bits[word];
        if (bits != 0) {
            unsigned level = word * 64 + 63 - (unsigned)__builtin_clzll(bits);
            return set->levels->lists[level].first;
        }
    }
    return 0;
}

uint32_t queue_first_ready(const struct queues *s, const struct queue *q) {
    return ready_set_first(tenant_first_set(s, q));
}

static struct slot_list *state_list(const struct model *m, struct queue *q,
                                    const struct message *g) {
    switch ((enum message_state)g->state) {
    case MESSAGE_READY:
        return &tenant_set(m->queues, q, g)->levels->lists[g->priority];
    case MESSAGE_IN_FLIGHT:
        return g->held ? &consumer_at(m->sessions, g->outcome)->held : &q->in_flight;
    case MESSAGE_CONFIRMING:
        return &q->confirming;
    case MESSAGE_DEAD:
        return &q->dead;
    case MESSAGE_BLOCKED:
        return &key_at(m->queues, g->key)->blocked;
    case MESSAGE_DELAYED: /* in a roll */
    case MESSAGE_DONE:
    case MESSAGE_DROPPED:
        break;
    }
    assert(false);
    return NULL;
}

static void level_bit_set(struct ready_set *set, uint8_t level, bool any) {
    uint64_t bit = (uint64_t)1 << (level % 64);
    if (any) {
        set->levels->bits[level / 64] |= bit;
    } else {
        set->levels->bits[level / 64] &= ~bit;
    }
}

static int ready_enter(struct model *m, struct queue *q, const struct message *g) {
    struct ready_set *set = tenant_set(m->queues, q, g);
    int rc = levels_cover(set, g->priority, q->def.max_priority);
    if (rc == 0) {
        level_bit_set(set, g->priority, true);
        set->messages++;
        tenant_set_grew(m, q, g);
    }
    return rc;
}

/* Its list is without it already. */
static void ready_leave(struct model *m, struct queue *q, const struct message *g) {
    struct ready_set *set = tenant_set(m->queues, q, g);
    set->messages--;
    if (set->levels->lists[g->priority].count == 0) {
        level_bit_set(set, g->priority, false);
    }
    tenant_set_shrank(m, q, g);
}

/* What a state needs besides its list; the delayed ones at the tail of their roll. */
static int state_prepare(struct model *m, struct queue *q, uint32_t slot, enum message_state to) {
    struct message *g = message_at(m->queues, slot);
    switch (to) {
    case MESSAGE_READY:
        return ready_enter(m, q, g);
    case MESSAGE_DELAYED:
        return roll_append(&m->queues->delayed, &q->delayed, slot, &g->place);
    case MESSAGE_BLOCKED:
        key_block(m, slot);
        return 0;
    default:
        return 0;
    }
}

static int state_enter(struct model *m, struct queue *q, uint32_t slot, enum message_state to,
                       enum place place) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    int rc = state_prepare(m, q, slot, to);
    if (rc != 0) {
        return rc;
    }
    g->state = (uint8_t)to;
    if (to == MESSAGE_DELAYED) {
        message_fold_times(s, g);
    } else {
        struct slot_list *l = state_list(m, q, g);
        list_insert(s, l, place == PLACE_BY_AGE ? place_by_age(s, l, g->id) : 0, slot);
    }
    q->counts[to]++;
    q->tied[to] += message_is_tied(s, g);
    q->bytes += to != MESSAGE_DEAD ? g->body_bytes : 0;
    q->ready_bytes += to == MESSAGE_READY ? g->body_bytes : 0;
    if (to == MESSAGE_IN_FLIGHT && g->held) {
        session_message_taken(m, slot);
    }
    return 0;
}

/* Its due time stands where the next list links it: the timer goes with it. */
static void delayed_leave(struct model *m, struct queue *q, struct message *g) {
    struct queues *s = m->queues;
    roll_leave(&s->delayed, &q->delayed, g->place);
    g->place = 0;
    if (message_is_plain(g)) {
        uint64_t set_ns = message_times_of(s, g).timer_ns;
        timer_clear(m, TIMER_MESSAGE, g->id, &set_ns);
        g->times = g->prev = 0;
    }
}

static void state_leave(struct model *m, struct queue *q, uint32_t slot) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    enum message_state from = (enum message_state)g->state;
    if (from == 0) {
        return;
    }
    if (from == MESSAGE_DELAYED) {
        delayed_leave(m, q, g);
    } else {
        list_take(s, state_list(m, q, g), slot);
    }
    q->counts[from]--;
    q->tied[from] -= message_is_tied(s, g);
    q->bytes -= from != MESSAGE_DEAD ? g->body_bytes : 0;
    q->ready_bytes -= from == MESSAGE_READY ? g->body_bytes : 0;
    if (from == MESSAGE_READY) {
        ready_leave(m, q, g);
    } else if (from == MESSAGE_BLOCKED) {
        key_unblock(m, slot);
    } else if (from == MESSAGE_CONFIRMING) {
        attempt_confirming_left(m, g->id);
    }
    g->state = 0;
    if (from == MESSAGE_IN_FLIGHT && g->held) {
        uint32_t consumer = g->outcome;
        g->held = 0;
        g->outcome = 0;
        session_message_left(m, consumer);
    }
}

/* ---- timers ---- */

uint64_t message_timer_due(const struct queues *s, const struct message *g) {
    if (g->times == 0 || g->state == MESSAGE_IN_FLIGHT || g->state == MESSAGE_DEAD ||
        g->state == 0) {
        return 0;
    }
    const struct message_times t = message_times_of(s, g);
    if (g->state == MESSAGE_CONFIRMING) {
        return t.due_ns; /* what was sent may end, whatever its time to live */
    }
    bool delayed = g->state == MESSAGE_DELAYED;
    if (delayed && (t.expires_ns == 0 || t.due_ns < t.expires_ns)) {
        return t.due_ns;
    }
    return t.expires_ns;
}

static void prefetch_around(const struct queues *s, const struct message *g) {
    if (g->state == MESSAGE_DELAYED) {
        roll_prefetch(&s->delayed, g->place);
    } else {
        const uint32_t neighbours[] = {g->prev, g->next};
        for (size_t i = 0; i < ARRAY_LENGTH(neighbours); i++) {
            if (neighbours[i] != 0) {
                __builtin_prefetch(message_at(s, neighbours[i]), 1);
            }
        }
    }
    if (g->times != 0 && !message_is_plain(g)) {
        __builtin_prefetch(times_at(s, g->times), 1);
    }
}

void queue_prefetch_due(const struct model *m, uint32_t slot, unsigned step) {
    const struct message *g = message_at(m->queues, slot);
    if (step == 0) {
        __builtin_prefetch(g, 1);
    } else {
        prefetch_around(m->queues, g);
    }
}

void message_prefetch_end(const struct model *m, const struct message *g) {
    prefetch_around(m->queues, g);
    uint64_t timer_ns = message_times_of(m->queues, g).timer_ns; /* which may have to wait for it */
    if (timer_ns != 0) {
        agenda_prefetch(&m->timers, timer_entry(TIMER_MESSAGE, g->id, timer_ns));
    }
}

/* 0 where it is found, 1 its cell, which needs the first. */
static void prefetch_message(const struct model *m, uint64_t id, unsigned step) {
    const struct queues *s = m->queues;
    if (step == 0) {
        map_prefetch(&s->by_id, id_hash(id));
        return;
    }
    uint32_t slot = map_likely(&s->by_id, id_hash(id));
    if (slot != 0) {
        __builtin_prefetch(message_at(s, slot), 1);
    }
}

void queue_prefetch(const struct model *m, const struct request *r, unsigned step) {
    if (r->kind == REQUEST_MESSAGE_DELETE) {
        prefetch_message(m, r->id, step);
    } else if (r->kind == REQUEST_QUEUE_PUBLISH && step == 0 && r->in.publish.schedule_ns != 0) {
        agenda_prefetch(&m->timers, timer_entry(TIMER_MESSAGE, 0, r->in.publish.schedule_ns));
    }
}

static int timer_update(struct model *m, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    if (g->times == 0) {
        return 0;
    }
    if (message_is_plain(g)) {
        uint64_t set_ns = 0; /* it has just become so */
        return timer_set(m, TIMER_MESSAGE, g->id, slot, message_timer_due(m->queues, g), &set_ns);
    }
    return timer_set(m, TIMER_MESSAGE, g->id, slot, message_timer_due(m->queues, g),
                     &times_at(m->queues, g->times)->timer_ns);
}

/* ---- moves ---- */

int message_move(struct model *m, uint32_t slot, enum message_state to, enum place place) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    struct queue *q = queue_at(s, g->queue);
    assert(moves[g->state] & STATE_BIT(to)); /* Q1 */
    state_leave(m, q, slot);
    int rc = state_enter(m, q, slot, to, place);
    if (rc != 0) {
        return rc;
    }
    if (g->times != 0 && to != MESSAGE_DELAYED && to != MESSAGE_CONFIRMING) {
        times_at(s, g->times)->due_ns = 0;
    }
    rc = timer_update(m, slot);
    message_trim_times(s, g);
    queue_ready_changed(m, q);
    return rc;
}

int message_arrive(struct model *m, uint32_t slot, enum place place) {
    return key_claim(m, slot) ? message_move(m, slot, MESSAGE_READY, place)
                              : message_move(m, slot, MESSAGE_BLOCKED, PLACE_TAIL);
}

int message_end(struct model *m, const struct applied *w, uint32_t slot, enum message_state state,
                enum dead_reason reason) {
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    state_leave(m, q, slot);
    int rc = timer_update(m, slot); /* in no state there is no timer */
    if (rc == 0) {
        rc = key_yield(m, slot);
    }
    if (rc == 0 && !g->quiet) {
        rc = receipt_note(m, w, g->id, g->queue, state, reason, message_status(g), message_error(g),
                          g->attempts);
    }
    if (rc != 0) {
        return rc;
    }
    dedup_message_ended(m, g->id);
    key_part(m, slot);
    if (g->storied) {
        history_forget(m, g->id);
        m->queues->storied--;
    }
    bodies_remove(&m->bodies, g->address, stored_bytes(g));
    message_free(m, slot);
    queue_ready_changed(m, q);
    return 0;
}

int message_die(struct model *m, const struct applied *w, uint32_t slot, enum dead_reason reason) {
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    bool went_on = g->dead_reason != DEAD_NONE; /* DEATH_ENDS_LATER: others have taken its place */
    if (!q->def.dead_letters || went_on) {
        return message_end(m, w, slot, MESSAGE_DROPPED, reason);
    }
    int rc = message_move(m, slot, MESSAGE_DEAD, PLACE_TAIL);
    g->dead_reason = reason & 15;
    dedup_message_ended(m, g->id);
    if (rc == 0) {
        rc = key_yield(m, slot);
    }
    if (rc == 0) {
        struct history_entry e = {.kind = HISTORY_DIED, .time_ns = w->time_ns, .reason = reason};
        rc = history_note(m, g->id, &e);
    }
    return rc != 0 ? rc : queue_trim_dead(m, w, q);
}

int queue_trim_dead(struct model *m, const struct applied *w, struct queue *q) {
    int rc = 0;
    while (rc == 0 && q->def.max_dead != 0 && q->counts[MESSAGE_DEAD] > q->def.max_dead) {
        enum dead_reason reason = message_at(m->queues, q->dead.first)->dead_reason;
        rc = message_end(m, w, q->dead.first, MESSAGE_DROPPED, reason);
    }
    return rc;
}

/* ---- out of a snapshot ---- */

/* Q3, and that only what is delayed has a due time. */
static bool state_possible(const struct queues *s, uint32_t slot, enum message_state state) {
    const struct message *g = message_at(s, slot);
    bool due = message_times_of(s, g).due_ns != 0;
    if (due != (state == MESSAGE_DELAYED || state == MESSAGE_CONFIRMING) ||
        (g->dead_reason != DEAD_NONE) != (state == MESSAGE_DEAD)) {
        return false;
    }
    if (g->key == 0) {
        return state != MESSAGE_BLOCKED;
    }
    bool holds = key_at(s, g->key)->holder == slot;
    bool must = state == MESSAGE_READY || state == MESSAGE_IN_FLIGHT || state == MESSAGE_CONFIRMING;
    return holds ? must || state == MESSAGE_DELAYED : !must;
}

int message_load_state(struct model *m, uint32_t slot, enum message_state state) {
    if (!state_possible(m->queues, slot, state)) {
        return E_CORRUPT;
    }
    struct queue *q = queue_at(m->queues, message_at(m->queues, slot)->queue);
    int rc = state_enter(m, q, slot, state, PLACE_TAIL);
    return rc != 0 ? rc : timer_update(m, slot);
}

int message_load_held(struct model *m, uint32_t slot, uint32_t consumer) {
    struct message *g = message_at(m->queues, slot);
    if (g->state != MESSAGE_IN_FLIGHT || g->held) {
        return E_CORRUPT;
    }
    struct queue *q = queue_at(m->queues, g->queue);
    state_leave(m, q, slot);
    g->outcome = consumer;
    g->held = 1;
    return state_enter(m, q, slot, MESSAGE_IN_FLIGHT, PLACE_TAIL);
}

/* ---- changes that take it out of its list and back ---- */

/* One that is ready goes over to the tenant's set. */
int message_set_tenant(struct model *m, uint32_t slot, uint32_t tenant) {
    struct queues *s = m->queues;
    struct message *g = message_at(s, slot);
    struct queue *q = queue_at(s, g->queue);
    enum message_state state = (enum message_state)g->state;
    int rc = message_need_tie(s, g);
    if (rc != 0) {
        return rc;
    }
    if (state != MESSAGE_READY) {
        tie_at(s, g->tie)->tenant = tenant;
        return 0;
    }
    state_leave(m, q, slot);
    tie_at(s, g->tie)->tenant = tenant;
    return state_enter(m, q, slot, state, PLACE_TAIL);
}

/* The body stands elsewhere, and is another; an origin leads to the one before no more. */
int message_set_body(struct model *m, uint32_t slot, uint64_t address, uint64_t payload_bytes,
                     uint64_t body_bytes) {
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    int rc = message_set_address(m, slot, 0);
    if (g->state != MESSAGE_DEAD) {
        q->bytes += body_bytes - g->body_bytes;
    }
    if (g->state == MESSAGE_READY) {
        q->ready_bytes += body_bytes - g->body_bytes;
    }
    g->body_bytes = (uint32_t)body_bytes;
    g->extra_bytes = (payload_bytes - body_bytes) & EXTRA_BYTES_MAX;
    if (message_origin(m->queues, g).size >= sizeof g->id) {
        memset(tie_at(m->queues, g->tie)->origin, 0, sizeof g->id);
    }
    rc = rc != 0 ? rc : message_set_address(m, slot, address);
    queue_ready_changed(m, q);
    return rc;
}

int message_set_priority(struct model *m, uint32_t slot, uint8_t priority) {
    struct message *g = message_at(m->queues, slot);
    struct queue *q = queue_at(m->queues, g->queue);
    if (g->priority == priority || g->state != MESSAGE_READY) {
        g->priority = priority;
        return 0;
    }
    state_leave(m, q, slot);
    g->priority = priority;
    int rc = state_enter(m, q, slot, MESSAGE_READY, PLACE_BY_AGE);
    queue_ready_changed(m, q);
    return rc;
}

/* As if it had just arrived there; what was delayed stays so until its time. */
int message_rehouse(struct model *m, uint32_t slot, struct queue *to, uint8_t priority,
                    uint64_t expires_ns, uint64_t key) {
    struct message *g = message_at(m->queues, slot);
    struct queue *from = queue_at(m->queues, g->queue);
    uint64_t due_ns = g->state == MESSAGE_DELAYED ? message_times_of(m->queues, g).due_ns : 0;
    state_leave(m, from, slot);
    int rc = timer_update(m, slot);
    rc = rc != 0 ? rc : key_yield(m, slot);
    key_part(m, slot);
    if (g->tie != 0) {
        tenant_part(m, slot);
        tie_at(m->queues, g->tie)->tenant = 0;
    }
    queue_ready_changed(m, from);
    g->queue = to->index;
    g->priority = priority;
    to->published++;
    message_renew(m, slot);
    rc = rc != 0 || key == 0 ? rc : key_join(m, slot, key);
    rc = rc != 0 ? rc : message_set_times(m, slot, due_ns, expires_ns);
    if (rc != 0) {
        return rc;
    }
    return due_ns != 0 ? message_move(m, slot, MESSAGE_DELAYED, PLACE_TAIL)
                       : message_arrive(m, slot, PLACE_TAIL);
}
