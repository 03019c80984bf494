/*
 * Facts of vhosts and exchanges, and what is asked about them and their bindings (exchange_binding.c).
 *
 *   VHOST_DEFINED       4 index   1+. name
 *   VHOST_DELETED       4 index; its queues and exchanges go with it
 *   EXCHANGE_DECLARED   4 index   1 type   1 flags (1 durable, 2 auto-delete, 4 internal, 8 delayed)
 *                       2+. full name   2+. full name of the alternate   4+. arguments
 *   EXCHANGE_DELETED    4 index
 */
#include "model/exchange.h"

#include <stdlib.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/exchange_state.h"
#include "model/fact.h"
#include "model/policy.h"

enum exchange_flag {
    EXCHANGE_DURABLE = 1,
    EXCHANGE_AUTO_DELETE = 2,
    EXCHANGE_INTERNAL = 4,
    EXCHANGE_DELAYED = 8,
};

static void put_text(struct decision *d, struct span text) {
    decision_put_u16(d, (uint16_t)text.size);
    decision_put_span(d, text);
}

static struct span get_text(struct reader *in) {
    return reader_take(in, reader_u16(in));
}

/* ---- vhosts ---- */

void exchange_emit_vhost(struct decision *d, const struct model *m, struct span name) {
    size_t begun = decision_begin(d, FACT_VHOST_DEFINED, 1);
    decision_put_u32(d, roster_next_index(&m->exchanges->vhosts));
    decision_put_key(d, name);
    decision_end(d, begun);
}

static enum refusal decide_vhost_define(const struct model *m, struct decision *d,
                                        struct request *r) {
    bool bad = r->name.size == 0 || r->name.size > VHOST_MAX_BYTES ||
               memchr(r->name.data, '\0', r->name.size) != NULL;
    if (bad) {
        return request_invalid(r, "/name", "1 to 127 bytes");
    }
    if (exchange_vhost_exists(m, r->name)) {
        return REFUSAL_NONE;
    }
    if (m->exchanges->vhosts.live >= m->limits.vhosts) {
        return request_refuse(r, REFUSAL_LIMIT, "no more vhosts: limits.vhosts is reached");
    }
    exchange_emit_vhost(d, m, r->name);
    return REFUSAL_NONE;
}

static enum refusal decide_vhost_delete(const struct model *m, struct decision *d,
                                        struct request *r) {
    uint32_t index = roster_find(&m->exchanges->vhosts, r->name);
    if (index == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no vhost");
    }
    size_t begun = decision_begin(d, FACT_VHOST_DELETED, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static enum refusal decide_vhost_list(const struct model *m, struct decision *d,
                                      struct request *r) {
    const struct roster *roster = &m->exchanges->vhosts;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        const struct vhost *v = roster_at(roster, i);
        size_t at = 0;
        int rc = sized_begin(&r->out_bytes, &at);
        rc = rc != 0 ? rc : put_key(&r->out_bytes, span_text(v->name));
        if (rc == 0) {
            sized_end(&r->out_bytes, at);
        }
        d->failed |= rc != 0;
        r->count++;
    }
    return REFUSAL_NONE;
}

/* ---- exchanges ---- */

static bool type_of(struct span text, enum exchange_type *ret) {
    for (int t = EXCHANGE_DIRECT; t <= EXCHANGE_HASH; t++) {
        if (span_is(text, exchange_type_name((enum exchange_type)t, false))) {
            *ret = (enum exchange_type)t;
            return true;
        }
    }
    return false;
}

/* The type, and for a delayed one the type behind it. */
static enum refusal read_type(struct request *r, struct exchange *ret) {
    const struct exchange_declare *in = &r->in.exchange;
    struct span text = in->type;
    struct amqp_field f;
    enum exchange_type type;
    ret->delayed = span_is(text, "x-delayed-message");
    if (ret->delayed && (!amqp_table_find(in->arguments, "x-delayed-type", &f) ||
                         !amqp_field_text(&f, &text) || !type_of(text, &type))) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/arguments/x-delayed-type",
                                 "Invalid argument, 'x-delayed-type' must be an existing exchange "
                                 "type");
    }
    if (!type_of(text, &type)) {
        return request_refuse(r, REFUSAL_COMMAND, "unknown exchange type");
    }
    ret->type = (uint8_t)type;
    return REFUSAL_NONE;
}

static bool is_reserved(struct span name) {
    return name.size >= 4 && memcmp(name.data, "amq.", 4) == 0;
}

static enum refusal compare_exchange(struct request *r, const struct exchange *x,
                                     const struct exchange *wanted) {
    const struct exchange_declare *in = &r->in.exchange;
    struct amqp_field a, b;
    if (x->type != wanted->type || x->delayed != wanted->delayed) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/type", "inequivalent arg 'type'");
    }
    if (x->durable != in->durable) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/durable", "inequivalent arg 'durable'");
    }
    if (x->auto_delete != in->auto_delete) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/auto_delete",
                                 "inequivalent arg 'auto_delete'");
    }
    if (x->internal != in->internal) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/internal",
                                 "inequivalent arg 'internal'");
    }
    static const char *const key = "alternate-exchange";
    bool has = amqp_table_find(span_of(x->arguments, x->argument_size), key, &a);
    bool asks = amqp_table_find(in->arguments, key, &b);
    if (has != asks || (has && !amqp_field_equal(&a, &b))) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/arguments/alternate-exchange",
                                 "inequivalent arg 'alternate-exchange'");
    }
    return REFUSAL_NONE;
}

static void emit_exchange(struct decision *d, uint32_t index, const struct exchange *wanted,
                          const struct request *r, struct span full, struct span alternate) {
    const struct exchange_declare *in = &r->in.exchange;
    size_t begun = decision_begin(d, FACT_EXCHANGE_DECLARED, 1);
    decision_put_u32(d, index);
    decision_put_u8(d, wanted->type);
    decision_put_u8(d, (uint8_t)((in->durable ? EXCHANGE_DURABLE : 0) |
                                 (in->auto_delete ? EXCHANGE_AUTO_DELETE : 0) |
                                 (in->internal ? EXCHANGE_INTERNAL : 0) |
                                 (wanted->delayed ? EXCHANGE_DELAYED : 0)));
    put_text(d, full);
    put_text(d, alternate);
    decision_put_bytes(d, in->arguments);
    decision_end(d, begun);
}

static enum refusal read_alternate(struct request *r, struct span *ret, char *buffer) {
    struct amqp_field f;
    struct span name;
    *ret = span_of(NULL, 0);
    if (!amqp_table_find(r->in.exchange.arguments, "alternate-exchange", &f)) {
        return REFUSAL_NONE;
    }
    if (!amqp_field_text(&f, &name)) {
        return request_refuse_at(r, REFUSAL_PRECONDITION, "/arguments/alternate-exchange",
                                 "invalid arg 'alternate-exchange'");
    }
    *ret = exchange_full_name(r->vhost, name, buffer);
    return REFUSAL_NONE;
}

static enum refusal declare_new(const struct model *m, struct decision *d, struct request *r,
                                const struct exchange *wanted) {
    const struct exchanges *s = m->exchanges;
    char buffer[EXCHANGE_NAME_MAX_BYTES + 1], other[EXCHANGE_NAME_MAX_BYTES + 1];
    struct span alternate, full = exchange_full_name(r->vhost, r->name, buffer);
    if (is_reserved(r->name)) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "exchange name contains reserved prefix 'amq.*'");
    }
    if (full.size == 0 || !exchange_vhost_exists(m, r->vhost)) {
        return request_invalid(r, "/name", "a vhost, and 1 to 255 bytes without NUL");
    }
    if (s->exchanges.live >= m->limits.exchanges) {
        return request_refuse(r, REFUSAL_LIMIT, "no more exchanges: limits.exchanges is reached");
    }
    enum refusal refusal = read_alternate(r, &alternate, other);
    if (refusal == REFUSAL_NONE) {
        uint32_t index = roster_next_index(&s->exchanges);
        emit_exchange(d, index, wanted, r, full, alternate);
        policy_emit_exchange(m, d, index, full);
    }
    return refusal;
}

static enum refusal decide_declare(const struct model *m, struct decision *d, struct request *r) {
    const struct exchange *x = exchange_find(m, r->vhost, r->name);
    struct exchange wanted = {.index = 0};
    if (r->name.size == 0) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "operation not permitted on the default exchange");
    }
    if (r->in.exchange.passive) {
        return x != NULL ? REFUSAL_NONE : request_refuse(r, REFUSAL_NOT_FOUND, "no exchange");
    }
    enum refusal refusal = read_type(r, &wanted);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    return x != NULL ? compare_exchange(r, x, &wanted) : declare_new(m, d, r, &wanted);
}

static void emit_index(struct decision *d, uint16_t kind, uint32_t index) {
    size_t begun = decision_begin(d, kind, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r) {
    const struct exchange *x = exchange_find(m, r->vhost, r->name);
    if (r->name.size == 0) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "operation not permitted on the default exchange");
    }
    if (is_reserved(r->name)) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "exchange name contains reserved prefix 'amq.*'");
    }
    if (x == NULL) {
        return REFUSAL_NONE;
    }
    if (r->in.remove.if_unused && x->from.count > 0) {
        return request_refuse(r, REFUSAL_PRECONDITION, "exchange in use");
    }
    emit_index(d, FACT_EXCHANGE_DELETED, x->index);
    return REFUSAL_NONE;
}

bool exchange_decide_recovery(const struct model *m, struct decision *d) {
    const struct roster *roster = &m->exchanges->exchanges;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        if (!exchange_at(m->exchanges, i)->durable) {
            emit_index(d, FACT_EXCHANGE_DELETED, i);
            return true;
        }
    }
    return false;
}

/* ---- lists ---- */

static bool in_vhost(const struct request *r, const struct exchange *x, char *vhost) {
    (void)amqp_queue_split(span_text(x->full), vhost);
    return r->vhost.size == 0 || span_is(r->vhost, vhost);
}

static void list_exchange(struct saver *out, const struct exchange *x, const char *vhost) {
    struct exchange_info info;
    memset(&info, 0, sizeof info);
    info.bindings = x->from.count;
    info.type = (enum exchange_type)x->type;
    info.durable = x->durable;
    info.auto_delete = x->auto_delete;
    info.internal = x->internal;
    info.delayed = x->delayed;
    info.builtin = x->builtin;
    info.policy = x->policy;
    save_key(out, span_text(vhost));
    save_key(out, exchange_short_name(x));
    out->rc = out->rc != 0 ? out->rc : buffer_put_bytes(out->chunk, span_of(&info, sizeof info));
    out->rc = out->rc != 0 ? out->rc
                           : buffer_put_bytes(out->chunk, span_of(x->arguments, x->argument_size));
}

static void list_binding(const struct model *m, struct saver *out, const struct bound *b,
                         const char *vhost) {
    char other[VHOST_MAX_BYTES + 1];
    struct span destination =
        b->to_exchange
            ? exchange_short_name(exchange_at(m->exchanges, b->destination))
            : amqp_queue_split(span_text(queue_at(m->queues, b->destination)->def.name), other);
    save_key(out, span_text(vhost));
    save_key(out, exchange_short_name(exchange_at(m->exchanges, b->source)));
    save_key(out, destination);
    save_u8(out, b->to_exchange);
    save_key(out, bound_key(b));
    out->rc = out->rc != 0 ? out->rc : buffer_put_bytes(out->chunk, bound_arguments(b));
}

static void list_item(const struct model *m, struct saver *out, struct request *r,
                      const struct exchange *x, const struct bound *b, const char *vhost) {
    size_t at = 0;
    out->rc = out->rc != 0 ? out->rc : sized_begin(out->chunk, &at);
    if (b != NULL) {
        list_binding(m, out, b, vhost);
    } else {
        list_exchange(out, x, vhost);
    }
    if (out->rc == 0) {
        sized_end(out->chunk, at);
        r->count++;
    }
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct exchanges *s = m->exchanges;
    struct saver out = {.chunk = &r->out_bytes};
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        const struct exchange *x = exchange_at(s, i);
        char vhost[VHOST_MAX_BYTES + 1];
        if (!in_vhost(r, x, vhost)) {
            continue;
        }
        if (r->kind == REQUEST_EXCHANGE_LIST) {
            list_item(m, &out, r, x, NULL, vhost);
            continue;
        }
        for (uint32_t b = x->from.first; b != 0; b = bound_at(s, b)->of_source.next) {
            list_item(m, &out, r, x, bound_at(s, b), vhost);
        }
    }
    d->failed |= out.rc != 0;
    return REFUSAL_NONE;
}

static enum refusal exchange_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_AMQP_PUBLISH:
        return exchange_decide_publish(m, d, r);
    case REQUEST_AMQP_TRANSACTION:
        return exchange_decide_transaction(m, d, r);
    case REQUEST_EXCHANGE_DECLARE:
        return decide_declare(m, d, r);
    case REQUEST_EXCHANGE_DELETE:
        return decide_delete(m, d, r);
    case REQUEST_AMQP_BIND:
        return exchange_decide_bind(m, d, r);
    case REQUEST_AMQP_UNBIND:
        return exchange_decide_unbind(m, d, r);
    case REQUEST_EXCHANGE_LIST:
    case REQUEST_BINDING_LIST:
        return decide_list(m, d, r);
    case REQUEST_VHOST_DEFINE:
        return decide_vhost_define(m, d, r);
    case REQUEST_VHOST_DELETE:
        return decide_vhost_delete(m, d, r);
    case REQUEST_VHOST_LIST:
        return decide_vhost_list(m, d, r);
    case REQUEST_POLICY_DEFINE:
    case REQUEST_POLICY_DELETE:
    case REQUEST_POLICY_LIST:
        return policy_decide(m, d, r);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

static int apply_vhost(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    struct span name = reader_key(in);
    return in->failed || name.size == 0 ? E_CORRUPT : vhost_make(m, index, name);
}

static int apply_vhost_deleted(struct model *m, const struct applied *w, struct reader *in) {
    struct exchanges *s = m->exchanges;
    uint32_t index = reader_u32(in);
    struct vhost *v = roster_at(&s->vhosts, index);
    if (in->failed || v == NULL) {
        return E_CORRUPT;
    }
    char vhost[VHOST_MAX_BYTES + 1];
    int rc = 0;
    struct roster *roster = &m->queues->roster;
    for (uint32_t i = roster_after(roster, 0); rc == 0 && i != 0; i = roster_after(roster, i)) {
        (void)amqp_queue_split(span_text(queue_at(m->queues, i)->def.name), vhost);
        if (strcmp(vhost, v->name) == 0) {
            rc = queue_remove(m, w, queue_at(m->queues, i));
        }
    }
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        (void)amqp_queue_split(span_text(exchange_at(s, i)->full), vhost);
        if (strcmp(vhost, v->name) == 0) {
            exchange_remove(m, i);
        }
    }
    policy_vhost_gone(m, v->name);
    roster_remove(&s->vhosts, index);
    free(v->name);
    free(v);
    return rc;
}

static int apply_declared(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint8_t type = reader_u8(in), flags = reader_u8(in);
    struct span full = get_text(in);
    struct span alternate = get_text(in);
    struct span arguments = reader_bytes(in);
    if (in->failed || type < EXCHANGE_DIRECT || type > EXCHANGE_HASH) {
        return E_CORRUPT;
    }
    struct exchange values = {.type = type,
                              .durable = (flags & EXCHANGE_DURABLE) != 0,
                              .auto_delete = (flags & EXCHANGE_AUTO_DELETE) != 0,
                              .internal = (flags & EXCHANGE_INTERNAL) != 0,
                              .delayed = (flags & EXCHANGE_DELAYED) != 0};
    return exchange_make(m, index, &values, full, alternate, arguments);
}

static int exchange_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                          struct reader *in) {
    switch (kind) {
    case FACT_VHOST_DEFINED:
        return apply_vhost(m, in);
    case FACT_VHOST_DELETED:
        return apply_vhost_deleted(m, w, in);
    case FACT_EXCHANGE_DECLARED:
        return apply_declared(m, in);
    case FACT_EXCHANGE_DELETED: {
        uint32_t index = reader_u32(in);
        if (in->failed || exchange_at(m->exchanges, index) == NULL) {
            return E_CORRUPT;
        }
        exchange_remove(m, index);
        return 0;
    }
    case FACT_BINDING_ADDED:
    case FACT_BINDING_REMOVED:
        return exchange_apply_binding(m, kind, in);
    case FACT_POLICY_DEFINED:
    case FACT_POLICY_DELETED:
    case FACT_POLICY_APPLIED:
        return policy_apply(m, kind, in);
    default:
        return E_VERSION;
    }
}

static uint64_t exchange_memory_bytes(const struct model *m) {
    const struct exchanges *s = m->exchanges;
    return sizeof *s + slab_memory_bytes(&s->bindings) + slab_memory_bytes(&s->nodes) +
           map_memory_bytes(&s->by_binding) + map_memory_bytes(&s->by_key) +
           map_memory_bytes(&s->by_word) + roster_memory_bytes(&s->exchanges) +
           s->exchanges.live * sizeof(struct exchange) + s->bindings.live * UINT64_C(32);
}

const struct module exchange_module = {
    .name = "exchange",
    .decide = exchange_decide,
    .apply = exchange_apply,
    .save = exchange_save,
    .load = exchange_load,
    .check = exchange_check,
    .memory_bytes = exchange_memory_bytes,
    .section_version = 2,
};
