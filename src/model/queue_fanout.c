#include "model/queue_fanout.h"

#include "base/error.h"
#include "model/fact.h"

#define ORIGIN_AGAIN UINT32_MAX

/* ---- emit ---- */

static void length_end(struct fan_out *f) {
    if (f->d->failed) {
        return;
    }
    size_t length = f->d->facts->size - f->length_at - 4;
    for (unsigned i = 0; i < 4; i++) {
        f->d->facts->data[f->length_at + i] = (uint8_t)(length >> (8 * i));
    }
}

void fan_out_begin(struct fan_out *f, struct decision *d) {
    f->d = d;
    f->begun = decision_begin(d, FACT_MESSAGE_FANOUT, 3);
    f->length_at = d->facts->size;
    f->origin_at = f->origin_bytes = 0;
    decision_put_u32(d, 0);
}

/* Mostly they are all alike, and may be long: written once. */
static void put_origin(struct fan_out *f, struct span origin) {
    struct decision *d = f->d;
    struct span last =
        d->failed ? span_of(NULL, 0) : span_of(d->facts->data + f->origin_at, f->origin_bytes);
    if (origin.size > 0 && span_equal(origin, last)) {
        decision_put_u32(d, ORIGIN_AGAIN);
        return;
    }
    decision_put_bytes(d, origin);
    if (origin.size > 0 && !d->failed) {
        f->origin_at = d->facts->size - origin.size;
        f->origin_bytes = origin.size;
    }
}

void fan_out_target(struct fan_out *f, const struct fan_target *t) {
    struct decision *d = f->d;
    decision_put_u32(d, t->queue);
    decision_put_u64(d, t->due_ns);
    decision_put_u64(d, t->expires_ns);
    decision_put_u64(d, t->key_hash);
    decision_put_u8(d, t->priority);
    put_origin(f, t->origin);
}

void fan_out_end(struct fan_out *f, const struct message_payload *p) {
    length_end(f);
    f->d->failed |= message_payload_encode(p, f->d->facts) != 0;
    decision_end(f->d, f->begun);
}

void death_begin(struct fan_out *f, struct decision *d, uint64_t id, enum dead_reason reason,
                 enum death_end end, struct span origin) {
    f->d = d;
    f->begun = decision_begin(d, FACT_MESSAGE_DEAD_LETTERED, 2);
    decision_put_u64(d, id);
    decision_put_u8(d, (uint8_t)reason);
    decision_put_u8(d, (uint8_t)end);
    decision_put_bytes(d, origin);
}

void death_target(struct fan_out *f, const struct fan_target *t) {
    decision_put_u32(f->d, t->queue);
    decision_put_u64(f->d, t->id);
    decision_put_u64(f->d, t->expires_ns);
    decision_put_u64(f->d, t->key_hash);
    decision_put_u8(f->d, t->priority);
}

void death_end(struct fan_out *f) {
    decision_end(f->d, f->begun);
}

/* ---- apply ---- */

/* Of which body, besides what the target says. */
struct body_ref {
    uint64_t address, accepted_ns;
    uint32_t body_bytes, extra_bytes;
    struct span headers; /* that origins may borrow */
};

static int make_message(struct model *m, const struct applied *w, const struct fan_target *t,
                        const struct body_ref *body) {
    struct queue *q = queue_at(m->queues, t->queue);
    uint32_t slot = 0;
    int rc = q == NULL || t->id == 0 ? E_CORRUPT : message_create(m, t->id, &slot);
    if (rc != 0) {
        return rc;
    }
    struct message *g = message_at(m->queues, slot);
    g->accepted_ns = body->accepted_ns;
    g->queue = t->queue;
    g->priority = t->priority;
    g->body_bytes = body->body_bytes;
    g->extra_bytes = body->extra_bytes & EXTRA_BYTES_MAX;
    g->quiet = 1;
    rc = message_set_address(m, slot, body->address);
    rc = rc != 0 ? rc : message_set_origin(m, slot, t->origin, body->headers);
    rc = rc != 0 || t->key_hash == 0 ? rc : key_join(m, slot, t->key_hash);
    uint64_t due = t->due_ns > w->time_ns ? t->due_ns : 0;
    rc = rc != 0 ? rc : message_set_times(m, slot, due, t->expires_ns);
    if (rc != 0) {
        return rc;
    }
    q->published++;
    return due != 0 ? message_move(m, slot, MESSAGE_DELAYED, PLACE_TAIL)
                    : message_arrive(m, slot, PLACE_TAIL);
}

/* `last`: the one that was read before, and that is now. */
static struct span read_origin(struct reader *r, uint16_t version, struct span *last) {
    if (version == 1) {
        return reader_take(r, reader_u16(r));
    }
    uint32_t size = reader_u32(r);
    if (size == ORIGIN_AGAIN && version >= 3) {
        r->failed |= last->size == 0;
        return *last;
    }
    struct span origin = reader_take(r, size);
    if (size > 0) {
        *last = origin;
    }
    return origin;
}

int queue_apply_fanout(struct model *m, const struct applied *w, uint16_t version,
                       struct reader *in) {
    struct span entries = reader_bytes(in);
    struct span payload = reader_take(in, in->left);
    struct message_payload p;
    int rc = in->failed ? E_CORRUPT : message_payload_decode(payload, &p);
    if (rc != 0) {
        return rc;
    }
    struct body_ref body = {
        .address = w->address,
        .accepted_ns = p.stored.accepted_ns,
        .body_bytes = (uint32_t)p.stored.envelope.body.size,
        .extra_bytes = (uint32_t)(payload.size - p.stored.envelope.body.size),
        .headers = stored_message_table(&p.stored),
    };
    struct reader r;
    struct span origin = span_of(NULL, 0);
    reader_init(&r, entries);
    for (uint64_t id = p.stored.id; rc == 0 && r.left > 0; id++) {
        struct fan_target t = {.id = id, .queue = reader_u32(&r)};
        t.due_ns = reader_u64(&r);
        t.expires_ns = reader_u64(&r);
        t.key_hash = reader_u64(&r);
        t.priority = reader_u8(&r);
        t.origin = read_origin(&r, version, &origin);
        rc = r.failed ? E_CORRUPT : make_message(m, w, &t, &body);
    }
    return rc;
}

static int end_dead(struct model *m, const struct applied *w, uint32_t slot,
                    enum dead_reason reason, enum death_end end) {
    struct queue *q = queue_at(m->queues, message_at(m->queues, slot)->queue);
    if (end == DEATH_ENDS_LATER) {
        message_at(m->queues, slot)->dead_reason = reason & 15; /* see message_die */
        return 0;
    }
    if (reason == DEAD_EXPIRED || reason == DEAD_DEADLINE) {
        q->expired++;
    } else {
        q->died++;
    }
    return end == DEATH_GONE ? message_end(m, w, slot, MESSAGE_DROPPED, reason)
                             : message_die(m, w, slot, reason);
}

/* A message named twice in a list of settles is gone the second time: then nothing happens. */
int queue_apply_dead_lettered(struct model *m, const struct applied *w, struct reader *in) {
    uint32_t slot = message_find(m->queues, reader_u64(in));
    enum dead_reason reason = (enum dead_reason)reader_u8(in);
    enum death_end end = (enum death_end)reader_u8(in);
    struct span origin = reader_bytes(in);
    if (in->failed || end > DEATH_ENDS_LATER) {
        return E_CORRUPT;
    }
    if (slot == 0) {
        (void)reader_take(in, in->left);
        return 0;
    }
    const struct message *g = message_at(m->queues, slot);
    struct body_ref body = {.address = g->address,
                            .accepted_ns = g->accepted_ns,
                            .body_bytes = g->body_bytes,
                            .extra_bytes = g->extra_bytes};
    struct amqp_origin old;
    struct span was = message_origin(m->queues, g);
    if (was.size > 0 && amqp_origin_read(was, &old) == 0) {
        body.headers = old.headers;
    }
    int rc = 0;
    while (rc == 0 && in->left > 0) {
        struct fan_target t = {.queue = reader_u32(in), .origin = origin};
        t.id = reader_u64(in);
        t.expires_ns = reader_u64(in);
        t.key_hash = reader_u64(in);
        t.priority = reader_u8(in);
        rc = in->failed ? E_CORRUPT : make_message(m, w, &t, &body);
    }
    return rc != 0 ? rc : end_dead(m, w, slot, reason, end);
}

int queue_apply_relocated(struct model *m, const struct applied *w, struct reader *in) {
    struct span ids = reader_bytes(in);
    struct span payload = reader_take(in, in->left);
    struct message_payload p;
    int rc = in->failed ? E_CORRUPT : message_payload_decode(payload, &p);
    struct reader r;
    reader_init(&r, ids);
    while (rc == 0 && r.left > 0) {
        uint32_t slot = message_find(m->queues, reader_u64(&r));
        bool same = slot != 0 && stored_bytes(message_at(m->queues, slot)) == payload.size;
        rc = r.failed || !same ? E_CORRUPT : message_set_address(m, slot, w->address);
    }
    return rc;
}
