/*
 * Bindings: their facts, and who may make or remove one.
 *
 *   BINDING_ADDED, BINDING_REMOVED
 *                       4 source index   4 destination index   1 to an exchange   1+. key   4+. arguments
 */
#include "base/amqp_table.h"
#include "base/error.h"
#include "model/exchange_state.h"
#include "model/fact.h"

static enum refusal find_ends(const struct model *m, struct request *r, struct bound *ret) {
    const struct binding *in = &r->in.binding;
    const struct exchange *x = exchange_find(m, r->vhost, in->source);
    if (in->source.size == 0 || (in->to_exchange && in->destination.size == 0)) {
        return request_refuse(r, REFUSAL_FORBIDDEN,
                              "operation not permitted on the default exchange");
    }
    struct queue *q = NULL;
    const struct exchange *to = NULL;
    if (in->to_exchange) {
        to = exchange_find(m, r->vhost, in->destination);
    } else {
        enum refusal refusal = queue_for_amqp(m, r, in->destination, &q);
        if (refusal != REFUSAL_NONE) {
            return refusal;
        }
    }
    if (x == NULL || (in->to_exchange && to == NULL)) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "no exchange");
    }
    *ret = (struct bound){.source = x->index,
                          .destination = to != NULL ? to->index : q->index,
                          .to_exchange = in->to_exchange};
    return REFUSAL_NONE;
}

/* "10": so many draws. */
static bool read_weight(struct span key, uint16_t *ret) {
    uint32_t weight = 0;
    for (size_t i = 0; i < key.size; i++) {
        if (key.data[i] < '0' || key.data[i] > '9' || weight > HASH_WEIGHT_MAX) {
            return false;
        }
        weight = weight * 10 + (key.data[i] - '0');
    }
    *ret = (uint16_t)weight;
    return weight >= 1 && weight <= HASH_WEIGHT_MAX;
}

static enum refusal check_binding(const struct model *m, struct request *r, const struct bound *b) {
    const struct exchange *x = exchange_at(m->exchanges, b->source);
    const struct binding *in = &r->in.binding;
    struct amqp_field f;
    struct span text;
    uint16_t weight;
    if (in->routing_key.size > UINT8_MAX || in->arguments.size > UINT16_MAX) {
        return request_invalid(r, "/routingKey", "at most 255 bytes, arguments 64 KiB");
    }
    if (x->type == EXCHANGE_HASH && !read_weight(in->routing_key, &weight)) {
        return request_refuse(r, REFUSAL_PRECONDITION,
                              "the routing key of such a binding is its weight, 1 to 1000");
    }
    if (x->type == EXCHANGE_HEADERS && amqp_table_find(in->arguments, "x-match", &f)) {
        bool known = amqp_field_text(&f, &text) &&
                     (span_is(text, "all") || span_is(text, "any") || span_is(text, "all-with-x") ||
                      span_is(text, "any-with-x"));
        if (!known) {
            return request_refuse_at(r, REFUSAL_PRECONDITION, "/arguments/x-match",
                                     "Invalid x-match field value");
        }
    }
    return m->exchanges->bindings.live < m->limits.bindings
               ? REFUSAL_NONE
               : request_refuse(r, REFUSAL_LIMIT, "no more bindings: limits.bindings is reached");
}

/* Key and arguments side by side, as a cell has them, in scratch that is good until the next. */
static bool bound_text(const struct model *m, const struct request *r, struct bound *b) {
    struct buffer *scratch = &m->exchanges->text;
    buffer_clear(scratch);
    if (buffer_append_span(scratch, r->in.binding.routing_key) != 0 ||
        buffer_append_span(scratch, r->in.binding.arguments) != 0) {
        return false;
    }
    b->text = scratch->data;
    b->key_size = (uint8_t)r->in.binding.routing_key.size;
    b->text_size = (uint32_t)r->in.binding.arguments.size;
    return true;
}

static void emit_binding(struct decision *d, uint16_t kind, const struct bound *b) {
    size_t begun = decision_begin(d, kind, 1);
    decision_put_u32(d, b->source);
    decision_put_u32(d, b->destination);
    decision_put_u8(d, b->to_exchange);
    decision_put_key(d, bound_key(b));
    decision_put_bytes(d, bound_arguments(b));
    decision_end(d, begun);
}

enum refusal exchange_decide_bind(const struct model *m, struct decision *d, struct request *r) {
    struct bound b;
    enum refusal refusal = find_ends(m, r, &b);
    if (refusal == REFUSAL_NONE) {
        refusal = check_binding(m, r, &b);
    }
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    if (!bound_text(m, r, &b)) {
        d->failed = true;
    } else if (bound_find(m->exchanges, &b) == 0) {
        emit_binding(d, FACT_BINDING_ADDED, &b);
    }
    return REFUSAL_NONE;
}

enum refusal exchange_decide_unbind(const struct model *m, struct decision *d, struct request *r) {
    struct bound b;
    enum refusal refusal = find_ends(m, r, &b);
    if (refusal == REFUSAL_NOT_FOUND) {
        return REFUSAL_NONE;
    }
    if (refusal != REFUSAL_NONE || r->in.binding.routing_key.size > UINT8_MAX) {
        return refusal;
    }
    if (!bound_text(m, r, &b)) {
        d->failed = true;
    } else if (bound_find(m->exchanges, &b) != 0) {
        emit_binding(d, FACT_BINDING_REMOVED, &b);
    }
    return REFUSAL_NONE;
}

int exchange_apply_binding(struct model *m, uint16_t kind, struct reader *in) {
    struct bound b = {.source = reader_u32(in)};
    b.destination = reader_u32(in);
    b.to_exchange = reader_u8(in) != 0;
    struct span key = reader_key(in);
    struct span arguments = reader_bytes(in);
    if (in->failed || !amqp_table_valid(arguments)) {
        return E_CORRUPT;
    }
    struct request r; /* only to bring key and arguments together */
    r.in.binding.routing_key = key;
    r.in.binding.arguments = arguments;
    if (!bound_text(m, &r, &b)) {
        return E_NOMEM;
    }
    if (kind == FACT_BINDING_ADDED) {
        (void)read_weight(key, &b.weight);
        return binding_add(m, &b);
    }
    uint32_t slot = bound_find(m->exchanges, &b);
    if (slot == 0) {
        return E_CORRUPT;
    }
    binding_remove(m, slot);
    return 0;
}
