/*
 * The section of the exchange module in a snapshot, and its invariants.
 *
 *   roster of vhosts; per vhost: 4 index, 1+. name
 *   roster of exchanges; per exchange: 4 index, 1 type, 1 flags (as in the fact; 16 builtin), 1+. vhost, 1+. name,
 *      4+. full name of the alternate, 4+. arguments
 *   per exchange in the same order: 4 bindings; per binding: 4 destination, 1 to an exchange, 2 weight, 1+. key,
 *      4+. arguments
 *   since version 2 the policies: see policy.c
 */
#include <assert.h>
#include <stdlib.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/exchange_state.h"
#include "model/policy.h"

enum saved_flag {
    SAVED_DURABLE = 1,
    SAVED_AUTO_DELETE = 2,
    SAVED_INTERNAL = 4,
    SAVED_DELAYED = 8,
    SAVED_BUILTIN = 16,
};

static void save_bytes(struct saver *out, struct span bytes) {
    out->rc = out->rc != 0 ? out->rc : buffer_put_bytes(out->chunk, bytes);
}

static void save_exchange(const struct exchange *x, struct saver *out) {
    char vhost[VHOST_MAX_BYTES + 1];
    save_u32(out, x->index);
    save_u8(out, x->type);
    save_u8(out, (uint8_t)(x->durable * SAVED_DURABLE | x->auto_delete * SAVED_AUTO_DELETE |
                           x->internal * SAVED_INTERNAL | x->delayed * SAVED_DELAYED |
                           x->builtin * SAVED_BUILTIN));
    struct span name = amqp_queue_split(span_text(x->full), vhost);
    save_key(out, span_text(vhost));
    save_key(out, name);
    save_bytes(out, span_text(x->alternate == NULL ? "" : x->alternate));
    save_bytes(out, span_of(x->arguments, x->argument_size));
    save_item_end(out);
}

static void save_bindings(const struct exchanges *s, const struct exchange *x, struct saver *out) {
    save_u32(out, x->from.count);
    for (uint32_t i = x->from.first; i != 0; i = bound_at(s, i)->of_source.next) {
        const struct bound *b = bound_at(s, i);
        save_u32(out, b->destination);
        save_u8(out, b->to_exchange);
        save_u16(out, b->weight);
        save_key(out, bound_key(b));
        save_bytes(out, bound_arguments(b));
        save_item_end(out);
    }
}

int exchange_save(const struct model *m, struct buffer *chunk,
                  int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct exchanges *s = m->exchanges;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    roster_save(&s->vhosts, &out);
    for (uint32_t i = roster_after(&s->vhosts, 0); i != 0; i = roster_after(&s->vhosts, i)) {
        save_u32(&out, i);
        save_key(&out, span_text(((struct vhost *)roster_at(&s->vhosts, i))->name));
    }
    roster_save(&s->exchanges, &out);
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        save_exchange(exchange_at(s, i), &out);
    }
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        save_bindings(s, exchange_at(s, i), &out);
    }
    policy_save(m, &out);
    return out.rc;
}

/* ---- load ---- */

static int load_exchange(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    struct exchange values = {.type = reader_u8(in)};
    uint8_t flags = reader_u8(in);
    struct span vhost = reader_key(in);
    struct span name = reader_key(in);
    struct span alternate = reader_bytes(in);
    struct span arguments = reader_bytes(in);
    char buffer[EXCHANGE_NAME_MAX_BYTES + 1];
    if (in->failed || values.type < EXCHANGE_DIRECT || values.type > EXCHANGE_HASH ||
        !amqp_table_valid(arguments)) {
        return E_CORRUPT;
    }
    values.durable = (flags & SAVED_DURABLE) != 0;
    values.auto_delete = (flags & SAVED_AUTO_DELETE) != 0;
    values.internal = (flags & SAVED_INTERNAL) != 0;
    values.delayed = (flags & SAVED_DELAYED) != 0;
    values.builtin = (flags & SAVED_BUILTIN) != 0;
    struct span full = exchange_full_name(vhost, name, buffer);
    return exchange_make(m, index, &values, full, alternate, arguments);
}

static int load_binding(struct model *m, uint32_t source, struct reader *in) {
    struct bound b = {.source = source, .destination = reader_u32(in)};
    b.to_exchange = reader_u8(in) != 0;
    b.weight = reader_u16(in);
    struct span key = reader_key(in);
    struct span arguments = reader_bytes(in);
    if (in->failed || !amqp_table_valid(arguments)) {
        return E_CORRUPT;
    }
    struct buffer *text = &m->exchanges->text;
    buffer_clear(text);
    if (buffer_append_span(text, key) != 0 || buffer_append_span(text, arguments) != 0) {
        return E_NOMEM;
    }
    b.text = text->data;
    b.key_size = (uint8_t)key.size;
    b.text_size = (uint32_t)arguments.size;
    return binding_add(m, &b);
}

static int load_vhosts(struct model *m, struct reader *in) {
    uint32_t count = 0;
    int rc = roster_load(&m->exchanges->vhosts, in, &count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        uint32_t index = reader_u32(in);
        struct span name = reader_key(in);
        rc = in->failed || name.size == 0 ? E_CORRUPT : vhost_make(m, index, name);
    }
    return rc;
}

int exchange_load(struct model *m, struct reader *section) {
    struct exchanges *s = m->exchanges;
    uint32_t count = 0;
    exchanges_clear(s);
    int rc = load_vhosts(m, section);
    rc = rc != 0 ? rc : roster_load(&s->exchanges, section, &count);
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        rc = load_exchange(m, section);
    }
    for (uint32_t i = roster_after(&s->exchanges, 0); rc == 0 && i != 0;
         i = roster_after(&s->exchanges, i)) {
        uint32_t bindings = reader_u32(section);
        for (uint32_t n = 0; rc == 0 && n < bindings; n++) {
            rc = load_binding(m, i, section);
        }
    }
    return rc != 0 || m->section_version < 2 ? rc : policy_load(m, section);
}

/* ---- check ---- */

static void check_node(const struct exchanges *s, const struct exchange *x, uint32_t slot) {
    const struct node *n = node_at(s, slot);
    assert(n->exchange == x->index);
    assert(n->bindings.count > 0 || n->children > 0 || n->star != 0 || n->hash != 0); /* X3 */
    for (uint32_t b = n->bindings.first; b != 0; b = bound_at(s, b)->of_place.next) {
        assert(bound_at(s, b)->node == slot);
    }
}

void exchange_check(const struct model *m) {
    const struct exchanges *s = m->exchanges;
    roster_check(&s->vhosts);
    roster_check(&s->exchanges);
    uint32_t bindings = 0;
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        const struct exchange *x = exchange_at(s, i);
        assert(x->type == EXCHANGE_TOPIC || x->root == 0);
        for (uint32_t b = x->from.first; b != 0; b = bound_at(s, b)->of_source.next) {
            const struct bound *bound = bound_at(s, b);
            assert(bound_find(s, bound) == b); /* X1 */
            assert(bound->to_exchange ? exchange_at(s, bound->destination) != NULL
                                      : queue_at(m->queues, bound->destination) != NULL);
            for (uint32_t n = bound->node; n != 0; n = node_at(s, n)->parent) {
                check_node(s, x, n);
            }
            bindings++;
        }
    }
    assert(bindings == s->bindings.live && bindings == s->by_binding.count);
    policy_check(m);
}
