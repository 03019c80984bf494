/*
 * model/exchange_state.h - the memory of the exchange module. Included by exchange*.c only.
 *
 *      vhost     by name
 *      exchange  by "<vhost>/<name>", the vhost escaped as in model/amqp.h
 *      bound     one binding: in the list of its source, in that of its destination, and in that of its place:
 *                  direct   those of one key, found by a map
 *                  topic    those of one node of the trie
 *                  others   the source's own list is the place
 *
 * Trie of a topic exchange: a node per word of a pattern, '*' and '#' like words; a child is found in one map for
 * all tries by (parent, word), '*' and '#' stand in the parent. So a step costs one look-up however many
 * bindings there are.
 */
#ifndef SLUICE_MODEL_EXCHANGE_STATE_H
#define SLUICE_MODEL_EXCHANGE_STATE_H

#include "base/map.h"
#include "base/slab.h"
#include "model/exchange.h"
#include "model/key_text.h"
#include "model/queue_state.h"
#include "model/roster.h"
#include "model/session_state.h"

#define EXCHANGE_NAME_MAX_BYTES QUEUE_NAME_MAX_BYTES
#define HASH_WEIGHT_MAX         1000u
#define ORIGIN_MAX_BYTES        (256u << 10) /* without the headers: 64 deaths, 256 keys */
#define DEAD_HEADERS_MAX_BYTES  (1u << 20)

struct vhost {
    uint32_t index;
    char *name; /* owns */
};

struct exchange {
    uint32_t index;
    uint8_t type; /* enum exchange_type */
    bool delayed, durable, auto_delete, internal, builtin;
    bool match_any, match_x;
    char *full;         /* owns; the roster's */
    char *alternate;    /* owns; its full name, NULL: none of its own: see policy_alternate */
    uint32_t policy;    /* index, 0: none */
    uint8_t *arguments; /* owns */
    uint32_t argument_size;
    struct slot_list from; /* bindings, of which it is the source */
    struct slot_list to;   /* that lead to it */
    uint32_t root;         /* of its trie */
    uint64_t routed;       /* last routing that came by */
};

struct bound {
    uint32_t source, destination; /* indices */
    struct slot_link of_source, of_destination, of_place;
    uint32_t node;      /* topic: of the trie */
    uint32_t text_size; /* of the arguments */
    uint8_t key_size;
    bool to_exchange;
    uint16_t weight; /* consistent hash */
    uint8_t *text;   /* owns: key, then arguments */
};

struct node {
    struct key_text word;
    uint32_t parent, exchange;
    uint32_t star, hash; /* children */
    uint32_t children;   /* the others */
    struct slot_list bindings;
    uint64_t walked; /* walk that came by, ... */
    uint32_t from;   /* ... for '#': and tried all places from here on */
};

struct exchanges {
    struct model *m; /* borrows: bindings name queues */
    struct roster vhosts, exchanges, policies;
    struct slab bindings, nodes;
    struct map by_binding; /* the whole of it: X1 */
    struct map by_key;     /* direct: first of a key */
    struct map by_word;    /* trie nodes */
    struct hash_key hash;
    uint32_t headers_users; /* headers exchanges that were declared, and bindings of any such */
    /* Of the routing under way. */
    uint64_t routings, walks;
    struct buffer origin;  /* of a message that dies */
    struct buffer headers; /* of it, as a headers exchange sees them */
    struct buffer text;    /* key and arguments of a binding */
    struct buffer seen;    /* struct seen_id: deduplication ids of the record under way */
    uint32_t *queues;      /* owns */
    uint32_t queue_count, queue_capacity;
    uint32_t *pending; /* owns: exchanges to be asked */
    uint32_t pending_count, pending_capacity;
};

struct seen_id {
    uint32_t queue;
    struct span id;
};

static inline struct exchange *exchange_at(const struct exchanges *s, uint32_t index) {
    return roster_at(&s->exchanges, index);
}
static inline struct bound *bound_at(const struct exchanges *s, uint32_t slot) {
    return slab_at(&s->bindings, slot);
}
static inline struct node *node_at(const struct exchanges *s, uint32_t slot) {
    return slab_at(&s->nodes, slot);
}
static inline struct span bound_key(const struct bound *b) {
    return span_of(b->text, b->key_size);
}
static inline struct span bound_arguments(const struct bound *b) {
    return b->text_size == 0 ? span_of(NULL, 0) : span_of(b->text + b->key_size, b->text_size);
}

/* ---- exchange_table.c ---- */

/* "<vhost>/<name>" into `buffer`; empty: no name. */
struct span exchange_full_name(struct span vhost, struct span name,
                               char buffer[EXCHANGE_NAME_MAX_BYTES + 1]);
struct span exchange_short_name(const struct exchange *x);
struct exchange *exchange_find(const struct model *m, struct span vhost, struct span name);
uint32_t bound_find(const struct exchanges *s, const struct bound *key);
MUST_CHECK int vhost_make(struct model *m, uint32_t index, struct span name);
/* `values` has type and flags; full and alternate are full names. E_NOMEM, E_CORRUPT. */
MUST_CHECK int exchange_make(struct model *m, uint32_t index, const struct exchange *values,
                             struct span full, struct span alternate, struct span arguments);
/* With its bindings. */
void exchange_remove(struct model *m, uint32_t index);
MUST_CHECK int binding_add(struct model *m, const struct bound *values);
/* The source goes with its last binding if it is auto-delete. */
void binding_remove(struct model *m, uint32_t slot);
/* Before a snapshot is loaded: nothing but what every beginning has stands here. E_NOMEM. */
void exchanges_clear(struct exchanges *s);
/* Direct: the first binding of a key. */
uint32_t direct_find(const struct exchanges *s, uint32_t exchange, struct span key);

/* ---- exchange_binding.c ---- */

enum refusal exchange_decide_bind(const struct model *m, struct decision *d, struct request *r);
/* Of what is not bound: nothing, and no refusal. */
enum refusal exchange_decide_unbind(const struct model *m, struct decision *d, struct request *r);
/* BINDING_ADDED, BINDING_REMOVED. E_CORRUPT, E_NOMEM. */
MUST_CHECK int exchange_apply_binding(struct model *m, uint16_t kind, struct reader *in);

/* ---- exchange_route.c ---- */

void topic_init(struct exchanges *s);
/* E_NOMEM. */
MUST_CHECK int topic_insert(struct exchanges *s, struct exchange *x, uint32_t slot);
void topic_remove(struct exchanges *s, struct exchange *x, uint32_t slot);
bool headers_match(const struct bound *b, struct span headers);

/* ---- exchange_publish.c ---- */

enum refusal exchange_decide_publish(const struct model *m, struct decision *d, struct request *r);
enum refusal exchange_decide_transaction(const struct model *m, struct decision *d,
                                         struct request *r);
/* What is stored of it: with `copies` ids from this one, the first in this queue. */
struct message_payload exchange_payload(const struct decision *d, const struct amqp_message *in,
                                        const struct queue *first, uint32_t copies, uint64_t id);

/* ---- exchange_death.c ---- */

/* What a message must remember of how it was published: its dead-letter exchange routes by that. Until the next call. */
struct span exchange_origin(const struct model *m, struct decision *d, const struct queue *q,
                            const struct amqp_message *in);
/* The queue refuses what is published and has it dead-lettered: a message of its own, with the body again. */
void exchange_emit_refused(const struct model *m, struct decision *d, const struct queue *q,
                           const struct amqp_message *in);

/* ---- exchange_snapshot.c ---- */

int exchange_save(const struct model *m, struct buffer *chunk,
                  int (*flush)(void *sink, struct buffer *chunk), void *sink);
int exchange_load(struct model *m, struct reader *section);
void exchange_check(const struct model *m);

#endif
