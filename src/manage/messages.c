/*
 * POST .../publish and .../get.
 *
 * A get is a session of its own: GET, GET, ..., then one SETTLE of all of them, then SESSION_CLOSE. The answer
 * is made before they are settled, as long as the bodies are there, and sent when that is durable. Should
 * the program end in between, they are back in their places.
 */
#include <sodium.h>
#include <stdlib.h>

#include "amqp/codec.h"
#include "amqp/message.h"
#include "base/error.h"
#include "manage/calls.h"
#include "manage/manager.h"

#define DEFAULT_EXCHANGE "amq.default"
#define GET_MAX          1000u
#define BODY_MAX         ((size_t)1 << 30)
#define PROPERTIES_MAX   ((size_t)4 << 20)

/* ---- publish ---- */

/* The payload: text, or base64. data NULL: neither, or no memory. */
static struct span read_payload(struct call *c) {
    struct span text = member_text(c->tree, "payload");
    if (!json_is_string(json_object_get(c->tree, "payload")))
        return span_of(NULL, 0);
    if (!span_is(member_text(c->tree, "payload_encoding"), "base64"))
        return text;
    uint8_t *bytes = call_alloc(c, text.size + 1);
    size_t size;
    bool good = bytes != NULL &&
                sodium_base642bin(bytes, text.size + 1, (const char *)text.data, text.size, "\r\n ",
                                  &size, NULL, sodium_base64_VARIANT_ORIGINAL) == 0;
    return good ? span_of(bytes, size) : span_of(NULL, 0);
}

static void published(struct call *c) {
    const struct exchange_publish *p = &c->request.r.in.amqp_publish;
    if (!manage_refused(c))
        manage_send(c, 200, json_pack("{s:b}", "routed", p->routed > 0));
}

static int fill_message(struct call *c, struct amqp_publish *from, struct amqp_message *ret) {
    struct manage *m = c->own;
    struct span *keys = call_alloc(c, AMQP_KEYS_MAX * sizeof *keys);
    if (keys == NULL)
        return E_NOMEM;
    int error = properties_from_json(json_object_get(c->tree, "properties"), &m->text);
    if (error == 0)
        error = amqp_properties_read(buffer_span(&m->text), &from->properties);
    if (error != 0)
        return error;
    if (!amqp_message_keys_fit(from->properties.headers))
        return E_INVALID;
    from->encoded = buffer_span(&m->text);
    /* What is changed of the properties (BCC) goes into the list that this call does not use. */
    return amqp_message_in(from, &m->lists[LIST_QUEUE], keys, ret);
}

void manage_publish(struct call *c) {
    if (manage_of(c) == NULL || !manage_body(c))
        return;
    struct span exchange = call_capture(c, 1);
    if (span_is(exchange, DEFAULT_EXCHANGE))
        exchange = span_text("");
    if (!manage_allowed(c, RIGHT_WRITE, call_capture(c, 0), call_capture(c, 1)))
        return;
    struct amqp_publish from = {.exchange = exchange,
                                .routing_key = member_text(c->tree, "routing_key"),
                                .body = read_payload(c)};
    struct amqp_message message;
    if (from.body.data == NULL || from.routing_key.size > UINT8_MAX ||
        fill_message(c, &from, &message) != 0) {
        call_invalid(c, "",
                     "expected properties, routing_key, payload and payload_encoding "
                     "(string or base64)");
        return;
    }
    struct request *r = call_request(c, REQUEST_AMQP_PUBLISH);
    r->name = exchange;
    r->vhost = r->in.amqp_publish.vhost = call_capture(c, 0);
    r->in.amqp_publish.message = message;
    manage_submit(c, false, published);
}

/* ---- get ---- */

enum ack_mode { ACK_REQUEUE, ACK_DROP, REJECT_REQUEUE, REJECT_DROP };

static bool read_mode(const json_t *tree, enum ack_mode *ret) {
    static const char *const names[] = {"ack_requeue_true", "ack_requeue_false",
                                        "reject_requeue_true", "reject_requeue_false"};
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (span_is(member_text(tree, "ackmode"), names[i])) {
            *ret = (enum ack_mode)i;
            return true;
        }
    }
    return false;
}

static void closed(struct call *c) {
    struct manage *m = c->own;
    json_t *found = m->found;
    m->found = NULL;
    manage_send(c, 200, found);
}

static void close_session(struct call *c) {
    struct manage *m = c->own;
    call_request(c, REQUEST_SESSION_CLOSE)->session = m->session;
    manage_submit(c, true, closed);
}

static void settled(struct call *c) {
    if (!manage_refused(c))
        close_session(c);
}

/* m->text holds the ids of what was got. */
static void settle(struct call *c) {
    struct manage *m = c->own;
    enum ack_mode mode = REJECT_REQUEUE; /* it was read before: known */
    size_t count = m->text.size / sizeof(struct settle);
    struct settle *items = (void *)m->text.data;
    (void)read_mode(c->tree, &mode);
    for (size_t i = 0; i < count; i++)
        items[i].verdict = mode == ACK_DROP      ? SETTLE_ACK
                           : mode == REJECT_DROP ? SETTLE_REJECT
                                                 : SETTLE_REQUEUE;
    struct request *r = call_request(c, REQUEST_SETTLE);
    r->session = m->session;
    r->in.settle = (struct settle_list){.items = items, .count = (uint32_t)count};
    manage_submit(c, true, settled);
}

static void set_payload(struct call *c, json_t *o, struct span body) {
    int64_t truncate = member_integer(c->tree, "truncate");
    struct span shown = body;
    if (json_object_get(c->tree, "truncate") != NULL && truncate >= 0 &&
        (uint64_t)truncate < body.size)
        shown.size = (size_t)truncate;
    bool base64 = span_is(member_text(c->tree, "encoding"), "base64");
    json_t *text =
        base64 ? NULL : json_stringn(shown.size > 0 ? (const char *)shown.data : "", shown.size);
    json_object_set_new(o, "payload_encoding", json_string(text != NULL ? "string" : "base64"));
    if (text == NULL) {
        char *room = malloc(sodium_base64_encoded_len(shown.size, sodium_base64_VARIANT_ORIGINAL));
        if (room != NULL) {
            sodium_bin2base64(room,
                              sodium_base64_encoded_len(shown.size, sodium_base64_VARIANT_ORIGINAL),
                              shown.data, shown.size, sodium_base64_VARIANT_ORIGINAL);
            text = json_string(room);
        }
        free(room);
    }
    json_object_set_new(o, "payload", text);
}

static json_t *delivery_json(struct call *c, const struct delivery *d, uint64_t left) {
    struct buffer bytes, properties;
    struct stored_message stored;
    struct amqp_delivery out;
    json_t *o = NULL;
    buffer_init(&bytes, BODY_MAX);
    buffer_init(&properties, PROPERTIES_MAX);
    int error = engine_read_message(c->loop->api->options.engine, d->stored_id, d->address, &bytes,
                                    &stored);
    if (error == 0)
        error = amqp_message_out(&stored, d, &properties, &out);
    if (error == 0) {
        o = json_pack("{s:I,s:b,s:o,s:o,s:I}", "payload_bytes", (json_int_t)out.body.size,
                      "redelivered", (int)d->redelivered, "exchange", text_to_json(out.exchange),
                      "routing_key", text_to_json(out.routing_key), "message_count",
                      (json_int_t)left);
        json_t *shown = properties_to_json(out.encoded);
        if (json_object_size(shown) == 0) { /* as RabbitMQ shows that there are none */
            json_decref(shown);
            shown = json_array();
        }
        json_object_set_new(o, "properties", shown);
        set_payload(c, o, out.body);
    }
    buffer_release(&bytes);
    buffer_release(&properties);
    return o;
}

static void get_next(struct call *c);

static void got(struct call *c) {
    struct manage *m = c->own;
    struct request *r = &c->request.r;
    struct delivery *d = &r->out.delivery;
    if (m->text.size == 0 && manage_refused(c))
        return;
    if (r->refusal != REFUSAL_NONE || d->kind != DELIVERY_MESSAGE) {
        settle(c);
        return;
    }
    struct settle one = {.message = d->message};
    json_t *o = delivery_json(c, d, r->count);
    free(d->origin);
    d->origin = NULL;
    if (o != NULL)
        json_array_append_new(m->found, o);
    if (buffer_append(&m->text, &one, sizeof one) != 0 ||
        m->text.size / sizeof one >= (size_t)m->asked)
        settle(c);
    else
        get_next(c);
}

static void get_next(struct call *c) {
    struct manage *m = c->own;
    struct request *r = call_request(c, REQUEST_BASIC_GET);
    r->session = m->session;
    r->vhost = call_capture(c, 0);
    r->name = call_capture(c, 1);
    r->in.get.channel = 1;
    manage_submit(c, true, got);
}

/* Numbers that no AMQP connection has: theirs end in the number of a loop, of which there are fewer. */
static uint64_t new_session(struct manager *m) {
    return UINT64_C(1) << 63 | (atomic_fetch_add(&m->next_session, 1) + 1) << 8 | 0xff;
}

void manage_get(struct call *c) {
    enum ack_mode mode;
    struct manage *m = manage_of(c);
    if (m == NULL || !manage_body(c) ||
        !manage_allowed(c, RIGHT_READ, call_capture(c, 0), call_capture(c, 1)))
        return;
    int64_t count = member_integer(c->tree, "count");
    if (!read_mode(c->tree, &mode) || count < 1) {
        call_invalid(c, "",
                     "expected count, ackmode (ack_requeue_true, ack_requeue_false, "
                     "reject_requeue_true, reject_requeue_false) and encoding");
        return;
    }
    m->asked = count < GET_MAX ? (uint32_t)count : GET_MAX;
    m->found = json_array();
    m->session = new_session(manage_manager(c));
    if (m->found == NULL)
        call_problem(c, PROBLEM_INTERNAL, NULL);
    else
        get_next(c);
}
