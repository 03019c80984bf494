/*
 * model/stock_state.h - the stored form of stocks, purchases and members. For stock*.c only.
 *
 *      struct stocks --- roster: name -> struct stock
 *                    --- purchase_map: (stock, purchase) -> struct purchase   72 bytes + ~7 of map
 *                    --- member_map:   (stock, member)   -> struct member     32 bytes + ~7 of map
 *
 * One slab and one map serve all stocks, so ten thousand small stocks cost little and one of ten
 * million never stalls by growing. The purchases of a stock hang in two lists: `timed` (holds and
 * tombstones, which have a timer) and `final`, each in the order in which they came there. The lists
 * give the order of a snapshot.
 *
 * Deleting a stock drops its timers at once and leaves the rest to be reclaimed a few cells at each
 * later fact (stocks_reclaim), so that a stock of a million units is not a pause of all clients. What
 * waits there is invisible: roster, counters and snapshots know nothing of it. At most one stock waits.
 */
#ifndef SLUICE_MODEL_STOCK_STATE_H
#define SLUICE_MODEL_STOCK_STATE_H

#include "base/map.h"
#include "base/slab.h"
#include "model/key_text.h"
#include "model/roster.h"
#include "model/state.h"
#include "model/stock.h"
#include "model/stock_numbers.h"

struct purchase {
    struct key_text key;
    uint64_t id; /* the receipt that it was reserved with; 0: none of its own */
    uint64_t made_ns;
    uint64_t until_ns; /* end of the hold or tombstone, and its timer; 0: final */
    uint32_t number;   /* 0: a tombstone */
    uint32_t stock;    /* index */
    uint32_t member;   /* slot, 0: none */
    uint32_t next, prev;
};

struct member {
    struct key_text key;
    uint32_t stock;
    uint32_t purchases; /* > 0: a member without any is forgotten */
};

struct purchase_list {
    uint32_t first, last;
};

struct stock {
    struct stock_def def;
    uint64_t file_hash; /* of the definition that the configuration file had last; 0: none */
    uint32_t index;
    struct purchase_list timed;
    struct purchase_list final;
    struct number_set numbers;
    uint64_t held;
    uint64_t tombstones;
    uint64_t sold_out_since_ns; /* 0: it is not */
};

struct stocks {
    struct roster roster; /* of struct stock, owned */
    struct slab purchases;
    struct slab members;
    struct map purchase_map;
    struct map member_map;
    struct hash_key hash;
    uint64_t purchase_count; /* of the stocks in the roster, tombstones included */
    uint64_t tombstone_count;
    uint64_t key_bytes;  /* outside of the cells */
    struct stock *dying; /* owns, or NULL */
};

static inline struct purchase *purchase_at(const struct stocks *s, uint32_t slot) {
    return slab_at(&s->purchases, slot);
}
static inline struct member *member_at(const struct stocks *s, uint32_t slot) {
    return slab_at(&s->members, slot);
}
static inline struct stock *stock_at(const struct model *m, uint32_t index) {
    return roster_at(&m->stocks->roster, index);
}
/* S1: a number is in use for each unit in use. */
static inline uint64_t stock_used(const struct stock *st) {
    return st->numbers.used;
}

/* ---- stock_reserve.c ---- */

struct reservation_info purchase_describe(const struct purchase *p);
/* A hold or tombstone is over. */
void stock_on_timer(const struct model *m, struct decision *d, uint32_t timer_kind, uint64_t ref);

/* ---- stock_purchase.c: the set of purchases ---- */

/* For the two maps. */
bool purchase_matches(const void *owner, uint32_t slot, const void *key);
bool member_matches(const void *owner, uint32_t slot, const void *key);

/* Slots, 0 when there is none. */
uint32_t purchase_find(const struct stocks *s, uint32_t stock, struct span key);
uint32_t member_find(const struct stocks *s, uint32_t stock, struct span key);

/* The fields that facts and snapshots carry. number 0: a tombstone; until_ns 0: final. */
struct purchase_value {
    struct span key, member;
    uint64_t id, made_ns, until_ns;
    uint32_t number;
};
/* E_NOMEM; E_CORRUPT: it is there already, the number is taken or beyond the total. */
MUST_CHECK int purchase_add(struct model *m, struct stock *st, const struct purchase_value *v);
/* The unit goes back; a tombstone until `tombstone_until_ns` takes its place, 0: nothing does. */
MUST_CHECK int purchase_release(struct model *m, struct stock *st, uint32_t slot,
                                uint64_t tombstone_until_ns);
/* Held -> final. */
void purchase_confirm(struct model *m, struct stock *st, uint32_t slot);
/* Takes a tombstone away. */
void purchase_forget(struct model *m, struct stock *st, uint32_t slot);

/* Takes all purchases of a stock that left the roster; frees it, now or later. */
void stock_bury(struct model *m, struct stock *st);
/* Frees up to `cells` purchases of a stock that was deleted. */
void stocks_reclaim(struct stocks *s, uint32_t cells);
/* Frees what the keys of a stock hold outside of their cells; for the end of everything. */
void stock_release_keys(struct stocks *s, struct stock *st);
void stock_free(struct stock *st);

/* Sets or clears sold_out by S5. */
void stock_note_level(struct stock *st, uint64_t now_ns);

/* ---- stock_snapshot.c ---- */

int stock_save(const struct model *m, struct buffer *chunk,
               int (*flush)(void *sink, struct buffer *chunk), void *sink);
int stock_load(struct model *m, struct reader *section);
void stock_check_invariants(const struct model *m);

#endif
