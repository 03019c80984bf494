/*
 * The class basic but for publish: consumers, deliveries, and what becomes of them.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "amqp/reply.h"
#include "base/amqp_table.h"
#include "base/error.h"

#define TAG_PREFIX       "amq.ctag-"
#define TAG_RANDOM_BYTES 16u
#define CREDIT           2000u /* deliveries that a consumer without a smaller prefetch begins with */

/* ---- consumers ---- */

struct amqp_consumer *amqp_consumer_find(struct amqp_channel *ch, struct span tag) {
    for (uint32_t i = 0; i < ch->consumer_count; i++) {
        struct amqp_consumer *k = ch->consumers[i];
        if (span_equal(span_of(k->tag, k->tag_size), tag))
            return k;
    }
    return NULL;
}

/* C3: ids ascend, and those not known yet stand at the end. */
static struct amqp_consumer *find_by_id(const struct amqp_channel *ch, uint64_t id) {
    uint32_t low = 0, high = ch->consumer_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        const struct amqp_consumer *k = ch->consumers[middle];
        if (k->id != 0 && k->id < id)
            low = middle + 1;
        else
            high = middle;
    }
    bool found = low < ch->consumer_count && ch->consumers[low]->id == id;
    return found ? ch->consumers[low] : NULL;
}

static struct amqp_consumer *add_consumer(struct amqp_channel *ch, struct span tag, bool no_ack) {
    if (ch->consumer_count == ch->consumer_capacity) {
        uint32_t capacity = ch->consumer_capacity > 0 ? 2 * ch->consumer_capacity : 1;
        struct amqp_consumer **grown = realloc(ch->consumers, capacity * sizeof(*grown));
        if (grown == NULL)
            return NULL;
        ch->consumers = grown;
        ch->consumer_capacity = capacity;
    }
    struct amqp_consumer *k = calloc(1, sizeof *k + tag.size);
    if (k == NULL)
        return NULL;
    k->no_ack = no_ack;
    k->tag_size = (uint8_t)tag.size;
    memcpy(k->tag, tag.data, tag.size);
    ch->consumers[ch->consumer_count++] = k;
    ch->connection->consumer_count++;
    return k;
}

void amqp_consumer_remove(struct amqp_channel *ch, struct amqp_consumer *k) {
    uint32_t at = 0;
    while (ch->consumers[at] != k)
        at++;
    memmove(ch->consumers + at, ch->consumers + at + 1,
            (ch->consumer_count - at - 1) * sizeof(struct amqp_consumer *));
    ch->consumer_count--;
    ch->connection->consumer_count--;
    free(k);
}

static void tag_text(struct amqp_channel *ch, char text[64]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[TAG_RANDOM_BYTES + 6]; /* one digit of each */
    ch->connection->host->random(ch->connection->context, bytes, sizeof bytes);
    char *to = stpcpy(text, TAG_PREFIX);
    for (size_t i = 0; i < sizeof bytes; i++)
        *to++ = digits[bytes[i] & 63];
    *to = '\0';
}

/* The name of one that RabbitMQ would not take: of a wrong type, or of streams. NULL: none. */
static const char *wrong_argument(struct span arguments) {
    struct amqp_field f;
    int64_t v;
    if (amqp_table_find(arguments, "x-stream-offset", &f))
        return "x-stream-offset";
    if (amqp_table_find(arguments, "x-priority", &f) &&
        (f.type == 'T' || !amqp_field_integer(&f, &v)))
        return "x-priority";
    if (amqp_table_find(arguments, "x-cancel-on-ha-failover", &f) && f.type != 't')
        return "x-cancel-on-ha-failover";
    return NULL;
}

static void consume(struct amqp_channel *ch, const struct amqp_method *method) {
    struct amqp_connection *c = ch->connection;
    struct amqp_method m = *method;
    struct amqp_basic_consume *b = &m.as.basic_consume;
    const char *wrong = wrong_argument(b->arguments);
    char text[64];
    if (wrong != NULL) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, m.id,
                          "invalid arg '%s' for queue '%.*s' in vhost '%s'", wrong,
                          SPAN_ARG(b->queue), c->vhost);
        return;
    }
    if (b->consumer_tag.size == 0) {
        tag_text(ch, text);
        b->consumer_tag = span_text(text);
    } else if (amqp_consumer_find(ch, b->consumer_tag) != NULL ||
               amqp_reply_has_tag(ch, b->consumer_tag)) {
        amqp_channel_fail(ch, AMQP_NOT_ALLOWED, m.id, "attempt to reuse consumer tag '%.*s'",
                          SPAN_ARG(b->consumer_tag));
        return;
    }
    if (amqp_is_reply_to(b->queue)) {
        amqp_reply_consume(ch, &m);
        return;
    }
    if (c->consumer_count >= c->host->limits.consumers) {
        amqp_channel_fail(ch, AMQP_NOT_ALLOWED, m.id, "more than %u consumers of a connection",
                          c->host->limits.consumers);
        return;
    }
    struct amqp_op *op = amqp_channel_op(ch, AMQP_OP_CONSUME, &m);
    if (op == NULL)
        return;
    if (add_consumer(ch, op->method.as.basic_consume.consumer_tag, b->no_ack) == NULL) {
        amqp_op_free(op);
        amqp_fail_nomem(c);
        return;
    }
    op->in.consume.number = ++c->consumer_numbers;
    op->in.consume.prefetch = b->no_ack ? 0 : ch->prefetch;
    op->in.consume.no_ack = b->no_ack;
    op->silent = b->nowait;
    ch->consumes_asked++;
    amqp_channel_ask(ch, op);
}

static void deliver_early(struct amqp_channel *ch);

void amqp_consumed(struct amqp_channel *ch, struct amqp_op *op) {
    struct amqp_consumer *k = amqp_consumer_find(ch, op->method.as.basic_consume.consumer_tag);
    ch->consumes_asked--;
    if (k != NULL && op->code != 0) {
        amqp_consumer_remove(ch, k);
        k = NULL;
    }
    if (op->code != 0)
        return;
    assert(op->consumer != 0);
    if (k == NULL) {
        amqp_consumer_ask_cancel(ch, op->consumer, NULL);
        return;
    }
    k->id = op->consumer;
    if (op->in.consume.prefetch == 0 || op->in.consume.prefetch > CREDIT)
        k->credit = CREDIT;
    struct amqp_method m = {AMQP_BASIC_CONSUME_OK,
                            .as.basic_consume_ok = {span_of(k->tag, k->tag_size)}};
    if (!op->silent)
        amqp_send(ch->connection, ch->number, &m);
    deliver_early(ch);
}

void amqp_consumer_credit(struct amqp_connection *c, struct amqp_consumer *k) {
    if (k->id == 0 || k->credit == 0 || c->paused || k->delivered + CREDIT / 2 < k->credit)
        return;
    struct amqp_op *op = amqp_op_create(AMQP_OP_CREDIT, 0);
    if (op == NULL)
        return; /* the next delivery tries again */
    k->credit = k->delivered + CREDIT;
    op->in.credit.consumer = k->id;
    op->in.credit.credit = k->credit;
    amqp_ask(c, op);
}

/* `op`: made before, or NULL. */
void amqp_consumer_ask_cancel(struct amqp_channel *ch, uint64_t id, struct amqp_op *op) {
    if (op == NULL) {
        op = amqp_op_create(AMQP_OP_CANCEL, 0);
        if (op == NULL) {
            amqp_fail_nomem(ch->connection);
            return;
        }
        op->silent = true;
    }
    op->in.credit.consumer = id;
    amqp_channel_ask(ch, op);
}

static void cancel(struct amqp_channel *ch, const struct amqp_method *m) {
    struct amqp_consumer *k = amqp_consumer_find(ch, m->as.basic_cancel.consumer_tag);
    struct amqp_op *op = amqp_channel_op(ch, AMQP_OP_CANCEL, m);
    if (op == NULL)
        return;
    op->silent = m->as.basic_cancel.nowait;
    if (amqp_reply_has_tag(ch, m->as.basic_cancel.consumer_tag))
        amqp_reply_drop(ch);
    if (k == NULL || k->id == 0) {
        /* Unknown, which is fine, or asked for in one breath: then its answer finds no consumer. */
        if (k != NULL)
            amqp_consumer_remove(ch, k);
        amqp_channel_ask(ch, op);
        return;
    }
    uint64_t id = k->id;
    amqp_consumer_remove(ch, k);
    amqp_consumer_ask_cancel(ch, id, op);
}

/* ---- deliveries ---- */

/* A tag for a message that is handed out; 0: no memory, and the connection has failed. */
static uint64_t hand_out(struct amqp_channel *ch, const struct amqp_delivery *d, bool no_ack) {
    uint64_t tag = 0;
    if (no_ack || d->message == 0) {
        tag = amqp_unacked_skip(&ch->unacked);
        amqp_settle(ch->connection, d->message, AMQP_VERDICT_ACK);
    } else if (amqp_unacked_add(&ch->unacked, d->message, d->consumer, &tag) != 0) {
        amqp_fail_nomem(ch->connection);
    }
    return tag;
}

static void send_delivery(struct amqp_channel *ch, struct amqp_consumer *k,
                          const struct amqp_delivery *d) {
    uint64_t tag = hand_out(ch, d, k->no_ack);
    if (tag == 0)
        return;
    k->delivered++;
    struct amqp_method m = {AMQP_BASIC_DELIVER,
                            .as.basic_deliver = {.consumer_tag = span_of(k->tag, k->tag_size),
                                                 .delivery_tag = tag,
                                                 .redelivered = d->redelivered,
                                                 .exchange = d->exchange,
                                                 .routing_key = d->routing_key}};
    amqp_send_content(ch->connection, ch->number, &m, d->encoded, d->body);
    if (ch->state == AMQP_CHANNEL_OPEN_)
        amqp_consumer_credit(ch->connection, k);
}

static uint8_t *keep(uint8_t *to, struct span *s) {
    if (s->size > 0)
        memcpy(to, s->data, s->size);
    s->data = to;
    return to + s->size;
}

/* Its consumer is not known yet: the answer that names it is on its way. */
static void keep_early(struct amqp_channel *ch, const struct amqp_delivery *d) {
    struct amqp_early *e =
        malloc(sizeof *e + d->exchange.size + d->routing_key.size + d->encoded.size + d->body.size);
    if (e == NULL) {
        amqp_fail_nomem(ch->connection);
        return;
    }
    e->next = NULL;
    e->delivery = *d;
    uint8_t *to = keep(keep(e->room, &e->delivery.exchange), &e->delivery.routing_key);
    keep(keep(to, &e->delivery.encoded), &e->delivery.body);
    struct amqp_early **at = &ch->early;
    while (*at != NULL)
        at = &(*at)->next;
    *at = e;
}

void amqp_channel_deliver(struct amqp_channel *ch, const struct amqp_delivery *d) {
    struct amqp_consumer *k = ch->state == AMQP_CHANNEL_OPEN_ ? find_by_id(ch, d->consumer) : NULL;
    if (k != NULL)
        send_delivery(ch, k, d);
    else if (ch->state == AMQP_CHANNEL_OPEN_ && ch->consumes_asked > 0)
        keep_early(ch, d);
    else
        amqp_settle(ch->connection, d->message, AMQP_VERDICT_RETURN);
}

static void deliver_early(struct amqp_channel *ch) {
    struct amqp_early *e = ch->early;
    ch->early = NULL;
    while (e != NULL) {
        struct amqp_early *next = e->next;
        amqp_channel_deliver(ch, &e->delivery);
        free(e);
        e = next;
    }
}

void amqp_early_drop(struct amqp_channel *ch, bool given_back) {
    while (ch->early != NULL) {
        struct amqp_early *e = ch->early;
        ch->early = e->next;
        if (!given_back)
            amqp_settle(ch->connection, e->delivery.message, AMQP_VERDICT_RETURN);
        free(e);
    }
}

static void get(struct amqp_channel *ch, const struct amqp_method *m) {
    struct amqp_op *op = amqp_channel_op(ch, AMQP_OP_GET, m);
    if (op != NULL)
        amqp_channel_ask(ch, op);
}

void amqp_got(struct amqp_channel *ch, struct amqp_op *op) {
    const struct amqp_delivery *d = &op->delivery;
    if (!op->found) {
        amqp_send(ch->connection, ch->number, &(struct amqp_method){.id = AMQP_BASIC_GET_EMPTY});
        return;
    }
    uint64_t tag = hand_out(ch, d, op->method.as.basic_get.no_ack);
    if (tag == 0)
        return;
    struct amqp_method m = {AMQP_BASIC_GET_OK,
                            .as.basic_get_ok = {.delivery_tag = tag,
                                                .redelivered = d->redelivered,
                                                .exchange = d->exchange,
                                                .routing_key = d->routing_key,
                                                .message_count = op->message_count}};
    amqp_send_content(ch->connection, ch->number, &m, d->encoded, d->body);
}

/* ---- settling ---- */

struct settling {
    struct amqp_channel *channel;
    enum amqp_verdict verdict;
};

static void settle_one(void *context, const struct amqp_unacked_entry *e) {
    struct settling *s = context;
    if (s->channel->mode == AMQP_MODE_TX)
        amqp_tx_settle(s->channel, e, s->verdict);
    else
        amqp_settle(s->channel->connection, e->message, s->verdict);
}

static void settle(struct amqp_channel *ch, enum amqp_method_id id, uint64_t tag, bool multiple,
                   enum amqp_verdict verdict) {
    struct settling s = {ch, verdict};
    if (amqp_unacked_settle(&ch->unacked, tag, multiple, settle_one, &s) != 0)
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, id, "unknown delivery tag %" PRIu64, tag);
}

static void settle_now(void *context, const struct amqp_unacked_entry *e) {
    struct settling *s = context;
    amqp_settle(s->channel->connection, e->message, s->verdict);
}

void amqp_channel_give_back(struct amqp_channel *ch, enum amqp_verdict verdict) {
    struct settling s = {ch, verdict};
    int error = amqp_unacked_settle(&ch->unacked, 0, true, settle_now, &s);
    assert(error == 0); /* all there are may be none */
}

static enum amqp_verdict negative(bool requeue) {
    return requeue ? AMQP_VERDICT_REQUEUE : AMQP_VERDICT_REJECT;
}

static void recover(struct amqp_channel *ch, const struct amqp_method *m) {
    bool async = m->id == AMQP_BASIC_RECOVER_ASYNC;
    if (!(async ? m->as.basic_recover_async.requeue : m->as.basic_recover.requeue)) {
        amqp_channel_fail(ch, AMQP_NOT_IMPLEMENTED, m->id, "requeue=false");
        return;
    }
    amqp_channel_give_back(ch, AMQP_VERDICT_REQUEUE);
    amqp_settle_now(ch->connection);
    if (!async)
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_BASIC_RECOVER_OK});
}

/* ---- qos ---- */

static void ask_limit(struct amqp_channel *ch, uint16_t limit, bool silent) {
    struct amqp_op *op = amqp_op_create(AMQP_OP_QOS, 0);
    if (op == NULL) {
        amqp_fail_nomem(ch->connection);
        return;
    }
    op->method.id = AMQP_BASIC_QOS_OK; /* what to say when it is done */
    op->in.prefetch = limit;
    op->silent = silent;
    ch->limited = limit > 0;
    amqp_channel_ask(ch, op);
}

void amqp_limit_drop(struct amqp_channel *ch) {
    if (ch->limited)
        ask_limit(ch, 0, true);
}

static void qos(struct amqp_channel *ch, const struct amqp_method *m) {
    const struct amqp_basic_qos *q = &m->as.basic_qos;
    if (q->prefetch_size != 0) {
        amqp_channel_fail(ch, AMQP_NOT_IMPLEMENTED, m->id, "prefetch_size!=0 (%u)",
                          q->prefetch_size);
        return;
    }
    if (!q->global) {
        ch->prefetch = q->prefetch_count;
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_BASIC_QOS_OK});
        return;
    }
    ask_limit(ch, q->prefetch_count, false);
}

void amqp_basic_method(struct amqp_channel *ch, const struct amqp_method *m) {
    switch (m->id) {
    case AMQP_BASIC_QOS:
        qos(ch, m);
        break;
    case AMQP_BASIC_CONSUME:
        consume(ch, m);
        break;
    case AMQP_BASIC_CANCEL:
        cancel(ch, m);
        break;
    case AMQP_BASIC_GET:
        get(ch, m);
        break;
    case AMQP_BASIC_ACK:
        settle(ch, m->id, m->as.basic_ack.delivery_tag, m->as.basic_ack.multiple, AMQP_VERDICT_ACK);
        break;
    case AMQP_BASIC_NACK:
        settle(ch, m->id, m->as.basic_nack.delivery_tag, m->as.basic_nack.multiple,
               negative(m->as.basic_nack.requeue));
        break;
    case AMQP_BASIC_REJECT:
        settle(ch, m->id, m->as.basic_reject.delivery_tag, false,
               negative(m->as.basic_reject.requeue));
        break;
    case AMQP_BASIC_RECOVER:
    case AMQP_BASIC_RECOVER_ASYNC:
        recover(ch, m);
        break;
    default: /* basic.cancel_ok of one we cancelled */
        break;
    }
}
