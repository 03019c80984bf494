/*
 * The section of the queue module in a snapshot.
 *
 *   roster (how many queues, generations of the slots), then per queue in order of slots:
 *     4 index   8 file hash   . definition   8 x 6 counters   8 last use, 4 policy (since version 2)   . pace
 *     4 turns that the first of its round has left (since version 3; 0: it has no tenants)
 *     then its lists, in the order ready (set by set of the round, level by level, 0 first), delayed, in flight, dead,
 *     confirming (since version 4), blocked (key by key); each as 8 count, then the messages:
 *
 *   offset  size  message
 *        0     8  id
 *        8     8  address
 *       16     8  accepted
 *       24     4  bytes of the body
 *       28     4  attempts
 *       32     2  bytes of the payload besides the body
 *       34     2  last status
 *       36     1  priority
 *       37     1  last error; its highest bit: it has a tenant (since version 3)
 *       38     1  dead reason; in the high 4 bits those of the bytes besides the body
 *       39     1  flags: 1 times, 2 tie, 4 key, 8 it holds the key, 16 outcome unknown, 32 own purchase,
 *                 64 origin, 128 no receipt
 *       40    24  with flag 1: due (8), expires (8), first attempt (8; its highest bit: it expires by its deadline)
 *        .     8  with flag 2: campaign (4), stock (4)
 *        .   1+.  with flag 32: the purchase (u8 length, bytes); else it is the message's receipt text
 *        .     8  with flag 4: hash of the key
 *        .   4+.  with flag 64: origin (u32 length, bytes: model/amqp.c; with what routes it since version 5)
 *        .     8  with a tenant: its hash
 *
 * Lists are written in their order and are read back by appending, so equal states give equal bytes.
 * Maps, timers and what bodies occupy are derived from it.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/queue_tenant.h"
#include "model/session_state.h"

#define MESSAGE_FIXED_BYTES 40u
#define PREFETCH_MESSAGES   8u
#define BY_DEADLINE         (UINT64_C(1) << 63)
#define HAS_TENANT          0x80u

enum message_flag {
    FLAG_TIMES = 1,
    FLAG_TIE = 2,
    FLAG_KEY = 4,
    FLAG_HOLDS = 8,
    FLAG_UNKNOWN = 16,
    FLAG_PURCHASE = 32,
    FLAG_ORIGIN = 64,
    FLAG_QUIET = 128,
    FLAG_ALL = 255,
};

/* ---- save ---- */

static uint8_t message_flags(const struct queues *s, uint32_t slot) {
    const struct message *g = message_at(s, slot);
    unsigned flags = 0;
    flags |= g->times != 0 ? FLAG_TIMES : 0;
    flags |= message_is_tied(s, g) ? FLAG_TIE : 0;
    flags |= g->tie != 0 && tie_at(s, g->tie)->purchase != NULL ? FLAG_PURCHASE : 0;
    flags |= message_origin(s, g).size > 0 ? FLAG_ORIGIN : 0;
    flags |= g->quiet ? FLAG_QUIET : 0;
    flags |= g->key != 0 ? FLAG_KEY : 0;
    flags |= g->key != 0 && key_at(s, g->key)->holder == slot ? FLAG_HOLDS : 0;
    flags |= g->outcome_unknown ? FLAG_UNKNOWN : 0;
    return (uint8_t)flags;
}

static void save_optional(const struct queues *s, const struct message *g, struct saver *out) {
    if (g->times != 0) {
        const struct message_times t = message_times_of(s, g);
        save_u64(out, t.due_ns);
        save_u64(out, t.expires_ns);
        save_u64(out, t.first_attempt_ns | (t.by_deadline ? BY_DEADLINE : 0));
    }
    if (message_is_tied(s, g)) {
        const struct message_tie *tie = tie_at(s, g->tie);
        save_u32(out, tie->campaign);
        save_u32(out, tie->stock);
        if (tie->purchase != NULL) {
            save_key(out, span_of(tie->purchase + 1, tie->purchase[0]));
        }
    }
    if (g->key != 0) {
        save_u64(out, key_at(s, g->key)->hash);
    }
    struct span origin = message_origin(s, g);
    if (origin.size > 0) {
        save_u32(out, (uint32_t)origin.size);
        out->rc = out->rc != 0 ? out->rc : buffer_append_span(out->chunk, origin);
    }
    if (tenant_of(s, g) != 0) {
        save_u64(out, tenant_of(s, g));
    }
}

static void save_message(const struct queues *s, uint32_t slot, struct saver *out) {
    const struct message *g = message_at(s, slot);
    save_u64(out, g->id);
    save_u64(out, g->address);
    save_u64(out, g->accepted_ns);
    save_u32(out, g->body_bytes);
    save_u32(out, g->attempts);
    save_u16(out, (uint16_t)g->extra_bytes);
    save_u16(out, message_status(g));
    save_u8(out, g->priority);
    save_u8(out, (uint8_t)(message_error(g) | (tenant_of(s, g) != 0 ? HAS_TENANT : 0)));
    save_u8(out, (uint8_t)(g->dead_reason | g->extra_bytes >> 16 << 4));
    save_u8(out, message_flags(s, slot));
    save_optional(s, g, out);
    save_item_end(out);
}

static void save_list(const struct queues *s, uint32_t first, struct saver *out) {
    for (uint32_t slot = first; slot != 0 && out->rc == 0; slot = message_next(s, slot)) {
        save_message(s, slot, out);
    }
}

/* What consumers hold is told by the session module, which comes later: here it is in flight like the rest. */
static void save_held(const struct model *m, const struct queue *q, struct saver *out) {
    for (uint32_t c = q->holders.first; c != 0; c = consumer_at(m->sessions, c)->of_queue.next) {
        save_list(m->queues, consumer_at(m->sessions, c)->held.first, out);
    }
}

static void save_lists(const struct model *m, const struct queue *q, struct saver *out) {
    const struct queues *s = m->queues;
    save_u64(out, q->counts[MESSAGE_READY]);
    uint32_t at = 0;
    const struct ready_set *set;
    while ((set = tenant_next_set(s, q, &at)) != NULL) {
        for (uint32_t i = 0; i < set->level_count; i++) {
            save_list(s, set->levels->lists[i].first, out);
        }
    }
    save_u64(out, q->counts[MESSAGE_DELAYED]);
    save_list(s, delayed_first(s, q), out);
    save_u64(out, q->counts[MESSAGE_IN_FLIGHT]);
    save_list(s, q->in_flight.first, out);
    save_held(m, q, out);
    save_u64(out, q->counts[MESSAGE_DEAD]);
    save_list(s, q->dead.first, out);
    save_u64(out, q->counts[MESSAGE_CONFIRMING]);
    save_list(s, q->confirming.first, out);
    save_u64(out, q->counts[MESSAGE_BLOCKED]);
    for (uint32_t k = q->keys.first; k != 0; k = key_at(s, k)->next) {
        save_list(s, key_at(s, k)->blocked.first, out);
    }
}

static void save_queue(const struct model *m, const struct queue *q, struct saver *out) {
    save_u32(out, q->index);
    save_u64(out, q->file_hash);
    struct queue_def def = queue_own_definition(q);
    out->rc = out->rc != 0 ? out->rc : queue_def_encode(&def, out->chunk);
    save_u64(out, q->published);
    save_u64(out, q->completed);
    save_u64(out, q->died);
    save_u64(out, q->expired);
    save_u64(out, q->deleted);
    save_u64(out, q->attempts);
    save_u64(out, q->used_ns);
    save_u32(out, q->policy);
    out->rc = out->rc != 0 ? out->rc : pace_save(&q->pace, out->chunk);
    save_u32(out, tenant_left(q));
    save_item_end(out);
    save_lists(m, q, out);
}

int queue_save(const struct model *m, struct buffer *chunk,
               int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    const struct queues *s = m->queues;
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    roster_save(&s->roster, &out);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        save_queue(m, queue_at(s, i), &out);
    }
    return out.rc;
}

/* ---- load ---- */

static int load_tie(struct model *m, uint32_t slot, struct reader *in, uint8_t flags) {
    struct message_payload p = {.purchase_is_id = (flags & FLAG_PURCHASE) == 0};
    p.tie.campaign = reader_u32(in);
    p.tie.stock = reader_u32(in);
    if (flags & FLAG_PURCHASE) {
        p.tie.purchase = reader_key(in);
    }
    return in->failed ? E_CORRUPT : message_set_tie(m, slot, &p);
}

static int load_key(struct model *m, uint32_t slot, struct reader *in, uint8_t flags) {
    int rc = key_join(m, slot, reader_u64(in));
    if (rc == 0 && (flags & FLAG_HOLDS) && !key_claim(m, slot)) {
        return E_CORRUPT; /* two holders */
    }
    return rc;
}

static int load_optional(struct model *m, uint32_t slot, struct reader *in, uint8_t flags,
                         bool has_tenant) {
    int rc = 0;
    if (flags & FLAG_TIMES) {
        uint64_t due = reader_u64(in);
        uint64_t expires = reader_u64(in);
        uint64_t first = reader_u64(in);
        rc = message_load_times(m, slot, due, expires, first & ~BY_DEADLINE);
        if (rc == 0) {
            times_at(m->queues, message_at(m->queues, slot)->times)->by_deadline =
                (first & BY_DEADLINE) != 0;
        }
    }
    if (rc == 0 && (flags & FLAG_TIE)) {
        rc = load_tie(m, slot, in, flags);
    }
    if (rc == 0 && (flags & FLAG_KEY)) {
        rc = load_key(m, slot, in, flags);
    }
    if (rc == 0 && (flags & FLAG_ORIGIN)) {
        struct span origin = reader_bytes(in);
        struct amqp_origin read;
        rc = in->failed || amqp_origin_read(origin, &read) != 0
                 ? E_CORRUPT
                 : message_set_origin(m, slot, origin, span_of(NULL, 0));
    }
    if (rc == 0 && has_tenant) {
        rc = tenant_join(m, slot, reader_u64(in));
    }
    return in->failed ? E_CORRUPT : rc;
}

/* The fixed part in one piece: ten million times. */
static uint8_t load_fixed(struct message *g, const uint8_t *at, bool *ret_has_tenant) {
    struct reader in;
    reader_init(&in, span_of(at, MESSAGE_FIXED_BYTES));
    g->id = reader_u64(&in);
    g->address = 0; /* message_set_address does it, with the accounts */
    in.next += 8;
    in.left -= 8;
    g->accepted_ns = reader_u64(&in);
    g->body_bytes = reader_u32(&in);
    g->attempts = reader_u32(&in);
    uint32_t extra_low = reader_u16(&in);
    uint16_t status = reader_u16(&in);
    g->priority = reader_u8(&in);
    uint8_t error = reader_u8(&in);
    *ret_has_tenant = (error & HAS_TENANT) != 0;
    message_set_outcome(g, status, error & (uint8_t)~HAS_TENANT);
    uint8_t reason = reader_u8(&in);
    g->dead_reason = reason & 15;
    g->extra_bytes = extra_low | (uint32_t)(reason >> 4) << 16;
    uint8_t flags = reader_u8(&in);
    g->outcome_unknown = (flags & FLAG_UNKNOWN) != 0;
    g->quiet = (flags & FLAG_QUIET) != 0;
    return flags;
}

/* Q3, as far as one message shows it: the blocked ones are loaded last. */
static bool key_fits(const struct queues *s, uint32_t slot, enum message_state state) {
    const struct message *g = message_at(s, slot);
    uint32_t holder = g->key == 0 ? 0 : key_at(s, g->key)->holder;
    if (g->key != 0 && key_at(s, g->key)->queue != g->queue) {
        return false;
    }
    switch (state) {
    case MESSAGE_READY:
    case MESSAGE_IN_FLIGHT:
    case MESSAGE_CONFIRMING:
        return g->key == 0 || holder == slot;
    case MESSAGE_BLOCKED:
        return holder != 0 && holder != slot;
    case MESSAGE_DEAD:
        return g->key == 0 || holder != slot;
    default:
        return true;
    }
}

static int load_message(struct model *m, const struct queue *q, enum message_state state,
                        struct reader *in) {
    struct span fixed = reader_take(in, MESSAGE_FIXED_BYTES);
    if (in->failed) {
        return E_CORRUPT;
    }
    struct reader peek;
    reader_init(&peek, fixed);
    uint64_t id = reader_u64(&peek);
    uint64_t address = reader_u64(&peek);
    uint32_t slot = 0;
    int rc = id == 0 ? E_CORRUPT : message_create(m, id, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    bool has_tenant;
    uint8_t flags = load_fixed(g, fixed.data, &has_tenant);
    g->queue = q->index;
    rc = (flags & ~FLAG_ALL) != 0 ? E_CORRUPT : message_set_address(m, slot, address);
    if (rc == 0) {
        rc = load_optional(m, slot, in, flags, has_tenant);
    }
    if (rc == 0) {
        rc = key_fits(m->queues, slot, state) ? message_load_state(m, slot, state) : E_CORRUPT;
    }
    if (rc != 0) {
        message_forget_tie(m, slot);
    }
    return rc;
}

/*
 * Each id is a cache miss in the map. Where messages have no optional parts the id some messages ahead is
 * just there; where they have, what is fetched in vain harms nothing.
 */
static void prefetch_ahead(const struct model *m, const struct reader *in) {
    const size_t ahead = PREFETCH_MESSAGES * MESSAGE_FIXED_BYTES;
    if (in->left < ahead + sizeof(uint64_t)) {
        return;
    }
    struct reader peek;
    reader_init(&peek, span_of(in->next + ahead, sizeof(uint64_t)));
    map_prefetch(&m->queues->by_id, id_hash(reader_u64(&peek)));
}

static int load_lists(struct model *m, const struct queue *q, struct reader *in) {
    static const uint8_t order[] = {MESSAGE_READY, MESSAGE_DELAYED,    MESSAGE_IN_FLIGHT,
                                    MESSAGE_DEAD,  MESSAGE_CONFIRMING, MESSAGE_BLOCKED};
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(order); i++) {
        if (order[i] == MESSAGE_CONFIRMING && m->section_version < 4) {
            continue;
        }
        uint64_t count = reader_u64(in);
        if (in->failed || count > in->left / MESSAGE_FIXED_BYTES) {
            return E_CORRUPT;
        }
        for (uint64_t n = 0; n < count && rc == 0; n++) {
            prefetch_ahead(m, in);
            rc = load_message(m, q, (enum message_state)order[i], in);
        }
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int load_queue(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint64_t file_hash = reader_u64(in);
    struct queue_def def;
    int rc = in->failed ? E_CORRUPT : queue_def_decode(in, &def);
    if (rc != 0) {
        return rc;
    }
    if (queue_at(m->queues, index) != NULL) {
        queue_def_release(&def);
        return E_CORRUPT;
    }
    struct queue *q;
    rc = queue_put(m, index, &def, file_hash, &q);
    if (rc != 0) {
        return rc;
    }
    q->published = reader_u64(in);
    q->completed = reader_u64(in);
    q->died = reader_u64(in);
    q->expired = reader_u64(in);
    q->deleted = reader_u64(in);
    q->attempts = reader_u64(in);
    if (m->section_version >= 2) {
        q->used_ns = reader_u64(in);
        (void)reader_u32(in); /* comes with the policies themselves */
    }
    rc = in->failed ? E_CORRUPT : pace_load(&q->pace, in);
    uint32_t left = m->section_version >= 3 ? reader_u32(in) : 0;
    rc = rc != 0 ? rc : load_lists(m, q, in);
    rc = rc != 0 ? rc : tenant_load_left(q, left);
    queue_use_changed(m, q);
    queue_ready_changed(m, q);
    return rc;
}

int queue_load(struct model *m, struct reader *section) {
    uint32_t count = 0;
    int rc = roster_load(&m->queues->roster, section, &count);
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = load_queue(m, section);
    }
    return rc;
}
