#include "amqp/handshake.h"

#include <stdio.h>
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "amqp/sasl.h"
#include "base/amqp_table.h"
#include "base/error.h"

#define PROTOCOL_BYTES        8u
#define SERVER_PROPERTIES_MAX 4096u
#define PROPERTIES_KEPT_BYTES 2048u /* of a client; of one that says more nothing is shown */
/*
 * kombu, and so Celery, takes a broker of another name to be one whose basic.qos with global=true is for the
 * whole connection (qos_semantics_matches_spec), and then its changes of prefetch never reach its consumers.
 */
#define PRODUCT         "RabbitMQ"
#define PRODUCT_VERSION "3.10.8"

static const uint8_t PROTOCOL[PROTOCOL_BYTES] = {'A', 'M', 'Q', 'P', 0, 0, 9, 1};

/* What stands in server-properties.capabilities. */
static const char *const CAPABILITIES[] = {
    "publisher_confirms",           "exchange_exchange_bindings", "basic.nack",
    "consumer_cancel_notify",       "connection.blocked",         "consumer_priorities",
    "authentication_failure_close", "per_consumer_qos",           "direct_reply_to",
};

/* ---- start ---- */

static int server_properties(const struct amqp_connection *c, struct buffer *out) {
    struct amqp_table_out t;
    amqp_table_begin(&t, out);
    size_t inner = amqp_put_open(&t, "capabilities", 'F');
    for (size_t i = 0; i < ARRAY_LENGTH(CAPABILITIES); i++)
        amqp_put_bool(&t, CAPABILITIES[i], true);
    amqp_put_close(&t, inner);
    amqp_put_text(&t, "product", span_text(PRODUCT));
    amqp_put_text(&t, "version", span_text(PRODUCT_VERSION));
    amqp_put_text(&t, "platform", span_text("Sluice"));
    amqp_put_text(&t, "platform_version", span_text(c->host->version));
    amqp_put_text(&t, "information", span_text("AMQP 0-9-1 with the extensions of RabbitMQ"));
    return amqp_table_end(&t);
}

static void send_start(struct amqp_connection *c) {
    struct buffer properties;
    buffer_init(&properties, SERVER_PROPERTIES_MAX);
    if (server_properties(c, &properties) == 0) {
        const char *mechanisms = c->host->external ? AMQP_MECHANISMS_EXTERNAL : AMQP_MECHANISMS;
        struct amqp_method m = {
            AMQP_CONNECTION_START,
            .as.connection_start = {.version_major = 0,
                                    .version_minor = 9,
                                    .server_properties =
                                        span_of(properties.data + 4, properties.size - 4),
                                    .mechanisms = span_text(mechanisms),
                                    .locales = span_text("en_US")}};
        amqp_send(c, 0, &m);
        if (c->state == AMQP_AWAITS_HEADER)
            c->state = AMQP_AWAITS_START_OK;
    } else {
        amqp_fail_nomem(c);
    }
    buffer_release(&properties);
}

size_t amqp_handshake_header(struct amqp_connection *c, struct span bytes) {
    size_t size = bytes.size < PROTOCOL_BYTES ? bytes.size : PROTOCOL_BYTES;
    if (memcmp(bytes.data, PROTOCOL, size) != 0) {
        struct buffer *out = c->host->out(c->context);
        if (out != NULL && buffer_append(out, PROTOCOL, PROTOCOL_BYTES) != 0)
            buffer_clear(out);
        amqp_fail(c, AMQP_FRAME_ERROR, 0, "another protocol");
        return bytes.size;
    }
    if (size < PROTOCOL_BYTES)
        return 0;
    send_start(c);
    return PROTOCOL_BYTES;
}

/* ---- start-ok ---- */

static bool capability(struct span properties, const char *name) {
    struct amqp_field capabilities, f;
    return amqp_table_find(properties, "capabilities", &capabilities) && capabilities.type == 'F' &&
           amqp_table_find(capabilities.as.bytes, name, &f) && f.type == 't' && f.as.boolean;
}

static uint8_t *copy(uint8_t *to, struct span *s) {
    if (s->size > 0)
        memcpy(to, s->data, s->size);
    s->data = to;
    return to + s->size;
}

static void ask_login(struct amqp_connection *c, const struct amqp_login *login) {
    struct amqp_op *op = amqp_op_create(AMQP_OP_LOGIN, login->user.size + login->password.size);
    if (op == NULL) {
        amqp_fail_nomem(c);
        return;
    }
    op->in.login.user = login->user;
    op->in.login.password = login->password;
    op->in.login.external = login->external;
    copy(copy(amqp_op_room(op), &op->in.login.user), &op->in.login.password);
    c->state = AMQP_AWAITS_LOGIN;
    amqp_ask(c, op);
}

/* What it says about itself, to be shown. */
static void keep_properties(struct amqp_connection *c, const struct amqp_connection_start_ok *m) {
    struct span p = m->client_properties;
    snprintf(c->mechanism, sizeof c->mechanism, "%.*s", SPAN_ARG(m->mechanism));
    c->client_properties = p.size > 0 && p.size <= PROPERTIES_KEPT_BYTES ? malloc(p.size) : NULL;
    if (c->client_properties != NULL) {
        memcpy(c->client_properties, p.data, p.size);
        c->client_properties_size = (uint32_t)p.size;
    }
}

static void start_ok(struct amqp_connection *c, const struct amqp_connection_start_ok *m) {
    keep_properties(c, m);
    c->can_cancel = capability(m->client_properties, "consumer_cancel_notify");
    c->can_block = capability(m->client_properties, "connection.blocked");
    c->can_fail_login = capability(m->client_properties, "authentication_failure_close");
    struct amqp_login login;
    int error = amqp_login_read(m->mechanism, m->response, &login);
    if (error == E_UNSUPPORTED || (error == 0 && login.external && !c->host->external)) {
        c->state = AMQP_AWAITS_TUNE_OK; /* a client that names a mechanism understands a close */
        amqp_fail(c, AMQP_COMMAND_INVALID, AMQP_CONNECTION_START_OK,
                  "unknown authentication mechanism '%.*s'", SPAN_ARG(m->mechanism));
    } else if (error != 0) {
        amqp_fail(c, AMQP_SYNTAX_ERROR, AMQP_CONNECTION_START_OK, "malformed response");
    } else {
        ask_login(c, &login);
    }
}

static void send_tune(struct amqp_connection *c) {
    const struct amqp_limits *l = &c->host->limits;
    struct amqp_method m = {AMQP_CONNECTION_TUNE,
                            .as.connection_tune = {.channel_max = l->channel_max,
                                                   .frame_max = l->frame_max,
                                                   .heartbeat = l->heartbeat_s}};
    c->state = AMQP_AWAITS_TUNE_OK;
    amqp_send(c, 0, &m);
}

static void logged_in(struct amqp_connection *c, struct amqp_op *op) {
    if (c->state != AMQP_AWAITS_LOGIN)
        return;
    if (op->code != 0) {
        amqp_fail(c, op->code, 0, "%s", op->text != NULL ? op->text : "");
        return;
    }
    c->user = op->name;
    op->name = NULL;
    send_tune(c);
}

/* ---- tune-ok ---- */

/* The smaller of both, or the greater if one is 0. */
static uint16_t agree_heartbeat(uint16_t ours, uint16_t theirs) {
    if (ours == 0 || theirs == 0)
        return ours > theirs ? ours : theirs;
    return ours < theirs ? ours : theirs;
}

static void tune_ok(struct amqp_connection *c, const struct amqp_connection_tune_ok *m) {
    const struct amqp_limits *l = &c->host->limits;
    if (m->frame_max != 0 && m->frame_max < AMQP_FRAME_MIN) {
        amqp_fail(c, AMQP_NOT_ALLOWED, AMQP_CONNECTION_TUNE_OK,
                  "negotiated frame_max = %u is lower than the minimum allowed value (%u)",
                  m->frame_max, AMQP_FRAME_MIN);
        return;
    }
    if (m->frame_max == 0 || m->frame_max > l->frame_max) {
        amqp_fail(c, AMQP_NOT_ALLOWED, AMQP_CONNECTION_TUNE_OK,
                  "negotiated frame_max = %u is higher than the maximum allowed value (%u)",
                  m->frame_max, l->frame_max);
        return;
    }
    if (m->channel_max == 0 || m->channel_max > l->channel_max) {
        amqp_fail(c, AMQP_NOT_ALLOWED, AMQP_CONNECTION_TUNE_OK,
                  "negotiated channel_max = %u is higher than the maximum allowed value (%u)",
                  m->channel_max, l->channel_max);
        return;
    }
    c->frame_max = m->frame_max;
    c->channel_max = m->channel_max;
    c->heartbeat_s = agree_heartbeat(l->heartbeat_s, m->heartbeat);
    c->silence_s = m->heartbeat; /* clients mean what they say here: 0 is to be left in peace */
    c->state = AMQP_AWAITS_OPEN;
}

/* ---- open ---- */

static void ask_open(struct amqp_connection *c, const struct amqp_connection_open *m) {
    c->vhost = span_dup(m->virtual_host);
    struct amqp_op *op = amqp_op_create(AMQP_OP_OPEN, 0);
    if (c->vhost == NULL || op == NULL) {
        amqp_op_free(op);
        amqp_fail_nomem(c);
        return;
    }
    op->method.id = AMQP_CONNECTION_OPEN;
    op->method.as.connection_open.virtual_host = span_text(c->vhost);
    c->state = AMQP_OPENING;
    amqp_ask(c, op);
}

static void opened(struct amqp_connection *c, struct amqp_op *op) {
    c->session = op->code == 0;
    if (c->state != AMQP_OPENING) {
        struct amqp_op *close = c->session ? amqp_op_create(AMQP_OP_CLOSE, 0) : NULL;
        if (close != NULL) {
            c->closed = true;
            amqp_ask(c, close);
        }
        return;
    }
    if (op->code != 0) {
        amqp_fail(c, op->code, AMQP_CONNECTION_OPEN, "%s", op->text != NULL ? op->text : "");
        return;
    }
    c->state = AMQP_RUNNING;
    c->tick_ms = c->host->now_ms(c->context) + (uint64_t)c->heartbeat_s * 500;
    amqp_send(c, 0, &(struct amqp_method){.id = AMQP_CONNECTION_OPEN_OK});
}

/* ---- */

void amqp_handshake_answered(struct amqp_connection *c, struct amqp_op *op) {
    if (op->kind == AMQP_OP_LOGIN)
        logged_in(c, op);
    else
        opened(c, op);
}

void amqp_handshake_method(struct amqp_connection *c, const struct amqp_method *m) {
    if (c->state == AMQP_AWAITS_START_OK && m->id == AMQP_CONNECTION_START_OK)
        start_ok(c, &m->as.connection_start_ok);
    else if (c->state == AMQP_AWAITS_TUNE_OK && m->id == AMQP_CONNECTION_TUNE_OK)
        tune_ok(c, &m->as.connection_tune_ok);
    else if (c->state == AMQP_AWAITS_OPEN && m->id == AMQP_CONNECTION_OPEN)
        ask_open(c, &m->as.connection_open);
    else
        amqp_fail(c, AMQP_COMMAND_INVALID, m->id, "unexpected method %s during the handshake",
                  amqp_method_text(m->id));
}
