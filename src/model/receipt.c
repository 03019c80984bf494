/*
 * Receipts of what has ended: a queue of cells in order of their end, found by id.
 *
 * A new one drives out old ones: those above limits.receipts, and, at most RECEIPT_SWEEP at a time, those
 * past their time to live. So no timer is needed and replay drops the same ones. What is past its time
 * and still there is not shown.
 *
 * Snapshot section: u32 count, then per receipt, oldest first:
 *      0 8 id   8 8 changed   16 4 queue index   20 4 attempts   24 2 status   26 1 state   27 1 reason
 * Since version 2 the high 4 bits of the state are what was told of it, those of the reason the last error.
 */
#include "model/receipt.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/slab.h"
#include "model/campaign.h"
#include "model/put.h"
#include "model/queue.h"
#include "model/state.h"

#define RECEIPT_SWEEP 4u
#define LOW_BITS      4u
#define LOW_MASK      15u

struct receipt_cell {
    uint64_t id;
    uint64_t changed_ns;
    uint32_t queue; /* index; the queue may be gone */
    uint32_t attempts;
    uint32_t next; /* slot, 0: the youngest */
    uint16_t status;
    uint8_t state;  /* in the high 4 bits what was told of it: enum confirm_outcome */
    uint8_t reason; /* in the high 4 bits the last error: enum attempt_error */
};

_Static_assert(DEAD_REASON_MAX <= LOW_MASK && ATTEMPT_ERROR_MAX <= LOW_MASK, "they share a byte");

struct receipts {
    struct slab cells;
    struct map by_id;
    uint32_t first, last; /* oldest, youngest */
};

static inline struct receipt_cell *cell_at(const struct receipts *s, uint32_t slot) {
    return slab_at(&s->cells, slot);
}

static bool id_matches(const void *owner, uint32_t slot, const void *key) {
    return cell_at(owner, slot)->id == *(const uint64_t *)key;
}

int receipts_create(const struct model *m, struct receipts **ret) {
    struct receipts *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    slab_init(&s->cells, sizeof(struct receipt_cell), UINT32_MAX - 1);
    map_init(&s->by_id, s, id_matches);
    *ret = s;
    return 0;
}

void receipts_free(struct receipts *s) {
    if (s != NULL) {
        map_release(&s->by_id);
        slab_release(&s->cells);
        free(s);
    }
}

static void drop_oldest(struct receipts *s) {
    uint32_t slot = s->first;
    struct receipt_cell *c = cell_at(s, slot);
    s->first = c->next;
    s->last = s->first == 0 ? 0 : s->last;
    map_remove(&s->by_id, hash_u64(c->id), slot);
    slab_give(&s->cells, slot);
}

static bool is_over(const struct model *m, const struct receipt_cell *c, uint64_t now_ns) {
    return now_ns > c->changed_ns && now_ns - c->changed_ns >= m->limits.receipt_ttl_ns;
}

static int append(struct receipts *s, const struct receipt_cell *values) {
    if (map_find(&s->by_id, hash_u64(values->id), &values->id) != 0) {
        return E_CORRUPT; /* R2 */
    }
    uint32_t slot = 0;
    int rc = slab_take(&s->cells, &slot);
    if (rc != 0) {
        return rc;
    }
    *cell_at(s, slot) = *values;
    rc = map_insert(&s->by_id, hash_u64(values->id), slot);
    if (rc != 0) {
        slab_give(&s->cells, slot);
        return rc;
    }
    *(s->last != 0 ? &cell_at(s, s->last)->next : &s->first) = slot;
    s->last = slot;
    return 0;
}

int receipt_note(struct model *m, const struct applied *w, uint64_t id, uint32_t queue,
                 enum message_state state, enum dead_reason reason, uint16_t status, uint8_t error,
                 uint32_t attempts) {
    struct receipts *s = m->receipts;
    for (unsigned i = 0; i < RECEIPT_SWEEP && s->first != 0; i++) {
        if (!is_over(m, cell_at(s, s->first), w->time_ns)) {
            break;
        }
        drop_oldest(s);
    }
    while (s->cells.live >= m->limits.receipts) {
        drop_oldest(s); /* R1 */
    }
    struct receipt_cell c = {
        .id = id,
        .changed_ns = w->time_ns,
        .queue = queue,
        .attempts = attempts,
        .status = status,
        .state = (uint8_t)state,
        .reason = (uint8_t)((unsigned)reason | (unsigned)error << LOW_BITS),
    };
    return append(s, &c);
}

void receipt_confirmed(struct model *m, uint64_t id, enum confirm_outcome outcome) {
    struct receipts *s = m->receipts;
    uint32_t slot = map_find(&s->by_id, hash_u64(id), &id);
    if (slot != 0) {
        struct receipt_cell *c = cell_at(s, slot);
        c->state = (uint8_t)((c->state & LOW_MASK) | (unsigned)outcome << LOW_BITS);
    }
}

static const struct receipt_cell *find_fresh(const struct model *m, uint64_t now_ns, uint64_t id) {
    const struct receipts *s = m->receipts;
    uint32_t slot = map_find(&s->by_id, hash_u64(id), &id);
    const struct receipt_cell *c = slot == 0 ? NULL : cell_at(s, slot);
    return c == NULL || is_over(m, c, now_ns) ? NULL : c;
}

bool receipt_find_confirmation(const struct model *m, uint64_t now_ns, uint64_t id,
                               enum confirm_outcome *ret_outcome, uint32_t *ret_queue) {
    const struct receipt_cell *c = find_fresh(m, now_ns, id);
    if (c == NULL || c->queue == 0) {
        return false;
    }
    *ret_outcome = (enum confirm_outcome)(c->state >> LOW_BITS);
    *ret_queue = c->queue;
    return true;
}

/* ---- RECEIPT_GET ---- */

static bool from_message(const struct model *m, uint64_t now_ns, uint64_t id,
                         struct receipt_info *ret, uint32_t *ret_queue) {
    struct message_info info;
    if (!queue_message_info(m, id, now_ns, &info, ret_queue)) {
        return false;
    }
    *ret = (struct receipt_info){
        .id = id,
        .address = info.address,
        .state = info.state,
        .dead_reason = info.dead_reason,
        .last_status = info.last_status,
        .last_error = info.last_error,
        .attempts = info.attempts,
        .changed_ns = info.changed_ns > info.accepted_ns ? info.changed_ns : 0,
        .due_ns = info.due_ns,
        .eta = info.eta,
    };
    return true;
}

static bool from_cell(const struct model *m, uint64_t now_ns, uint64_t id, struct receipt_info *ret,
                      uint32_t *ret_queue) {
    const struct receipt_cell *c = find_fresh(m, now_ns, id);
    if (c == NULL) {
        return false;
    }
    *ret = (struct receipt_info){
        .id = id,
        .state = (enum message_state)(c->state & LOW_MASK),
        .confirmed = (enum confirm_outcome)(c->state >> LOW_BITS),
        .dead_reason = (enum dead_reason)(c->reason & LOW_MASK),
        .last_status = c->status,
        .last_error = (uint8_t)(c->reason >> LOW_BITS),
        .attempts = c->attempts,
        .changed_ns = c->changed_ns,
    };
    *ret_queue = c->queue;
    return true;
}

/* A campaign remembers its entries longer than receipts are kept. */
static void from_entry(const struct entry_info *e, struct receipt_info *ret) {
    *ret = (struct receipt_info){.id = e->id};
    if (e->state == ENTRY_SENT) {
        ret->state = MESSAGE_DONE;
    } else if (e->state == ENTRY_FAILED) {
        ret->state = MESSAGE_DROPPED;
    }
}

static bool put_name(const char *name, struct buffer *out) {
    return name == NULL || buffer_append_text(out, name) == 0;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r) {
    struct entry_info entry = {0};
    uint32_t queue = 0;
    const char *campaign = campaign_entry_by_id(m, r->id, &entry);
    bool entered = campaign != NULL;
    struct receipt_info *info = &r->out.receipt;
    if (!from_message(m, d->now_ns, r->id, info, &queue) &&
        !from_cell(m, d->now_ns, r->id, info, &queue)) {
        if (!entered) {
            return request_refuse(r, REFUSAL_NOT_FOUND, RECEIPT_NOT_KNOWN);
        }
        from_entry(&entry, info);
    }
    info->number = entered ? entry.number : 0;
    const struct queue_def *def = queue_definition(m, queue);
    d->failed |= !put_name(def != NULL ? def->name : NULL, &r->out_bytes);
    r->count = r->out_bytes.size;
    d->failed |= !put_name(campaign, &r->out_bytes);
    return REFUSAL_NONE;
}

static enum refusal receipt_decide(const struct model *m, struct decision *d, struct request *r) {
    return r->kind == REQUEST_RECEIPT_GET ? decide_get(m, d, r) : REFUSAL_NONE;
}

/* ---- snapshot, check ---- */

static int receipt_save(const struct model *m, struct buffer *chunk,
                        int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct receipts *s = m->receipts;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    save_u32(&out, s->cells.live);
    for (uint32_t slot = s->first; slot != 0; slot = cell_at(s, slot)->next) {
        const struct receipt_cell *c = cell_at(s, slot);
        save_u64(&out, c->id);
        save_u64(&out, c->changed_ns);
        save_u32(&out, c->queue);
        save_u32(&out, c->attempts);
        save_u16(&out, c->status);
        save_u8(&out, c->state);
        save_u8(&out, c->reason);
        save_item_end(&out);
    }
    return out.rc;
}

static int receipt_load(struct model *m, struct reader *section) {
    struct message_view view;
    uint32_t count = reader_u32(section);
    int rc = 0;
    for (uint32_t i = 0; i < count && rc == 0 && !section->failed; i++) {
        struct receipt_cell c = {.id = reader_u64(section)};
        c.changed_ns = reader_u64(section);
        c.queue = reader_u32(section);
        c.attempts = reader_u32(section);
        c.status = reader_u16(section);
        c.state = reader_u8(section);
        c.reason = reader_u8(section);
        /* The end of a message that is still there would make a second one. */
        bool valid =
            !section->failed && (c.state & LOW_MASK) <= MESSAGE_DROPPED &&
            c.state >> LOW_BITS <= CONFIRM_MISSED && (c.reason & LOW_MASK) <= DEAD_REASON_MAX &&
            c.reason >> LOW_BITS <= ATTEMPT_ERROR_MAX && !queue_message_view(m, c.id, &view);
        rc = valid ? append(m->receipts, &c) : E_CORRUPT;
    }
    return rc;
}

static void receipt_check(const struct model *m) {
    const struct receipts *s = m->receipts;
    uint32_t count = 0, last = 0;
    struct message_view view;
    for (uint32_t slot = s->first; slot != 0; slot = cell_at(s, slot)->next) {
        const struct receipt_cell *c = cell_at(s, slot);
        assert(map_find(&s->by_id, hash_u64(c->id), &c->id) == slot); /* R2 */
        assert(!queue_message_view(m, c->id, &view));
        last = slot;
        count++;
    }
    assert(last == s->last && count == s->cells.live && count == s->by_id.count);
    assert(count <= m->limits.receipts); /* R1 */
}

static uint64_t receipt_memory_bytes(const struct model *m) {
    const struct receipts *s = m->receipts;
    return sizeof *s + slab_memory_bytes(&s->cells) + map_memory_bytes(&s->by_id);
}

const struct module receipt_module = {
    .name = "receipt",
    .decide = receipt_decide,
    .save = receipt_save,
    .load = receipt_load,
    .check = receipt_check,
    .memory_bytes = receipt_memory_bytes,
    .section_version = 2,
};
