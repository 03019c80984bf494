#include "world.h"

#include <assert.h>

#include "base/error.h"
#include "base/reader.h"
#include "model/fact.h"

#define FACTS_MAX ((size_t)16 << 20)
#define SAVE_MAX  ((size_t)1 << 30)
#define START_NS  UINT64_C(1700000000000000000)

static struct hash_key next_hash_key(void) {
    static uint64_t n = 1;
    n++;
    return (struct hash_key){.k0 = n, .k1 = hash_u64(n)};
}

void world_init(struct world *w, const struct model_limits *limits) {
    *w = (struct world){.now_ns = START_NS, .position = 1};
    if (limits != NULL) {
        w->limits = *limits;
    }
    rng_init(&w->rng, 1);
    buffer_init(&w->facts, FACTS_MAX);
    buffer_init(&w->log, SAVE_MAX);
    int rc = model_create(&w->limits, next_hash_key(), &w->model);
    assert(rc == 0);
}

void world_release(struct world *w) {
    model_free(w->model);
    buffer_release(&w->facts);
    buffer_release(&w->log);
}

struct decision world_begin(struct world *w) {
    buffer_clear(&w->facts);
    return (struct decision){
        .now_ns = w->now_ns,
        .position = w->position,
        .random = &w->rng,
        .may_grow = !w->disk_is_full,
        .facts = &w->facts,
    };
}

static void apply_record(struct model *m, uint64_t time_ns, uint64_t position, struct span facts) {
    struct applied where = {.time_ns = time_ns, .position = position, .address = position};
    int rc = model_apply(m, &where, facts);
    assert(rc == 0);
}

void world_commit(struct world *w, const struct decision *d) {
    assert(!d->failed);
    if (w->facts.size == 0) {
        return;
    }
    int rc = buffer_put_u64(&w->log, d->now_ns);
    rc = rc != 0 ? rc : buffer_put_u64(&w->log, d->position);
    rc = rc != 0 ? rc : buffer_put_bytes(&w->log, buffer_span(&w->facts));
    assert(rc == 0);
    apply_record(w->model, d->now_ns, d->position, buffer_span(&w->facts));
    w->position++;
}

/* As the engine does it: records before the one that wants many ids. */
static void reserve_ids(struct world *w, struct decision *d) {
    uint32_t count = (d->ids_wanted - 1) / IDS_PER_POSITION;
    for (uint32_t i = 0; i < count; i++) {
        struct decision filler = world_begin(w);
        decision_end(&filler, decision_begin(&filler, FACT_IDS_RESERVED, 1));
        world_commit(w, &filler);
    }
    *d = world_begin(w);
    d->reserved = count;
}

enum refusal world_ask(struct world *w, struct request *r) {
    struct decision d = world_begin(w);
    enum refusal refusal = model_decide(w->model, &d, r);
    while (refusal == REFUSAL_NONE && d.ids_wanted != 0) {
        reserve_ids(w, &d);
        refusal = model_decide(w->model, &d, r);
    }
    assert(refusal == REFUSAL_NONE || w->facts.size == 0);
    world_commit(w, &d);
    return refusal;
}

uint32_t world_run_timers(struct world *w) {
    uint32_t count = 0;
    for (;; count++) {
        struct decision d = world_begin(w);
        if (!model_decide_timer(w->model, &d)) {
            return count;
        }
        while (d.ids_wanted != 0) {
            reserve_ids(w, &d);
            (void)model_decide_timer(w->model, &d);
        }
        assert(w->facts.size > 0);
        world_commit(w, &d);
    }
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

static void save(const struct model *m, struct buffer *out) {
    buffer_clear(out);
    int rc = model_save(m, append, out);
    assert(rc == 0);
}

void world_save(const struct world *w, struct buffer *out) {
    save(w->model, out);
}

/* Takes `other` when it saves as `w` does. */
static void check_same(const struct world *w, const struct model *other) {
    struct buffer here, there;
    buffer_init(&here, SAVE_MAX);
    buffer_init(&there, SAVE_MAX);
    save(w->model, &here);
    save(other, &there);
    assert(span_equal(buffer_span(&here), buffer_span(&there)));
    buffer_release(&here);
    buffer_release(&there);
}

void world_check_replay(const struct world *w) {
    struct model *fresh;
    int rc = model_create(&w->limits, next_hash_key(), &fresh);
    assert(rc == 0);
    struct reader log;
    reader_init(&log, buffer_span(&w->log));
    while (log.left > 0) {
        uint64_t time_ns = reader_u64(&log);
        uint64_t position = reader_u64(&log);
        apply_record(fresh, time_ns, position, reader_bytes(&log));
    }
    model_check(fresh);
    check_same(w, fresh);
    model_free(fresh);
}

void world_reload(struct world *w) {
    struct buffer bytes;
    buffer_init(&bytes, SAVE_MAX);
    save(w->model, &bytes);
    struct model *loaded;
    int rc = model_create(&w->limits, next_hash_key(), &loaded);
    assert(rc == 0);
    rc = model_load(loaded, buffer_span(&bytes));
    assert(rc == 0);
    buffer_release(&bytes);
    model_check(loaded);
    check_same(w, loaded);
    model_free(w->model);
    w->model = loaded;
}

enum refusal world_define_stock(struct world *w, const char *name, uint64_t total,
                                uint64_t per_member, uint64_t hold_ns) {
    struct stock_def def;
    int rc = stock_def_init(&def);
    rc = rc != 0 ? rc : def_set_text(&def.name, span_text(name));
    assert(rc == 0);
    def.total = total;
    def.per_member = per_member;
    def.hold_ns = hold_ns;
    struct request r;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.name = span_text(name);
    r.in.define.stock = &def;
    enum refusal refusal = world_ask(w, &r);
    request_release(&r);
    stock_def_release(&def);
    return refusal;
}

struct queue_def world_queue_def(const char *name, const char *destination) {
    struct queue_def def;
    int rc = queue_def_init(&def);
    rc = rc != 0 ? rc : def_set_text(&def.name, span_text(name));
    rc = rc != 0 ? rc : def_set_text(&def.destination, span_text(destination));
    assert(rc == 0);
    return def;
}

enum refusal world_define(struct world *w, struct queue_def *def) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text(def->name);
    r.in.define.queue = def;
    enum refusal refusal = world_ask(w, &r);
    request_release(&r);
    queue_def_release(def);
    return refusal;
}

enum refusal world_define_queue(struct world *w, const char *name, uint64_t max_messages) {
    struct queue_def def = world_queue_def(name, "");
    def.max_messages = max_messages;
    return world_define(w, &def);
}
