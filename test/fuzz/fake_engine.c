#include "fake_engine.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "model/destination.h"
#include "state.h"

#define FACTS_MAX  ((size_t)32 << 20)
#define TIMERS_MAX 1000u

struct engine {
    struct model *model; /* owns */
    struct rng random;
    uint64_t now_ns, position;
    struct buffer facts; /* of the decision under way */
    struct buffer log;   /* as in struct fuzz_state */
};

struct engine *fake_engine_create(void) {
    const struct fuzz_state *s = fuzz_state();
    struct engine *e = calloc(1, sizeof *e);
    assert(e != NULL);
    e->model = fuzz_model_loaded();
    e->now_ns = s->now_ns;
    e->position = s->position;
    rng_init(&e->random, 1);
    buffer_init(&e->facts, FACTS_MAX);
    buffer_init(&e->log, 2 * FACTS_MAX);
    return e;
}

void fake_engine_free(struct engine *e) {
    model_free(e->model);
    buffer_release(&e->facts);
    buffer_release(&e->log);
    free(e);
}

struct model *fake_engine_model(struct engine *e) {
    return e->model;
}

uint64_t fake_engine_now_ns(const struct engine *e) {
    return e->now_ns;
}

uint64_t fake_engine_position(const struct engine *e) {
    return e->position;
}

/* ---- decisions ---- */

static struct decision begin(struct engine *e) {
    buffer_clear(&e->facts);
    return (struct decision){.now_ns = e->now_ns,
                             .position = e->position,
                             .random = &e->random,
                             .may_grow = true,
                             .facts = &e->facts};
}

static void commit(struct engine *e, const struct decision *d) {
    assert(!d->failed);
    if (e->facts.size == 0) {
        return;
    }
    struct applied where = {e->now_ns, e->position, e->position};
    int rc = buffer_put_u64(&e->log, e->now_ns);
    rc = rc == 0 ? buffer_put_u64(&e->log, e->position) : rc;
    rc = rc == 0 ? buffer_put_bytes(&e->log, buffer_span(&e->facts)) : rc;
    rc = rc == 0 ? model_apply(e->model, &where, buffer_span(&e->facts)) : rc;
    assert(rc == 0);
    e->position++;
}

static void decide(struct engine *e, struct request *r) {
    struct decision d = begin(e);
    enum refusal refusal = model_decide(e->model, &d, r);
    assert(refusal == r->refusal && (refusal == REFUSAL_NONE || e->facts.size == 0));
    commit(e, &d);
}

void fake_engine_advance(struct engine *e, uint64_t ns) {
    e->now_ns += ns;
    for (unsigned i = 0; i < TIMERS_MAX; i++) {
        struct decision d = begin(e);
        if (!model_decide_timer(e->model, &d)) {
            break;
        }
        commit(e, &d);
    }
}

bool fake_engine_start(struct engine *e, struct attempt_start *ret) {
    struct decision d = begin(e);
    if (!model_decide_start(e->model, &d, ret)) {
        return false;
    }
    commit(e, &d);
    return true;
}

/* ---- engine.h ---- */

int engine_submit(struct engine *e, struct engine_request *first, struct engine_request *last,
                  uint32_t count) {
    uint32_t seen = 0;
    for (struct engine_request *r = first; r != NULL; r = r->next) {
        decide(e, &r->r);
        e->now_ns += NS_PER_MS;
        seen++;
    }
    assert(seen == count && last->next == NULL);
    first->port->deliver(first->port, first, last);
    return 0;
}

int engine_call(struct engine *e, struct request *r) {
    decide(e, r);
    return 0;
}

/* Among records in the form of struct fuzz_state's log. */
static struct span find_record(const struct buffer *log, uint64_t position) {
    struct reader r;
    reader_init(&r, buffer_span(log));
    while (r.left > 0) {
        (void)reader_u64(&r);
        uint64_t at = reader_u64(&r);
        struct span facts = reader_bytes(&r);
        if (at == position) {
            return facts;
        }
    }
    return span_of(NULL, 0);
}

int engine_read_message(struct engine *e, uint64_t id, uint64_t address, struct buffer *bytes,
                        struct stored_message *ret) {
    struct span facts = find_record(&fuzz_state()->log, address);
    facts = facts.data != NULL ? facts : find_record(&e->log, address);
    if (facts.data == NULL) {
        return E_NOT_FOUND;
    }
    int rc = buffer_append_span(bytes, facts);
    assert(rc == 0);
    return stored_message_find(buffer_span(bytes), id, ret);
}

int engine_copy_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                              struct log_ahead *ahead, struct buffer *bytes,
                              struct stored_message *ret) {
    (void)ahead;
    return engine_read_message(e, id, address, bytes, ret);
}

int engine_destination(struct engine *e, uint32_t destination, uint32_t *ret_generation,
                       struct buffer *ret_definition) {
    return destination_snapshot(e->model, destination, ret_generation, ret_definition)
               ? 0
               : E_NOT_FOUND;
}

bool engine_checked_destinations(struct engine *e, uint32_t *version, struct buffer *ret) {
    return destination_checked(e->model, version, ret);
}

uint64_t engine_folder_id(const struct engine *e) {
    (void)e;
    return 7;
}

bool engine_is_short_of_memory(const struct engine *e) {
    return false;
}

enum log_room engine_room(const struct engine *e) {
    (void)e;
    return LOG_ROOM_OK;
}

void engine_stats(struct engine *e, struct engine_stats *ret) {
    *ret = (struct engine_stats){.next_position = e->position,
                                 .memory_bytes = model_memory_bytes(e->model)};
}
