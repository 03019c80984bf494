/*
 * The ring of audit entries, and the chain over them.
 *
 * Snapshot section (left out while there is no entry): u64 count, u64 written, head (32), u32 entries in the
 * ring, then per entry, oldest first: u64 number, hash (32), u32 length, text.
 */
#include "model/audit.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/state.h"

#define RING_MIN 64u

struct audit_cell {
    uint64_t number;
    uint8_t hash[AUDIT_HASH_BYTES];
    uint32_t size;
    char *text; /* owns */
};

struct audits {
    struct audit_state state;
    struct audit_cell *cells; /* owns: ring of `capacity`, a power of two */
    uint32_t first, used, capacity;
    uint64_t text_bytes;
};

static struct audit_cell *cell_at(const struct audits *a, uint32_t i) {
    return &a->cells[(a->first + i) & (a->capacity - 1)];
}

int audits_create(struct audits **ret) {
    *ret = calloc(1, sizeof **ret);
    return *ret != NULL ? 0 : E_NOMEM;
}

static void drop_first(struct audits *a) {
    struct audit_cell *c = cell_at(a, 0);
    a->text_bytes -= c->size;
    free(c->text);
    a->first = (a->first + 1) & (a->capacity - 1);
    a->used--;
}

void audits_free(struct audits *a) {
    while (a != NULL && a->used > 0) {
        drop_first(a);
    }
    if (a != NULL) {
        free(a->cells);
    }
    free(a);
}

struct audit_state audit_state(const struct model *m) {
    return m->audits->state;
}

/* Numbers rise, so half of what is left is left out at each look. */
bool audit_after(const struct model *m, uint64_t number, struct audit_entry *ret) {
    const struct audits *a = m->audits;
    uint32_t low = 0, high = a->used;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (cell_at(a, middle)->number > number) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    if (low == a->used) {
        return false;
    }
    const struct audit_cell *c = cell_at(a, low);
    ret->number = c->number;
    memcpy(ret->hash, c->hash, sizeof ret->hash);
    ret->text = span_of(c->text, c->size);
    return true;
}

void audit_chain(const uint8_t before[AUDIT_HASH_BYTES], struct span text,
                 uint8_t ret[AUDIT_HASH_BYTES]) {
    crypto_hash_sha256_state state;
    crypto_hash_sha256_init(&state);
    crypto_hash_sha256_update(&state, before, AUDIT_HASH_BYTES);
    crypto_hash_sha256_update(&state, text.data, text.size);
    crypto_hash_sha256_final(&state, ret);
}

/* ---- decide ---- */

bool audit_is_full(const struct model *m) {
    const struct audit_state *s = &m->audits->state;
    return s->count - s->written >= AUDIT_WAITING_MAX;
}

/*
 * AUDIT_RECORDED v1
 *        0    8  number
 *        8    .  text, u32 length before it
 */
void audit_emit(const struct model *m, struct decision *d, const struct request *r) {
    struct buffer text;
    buffer_init(&text, AUDIT_TEXT_MAX);
    uint64_t number = m->audits->state.count + 1;
    size_t begun = decision_begin(d, FACT_AUDIT_RECORDED, 1);
    d->failed |= audit_text(d, r, number, &text) != 0;
    decision_put_u64(d, number);
    decision_put_bytes(d, buffer_span(&text));
    decision_end(d, begun);
    buffer_release(&text);
}

/*
 * AUDIT_WRITTEN v1
 *        0    8  number up to which the file has the entries
 */
static enum refusal decide_written(const struct model *m, struct decision *d,
                                   const struct request *r) {
    const struct audit_state *s = &m->audits->state;
    if (r->id > s->written && r->id <= s->count) {
        size_t begun = decision_begin(d, FACT_AUDIT_WRITTEN, 1);
        decision_put_u64(d, r->id);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

/* The latest first; in.list.after is the number that the page before ended with. */
static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct audits *a = m->audits;
    uint64_t below = r->in.list.after == 0 ? UINT64_MAX : r->in.list.after;
    uint32_t max = request_list_max(r), i = a->used;
    r->out.audit = a->state;
    while (i > 0 && r->count < max) {
        const struct audit_cell *c = cell_at(a, --i);
        if (c->number >= below) {
            continue;
        }
        d->failed |= buffer_append(&r->out_bytes, c->hash, sizeof c->hash) != 0;
        d->failed |= buffer_put_bytes(&r->out_bytes, span_of(c->text, c->size)) != 0;
        r->next = c->number;
        r->count++;
    }
    r->next = i == 0 ? 0 : r->next;
    return REFUSAL_NONE;
}

/* A note is what the program itself has to say: it is nothing but its entry. */
static enum refusal audit_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_AUDIT_NOTE:
        audit_emit(m, d, r);
        return REFUSAL_NONE;
    case REQUEST_AUDIT_LIST:
        return decide_list(m, d, r);
    case REQUEST_AUDIT_WRITTEN:
        return decide_written(m, d, r);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

static int grow(struct audits *a) {
    uint32_t capacity = a->capacity == 0 ? RING_MIN : a->capacity * 2;
    struct audit_cell *cells = calloc(capacity, sizeof *cells);
    if (cells == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < a->used; i++) {
        cells[i] = *cell_at(a, i);
    }
    free(a->cells);
    a->cells = cells;
    a->first = 0;
    a->capacity = capacity;
    return 0;
}

static int append(struct audits *a, uint64_t number, const uint8_t hash[AUDIT_HASH_BYTES],
                  struct span text) {
    if (a->used == a->capacity && grow(a) != 0) {
        return E_NOMEM;
    }
    char *copy = malloc(text.size + 1);
    if (copy == NULL) {
        return E_NOMEM;
    }
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    a->used++;
    a->text_bytes += text.size;
    struct audit_cell *c = cell_at(a, a->used - 1);
    *c = (struct audit_cell){.number = number, .size = (uint32_t)text.size, .text = copy};
    memcpy(c->hash, hash, AUDIT_HASH_BYTES);
    return 0;
}

static void trim(struct audits *a) {
    while (a->used > AUDIT_RECENT && cell_at(a, 0)->number <= a->state.written) {
        drop_first(a);
    }
}

static int apply_recorded(struct audits *a, struct reader *p) {
    uint64_t number = reader_u64(p);
    struct span text = reader_bytes(p);
    if (p->failed || number <= a->state.count || text.size > AUDIT_TEXT_MAX) {
        return E_CORRUPT; /* A1 */
    }
    uint8_t hash[AUDIT_HASH_BYTES];
    audit_chain(a->state.head, text, hash);
    int rc = append(a, number, hash, text);
    if (rc != 0) {
        return rc;
    }
    a->state.count = number;
    memcpy(a->state.head, hash, sizeof hash);
    trim(a);
    return 0;
}

static int apply_written(struct audits *a, struct reader *p) {
    uint64_t number = reader_u64(p);
    if (p->failed || number < a->state.written || number > a->state.count) {
        return E_CORRUPT; /* A2 */
    }
    a->state.written = number;
    trim(a);
    return 0;
}

static int audit_apply(struct model *m, const struct applied *where, uint16_t kind,
                       uint16_t version, struct reader *p) {
    (void)where, (void)version;
    switch (kind) {
    case FACT_AUDIT_RECORDED:
        return apply_recorded(m->audits, p);
    case FACT_AUDIT_WRITTEN:
        return apply_written(m->audits, p);
    default:
        return E_CORRUPT;
    }
}

/* ---- snapshot, check ---- */

static void save_bytes(struct saver *s, const void *data, size_t size) {
    s->rc = s->rc != 0 ? s->rc : buffer_append(s->chunk, data, size);
}

static int audit_save(const struct model *m, struct buffer *chunk,
                      int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct audits *a = m->audits;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    if (a->state.count == 0) {
        return 0;
    }
    save_u64(&out, a->state.count);
    save_u64(&out, a->state.written);
    save_bytes(&out, a->state.head, AUDIT_HASH_BYTES);
    save_u32(&out, a->used);
    for (uint32_t i = 0; i < a->used; i++) {
        const struct audit_cell *c = cell_at(a, i);
        save_u64(&out, c->number);
        save_bytes(&out, c->hash, AUDIT_HASH_BYTES);
        save_u32(&out, c->size);
        save_bytes(&out, c->text, c->size);
        save_item_end(&out);
    }
    return out.rc;
}

static int audit_load(struct model *m, struct reader *section) {
    struct audits *a = m->audits;
    a->state.count = reader_u64(section);
    a->state.written = reader_u64(section);
    struct span head = reader_take(section, AUDIT_HASH_BYTES);
    uint32_t entries = reader_u32(section);
    uint64_t last = 0;
    int rc = section->failed || a->state.written > a->state.count ? E_CORRUPT : 0;
    if (rc == 0) {
        memcpy(a->state.head, head.data, AUDIT_HASH_BYTES);
    }
    for (uint32_t i = 0; i < entries && rc == 0; i++) {
        uint64_t number = reader_u64(section);
        struct span hash = reader_take(section, AUDIT_HASH_BYTES);
        struct span text = reader_bytes(section);
        bool bad = section->failed || number <= last || number > a->state.count ||
                   text.size > AUDIT_TEXT_MAX;
        rc = bad ? E_CORRUPT : append(a, number, hash.data, text);
        last = number;
    }
    bool ends_early = entries > 0 ? last != a->state.count : a->state.written != a->state.count;
    /* The newest entries are those kept, and all that are not written yet. */
    return rc == 0 && ends_early ? E_CORRUPT : rc;
}

static void audit_check(const struct model *m) {
    const struct audits *a = m->audits;
    uint64_t last = 0, bytes = 0;
    for (uint32_t i = 0; i < a->used; i++) {
        const struct audit_cell *c = cell_at(a, i);
        assert(c->number > last); /* A1 */
        last = c->number;
        bytes += c->size;
    }
    assert(a->used == 0 || last == a->state.count);
    assert(a->state.written <= a->state.count); /* A2 */
    assert(a->used > 0 || a->state.written == a->state.count);
    assert(bytes == a->text_bytes);
}

static uint64_t audit_memory_bytes(const struct model *m) {
    const struct audits *a = m->audits;
    return sizeof *a + (uint64_t)a->capacity * sizeof *a->cells + a->text_bytes;
}

const struct module audit_module = {
    .name = "audit",
    .decide = audit_decide,
    .apply = audit_apply,
    .save = audit_save,
    .load = audit_load,
    .check = audit_check,
    .memory_bytes = audit_memory_bytes,
    .section_version = 1,
};
