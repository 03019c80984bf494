#include "amqp/connection.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "amqp/handshake.h"
#include "base/error.h"
#include "base/wire.h"

#define HEARTBEATS_MISSED     2u
#define TICK_MIN_MS           500u
#define FRAME_MAX_BEFORE_TUNE 8192u /* of somebody who has not said who he is */
#define SETTLED_MAX           4096u /* of one record */
#define PART_MIN_BYTES        1024u /* of a frame that is not whole: less is kept until there is more */

void amqp_limits_default(struct amqp_limits *l) {
    *l = (struct amqp_limits){
        .frame_max = 131072,
        .channel_max = 2047,
        .heartbeat_s = 60,
        .message_bytes = 16u << 20,
        .asked_max = 4096,
        .asked_bytes = 32u << 20,
        .assembled_bytes = 64u << 20,
        .memory_bytes = 256u << 20,
        .partial_timeout_ms = 30000,
        .transaction_ops = 65536,
        .consumers = 65536,
        .handshake_timeout_ms = 10000,
        .close_timeout_ms = 15000,
    };
}

int amqp_connection_create(const struct amqp_host *host, void *context,
                           struct amqp_connection **ret) {
    struct amqp_connection *c = calloc(1, sizeof *c);
    if (c == NULL)
        return E_NOMEM;
    c->host = host;
    c->context = context;
    c->frame_max = host->limits.frame_max < FRAME_MAX_BEFORE_TUNE ? host->limits.frame_max
                                                                  : FRAME_MAX_BEFORE_TUNE;
    c->since_ms = c->heard_ms = host->now_ms(context);
    list_init(&c->dirty);
    list_init(&c->gone);
    *ret = c;
    return 0;
}

void amqp_connection_free(struct amqp_connection *c) {
    if (c == NULL)
        return;
    assert(amqp_connection_is_unused(c) && c->channel_count == 0);
    assert(c->assembled_bytes == 0 && !amqp_budget_waits(&c->holder));
    amqp_channels_reap(c);
    free(c->channels);
    free(c->settled);
    free(c->user);
    free(c->vhost);
    free(c->client_properties);
    free(c);
}

bool amqp_connection_ended(const struct amqp_connection *c) {
    return c->state == AMQP_ENDED;
}

bool amqp_connection_is_unused(const struct amqp_connection *c) {
    return c->state == AMQP_ENDED && c->asked == 0;
}

void amqp_connection_set_link(struct amqp_connection *c, void *link) {
    c->link = link;
}

void amqp_connection_set_address(struct amqp_connection *c, uint64_t address) {
    c->address = address;
}

void *amqp_connection_link(const struct amqp_connection *c) {
    return c->link;
}

void *amqp_connection_context(const struct amqp_connection *c) {
    return c->context;
}

struct span amqp_connection_user(const struct amqp_connection *c) {
    return c->user != NULL ? span_text(c->user) : span_of(NULL, 0);
}

struct span amqp_connection_vhost(const struct amqp_connection *c) {
    return c->vhost != NULL ? span_text(c->vhost) : span_of(NULL, 0);
}

/* ---- to the client ---- */

static void sent(struct amqp_connection *c, int error);

static struct buffer *output(struct amqp_connection *c) {
    if (c->state == AMQP_ENDED)
        return NULL;
    c->spoke = true;
    return c->host->out(c->context);
}

void amqp_send(struct amqp_connection *c, uint16_t channel, const struct amqp_method *m) {
    struct buffer *out = output(c);
    if (out != NULL)
        sent(c, amqp_method_write(out, channel, m));
}

void amqp_send_content(struct amqp_connection *c, uint16_t channel, const struct amqp_method *m,
                       struct span properties, struct span body) {
    struct buffer *out = output(c);
    if (out == NULL)
        return;
    int error = amqp_method_write(out, channel, m);
    if (error == 0)
        error = amqp_content_header_write(out, channel, body.size, properties);
    if (error == 0)
        error = amqp_body_write(out, channel, body, c->frame_max);
    sent(c, error);
}

/* ---- the end ---- */

/* Without memory for what was to be said nothing that follows would make sense to the client. */
static void end(struct amqp_connection *c) {
    if (c->state == AMQP_ENDED)
        return;
    c->state = AMQP_ENDED;
    if (!c->lost)
        c->host->ended(c->context);
}

/* What the client held is given back by one question. */
static void give_up(struct amqp_connection *c) {
    for (uint32_t i = 0; i < c->channel_capacity; i++) {
        struct amqp_channel *ch = c->channels[i];
        if (ch != NULL) {
            amqp_channel_release(ch, true);
            amqp_channel_detach(ch);
        }
    }
    amqp_budget_forget(c->host->budget, &c->holder);
    c->settled_count = 0;
    if (!c->session || c->closed)
        return;
    struct amqp_op *op = amqp_op_create(AMQP_OP_CLOSE, 0);
    if (op == NULL)
        return; /* the host sees to it when it frees the connection */
    c->closed = true;
    amqp_ask(c, op);
}

static void sent(struct amqp_connection *c, int error) {
    if (error == 0)
        return;
    end(c);
    give_up(c);
}

static void send_close(struct amqp_connection *c, enum amqp_code code, uint32_t method,
                       struct span text) {
    struct amqp_method m = {AMQP_CONNECTION_CLOSE,
                            .as.connection_close = {.reply_code = (uint16_t)code,
                                                    .reply_text = text,
                                                    .failed_class = amqp_class_of(method),
                                                    .failed_method = amqp_number_of(method)}};
    amqp_send(c, 0, &m);
}

/* The client hangs up: one that sees the end of the stream beside its close-ok may take it for a failure. */
static void await_hang_up(struct amqp_connection *c) {
    c->state = AMQP_CLOSING;
    c->since_ms = c->host->now_ms(c->context);
}

void amqp_fail(struct amqp_connection *c, enum amqp_code code, uint32_t method, const char *format,
               ...) {
    if (c->state >= AMQP_LEAVING)
        return;
    char text[UINT8_MAX + 1];
    int size = snprintf(text, sizeof text, "%s - ", amqp_code_name(code));
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text + size, sizeof text - (size_t)size, format, arguments);
    va_end(arguments);
    bool understood =
        c->state >= AMQP_AWAITS_TUNE_OK || (c->state == AMQP_AWAITS_LOGIN && c->can_fail_login);
    if (understood)
        send_close(c, code, method, span_text(text));
    if (c->state < AMQP_LEAVING)
        await_hang_up(c);
    give_up(c);
    if (!understood)
        end(c);
}

void amqp_fail_nomem(struct amqp_connection *c) {
    amqp_fail(c, AMQP_INTERNAL_ERROR, 0, "out of memory");
}

void amqp_connection_shut_down(struct amqp_connection *c, const char *reason) {
    amqp_fail(c, AMQP_CONNECTION_FORCED, 0, "%s", reason);
}

void amqp_connection_lost(struct amqp_connection *c) {
    c->lost = true;
    c->state = AMQP_ENDED;
    give_up(c);
}

/* ---- to the broker and back ---- */

void amqp_ask(struct amqp_connection *c, struct amqp_op *op) {
    op->connection = c;
    c->asked++;
    c->asked_bytes += op->bytes;
    amqp_budget_leaves(c->host->budget, op->bytes);
    c->host->ask(c->context, op);
}

void amqp_settle(struct amqp_connection *c, uint64_t message, enum amqp_verdict verdict) {
    if (c->closed || message == 0)
        return;
    if (c->settled_count == c->settled_capacity) {
        size_t capacity = c->settled_capacity > 0 ? 2 * c->settled_capacity : 16;
        struct amqp_settlement *grown = realloc(c->settled, capacity * sizeof *grown);
        if (grown == NULL) {
            amqp_fail_nomem(c);
            return;
        }
        c->settled = grown;
        c->settled_capacity = capacity;
    }
    c->settled[c->settled_count++] = (struct amqp_settlement){message, verdict};
    if (c->settled_count == SETTLED_MAX)
        amqp_settle_now(c);
}

void amqp_settle_now(struct amqp_connection *c) {
    if (c->settled_count == 0)
        return;
    struct amqp_op *op = amqp_op_create(AMQP_OP_SETTLE, 0);
    if (op == NULL) {
        amqp_fail_nomem(c);
        return;
    }
    op->in.settle.items = c->settled;
    op->in.settle.count = c->settled_count;
    c->settled = NULL;
    c->settled_count = c->settled_capacity = 0;
    amqp_ask(c, op);
}

/* An answer to a question of the connection itself. */
static void own_answer(struct amqp_connection *c, struct amqp_op *op) {
    if (op->kind == AMQP_OP_LOGIN || op->kind == AMQP_OP_OPEN) {
        amqp_handshake_answered(c, op);
    } else if (op->kind == AMQP_OP_CLOSE && c->state == AMQP_LEAVING) {
        amqp_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE_OK});
        await_hang_up(c);
    } else if (op->code != 0) {
        amqp_fail(c, op->code, 0, "%s", op->text != NULL ? op->text : "");
    }
}

void amqp_connection_answer(struct amqp_op *op) {
    struct amqp_connection *c = op->connection;
    assert(c->asked > 0);
    c->asked_bytes -= op->bytes;
    amqp_budget_left(c->host->budget, op->bytes);
    if (op->channel != NULL) {
        amqp_channel_answered(op->channel, op);
    } else {
        own_answer(c, op);
        amqp_op_free(op);
    }
    c->asked--; /* last, so that nothing above finds itself unused */
    if (amqp_connection_is_unused(c))
        c->host->unused(c->context);
}

void amqp_connection_flush(struct amqp_connection *c) {
    for (struct list_node *n; (n = list_first(&c->dirty)) != NULL;)
        amqp_channel_confirm(CONTAINER_OF(n, struct amqp_channel, dirty));
    amqp_settle_now(c);
    amqp_channels_reap(c);
}

/* ---- time ---- */

static uint64_t tick_every_ms(const struct amqp_connection *c) {
    uint64_t half = (uint64_t)c->heartbeat_s * 500;
    return half > TICK_MIN_MS ? half : TICK_MIN_MS;
}

uint64_t amqp_connection_due_ms(const struct amqp_connection *c) {
    const struct amqp_limits *l = &c->host->limits;
    if (c->state < AMQP_RUNNING)
        return c->since_ms + l->handshake_timeout_ms;
    if (c->state == AMQP_CLOSING)
        return c->since_ms + l->close_timeout_ms;
    if (c->state != AMQP_RUNNING)
        return AMQP_NEVER;
    uint64_t budget_ms = amqp_pressure_due_ms(c);
    return c->heartbeat_s > 0 && c->tick_ms < budget_ms ? c->tick_ms : budget_ms;
}

/* Since it was heard last it may also be us who did not listen. */
static void beat(struct amqp_connection *c, uint64_t now_ms) {
    if (amqp_connection_stalled(c))
        c->heard_ms = now_ms;
    if (c->silence_s > 0 &&
        now_ms - c->heard_ms > (uint64_t)c->silence_s * 1000 * HEARTBEATS_MISSED) {
        end(c);
        give_up(c);
        return;
    }
    if (!c->spoke) {
        struct buffer *out = output(c);
        if (out != NULL)
            sent(c, amqp_heartbeat_write(out));
    }
    c->spoke = false;
    c->tick_ms = now_ms + tick_every_ms(c);
}

void amqp_connection_tick(struct amqp_connection *c) {
    uint64_t now_ms = c->host->now_ms(c->context);
    if (now_ms < amqp_connection_due_ms(c))
        return;
    if (c->state != AMQP_RUNNING) {
        end(c);
        give_up(c);
        return;
    }
    if (c->heartbeat_s > 0 && now_ms >= c->tick_ms)
        beat(c, now_ms);
    if (c->state == AMQP_RUNNING && now_ms >= amqp_pressure_due_ms(c))
        amqp_pressure_tick(c, now_ms);
}

/* ---- channel 0 ---- */

/* Again, too: threads of one client may close it side by side. */
static void client_closes(struct amqp_connection *c) {
    if (c->state == AMQP_LEAVING)
        return;
    if (c->state == AMQP_CLOSING || !c->session) {
        amqp_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_CLOSE_OK});
        if (c->state != AMQP_CLOSING)
            end(c);
        return;
    }
    c->state = AMQP_LEAVING;
    give_up(c);
    if (!c->closed) /* for want of memory */
        end(c);
}

static void running_method(struct amqp_connection *c, const struct amqp_method *m) {
    if (m->id == AMQP_CONNECTION_UPDATE_SECRET)
        amqp_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_UPDATE_SECRET_OK});
    else
        amqp_fail(c, AMQP_CHANNEL_ERROR, m->id, "unexpected method %s in connection state running",
                  amqp_method_text(m->id));
}

static void channel_0(struct amqp_connection *c, const struct amqp_frame *frame) {
    if (frame->type != AMQP_FRAME_METHOD) {
        if (c->state < AMQP_LEAVING)
            amqp_fail(c, AMQP_UNEXPECTED_FRAME, 0, "a content on channel 0");
        return;
    }
    struct amqp_method m;
    int error = amqp_method_read(frame->payload, &m);
    if (error == 0 && m.id == AMQP_CONNECTION_CLOSE) {
        client_closes(c);
    } else if (c->state >= AMQP_LEAVING) {
        if (error == 0 && m.id == AMQP_CONNECTION_CLOSE_OK)
            end(c);
    } else if (error == E_UNSUPPORTED) {
        amqp_fail(c, AMQP_COMMAND_INVALID, m.id, "unknown method");
    } else if (error != 0) {
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "cannot decode a method");
    } else if (c->state < AMQP_RUNNING) {
        amqp_handshake_method(c, &m);
    } else {
        running_method(c, &m);
    }
}

/* ---- input ---- */

static struct amqp_channel *channel_of(const struct amqp_connection *c, uint16_t number) {
    return number < c->channel_capacity ? c->channels[number] : NULL;
}

/* There is no such channel yet, or no longer. */
static void frame_without_channel(struct amqp_connection *c, const struct amqp_frame *frame) {
    struct amqp_method m = {0};
    int error = frame->type == AMQP_FRAME_METHOD ? amqp_method_read(frame->payload, &m) : E_INVALID;
    if (error == 0 && m.id == AMQP_CHANNEL_OPEN)
        amqp_channel_start(c, frame->channel);
    else if (error != 0 || m.id != AMQP_CHANNEL_CLOSE_OK)
        amqp_fail(c, AMQP_CHANNEL_ERROR, m.id, "expected 'channel.open'");
}

/* False: not taken. */
static bool take_frame(struct amqp_connection *c, const struct amqp_frame *frame) {
    if (frame->type == AMQP_FRAME_HEARTBEAT) {
        if (frame->channel != 0)
            amqp_fail(c, AMQP_UNEXPECTED_FRAME, 0, "a heartbeat on channel %u", frame->channel);
        return true;
    }
    if (frame->channel == 0) {
        channel_0(c, frame);
        return true;
    }
    if (c->state >= AMQP_LEAVING)
        return true;
    if (c->state != AMQP_RUNNING) {
        amqp_fail(c, AMQP_CHANNEL_ERROR, 0, "channel %u before 'connection.open'", frame->channel);
        return true;
    }
    struct amqp_channel *ch = channel_of(c, frame->channel);
    if (ch != NULL)
        return amqp_channel_frame(ch, frame);
    frame_without_channel(c, frame);
    return true;
}

static void bad_frame(struct amqp_connection *c, int64_t error) {
    if (c->state >= AMQP_LEAVING)
        end(c); /* and nobody can find the next frame */
    else if (error == E_TOO_LARGE)
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "a frame is larger than the negotiated %u bytes",
                  c->frame_max);
    else if (error == E_UNSUPPORTED)
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "unknown type of frame");
    else
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "a frame does not end as it should");
}

/*
 * A body's frame that is not whole: what is there of it is put where it belongs at once, and not kept and copied
 * again with all that comes behind it. Its last byte stays, so that what ends the frame is read as a frame.
 * 0: nothing was taken.
 */
static size_t take_part(struct amqp_connection *c, struct span bytes) {
    size_t header = c->part_left == 0 ? AMQP_FRAME_HEADER : 0;
    if (c->state != AMQP_RUNNING || bytes.size < header + PART_MIN_BYTES ||
        (header > 0 && bytes.data[0] != AMQP_FRAME_BODY))
        return 0;
    uint16_t number = header > 0 ? wire_load_u16(bytes.data + 1) : c->part_channel;
    uint32_t left = header > 0 ? wire_load_u32(bytes.data + 3) : c->part_left;
    size_t have = bytes.size - header;
    struct span part = span_of(bytes.data + header, have < left ? have : left - 1);
    struct amqp_channel *ch = channel_of(c, number);
    if (ch == NULL || !amqp_content_part(ch, part, left))
        return 0;
    c->part_channel = number;
    c->part_left = left - (uint32_t)part.size;
    return header + part.size;
}

/* As amqp_frame_read; what is left of one whose beginning was taken is a frame too. */
static int64_t next_frame(struct amqp_connection *c, struct span bytes, struct amqp_frame *ret) {
    uint32_t size = c->part_left;
    if (size == 0)
        return amqp_frame_read(bytes, c->frame_max, ret);
    if (bytes.size <= size)
        return 0;
    if (bytes.data[size] != AMQP_FRAME_END)
        return E_INVALID;
    *ret = (struct amqp_frame){AMQP_FRAME_BODY, c->part_channel, span_of(bytes.data, size)};
    return (int64_t)size + 1;
}

static size_t feed_frames(struct amqp_connection *c, struct span bytes) {
    size_t used = 0;
    while (c->state != AMQP_ENDED && !amqp_connection_stalled(c)) {
        struct span rest = span_of(bytes.data + used, bytes.size - used);
        struct amqp_frame frame;
        int64_t size = next_frame(c, rest, &frame);
        if (size < 0) {
            bad_frame(c, size);
            return bytes.size;
        }
        if (size == 0) {
            used += take_part(c, rest);
            break;
        }
        if (!take_frame(c, &frame))
            break;
        c->part_left = 0;
        used += (size_t)size;
    }
    if (!amqp_budget_waits(&c->holder))
        amqp_let_others(c); /* what it waited for may have gone meanwhile */
    return c->state == AMQP_ENDED ? bytes.size : used;
}

size_t amqp_connection_feed(struct amqp_connection *c, struct span bytes) {
    size_t used = 0;
    c->heard_ms = c->host->now_ms(c->context);
    if (c->state == AMQP_AWAITS_HEADER)
        used = amqp_handshake_header(c, bytes);
    if (c->state == AMQP_AWAITS_HEADER)
        return used;
    if (c->state == AMQP_ENDED)
        return bytes.size;
    return used + feed_frames(c, span_of(bytes.data + used, bytes.size - used));
}

/* ---- from the broker ---- */

void amqp_connection_cancelled(struct amqp_connection *c, uint16_t channel, uint64_t consumer) {
    struct amqp_channel *ch = channel_of(c, channel);
    struct amqp_consumer *k = NULL;
    for (uint32_t i = 0; ch != NULL && i < ch->consumer_count && k == NULL; i++) {
        if (ch->consumers[i]->id == consumer)
            k = ch->consumers[i];
    }
    if (k == NULL)
        return;
    struct amqp_method m = {AMQP_BASIC_CANCEL,
                            .as.basic_cancel = {span_of(k->tag, k->tag_size), true}};
    if (c->can_cancel && ch->state == AMQP_CHANNEL_OPEN_)
        amqp_send(c, channel, &m);
    amqp_consumer_remove(ch, k);
}

void amqp_connection_deliver(struct amqp_connection *c, const struct amqp_delivery *d) {
    struct amqp_channel *ch = channel_of(c, d->channel);
    if (ch != NULL)
        amqp_channel_deliver(ch, d);
    else
        amqp_settle(c, d->message, AMQP_VERDICT_RETURN);
}
