/*
 * Sessions, channels, consumers: made, updated, ended.
 *
 * Two places decide who gets a message. consumer_update: a consumer with room stands in queue.open, behind those of
 * its priority; one without does not. session_queue_changed: a queue with ready messages and open consumers stands
 * in sessions.work. So an idle consumer, an idle queue and a full consumer cost a delivery nothing.
 */
#include "model/session_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/exchange.h"

/* ---- links ---- */

static struct slot_link *link_at(struct slot_chain c, uint32_t slot) {
    return (struct slot_link *)(void *)((char *)slab_at(c.slab, slot) + c.offset);
}

void chain_insert(struct slot_chain c, struct slot_list *l, uint32_t before, uint32_t slot) {
    struct slot_link *n = link_at(c, slot);
    n->next = before;
    n->prev = before != 0 ? link_at(c, before)->prev : l->last;
    *(n->prev != 0 ? &link_at(c, n->prev)->next : &l->first) = slot;
    *(before != 0 ? &link_at(c, before)->prev : &l->last) = slot;
    l->count++;
}

void chain_remove(struct slot_chain c, struct slot_list *l, uint32_t slot) {
    struct slot_link *n = link_at(c, slot);
    *(n->prev != 0 ? &link_at(c, n->prev)->next : &l->first) = n->next;
    *(n->next != 0 ? &link_at(c, n->next)->prev : &l->last) = n->prev;
    *n = (struct slot_link){0};
    l->count--;
}

#define CHAIN(s, slab_field, type, link)                                                           \
    ((struct slot_chain){.slab = &(s)->slab_field, .offset = offsetof(struct type, link)})

/* ---- look-up ---- */

struct consumer_key {
    uint64_t session;
    uint32_t number;
};

static bool session_matches(const void *owner, uint32_t slot, const void *key) {
    const struct sessions *s = owner;
    return session_at(s, slot)->id == *(const uint64_t *)key;
}

static bool consumer_matches(const void *owner, uint32_t slot, const void *key) {
    const struct sessions *s = owner;
    const struct consumer_key *k = key;
    const struct consumer *c = consumer_at(s, slot);
    return c->number == k->number && session_at(s, c->session)->id == k->session;
}

static uint64_t id_hash_of(const struct sessions *s, uint64_t id) {
    return hash_u64(id ^ s->hash.k0);
}

static uint64_t number_hash(const struct sessions *s, uint64_t session, uint32_t number) {
    return hash_u64(id_hash_of(s, session) + number);
}

static void parked_moved(void *owner, const struct heap_entry *e, uint32_t index) {
    struct model *m = owner;
    queue_at(m->queues, e->ref)->parked = index;
}

int sessions_create(struct model *m, struct sessions **ret) {
    struct sessions *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    s->hash = m->hash;
    slab_init(&s->consumers, sizeof(struct consumer), (1u << 24) - 1); /* fits message.outcome */
    slab_init(&s->channels, sizeof(struct channel), UINT32_MAX - 1);
    slab_init(&s->sessions, sizeof(struct session), UINT32_MAX - 1);
    list_init(&s->work);
    list_init(&s->trim);
    heap_init(&s->parked, m, parked_moved);
    map_init(&s->by_id, s, session_matches);
    map_init(&s->by_number, s, consumer_matches);
    *ret = s;
    return 0;
}

void sessions_free(struct sessions *s) {
    if (s == NULL) {
        return;
    }
    for (uint32_t c = s->consumers_all.first; c != 0; c = consumer_at(s, c)->all.next) {
        free(consumer_at(s, c)->tag);
    }
    for (uint32_t i = 0; i < s->notice_count; i++) {
        free(s->notices[s->notice_first + i].origin);
    }
    free(s->notices);
    heap_release(&s->parked);
    map_release(&s->by_id);
    map_release(&s->by_number);
    slab_release(&s->consumers);
    slab_release(&s->channels);
    slab_release(&s->sessions);
    free(s);
}

uint32_t session_find(const struct sessions *s, uint64_t id) {
    return map_find(&s->by_id, id_hash_of(s, id), &id);
}

uint32_t session_consumer(const struct sessions *s, uint64_t session, uint32_t number) {
    struct consumer_key key = {.session = session, .number = number};
    return number == 0 ? 0 : map_find(&s->by_number, number_hash(s, session, number), &key);
}

uint32_t session_channel(const struct sessions *s, uint32_t session, uint16_t number) {
    uint32_t at = session_at(s, session)->channels.first;
    while (at != 0 && channel_at(s, at)->number != number) {
        at = channel_at(s, at)->of_session.next;
    }
    return at;
}

uint32_t session_getter(const struct sessions *s, uint32_t channel, uint32_t queue) {
    uint32_t at = channel_at(s, channel)->consumers.first;
    while (at != 0 && !(consumer_at(s, at)->getter && consumer_at(s, at)->queue == queue)) {
        at = consumer_at(s, at)->of_channel.next;
    }
    return at;
}

uint64_t session_owner(const struct model *m, const struct queue *q) {
    return q->owner == 0 ? 0 : session_at(m->sessions, q->owner)->id;
}

/* ---- who has room ---- */

static bool consumer_has_room(const struct model *m, uint32_t slot, const struct consumer *c) {
    const struct sessions *s = m->sessions;
    const struct channel *ch = channel_at(s, c->channel);
    bool bounded = c->prefetch != 0 && c->prefetch <= DELIVERY_CREDIT;
    if (c->gone || c->getter || (c->prefetch != 0 && c->held.count >= c->prefetch) ||
        (ch->limit != 0 && ch->held >= ch->limit) || (!bounded && c->delivered >= c->credit)) {
        return false; /* T2 */
    }
    const struct queue *q = queue_at(m->queues, c->queue);
    return !q->def.single_active || q->active == slot; /* T4 */
}

static void turn_insert(struct sessions *s, struct queue *q, uint32_t slot) {
    int32_t priority = consumer_at(s, slot)->priority;
    uint32_t after = q->open.last;
    while (after != 0 && consumer_at(s, after)->priority < priority) {
        after = consumer_at(s, after)->in_turn.prev;
    }
    uint32_t before = after != 0 ? consumer_at(s, after)->in_turn.next : q->open.first;
    chain_insert(CHAIN(s, consumers, consumer, in_turn), &q->open, before, slot);
}

static void turn_remove(struct sessions *s, struct queue *q, uint32_t slot) {
    chain_remove(CHAIN(s, consumers, consumer, in_turn), &q->open, slot);
}

void consumer_update(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct consumer *c = consumer_at(s, slot);
    struct queue *q = queue_at(m->queues, c->queue);
    bool room = consumer_has_room(m, slot, c);
    if (room == c->open) {
        return;
    }
    c->open = room;
    if (room) {
        turn_insert(s, q, slot);
    } else {
        turn_remove(s, q, slot);
    }
    session_queue_changed(m, q);
}

void consumer_rotate(struct model *m, uint32_t slot) {
    struct consumer *c = consumer_at(m->sessions, slot);
    if (c->open) {
        struct queue *q = queue_at(m->queues, c->queue);
        turn_remove(m->sessions, q, slot);
        turn_insert(m->sessions, q, slot);
    }
}

void channel_update(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    uint32_t c = channel_at(s, slot)->consumers.first;
    for (; c != 0; c = consumer_at(s, c)->of_channel.next) {
        consumer_update(m, c);
    }
}

/* The next in line of a queue that has one active consumer. */
static void choose_active(struct model *m, struct queue *q) {
    struct sessions *s = m->sessions;
    uint32_t c = q->def.single_active ? q->holders.first : 0;
    while (c != 0 && (consumer_at(s, c)->gone || consumer_at(s, c)->getter)) {
        c = consumer_at(s, c)->of_queue.next;
    }
    q->active = c;
    if (c != 0) {
        consumer_update(m, c);
    }
}

/* ---- queues with work ---- */

void session_queue_changed(struct model *m, struct queue *q) {
    struct sessions *s = m->sessions;
    bool work = q->open.first != 0 && q->counts[MESSAGE_READY] > 0 && !q->def.paused;
    if (work && q->parked == 0 && !list_linked(&q->work)) {
        list_append(&s->work, &q->work);
    } else if (!work && list_linked(&q->work)) {
        list_remove(&q->work);
    } else if (!work && q->parked != 0) {
        heap_remove(&s->parked, q->parked);
    }
}

/* A queue with a pace leaves the list until its time; without memory to park it it is passed over there. */
void session_queue_turn(struct model *m, struct queue *q, uint64_t now_ns) {
    struct sessions *s = m->sessions;
    if (q->parked != 0) {
        heap_remove(&s->parked, q->parked);
    }
    if (list_linked(&q->work)) {
        list_remove(&q->work);
    }
    uint64_t wait_ns = pace_wait_ns(&q->pace, now_ns);
    struct heap_entry e = {.due_ns = now_ns + wait_ns, .ref = q->index};
    bool work = q->open.first != 0 && q->counts[MESSAGE_READY] > 0 && !q->def.paused;
    if (work && wait_ns != 0 && wait_ns != PACE_WAIT_FOR_END) {
        if (heap_insert(&s->parked, e) == 0) {
            return;
        }
    }
    session_queue_changed(m, q);
}

/* ---- beginnings ---- */

int session_open(struct model *m, uint64_t id, uint32_t *ret_slot) {
    struct sessions *s = m->sessions;
    if (id == 0 || session_find(s, id) != 0) {
        return E_CORRUPT;
    }
    uint32_t slot;
    int rc = slab_take(&s->sessions, &slot);
    if (rc != 0) {
        return rc;
    }
    session_at(s, slot)->id = id;
    rc = map_insert(&s->by_id, id_hash_of(s, id), slot);
    if (rc != 0) {
        slab_give(&s->sessions, slot);
        return rc;
    }
    chain_insert(CHAIN(s, sessions, session, all), &s->all, 0, slot);
    *ret_slot = slot;
    return 0;
}

int session_need_channel(struct model *m, uint32_t session, uint16_t number, uint32_t *ret_slot) {
    struct sessions *s = m->sessions;
    uint32_t slot = session_channel(s, session, number);
    if (slot == 0) {
        int rc = slab_take(&s->channels, &slot);
        if (rc != 0) {
            return rc;
        }
        struct channel *ch = channel_at(s, slot);
        ch->session = session;
        ch->number = number;
        chain_insert(CHAIN(s, channels, channel, of_session), &session_at(s, session)->channels, 0,
                     slot);
    }
    *ret_slot = slot;
    return 0;
}

/* Its places in the four lists. */
static void consumer_link(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct consumer *c = consumer_at(s, slot);
    struct queue *q = queue_at(m->queues, c->queue);
    chain_insert(CHAIN(s, consumers, consumer, all), &s->consumers_all, 0, slot);
    chain_insert(CHAIN(s, consumers, consumer, of_channel), &channel_at(s, c->channel)->consumers,
                 0, slot);
    chain_insert(CHAIN(s, consumers, consumer, of_queue), &q->holders, 0, slot);
}

int consumer_add(struct model *m, const struct consumer *values, uint32_t *ret_slot) {
    struct sessions *s = m->sessions;
    uint32_t slot = 0;
    uint64_t id = session_at(s, values->session)->id;
    bool there = session_consumer(s, id, values->number) != 0;
    int rc = there ? E_CORRUPT : slab_take(&s->consumers, &slot);
    if (rc == 0 && values->number != 0) {
        *consumer_at(s, slot) = *values;
        rc = map_insert(&s->by_number, number_hash(s, id, values->number), slot);
    }
    if (rc != 0) {
        if (slot != 0) {
            slab_give(&s->consumers, slot);
        }
        free(values->tag);
        return rc;
    }
    *consumer_at(s, slot) = *values;
    consumer_link(m, slot);
    struct queue *q = queue_at(m->queues, values->queue);
    if (!values->getter && !values->gone) {
        q->consumers++;
        queue_use_changed(m, q);
        if (q->def.single_active && q->active == 0) {
            choose_active(m, q);
        }
        consumer_update(m, slot);
    }
    *ret_slot = slot;
    return 0;
}

int session_need_getter(struct model *m, uint32_t channel, uint32_t queue, uint32_t *ret_slot) {
    uint32_t slot = session_getter(m->sessions, channel, queue);
    if (slot != 0) {
        *ret_slot = slot;
        return 0;
    }
    struct consumer values = {.session = channel_at(m->sessions, channel)->session,
                              .channel = channel,
                              .queue = queue,
                              .getter = true};
    return consumer_add(m, &values, ret_slot);
}

/* ---- ends ---- */

static void consumer_free(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct consumer *c = consumer_at(s, slot);
    struct queue *q = queue_at(m->queues, c->queue);
    assert(c->held.count == 0 && !c->open);
    chain_remove(CHAIN(s, consumers, consumer, all), &s->consumers_all, slot);
    chain_remove(CHAIN(s, consumers, consumer, of_channel), &channel_at(s, c->channel)->consumers,
                 slot);
    chain_remove(CHAIN(s, consumers, consumer, of_queue), &q->holders, slot);
    if (c->number != 0 && !c->gone) {
        map_remove(&s->by_number, number_hash(s, session_at(s, c->session)->id, c->number), slot);
    }
    free(c->tag);
    slab_give(&s->consumers, slot);
}

/* The number may be used no more, but nothing is found by it either. */
static void consumer_retire(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct consumer *c = consumer_at(s, slot);
    struct queue *q = queue_at(m->queues, c->queue);
    if (c->gone || c->getter) {
        return;
    }
    map_remove(&s->by_number, number_hash(s, session_at(s, c->session)->id, c->number), slot);
    c->gone = true;
    q->consumers--;
    consumer_update(m, slot);
    if (q->active == slot) {
        choose_active(m, q);
    }
    queue_use_changed(m, q);
}

void consumer_leave(struct model *m, uint32_t slot) {
    consumer_retire(m, slot);
    if (consumer_at(m->sessions, slot)->held.count == 0) {
        consumer_free(m, slot);
    }
}

/* The latest first, so that each finds its place at the front. */
int consumer_close(struct model *m, uint32_t slot) {
    struct consumer *c = consumer_at(m->sessions, slot);
    consumer_retire(m, slot);
    c->closing = true;
    int rc = 0;
    while (rc == 0 && c->held.last != 0) {
        rc = message_requeue(m, c->held.last, true);
    }
    if (rc == 0) {
        consumer_free(m, slot);
    }
    return rc;
}

void channel_free(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct channel *ch = channel_at(s, slot);
    assert(ch->consumers.count == 0 && ch->held == 0);
    chain_remove(CHAIN(s, channels, channel, of_session), &session_at(s, ch->session)->channels,
                 slot);
    slab_give(&s->channels, slot);
}

int session_queue_left(struct model *m, const struct applied *w, uint32_t queue) {
    struct queue *q = queue_at(m->queues, queue);
    bool last = q != NULL && q->def.auto_delete && q->consumers == 0;
    return last ? queue_remove(m, w, q) : 0;
}

/* ---- told by queue ---- */

void session_message_taken(struct model *m, uint32_t slot) {
    uint32_t consumer = message_at(m->queues, slot)->outcome;
    struct consumer *c = consumer_at(m->sessions, consumer);
    struct channel *ch = channel_at(m->sessions, c->channel);
    if (c->getter) {
        return;
    }
    ch->held++;
    if (ch->limit != 0 && ch->held >= ch->limit) {
        channel_update(m, c->channel);
    } else {
        consumer_update(m, consumer);
    }
}

void session_message_left(struct model *m, uint32_t consumer) {
    struct consumer *c = consumer_at(m->sessions, consumer);
    struct channel *ch = channel_at(m->sessions, c->channel);
    ch->held -= !c->getter;
    pace_end(&queue_at(m->queues, c->queue)->pace, m->applied_ns);
    if (c->held.count == 0 && (c->gone || c->getter) && !c->closing) {
        uint32_t channel = c->channel;
        consumer_free(m, consumer);
        if (ch->limit != 0) {
            channel_update(m, channel);
        }
    } else if (ch->limit != 0) {
        channel_update(m, c->channel);
    } else {
        consumer_update(m, consumer);
    }
}

/* Without memory a consumer is not told: it then only never gets anything. */
static void notice_add(struct sessions *s, const struct delivery *n) {
    if (s->notice_first + s->notice_count == s->notice_capacity) {
        uint32_t capacity = s->notice_capacity == 0 ? 16 : s->notice_capacity * 2;
        struct delivery *grown = realloc(s->notices, capacity * sizeof *grown);
        if (grown == NULL) {
            return;
        }
        s->notices = grown;
        s->notice_capacity = capacity;
    }
    s->notices[s->notice_first + s->notice_count++] = *n;
}

bool session_take_notice(struct model *m, struct delivery *ret) {
    struct sessions *s = m->sessions;
    if (s->notice_count == 0) {
        return false;
    }
    *ret = s->notices[s->notice_first++];
    if (--s->notice_count == 0) {
        s->notice_first = 0;
    }
    return true;
}

int session_own_queue(struct model *m, uint64_t session, struct queue *q) {
    struct sessions *s = m->sessions;
    uint32_t slot = session_find(s, session);
    if (slot == 0 || q->owner != 0) {
        return E_CORRUPT;
    }
    struct slot_list *l = &session_at(s, slot)->owned;
    q->owner = slot;
    q->owned_prev = l->last;
    q->owned_next = 0;
    *(l->last != 0 ? &queue_at(m->queues, l->last)->owned_next : &l->first) = q->index;
    l->last = q->index;
    l->count++;
    return 0;
}

static void disown(struct model *m, struct queue *q) {
    if (q->owner == 0) {
        return;
    }
    struct slot_list *l = &session_at(m->sessions, q->owner)->owned;
    struct queues *s = m->queues;
    *(q->owned_prev != 0 ? &queue_at(s, q->owned_prev)->owned_next : &l->first) = q->owned_next;
    *(q->owned_next != 0 ? &queue_at(s, q->owned_next)->owned_prev : &l->last) = q->owned_prev;
    l->count--;
    q->owner = 0;
}

void session_queue_gone(struct model *m, struct queue *q) {
    struct sessions *s = m->sessions;
    while (q->holders.first != 0) {
        uint32_t slot = q->holders.first;
        const struct consumer *c = consumer_at(s, slot);
        struct delivery notice = {.kind = DELIVERY_CANCELLED,
                                  .session = session_at(s, c->session)->id,
                                  .channel = channel_at(s, c->channel)->number,
                                  .consumer = c->number};
        bool tell = !c->gone && !c->getter && !c->closing;
        consumer_leave(m, slot);
        if (tell) {
            notice_add(s, &notice);
        }
    }
    disown(m, q);
    if (list_linked(&q->trim)) {
        list_remove(&q->trim);
    }
    assert(!list_linked(&q->work) && q->parked == 0);
}

void session_free(struct model *m, uint32_t slot) {
    struct sessions *s = m->sessions;
    struct session *se = session_at(s, slot);
    assert(se->channels.count == 0 && se->owned.count == 0);
    map_remove(&s->by_id, id_hash_of(s, se->id), slot);
    chain_remove(CHAIN(s, sessions, session, all), &s->all, slot);
    slab_give(&s->sessions, slot);
}
