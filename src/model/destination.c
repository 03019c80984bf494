/*
 * Destinations: definitions, pausing, and what others ask about them. The life of attempts is in
 * attempt.c, whose turn it is in destination_ready.c.
 *
 * DESTINATION_DEFINED                 DESTINATION_DELETED       DESTINATION_PAUSED
 *   offset  size                        offset  size              offset  size
 *        0     4  index                      0     4  index            0     4  index
 *        4     8  hash of the file's                                   4     1  1: paused, 0: not
 *                 definition, 0: none
 *       12     .  the encoded definition
 */
#include "model/destination_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"

#define DESTINATIONS_DEFAULT 10000u
#define QUEUES_DEFAULT       100000u
#define CENTURY_NS           (UINT64_C(100) * 366 * 86400 * NS_PER_SECOND)

__extension__ typedef unsigned __int128 uint128;

/* ---- life ---- */

int destinations_create(const struct model *m, struct destinations **ret) {
    struct destinations *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return E_NOMEM;
    }
    list_init(&s->active);
    uint32_t queues = m->limits.queues != 0 ? m->limits.queues : QUEUES_DEFAULT;
    s->ready_slots = queues + 2;
    s->ready = calloc(s->ready_slots, sizeof *s->ready); /* untouched pages cost nothing */
    int rc = s->ready == NULL ? E_NOMEM : roster_init(&s->roster, m->hash);
    if (rc == 0) {
        rc = attempts_init(s);
    }
    if (rc != 0) {
        destinations_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void destination_free(struct destination *t) {
    if (t == NULL) {
        return;
    }
    destination_def_release(&t->def);
    pace_release(&t->pace);
    heap_release(&t->parked);
    free(t->name);
    free(t);
}

void destinations_free(struct destinations *s) {
    if (s == NULL) {
        return;
    }
    uint32_t i = 0;
    while (s->roster.live > 0 && (i = roster_after(&s->roster, i)) != 0) {
        destination_free(roster_at(&s->roster, i));
    }
    roster_release(&s->roster);
    attempts_release(s);
    free(s->ready);
    free(s);
}

/* The cap of our own stands in for a missing one; the definition stays as it was given. */
static struct pace_def pace_in_force(const struct destination_def *def) {
    struct pace_def pace = def->pace;
    if (pace.concurrency == 0) {
        pace.concurrency = DESTINATION_IN_FLIGHT_MAX;
    }
    return pace;
}

/* Takes over `def`, also on failure. */
static int destination_set(struct destinations *s, struct destination *t,
                           struct destination_def *def) {
    destination_def_release(&t->def);
    t->def = *def;
    *def = (struct destination_def){0};
    t->generation = ++s->generation;
    struct pace_def pace = pace_in_force(&t->def);
    return pace_def_valid(&pace) ? pace_define(&t->pace, &pace) : E_CORRUPT;
}

int destination_make(struct model *m, uint32_t index, struct destination_def *def,
                     struct destination **ret) {
    struct destinations *s = m->destinations;
    struct destination *t = calloc(1, sizeof *t);
    if (t == NULL) {
        destination_def_release(def);
        return E_NOMEM;
    }
    t->index = index;
    pace_init(&t->pace);
    destination_ready_init(s, t);
    t->name = strdup(def->name);
    int rc = destination_set(s, t, def);
    if (rc == 0) {
        rc = t->name == NULL ? E_NOMEM : roster_put(&s->roster, index, t, t->name);
    }
    if (rc != 0) {
        destination_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

/* ---- asked by others ---- */

uint32_t destination_find(const struct model *m, struct span name) {
    return roster_find(&m->destinations->roster, name);
}

const struct destination_def *destination_definition(const struct model *m, uint32_t destination) {
    const struct destination *t = destination_at(m, destination);
    return t != NULL ? &t->def : NULL;
}

bool destination_snapshot(const struct model *m, uint32_t destination, uint32_t *ret_generation,
                          struct buffer *out) {
    const struct destination *t = destination_at(m, destination);
    if (t == NULL || destination_def_encode(&t->def, out) != 0) {
        return false;
    }
    *ret_generation = t->generation;
    return true;
}

/* ns that `starts` starts take at a rate. */
static uint64_t starts_take_ns(const struct pace_def *pace, uint64_t starts) {
    uint128 ns = (uint128)starts * pace->period_ns / pace->count;
    return ns < CENTURY_NS ? (uint64_t)ns : CENTURY_NS;
}

uint64_t destination_eta_ns(const struct model *m, uint32_t destination, uint64_t now_ns,
                            uint64_t ahead) {
    const struct destination *t = destination_at(m, destination);
    if (t == NULL || t->paused) {
        return 0;
    }
    uint64_t from_ns = t->closed_until_ns > now_ns ? t->closed_until_ns : now_ns;
    if (t->pace.def.count == 0) {
        return from_ns;
    }
    return from_ns + starts_take_ns(&t->pace.def, ahead);
}

/* Ready messages of all queues that push here. */
static uint64_t waiting_for(const struct model *m, uint32_t destination) {
    uint32_t first = queue_next_of_destination(m, destination, 0);
    uint64_t waiting = 0;
    uint32_t q = first;
    while (q != 0) {
        waiting += queue_ready_count(m, q);
        q = queue_next_of_destination(m, destination, q);
        q = q != first ? q : 0;
    }
    return waiting;
}

void destination_describe(const struct model *m, const struct destination *t,
                          struct destination_info *ret) {
    *ret = (struct destination_info){
        .attempts = t->started,
        .succeeded = t->succeeded,
        .failed = t->failed,
        .in_flight = t->pace.in_flight,
        .waiting = waiting_for(m, t->index),
        .closed_until_ns = t->closed_until_ns,
        .paused = t->paused,
    };
}

/* ---- decide ---- */

static int encode_if_any(const struct destination *t, struct buffer *out) {
    return t != NULL ? destination_def_encode(&t->def, out) : 0;
}

static void emit_defined(struct decision *d, uint32_t index, uint64_t file_hash,
                         struct span definition) {
    size_t begun = decision_begin(d, FACT_DESTINATION_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, file_hash);
    decision_put_span(d, definition);
    decision_end(d, begun);
}

/* `wanted` is complete and fine. */
static enum refusal decide_define_valid(const struct model *m, struct decision *d,
                                        struct request *r, const struct destination_def *wanted) {
    const struct destinations *s = m->destinations;
    uint32_t index = destination_find(m, span_text(wanted->name));
    const struct destination *t = destination_at(m, index);
    uint32_t limit = m->limits.destinations != 0 ? m->limits.destinations : DESTINATIONS_DEFAULT;
    if (t == NULL && s->roster.live >= limit) {
        return request_refuse(r, REFUSAL_LIMIT, "there are as many destinations as allowed");
    }
    if (t == NULL && !d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    struct buffer present, next;
    buffer_init(&present, DESTINATION_DEF_MAX_BYTES);
    buffer_init(&next, DESTINATION_DEF_MAX_BYTES);
    enum refusal refusal = REFUSAL_NONE;
    if (encode_if_any(t, &present) != 0 || destination_def_encode(wanted, &next) != 0) {
        d->failed = true;
    } else {
        bool emit;
        uint64_t file_hash;
        refusal = definition_decide(&r->in.define.how, buffer_span(&present), buffer_span(&next),
                                    t != NULL ? t->file_hash : 0, &emit, &file_hash);
        if (refusal == REFUSAL_NONE && emit) {
            emit_defined(d, t != NULL ? index : roster_next_index(&s->roster), file_hash,
                         buffer_span(&next));
        }
    }
    buffer_release(&present);
    buffer_release(&next);
    return refusal != REFUSAL_CONFLICT
               ? refusal
               : request_refuse(r, refusal, "a destination of this name exists already");
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    const struct destination_def *wanted = r->in.define.destination;
    if (r->name.size > 0 && !span_is(r->name, wanted->name)) {
        return request_invalid(r, "/name", "differs from the name in the path");
    }
    const char *pointer;
    const char *problem = destination_def_problem(wanted, &pointer);
    if (problem != NULL) {
        return request_invalid(r, pointer, problem);
    }
    struct destination_def settled = *wanted; /* texts stay the caller's */
    settled.pace.burst = pace_burst(&wanted->pace);
    return decide_define_valid(m, d, r, &settled);
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r,
                                  const struct destination *t) {
    if (queue_next_of_destination(m, t->index, 0) != 0) {
        return request_refuse(r, REFUSAL_CONFLICT, "a queue pushes to this destination");
    }
    if (t->pace.in_flight > 0) {
        return request_refuse(r, REFUSAL_CONFLICT, "attempts are under way");
    }
    size_t begun = decision_begin(d, FACT_DESTINATION_DELETED, 1);
    decision_put_u32(d, t->index);
    decision_end(d, begun);
    return REFUSAL_NONE;
}

static enum refusal decide_pause(struct decision *d, const struct destination *t, bool paused) {
    if (t->paused != paused) {
        size_t begun = decision_begin(d, FACT_DESTINATION_PAUSED, 1);
        decision_put_u32(d, t->index);
        decision_put_u8(d, paused);
        decision_end(d, begun);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r,
                               const struct destination *t) {
    if (destination_def_encode(&t->def, &r->out_bytes) != 0) {
        d->failed = true;
    }
    r->generation = t->generation;
    destination_describe(m, t, &r->out.destination);
    return REFUSAL_NONE;
}

static int put_list_item(const struct model *m, const struct destination *t, struct buffer *out) {
    size_t at;
    int rc = sized_begin(out, &at);
    if (rc == 0) {
        rc = destination_def_encode(&t->def, out);
    }
    if (rc != 0) {
        return rc;
    }
    sized_end(out, at);
    struct destination_info info;
    destination_describe(m, t, &info);
    return buffer_put_bytes(out, span_of(&info, sizeof info));
}

static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    const struct roster *roster = &m->destinations->roster;
    uint32_t max = request_list_max(r);
    uint32_t i = roster_after(roster, (uint32_t)r->in.list.after);
    for (r->count = 0; i != 0 && r->count < max; r->count++) {
        if (put_list_item(m, destination_at(m, i), &r->out_bytes) != 0) {
            d->failed = true;
            return REFUSAL_NONE;
        }
        r->next = i;
        i = roster_after(roster, i);
    }
    if (i == 0) {
        r->next = 0;
    }
    return REFUSAL_NONE;
}

static enum refusal decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_DESTINATION_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_DESTINATION_LIST:
        return decide_list(m, d, r);
    case REQUEST_ATTEMPT_FINISH:
        return attempt_decide_finish(m, d, r);
    default:
        break;
    }
    const struct destination *t = destination_at(m, destination_find(m, r->name));
    if (t == NULL) {
        return REFUSAL_NOT_FOUND;
    }
    switch (r->kind) {
    case REQUEST_DESTINATION_DELETE:
        return decide_delete(m, d, r, t);
    case REQUEST_DESTINATION_GET:
        return decide_get(m, d, r, t);
    case REQUEST_DESTINATION_PAUSE:
        return decide_pause(d, t, true);
    case REQUEST_DESTINATION_RESUME:
        return decide_pause(d, t, false);
    default:
        return REFUSAL_INVALID;
    }
}

/* ---- apply ---- */

static int apply_defined(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    uint64_t file_hash = reader_u64(in);
    struct destination_def def;
    int rc = in->failed ? E_CORRUPT : destination_def_decode(in, &def);
    if (rc != 0) {
        return rc;
    }
    struct destination *t = destination_at(m, index);
    bool is_new = t == NULL;
    if (is_new) {
        rc = destination_make(m, index, &def, &t);
    } else if (strcmp(t->name, def.name) == 0) {
        rc = destination_set(m->destinations, t, &def);
    } else {
        destination_def_release(&def);
        rc = E_CORRUPT;
    }
    if (rc != 0) {
        return rc;
    }
    t->file_hash = file_hash;
    if (is_new) {
        queue_destination_changed(m, t->name, index);
    }
    return 0;
}

static int apply_deleted(struct model *m, struct reader *in) {
    uint32_t index = reader_u32(in);
    struct destination *t = destination_at(m, index);
    if (!reader_done(in) || t == NULL || t->pace.in_flight > 0) {
        return E_CORRUPT;
    }
    queue_destination_changed(m, t->name, 0);
    if (list_linked(&t->active)) {
        return E_CORRUPT; /* decide saw no queue that names it */
    }
    roster_remove(&m->destinations->roster, index);
    destination_free(t);
    return 0;
}

static int apply_paused(struct model *m, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint8_t paused = reader_u8(in);
    if (!reader_done(in) || t == NULL || paused > 1) {
        return E_CORRUPT;
    }
    t->paused = paused == 1;
    return 0;
}

static int apply(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                 struct reader *payload) {
    if (version > 1) {
        return E_VERSION;
    }
    switch (kind) {
    case FACT_DESTINATION_DEFINED:
        return apply_defined(m, payload);
    case FACT_DESTINATION_DELETED:
        return apply_deleted(m, payload);
    case FACT_DESTINATION_PAUSED:
        return apply_paused(m, payload);
    case FACT_ATTEMPT_STARTED:
        return attempt_apply_started(m, where, payload);
    case FACT_ATTEMPT_FINISHED:
        return attempt_apply_finished(m, where, payload);
    default:
        return E_CORRUPT;
    }
}

static uint64_t memory_bytes(const struct model *m) {
    const struct destinations *s = m->destinations;
    uint64_t bytes = roster_memory_bytes(&s->roster) + slab_memory_bytes(&s->attempt_cells) +
                     map_memory_bytes(&s->attempts);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct destination *t = destination_at(m, i);
        bytes += sizeof *t + (uint64_t)t->pace.ends_capacity * 8;
    }
    return bytes;
}

const struct module destination_module = {
    .name = "destination",
    .decide = decide,
    .apply = apply,
    .save = destination_save,
    .load = destination_load,
    .check = destination_check,
    .memory_bytes = memory_bytes,
    .section_version = 1,
};
