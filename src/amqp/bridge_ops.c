#include "amqp/bridge_ops.h"

#include <stdlib.h>
#include <sys/random.h>

#include "amqp/connection_state.h"
#include "amqp/server.h"
#include "base/error.h"

#define MADE_UP_PREFIX "amq.gen-"
#define MADE_UP_DIGITS 22u

/* ---- what the engine's refusals are called here ---- */

static const struct {
    enum refusal refusal;
    enum amqp_code code;
} codes[] = {
    {REFUSAL_NOT_FOUND, AMQP_NOT_FOUND},           {REFUSAL_REFERENCE, AMQP_NOT_FOUND},
    {REFUSAL_INVALID, AMQP_PRECONDITION_FAILED},   {REFUSAL_CONFLICT, AMQP_PRECONDITION_FAILED},
    {REFUSAL_TOO_LARGE, AMQP_PRECONDITION_FAILED}, {REFUSAL_LIMIT, AMQP_NOT_ALLOWED},
    {REFUSAL_DISK_FULL, AMQP_RESOURCE_ERROR},      {REFUSAL_BUSY, AMQP_RESOURCE_ERROR},
    {REFUSAL_STOPPING, AMQP_CONNECTION_FORCED},
};

static void refuse(struct amqp_op *op, const struct request *r, const char *what,
                   struct span name) {
    enum amqp_code code = AMQP_INTERNAL_ERROR;
    for (size_t i = 0; i < ARRAY_LENGTH(codes); i++) {
        if (codes[i].refusal == r->refusal)
            code = codes[i].code;
    }
    struct span vhost = amqp_connection_vhost(op->connection);
    if (code == AMQP_NOT_FOUND)
        amqp_op_refuse(op, code, "no %s '%.*s' in vhost '%.*s'", what, SPAN_ARG(name),
                       SPAN_ARG(vhost));
    else
        amqp_op_refuse(op, code, "%s",
                       r->error_detail != NULL ? r->error_detail : refusal_name(r->refusal));
}

static void not_implemented(struct amqp_op *op) {
    amqp_op_refuse(op, AMQP_NOT_IMPLEMENTED, "%s", amqp_method_name(op->method.id));
}

/* ---- who, and where ---- */

static void login(struct amqp_op *op) {
    const struct amqp_peer *peer = amqp_server_peer(op->connection);
    struct span user = op->in.login.user;
    bool guest = span_is(user, "guest") && span_is(op->in.login.password, "guest");
    if (!guest || !peer->loopback || op->in.login.external)
        amqp_op_refuse(op, AMQP_ACCESS_REFUSED,
                       "Login was refused using authentication mechanism %s. For details see the "
                       "broker logfile.",
                       op->in.login.external ? "EXTERNAL" : "PLAIN");
    else if (amqp_op_set_name(op, user) != 0)
        amqp_op_refuse(op, AMQP_INTERNAL_ERROR, "out of memory");
}

static void open_vhost(struct amqp_op *op) {
    struct span name = op->method.as.connection_open.virtual_host;
    if (!span_is(name, "/"))
        amqp_op_refuse(op, AMQP_NOT_ALLOWED, "vhost %.*s not found", SPAN_ARG(name));
}

/* ---- publish ---- */

static void begin_publish(struct amqp_crossing *x) {
    const struct amqp_publish *from = &x->op->in.publish;
    struct request *r = &x->request.r;
    request_init(r, REQUEST_QUEUE_PUBLISH);
    r->name = r->in.publish.queue = from->routing_key;
    r->in.publish.priority = from->properties.priority;
    r->in.publish.envelope = (struct envelope){.content_type = from->properties.content_type,
                                               .correlation_id = from->properties.correlation_id,
                                               .body = from->body};
}

static void finish_publish(struct amqp_crossing *x) {
    const struct request *r = &x->request.r;
    x->op->routed = r->refusal == REFUSAL_NONE;
    x->op->refused = r->refusal == REFUSAL_QUEUE_FULL;
    if (r->refusal != REFUSAL_NONE && r->refusal != REFUSAL_QUEUE_FULL &&
        r->refusal != REFUSAL_NOT_FOUND)
        refuse(x->op, r, "queue", x->op->in.publish.routing_key);
}

/* ---- queues ---- */

enum declare_step { DECLARE_DEFINES, DECLARE_LOOKS };

static struct span made_up_name(char name[UINT8_MAX + 1]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint8_t bytes[MADE_UP_DIGITS];
    if (getrandom(bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes)
        abort();
    char *to = stpcpy(name, MADE_UP_PREFIX);
    for (size_t i = 0; i < sizeof bytes; i++)
        *to++ = digits[bytes[i] & 63];
    *to = '\0';
    return span_text(name);
}

static void look(struct amqp_crossing *x, struct span name) {
    request_init(&x->request.r, REQUEST_QUEUE_GET);
    x->request.r.name = name;
    x->step = DECLARE_LOOKS;
}

static bool begin_declare(struct amqp_crossing *x) {
    const struct amqp_queue_declare *d = &x->op->method.as.queue_declare;
    struct span name = d->queue.size > 0 ? d->queue : made_up_name(x->name);
    if (d->passive) {
        look(x, name);
        return true;
    }
    x->has_queue = queue_def_init(&x->queue) == 0;
    if (!x->has_queue || def_set_text(&x->queue.name, name) != 0) {
        amqp_op_refuse(x->op, AMQP_INTERNAL_ERROR, "out of memory");
        return false;
    }
    struct request *r = &x->request.r;
    request_init(r, REQUEST_QUEUE_DEFINE);
    r->name = name;
    r->in.define.how.create_only = true;
    r->in.define.queue = &x->queue;
    x->step = DECLARE_DEFINES;
    return true;
}

static bool finish_declare(struct amqp_crossing *x) {
    struct request *r = &x->request.r;
    struct span name = r->name;
    if (x->step == DECLARE_DEFINES) {
        if (r->refusal != REFUSAL_NONE && r->refusal != REFUSAL_CONFLICT) {
            refuse(x->op, r, "queue", name);
            return true;
        }
        request_release(r);
        look(x, name);
        return false;
    }
    if (r->refusal != REFUSAL_NONE) {
        refuse(x->op, r, "queue", name);
        return true;
    }
    uint64_t ready = r->out.queue.ready;
    x->op->message_count = ready < UINT32_MAX ? (uint32_t)ready : UINT32_MAX;
    if (amqp_op_set_name(x->op, name) != 0)
        amqp_op_refuse(x->op, AMQP_INTERNAL_ERROR, "out of memory");
    return true;
}

static void begin_named(struct amqp_crossing *x, enum request_kind kind, struct span name) {
    request_init(&x->request.r, kind);
    x->request.r.name = name;
}

/* A queue that is not there is as good as deleted. A purge goes on until nothing is left. */
static bool finish_named(struct amqp_crossing *x) {
    struct request *r = &x->request.r;
    bool deletes = r->kind == REQUEST_QUEUE_DELETE;
    if (r->refusal != REFUSAL_NONE && !(deletes && r->refusal == REFUSAL_NOT_FOUND))
        refuse(x->op, r, "queue", r->name);
    x->op->message_count += (uint32_t)r->count;
    if (deletes || r->refusal != REFUSAL_NONE || r->next == 0)
        return true;
    struct span name = r->name;
    request_release(r);
    begin_named(x, REQUEST_QUEUE_PURGE, name);
    return false;
}

static bool begin_method(struct amqp_crossing *x) {
    switch (x->op->method.id) {
    case AMQP_QUEUE_DECLARE:
        return begin_declare(x);
    case AMQP_QUEUE_PURGE:
        begin_named(x, REQUEST_QUEUE_PURGE, x->op->method.as.queue_purge.queue);
        return true;
    case AMQP_QUEUE_DELETE:
        begin_named(x, REQUEST_QUEUE_DELETE, x->op->method.as.queue_delete.queue);
        return true;
    default:
        not_implemented(x->op);
        return false;
    }
}

/* ---- all of them ---- */

bool amqp_crossing_begin(struct amqp_crossing *x) {
    struct amqp_op *op = x->op;
    switch (op->kind) {
    case AMQP_OP_LOGIN:
        login(op);
        return false;
    case AMQP_OP_OPEN:
        open_vhost(op);
        return false;
    case AMQP_OP_METHOD:
        return begin_method(x);
    case AMQP_OP_PUBLISH:
        if (op->in.publish.exchange.size > 0) {
            struct span name = op->in.publish.exchange;
            amqp_op_refuse(op, AMQP_NOT_FOUND, "no exchange '%.*s' in vhost '/'", SPAN_ARG(name));
            return false;
        }
        begin_publish(x);
        return true;
    case AMQP_OP_CONSUME:
    case AMQP_OP_GET:
    case AMQP_OP_COMMIT:
        not_implemented(op);
        return false;
    default:
        return false;
    }
}

bool amqp_crossing_finish(struct amqp_crossing *x) {
    if (x->op->kind == AMQP_OP_PUBLISH)
        finish_publish(x);
    else if (x->op->method.id == AMQP_QUEUE_DECLARE)
        return finish_declare(x);
    else
        return finish_named(x);
    return true;
}

void amqp_crossing_clear(struct amqp_crossing *x) {
    if (x->has_queue)
        queue_def_release(&x->queue);
    x->has_queue = false;
    x->op = NULL;
}
