/*
 * Entries: the set of them, the composite decision that makes one, and what ends one.
 *
 * The states and their moves are drawn in campaign.h; entry_set_state is the only writer, so that state,
 * counters and the map of members move together.
 */
#include "model/campaign_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/fact.h"

#define FACT_HEADER_BYTES 8u
#define ID_RUN_BITS       8u

/* ---- look-up ---- */

struct scoped_member {
    uint32_t campaign;
    struct span member;
};

static uint64_t member_hash_of(const struct campaigns *c, uint32_t campaign, struct span member) {
    return hash_u64(hash_bytes(c->hash, member) + campaign * UINT64_C(0x9e3779b97f4a7c15));
}

bool entry_matches_member(const void *owner, uint32_t slot, const void *key) {
    const struct entry *e = entry_at(owner, slot);
    const struct scoped_member *k = key;
    return e->campaign == k->campaign && span_equal(key_text_span(&e->member), k->member);
}

static uint64_t entry_hash_member(const void *owner, uint32_t slot) {
    const struct entry *e = entry_at(owner, slot);
    return member_hash_of(owner, e->campaign, key_text_span(&e->member));
}

bool entry_matches_id(const void *owner, uint32_t slot, const void *key) {
    return entry_at(owner, slot)->id == *(const uint64_t *)key;
}

/*
 * Ids are made here, nobody chooses them: no secret is needed. Runs of neighbours lie together in the
 * map, so that they find their places in the cache.
 */
static uint64_t id_hash_of(uint64_t id) {
    return map_hash_in_run(hash_u64(id), id_position(id) >> ID_RUN_BITS);
}

static uint64_t entry_hash_id(const void *owner, uint32_t slot) {
    return id_hash_of(entry_at(owner, slot)->id);
}

static uint32_t find_hashed(const struct campaigns *c, uint64_t hash, uint32_t campaign,
                            struct span member) {
    struct scoped_member k = {.campaign = campaign, .member = member};
    return map_find(&c->by_member, hash, &k);
}

uint32_t entry_find_member(const struct campaigns *c, uint32_t campaign, struct span member) {
    return find_hashed(c, member_hash_of(c, campaign, member), campaign, member);
}

uint32_t entry_find_id(const struct campaigns *c, uint64_t id) {
    return map_find(&c->by_id, id_hash_of(id), &id);
}

void entry_prefetch(const struct model *m, const struct request *r, unsigned step) {
    if (step > 0 || r->kind != REQUEST_CAMPAIGN_ENTER) {
        return;
    }
    const struct campaigns *c = m->campaigns;
    uint32_t index = roster_find(&c->roster, r->name);
    if (index == 0) {
        return;
    }
    struct span member = r->in.enter.member;
    map_prefetch(&c->by_member, member_hash_of(c, index, member));
    stock_prefetch_member(m, campaign_at(m, index)->stock, member);
}

struct entry_info entry_describe(const struct entry *e) {
    struct entry_info info;
    memset(&info, 0, sizeof info); /* the bytes go out in pages, padding too */
    info.id = e->id;
    info.number = e->number;
    info.accepted_ns = e->accepted_ns;
    info.state = (enum entry_state)e->state;
    return info;
}

/* An entry of a campaign that is still there, or NULL. */
static struct entry *living_entry(const struct model *m, uint64_t id) {
    uint32_t slot = entry_find_id(m->campaigns, id);
    struct entry *e = slot == 0 ? NULL : entry_at(m->campaigns, slot);
    return e == NULL || campaign_at(m, e->campaign) == NULL ? NULL : e;
}

const char *campaign_entry_by_id(const struct model *m, uint64_t id, struct entry_info *ret) {
    const struct entry *e = living_entry(m, id);
    if (e == NULL) {
        return NULL;
    }
    *ret = entry_describe(e);
    return campaign_at(m, e->campaign)->def.name;
}

uint64_t campaign_member_hash(const struct model *m, uint64_t message) {
    const struct entry *e = living_entry(m, message);
    struct hash_key fixed = {.k0 = 0x6d656d626572, .k1 = 0};
    return e == NULL ? 0 : hash_bytes(fixed, key_text_span(&e->member)) | 1;
}

/* ---- the set ---- */

static void count(struct campaign *k, const struct entry *e, int change) {
    uint64_t *of_state[] = {
        [ENTRY_ACCEPTED] = &k->accepted, [ENTRY_SENT] = &k->sent, [ENTRY_FAILED] = &k->failed};
    *of_state[e->state] += (uint64_t)change;
    k->kept += e->flags & ENTRY_UNIT_KEPT ? (uint64_t)change : 0;
}

static bool state_is_valid(uint8_t state, uint8_t flags) {
    bool known = state >= ENTRY_ACCEPTED && state <= ENTRY_FAILED && flags < ENTRY_FLAGS;
    return known && (flags == 0 || state == ENTRY_FAILED);
}

static int map_entry(struct campaigns *c, uint32_t slot, uint64_t member_hash) {
    const struct entry *e = entry_at(c, slot);
    int rc = map_insert(&c->by_id, entry_hash_id(c, slot), slot);
    if (rc != 0 || e->flags & ENTRY_WITHDRAWN) {
        return rc;
    }
    rc = map_insert(&c->by_member, member_hash, slot);
    if (rc != 0) {
        map_remove(&c->by_id, entry_hash_id(c, slot), slot);
    }
    return rc;
}

static int entry_make(struct campaigns *c, const struct campaign *k, const struct entry_value *v,
                      uint64_t member_hash, uint32_t *ret_slot) {
    uint32_t slot = 0;
    int rc = slab_take(&c->entries, &slot);
    if (rc != 0) {
        return rc;
    }
    struct entry *e = entry_at(c, slot);
    e->id = v->id;
    e->accepted_ns = v->accepted_ns;
    e->number = v->number;
    e->campaign = k->index;
    e->state = v->state;
    e->flags = v->flags;
    rc = key_text_init(&e->member, v->member);
    if (rc == 0) {
        rc = map_entry(c, slot, member_hash);
    }
    if (rc != 0) {
        key_text_release(&e->member);
        slab_give(&c->entries, slot);
        return rc;
    }
    c->key_bytes += key_text_memory_bytes(&e->member);
    *ret_slot = slot;
    return 0;
}

int entry_add(struct campaigns *c, struct campaign *k, const struct entry_value *v) {
    bool in_order = k->last == 0 || entry_at(c, k->last)->id < v->id;
    bool stands = (v->flags & ENTRY_WITHDRAWN) == 0;
    uint64_t hash = member_hash_of(c, k->index, v->member);
    if (!in_order || v->member.size == 0 || !state_is_valid(v->state, v->flags) ||
        (stands && find_hashed(c, hash, k->index, v->member) != 0)) {
        return E_CORRUPT; /* C2 among others */
    }
    uint32_t slot = 0;
    int rc = entry_make(c, k, v, hash, &slot);
    if (rc != 0) {
        return rc;
    }
    if (k->last != 0) {
        entry_at(c, k->last)->next = slot;
    } else {
        k->first = slot;
    }
    k->last = slot;
    c->entry_count++;
    count(k, entry_at(c, slot), 1);
    return 0;
}

static int entry_set_state(struct campaigns *c, struct campaign *k, uint32_t slot, uint8_t state,
                           uint8_t flags) {
    struct entry *e = entry_at(c, slot);
    bool stood = (e->flags & ENTRY_WITHDRAWN) == 0;
    bool stands = (flags & ENTRY_WITHDRAWN) == 0;
    if (stands && !stood) {
        if (entry_find_member(c, k->index, key_text_span(&e->member)) != 0) {
            return E_CORRUPT; /* C2 */
        }
        int rc = map_insert(&c->by_member, entry_hash_member(c, slot), slot);
        if (rc != 0) {
            return rc;
        }
    } else if (stood && !stands) {
        map_remove(&c->by_member, entry_hash_member(c, slot), slot);
    }
    count(k, e, -1);
    e->state = state;
    e->flags = flags;
    count(k, e, 1);
    return 0;
}

/* ---- entering ---- */

static enum refusal check_hours(const struct campaign *k, uint64_t now_ns, struct request *r) {
    if (now_ns < k->def.opens_ns) {
        r->opens_ns = k->def.opens_ns;
        return REFUSAL_NOT_OPEN;
    }
    return k->def.closes_ns != 0 && now_ns >= k->def.closes_ns ? REFUSAL_CLOSED : REFUSAL_NONE;
}

/* What the caller takes the member by next time. */
static enum refusal refuse_stale(const struct campaign *k, struct decision *d, struct request *r) {
    r->generation = k->generation;
    d->failed |= buffer_append_text(&r->out_bytes, k->def.member_pointer) != 0;
    return REFUSAL_STALE;
}

static enum refusal check_member(const struct model *m, const struct campaign *k,
                                 struct request *r) {
    struct span member = r->in.enter.member;
    if (member.size == 0 || member.size > KEY_MAX_BYTES) {
        return request_invalid(r, k->def.member_pointer, "the member key has 1 to 255 bytes");
    }
    uint32_t slot = entry_find_member(m->campaigns, k->index, member);
    if (slot == 0) {
        return REFUSAL_NONE;
    }
    const struct entry *e = entry_at(m->campaigns, slot);
    r->out.entry = entry_describe(e);
    r->receipt = (struct receipt){.id = e->id, .accepted_ns = e->accepted_ns, .number = e->number};
    return REFUSAL_ALREADY_CLAIMED;
}

static enum refusal check_room(const struct model *m, const struct decision *d,
                               const struct campaign *k, struct span purchase, struct request *r) {
    struct reservation_info known;
    bool is_known = false;
    enum refusal refusal = stock_check_plus(m, d, k->stock, purchase, r->in.enter.member,
                                            k->def.safety_stock, &known, &is_known);
    assert(!is_known); /* stock_check lets nobody take the number of a receipt to come */
    if (refusal == REFUSAL_LIMIT || m->campaigns->entry_count >= m->limits.entries) {
        return request_refuse(r, REFUSAL_LIMIT, "the limit of entries or purchases is reached");
    }
    return refusal == REFUSAL_NONE && !d->may_grow ? REFUSAL_DISK_FULL : refusal;
}

/*
 * CAMPAIGN_ENTERED v1; the time of the record is the time of acceptance.
 *   offset size
 *        0    4  campaign index
 *        4    8  receipt id, of the queued message too
 *       12    4  number of the unit
 *       16    .  member key
 */
static void emit_entered(struct decision *d, uint32_t campaign, const struct receipt *receipt,
                         struct span member) {
    size_t begun = decision_begin(d, FACT_CAMPAIGN_ENTERED, 1);
    decision_put_u32(d, campaign);
    decision_put_u64(d, receipt->id);
    decision_put_u32(d, (uint32_t)receipt->number);
    decision_put_key(d, member);
    decision_end(d, begun);
}

static struct publish publish_of(const struct campaign *k, const struct request *r) {
    return (struct publish){
        .queue = span_text(k->def.queue),
        .priority = k->def.priority,
        .unique_key = r->in.enter.member,
        .envelope = r->in.enter.envelope,
    };
}

static void emit_entry(const struct model *m, struct decision *d, const struct campaign *k,
                       uint32_t queue, struct span purchase, struct request *r) {
    uint64_t number = stock_emit_plus(m, d, k->stock, purchase, r->in.enter.member, 0);
    if (queue != 0) {
        struct publish p = publish_of(k, r);
        struct tie tie = {.campaign = k->index, .stock = k->stock, .purchase = purchase};
        queue_emit_put(m, d, queue, &p, &tie, &r->receipt);
    } else {
        r->receipt.id = id_make(d->position, d->operation++);
        r->receipt.accepted_ns = d->now_ns;
    }
    r->receipt.number = number;
    emit_entered(d, k->index, &r->receipt, r->in.enter.member);
    r->out.entry = (struct entry_info){
        .id = r->receipt.id, .number = number, .accepted_ns = d->now_ns, .state = ENTRY_ACCEPTED};
}

enum refusal campaign_decide_enter(const struct model *m, struct decision *d, struct request *r) {
    const struct campaign *k = campaign_at(m, roster_find(&m->campaigns->roster, r->name));
    if (k == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no campaign by this name");
    }
    if (r->in.enter.generation != k->generation) {
        return refuse_stale(k, d, r);
    }
    uint64_t id = id_make(d->position, d->operation); /* that emit_entry will take */
    char text[18];
    receipt_format(id, text);
    uint32_t queue = 0;
    enum refusal refusal = check_hours(k, d->now_ns, r);
    if (refusal == REFUSAL_NONE) {
        refusal = check_member(m, k, r);
    }
    if (refusal == REFUSAL_NONE) {
        refusal = check_room(m, d, k, span_text(text), r);
    }
    if (refusal == REFUSAL_NONE && k->def.queue[0] != '\0') {
        struct publish p = publish_of(k, r);
        refusal = queue_check_publish(m, d, &p, r, &queue);
    }
    if (refusal == REFUSAL_NONE) {
        emit_entry(m, d, k, queue, span_text(text), r);
        assert(d->failed || r->receipt.id == id);
    }
    return refusal;
}

int campaign_apply_entered(struct model *m, const struct applied *w, struct reader *p) {
    struct campaign *k = campaign_at(m, reader_u32(p));
    struct entry_value v = {.accepted_ns = w->time_ns, .state = ENTRY_ACCEPTED};
    v.id = reader_u64(p);
    v.number = reader_u32(p);
    v.member = reader_key(p);
    return k == NULL || p->failed ? E_CORRUPT : entry_add(m->campaigns, k, &v);
}

/* ---- ending ---- */

/*
 * CAMPAIGN_SETTLED v1
 *   offset size
 *        0    4  campaign index
 *        4    8  receipt id of the entry
 *       12    4  number of its unit; a redrive brings a new one
 *       16    1  state: ENTRY_SENT, ENTRY_FAILED; ENTRY_ACCEPTED after a redrive
 *       17    1  flags: 1 withdrawn, the member may enter again; 2 the unit stays used
 */
static void emit_settled(struct decision *d, const struct entry *e, uint64_t number,
                         enum entry_state state, uint8_t flags) {
    size_t begun = decision_begin(d, FACT_CAMPAIGN_SETTLED, 1);
    decision_put_u32(d, e->campaign);
    decision_put_u64(d, e->id);
    decision_put_u32(d, (uint32_t)number);
    decision_put_u8(d, (uint8_t)state);
    decision_put_u8(d, flags);
    decision_end(d, begun);
}

static uint8_t flags_of(enum campaign_failure policy) {
    switch (policy) {
    case CAMPAIGN_FAILURE_RELEASE_REENTER:
        return ENTRY_WITHDRAWN;
    case CAMPAIGN_FAILURE_KEEP:
        return ENTRY_UNIT_KEPT;
    case CAMPAIGN_FAILURE_RELEASE:
        break;
    }
    return 0;
}

void campaign_emit_settlement(const struct model *m, struct decision *d, uint64_t message,
                              const struct tie *tie, bool sent) {
    const struct entry *e = tie->campaign == 0 ? NULL : living_entry(m, message);
    if (e != NULL && e->state != ENTRY_ACCEPTED) {
        return; /* C3 */
    }
    bool keeps = sent;
    if (e != NULL && sent) {
        emit_settled(d, e, e->number, ENTRY_SENT, 0);
    } else if (e != NULL) {
        uint8_t flags = flags_of(campaign_at(m, e->campaign)->def.on_failure);
        emit_settled(d, e, e->number, ENTRY_FAILED, flags);
        keeps = (flags & ENTRY_UNIT_KEPT) != 0;
    }
    if (!keeps && tie->stock != 0) {
        stock_emit_minus(m, d, tie->stock, tie->purchase, MINUS_SEND_FAILED);
    }
}

/* Whether this very decision lets another entry of the same member stand again. */
static bool stands_again_in(const struct model *m, const struct decision *d,
                            const struct entry *e) {
    struct reader facts;
    reader_init(&facts, buffer_span(d->facts));
    while (facts.left >= FACT_HEADER_BYTES) {
        uint16_t kind = reader_u16(&facts);
        (void)reader_u16(&facts);
        struct reader p;
        reader_init(&p, reader_take(&facts, reader_u32(&facts)));
        if (kind != FACT_CAMPAIGN_SETTLED || reader_u32(&p) != e->campaign) {
            continue;
        }
        const struct entry *other = living_entry(m, reader_u64(&p));
        (void)reader_u32(&p);
        if (reader_u8(&p) == ENTRY_ACCEPTED && other != NULL &&
            span_equal(key_text_span(&other->member), key_text_span(&e->member))) {
            return true;
        }
    }
    return false;
}

static enum refusal redrive_unit(const struct model *m, struct decision *d, const struct tie *tie,
                                 const struct entry *e, uint64_t *ret_number) {
    if (stock_definition(m, tie->stock) == NULL) {
        return REFUSAL_REFERENCE;
    }
    struct span member = {.size = 0};
    uint64_t keep_back = 0;
    if (e != NULL) {
        member = key_text_span(&e->member);
        keep_back = campaign_at(m, e->campaign)->def.safety_stock;
    }
    struct reservation_info known;
    bool is_known = false;
    enum refusal refusal =
        stock_check_plus(m, d, tie->stock, tie->purchase, member, keep_back, &known, &is_known);
    if (refusal == REFUSAL_NONE) {
        *ret_number =
            is_known ? known.number : stock_emit_plus(m, d, tie->stock, tie->purchase, member, 0);
    }
    return refusal;
}

enum refusal campaign_emit_redrive(const struct model *m, struct decision *d, uint64_t message,
                                   const struct tie *tie) {
    const struct entry *e = tie->campaign == 0 ? NULL : living_entry(m, message);
    uint64_t number = 0;
    if (e == NULL) {
        return tie->stock == 0 ? REFUSAL_NONE : redrive_unit(m, d, tie, NULL, &number);
    }
    if (e->state != ENTRY_FAILED) {
        return REFUSAL_CONFLICT;
    }
    bool withdrawn = (e->flags & ENTRY_WITHDRAWN) != 0;
    if (withdrawn &&
        (entry_find_member(m->campaigns, e->campaign, key_text_span(&e->member)) != 0 ||
         stands_again_in(m, d, e))) {
        return REFUSAL_ALREADY_CLAIMED;
    }
    number = e->number;
    if ((e->flags & ENTRY_UNIT_KEPT) == 0) {
        enum refusal refusal = redrive_unit(m, d, tie, e, &number);
        if (refusal != REFUSAL_NONE) {
            return refusal;
        }
    }
    emit_settled(d, e, number, ENTRY_ACCEPTED, 0);
    return REFUSAL_NONE;
}

int campaign_apply_settled(struct model *m, struct reader *p) {
    struct campaign *k = campaign_at(m, reader_u32(p));
    uint32_t slot = entry_find_id(m->campaigns, reader_u64(p));
    uint32_t number = reader_u32(p);
    uint8_t state = reader_u8(p);
    uint8_t flags = reader_u8(p);
    if (k == NULL || slot == 0 || p->failed || !state_is_valid(state, flags)) {
        return E_CORRUPT;
    }
    struct entry *e = entry_at(m->campaigns, slot);
    bool redriven = state == ENTRY_ACCEPTED;
    if (e->campaign != k->index || e->state != (redriven ? ENTRY_FAILED : ENTRY_ACCEPTED)) {
        return E_CORRUPT; /* C3 */
    }
    e->number = number;
    return entry_set_state(m->campaigns, k, slot, state, flags);
}

/* ---- whole campaigns ---- */

void campaign_free(struct campaign *k) {
    if (k != NULL) {
        campaign_def_release(&k->def);
        free(k);
    }
}

static void entry_drop(struct campaigns *c, uint32_t slot) {
    struct entry *e = entry_at(c, slot);
    map_remove(&c->by_id, entry_hash_id(c, slot), slot);
    if ((e->flags & ENTRY_WITHDRAWN) == 0) {
        map_remove(&c->by_member, entry_hash_member(c, slot), slot);
    }
    c->key_bytes -= key_text_memory_bytes(&e->member);
    key_text_release(&e->member);
    slab_give(&c->entries, slot);
}

void campaigns_reclaim(struct campaigns *c, uint32_t cells) {
    struct campaign *k = c->dying;
    if (k == NULL) {
        return;
    }
    for (; cells > 0 && k->first != 0; cells--) {
        uint32_t slot = k->first;
        k->first = entry_at(c, slot)->next;
        entry_drop(c, slot);
    }
    if (k->first == 0) {
        campaign_free(k);
        c->dying = NULL;
    }
}

void campaign_bury(struct campaigns *c, struct campaign *k) {
    campaigns_reclaim(c, UINT32_MAX); /* an earlier one first, so that one waits at most */
    c->entry_count -= campaign_entries(k);
    c->dying = k;
    campaigns_reclaim(c, 0); /* an empty one is gone at once */
}

void campaign_release_keys(struct campaigns *c, struct campaign *k) {
    for (uint32_t slot = k->first; slot != 0; slot = entry_at(c, slot)->next) {
        key_text_release(&entry_at(c, slot)->member);
    }
}
