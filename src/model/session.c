/*
 * Sessions: what connections ask, who gets the next message, what is settled. What facts there are, and what they
 * do: session_apply.c.
 */
#include "model/session.h"

#include "base/error.h"
#include "model/campaign.h"
#include "model/exchange.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/session_state.h"
#include "model/queue_tenant.h"

#define LIVING_STEPS 1000u /* past so many expired ones the timers must come first */
#define TAG_MAX      255u

/* ---- asking ---- */

enum refusal session_emit_open(const struct model *m, struct decision *d, struct request *r) {
    if (session_find(m->sessions, r->session) != 0) {
        return REFUSAL_NONE;
    }
    if (r->session == 0) {
        return request_invalid(r, "/session", "a session is needed");
    }
    if (m->sessions->sessions.live >= m->limits.sessions) {
        return request_refuse(r, REFUSAL_NOT_ALLOWED, "no more connections: limits.sessions");
    }
    size_t begun = decision_begin(d, FACT_SESSION_OPENED, 1);
    decision_put_u64(d, r->session);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

/* An exclusive consumer is alone. */
static enum refusal check_exclusive(const struct model *m, struct request *r,
                                    const struct queue *q) {
    uint32_t at = q->consumers == 0 ? 0 : q->holders.first;
    while (at != 0 &&
           (consumer_at(m->sessions, at)->gone || consumer_at(m->sessions, at)->getter)) {
        at = consumer_at(m->sessions, at)->of_queue.next;
    }
    if (at != 0 && (r->in.consume.exclusive || consumer_at(m->sessions, at)->exclusive)) {
        return request_refuse(r, REFUSAL_FORBIDDEN, "in exclusive use");
    }
    if (r->in.consume.exclusive && q->def.single_active) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "no exclusive consumer on a queue with a single active one");
    }
    return REFUSAL_NONE;
}

static void emit_consumer(struct decision *d, const struct request *r, uint32_t queue) {
    const struct consume *in = &r->in.consume;
    size_t begun = decision_begin(d, FACT_CONSUMER_ADDED, 1);
    decision_put_u64(d, r->session);
    decision_put_u32(d, in->consumer);
    decision_put_u16(d, in->channel);
    decision_put_u32(d, queue);
    decision_put_u16(d, in->prefetch);
    decision_put_u8(d, (uint8_t)((in->exclusive ? CONSUMER_EXCLUSIVE : 0) |
                                 (in->no_ack ? CONSUMER_NO_ACK : 0)));
    decision_put_u32(d, (uint32_t)in->priority);
    decision_put_key(d, in->tag);
    decision_end(d, begun);
}

static enum refusal decide_consume(const struct model *m, struct decision *d, struct request *r) {
    struct queue *q;
    enum refusal refusal = queue_for_amqp(m, r, r->name, &q);
    if (refusal == REFUSAL_NONE) {
        refusal = check_exclusive(m, r, q);
    }
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    const struct consume *in = &r->in.consume;
    if (in->consumer == 0 || in->tag.size > TAG_MAX) {
        return request_invalid(r, "/consumer", "a number from 1, and a tag of at most 255 bytes");
    }
    if (session_consumer(m->sessions, r->session, in->consumer) != 0) {
        return request_refuse(r, REFUSAL_NOT_ALLOWED, "the consumer's number is in use");
    }
    if (m->sessions->consumers.live >= m->limits.consumers) {
        return request_refuse(r, REFUSAL_LIMIT, "no more consumers: limits.consumers is reached");
    }
    refusal = session_emit_open(m, d, r);
    if (refusal == REFUSAL_NONE) {
        emit_consumer(d, r, q->index);
    }
    return refusal;
}

static enum refusal decide_cancel(const struct model *m, struct decision *d, struct request *r) {
    uint32_t number = r->in.consume.consumer;
    if (session_consumer(m->sessions, r->session, number) != 0) {
        size_t begun = decision_begin(d, FACT_CONSUMER_CANCELLED, 1);
        decision_put_u64(d, r->session);
        decision_put_u32(d, number);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_credit(const struct model *m, struct decision *d, struct request *r) {
    const struct consume *in = &r->in.consume;
    uint32_t slot = session_consumer(m->sessions, r->session, in->consumer);
    if (slot != 0 && in->credit > consumer_at(m->sessions, slot)->credit) {
        size_t begun = decision_begin(d, FACT_CONSUMER_CREDITED, 1);
        decision_put_u64(d, r->session);
        decision_put_u32(d, in->consumer);
        decision_put_u64(d, in->credit);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_qos(const struct model *m, struct decision *d, struct request *r) {
    enum refusal refusal = session_emit_open(m, d, r);
    if (refusal == REFUSAL_NONE) {
        size_t begun = decision_begin(d, FACT_CHANNEL_LIMITED, 1);
        decision_put_u64(d, r->session);
        decision_put_u16(d, r->in.consume.channel);
        decision_put_u16(d, r->in.consume.prefetch);
        decision_end(d, begun);
    }
    return refusal;
}

/* ---- the next message ---- */

static bool is_alive(const struct queues *s, const struct message *g, uint64_t now_ns) {
    uint64_t expires_ns = message_times_of(s, g).expires_ns;
    return expires_ns == 0 || expires_ns > now_ns;
}

/* The first ready one that has not expired: timers may not have come to it yet. */
static uint32_t first_alive_of(const struct model *m, const struct ready_set *set, uint64_t now_ns,
                               uint32_t *steps) {
    for (uint32_t level = set->level_count; level > 0; level--) {
        uint32_t slot = set->levels->lists[level - 1].first;
        while (slot != 0 && !is_alive(m->queues, message_at(m->queues, slot), now_ns)) {
            if (++*steps == LIVING_STEPS) {
                return 0;
            }
            slot = message_at(m->queues, slot)->next;
        }
        if (slot != 0) {
            return slot;
        }
    }
    return 0;
}

static uint32_t first_alive(const struct model *m, const struct queue *q, uint64_t now_ns) {
    uint32_t steps = 0, at = 0, slot = 0;
    const struct ready_set *set;
    while (slot == 0 && steps < LIVING_STEPS &&
           (set = tenant_next_set(m->queues, q, &at)) != NULL) {
        slot = first_alive_of(m, set, now_ns, &steps);
    }
    return slot;
}

static void emit_delivered(struct decision *d, uint64_t message, uint64_t session, uint32_t number,
                           uint16_t channel) {
    size_t begun = decision_begin(d, FACT_MESSAGE_DELIVERED, 1);
    decision_put_u64(d, message);
    decision_put_u64(d, session);
    decision_put_u32(d, number);
    decision_put_u16(d, channel);
    decision_end(d, begun);
}

static void describe_delivery(const struct model *m, struct decision *d, uint32_t slot,
                              struct delivery *ret) {
    const struct message *g = message_at(m->queues, slot);
    *ret = (struct delivery){.kind = DELIVERY_MESSAGE,
                             .redelivered = g->attempts > 0,
                             .message = g->id,
                             .stored_id = message_stored_id(m->queues, g),
                             .address = g->address,
                             .body_bytes = g->body_bytes,
                             .delivery_count = g->attempts};
    d->failed |=
        amqp_origin_told(message_origin(m->queues, g), &ret->origin, &ret->origin_size) != 0;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r) {
    struct queue *q;
    enum refusal refusal = queue_for_amqp(m, r, r->name, &q);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    bool may = !q->def.paused && pace_wait_ns(&q->pace, d->now_ns) == 0;
    uint32_t slot = may ? first_alive(m, q, d->now_ns) : 0;
    r->count = q->counts[MESSAGE_READY];
    if (slot == 0) {
        queue_emit_touched(d, q);
        return REFUSAL_NONE;
    }
    refusal = session_emit_open(m, d, r);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    r->count--;
    emit_delivered(d, message_at(m->queues, slot)->id, r->session, 0, r->in.get.channel);
    describe_delivery(m, d, slot, &r->out.delivery);
    r->out.delivery.session = r->session;
    r->out.delivery.channel = r->in.get.channel;
    return REFUSAL_NONE;
}

/* Room and a message there are: the queue stands in the list of those with work, or has waited for its pace. */
static bool decide_for(const struct model *m, struct decision *d, const struct queue *q,
                       struct delivery *ret) {
    const struct sessions *s = m->sessions;
    uint32_t slot = pace_wait_ns(&q->pace, d->now_ns) != 0 || q->open.first == 0
                        ? 0
                        : first_alive(m, q, d->now_ns);
    if (slot == 0) {
        return false;
    }
    const struct consumer *c = consumer_at(s, q->open.first);
    uint64_t session = session_at(s, c->session)->id;
    uint16_t channel = channel_at(s, c->channel)->number;
    emit_delivered(d, message_at(m->queues, slot)->id, session, c->number, channel);
    describe_delivery(m, d, slot, ret);
    ret->session = session;
    ret->channel = channel;
    ret->consumer = c->number;
    return true;
}

bool session_decide_delivery(const struct model *m, struct decision *d, struct delivery *ret) {
    const struct sessions *s = m->sessions;
    const struct heap_entry *e = heap_first(&s->parked);
    if (e != NULL && e->due_ns <= d->now_ns && decide_for(m, d, queue_at(m->queues, e->ref), ret)) {
        return true;
    }
    for (struct list_node *n = list_first(&s->work); n != NULL; n = list_next(&s->work, n)) {
        if (decide_for(m, d, CONTAINER_OF(n, const struct queue, work), ret)) {
            return true;
        }
    }
    return false;
}

uint64_t session_next_delivery_ns(const struct model *m, uint64_t now_ns) {
    const struct sessions *s = m->sessions;
    const struct heap_entry *e = heap_first(&s->parked);
    uint64_t next_ns = e == NULL ? UINT64_MAX : e->due_ns;
    for (struct list_node *n = list_first(&s->work); n != NULL; n = list_next(&s->work, n)) {
        const struct queue *q = CONTAINER_OF(n, const struct queue, work);
        uint64_t wait_ns = pace_wait_ns(&q->pace, now_ns);
        if (wait_ns != PACE_WAIT_FOR_END && now_ns + wait_ns < next_ns) {
            next_ns = now_ns + wait_ns;
        }
        if (next_ns <= now_ns) {
            return now_ns;
        }
    }
    return next_ns;
}

/* ---- settling ---- */

struct settle_run {
    struct decision *d;
    size_t begun, count_at;
    uint32_t count;
    enum settle_verdict verdict; /* 0: no fact is open */
};

static void run_end(struct settle_run *run) {
    if (run->verdict == 0 || run->d->failed) {
        return;
    }
    uint8_t *at = run->d->facts->data + run->count_at;
    for (unsigned i = 0; i < 4; i++) {
        at[i] = (uint8_t)(run->count >> (8 * i));
    }
    decision_end(run->d, run->begun);
    run->verdict = 0;
}

static void run_add(struct settle_run *run, enum settle_verdict verdict, uint64_t id) {
    if (run->verdict != verdict) {
        run_end(run);
        run->begun = decision_begin(run->d, FACT_MESSAGES_SETTLED, 1);
        decision_put_u8(run->d, (uint8_t)verdict);
        run->count_at = run->d->facts->size;
        decision_put_u32(run->d, 0);
        run->verdict = verdict;
        run->count = 0;
    }
    decision_put_u64(run->d, id);
    run->count++;
}

static bool is_held_by(const struct model *m, const struct message *g, uint64_t session) {
    const struct sessions *s = m->sessions;
    return g->held && session_at(s, consumer_at(s, g->outcome)->session)->id == session;
}

static bool over_limit(const struct model *m, const struct message *g) {
    uint32_t limit = queue_at(m->queues, g->queue)->def.delivery_limit;
    return limit != 0 && g->attempts > limit;
}

/* What is tied must be settled once only, whatever the list says. */
static bool named_before(const struct settle_list *list, uint32_t n) {
    for (uint32_t i = 0; i < n; i++) {
        if (list->items[i].message == list->items[n].message) {
            return true;
        }
    }
    return false;
}

static bool settle_one(const struct model *m, struct settle_run *run, uint32_t slot,
                       enum settle_verdict verdict) {
    const struct message *g = message_at(m->queues, slot);
    bool dies = verdict == SETTLE_REJECT || (verdict == SETTLE_REQUEUE && over_limit(m, g));
    if (dies) {
        run_end(run);
        return exchange_emit_death(m, run->d, slot,
                                   verdict == SETTLE_REJECT ? DEAD_REJECTED : DEAD_DELIVERY_LIMIT);
    }
    run_add(run, verdict, g->id);
    if (verdict == SETTLE_ACK && message_is_tied(m->queues, g)) {
        struct message_view view;
        run_end(run);
        message_view_fill(m->queues, slot, &view);
        campaign_emit_settlement(m, run->d, g->id, &view.tie, true);
    }
    return true;
}

bool session_emit_settles(const struct model *m, struct decision *d, uint64_t session,
                          const struct settle_list *list) {
    struct settle_run run = {.d = d};
    bool fits = true;
    for (uint32_t i = 0; i < list->count; i++) {
        const struct settle *in = &list->items[i];
        uint32_t slot = message_find(m->queues, in->message);
        if (slot == 0 || !is_held_by(m, message_at(m->queues, slot), session) ||
            in->verdict < SETTLE_ACK || in->verdict > SETTLE_RETURN) {
            continue;
        }
        bool tied = message_is_tied(m->queues, message_at(m->queues, slot));
        if (!tied || !named_before(list, i)) {
            fits &= settle_one(m, &run, slot, in->verdict);
        }
    }
    run_end(&run);
    return fits;
}

static enum refusal decide_settle(const struct model *m, struct decision *d, struct request *r) {
    if (r->in.settle.count > UINT16_MAX) {
        return request_invalid(r, "/items", "at most 65,535 at once");
    }
    (void)session_emit_settles(m, d, r->session, &r->in.settle);
    return REFUSAL_NONE;
}

/* ---- queues that are too long ---- */

bool session_has_trim(const struct model *m) {
    return !list_empty(&m->sessions->trim);
}

bool session_decide_trim(const struct model *m, struct decision *d) {
    const struct list_node *n = list_first(&m->sessions->trim);
    if (n == NULL) {
        return false;
    }
    const struct queue *q = CONTAINER_OF(n, const struct queue, trim);
    (void)exchange_emit_death(m, d, queue_first_ready(m->queues, q), DEAD_MAXLEN);
    return true;
}

/* ---- closing ---- */

/* Those that may not be delivered again: the rest goes back by the fact of the close itself. */
static void emit_deaths(const struct model *m, struct decision *d, const struct channel *ch) {
    const struct sessions *s = m->sessions;
    for (uint32_t c = ch->consumers.first; c != 0; c = consumer_at(s, c)->of_channel.next) {
        const struct queue *q = queue_at(m->queues, consumer_at(s, c)->queue);
        uint32_t slot = q->def.delivery_limit == 0 ? 0 : consumer_at(s, c)->held.first;
        for (; slot != 0; slot = message_at(m->queues, slot)->next) {
            if (over_limit(m, message_at(m->queues, slot))) {
                (void)exchange_emit_death(m, d, slot, DEAD_DELIVERY_LIMIT);
            }
        }
    }
}

static void emit_session_close(const struct model *m, struct decision *d, uint32_t slot) {
    const struct session *se = session_at(m->sessions, slot);
    for (uint32_t c = se->channels.first; c != 0; c = channel_at(m->sessions, c)->of_session.next) {
        emit_deaths(m, d, channel_at(m->sessions, c));
    }
    size_t begun = decision_begin(d, FACT_SESSION_CLOSED, 1);
    decision_put_u64(d, se->id);
    decision_end(d, begun);
}

static enum refusal decide_close(const struct model *m, struct decision *d, struct request *r) {
    uint32_t session = session_find(m->sessions, r->session);
    if (session == 0) {
        return REFUSAL_NONE;
    }
    if (r->kind == REQUEST_SESSION_CLOSE) {
        emit_session_close(m, d, session);
        return REFUSAL_NONE;
    }
    uint32_t channel = session_channel(m->sessions, session, r->in.consume.channel);
    if (channel != 0) {
        emit_deaths(m, d, channel_at(m->sessions, channel));
        size_t begun = decision_begin(d, FACT_CHANNEL_CLOSED, 1);
        decision_put_u64(d, r->session);
        decision_put_u16(d, r->in.consume.channel);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

bool session_decide_recovery(const struct model *m, struct decision *d) {
    uint32_t first = m->sessions->all.first;
    if (first != 0) {
        emit_session_close(m, d, first);
    }
    return first != 0;
}

/* ---- list ---- */

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct sessions *s = m->sessions;
    struct saver out = {.chunk = &r->out_bytes};
    for (uint32_t i = s->consumers_all.first; i != 0; i = consumer_at(s, i)->all.next) {
        const struct consumer *c = consumer_at(s, i);
        const struct queue *q = queue_at(m->queues, c->queue);
        char vhost[VHOST_MAX_BYTES + 1];
        (void)amqp_queue_split(span_text(q->def.name), vhost);
        if (c->gone || c->getter || (r->vhost.size > 0 && !span_is(r->vhost, vhost))) {
            continue;
        }
        size_t at = 0;
        out.rc = out.rc != 0 ? out.rc : sized_begin(&r->out_bytes, &at);
        save_u64(&out, session_at(s, c->session)->id);
        save_u32(&out, c->number);
        save_u16(&out, channel_at(s, c->channel)->number);
        save_u16(&out, c->prefetch);
        bool active = !q->def.single_active || q->active == i;
        save_u8(&out, (uint8_t)(c->exclusive | c->no_ack << 1 | active << 2));
        save_u32(&out, (uint32_t)c->priority);
        save_u64(&out, c->held.count);
        save_key(&out, span_text(c->tag == NULL ? "" : c->tag));
        out.rc = out.rc != 0 ? out.rc : buffer_put_bytes(&r->out_bytes, span_text(q->def.name));
        if (out.rc == 0) {
            sized_end(&r->out_bytes, at);
            r->count++;
        }
    }
    d->failed |= out.rc != 0;
    return REFUSAL_NONE;
}

static enum refusal session_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_SETTLE:
        return decide_settle(m, d, r);
    case REQUEST_BASIC_GET:
        return decide_get(m, d, r);
    case REQUEST_CONSUMER_CREDIT:
        return decide_credit(m, d, r);
    case REQUEST_CONSUME:
        return decide_consume(m, d, r);
    case REQUEST_CONSUMER_CANCEL:
        return decide_cancel(m, d, r);
    case REQUEST_CONSUMER_LIST:
        return decide_list(m, d, r);
    case REQUEST_QOS:
        return decide_qos(m, d, r);
    case REQUEST_CHANNEL_CLOSE:
    case REQUEST_SESSION_CLOSE:
        return decide_close(m, d, r);
    default:
        return REFUSAL_INVALID;
    }
}

static uint64_t session_memory_bytes(const struct model *m) {
    const struct sessions *s = m->sessions;
    return sizeof *s + slab_memory_bytes(&s->consumers) + slab_memory_bytes(&s->channels) +
           slab_memory_bytes(&s->sessions) + map_memory_bytes(&s->by_id) +
           map_memory_bytes(&s->by_number) + s->notice_capacity * sizeof *s->notices;
}

static void session_prefetch(const struct model *m, const struct request *r, unsigned step) {
    if (step == 0 && r->kind == REQUEST_SETTLE && r->in.settle.count > 0) {
        map_prefetch(&m->queues->by_id, id_hash(r->in.settle.items[0].message));
    }
}

const struct module session_module = {
    .name = "session",
    .decide = session_decide,
    .prefetch = session_prefetch,
    .apply = session_apply,
    .save = session_save,
    .load = session_load,
    .check = session_check,
    .memory_bytes = session_memory_bytes,
    .section_version = 1,
};
