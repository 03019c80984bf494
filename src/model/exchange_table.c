/* Vhosts, exchanges and bindings: made, found, ended. */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/exchange_state.h"
#include "model/policy.h"

#define CHAIN(s, link)                                                                             \
    ((struct slot_chain){.slab = &(s)->bindings, .offset = offsetof(struct bound, link)})

/* ---- names ---- */

struct span exchange_full_name(struct span vhost, struct span name,
                               char buffer[EXCHANGE_NAME_MAX_BYTES + 1]) {
    struct span full = amqp_queue_name(vhost, name, buffer);
    if (full.data != name.data || full.size == 0) {
        return full;
    }
    memcpy(buffer, "%2F/", 4); /* a queue of the vhost "/" has no such prefix, an exchange has */
    memcpy(buffer + 4, name.data, name.size);
    return span_of(buffer, name.size + 4);
}

struct span exchange_short_name(const struct exchange *x) {
    char vhost[VHOST_MAX_BYTES + 1];
    return amqp_queue_split(span_text(x->full), vhost);
}

struct exchange *exchange_find(const struct model *m, struct span vhost, struct span name) {
    char buffer[EXCHANGE_NAME_MAX_BYTES + 1];
    struct span full = exchange_full_name(vhost, name, buffer);
    uint32_t index = full.size == 0 ? 0 : roster_find(&m->exchanges->exchanges, full);
    return index == 0 ? NULL : exchange_at(m->exchanges, index);
}

bool exchange_vhost_exists(const struct model *m, struct span vhost) {
    return roster_find(&m->exchanges->vhosts, vhost) != 0;
}

/* ---- maps ---- */

static bool same_binding(const void *owner, uint32_t slot, const void *key) {
    const struct bound *a = bound_at(owner, slot), *b = key;
    return a->source == b->source && a->destination == b->destination &&
           a->to_exchange == b->to_exchange && span_equal(bound_key(a), bound_key(b)) &&
           span_equal(bound_arguments(a), bound_arguments(b));
}

static uint64_t binding_hash(const struct exchanges *s, const struct bound *b) {
    uint64_t h = hash_bytes(s->hash, span_of(b->text, (size_t)b->key_size + b->text_size));
    return hash_u64(h ^ ((uint64_t)b->source << 32 | b->destination)) + b->to_exchange;
}

static uint64_t key_hash_of(const struct exchanges *s, uint32_t exchange, struct span key) {
    return hash_u64(hash_bytes(s->hash, key) + exchange);
}

struct direct_key {
    uint32_t exchange;
    struct span key;
};

static bool same_key(const void *owner, uint32_t slot, const void *key) {
    const struct bound *b = bound_at(owner, slot);
    const struct direct_key *k = key;
    return b->source == k->exchange && span_equal(bound_key(b), k->key);
}

uint32_t bound_find(const struct exchanges *s, const struct bound *key) {
    return map_find(&s->by_binding, binding_hash(s, key), key);
}

uint32_t direct_find(const struct exchanges *s, uint32_t exchange, struct span key) {
    struct direct_key k = {.exchange = exchange, .key = key};
    return map_find(&s->by_key, key_hash_of(s, exchange, key), &k);
}

/* ---- the whole ---- */

static int make_builtins(struct model *m, struct span vhost) {
    static const struct {
        const char *name;
        enum exchange_type type;
    } all[] = {{"amq.direct", EXCHANGE_DIRECT},   {"amq.fanout", EXCHANGE_FANOUT},
               {"amq.headers", EXCHANGE_HEADERS}, {"amq.match", EXCHANGE_HEADERS},
               {"amq.topic", EXCHANGE_TOPIC},     {"amq.rabbitmq.trace", EXCHANGE_TOPIC}};
    struct span none = {.size = 0};
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < ARRAY_LENGTH(all); i++) {
        char buffer[EXCHANGE_NAME_MAX_BYTES + 1];
        struct span full = exchange_full_name(vhost, span_text(all[i].name), buffer);
        struct exchange values = {.type = (uint8_t)all[i].type,
                                  .durable = true,
                                  .builtin = true,
                                  .internal = i == ARRAY_LENGTH(all) - 1};
        uint32_t index = roster_next_index(&m->exchanges->exchanges);
        rc = exchange_make(m, index, &values, full, none, none);
    }
    return rc;
}

int vhost_make(struct model *m, uint32_t index, struct span name) {
    struct vhost *v = calloc(1, sizeof *v);
    if (v == NULL || def_set_text(&v->name, name) != 0) {
        free(v);
        return E_NOMEM;
    }
    v->index = index;
    int rc = roster_put(&m->exchanges->vhosts, index, v, v->name);
    if (rc != 0) {
        free(v->name);
        free(v);
        return rc;
    }
    return m->section_version != 0 ? 0 : make_builtins(m, name);
}

static void rosters_init(struct exchanges *s) {
    roster_init(&s->vhosts, s->hash);
    roster_init(&s->exchanges, s->hash);
    roster_init(&s->policies, s->hash);
}

int exchanges_create(struct model *m, struct exchanges **ret) {
    struct exchanges *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    s->m = m;
    s->hash = m->hash;
    buffer_init(&s->origin, ORIGIN_MAX_BYTES);
    buffer_init(&s->headers, DEAD_HEADERS_MAX_BYTES);
    buffer_init(&s->text, UINT8_MAX + UINT16_MAX);
    buffer_init(&s->seen, IDS_MAX * sizeof(struct seen_id));
    slab_init(&s->bindings, sizeof(struct bound), UINT32_MAX - 1);
    slab_init(&s->nodes, sizeof(struct node), UINT32_MAX - 1);
    rosters_init(s);
    map_init(&s->by_binding, s, same_binding);
    map_init(&s->by_key, s, same_key);
    topic_init(s);
    m->exchanges = s;
    int rc = vhost_make(m, 1, span_text("/"));
    if (rc != 0) {
        m->exchanges = NULL;
        exchanges_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

static void exchange_free(struct exchange *x) {
    free(x->full);
    free(x->alternate);
    free(x->arguments);
    free(x);
}

static void free_contents(struct exchanges *s) {
    for (uint32_t i = roster_after(&s->vhosts, 0); i != 0; i = roster_after(&s->vhosts, i)) {
        struct vhost *v = roster_at(&s->vhosts, i);
        free(v->name);
        free(v);
    }
    for (uint32_t i = roster_after(&s->exchanges, 0); i != 0; i = roster_after(&s->exchanges, i)) {
        struct exchange *x = exchange_at(s, i);
        for (uint32_t b = x->from.first; b != 0; b = bound_at(s, b)->of_source.next) {
            free(bound_at(s, b)->text);
        }
        exchange_free(x);
    }
    for (uint32_t n = 1; n < s->nodes.used_limit; n++) {
        if (node_at(s, n)->exchange != 0) {
            key_text_release(&node_at(s, n)->word);
        }
    }
    roster_release(&s->vhosts);
    roster_release(&s->exchanges);
    policies_free(s);
}

void exchanges_free(struct exchanges *s) {
    if (s == NULL) {
        return;
    }
    free_contents(s);
    map_release(&s->by_binding);
    map_release(&s->by_key);
    map_release(&s->by_word);
    slab_release(&s->bindings);
    slab_release(&s->nodes);
    buffer_release(&s->origin);
    buffer_release(&s->headers);
    buffer_release(&s->seen);
    buffer_release(&s->text);
    free(s->queues);
    free(s->pending);
    free(s);
}

void exchanges_clear(struct exchanges *s) {
    assert(s->bindings.live == 0 && s->nodes.live == 0);
    free_contents(s);
    s->headers_users = 0;
    rosters_init(s);
}

/* ---- exchanges ---- */

static int copy_text(char **ret, struct span text) {
    return text.size == 0 ? 0 : def_set_text(ret, text);
}

/* The built-in ones are there for everybody: they count by their bindings. */
static bool counts_as_headers_user(const struct exchange *x) {
    return x->type == EXCHANGE_HEADERS && !x->builtin;
}

int exchange_make(struct model *m, uint32_t index, const struct exchange *values, struct span full,
                  struct span alternate, struct span arguments) {
    struct exchange *x = calloc(1, sizeof *x);
    if (x == NULL) {
        return E_NOMEM;
    }
    *x = *values;
    x->index = index;
    x->full = x->alternate = NULL;
    x->arguments = arguments.size == 0 ? NULL : malloc(arguments.size);
    x->argument_size = (uint32_t)arguments.size;
    int rc = arguments.size > 0 && x->arguments == NULL ? E_NOMEM : copy_text(&x->full, full);
    rc = rc != 0 ? rc : copy_text(&x->alternate, alternate);
    if (rc == 0 && arguments.size > 0) {
        memcpy(x->arguments, arguments.data, arguments.size);
    }
    rc = rc != 0          ? rc
         : full.size == 0 ? E_CORRUPT
                          : roster_put(&m->exchanges->exchanges, index, x, x->full);
    if (rc != 0) {
        exchange_free(x);
        return rc;
    }
    m->exchanges->headers_users += counts_as_headers_user(x);
    return 0;
}

void exchange_remove(struct model *m, uint32_t index) {
    struct exchanges *s = m->exchanges;
    struct exchange *x = exchange_at(s, index);
    x->auto_delete = false; /* it goes already */
    while (x->from.first != 0) {
        binding_remove(m, x->from.first);
    }
    while (x->to.first != 0) {
        binding_remove(m, x->to.first);
    }
    s->headers_users -= counts_as_headers_user(x);
    roster_remove(&s->exchanges, index);
    exchange_free(x);
}

/* ---- bindings ---- */

/* The list by destination: of a queue, or of an exchange. */
static struct slot_list *destination_list(struct model *m, const struct bound *b) {
    if (b->to_exchange) {
        struct exchange *x = exchange_at(m->exchanges, b->destination);
        return x == NULL ? NULL : &x->to;
    }
    struct queue *q = queue_at(m->queues, b->destination);
    return q == NULL ? NULL : &q->bindings;
}

static int place_insert(struct exchanges *s, struct exchange *x, uint32_t slot) {
    struct bound *b = bound_at(s, slot);
    if (x->type == EXCHANGE_TOPIC) {
        return topic_insert(s, x, slot);
    }
    if (x->type != EXCHANGE_DIRECT) {
        return 0;
    }
    uint32_t first = direct_find(s, x->index, bound_key(b));
    if (first == 0) {
        return map_insert(&s->by_key, key_hash_of(s, x->index, bound_key(b)), slot);
    }
    struct bound *head = bound_at(s, first); /* behind the first, which the map names */
    b->of_place = (struct slot_link){.next = head->of_place.next, .prev = first};
    if (head->of_place.next != 0) {
        bound_at(s, head->of_place.next)->of_place.prev = slot;
    }
    head->of_place.next = slot;
    return 0;
}

static void direct_remove(struct exchanges *s, const struct exchange *x, uint32_t slot) {
    struct bound *b = bound_at(s, slot);
    struct slot_link link = b->of_place;
    if (link.next != 0) {
        bound_at(s, link.next)->of_place.prev = link.prev;
    }
    if (link.prev != 0) {
        bound_at(s, link.prev)->of_place.next = link.next;
        return;
    }
    uint64_t hash = key_hash_of(s, x->index, bound_key(b));
    map_remove(&s->by_key, hash, slot);
    if (link.next != 0) {
        int rc = map_insert(&s->by_key, hash, link.next);
        assert(rc == 0); /* a place has just become free there */
    }
}

static int bound_fill(struct bound *b, const struct bound *values) {
    *b = *values;
    size_t size = (size_t)values->key_size + values->text_size;
    b->text = malloc(size == 0 ? 1 : size);
    if (b->text == NULL) {
        return E_NOMEM;
    }
    if (size > 0) {
        memcpy(b->text, values->text, size);
    }
    return 0;
}

int binding_add(struct model *m, const struct bound *values) {
    struct exchanges *s = m->exchanges;
    struct exchange *x = exchange_at(s, values->source);
    struct slot_list *to = destination_list(m, values);
    if (x == NULL || to == NULL || bound_find(s, values) != 0) {
        return E_CORRUPT;
    }
    uint32_t slot;
    int rc = slab_take(&s->bindings, &slot);
    if (rc != 0) {
        return rc;
    }
    struct bound *b = bound_at(s, slot);
    rc = bound_fill(b, values);
    rc = rc != 0 ? rc : map_insert(&s->by_binding, binding_hash(s, b), slot);
    rc = rc != 0 ? rc : place_insert(s, x, slot);
    if (rc != 0) {
        free(b->text);
        return rc; /* out of memory: the state is not used any more */
    }
    chain_insert(CHAIN(s, of_source), &x->from, 0, slot);
    chain_insert(CHAIN(s, of_destination), to, 0, slot);
    s->headers_users += x->type == EXCHANGE_HEADERS;
    return 0;
}

void binding_remove(struct model *m, uint32_t slot) {
    struct exchanges *s = m->exchanges;
    struct bound *b = bound_at(s, slot);
    struct exchange *x = exchange_at(s, b->source);
    if (x->type == EXCHANGE_TOPIC) {
        topic_remove(s, x, slot);
    } else if (x->type == EXCHANGE_DIRECT) {
        direct_remove(s, x, slot);
    }
    map_remove(&s->by_binding, binding_hash(s, b), slot);
    chain_remove(CHAIN(s, of_source), &x->from, slot);
    chain_remove(CHAIN(s, of_destination), destination_list(m, b), slot);
    free(b->text);
    slab_give(&s->bindings, slot);
    s->headers_users -= x->type == EXCHANGE_HEADERS;
    if (x->auto_delete && x->from.count == 0) {
        exchange_remove(m, x->index);
    }
}

void exchange_queue_gone(struct model *m, struct queue *q) {
    while (q->bindings.first != 0) {
        binding_remove(m, q->bindings.first);
    }
}
