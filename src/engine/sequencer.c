/*
 * The writer. Under the engine's lock, in this order at each turn:
 *
 *   1. requests:   decide -> one record -> apply -> held until durable; behind each, what it made too long
 *   2. deliveries: messages for consumers that have room, up to GATHER_MAX decisions in one record
 *   3. timers:     what is due now, likewise, so many in a turn; then deliveries again, of what that let be ready
 *   4. starts:     attempts that pace and order allow now, likewise
 *
 * In 2 to 4 each decision is applied before the next is taken, so that the next one sees it; the facts
 * are appended once, behind. That is sound because these facts carry no bodies (apply needs no address; one
 * that does, see append_then_apply, ends its record) and
 * because the room for them is made sure of before (log_ensure_room): after an apply, a failing append ends
 * the process.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "engine/internal.h"
#include "model/fact.h"

#define NOW_EVERY 32u /* requests decided at one reading of the clock, then handed to the log */
#define LOOK_AGAIN_NS                                                                              \
    (200 * NS_PER_MS) /* nothing tells when the disk has room, or the clock is trusted, again */

/* Room asked for is twice what a gathered record stops at: its last decision may pass that. */
#define GATHER_BYTES(e)                                                                            \
    ((e)->options.segment_bytes == 0 || (e)->options.segment_bytes / 8 > SNAPSHOT_CHUNK_BYTES      \
         ? SNAPSHOT_CHUNK_BYTES                                                                    \
         : (size_t)(e)->options.segment_bytes / 8)

uint64_t engine_monotonic_ns(struct engine *e) {
    return e->options.monotonic_ns != NULL ? e->options.monotonic_ns(e->options.context)
                                           : clock_monotonic_ns();
}

uint64_t engine_now_ns(struct engine *e) {
    uint64_t real_ns =
        e->options.real_ns != NULL ? e->options.real_ns(e->options.context) : clock_real_ns();
    return timekeeper_advance(&e->timekeeper, real_ns, engine_monotonic_ns(e));
}

void engine_break(struct engine *e, const char *what, int error) {
    char message[256];
    snprintf(message, sizeof(message), "%s: %s; the state in memory cannot be trusted any more",
             what, error_text(error));
    e->broken = true;
    replies_on_failed(e, message);
}

int sequencer_append(struct engine *e, uint64_t now_ns, uint16_t fact_count,
                     uint64_t *ret_address) {
    uint64_t position;
    for (;;) {
        int error =
            log_append(e->log, now_ns, fact_count, buffer_span(&e->facts), &position, ret_address);
        if (error == 0)
            break;
        if (error != E_BUSY)
            return error;
        /* The disk is behind by a whole batch: waiting here is what pushes back on everybody. */
        if (e->options.manual) {
            error = log_flush(e->log);
            if (error != 0)
                return error;
            continue;
        }
        log_commit(e->log);
        replies_wait_progress(e, log_durable_position(e->log));
        if (e->held.dead)
            return E_IO;
    }
    e->last_position = position;
    e->stats.records++;
    return 0;
}

static struct decision begin(struct engine *e, uint64_t now_ns) {
    return (struct decision){
        .now_ns = now_ns,
        .position = e->last_position + 1,
        .random = &e->random,
        .may_grow = log_room(e->log) == LOG_ROOM_OK && !engine_is_short_of_memory(e),
        .facts = &e->facts,
    };
}

static void apply(struct engine *e, const struct applied *where, struct span facts) {
    int error = model_apply(e->model, where, facts);
    if (error != 0)
        engine_break(e, "a decided fact could not be applied", error);
    else if (e->options.paranoid)
        model_check(e->model);
}

/* E_FULL and E_TOO_LARGE are answers; anything else that append says is the end of the log. */
static enum refusal refusal_of_append(struct engine *e, struct request *r, int error) {
    if (error == E_FULL)
        return REFUSAL_DISK_FULL;
    if (error == E_TOO_LARGE) {
        r->error_detail = "larger than one log record may be (half a segment, at most 32 MiB)";
        return REFUSAL_TOO_LARGE;
    }
    if (!e->held.dead)
        engine_break(e, "a record could not be appended", error);
    return REFUSAL_STOPPING;
}

/* Records before the next one, whose ids are its. 0: *ret_count of them. */
static int reserve_ids(struct engine *e, uint64_t now_ns, uint32_t ids, uint32_t *ret_count) {
    uint32_t count = (ids - 1) / IDS_PER_POSITION;
    for (uint32_t i = 0; i < count; i++) {
        buffer_clear(&e->facts);
        struct decision d = begin(e, now_ns);
        decision_end(&d, decision_begin(&d, FACT_IDS_RESERVED, 1));
        uint64_t address;
        int error = d.failed ? E_NOMEM : sequencer_append(e, now_ns, 1, &address);
        if (error != 0)
            return error;
    }
    buffer_clear(&e->facts);
    *ret_count = count;
    return 0;
}

/* Asked again when it needs more ids than a record has. */
static struct decision decide(struct engine *e, uint64_t now_ns, struct request *r) {
    buffer_clear(&e->facts);
    struct decision d = begin(e, now_ns);
    r->refusal = model_decide(e->model, &d, r);
    while (r->refusal == REFUSAL_NONE && d.ids_wanted != 0 && !d.failed) {
        uint32_t wanted = d.ids_wanted, reserved = 0;
        int error = reserve_ids(e, now_ns, wanted, &reserved);
        d = begin(e, now_ns);
        d.reserved = reserved;
        r->count = 0;
        r->refusal = error == 0 ? model_decide(e->model, &d, r) : refusal_of_append(e, r, error);
    }
    /* The model knows one reason not to grow; whoever asks is told which it was. */
    if (r->refusal == REFUSAL_DISK_FULL && engine_is_short_of_memory(e) &&
        log_room(e->log) == LOG_ROOM_OK)
        r->refusal = REFUSAL_BUSY;
    return d;
}

static void run_trims(struct engine *e, uint64_t now_ns);

/*
 * Recovery closes every session that there is. While it waits for room on the disk none may begin, or it would be
 * closed with those of before: what it holds would go to others, and an acknowledgement of it would be nothing.
 */
static bool must_wait_for_recovery(const struct engine *e, const struct request *r) {
    if (!e->recovering)
        return false;
    return r->kind == REQUEST_CONSUME || r->kind == REQUEST_BASIC_GET || r->kind == REQUEST_QOS ||
           (r->kind == REQUEST_AMQP_QUEUE_DECLARE && r->in.queue_declare.exclusive);
}

static void decide_and_append(struct engine *e, uint64_t now_ns, struct request *r) {
    struct decision d = decide(e, now_ns, r);
    if (r->refusal == REFUSAL_NONE && d.failed) {
        r->refusal = REFUSAL_LIMIT;
        r->error_detail = "the request needs more room than one log record has";
    }
    if (r->refusal == REFUSAL_NONE && d.fact_count > 0) {
        struct applied where = {.time_ns = now_ns, .position = d.position};
        int error = sequencer_append(e, now_ns, d.fact_count, &where.address);
        if (error == 0)
            apply(e, &where, buffer_span(&e->facts));
        else
            r->refusal = refusal_of_append(e, r, error);
    }
}

static void decide_one(struct engine *e, uint64_t now_ns, struct engine_request *q) {
    struct request *r = &q->r;
    if (must_wait_for_recovery(e, r)) {
        r->refusal = REFUSAL_DISK_FULL;
        r->error_detail = "the start is not complete: it waits for room on the disk";
    } else {
        decide_and_append(e, now_ns, r);
    }
    q->wait_position = e->last_position;
    q->decided_ns = now_ns;
    e->stats.requests++;
    e->stats.refused[r->refusal]++;
    if (model_has_trim(e->model))
        run_trims(e, now_ns);
}

/* A run of members is a run of cache misses: all at once instead of one by one. */
static void prefetch_run(const struct engine *e, const struct engine_request *first) {
    for (unsigned step = 0; first->next != NULL && step < PREFETCH_STEPS; step++) {
        const struct engine_request *q = first;
        for (uint32_t n = 0; q != NULL && n < NOW_EVERY; n++, q = q->next)
            model_prefetch(e->model, &q->r, step);
    }
}

/* Never to be answered, but kept where whoever waits for one of them can take it back. */
static void abandon(struct engine *e, struct engine_request *first) {
    struct engine_request *last = first;
    for (struct engine_request *q = first; q != NULL; q = q->next) {
        q->wait_position = UINT64_MAX;
        last = q;
    }
    if (first != NULL)
        replies_hold(e, first, last);
}

static void decide_chain(struct engine *e, struct engine_request *first) {
    while (first != NULL && !e->broken) {
        prefetch_run(e, first);
        uint64_t now_ns = engine_now_ns(e);
        struct engine_request *last = first;
        for (uint32_t n = 1;; n++) {
            decide_one(e, now_ns, last);
            if (last->next == NULL || n == NOW_EVERY || e->broken)
                break;
            last = last->next;
        }
        struct engine_request *rest = last->next;
        replies_hold(e, first, last);
        first = rest;
        if (first != NULL)
            log_commit(e->log);
    }
    abandon(e, first);
}

/* Facts that were applied already become a record; to fail here is to end. None: gather appended them. */
static void append_gathered(struct engine *e, uint64_t now_ns, uint16_t fact_count) {
    if (fact_count == 0)
        return;
    uint64_t address;
    int error = sequencer_append(e, now_ns, fact_count, &address);
    if (error != 0 && !e->held.dead)
        engine_break(e, "a record could not be appended", error);
}

/* Else what was applied could not be appended, and the process would have to end for want of room. */
static bool has_room_to_gather(struct engine *e) {
    e->short_of_room = log_ensure_room(e->log, 2 * GATHER_BYTES(e)) != 0;
    return !e->short_of_room;
}

typedef bool decide_next(struct engine *e, struct decision *d);

/* A new beginning with as many ids as were wanted. */
static bool begin_with_ids(struct engine *e, uint64_t now_ns, struct decision *d) {
    uint32_t reserved = 0;
    int error = reserve_ids(e, now_ns, d->ids_wanted, &reserved);
    if (error != 0 && !e->held.dead)
        engine_break(e, "a record could not be appended", error);
    *d = begin(e, now_ns);
    d->reserved = reserved;
    return error == 0;
}

/*
 * A decision that made a message (an event) is the last of its record: apply needs to know where its body
 * stands, so the record is appended first, with what was applied before.
 */
static void append_then_apply(struct engine *e, const struct decision *d, size_t begun) {
    struct applied where = {.time_ns = d->now_ns, .position = d->position};
    int error = sequencer_append(e, d->now_ns, d->fact_count, &where.address);
    if (error == 0)
        apply(e, &where, span_of(e->facts.data + begun, e->facts.size - begun));
    else if (!e->held.dead)
        engine_break(e, "a record could not be appended", error);
}

/*
 * Decides and applies one after the other until `next` has no more or the record is big enough.
 * Returns how many; *ret_fact_count facts stand in e->facts, not appended yet.
 */
static uint32_t gather(struct engine *e, uint64_t now_ns, decide_next *next,
                       uint16_t *ret_fact_count) {
    buffer_clear(&e->facts);
    struct decision d = begin(e, now_ns);
    uint32_t n = 0;
    while (n < GATHER_MAX && e->facts.size < GATHER_BYTES(e) && !e->broken) {
        size_t begun = e->facts.size;
        uint16_t facts_before = d.fact_count;
        if (!next(e, &d) || d.failed)
            break;
        if (d.ids_wanted != 0) {
            e->facts.size = begun;
            d.fact_count = facts_before;
            if (n > 0 || !begin_with_ids(e, now_ns, &d))
                break; /* in a record of its own */
            continue;
        }
        n++;
        if (d.operation > 0) {
            append_then_apply(e, &d, begun);
            *ret_fact_count = 0;
            return n;
        }
        struct span fresh = span_of(e->facts.data + begun, e->facts.size - begun);
        apply(e, &(struct applied){.time_ns = now_ns, .position = d.position}, fresh);
    }
    if (d.failed)
        engine_break(e, "a timer or start could not be decided", E_NOMEM);
    *ret_fact_count = d.fact_count;
    return n;
}

static bool next_timer(struct engine *e, struct decision *d) {
    if (e->timers_left == 0)
        return false;
    e->timers_left--;
    return model_decide_timer(e->model, d);
}

/* When a million come due at the same moment, requests and starts have their turns in between; sequencer_next_wake_ns says now. */
static void run_timers(struct engine *e, uint64_t now_ns) {
    e->timers_left = e->options.timers_a_turn != 0 ? e->options.timers_a_turn : TIMERS_A_TURN;
    while (e->timers_left > 0 && !e->broken && model_next_due_ns(e->model) <= now_ns &&
           has_room_to_gather(e)) {
        uint16_t facts;
        if (gather(e, now_ns, next_timer, &facts) == 0 || e->broken)
            return;
        append_gathered(e, now_ns, facts);
        e->flush_due = true;
        if (model_next_due_ns(e->model) <= now_ns)
            log_commit(e->log);
    }
}

static bool next_start(struct engine *e, struct decision *d) {
    struct attempt_start start;
    if (!model_decide_start(e->model, d, &start))
        return false;
    if (start.message == 0)
        return true; /* a retry was put off: nothing to send */
    start.decided_ns = e->timekeeper.monotonic_ns;
    int error = start.lead != 0 ? replies_join_start(e, &start)
                                : replies_hold_start(e, &start, d->position);
    if (error != 0)
        d->failed = true;
    return true;
}

static bool starts_at_all(struct engine *e) {
    return e->options.start_attempts != NULL && atomic_load(&e->accepting) && !e->starts_held;
}

static bool may_start(struct engine *e) {
    return starts_at_all(e) && !e->broken && !e->recovering &&
           engine_monotonic_ns(e) >= e->timekeeper.starts_after_ns && has_room_to_gather(e);
}

static void run_starts(struct engine *e, uint64_t now_ns) {
    while (may_start(e)) {
        uint16_t facts;
        uint32_t n = gather(e, now_ns, next_start, &facts);
        if (n == 0 || e->broken)
            return;
        append_gathered(e, now_ns, facts);
        e->flush_due = true;
        if (n < GATHER_MAX)
            return;
        log_commit(e->log); /* goes on its way while the next ones are decided */
    }
}

/* ---- consumers ---- */

static bool next_trim(struct engine *e, struct decision *d) {
    return model_decide_trim(e->model, d);
}

static void run_trims(struct engine *e, uint64_t now_ns) {
    while (!e->broken && model_has_trim(e->model) && has_room_to_gather(e)) {
        uint16_t facts;
        if (gather(e, now_ns, next_trim, &facts) == 0 || e->broken)
            return;
        append_gathered(e, now_ns, facts);
        e->flush_due = true;
    }
}

static struct delivery_batch *batch_create(struct engine *e) {
    struct delivery_batch *b = malloc(sizeof(*b) + GATHER_MAX * sizeof(b->items[0]));
    if (b == NULL) {
        engine_break(e, "deliveries could not be gathered", E_NOMEM);
        return NULL;
    }
    b->next = NULL;
    b->count = 0;
    return b;
}

/* Held until the last record is durable; an empty one goes at once. Smaller now: most have a few. */
static void batch_hold(struct engine *e, struct delivery_batch *b) {
    if (b->count == 0 || e->options.deliver == NULL) {
        delivery_batch_free(b);
        return;
    }
    struct delivery_batch *fitting = realloc(b, sizeof(*b) + b->count * sizeof(b->items[0]));
    b = fitting != NULL ? fitting : b;
    b->wait_position = e->last_position;
    replies_hold_batch(e, b);
}

/* Consumers that are gone with their queue. */
static void tell_notices(struct engine *e) {
    struct delivery notice;
    struct delivery_batch *b = NULL;
    while (!e->broken && model_take_notice(e->model, &notice)) {
        b = b == NULL ? batch_create(e) : b;
        if (b == NULL)
            return;
        b->items[b->count++] = notice;
        if (b->count == GATHER_MAX) {
            batch_hold(e, b);
            b = NULL;
        }
    }
    if (b != NULL)
        batch_hold(e, b);
}

static bool next_delivery(struct engine *e, struct decision *d) {
    struct delivery *one = &e->batch->items[e->batch->count];
    if (!model_decide_delivery(e->model, d, one))
        return false;
    e->batch->count++;
    return true;
}

static bool may_deliver(struct engine *e, uint64_t now_ns) {
    return e->options.deliver != NULL && atomic_load(&e->accepting) && !e->broken &&
           !e->recovering && model_next_delivery_ns(e->model, now_ns) <= now_ns &&
           has_room_to_gather(e);
}

static void run_deliveries(struct engine *e, uint64_t now_ns) {
    tell_notices(e);
    while (may_deliver(e, now_ns)) {
        uint16_t facts;
        e->batch = batch_create(e);
        if (e->batch == NULL)
            return;
        uint32_t n = gather(e, now_ns, next_delivery, &facts);
        if (n > 0 && !e->broken)
            append_gathered(e, now_ns, facts);
        batch_hold(e, e->batch);
        e->batch = NULL;
        if (n > 0)
            e->flush_due = true;
        if (n < GATHER_MAX)
            return;
        log_commit(e->log);
    }
}

/*
 * Deliveries at the time of the last request, before timers: what lives for no time at all gets to a consumer that
 * waits; what expired is passed over by model_decide_delivery itself. Then again, for what timers let be ready.
 */
void sequencer_work(struct engine *e, struct engine_request *first) {
    decide_chain(e, first);
    if (e->broken)
        return;
    e->short_of_room = false;
    if (!e->recovering)
        run_deliveries(e, e->timekeeper.time_ns);
    uint64_t now_ns = engine_now_ns(e), unknown;
    if (e->recovering && sequencer_recover(e, &unknown) != 0)
        return; /* the log is dead */
    run_timers(e, now_ns);
    if (model_has_trim(e->model))
        run_trims(e, now_ns);
    run_deliveries(e, now_ns);
    run_starts(e, now_ns);
}

uint64_t sequencer_next_wake_ns(struct engine *e) {
    uint64_t now_ns = engine_now_ns(e);
    uint64_t monotonic_ns = e->timekeeper.monotonic_ns;
    uint64_t due_ns = model_next_due_ns(e->model);
    if (starts_at_all(e)) {
        uint64_t start_ns = model_next_start_ns(e->model, now_ns);
        if (start_ns != UINT64_MAX && e->timekeeper.starts_after_ns > monotonic_ns)
            start_ns = now_ns + LOOK_AGAIN_NS;
        if (start_ns < due_ns)
            due_ns = start_ns;
    }
    if (e->options.deliver != NULL && atomic_load(&e->accepting)) {
        uint64_t delivery_ns = model_next_delivery_ns(e->model, now_ns);
        if (delivery_ns < due_ns)
            due_ns = delivery_ns;
    }
    if (e->recovering)
        due_ns = now_ns;
    if (due_ns == UINT64_MAX)
        return UINT64_MAX;
    if (e->short_of_room && due_ns < now_ns + LOOK_AGAIN_NS)
        due_ns = now_ns + LOOK_AGAIN_NS;
    return due_ns <= now_ns ? monotonic_ns : monotonic_ns + (due_ns - now_ns);
}

static bool next_recovery(struct engine *e, struct decision *d) {
    return model_decide_recovery(e->model, d);
}

/* Those who would be told are gone themselves. */
static void forget_notices(struct engine *e) {
    struct delivery notice;
    while (model_take_notice(e->model, &notice))
        free(notice.origin);
}

int sequencer_recover(struct engine *e, uint64_t *ret_count) {
    *ret_count = 0;
    while (has_room_to_gather(e)) {
        uint64_t now_ns = engine_now_ns(e);
        uint16_t facts;
        uint32_t n = gather(e, now_ns, next_recovery, &facts);
        if (e->broken)
            return E_CORRUPT;
        if (n == 0) {
            e->recovering = false;
            forget_notices(e);
            return 0;
        }
        append_gathered(e, now_ns, facts);
        if (e->held.dead)
            return E_IO;
        log_commit(e->log);
        *ret_count += n;
    }
    return e->held.dead ? E_IO : 0;
}
