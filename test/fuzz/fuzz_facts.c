/*
 * Any facts as the content of good records: the model takes them or refuses, and what it took it can live with.
 *
 *      byte 0     even: on an empty model; odd: on the state of state.h
 *      then       facts as they stand in a record (format.h); kind 0 begins the next record, its payload
 *                 of up to 8 bytes says how many ns later
 *
 * A checksum that holds says that the bytes are those that were written, not that they were written by this
 * program; so nothing here may crash, assert, or leave a state whose invariants do not hold.
 */
#include <assert.h>

#include "base/error.h"
#include "log/format.h"
#include "state.h"

#define FACTS_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct model *model;
    struct applied where;
    struct buffer facts; /* of the record under way */
    int rc;
};

static void apply_record(struct run *r) {
    if (r->facts.size > 0) {
        r->rc = model_apply(r->model, &r->where, buffer_span(&r->facts));
    }
    buffer_clear(&r->facts);
    r->where.position++;
    r->where.address = r->where.position;
}

static void take_fact(struct run *r, const struct fact *f) {
    if (f->kind != 0) {
        int rc = fact_encode(&r->facts, f->kind, f->version, f->payload);
        assert(rc == 0);
        return;
    }
    apply_record(r);
    uint64_t later_ns = 0;
    for (size_t i = 0; i < f->payload.size && i < 7; i++) {
        later_ns |= (uint64_t)f->payload.data[i] << 8 * i;
    }
    r->where.time_ns += later_ns;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > FACTS_MAX / 2) {
        return 0;
    }
    const struct fuzz_state *s = fuzz_state();
    bool loaded = (data[0] & 1) != 0;
    struct run r = {.model = loaded ? fuzz_model_loaded() : fuzz_model_empty()};
    r.where = (struct applied){s->now_ns, loaded ? s->position : 1, loaded ? s->position : 1};
    buffer_init(&r.facts, FACTS_MAX);
    struct span in = span_of(data + 1, size - 1);
    struct fact fact;
    while (r.rc == 0 && fact_next(&in, &fact) == 0) {
        take_fact(&r, &fact);
    }
    if (r.rc == 0) {
        apply_record(&r);
    }
    assert(r.rc == 0 || r.rc == E_CORRUPT || r.rc == E_VERSION);
    if (r.rc == 0) {
        fuzz_model_exercise(r.model, r.where.time_ns, r.where.position);
    }
    model_free(r.model);
    buffer_release(&r.facts);
    return 0;
}
