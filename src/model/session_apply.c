/*
 * Facts of sessions.
 *
 *   SESSION_OPENED, SESSION_CLOSED    8 session
 *   CONSUMER_ADDED                    8 session   4 number   2 channel   4 queue index   2 prefetch
 *                                     1 flags (1 exclusive, 2 no-ack)   4 priority   1+. tag
 *   CONSUMER_CANCELLED                8 session   4 number
 *   CONSUMER_CREDITED                 8 session   4 number   8 deliveries in all
 *   CHANNEL_LIMITED                   8 session   2 channel   2 limit of what is held, 0: none
 *   CHANNEL_CLOSED                    8 session   2 channel
 *   MESSAGE_DELIVERED                 8 message   8 session   4 number, 0: a get   2 channel
 *   MESSAGES_SETTLED                  1 verdict   4 count   then 8 message each; those not held are passed over
 */
#include "base/error.h"
#include "model/fact.h"
#include "model/session_state.h"

static int apply_consumer(struct model *m, struct reader *in) {
    uint32_t session = session_find(m->sessions, reader_u64(in));
    struct consumer c = {.session = session, .credit = DELIVERY_CREDIT};
    c.number = reader_u32(in);
    uint16_t channel = reader_u16(in);
    c.queue = reader_u32(in);
    c.prefetch = reader_u16(in);
    uint8_t flags = reader_u8(in);
    c.priority = (int32_t)reader_u32(in);
    struct span tag = reader_key(in);
    c.exclusive = (flags & CONSUMER_EXCLUSIVE) != 0;
    c.no_ack = (flags & CONSUMER_NO_ACK) != 0;
    if (in->failed || session == 0 || c.number == 0 || queue_at(m->queues, c.queue) == NULL) {
        return E_CORRUPT;
    }
    int rc = session_need_channel(m, session, channel, &c.channel);
    if (rc == 0 && tag.size > 0) {
        rc = def_set_text(&c.tag, tag);
    }
    uint32_t slot;
    return rc != 0 ? rc : consumer_add(m, &c, &slot);
}

static int apply_to_consumer(struct model *m, const struct applied *w, uint16_t kind,
                             struct reader *in) {
    uint64_t session = reader_u64(in);
    uint32_t slot = session_consumer(m->sessions, session, reader_u32(in));
    uint64_t credit = kind == FACT_CONSUMER_CREDITED ? reader_u64(in) : 0;
    if (in->failed || slot == 0) {
        return E_CORRUPT;
    }
    if (kind == FACT_CONSUMER_CREDITED) {
        consumer_at(m->sessions, slot)->credit = credit;
        consumer_update(m, slot);
        return 0;
    }
    uint32_t queue = consumer_at(m->sessions, slot)->queue;
    consumer_leave(m, slot);
    return session_queue_left(m, w, queue);
}

static int apply_limited(struct model *m, struct reader *in) {
    uint32_t session = session_find(m->sessions, reader_u64(in)), channel;
    uint16_t number = reader_u16(in);
    uint16_t limit = reader_u16(in);
    if (in->failed || session == 0) {
        return E_CORRUPT;
    }
    int rc = session_need_channel(m, session, number, &channel);
    if (rc == 0) {
        channel_at(m->sessions, channel)->limit = limit;
        channel_update(m, channel);
    }
    return rc;
}

static int close_channel(struct model *m, const struct applied *w, uint32_t channel) {
    int rc = 0;
    while (rc == 0 && channel_at(m->sessions, channel)->consumers.first != 0) {
        uint32_t slot = channel_at(m->sessions, channel)->consumers.first;
        uint32_t queue = consumer_at(m->sessions, slot)->queue;
        bool consumed =
            !consumer_at(m->sessions, slot)->gone && !consumer_at(m->sessions, slot)->getter;
        rc = consumer_close(m, slot);
        if (rc == 0 && consumed) {
            rc = session_queue_left(m, w, queue);
        }
    }
    if (rc == 0) {
        channel_free(m, channel);
    }
    return rc;
}

static int apply_channel_closed(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t session = session_find(m->sessions, reader_u64(in));
    uint16_t number = reader_u16(in);
    uint32_t channel = session == 0 ? 0 : session_channel(m->sessions, session, number);
    return in->failed || channel == 0 ? E_CORRUPT : close_channel(m, w, channel);
}

static int apply_session_closed(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t slot = session_find(m->sessions, reader_u64(in));
    if (in->failed || slot == 0) {
        return E_CORRUPT;
    }
    int rc = 0;
    while (rc == 0 && session_at(m->sessions, slot)->channels.first != 0) {
        rc = close_channel(m, w, session_at(m->sessions, slot)->channels.first);
    }
    while (rc == 0 && session_at(m->sessions, slot)->owned.first != 0) {
        rc = queue_remove(m, w, queue_at(m->queues, session_at(m->sessions, slot)->owned.first));
    }
    if (rc == 0) {
        session_free(m, slot);
    }
    return rc;
}

static int apply_delivered(struct model *m, const struct applied *w, struct reader *in) {
    struct sessions *s = m->sessions;
    uint32_t slot = message_find(m->queues, reader_u64(in));
    uint64_t id = reader_u64(in);
    uint32_t number = reader_u32(in);
    uint16_t channel = reader_u16(in);
    if (in->failed || slot == 0 || message_at(m->queues, slot)->state != MESSAGE_READY) {
        return E_CORRUPT;
    }
    uint32_t queue = message_at(m->queues, slot)->queue;
    uint32_t consumer = session_consumer(s, id, number);
    if (number == 0) {
        uint32_t session = session_find(s, id), at;
        int rc = session == 0 ? E_CORRUPT : session_need_channel(m, session, channel, &at);
        rc = rc != 0 ? rc : session_need_getter(m, at, queue, &consumer);
        if (rc != 0) {
            return rc;
        }
    }
    if (consumer == 0 || consumer_at(s, consumer)->queue != queue) {
        return E_CORRUPT;
    }
    return message_deliver(m, w, slot, consumer);
}

static int settle_apply(struct model *m, const struct applied *w, uint32_t slot,
                        enum settle_verdict verdict) {
    if (verdict != SETTLE_ACK) {
        return message_requeue(m, slot, verdict == SETTLE_REQUEUE);
    }
    queue_at(m->queues, message_at(m->queues, slot)->queue)->completed++;
    return message_end(m, w, slot, MESSAGE_DONE, DEAD_NONE);
}

static int apply_settled(struct model *m, const struct applied *w, struct reader *in) {
    enum settle_verdict verdict = (enum settle_verdict)reader_u8(in);
    uint32_t count = reader_u32(in);
    if (in->failed || verdict < SETTLE_ACK || verdict > SETTLE_RETURN) {
        return E_CORRUPT;
    }
    int rc = 0;
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        uint32_t slot = message_find(m->queues, reader_u64(in));
        if (slot != 0 && message_at(m->queues, slot)->held) {
            rc = settle_apply(m, w, slot, verdict);
        }
    }
    return rc;
}

int session_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                  struct reader *in) {
    uint32_t slot;
    switch (kind) {
    case FACT_MESSAGE_DELIVERED:
        return apply_delivered(m, w, in);
    case FACT_MESSAGES_SETTLED:
        return apply_settled(m, w, in);
    case FACT_SESSION_OPENED:
        return session_open(m, reader_u64(in), &slot);
    case FACT_SESSION_CLOSED:
        return apply_session_closed(m, w, in);
    case FACT_CHANNEL_CLOSED:
        return apply_channel_closed(m, w, in);
    case FACT_CHANNEL_LIMITED:
        return apply_limited(m, in);
    case FACT_CONSUMER_ADDED:
        return apply_consumer(m, in);
    case FACT_CONSUMER_CANCELLED:
    case FACT_CONSUMER_CREDITED:
        return apply_to_consumer(m, w, kind, in);
    default:
        return E_VERSION;
    }
}
