/*
 * Campaigns: their definitions, what is asked of them, and where their facts go. Single entries are in
 * campaign_entry.c.
 */
#include "model/campaign_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/fact.h"

#define DEFINITION_BYTES (8u << 10)
#define POINTER_MAX      255u
#define RECLAIM_CELLS    32u

/* ---- made and freed ---- */

int campaigns_create(const struct model *m, struct campaigns **ret) {
    struct campaigns *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return E_NOMEM;
    }
    c->hash = m->hash;
    slab_init(&c->entries, sizeof(struct entry), UINT32_MAX - 1); /* limits bind decide only */
    roster_init(&c->roster, m->hash);
    map_init(&c->by_member, c, entry_matches_member);
    map_init(&c->by_id, c, entry_matches_id);
    *ret = c;
    return 0;
}

void campaigns_free(struct campaigns *c) {
    if (c == NULL) {
        return;
    }
    campaigns_reclaim(c, UINT32_MAX);
    for (uint32_t i = roster_after(&c->roster, 0); i != 0; i = roster_after(&c->roster, i)) {
        struct campaign *k = roster_at(&c->roster, i);
        campaign_release_keys(c, k);
        campaign_free(k);
    }
    roster_release(&c->roster);
    map_release(&c->by_member);
    map_release(&c->by_id);
    slab_release(&c->entries);
    free(c);
}

uint64_t campaigns_memory_bytes(const struct model *m) {
    const struct campaigns *c = m->campaigns;
    return sizeof *c + c->key_bytes + roster_memory_bytes(&c->roster) +
           c->roster.live * sizeof(struct campaign) + slab_memory_bytes(&c->entries) +
           map_memory_bytes(&c->by_member) + map_memory_bytes(&c->by_id);
}

/* ---- what others ask: a walk over the campaigns, but only when something is defined or deleted ---- */

bool campaign_uses_stock(const struct model *m, uint32_t stock) {
    const struct roster *roster = &m->campaigns->roster;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        if (campaign_at(m, i)->stock == stock) {
            return true;
        }
    }
    return false;
}

bool campaign_uses_queue(const struct model *m, uint32_t queue) {
    const struct roster *roster = &m->campaigns->roster;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        const char *name = campaign_at(m, i)->def.queue;
        if (name[0] != '\0' && queue_find(m, span_text(name)) == queue) {
            return true;
        }
    }
    return false;
}

uint64_t campaign_least_total(const struct model *m, uint32_t stock) {
    const struct roster *roster = &m->campaigns->roster;
    uint64_t least = 0;
    for (uint32_t i = roster_after(roster, 0); i != 0; i = roster_after(roster, i)) {
        const struct campaign *k = campaign_at(m, i);
        uint64_t needs = campaign_units(k) + k->def.safety_stock;
        if (k->stock == stock && needs > least) {
            least = needs;
        }
    }
    return least;
}

/* ---- definitions ---- */

/* RFC 6901: each '~' is followed by 0 or 1. */
static bool pointer_is_valid(const char *pointer) {
    if (pointer[0] != '/' || strlen(pointer) > POINTER_MAX) {
        return false;
    }
    for (const char *at = pointer; *at != '\0'; at++) {
        if (*at == '~' && at[1] != '0' && at[1] != '1') {
            return false;
        }
    }
    return true;
}

static enum refusal check_fields(const struct model *m, const struct campaign_def *def,
                                 struct request *r) {
    if (!name_valid(span_text(def->name))) {
        return request_invalid(r, "/name", "1 to 128 letters, digits, dots, dashes, underscores");
    }
    if (!pointer_is_valid(def->member_pointer)) {
        return request_invalid(r, "/memberPointer", "a JSON pointer such as \"/member\"");
    }
    if (def->closes_ns != 0 && def->closes_ns <= def->opens_ns) {
        return request_invalid(r, "/closesAt", "must be later than the opening");
    }
    const struct stock_def *stock = stock_definition(m, stock_find(m, span_text(def->stock)));
    if (stock == NULL) {
        return request_refuse_at(r, REFUSAL_REFERENCE, "/stock", "there is no such stock");
    }
    if (def->safety_stock > stock->total) {
        return request_invalid(r, "/safetyStock", "more than the total of the stock");
    }
    if (def->queue[0] == '\0') {
        return REFUSAL_NONE;
    }
    uint32_t queue = queue_find(m, span_text(def->queue));
    if (queue == 0) {
        return request_refuse_at(r, REFUSAL_REFERENCE, "/queue", "there is no such queue");
    }
    if (def->priority > queue_definition(m, queue)->max_priority) {
        return request_invalid(r, "/priority", "above the maxPriority of the queue");
    }
    return REFUSAL_NONE;
}

/* What may not change any more once somebody has entered. */
static enum refusal check_change(const struct model *m, const struct decision *d,
                                 const struct campaign *k, const struct campaign_def *def,
                                 struct request *r) {
    if (campaign_entries(k) == 0) {
        return REFUSAL_NONE;
    }
    if (strcmp(def->stock, k->def.stock) != 0) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/stock",
                                 "entries were given units of the present stock");
    }
    if (strcmp(def->member_pointer, k->def.member_pointer) != 0) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/memberPointer",
                                 "entries are known by the present member pointer");
    }
    if (def->opens_ns > d->now_ns && def->opens_ns != k->def.opens_ns) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/opensAt",
                                 "there are entries, so the opening cannot lie ahead");
    }
    if (def->safety_stock > k->def.safety_stock &&
        campaign_units(k) + def->safety_stock > stock_definition(m, k->stock)->total) {
        return request_refuse_at(r, REFUSAL_CONFLICT, "/safetyStock",
                                 "more than what the entries have left of the stock");
    }
    return REFUSAL_NONE;
}

static enum refusal check_definition(const struct model *m, const struct decision *d,
                                     const struct campaign *k, const struct campaign_def *def,
                                     struct request *r) {
    enum refusal refusal = check_fields(m, def, r);
    if (refusal != REFUSAL_NONE || k != NULL) {
        return refusal != REFUSAL_NONE ? refusal : check_change(m, d, k, def, r);
    }
    if (!d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    uint32_t live = m->campaigns->roster.live;
    if (live >= m->limits.campaigns || live >= ROSTER_ITEMS_MAX) {
        return request_refuse(r, REFUSAL_LIMIT, "the limit of campaigns is reached");
    }
    return REFUSAL_NONE;
}

/*
 * CAMPAIGN_DEFINED v1
 *   offset size
 *        0    4  campaign index
 *        4    4  generation of the definition, one more with each change
 *        8    8  hash of the file's definition, 0: no file ever named it
 *       16    .  the definition as campaign_def_encode writes it
 */
static void emit_defined(struct decision *d, uint32_t index, uint32_t generation,
                         uint64_t file_hash, struct span definition) {
    size_t begun = decision_begin(d, FACT_CAMPAIGN_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u32(d, generation);
    decision_put_u64(d, file_hash);
    decision_put_span(d, definition);
    decision_end(d, begun);
}

static enum refusal decide_encoded(const struct model *m, struct decision *d, struct request *r,
                                   const struct campaign *k, struct span present,
                                   struct span wanted) {
    bool emit = false;
    uint64_t file_hash = 0;
    enum refusal refusal = definition_decide(&r->in.define.how, present, wanted,
                                             k == NULL ? 0 : k->file_hash, &emit, &file_hash);
    uint32_t generation = k == NULL ? 0 : k->generation;
    if (refusal == REFUSAL_NONE && emit) {
        uint32_t index = k == NULL ? roster_next_index(&m->campaigns->roster) : k->index;
        generation += !span_equal(present, wanted);
        emit_defined(d, index, generation, file_hash, wanted);
    }
    r->generation = generation;
    return refusal;
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    const struct campaign_def *def = r->in.define.campaign;
    const struct campaign *k =
        campaign_at(m, roster_find(&m->campaigns->roster, span_text(def->name)));
    struct buffer present, wanted;
    buffer_init(&present, DEFINITION_BYTES);
    buffer_init(&wanted, DEFINITION_BYTES);
    enum refusal refusal = check_definition(m, d, k, def, r);
    if (refusal == REFUSAL_NONE) {
        if (campaign_def_encode(def, &wanted) != 0 ||
            (k != NULL && campaign_def_encode(&k->def, &present) != 0)) {
            d->failed = true;
        } else {
            refusal = decide_encoded(m, d, r, k, buffer_span(&present), buffer_span(&wanted));
        }
    }
    buffer_release(&present);
    buffer_release(&wanted);
    return refusal;
}

/*
 * CAMPAIGN_DELETED v1
 *        0    4  campaign index
 */
static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r) {
    uint32_t index = roster_find(&m->campaigns->roster, r->name);
    if (index == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no campaign by this name");
    }
    size_t begun = decision_begin(d, FACT_CAMPAIGN_DELETED, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

/* ---- reads ---- */

static void describe(const struct model *m, const struct campaign *k, uint64_t now_ns,
                     struct campaign_info *ret) {
    struct stock_info stock;
    stock_describe(m, k->stock, &stock);
    uint64_t left = stock.total - stock.used;
    memset(ret, 0, sizeof *ret);
    ret->entries = campaign_entries(k);
    ret->sent = k->sent;
    ret->failed = k->failed;
    ret->left = left > k->def.safety_stock ? left - k->def.safety_stock : 0;
    ret->open = now_ns >= k->def.opens_ns && (k->def.closes_ns == 0 || now_ns < k->def.closes_ns);
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r) {
    const struct campaign *k = campaign_at(m, roster_find(&m->campaigns->roster, r->name));
    if (k == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no campaign by this name");
    }
    describe(m, k, d->now_ns, &r->out.campaign);
    r->generation = k->generation;
    d->failed |= campaign_def_encode(&k->def, &r->out_bytes) != 0;
    return REFUSAL_NONE;
}

static int list_item(const struct model *m, const struct campaign *k, uint64_t now_ns,
                     struct buffer *out) {
    struct campaign_info info;
    describe(m, k, now_ns, &info);
    size_t at = 0;
    int rc = sized_begin(out, &at);
    if (rc == 0) {
        rc = campaign_def_encode(&k->def, out);
    }
    if (rc == 0) {
        sized_end(out, at);
        rc = buffer_put_bytes(out, span_of(&info, sizeof info));
    }
    return rc;
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct roster *roster = &m->campaigns->roster;
    uint32_t max = request_list_max(r);
    uint32_t last = (uint32_t)r->in.list.after;
    uint32_t index = roster_after(roster, last);
    for (; index != 0 && r->count < max; index = roster_after(roster, index)) {
        d->failed |= list_item(m, campaign_at(m, index), d->now_ns, &r->out_bytes) != 0;
        r->count++;
        last = index;
    }
    r->next = index == 0 ? 0 : last;
    return REFUSAL_NONE;
}

/* By the receipt id of the path, or by the member key. out_bytes: the member key. */
static enum refusal decide_entry_get(const struct model *m, struct decision *d, struct request *r) {
    uint32_t index = roster_find(&m->campaigns->roster, r->name);
    uint32_t slot = r->id != 0 ? entry_find_id(m->campaigns, r->id)
                               : entry_find_member(m->campaigns, index, r->in.enter.member);
    const struct entry *e = index == 0 || slot == 0 ? NULL : entry_at(m->campaigns, slot);
    if (e == NULL || e->campaign != index) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such entry of this campaign");
    }
    r->out.entry = entry_describe(e);
    r->receipt = (struct receipt){.id = e->id, .accepted_ns = e->accepted_ns, .number = e->number};
    d->failed |= buffer_append_span(&r->out_bytes, key_text_span(&e->member)) != 0;
    return REFUSAL_NONE;
}

static enum refusal decide_entries(const struct model *m, struct decision *d, struct request *r) {
    const struct campaigns *c = m->campaigns;
    const struct campaign *k = campaign_at(m, roster_find(&c->roster, r->name));
    if (k == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no campaign by this name");
    }
    uint32_t slot = k->first;
    if (r->in.list.after != 0) {
        uint32_t last = entry_find_id(c, r->in.list.after);
        if (last == 0 || entry_at(c, last)->campaign != k->index) {
            return request_invalid(r, "/pageToken", "not of a page of this campaign");
        }
        slot = entry_at(c, last)->next;
    }
    uint32_t max = request_list_max(r);
    uint64_t last_id = 0;
    for (; slot != 0 && r->count < max; slot = entry_at(c, slot)->next) {
        const struct entry *e = entry_at(c, slot);
        struct entry_info info = entry_describe(e);
        d->failed |= buffer_put_bytes(&r->out_bytes, span_of(&info, sizeof info)) != 0;
        d->failed |= buffer_put_bytes(&r->out_bytes, key_text_span(&e->member)) != 0;
        r->count++;
        last_id = e->id;
    }
    r->next = slot == 0 ? 0 : last_id;
    return REFUSAL_NONE;
}

static enum refusal campaign_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_CAMPAIGN_ENTER:
        return campaign_decide_enter(m, d, r);
    case REQUEST_CAMPAIGN_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_CAMPAIGN_DELETE:
        return decide_delete(m, d, r);
    case REQUEST_CAMPAIGN_GET:
        return decide_get(m, d, r);
    case REQUEST_CAMPAIGN_LIST:
        return decide_list(m, d, r);
    case REQUEST_CAMPAIGN_ENTRY_GET:
        return decide_entry_get(m, d, r);
    case REQUEST_CAMPAIGN_ENTRIES:
        return decide_entries(m, d, r);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

int campaign_install(struct model *m, struct campaign *k, struct campaign_def *def) {
    struct roster *roster = &m->campaigns->roster;
    bool is_new = roster_at(roster, k->index) != k;
    if (!is_new && strcmp(k->def.name, def->name) != 0) {
        campaign_def_release(def);
        return E_CORRUPT;
    }
    if (!is_new) {
        roster_rename(roster, k->index, def->name);
        campaign_def_release(&k->def);
    }
    k->def = *def;
    k->stock = stock_find(m, span_text(def->stock));
    int rc = k->stock == 0 ? E_CORRUPT : 0;
    if (rc == 0 && is_new) {
        rc = roster_put(roster, k->index, k, k->def.name);
    }
    if (rc != 0 && is_new) {
        campaign_free(k);
    }
    return rc;
}

static int apply_defined(struct model *m, struct reader *p) {
    uint32_t index = reader_u32(p);
    uint32_t generation = reader_u32(p);
    uint64_t file_hash = reader_u64(p);
    struct campaign_def def;
    int rc = campaign_def_decode(p, &def);
    if (rc != 0) {
        return rc;
    }
    struct campaign *k = campaign_at(m, index);
    if (k == NULL) {
        k = calloc(1, sizeof *k);
    }
    if (k == NULL) {
        campaign_def_release(&def);
        return E_NOMEM;
    }
    k->index = index;
    k->generation = generation;
    k->file_hash = file_hash;
    return campaign_install(m, k, &def);
}

static int apply_deleted(struct model *m, struct reader *p) {
    uint32_t index = reader_u32(p);
    struct campaign *k = campaign_at(m, index);
    if (k == NULL) {
        return E_CORRUPT;
    }
    roster_remove(&m->campaigns->roster, index);
    campaign_bury(m->campaigns, k);
    return 0;
}

static int campaign_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                          struct reader *p) {
    (void)version; /* each kind has one so far */
    campaigns_reclaim(m->campaigns, RECLAIM_CELLS);
    switch (kind) {
    case FACT_CAMPAIGN_ENTERED:
        return campaign_apply_entered(m, w, p);
    case FACT_CAMPAIGN_SETTLED:
        return campaign_apply_settled(m, p);
    case FACT_CAMPAIGN_DEFINED:
        return apply_defined(m, p);
    case FACT_CAMPAIGN_DELETED:
        return apply_deleted(m, p);
    default:
        return E_CORRUPT;
    }
}

const struct module campaign_module = {
    .name = "campaign",
    .decide = campaign_decide,
    .prefetch = entry_prefetch,
    .apply = campaign_apply,
    .save = campaign_save,
    .load = campaign_load,
    .check = campaign_check_invariants,
    .memory_bytes = campaigns_memory_bytes,
    .section_version = 1,
};
