/*
 * model/campaign_state.h - the stored form of campaigns and entries. For campaign*.c only.
 *
 *      struct campaigns --- roster: name -> struct campaign
 *                       --- by_member: (campaign, member) -> standing entry   56 bytes an entry,
 *                       --- by_id:     receipt id         -> any entry        ~14 of maps
 *
 * The entries of a campaign hang in one list in order of their ids, which is the order of acceptance, of
 * pages and of snapshots. None leaves it before its campaign is deleted, so a page token is never lost.
 * A deleted campaign is reclaimed in steps, as a deleted stock is (stock_state.h).
 */
#ifndef SLUICE_MODEL_CAMPAIGN_STATE_H
#define SLUICE_MODEL_CAMPAIGN_STATE_H

#include "base/map.h"
#include "base/slab.h"
#include "model/campaign.h"
#include "model/key_text.h"
#include "model/roster.h"
#include "model/state.h"
#include "model/stock.h"

#define ENTRY_WITHDRAWN 1u /* failed, and the member may enter again: not in by_member */
#define ENTRY_UNIT_KEPT 2u /* failed, and its unit stays used */
#define ENTRY_FLAGS     3u

struct entry {
    struct key_text member;
    uint64_t id;
    uint64_t accepted_ns;
    uint32_t number;
    uint32_t campaign; /* index */
    uint32_t next;     /* slot */
    uint8_t state;     /* enum entry_state */
    uint8_t flags;
};

struct campaign {
    struct campaign_def def;
    uint64_t file_hash;  /* of the definition that the configuration file had last; 0: none */
    uint32_t generation; /* of the definition, from 1 */
    uint32_t index;
    uint32_t stock; /* index; it cannot be deleted while this campaign is there */
    uint32_t first, last;
    uint64_t accepted, sent, failed; /* C3 */
    uint64_t kept;                   /* failed ones whose unit stays used */
};

struct campaigns {
    struct roster roster; /* of struct campaign, owned */
    struct slab entries;
    struct map by_member;
    struct map by_id;
    struct hash_key hash;
    uint64_t entry_count;   /* of the campaigns in the roster */
    uint64_t key_bytes;     /* outside of the cells */
    struct campaign *dying; /* owns, or NULL */
};

static inline struct entry *entry_at(const struct campaigns *c, uint32_t slot) {
    return slab_at(&c->entries, slot);
}
static inline struct campaign *campaign_at(const struct model *m, uint32_t index) {
    return roster_at(&m->campaigns->roster, index);
}
static inline uint64_t campaign_entries(const struct campaign *c) {
    return c->accepted + c->sent + c->failed;
}
/* Entries that took a unit; one whose unit was cancelled through the stock counts on. */
static inline uint64_t campaign_units(const struct campaign *c) {
    return c->accepted + c->sent + c->kept;
}

/* See module.h. */
void entry_prefetch(const struct model *m, const struct request *r, unsigned step);

/* A definition for `k`, which enters the roster when it is new. `def` is taken over, whatever comes out,
 * and so is a new `k`. */
MUST_CHECK int campaign_install(struct model *m, struct campaign *k, struct campaign_def *def);

/* ---- campaign_entry.c: the set of entries, and what is decided about one ---- */

bool entry_matches_member(const void *owner, uint32_t slot, const void *key);
bool entry_matches_id(const void *owner, uint32_t slot, const void *key);

/* Slots, 0 when there is none. */
uint32_t entry_find_member(const struct campaigns *c, uint32_t campaign, struct span member);
uint32_t entry_find_id(const struct campaigns *c, uint64_t id);
struct entry_info entry_describe(const struct entry *e);

struct entry_value {
    struct span member;
    uint64_t id, accepted_ns;
    uint32_t number;
    uint8_t state, flags;
};
/* At the end of the campaign's list. E_NOMEM; E_CORRUPT: the member stands already, out of order, or impossible. */
MUST_CHECK int entry_add(struct campaigns *c, struct campaign *k, const struct entry_value *v);

enum refusal campaign_decide_enter(const struct model *m, struct decision *d, struct request *r);
MUST_CHECK int campaign_apply_entered(struct model *m, const struct applied *w, struct reader *p);
MUST_CHECK int campaign_apply_settled(struct model *m, struct reader *p);

/* Takes the entries of a campaign that left the roster; frees it, now or later. */
void campaign_bury(struct campaigns *c, struct campaign *k);
void campaigns_reclaim(struct campaigns *c, uint32_t cells);
void campaign_release_keys(struct campaigns *c, struct campaign *k);
void campaign_free(struct campaign *k);

/* ---- campaign_snapshot.c ---- */

int campaign_save(const struct model *m, struct buffer *chunk,
                  int (*flush)(void *sink, struct buffer *chunk), void *sink);
int campaign_load(struct model *m, struct reader *section);
void campaign_check_invariants(const struct model *m);

#endif
