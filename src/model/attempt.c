/*
 * Attempts: started when pace allows, finished once (attempt_finish.c), or found unfinished after a restart.
 *
 *      decide_start --ATTEMPT_STARTED--> under way --ATTEMPT_FINISHED--> done | retry | dead | confirming
 *                                            |
 *                                            +--- the program ended ---> unknown: ready again, marked
 *                                            +--- the message is gone -> gone: only the token ends
 *
 * The table of attempts under way says where each started and when, so that its end is counted there
 * even if its message was deleted or its queue turned to another destination meanwhile, and so that a
 * finish of an attempt that was given up already is known as stale.
 *
 * ATTEMPT_STARTED (v1: 16 bytes, v2: 24, v3: 33, v4: 37)
 *   offset  size
 *        0     4  destination index
 *        4     8  message
 *       12     4  attempt, from 1
 *       16     4  endpoint id, 0: none
 *       20     4  home: the queue's own
 *       24     8  lead: the message whose request it shares, 0: none
 *       32     1  1: its token, too
 *       33     4  ns from the record to its turn, before which it does not leave and at which its token counts
 *
 * ATTEMPT_DEFERRED (20 bytes): destination index (4), message (8), due time (8). A retry that is next in its
 * queue, but over the destination's budget of retries, is put off, so that those behind it can go.
 */
#include "model/destination_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "model/balance.h"

/* So long what other destinations' queues send somewhere is expected to go on. */
#define LENT_NS NS_PER_SECOND

/* ---- the table ---- */

static bool attempt_matches(const void *owner, uint32_t slot, const void *key) {
    const struct destinations *s = owner;
    const struct attempt *a = slab_at(&s->attempt_cells, slot);
    return a->message == *(const uint64_t *)key;
}

void attempts_init(struct destinations *s) {
    slab_init(&s->attempt_cells, sizeof(struct attempt), UINT32_MAX - 1);
    list_init(&s->started);
    list_init(&s->confirming);
    map_init(&s->attempts, s, attempt_matches);
}

static void release_notes(struct list *attempts) {
    for (struct list_node *n = list_first(attempts); n != NULL; n = list_next(attempts, n)) {
        key_text_release(&CONTAINER_OF(n, struct attempt, node)->note);
    }
}

void attempts_release(struct destinations *s) {
    release_notes(&s->started);
    release_notes(&s->confirming);
    map_release(&s->attempts);
    slab_release(&s->attempt_cells);
}

static uint32_t attempt_slot(const struct destinations *s, uint64_t message) {
    return map_find(&s->attempts, hash_u64(message), &message);
}

struct attempt *attempt_find(const struct destinations *s, uint64_t message) {
    uint32_t slot = attempt_slot(s, message);
    return slot != 0 ? slab_at(&s->attempt_cells, slot) : NULL;
}

int attempt_add(struct destinations *s, const struct attempt *values) {
    uint32_t slot;
    if (attempt_slot(s, values->message) != 0) {
        return E_CORRUPT;
    }
    int rc = slab_take(&s->attempt_cells, &slot);
    if (rc != 0) {
        return rc;
    }
    struct attempt *a = slab_at(&s->attempt_cells, slot);
    *a = *values;
    a->node = (struct list_node){0};
    rc = map_insert(&s->attempts, hash_u64(a->message), slot);
    if (rc != 0) {
        slab_give(&s->attempt_cells, slot);
        return rc;
    }
    list_append(a->confirming ? &s->confirming : &s->started, &a->node);
    return 0;
}

void attempt_remove(struct destinations *s, struct attempt *a) {
    uint32_t slot = attempt_slot(s, a->message);
    key_text_release(&a->note);
    list_remove(&a->node);
    map_remove(&s->attempts, hash_u64(a->message), slot);
    slab_give(&s->attempt_cells, slot);
}

/* ---- start ---- */

static uint64_t timeout_of(const struct model *m, const struct destination *t, uint32_t queue) {
    const struct queue_def *q = queue_definition(m, queue);
    return q != NULL && q->dispatch_deadline_ns != 0 ? q->dispatch_deadline_ns : t->def.timeout_ns;
}

static void describe_start(const struct model *m, const struct destination *t,
                           const struct message_view *v, uint32_t endpoint,
                           struct attempt_start *ret) {
    const struct queue_def *q = queue_definition(m, v->queue);
    *ret = (struct attempt_start){
        .message = v->id,
        .address = v->address,
        .attempt = v->attempts + 1,
        .outcome_unknown_before = v->outcome_unknown,
        .destination = t->index,
        .destination_generation = t->generation,
        .endpoint = endpoint,
        .timeout_ns = timeout_of(m, t, v->queue),
        .scheduled_ns = v->due_ns != 0 ? v->due_ns : v->accepted_ns_hint,
    };
    size_t size = strlen(q->name);
    assert(size < sizeof ret->queue);
    memcpy(ret->queue, q->name, size + 1);
}

/* An attempt after one of unknown outcome says nothing about the far side, so it is none here. */
static bool is_retry(const struct message_view *v) {
    return v->attempts > 0 && !v->outcome_unknown;
}

static void emit_deferred(struct decision *d, const struct destination *t,
                          const struct message_view *v) {
    size_t begun = decision_begin(d, FACT_ATTEMPT_DEFERRED, 1);
    decision_put_u32(d, t->index);
    decision_put_u64(d, v->id);
    decision_put_u64(d, budget_slot(&t->budget, &t->def.budget, d->now_ns));
    decision_end(d, begun);
}

static void emit_started(struct decision *d, const struct destination *t,
                         const struct destination *home, const struct message_view *v,
                         uint32_t endpoint, uint64_t lead, bool shares_token, uint64_t ahead_ns) {
    assert(ahead_ns <= UINT32_MAX);
    size_t begun = decision_begin(d, FACT_ATTEMPT_STARTED, 4);
    decision_put_u32(d, t->index);
    decision_put_u64(d, v->id);
    decision_put_u32(d, v->attempts + 1);
    decision_put_u32(d, endpoint);
    decision_put_u32(d, home->index);
    decision_put_u64(d, lead);
    decision_put_u8(d, shares_token);
    decision_put_u32(d, (uint32_t)ahead_ns);
    decision_end(d, begun);
}

/* It may be taken now, for this message. */
static void decide_by(const struct model *m, struct decision *d, const struct way *way,
                      const struct destination *home, const struct message_view *v,
                      struct attempt_start *ret_start) {
    const struct destination *t = way->to;
    if (is_retry(v) && !budget_allows(&t->budget, &t->def.budget, d->now_ns)) {
        emit_deferred(d, t, v);
        *ret_start = (struct attempt_start){.message = 0};
        return;
    }
    uint32_t endpoint = 0;
    if (t->endpoints.count > 0) {
        uint64_t key = destination_key(m, t, v);
        endpoint = balance_choose(&t->endpoints, &t->def.balance, key, d->now_ns, d->random);
        assert(endpoint != 0); /* P5: the gate saw one that is in */
    }
    describe_start(m, t, v, endpoint, ret_start);
    if (way->by_turns) {
        ret_start->ahead_ns = limits_turn_ns(&t->limits, d->now_ns) - d->now_ns;
        ret_start->gap_ns = limits_gap_ns(&t->limits);
    }
    emit_started(d, t, home, v, endpoint, 0, false, ret_start->ahead_ns);
}

static bool may_start_now(const struct model *m, const struct decision *d,
                          const struct destination *t, uint32_t queue) {
    struct way way = destination_way(m, t, d->now_ns, 0);
    return way.wait_ns == 0 && destination_early_ns(m, &way, d->now_ns) == 0 &&
           pace_wait_ns(queue_pace_view(m, queue), d->now_ns) == 0;
}

/* One more message in the request that was decided last, in this very record. */
static bool decide_join(const struct model *m, struct decision *d,
                        struct attempt_start *ret_start) {
    const struct batch_open *b = &m->destinations->batch;
    const struct destination *t =
        b->position == d->position && b->left > 0 ? destination_at(m, b->destination) : NULL;
    const struct destination *home = t == NULL ? NULL : destination_at(m, b->home);
    struct message_view v;
    if (home == NULL || !queue_peek(m, b->queue, d->now_ns, &v) || v.body_bytes > b->left_bytes) {
        return false;
    }
    bool shares = t->def.batch.token == BATCH_TOKEN_REQUEST;
    if (!shares && !may_start_now(m, d, t, b->queue)) {
        return false;
    }
    if (is_retry(&v) && !budget_allows(&t->budget, &t->def.budget, d->now_ns)) {
        return false;
    }
    emit_started(d, t, home, &v, b->endpoint, b->lead, shares, 0);
    describe_start(m, t, &v, b->endpoint, ret_start);
    ret_start->lead = b->lead;
    return true;
}

bool destination_decide_start(const struct model *m, struct decision *d,
                              struct attempt_start *ret_start) {
    if (decide_join(m, d, ret_start)) {
        return true;
    }
    /* What is not near yet is decided only when a record is written anyway: that has one more fact, not one more flush. */
    uint64_t horizon_ns = d->fact_count > 0 ? TURN_AHEAD_NS : TURN_NEAR_NS;
    const struct list *active = &m->destinations->active;
    for (struct list_node *n = list_first(active); n != NULL; n = list_next(active, n)) {
        const struct destination *home = CONTAINER_OF(n, struct destination, active);
        struct message_view view;
        uint64_t next_ns;
        struct way way = destination_route(m, home, d->now_ns, horizon_ns);
        if (way.wait_ns == 0 && destination_early_ns(m, &way, d->now_ns) == 0 &&
            destination_pick(m, home, d->now_ns, &view, &next_ns) != 0) {
            decide_by(m, d, &way, home, &view, ret_start);
            return true;
        }
    }
    return false;
}

int attempt_apply_deferred(struct model *m, struct reader *in) {
    struct destination *t = destination_at(m, reader_u32(in));
    uint64_t message = reader_u64(in);
    uint64_t due_ns = reader_u64(in);
    if (!reader_done(in) || t == NULL) {
        return E_CORRUPT;
    }
    t->deferred++;
    budget_give_slot(&t->budget, due_ns);
    return queue_message_defer(m, message, due_ns);
}

static int read_started(struct reader *in, uint16_t version, uint64_t time_ns,
                        struct attempt *ret) {
    *ret = (struct attempt){.destination = reader_u32(in)};
    ret->message = reader_u64(in);
    ret->attempt = reader_u32(in);
    ret->endpoint = version >= 2 ? reader_u32(in) : 0;
    ret->home = version >= 2 ? reader_u32(in) : 0;
    ret->lead = version >= 3 ? reader_u64(in) : 0;
    ret->shares_token = version >= 3 && reader_u8(in) == 1;
    ret->started_ns = time_ns + (version >= 4 ? reader_u32(in) : 0);
    return reader_done(in) ? 0 : E_CORRUPT;
}

/* Takes a token of everything that `a` needs one of. */
static void take_tokens(struct model *m, struct destination *t, struct destination *home,
                        const struct message_view *v, struct attempt *a, uint64_t now_ns) {
    limits_start(&t->limits, a->started_ns);
    pace_start(queue_pace(m, v->queue), now_ns);
    if (t != home) {
        t->lent_until_ns = now_ns + LENT_NS;
    }
    t->started++;
    if (a->home == 0) {
        return;
    }
    ramp_start(&t->ramp, &t->def.ramp, &t->limits, now_ns);
    if (t == home && failover_may_probe(&t->failover, &t->def.failover, now_ns)) {
        a->failover_probe = failover_probe(&t->failover);
    }
    a->breaker_probe = breaker_start(&t->breaker, now_ns);
    budget_start(&t->budget, is_retry(v), now_ns);
    balance_started(&t->endpoints, &t->def.balance, a->endpoint, destination_key(m, t, v), now_ns);
}

/* Only the request that was started just before, by the same record. */
static bool may_share(const struct model *m, const struct attempt *a, uint32_t queue) {
    const struct batch_open *b = &m->destinations->batch;
    return a->lead != 0 && b->lead == a->lead && b->left > 0 && b->queue == queue &&
           b->destination == a->destination && attempt_find(m->destinations, a->lead) != NULL;
}

static void note_batch(struct destinations *s, const struct destination *t, uint64_t position,
                       const struct attempt *a, const struct message_view *v) {
    struct batch_open *b = &s->batch;
    if (a->lead == 0) {
        *b = (struct batch_open){.position = position,
                                 .lead = a->message,
                                 .destination = a->destination,
                                 .home = a->home,
                                 .queue = v->queue,
                                 .endpoint = a->endpoint,
                                 .left = t->def.batch.max_messages,
                                 .left_bytes = t->def.batch.max_bytes};
    }
    b->left -= b->left > 0;
    b->left_bytes -= v->body_bytes < b->left_bytes ? v->body_bytes : b->left_bytes;
}

int attempt_apply_started(struct model *m, const struct applied *w, uint16_t version,
                          struct reader *in) {
    struct attempt values;
    int rc = read_started(in, version, w->time_ns, &values);
    struct destination *t = destination_at(m, values.destination);
    struct destination *home = values.home != 0 ? destination_at(m, values.home) : t;
    struct message_view view;
    if (rc != 0 || t == NULL || home == NULL || !queue_message_view(m, values.message, &view)) {
        return E_CORRUPT;
    }
    if (values.shares_token ? !may_share(m, &values, view.queue)
                            : limits_wait_ns(&t->limits, values.started_ns) != 0 ||
                                  pace_wait_ns(queue_pace_view(m, view.queue), w->time_ns) != 0 ||
                                  breaker_wait_ns(&t->breaker, w->time_ns) != 0) {
        return E_CORRUPT;
    }
    values.timeout_ns = timeout_of(m, t, view.queue);
    if (values.shares_token) {
        budget_start(&t->budget, is_retry(&view), w->time_ns); /* which is of messages */
        t->started++;
    } else {
        take_tokens(m, t, home, &view, &values, w->time_ns);
    }
    note_batch(m->destinations, t, w->position, &values, &view);
    rc = attempt_add(m->destinations, &values);
    if (rc == 0) {
        rc = queue_message_take(m, w, values.message, values.attempt);
    }
    if (rc == 0) {
        destination_ready_turn(m, home, view.queue, w->time_ns);
    }
    return rc;
}
