/*
 * Histories: bytes per message in a list by the time of their last change, found by message id.
 *
 * Entry (little-endian):
 *      0 1 kind   1 8 time, then
 *      attempt: 4 attempt, 4 duration in us, 4 destination index, 4 endpoint id, 2 status, 1 error, 1 verdict,
 *               2 length of the excerpt, excerpt
 *      died: 1 reason        moved: 4 index of the queue that it came from
 *
 * Snapshot section (left out while there is none): u32 count, then, the longest unchanged first:
 *      8 message   8 last change   4 entries that went   4 bytes   . entries
 */
#include "model/history.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/slab.h"
#include "model/destination.h"
#include "model/endpoint.h"
#include "model/put.h"
#include "model/queue.h"
#include "model/state.h"

#define ENTRY_MAX (64u + 512u)

struct history_cell {
    uint64_t message;
    uint64_t changed_ns;
    uint8_t *bytes; /* owns */
    uint32_t size;
    uint32_t went;       /* entries that had to go */
    uint32_t next, prev; /* slots, by the last change */
};

struct histories {
    struct slab cells;
    struct map by_message;
    uint32_t first, last; /* longest unchanged, latest */
    uint64_t bytes;
};

static inline struct history_cell *cell_at(const struct histories *s, uint32_t slot) {
    return slab_at(&s->cells, slot);
}

static bool message_matches(const void *owner, uint32_t slot, const void *key) {
    return cell_at(owner, slot)->message == *(const uint64_t *)key;
}

int histories_create(const struct model *m, struct histories **ret) {
    struct histories *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    slab_init(&s->cells, sizeof(struct history_cell), UINT32_MAX - 1);
    map_init(&s->by_message, s, message_matches);
    *ret = s;
    return 0;
}

void histories_free(struct histories *s) {
    if (s == NULL) {
        return;
    }
    for (uint32_t slot = s->first; slot != 0; slot = cell_at(s, slot)->next) {
        free(cell_at(s, slot)->bytes);
    }
    map_release(&s->by_message);
    slab_release(&s->cells);
    free(s);
}

const char *history_kind_name(enum history_kind kind) {
    static const char *const names[] = {"", "attempt", "died", "redriven", "edited", "moved"};
    return (unsigned)kind < ARRAY_LENGTH(names) ? names[kind] : "";
}

static uint32_t find(const struct histories *s, uint64_t message) {
    return s->by_message.count == 0 ? 0 : map_find(&s->by_message, hash_u64(message), &message);
}

/* ---- the list ---- */

static void unlink_cell(struct histories *s, uint32_t slot) {
    struct history_cell *c = cell_at(s, slot);
    *(c->prev != 0 ? &cell_at(s, c->prev)->next : &s->first) = c->next;
    *(c->next != 0 ? &cell_at(s, c->next)->prev : &s->last) = c->prev;
}

static void link_last(struct histories *s, uint32_t slot) {
    struct history_cell *c = cell_at(s, slot);
    c->next = 0;
    c->prev = s->last;
    *(s->last != 0 ? &cell_at(s, s->last)->next : &s->first) = slot;
    s->last = slot;
}

static void drop(struct histories *s, uint32_t slot) {
    struct history_cell *c = cell_at(s, slot);
    unlink_cell(s, slot);
    s->bytes -= c->size;
    free(c->bytes);
    map_remove(&s->by_message, hash_u64(c->message), slot);
    slab_give(&s->cells, slot);
}

static int make(struct histories *s, uint64_t message, uint32_t *ret_slot) {
    int rc = slab_take(&s->cells, ret_slot);
    if (rc != 0) {
        return rc;
    }
    *cell_at(s, *ret_slot) = (struct history_cell){.message = message};
    rc = map_insert(&s->by_message, hash_u64(message), *ret_slot);
    if (rc != 0) {
        slab_give(&s->cells, *ret_slot);
        return rc;
    }
    link_last(s, *ret_slot);
    return 0;
}

/* ---- entries ---- */

static int put_entry(struct buffer *out, const struct history_entry *e) {
    struct saver s = {.chunk = out};
    save_u8(&s, (uint8_t)e->kind);
    save_u64(&s, e->time_ns);
    if (e->kind == HISTORY_ATTEMPT) {
        save_u32(&s, e->attempt);
        save_u32(&s, e->duration_us);
        save_u32(&s, e->destination);
        save_u32(&s, e->endpoint);
        save_u16(&s, e->status);
        save_u8(&s, e->error);
        save_u8(&s, e->verdict);
        save_u16(&s, (uint16_t)e->excerpt.size);
        s.rc = s.rc != 0 ? s.rc : buffer_append_span(out, e->excerpt);
    } else if (e->kind == HISTORY_DIED) {
        save_u8(&s, (uint8_t)e->reason);
    } else if (e->kind == HISTORY_MOVED) {
        save_u32(&s, e->queue);
    }
    return s.rc;
}

static bool take_entry(struct reader *in, struct history_entry *ret) {
    struct history_entry e = {.kind = (enum history_kind)reader_u8(in)};
    e.time_ns = reader_u64(in);
    if (e.kind == HISTORY_ATTEMPT) {
        e.attempt = reader_u32(in);
        e.duration_us = reader_u32(in);
        e.destination = reader_u32(in);
        e.endpoint = reader_u32(in);
        e.status = reader_u16(in);
        e.error = reader_u8(in);
        e.verdict = reader_u8(in);
        e.excerpt = reader_take(in, reader_u16(in));
    } else if (e.kind == HISTORY_DIED) {
        e.reason = (enum dead_reason)reader_u8(in);
    } else if (e.kind == HISTORY_MOVED) {
        e.queue = reader_u32(in);
    }
    *ret = e;
    return !in->failed && e.kind >= HISTORY_ATTEMPT && e.kind <= HISTORY_KIND_MAX;
}

/* From which on so many bytes are left; counts what is in front of it. */
static uint32_t first_kept(const struct history_cell *c, uint32_t room, uint32_t *went) {
    struct reader in;
    reader_init(&in, span_of(c->bytes, c->size));
    struct history_entry e;
    while (in.left > room && take_entry(&in, &e)) {
        ++*went;
    }
    return c->size - (uint32_t)in.left;
}

static int append(struct histories *s, struct history_cell *c, struct span entry) {
    uint32_t went = 0;
    uint32_t from = first_kept(c, HISTORY_BYTES_MAX - (uint32_t)entry.size, &went);
    uint32_t kept = c->size - from;
    uint8_t *bytes = malloc(kept + entry.size);
    if (bytes == NULL) {
        return E_NOMEM;
    }
    if (kept > 0) {
        memcpy(bytes, c->bytes + from, kept);
    }
    memcpy(bytes + kept, entry.data, entry.size);
    s->bytes = s->bytes - c->size + kept + entry.size;
    free(c->bytes);
    c->bytes = bytes;
    c->size = kept + (uint32_t)entry.size;
    c->went += went;
    return 0;
}

int history_note(struct model *m, uint64_t message, const struct history_entry *e) {
    struct histories *s = m->histories;
    if (!m->fact_told) {
        return 0;
    }
    uint32_t slot = find(s, message);
    int rc = slot != 0 ? 0 : make(s, message, &slot);
    if (rc != 0) {
        return rc;
    }
    struct buffer entry;
    buffer_init(&entry, ENTRY_MAX);
    struct history_cell *c = cell_at(s, slot);
    rc = put_entry(&entry, e);
    rc = rc != 0 ? rc : append(s, c, buffer_span(&entry));
    buffer_release(&entry);
    if (rc != 0) {
        return rc;
    }
    c->changed_ns = e->time_ns;
    unlink_cell(s, slot);
    link_last(s, slot);
    queue_message_storied(m, message, true);
    while (s->bytes > m->limits.history_bytes && s->first != 0) { /* H2 */
        queue_message_storied(m, cell_at(s, s->first)->message, false);
        drop(s, s->first);
    }
    return 0;
}

void history_forget(struct model *m, uint64_t message) {
    uint32_t slot = find(m->histories, message);
    if (slot != 0) {
        drop(m->histories, slot);
    }
}

uint64_t history_changed_ns(const struct model *m, uint64_t message) {
    uint32_t slot = find(m->histories, message);
    return slot != 0 ? cell_at(m->histories, slot)->changed_ns : 0;
}

/* ---- telling ---- */

static const struct endpoint_def *endpoint_of(const struct destination_def *def, uint32_t id) {
    for (uint32_t i = 0; i < def->endpoints.count; i++) {
        const struct endpoint_def *e = &def->endpoints.items[i];
        if (endpoint_id(span_text(endpoint_def_name(e))) == id) {
            return e;
        }
    }
    return NULL;
}

static void name_parts(const struct model *m, struct history_entry *e) {
    if (e->kind == HISTORY_ATTEMPT) {
        const struct destination_def *def = destination_definition(m, e->destination);
        const struct endpoint_def *at = def != NULL ? endpoint_of(def, e->endpoint) : NULL;
        e->destination_name = def != NULL ? span_text(def->name) : span_of(NULL, 0);
        e->endpoint_name = at != NULL ? span_text(endpoint_def_name(at)) : span_of(NULL, 0);
    } else if (e->kind == HISTORY_MOVED) {
        const struct queue_def *def = queue_definition(m, e->queue);
        e->queue_name = def != NULL ? span_text(def->name) : span_of(NULL, 0);
    }
}

static int tell_entry(const struct model *m, struct history_entry *e, struct buffer *out) {
    name_parts(m, e);
    int rc = put_entry(out, e);
    rc = rc != 0 ? rc : buffer_put_bytes(out, e->destination_name);
    rc = rc != 0 ? rc : buffer_put_bytes(out, e->endpoint_name);
    return rc != 0 ? rc : buffer_put_bytes(out, e->queue_name);
}

int history_tell(const struct model *m, uint64_t message, struct buffer *out) {
    uint32_t slot = find(m->histories, message);
    if (slot == 0) {
        return 0;
    }
    const struct history_cell *c = cell_at(m->histories, slot);
    int rc = buffer_put_u32(out, c->went);
    struct reader in;
    reader_init(&in, span_of(c->bytes, c->size));
    struct history_entry e;
    while (rc == 0 && in.left > 0 && take_entry(&in, &e)) {
        rc = tell_entry(m, &e, out);
    }
    return rc;
}

bool history_next(struct reader *told, struct history_entry *ret) {
    if (told->left == 0 || !take_entry(told, ret)) {
        return false;
    }
    ret->destination_name = reader_bytes(told);
    ret->endpoint_name = reader_bytes(told);
    ret->queue_name = reader_bytes(told);
    return !told->failed;
}

/* ---- snapshot, check ---- */

static int history_save(const struct model *m, struct buffer *chunk,
                        int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct histories *s = m->histories;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    if (s->first == 0) {
        return 0;
    }
    save_u32(&out, s->cells.live);
    for (uint32_t slot = s->first; slot != 0; slot = cell_at(s, slot)->next) {
        const struct history_cell *c = cell_at(s, slot);
        save_u64(&out, c->message);
        save_u64(&out, c->changed_ns);
        save_u32(&out, c->went);
        save_u32(&out, c->size);
        out.rc = out.rc != 0 ? out.rc : buffer_append_span(chunk, span_of(c->bytes, c->size));
        save_item_end(&out);
    }
    return out.rc;
}

static bool entries_valid(struct span bytes) {
    struct reader in;
    struct history_entry e;
    reader_init(&in, bytes);
    while (in.left > 0 && take_entry(&in, &e)) {
    }
    return bytes.size > 0 && bytes.size <= HISTORY_BYTES_MAX && reader_done(&in);
}

static int load_one(struct model *m, struct reader *in) {
    struct histories *s = m->histories;
    uint64_t message = reader_u64(in), changed_ns = reader_u64(in);
    uint32_t went = reader_u32(in), slot = 0;
    struct span bytes = reader_bytes(in);
    if (in->failed || !entries_valid(bytes) || find(s, message) != 0 ||
        !queue_message_storied(m, message, true)) {
        return E_CORRUPT;
    }
    uint8_t *copy = malloc(bytes.size);
    int rc = copy == NULL ? E_NOMEM : make(s, message, &slot);
    if (rc != 0) {
        free(copy);
        return rc;
    }
    memcpy(copy, bytes.data, bytes.size);
    struct history_cell *c = cell_at(s, slot);
    c->changed_ns = changed_ns;
    c->went = went;
    c->bytes = copy;
    c->size = (uint32_t)bytes.size;
    s->bytes += bytes.size;
    return 0;
}

static int history_load(struct model *m, struct reader *section) {
    uint32_t count = reader_u32(section);
    int rc = section->failed ? E_CORRUPT : 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = load_one(m, section);
    }
    return rc;
}

static void history_check(const struct model *m) {
    const struct histories *s = m->histories;
    uint64_t bytes = 0;
    uint32_t count = 0, last = 0;
    for (uint32_t slot = s->first; slot != 0; slot = cell_at(s, slot)->next) {
        const struct history_cell *c = cell_at(s, slot);
        assert(find(s, c->message) == slot && c->prev == last);
        assert(entries_valid(span_of(c->bytes, c->size)));
        bytes += c->size;
        last = slot;
        count++;
    }
    assert(last == s->last && count == s->cells.live && count == s->by_message.count);
    assert(bytes == s->bytes);               /* H2 */
    assert(queue_storied_count(m) == count); /* H1: each is of a message that is there */
}

static uint64_t history_memory_bytes(const struct model *m) {
    const struct histories *s = m->histories;
    return sizeof *s + slab_memory_bytes(&s->cells) + map_memory_bytes(&s->by_message) + s->bytes;
}

const struct module history_module = {
    .name = "history",
    .save = history_save,
    .load = history_load,
    .check = history_check,
    .memory_bytes = history_memory_bytes,
    .section_version = 1,
};
