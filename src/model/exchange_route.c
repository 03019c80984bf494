/*
 * Where a message goes.
 *
 * One routing: a list of exchanges still to be asked, each asked once; queues found are marked with the number of
 * the routing, so each stands in the result once (X2). An exchange that leads nowhere asks its alternate.
 *
 * Topic: word by word down the trie. '#' stands for any number of words, so its node tries all places from the
 * present one on; it remembers from where it did, and a second way that comes to it later in the key adds nothing:
 * every (node, place) is visited at most once, whatever patterns somebody binds.
 *
 * Consistent hash: each binding has as many draws as its weight says; the highest draw for this key wins
 * (rendezvous hashing), so a binding that comes or goes moves only its own share of keys.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "model/exchange_state.h"
#include "model/policy.h"

#define WORDS_MAX 256u /* a key has at most 255 bytes */

#define PLACE_CHAIN(s)                                                                             \
    ((struct slot_chain){.slab = &(s)->bindings, .offset = offsetof(struct bound, of_place)})

/* ---- the trie ---- */

struct word_key {
    uint32_t parent;
    struct span word;
};

static bool same_word(const void *owner, uint32_t slot, const void *key) {
    const struct node *n = node_at(owner, slot);
    const struct word_key *k = key;
    return n->parent == k->parent && span_equal(key_text_span(&n->word), k->word);
}

static uint64_t word_hash(const struct exchanges *s, uint32_t parent, struct span word) {
    return hash_u64(hash_bytes(s->hash, word) + parent);
}

void topic_init(struct exchanges *s) {
    map_init(&s->by_word, s, same_word);
}

static uint32_t child_find(const struct exchanges *s, uint32_t parent, struct span word) {
    struct word_key k = {.parent = parent, .word = word};
    return map_find(&s->by_word, word_hash(s, parent, word), &k);
}

static int node_make(struct exchanges *s, uint32_t exchange, uint32_t parent, struct span word,
                     uint32_t *ret) {
    uint32_t slot;
    int rc = slab_take(&s->nodes, &slot);
    if (rc != 0) {
        return rc;
    }
    struct node *n = node_at(s, slot);
    n->exchange = exchange;
    n->parent = parent;
    rc = key_text_init(&n->word, word);
    if (rc == 0) {
        *ret = slot;
    }
    return rc;
}

static int child_need(struct exchanges *s, uint32_t parent, struct span word, uint32_t *ret) {
    struct node *p = node_at(s, parent);
    uint32_t *special = span_is(word, "*") ? &p->star : span_is(word, "#") ? &p->hash : NULL;
    uint32_t found = special != NULL ? *special : child_find(s, parent, word);
    if (found != 0) {
        *ret = found;
        return 0;
    }
    int rc = node_make(s, p->exchange, parent, word, ret);
    if (rc == 0 && special != NULL) {
        *special = *ret;
    } else if (rc == 0) {
        rc = map_insert(&s->by_word, word_hash(s, parent, word), *ret);
        p->children++;
    }
    return rc;
}

/* The next word, and the rest without its dot; false at the end. Every key has at least one word. */
static bool next_word(struct span *rest, bool *more, struct span *ret) {
    if (!*more) {
        return false;
    }
    const uint8_t *dot = rest->size == 0 ? NULL : memchr(rest->data, '.', rest->size);
    size_t size = dot == NULL ? rest->size : (size_t)(dot - rest->data);
    *ret = span_of(rest->data, size);
    *more = dot != NULL;
    *rest = dot == NULL ? span_of(NULL, 0) : span_of(dot + 1, rest->size - size - 1);
    return true;
}

int topic_insert(struct exchanges *s, struct exchange *x, uint32_t slot) {
    int rc = x->root != 0 ? 0 : node_make(s, x->index, 0, span_of(NULL, 0), &x->root);
    struct span rest = bound_key(bound_at(s, slot)), word;
    bool more = true;
    uint32_t node = x->root;
    while (rc == 0 && next_word(&rest, &more, &word)) {
        rc = child_need(s, node, word, &node);
    }
    if (rc == 0) {
        bound_at(s, slot)->node = node;
        chain_insert(PLACE_CHAIN(s), &node_at(s, node)->bindings, 0, slot);
    }
    return rc;
}

/* X3 */
static uint32_t node_trim(struct exchanges *s, struct exchange *x, uint32_t slot) {
    struct node *n = node_at(s, slot);
    if (n->bindings.count > 0 || n->children > 0 || n->star != 0 || n->hash != 0) {
        return 0;
    }
    uint32_t parent = n->parent;
    if (parent == 0) {
        x->root = 0;
    } else if (node_at(s, parent)->star == slot) {
        node_at(s, parent)->star = 0;
    } else if (node_at(s, parent)->hash == slot) {
        node_at(s, parent)->hash = 0;
    } else {
        map_remove(&s->by_word, word_hash(s, parent, key_text_span(&n->word)), slot);
        node_at(s, parent)->children--;
    }
    key_text_release(&n->word);
    n->exchange = 0;
    slab_give(&s->nodes, slot);
    return parent;
}

void topic_remove(struct exchanges *s, struct exchange *x, uint32_t slot) {
    uint32_t node = bound_at(s, slot)->node;
    chain_remove(PLACE_CHAIN(s), &node_at(s, node)->bindings, slot);
    while (node != 0) {
        node = node_trim(s, x, node);
    }
}

/* ---- one routing ---- */

struct walk {
    struct exchanges *s;
    const struct route_request *in;
    bool failed; /* no memory */
    bool found;  /* the exchange leads somewhere */
    struct span words[WORDS_MAX];
    uint64_t hashes[WORDS_MAX];
    uint32_t word_count;
};

static bool push(uint32_t **list, uint32_t *count, uint32_t *capacity, uint32_t value) {
    if (*count == *capacity) {
        uint32_t more = *capacity == 0 ? 64 : *capacity * 2;
        uint32_t *grown = realloc(*list, more * sizeof *grown);
        if (grown == NULL) {
            return false;
        }
        *list = grown;
        *capacity = more;
    }
    (*list)[(*count)++] = value;
    return true;
}

static void take_queue(struct walk *w, uint32_t index) {
    struct exchanges *s = w->s;
    struct queue *q = queue_at(s->m->queues, index);
    w->found = true;
    if (q->routed != s->routings) {
        q->routed = s->routings;
        w->failed |= !push(&s->queues, &s->queue_count, &s->queue_capacity, index);
    }
}

static void take_exchange(struct walk *w, struct exchange *x) {
    struct exchanges *s = w->s;
    if (x->routed != s->routings) {
        x->routed = s->routings;
        w->failed |= !push(&s->pending, &s->pending_count, &s->pending_capacity, x->index);
    }
}

static void take(struct walk *w, const struct bound *b) {
    w->found = true;
    if (b->to_exchange) {
        take_exchange(w, exchange_at(w->s, b->destination));
    } else {
        take_queue(w, b->destination);
    }
}

static void walk_direct(struct walk *w, const struct exchange *x, struct span key) {
    uint32_t slot = direct_find(w->s, x->index, key);
    for (; slot != 0; slot = bound_at(w->s, slot)->of_place.next) {
        take(w, bound_at(w->s, slot));
    }
}

static void walk_all(struct walk *w, const struct exchange *x) {
    for (uint32_t slot = x->from.first; slot != 0; slot = bound_at(w->s, slot)->of_source.next) {
        take(w, bound_at(w->s, slot));
    }
}

static void walk_headers(struct walk *w, const struct exchange *x) {
    for (uint32_t slot = x->from.first; slot != 0; slot = bound_at(w->s, slot)->of_source.next) {
        if (headers_match(bound_at(w->s, slot), w->in->headers)) {
            take(w, bound_at(w->s, slot));
        }
    }
}

static void walk_node(struct walk *w, uint32_t slot, uint32_t at);

/* '#' takes the words from `at` to any later place. */
static void walk_hash(struct walk *w, uint32_t slot, uint32_t at) {
    struct node *n = node_at(w->s, slot);
    bool before = n->walked == w->s->walks;
    uint32_t end = before ? n->from : w->word_count + 1;
    if (before && n->from <= at) {
        return;
    }
    n->walked = w->s->walks;
    n->from = at;
    for (uint32_t i = at; i < end; i++) {
        walk_node(w, slot, i);
    }
}

/* Words before `at` are taken. */
static void walk_node(struct walk *w, uint32_t slot, uint32_t at) {
    struct exchanges *s = w->s;
    const struct node *n = node_at(s, slot);
    if (n->hash != 0) {
        walk_hash(w, n->hash, at);
    }
    if (at == w->word_count) {
        for (uint32_t b = n->bindings.first; b != 0; b = bound_at(s, b)->of_place.next) {
            take(w, bound_at(s, b));
        }
        return;
    }
    if (n->star != 0) {
        walk_node(w, n->star, at + 1);
    }
    if (n->children > 0) {
        struct word_key k = {.parent = slot, .word = w->words[at]};
        uint32_t child = map_find(&s->by_word, hash_u64(w->hashes[at] + slot), &k);
        if (child != 0) {
            walk_node(w, child, at + 1);
        }
    }
}

static void walk_topic(struct walk *w, const struct exchange *x, struct span key) {
    if (x->root == 0) {
        return;
    }
    struct span rest = key, word;
    bool more = true;
    w->word_count = 0;
    w->s->walks++;
    while (w->word_count < WORDS_MAX && next_word(&rest, &more, &word)) {
        w->hashes[w->word_count] = hash_bytes(w->s->hash, word);
        w->words[w->word_count++] = word;
    }
    walk_node(w, x->root, 0);
}

/* What the draw is made from: the routing key, or the header or property that the exchange names. */
static struct span hash_input(const struct walk *w, const struct exchange *x, struct span key) {
    struct amqp_field named, value;
    struct span header;
    struct span arguments = span_of(x->arguments, x->argument_size);
    if (!amqp_table_find(arguments, "hash-header", &named) || !amqp_field_text(&named, &header) ||
        header.size > 255) {
        return key;
    }
    char name[256];
    memcpy(name, header.data, header.size);
    name[header.size] = '\0';
    return amqp_table_find(w->in->headers, name, &value) ? value.encoded : span_of(NULL, 0);
}

static void walk_ring(struct walk *w, const struct exchange *x, struct span key) {
    static const struct hash_key fixed = {.k0 = 0x68617368, .k1 = 0x72696e67};
    uint64_t h = hash_bytes(fixed, hash_input(w, x, key)), highest = 0;
    const struct bound *chosen = NULL;
    for (uint32_t slot = x->from.first; slot != 0; slot = bound_at(w->s, slot)->of_source.next) {
        const struct bound *b = bound_at(w->s, slot);
        uint64_t base = h ^ hash_u64(((uint64_t)b->to_exchange << 32) + b->destination);
        for (uint32_t i = 1; i <= b->weight; i++) {
            uint64_t draw = hash_u64(base + i * UINT64_C(0x9e3779b97f4a7c15));
            if (chosen == NULL || draw > highest) {
                highest = draw;
                chosen = b;
            }
        }
    }
    if (chosen != NULL) {
        take(w, chosen);
    }
}

static void walk_key(struct walk *w, const struct exchange *x, struct span key) {
    switch ((enum exchange_type)x->type) {
    case EXCHANGE_DIRECT:
        walk_direct(w, x, key);
        break;
    case EXCHANGE_TOPIC:
        walk_topic(w, x, key);
        break;
    case EXCHANGE_HASH:
        walk_ring(w, x, key);
        break;
    case EXCHANGE_FANOUT:
        walk_all(w, x);
        break;
    case EXCHANGE_HEADERS:
        walk_headers(w, x);
        break;
    }
}

static void walk_exchange(struct walk *w, struct exchange *x) {
    bool keyed = x->type == EXCHANGE_DIRECT || x->type == EXCHANGE_TOPIC;
    w->found = false;
    for (uint32_t i = 0; i < (keyed ? w->in->key_count : 1); i++) {
        walk_key(w, x, w->in->keys[i]);
    }
    const char *alternate = w->found ? NULL : policy_alternate(w->s, x);
    if (alternate != NULL) {
        uint32_t index = roster_find(&w->s->exchanges, span_text(alternate));
        if (index != 0) {
            take_exchange(w, exchange_at(w->s, index));
        }
    }
}

static void walk_default(struct walk *w) {
    for (uint32_t i = 0; i < w->in->key_count; i++) {
        char buffer[QUEUE_NAME_MAX_BYTES + 1];
        struct span name = amqp_queue_name(w->in->vhost, w->in->keys[i], buffer);
        uint32_t index = name.size == 0 ? 0 : roster_find(&w->s->m->queues->roster, name);
        if (index != 0) {
            take_queue(w, index);
        }
    }
}

enum refusal exchange_route(const struct model *m, const struct route_request *in,
                            const uint32_t **ret_queues, uint32_t *ret_count) {
    struct exchanges *s = m->exchanges;
    struct walk w;
    w.s = s;
    w.in = in;
    w.failed = false;
    s->routings++;
    s->queue_count = s->pending_count = 0;
    if (in->exchange.size == 0) {
        walk_default(&w);
    } else {
        struct exchange *x = exchange_find(m, in->vhost, in->exchange);
        if (x == NULL) {
            return REFUSAL_NOT_FOUND;
        }
        take_exchange(&w, x);
    }
    while (s->pending_count > 0) {
        walk_exchange(&w, exchange_at(s, s->pending[--s->pending_count]));
    }
    *ret_queues = s->queues;
    *ret_count = s->queue_count;
    return w.failed ? REFUSAL_LIMIT : REFUSAL_NONE;
}

/* ---- headers ---- */

/* all, any: x- headers of the binding do not count; with-x: they do. A value of type V only asks for presence. */
bool headers_match(const struct bound *b, struct span headers) {
    struct span arguments = bound_arguments(b);
    struct amqp_field wanted, present;
    struct span text;
    bool named = amqp_table_find(arguments, "x-match", &wanted) && amqp_field_text(&wanted, &text);
    bool any = named && (span_is(text, "any") || span_is(text, "any-with-x"));
    bool with_x = named && (span_is(text, "all-with-x") || span_is(text, "any-with-x"));
    while (amqp_table_next(&arguments, &wanted)) {
        bool is_x = wanted.name.size >= 2 && memcmp(wanted.name.data, "x-", 2) == 0;
        if (span_is(wanted.name, "x-match") || (is_x && !with_x)) {
            continue;
        }
        char name[256];
        memcpy(name, wanted.name.data, wanted.name.size);
        name[wanted.name.size] = '\0';
        bool same = amqp_table_find(headers, name, &present) &&
                    (wanted.type == 'V' || amqp_field_equal(&wanted, &present));
        if (same == any) {
            return any;
        }
    }
    return !any;
}
