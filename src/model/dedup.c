/*
 * Idempotency keys in lanes.
 *
 * A lane is a list of keys in order of arrival whose times to live lie within a factor of two, lane 0 the
 * one of the default time to live. Within a lane the oldest ends first, or nearly: a head that lives
 * longer than the next one holds that back until its own end, so no key takes memory for more than
 * twice its time. That makes storing and expiring O(1) for any mix, where a heap costs a walk of cache
 * misses for each key.
 *
 *      lane 0    first <-> ... <-> last      ttl = the default
 *      lane k    first <-> ... <-> last      2^(k-1) < ttl <= 2^k ns
 *      lane 65   first <-> ... <-> last      no time: until its message has ended (held)
 *
 * A held key is found by its message as well, which takes it along when it ends.
 *
 * Each DEDUP_STORED takes up to EXPIRE_MAX ended heads off each lane before it adds its own: more than
 * one, so that keys that ended in a quiet night go; few, so that no request pays for a million of them.
 * This is a function of the facts alone, so a replay has the same keys.
 *
 * A snapshot holds, lane by lane: u32 count, then per key the payload of its DEDUP_STORED fact. Lane 65
 * since version 2.
 */
#include "model/dedup.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/map.h"
#include "base/slab.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/queue.h"
#include "model/state.h"

#define LANES      66u
#define LANE_HELD  65u
#define LANES_V1   65u /* of a snapshot of version 1 */
#define EXPIRE_MAX 2u
#define KEY_BYTES  65u /* of one in a fact or snapshot */

/* Fixed: prints stand in the log. The digits of pi, as nobody's choice. */
static const struct hash_key print_keys[2] = {
    {0x243f6a8885a308d3, 0x13198a2e03707344},
    {0xa4093822299f31d0, 0x082efa98ec4e6c89},
};

struct print {
    uint64_t words[2];
};

struct stored_key {
    struct print print;
    uint64_t fingerprint;
    uint64_t end_ns;
    struct receipt outcome;
    uint32_t next, prev;
    uint32_t lane;
};

struct lane {
    uint32_t first, last;
    uint32_t count;
};

struct dedups {
    struct slab keys;
    struct map by_print;
    struct map by_message; /* those that are held */
    struct hash_key hash;
    struct lane lanes[LANES];
};

static struct stored_key *key_at(const struct dedups *s, uint32_t slot) {
    return slab_at(&s->keys, slot);
}

static struct print print_of(const struct idempotency *k) {
    struct print p;
    for (unsigned i = 0; i < 2; i++) {
        struct hash_key scoped = {print_keys[i].k0 ^ k->scope, print_keys[i].k1};
        p.words[i] = hash_bytes(scoped, k->key);
    }
    return p;
}

static uint64_t print_hash(const struct dedups *s, const struct print *p) {
    return hash_bytes(s->hash, span_of(p, sizeof *p));
}

static bool key_matches(const void *owner, uint32_t slot, const void *key) {
    return memcmp(&key_at(owner, slot)->print, key, sizeof(struct print)) == 0;
}

static bool message_matches(const void *owner, uint32_t slot, const void *key) {
    return key_at(owner, slot)->outcome.id == *(const uint64_t *)key;
}

static uint64_t key_hash(const void *owner, uint32_t slot) {
    return print_hash(owner, &key_at(owner, slot)->print);
}

int dedups_create(const struct model *m, struct dedups **ret) {
    struct dedups *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    s->hash = m->hash;
    slab_init(&s->keys, sizeof(struct stored_key), UINT32_MAX - 1); /* limits bind decide only */
    map_init(&s->by_print, s, key_matches);
    map_init(&s->by_message, s, message_matches);
    *ret = s;
    return 0;
}

void dedups_free(struct dedups *s) {
    if (s == NULL) {
        return;
    }
    map_release(&s->by_print);
    map_release(&s->by_message);
    slab_release(&s->keys);
    free(s);
}

uint64_t dedups_memory_bytes(const struct model *m) {
    const struct dedups *s = m->dedups;
    return sizeof *s + slab_memory_bytes(&s->keys) + map_memory_bytes(&s->by_print) +
           map_memory_bytes(&s->by_message);
}

/* ---- decide ---- */

bool dedup_find(const struct model *m, uint64_t now_ns, const struct idempotency *k,
                uint64_t *ret_fingerprint, struct receipt *ret_receipt) {
    struct print print = print_of(k);
    uint32_t slot = map_find(&m->dedups->by_print, print_hash(m->dedups, &print), &print);
    if (slot == 0 || key_at(m->dedups, slot)->end_ns <= now_ns) {
        return false;
    }
    *ret_fingerprint = key_at(m->dedups, slot)->fingerprint;
    *ret_receipt = key_at(m->dedups, slot)->outcome;
    return true;
}

bool dedup_has_room(const struct model *m, uint64_t now_ns) {
    const struct dedups *s = m->dedups;
    if (s->keys.live < m->limits.dedup_keys) {
        return true;
    }
    for (unsigned i = 0; i < LANES; i++) {
        uint32_t first = s->lanes[i].first;
        if (first != 0 && key_at(s, first)->end_ns <= now_ns) {
            return true; /* the fact takes it away before it adds its own */
        }
    }
    return false;
}

static uint8_t lane_of(uint64_t ttl_ns) {
    return ttl_ns <= 1 ? 1 : (uint8_t)(64 - __builtin_clzll(ttl_ns - 1));
}

/*
 * DEDUP_STORED v2
 *   offset size
 *        0   16  print of (scope, key)
 *       16    8  fingerprint of what was asked
 *       24    8  its end, ns
 *       32    1  lane (65 since version 2: it is held, and its end is that of its message)
 *       33   32  the receipt: id, accepted ns, number, eta ns
 */
static void emit_stored(struct decision *d, const struct idempotency *k,
                        const struct receipt *outcome, uint64_t end_ns, uint8_t lane) {
    struct print print = print_of(k);
    size_t begun = decision_begin(d, FACT_DEDUP_STORED, 2);
    decision_put_u64(d, print.words[0]);
    decision_put_u64(d, print.words[1]);
    decision_put_u64(d, k->fingerprint);
    decision_put_u64(d, end_ns);
    decision_put_u8(d, lane);
    decision_put_u64(d, outcome->id);
    decision_put_u64(d, outcome->accepted_ns);
    decision_put_u64(d, outcome->number);
    decision_put_u64(d, outcome->eta_ns);
    decision_end(d, begun);
}

void dedup_emit(const struct model *m, struct decision *d, const struct idempotency *k,
                const struct receipt *outcome, uint64_t ttl_ns) {
    uint64_t lives_ns = ttl_ns == 0 ? m->limits.dedup_ttl_ns : ttl_ns;
    uint64_t most_ns = UINT64_MAX - d->now_ns;
    emit_stored(d, k, outcome, d->now_ns + (lives_ns < most_ns ? lives_ns : most_ns),
                ttl_ns == 0 ? 0 : lane_of(ttl_ns));
}

void dedup_emit_held(struct decision *d, const struct idempotency *k,
                     const struct receipt *outcome) {
    emit_stored(d, k, outcome, UINT64_MAX, LANE_HELD);
}

/* ---- apply ---- */

static void key_drop(struct dedups *s, uint32_t slot) {
    struct stored_key *k = key_at(s, slot);
    struct lane *lane = &s->lanes[k->lane];
    if (k->prev != 0) {
        key_at(s, k->prev)->next = k->next;
    } else {
        lane->first = k->next;
    }
    if (k->next != 0) {
        key_at(s, k->next)->prev = k->prev;
    } else {
        lane->last = k->prev;
    }
    lane->count--;
    if (k->lane == LANE_HELD) {
        map_remove(&s->by_message, hash_u64(k->outcome.id), slot);
    }
    map_remove(&s->by_print, key_hash(s, slot), slot);
    slab_give(&s->keys, slot);
}

static void lanes_expire(struct dedups *s, uint64_t now_ns) {
    for (unsigned i = 0; i < LANES; i++) {
        for (unsigned n = 0; n < EXPIRE_MAX; n++) {
            uint32_t first = s->lanes[i].first;
            if (first == 0 || key_at(s, first)->end_ns > now_ns) {
                break;
            }
            key_drop(s, first);
        }
    }
}

static uint32_t find_held(const struct dedups *s, uint64_t message) {
    return map_find(&s->by_message, hash_u64(message), &message);
}

static bool is_waiting(const struct model *m, uint64_t message) {
    struct message_view view;
    return queue_message_view(m, message, &view) && view.state != MESSAGE_DEAD;
}

/* A key may be held by this message: it waits, and holds no other. */
static bool may_hold(const struct model *m, uint64_t message) {
    return find_held(m->dedups, message) == 0 && is_waiting(m, message);
}

static int key_map(struct dedups *s, uint32_t slot) {
    const struct stored_key *k = key_at(s, slot);
    int rc = map_insert(&s->by_print, print_hash(s, &k->print), slot);
    if (rc == 0 && k->lane == LANE_HELD) {
        rc = map_insert(&s->by_message, hash_u64(k->outcome.id), slot);
        if (rc != 0) {
            map_remove(&s->by_print, print_hash(s, &k->print), slot);
        }
    }
    return rc;
}

static int key_add(struct model *m, const struct stored_key *value) {
    struct dedups *s = m->dedups;
    if (value->lane == LANE_HELD && !may_hold(m, value->outcome.id)) {
        return E_CORRUPT; /* D3 */
    }
    uint32_t slot = 0;
    int rc = slab_take(&s->keys, &slot);
    if (rc != 0) {
        return rc;
    }
    struct stored_key *k = key_at(s, slot);
    struct lane *lane = &s->lanes[value->lane];
    *k = *value;
    rc = key_map(s, slot);
    if (rc != 0) {
        slab_give(&s->keys, slot);
        return rc;
    }
    k->prev = lane->last;
    if (lane->last != 0) {
        key_at(s, lane->last)->next = slot;
    } else {
        lane->first = slot;
    }
    lane->last = slot;
    lane->count++;
    return 0;
}

/* The inverse of dedup_emit's payload. */
static int key_decode(struct reader *p, struct stored_key *ret) {
    struct stored_key k = {.next = 0};
    k.print.words[0] = reader_u64(p);
    k.print.words[1] = reader_u64(p);
    k.fingerprint = reader_u64(p);
    k.end_ns = reader_u64(p);
    k.lane = reader_u8(p);
    k.outcome.id = reader_u64(p);
    k.outcome.accepted_ns = reader_u64(p);
    k.outcome.number = reader_u64(p);
    k.outcome.eta_ns = reader_u64(p);
    if (p->failed || k.lane >= LANES || (k.lane == LANE_HELD && k.outcome.id == 0)) {
        return E_CORRUPT;
    }
    *ret = k;
    return 0;
}

static uint32_t find_print(const struct dedups *s, const struct print *print) {
    return map_find(&s->by_print, print_hash(s, print), print);
}

static int dedup_apply(struct model *m, const struct applied *w, uint16_t kind, uint16_t version,
                       struct reader *p) {
    (void)version;
    struct dedups *s = m->dedups;
    struct stored_key k;
    int rc = kind != FACT_DEDUP_STORED ? E_CORRUPT : key_decode(p, &k);
    if (rc != 0) {
        return rc;
    }
    lanes_expire(s, w->time_ns);
    uint32_t ended = find_print(s, &k.print);
    if (ended != 0 && key_at(s, ended)->end_ns > w->time_ns) {
        return E_CORRUPT; /* D1 */
    }
    if (ended != 0) {
        key_drop(s, ended);
    }
    return key_add(m, &k);
}

void dedup_message_ended(struct model *m, uint64_t message) {
    struct dedups *s = m->dedups;
    uint32_t slot = s->by_message.count == 0 ? 0 : find_held(s, message);
    if (slot != 0) {
        key_drop(s, slot);
    }
}

/* ---- snapshot ---- */

static void save_stored_key(struct saver *out, const struct stored_key *k) {
    save_u64(out, k->print.words[0]);
    save_u64(out, k->print.words[1]);
    save_u64(out, k->fingerprint);
    save_u64(out, k->end_ns);
    save_u8(out, (uint8_t)k->lane);
    save_u64(out, k->outcome.id);
    save_u64(out, k->outcome.accepted_ns);
    save_u64(out, k->outcome.number);
    save_u64(out, k->outcome.eta_ns);
    save_item_end(out);
}

static int dedup_save(const struct model *m, struct buffer *chunk,
                      int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct dedups *s = m->dedups;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    for (unsigned i = 0; i < LANES; i++) {
        save_u32(&out, s->lanes[i].count);
        for (uint32_t slot = s->lanes[i].first; slot != 0; slot = key_at(s, slot)->next) {
            save_stored_key(&out, key_at(s, slot));
        }
    }
    return out.rc;
}

static int load_lane(struct model *m, uint32_t lane, struct reader *section) {
    const struct dedups *s = m->dedups;
    uint32_t left = reader_u32(section);
    if (left > section->left / KEY_BYTES) {
        return E_CORRUPT;
    }
    int rc = 0;
    for (; rc == 0 && left > 0; left--) {
        struct stored_key k;
        rc = key_decode(section, &k);
        if (rc == 0) {
            rc = k.lane != lane || find_print(s, &k.print) != 0 ? E_CORRUPT : key_add(m, &k);
        }
    }
    return rc;
}

static int dedup_load(struct model *m, struct reader *section) {
    unsigned lanes = m->section_version >= 2 ? LANES : LANES_V1;
    for (unsigned i = 0; i < lanes; i++) {
        int rc = load_lane(m, i, section);
        if (rc != 0) {
            return rc;
        }
    }
    return section->failed ? E_CORRUPT : 0;
}

static void dedup_check(const struct model *m) {
    const struct dedups *s = m->dedups;
    uint32_t all = 0;
    for (unsigned i = 0; i < LANES; i++) {
        uint32_t count = 0, before = 0;
        for (uint32_t slot = s->lanes[i].first; slot != 0; slot = key_at(s, slot)->next) {
            const struct stored_key *k = key_at(s, slot);
            assert(k->lane == i && k->prev == before);
            assert(find_print(s, &k->print) == slot);               /* D1 */
            assert(i != LANE_HELD || is_waiting(m, k->outcome.id)); /* D3 */
            count++;
            before = slot;
        }
        assert(s->lanes[i].last == before && s->lanes[i].count == count);
        all += count;
    }
    assert(all == s->keys.live && all == s->by_print.count);
    assert(s->by_message.count == s->lanes[LANE_HELD].count);
}

const struct module dedup_module = {
    .name = "dedup",
    .apply = dedup_apply,
    .save = dedup_save,
    .load = dedup_load,
    .check = dedup_check,
    .memory_bytes = dedups_memory_bytes,
    .section_version = 2,
};
