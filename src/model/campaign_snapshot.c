/*
 * The campaigns in a snapshot, and their invariants.
 *
 *      roster (roster_save)
 *      a campaign:  u32 index, u32 generation, u64 file hash, u64 entries, definition
 *      an entry:    u64 id, u64 accepted, u32 number, u8 state, u8 flags, member key
 *
 * Entries stand in the order of their ids; counters and maps follow from them.
 */
#include "model/campaign_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

static void save_entries(struct saver *out, const struct campaigns *c, const struct campaign *k) {
    for (uint32_t slot = k->first; slot != 0; slot = entry_at(c, slot)->next) {
        const struct entry *e = entry_at(c, slot);
        save_u64(out, e->id);
        save_u64(out, e->accepted_ns);
        save_u32(out, e->number);
        save_u8(out, e->state);
        save_u8(out, e->flags);
        save_key(out, key_text_span(&e->member));
        save_item_end(out);
    }
}

int campaign_save(const struct model *m, struct buffer *chunk,
                  int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct campaigns *c = m->campaigns;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    roster_save(&c->roster, &out);
    for (uint32_t i = roster_after(&c->roster, 0); i != 0; i = roster_after(&c->roster, i)) {
        const struct campaign *k = campaign_at(m, i);
        save_u32(&out, i);
        save_u32(&out, k->generation);
        save_u64(&out, k->file_hash);
        save_u64(&out, campaign_entries(k));
        out.rc = out.rc != 0 ? out.rc : campaign_def_encode(&k->def, chunk);
        save_item_end(&out);
        save_entries(&out, c, k);
    }
    return out.rc;
}

static int load_entry(struct campaigns *c, struct campaign *k, struct reader *in) {
    struct entry_value v = {.id = reader_u64(in)};
    v.accepted_ns = reader_u64(in);
    v.number = reader_u32(in);
    v.state = reader_u8(in);
    v.flags = reader_u8(in);
    v.member = reader_key(in);
    return in->failed ? E_CORRUPT : entry_add(c, k, &v);
}

static int load_campaign(struct model *m, struct reader *in) {
    struct campaign *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return E_NOMEM;
    }
    k->index = reader_u32(in);
    k->generation = reader_u32(in);
    k->file_hash = reader_u64(in);
    uint64_t entries = reader_u64(in);
    struct campaign_def def;
    int rc = campaign_def_decode(in, &def);
    if (rc != 0) {
        campaign_free(k);
        return rc;
    }
    rc = campaign_install(m, k, &def);
    while (rc == 0 && entries-- > 0) {
        rc = load_entry(m->campaigns, k, in);
    }
    return rc;
}

int campaign_load(struct model *m, struct reader *section) {
    uint32_t items = 0;
    int rc = roster_load(&m->campaigns->roster, section, &items);
    while (rc == 0 && items-- > 0) {
        rc = load_campaign(m, section);
    }
    return rc == 0 && section->failed ? E_CORRUPT : rc;
}

static void check_campaign(const struct model *m, const struct campaign *k) {
    const struct campaigns *c = m->campaigns;
    uint64_t of_state[ENTRY_FAILED + 1] = {0};
    uint64_t kept = 0, id = 0;
    for (uint32_t slot = k->first; slot != 0; slot = entry_at(c, slot)->next) {
        const struct entry *e = entry_at(c, slot);
        assert(e->campaign == k->index && e->id > id);
        assert(entry_find_id(c, e->id) == slot);
        uint32_t standing = entry_find_member(c, k->index, key_text_span(&e->member));
        assert((e->flags & ENTRY_WITHDRAWN) != 0 ? standing != slot : standing == slot); /* C2 */
        of_state[e->state]++;
        kept += (e->flags & ENTRY_UNIT_KEPT) != 0;
        id = e->id;
    }
    assert(k->accepted == of_state[ENTRY_ACCEPTED] && k->sent == of_state[ENTRY_SENT]); /* C3 */
    assert(k->failed == of_state[ENTRY_FAILED] && k->kept == kept);
    const struct stock_def *stock = stock_definition(m, k->stock);
    assert(stock != NULL && strcmp(stock->name, k->def.stock) == 0);
}

void campaign_check_invariants(const struct model *m) {
    const struct campaigns *c = m->campaigns;
    uint64_t entries = 0;
    roster_check(&c->roster);
    for (uint32_t i = roster_after(&c->roster, 0); i != 0; i = roster_after(&c->roster, i)) {
        check_campaign(m, campaign_at(m, i));
        entries += campaign_entries(campaign_at(m, i));
    }
    assert(entries == c->entry_count && c->by_id.count == c->entries.live);
    assert(c->dying != NULL || c->entries.live == entries);
}
