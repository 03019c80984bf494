/*
 * The section of the session module in a snapshot, and its invariants.
 *
 *   8 sessions; per session, oldest first:
 *      8 id   4 channels: 2 number, 2 limit each   4 exclusive queues: 4 index each
 *   8 consumers; per consumer, oldest first:
 *      8 session   4 number   2 channel   4 queue index   2 prefetch   4 priority   8 delivered   8 credit
 *      1 flags (1 exclusive, 2 no-ack, 4 getter, 8 gone, 16 the active one)   1+. tag
 *      4 messages it holds: 8 id each, oldest delivery first
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/put.h"
#include "model/session_state.h"

enum saved_flag {
    SAVED_EXCLUSIVE = 1,
    SAVED_NO_ACK = 2,
    SAVED_GETTER = 4,
    SAVED_GONE = 8,
    SAVED_ACTIVE = 16,
};

/* ---- save ---- */

static void save_session(const struct model *m, uint32_t slot, struct saver *out) {
    const struct sessions *s = m->sessions;
    const struct session *se = session_at(s, slot);
    save_u64(out, se->id);
    save_u32(out, se->channels.count);
    for (uint32_t c = se->channels.first; c != 0; c = channel_at(s, c)->of_session.next) {
        save_u16(out, channel_at(s, c)->number);
        save_u16(out, channel_at(s, c)->limit);
    }
    save_u32(out, se->owned.count);
    for (uint32_t q = se->owned.first; q != 0; q = queue_at(m->queues, q)->owned_next) {
        save_u32(out, q);
    }
    save_item_end(out);
}

static void save_consumer(const struct model *m, uint32_t slot, struct saver *out) {
    const struct sessions *s = m->sessions;
    const struct consumer *c = consumer_at(s, slot);
    bool active = queue_at(m->queues, c->queue)->active == slot;
    save_u64(out, session_at(s, c->session)->id);
    save_u32(out, c->number);
    save_u16(out, channel_at(s, c->channel)->number);
    save_u32(out, c->queue);
    save_u16(out, c->prefetch);
    save_u32(out, (uint32_t)c->priority);
    save_u64(out, c->delivered);
    save_u64(out, c->credit);
    save_u8(out,
            (uint8_t)(c->exclusive * SAVED_EXCLUSIVE | c->no_ack * SAVED_NO_ACK |
                      c->getter * SAVED_GETTER | c->gone * SAVED_GONE | active * SAVED_ACTIVE));
    save_key(out, span_text(c->tag == NULL ? "" : c->tag));
    save_u32(out, c->held.count);
    for (uint32_t g = c->held.first; g != 0; g = message_at(m->queues, g)->next) {
        save_u64(out, message_at(m->queues, g)->id);
    }
    save_item_end(out);
}

int session_save(const struct model *m, struct buffer *chunk,
                 int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct sessions *s = m->sessions;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    save_u64(&out, s->all.count);
    for (uint32_t i = s->all.first; i != 0; i = session_at(s, i)->all.next) {
        save_session(m, i, &out);
    }
    save_u64(&out, s->consumers_all.count);
    for (uint32_t i = s->consumers_all.first; i != 0; i = consumer_at(s, i)->all.next) {
        save_consumer(m, i, &out);
    }
    return out.rc;
}

/* ---- load ---- */

static int load_session(struct model *m, struct reader *in) {
    uint32_t slot = 0, channel;
    uint64_t id = reader_u64(in);
    int rc = session_open(m, id, &slot);
    uint32_t channels = reader_u32(in);
    for (uint32_t i = 0; rc == 0 && i < channels; i++) {
        uint16_t number = reader_u16(in);
        uint16_t limit = reader_u16(in);
        rc = in->failed ? E_CORRUPT : session_need_channel(m, slot, number, &channel);
        if (rc == 0) {
            channel_at(m->sessions, channel)->limit = limit;
        }
    }
    uint32_t owned = reader_u32(in);
    for (uint32_t i = 0; rc == 0 && i < owned; i++) {
        struct queue *q = queue_at(m->queues, reader_u32(in));
        rc = in->failed || q == NULL ? E_CORRUPT : session_own_queue(m, id, q);
    }
    return rc;
}

static int load_held(struct model *m, uint32_t consumer, struct reader *in) {
    uint32_t count = reader_u32(in);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = message_find(m->queues, reader_u64(in));
        if (in->failed || slot == 0 ||
            message_at(m->queues, slot)->queue != consumer_at(m->sessions, consumer)->queue) {
            return E_CORRUPT;
        }
        int rc = message_load_held(m, slot, consumer);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int load_consumer(struct model *m, struct reader *in) {
    struct sessions *s = m->sessions;
    struct consumer c = {.session = session_find(s, reader_u64(in))};
    c.number = reader_u32(in);
    uint16_t number = reader_u16(in);
    c.channel = c.session == 0 ? 0 : session_channel(s, c.session, number);
    c.queue = reader_u32(in);
    c.prefetch = reader_u16(in);
    c.priority = (int32_t)reader_u32(in);
    c.delivered = reader_u64(in);
    c.credit = reader_u64(in);
    uint8_t flags = reader_u8(in);
    struct span tag = reader_key(in);
    c.exclusive = (flags & SAVED_EXCLUSIVE) != 0;
    c.no_ack = (flags & SAVED_NO_ACK) != 0;
    c.getter = (flags & SAVED_GETTER) != 0;
    c.gone = (flags & SAVED_GONE) != 0;
    struct queue *q = queue_at(m->queues, c.queue);
    if (in->failed || c.channel == 0 || q == NULL) {
        return E_CORRUPT;
    }
    int rc = tag.size > 0 ? def_set_text(&c.tag, tag) : 0;
    uint32_t slot = 0;
    rc = rc != 0 ? rc : consumer_add(m, &c, &slot);
    if (rc == 0) {
        consumer_at(s, slot)->closing =
            true; /* not freed for want of messages before it has them */
        rc = load_held(m, slot, in);
        consumer_at(s, slot)->closing = false;
    }
    if (rc == 0 && (flags & SAVED_ACTIVE)) {
        q->active = slot;
        consumer_update(m, slot);
    }
    return rc;
}

int session_load(struct model *m, struct reader *section) {
    uint64_t sessions = reader_u64(section);
    int rc = 0;
    for (uint64_t i = 0; rc == 0 && i < sessions && !section->failed; i++) {
        rc = load_session(m, section);
    }
    uint64_t consumers = reader_u64(section);
    for (uint64_t i = 0; rc == 0 && i < consumers && !section->failed; i++) {
        rc = load_consumer(m, section);
    }
    return rc == 0 && section->failed ? E_CORRUPT : rc;
}

/* ---- check ---- */

static void check_consumer(const struct model *m, uint32_t slot) {
    const struct sessions *s = m->sessions;
    const struct consumer *c = consumer_at(s, slot);
    const struct queue *q = queue_at(m->queues, c->queue);
    assert(q != NULL && !c->closing);
    assert(!(c->gone || c->getter) || c->held.count > 0); /* else it would be freed */
    uint32_t count = 0, before = 0;
    for (uint32_t g = c->held.first; g != 0; g = message_at(m->queues, g)->next) {
        const struct message *message = message_at(m->queues, g);
        assert(message->held && message->outcome == slot && message->queue == c->queue); /* T1 */
        assert(message->state == MESSAGE_IN_FLIGHT && message->prev == before);
        before = g;
        count++;
    }
    assert(count == c->held.count && c->held.last == before);
    if (c->open) {
        const struct channel *ch = channel_at(s, c->channel);
        assert(c->prefetch == 0 || c->held.count < c->prefetch); /* T2 */
        assert(ch->limit == 0 || ch->held < ch->limit);
        assert(!q->def.single_active || q->active == slot); /* T4 */
    }
}

static void check_channel(const struct model *m, uint32_t slot) {
    const struct sessions *s = m->sessions;
    const struct channel *ch = channel_at(s, slot);
    uint32_t held = 0;
    for (uint32_t c = ch->consumers.first; c != 0; c = consumer_at(s, c)->of_channel.next) {
        held += consumer_at(s, c)->getter ? 0 : consumer_at(s, c)->held.count;
        assert(consumer_at(s, c)->channel == slot);
    }
    assert(held == ch->held); /* T1 */
}

static void check_queue(const struct model *m, const struct queue *q) {
    const struct sessions *s = m->sessions;
    uint32_t consumers = 0, open = 0;
    for (uint32_t c = q->holders.first; c != 0; c = consumer_at(s, c)->of_queue.next) {
        consumers += !consumer_at(s, c)->gone && !consumer_at(s, c)->getter;
        assert(consumer_at(s, c)->queue == q->index);
    }
    assert(consumers == q->consumers);
    for (uint32_t c = q->open.first; c != 0; c = consumer_at(s, c)->in_turn.next) {
        uint32_t next = consumer_at(s, c)->in_turn.next;
        assert(next == 0 || consumer_at(s, next)->priority <= consumer_at(s, c)->priority);
        open++;
    }
    assert(open == q->open.count);
    bool work = q->open.first != 0 && q->counts[MESSAGE_READY] > 0 && !q->def.paused;
    assert(work == (list_linked(&q->work) || q->parked != 0)); /* T3 */
    assert(!list_linked(&q->work) || q->parked == 0);
    assert(list_linked(&q->trim) == queue_is_too_long(q));
    assert(!q->def.single_active || q->consumers == 0 || q->active != 0); /* T4 */
}

void session_check(const struct model *m) {
    const struct sessions *s = m->sessions;
    for (uint32_t i = s->consumers_all.first; i != 0; i = consumer_at(s, i)->all.next) {
        check_consumer(m, i);
    }
    for (uint32_t i = s->all.first; i != 0; i = session_at(s, i)->all.next) {
        assert(session_find(s, session_at(s, i)->id) == i);
        uint32_t c = session_at(s, i)->channels.first;
        for (; c != 0; c = channel_at(s, c)->of_session.next) {
            check_channel(m, c);
        }
    }
    const struct roster *roster = &m->queues->roster;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        check_queue(m, queue_at(m->queues, i));
    }
    heap_check(&s->parked);
}
