/*
 * The queue module: its table, its facts' payloads, and the decisions about queues and publishing.
 *
 * Payloads (version 1, little-endian; MESSAGE_PUT and MESSAGE_MOVED: message_payload.h):
 *
 *   QUEUE_DEFINED    0 4 queue index   4 8 file hash   12 . definition (definition.c)
 *   QUEUE_DELETED    0 4 queue index
 *   QUEUE_PAUSED     0 4 queue index   4 1 paused (1) or resumed (0)
 *   QUEUE_PURGED     0 4 queue index   4 1 mask, bit n: state n   5 4 at most so many
 *   MESSAGE_DUE      0 8 message id
 *   MESSAGE_EXPIRED  0 8 message id (version 2: the same, and goes into the history of the message)
 *   MESSAGE_DELETED  0 8 message id
 *   MESSAGE_REDRIVEN 0 8 message id   8 8 new end of its time to live, 0: none (version 2: as above)
 */
#include "model/queue.h"

#include <assert.h>

#include "base/error.h"
#include "model/campaign.h"
#include "model/confirm.h"
#include "model/dedup.h"
#include "model/destination.h"
#include "model/exchange.h"
#include "model/fact.h"
#include "model/history.h"
#include "model/lane.h"
#include "model/outcome.h"
#include "model/policy.h"
#include "model/queue_tenant.h"
#include "model/retry.h"
#include "model/unique.h"

#define DEFINITION_MAX_BYTES (64u << 10)

/* ---- facts ---- */

static void emit_defined(struct decision *d, uint32_t index, uint64_t file_hash,
                         struct span definition) {
    size_t begun = decision_begin(d, FACT_QUEUE_DEFINED, 1);
    decision_put_u32(d, index);
    decision_put_u64(d, file_hash);
    decision_put_span(d, definition);
    decision_end(d, begun);
}

static void emit_deleted(struct decision *d, uint32_t index) {
    size_t begun = decision_begin(d, FACT_QUEUE_DELETED, 1);
    decision_put_u32(d, index);
    decision_end(d, begun);
}

static void emit_paused(struct decision *d, uint32_t index, bool paused) {
    size_t begun = decision_begin(d, FACT_QUEUE_PAUSED, 1);
    decision_put_u32(d, index);
    decision_put_u8(d, paused);
    decision_end(d, begun);
}

void message_emit(struct decision *d, uint16_t kind, uint64_t id) {
    size_t begun = decision_begin(d, kind, (uint16_t)fact_kind_version(kind));
    decision_put_u64(d, id);
    decision_end(d, begun);
}

/* ---- definitions ---- */

static enum refusal check_pace(struct request *r, const struct pace_def *p) {
    struct pace_def slow = *p;
    slow.burst = 1;
    if (p->count > PACE_COUNT_MAX) {
        return request_invalid(r, "/rateLimits/maxDispatchesPerSecond", "at most 1,000,000");
    }
    if (!pace_def_valid(&slow)) {
        return request_invalid(r, "/rateLimits/maxDispatchesPerSecond", "a rate out of range");
    }
    if (!pace_def_valid(p)) {
        return request_invalid(r, "/rateLimits/maxBurstSize", "out of range for this rate");
    }
    return REFUSAL_NONE;
}

/* One that AMQP declared keeps its name, however long. */
static bool definition_is_amqp(const struct model *m, const struct queue_def *def) {
    const struct queue *q = queue_at(m->queues, queue_find(m, span_text(def->name)));
    return q != NULL && q->def.amqp;
}

static enum refusal check_lane(const struct model *m, struct request *r,
                               const struct queue_def *wanted) {
    if (wanted->weight < 1 || wanted->weight > LANE_WEIGHT_MAX) {
        return request_invalid(r, "/weight", "1 to 1000");
    }
    uint64_t percent = wanted->guaranteed_percent;
    uint32_t destination = destination_find(m, span_text(wanted->destination));
    uint32_t first = percent == 0 ? 0 : queue_next_of_destination(m, destination, 0);
    for (uint32_t q = first; q != 0;) {
        const struct queue_def *other = &queue_at(m->queues, q)->def;
        percent += strcmp(other->name, wanted->name) != 0 ? other->guaranteed_percent : 0;
        q = queue_next_of_destination(m, destination, q);
        q = q != first ? q : 0;
    }
    return percent <= 100 ? REFUSAL_NONE
                          : request_invalid(r, "/guaranteedPercent",
                                            "the queues of a destination share at most 100");
}

static enum refusal check_definition(const struct model *m, struct request *r) {
    const struct queue_def *q = r->in.define.queue;
    bool amqp = definition_is_amqp(m, q);
    if (!amqp && !name_valid(span_text(q->name))) {
        return request_invalid(r, "/name",
                               "1 to 128 of letters, digits, '.', '_' and '-', the "
                               "first a letter or digit");
    }
    if (strlen(q->retry.statuses) > RETRY_STATUSES_MAX_BYTES ||
        !status_list_valid(q->retry.statuses)) {
        return request_invalid(r, "/retryConfig/retryStatuses",
                               "at most 64 bytes of statuses and ranges such as 429,500-599");
    }
    if (q->retry.min_backoff_ns > q->retry.max_backoff_ns) {
        return request_invalid(r, "/retryConfig/minBackoff", "not more than maxBackoff");
    }
    if (q->destination[0] != '\0' && destination_find(m, span_text(q->destination)) == 0) {
        return request_refuse_at(r, REFUSAL_REFERENCE, "/destination",
                                 "there is no destination by this name");
    }
    enum refusal refusal = check_lane(m, r, q);
    if (refusal == REFUSAL_NONE) {
        refusal = outcome_check(m, r, q);
    }
    if (refusal == REFUSAL_NONE && !amqp) {
        refusal = unique_check(r, q);
    }
    return refusal != REFUSAL_NONE ? refusal : check_pace(r, &q->pace);
}

/* What AMQP declared stays as it is, whoever else defines the queue with more. */
static void keep_declared(struct queue_def *def, const struct queue_def *present) {
    def->amqp = true;
    def->durable = present->durable;
    def->auto_delete = present->auto_delete;
    def->exclusive = present->exclusive;
    def->single_active = present->single_active;
    def->has_dead_letter_exchange = present->has_dead_letter_exchange;
    def->has_dead_letter_key = present->has_dead_letter_key;
    def->expires_ns = present->expires_ns;
    def->overflow = present->overflow;
    def->delivery_limit = present->delivery_limit;
    def->dead_letter_exchange = present->dead_letter_exchange;
    def->dead_letter_key = present->dead_letter_key;
    def->ordering = present->ordering;
    def->ordering_header = present->ordering_header;
    def->dedup = present->dedup;
    def->dedup_ttl_ns = present->dedup_ttl_ns;
    def->unique_header = present->unique_header;
    def->unique_until = present->unique_until;
    def->unique_answer = present->unique_answer;
    def->arguments = present->arguments;
}

static enum refusal decide_define_with(const struct model *m, struct decision *d, struct request *r,
                                       struct buffer *present, struct buffer *wanted) {
    struct queue_def def = *r->in.define.queue; /* texts stay the caller's */
    uint32_t index = queue_find(m, span_text(def.name));
    const struct queue *q = queue_at(m->queues, index);
    struct queue_def declared = {.name = NULL};
    if (q != NULL) {
        declared = queue_own_definition(q);
    }
    if (q != NULL && q->def.amqp) {
        keep_declared(&def, &declared);
    }
    if ((q != NULL && queue_def_encode(&declared, present) != 0) ||
        queue_def_encode(&def, wanted) != 0) {
        d->failed = true;
        return REFUSAL_NONE;
    }
    bool emit;
    uint64_t file_hash;
    enum refusal refusal =
        definition_decide(&r->in.define.how, buffer_span(present), buffer_span(wanted),
                          q == NULL ? 0 : q->file_hash, &emit, &file_hash);
    if (refusal != REFUSAL_NONE) {
        return request_refuse(r, refusal, "a queue by this name exists");
    }
    if (q == NULL && m->queues->roster.live >= m->limits.queues) {
        return request_refuse(r, REFUSAL_LIMIT, "no more queues: limits.queues is reached");
    }
    if (emit) {
        index = q != NULL ? index : roster_next_index(&m->queues->roster);
        emit_defined(d, index, file_hash, buffer_span(wanted));
        if (q == NULL) {
            policy_emit_queue(m, d, index, span_text(def.name));
        }
    }
    return REFUSAL_NONE;
}

static enum refusal decide_define(const struct model *m, struct decision *d, struct request *r) {
    enum refusal refusal = check_definition(m, r);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    struct buffer present, wanted;
    buffer_init(&present, DEFINITION_MAX_BYTES);
    buffer_init(&wanted, DEFINITION_MAX_BYTES);
    refusal = decide_define_with(m, d, r, &present, &wanted);
    buffer_release(&present);
    buffer_release(&wanted);
    return refusal;
}

static enum refusal decide_delete(const struct model *m, struct decision *d, struct request *r,
                                  const struct queue *q) {
    if (campaign_uses_queue(m, q->index)) {
        return request_refuse(r, REFUSAL_CONFLICT, "a campaign uses this queue");
    }
    if (outcome_wants(m, q->def.name)) {
        return request_refuse(r, REFUSAL_CONFLICT, "outcomes of another queue go to it");
    }
    if (destination_failover_names(m, NULL, q->def.name)) {
        return request_refuse(r, REFUSAL_CONFLICT, "it is told of the failover of a destination");
    }
    for (unsigned state = 1; state < STATES_LIVE; state++) {
        if (state != MESSAGE_DEAD && q->counts[state] != 0) {
            return request_refuse(r, REFUSAL_CONFLICT,
                                  "the queue holds messages: purge it first, and let those in "
                                  "flight end");
        }
    }
    emit_deleted(d, q->index);
    return REFUSAL_NONE;
}

static enum refusal decide_pause(struct decision *d, const struct queue *q, bool paused) {
    if (q->def.paused != paused) {
        emit_paused(d, q->index, paused);
    }
    return REFUSAL_NONE;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r,
                               const struct queue *q) {
    struct queue_def def = queue_own_definition(q);
    queue_describe(m, q, &r->out.queue);
    d->failed |= queue_def_encode(&def, &r->out_bytes) != 0;
    return REFUSAL_NONE;
}

/* `after` is the index of the last one on the page before. */
static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    uint32_t max = request_list_max(r);
    const struct roster *roster = &m->queues->roster;
    uint32_t i = (uint32_t)r->in.list.after;
    while ((i = roster_after(roster, i)) != 0 && r->count < max) {
        const struct queue *q = queue_at(m->queues, i);
        struct queue_def def = queue_own_definition(q);
        struct queue_info info;
        queue_describe(m, q, &info);
        size_t at = 0;
        d->failed |= sized_begin(&r->out_bytes, &at) != 0;
        d->failed |= queue_def_encode(&def, &r->out_bytes) != 0;
        if (d->failed) {
            return REFUSAL_NONE;
        }
        sized_end(&r->out_bytes, at);
        d->failed |= buffer_put_bytes(&r->out_bytes, span_of(&info, sizeof info)) != 0;
        r->next = i;
        r->count++;
    }
    r->next = i == 0 ? 0 : r->next;
    return REFUSAL_NONE;
}

/* ---- publishing ---- */

enum refusal queue_check_envelope(struct request *r, const struct envelope *e) {
    if (e->ordering_key.size > KEY_MAX_BYTES) {
        return request_invalid(r, "/orderingKey", "at most 255 bytes");
    }
    if (envelope_extra_bytes(e) > MESSAGE_EXTRA_MAX_BYTES) {
        return request_invalid(r, "/headers", "headers and other fields: at most 32 KiB together");
    }
    if (e->body.size > MESSAGE_BODY_MAX_BYTES) {
        return request_invalid(r, "/body", "at most 16 MiB");
    }
    return REFUSAL_NONE;
}

static enum refusal check_room(const struct model *m, const struct decision *d, struct request *r,
                               const struct queue *q, const struct publish *p) {
    if (q->def.overflow != OVERFLOW_DROP_HEAD && !queue_has_room(q, 0)) {
        return request_refuse(r, REFUSAL_QUEUE_FULL, "the queue holds maxMessages messages");
    }
    if (q->def.overflow != OVERFLOW_DROP_HEAD && !queue_has_room(q, p->envelope.body.size)) {
        return request_refuse(r, REFUSAL_QUEUE_FULL, "the queue holds maxBytes bytes");
    }
    if (m->queues->by_id.count + d->operation >= m->limits.messages) {
        return request_refuse(r, REFUSAL_LIMIT, "no more messages: limits.messages is reached");
    }
    return REFUSAL_NONE;
}

/* ALREADY_CLAIMED with the receipt of the message that has the key. */
static enum refusal check_unique(const struct model *m, const struct decision *d, struct request *r,
                                 const struct queue *q, const struct publish *p) {
    if (p->unique_key.size > 0 && q->def.dedup == DEDUP_NONE && r->kind != REQUEST_CAMPAIGN_ENTER) {
        return request_invalid(r, "/uniqueKey",
                               "the queue's messages are not unique: see its `unique`");
    }
    struct span key = unique_key(q, p);
    if (unique_find(m, d->now_ns, q, key, &r->receipt)) {
        return request_refuse(r, REFUSAL_ALREADY_CLAIMED,
                              "the queue has, or had lately, a message with this unique key");
    }
    return key.size > 0 && !dedup_has_room(m, d->now_ns)
               ? request_refuse(r, REFUSAL_LIMIT, "no more unique keys: limits.dedupKeys")
               : REFUSAL_NONE;
}

enum refusal queue_check_publish(const struct model *m, const struct decision *d,
                                 const struct publish *p, struct request *r, uint32_t *ret_queue) {
    uint32_t index = queue_find(m, p->queue);
    const struct queue *q = queue_at(m->queues, index);
    if (q == NULL) {
        bool in_path = r->kind == REQUEST_QUEUE_PUBLISH;
        return request_refuse(r, in_path ? REFUSAL_NOT_FOUND : REFUSAL_REFERENCE,
                              "there is no queue by this name");
    }
    enum refusal refusal = check_unique(m, d, r, q, p);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    if (!d->may_grow) {
        return REFUSAL_DISK_FULL;
    }
    if (p->priority > q->def.max_priority) {
        return request_invalid(r, "/priority", "above the queue's maxPriority");
    }
    refusal = queue_check_envelope(r, &p->envelope);
    if (refusal == REFUSAL_NONE) {
        refusal = check_room(m, d, r, q, p);
    }
    if (refusal == REFUSAL_NONE) {
        refusal = queue_check_deadline(m, d, r, q, p);
    }
    if (refusal == REFUSAL_NONE) {
        *ret_queue = index;
    }
    return refusal;
}

uint64_t queue_end_of_life(const struct queue *q, uint64_t now_ns, uint64_t ttl_ns) {
    uint64_t ttl = q->def.message_ttl_ns;
    ttl = ttl == 0 || (ttl_ns != 0 && ttl_ns < ttl) ? ttl_ns : ttl;
    if (ttl == 0 || ttl > UINT64_MAX - now_ns) {
        return 0;
    }
    return now_ns + ttl;
}

void queue_emit_put(const struct model *m, struct decision *d, uint32_t queue,
                    const struct publish *p, const struct tie *tie, struct receipt *ret) {
    const struct queue *q = queue_at(m->queues, queue);
    assert(q != NULL);
    uint64_t schedule = p->schedule_ns > d->now_ns ? p->schedule_ns : 0;
    struct message_payload payload = {
        .queue = queue,
        .stored = {.id = decision_id(d),
                   .accepted_ns = d->now_ns,
                   .queue = queue_stored_name(q),
                   .schedule_ns = schedule,
                   .expires_ns = queue_end_of_life(q, d->now_ns, p->ttl_ns),
                   .priority = p->priority,
                   .envelope = p->envelope},
    };
    map_prefetch(&m->queues->by_id, id_hash(payload.stored.id)); /* for apply */
    queue_set_deadline(p, &payload);
    if (tie != NULL) {
        message_payload_tie(&payload, tie);
    }
    struct eta_asked of = queue_eta_asked(m, q, p);
    size_t begun = decision_begin(d, FACT_MESSAGE_PUT, 1);
    d->failed |= message_payload_encode(&payload, d->facts) != 0;
    decision_end(d, begun);
    tenant_emit(m, d, q, payload.stored.id, of.tenant);
    *ret = (struct receipt){
        .id = payload.stored.id,
        .accepted_ns = d->now_ns,
        .eta_ns = queue_eta_new_ns(m, q, d->now_ns, schedule, &of),
    };
    struct span key = unique_key(q, p);
    if (key.size > 0) {
        unique_emit(m, d, q, key, ret);
    }
}

static enum refusal decide_publish(const struct model *m, struct decision *d, struct request *r) {
    struct publish p = r->in.publish;
    p.queue = p.queue.size > 0 ? p.queue : r->name;
    uint32_t queue = 0;
    enum refusal refusal = queue_check_publish(m, d, &p, r, &queue);
    if (refusal == REFUSAL_NONE) {
        queue_emit_put(m, d, queue, &p, NULL, &r->receipt);
    }
    if (refusal != REFUSAL_ALREADY_CLAIMED ||
        queue_definition(m, queue_find(m, p.queue))->unique_answer != UNIQUE_GIVES_RECEIPT) {
        return refusal;
    }
    r->duplicate = true;
    return REFUSAL_NONE;
}

/* ---- messages ---- */

static enum refusal decide_message_get(const struct model *m, struct decision *d,
                                       struct request *r) {
    uint32_t queue;
    if (!queue_message_info(m, r->id, d->now_ns, &r->out.message, &queue) ||
        (r->name.size > 0 && queue_find(m, r->name) != queue)) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such message in the queue");
    }
    d->failed |= history_tell(m, r->id, &r->out_bytes) != 0;
    return REFUSAL_NONE;
}

static enum refusal decide_for_queue(const struct model *m, struct decision *d, struct request *r) {
    struct queue *q = queue_at(m->queues, queue_find(m, r->name));
    if (q == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no queue by this name");
    }
    switch (r->kind) {
    case REQUEST_QUEUE_DELETE:
        return decide_delete(m, d, r, q);
    case REQUEST_QUEUE_GET:
        return decide_get(m, d, r, q);
    case REQUEST_QUEUE_MESSAGES:
        return queue_decide_messages(m, d, r, q);
    case REQUEST_QUEUE_PAUSE:
        return decide_pause(d, q, true);
    case REQUEST_QUEUE_RESUME:
        return decide_pause(d, q, false);
    case REQUEST_QUEUE_PURGE:
        return queue_decide_purge(m, d, r, q);
    default:
        return queue_decide_redrive(m, d, r, q);
    }
}

static enum refusal queue_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_QUEUE_PUBLISH:
        return decide_publish(m, d, r);
    case REQUEST_QUEUE_DEFINE:
        return decide_define(m, d, r);
    case REQUEST_QUEUE_LIST:
        return decide_list(m, d, r);
    case REQUEST_MESSAGE_GET:
        return decide_message_get(m, d, r);
    case REQUEST_MESSAGE_DELETE:
        return queue_decide_delete(m, d, r);
    case REQUEST_MESSAGE_MOVE:
        return queue_decide_move(m, d, r);
    case REQUEST_MESSAGE_EDIT:
        return queue_decide_edit(m, d, r);
    case REQUEST_MESSAGE_TRANSFER:
        return queue_decide_transfer(m, d, r);
    case REQUEST_AMQP_QUEUE_DECLARE:
        return queue_decide_amqp_declare(m, d, r);
    case REQUEST_AMQP_QUEUE_DELETE:
        return queue_decide_amqp_delete(m, d, r);
    case REQUEST_AMQP_QUEUE_PURGE:
        return queue_decide_amqp_purge(m, d, r);
    default:
        return decide_for_queue(m, d, r);
    }
}

static void on_end_of_life(const struct model *m, struct decision *d, uint32_t slot) {
    const struct message *g = message_at(m->queues, slot);
    bool by_deadline = message_times_of(m->queues, g).by_deadline;
    struct outcome o = {.message = g->id,
                        .queue = g->queue,
                        .reason = by_deadline ? DEAD_DEADLINE : DEAD_EXPIRED,
                        .status = message_status(g),
                        .error = message_error(g),
                        .attempts = g->attempts};
    if (queue_at(m->queues, g->queue)->def.has_dead_letter_exchange) {
        if (!exchange_emit_death(m, d, slot, o.reason) || !decision_has_ids(d, 1)) {
            return;
        }
    } else {
        message_emit(d, FACT_MESSAGE_EXPIRED, g->id);
        queue_emit_settlement(m, d, slot);
    }
    outcome_emit(m, d, &o);
}

/* A delayed message whose time to live ends first expires too: message_timer_due chose the earlier. */
static void queue_on_timer(const struct model *m, struct decision *d, uint32_t timer_kind,
                           uint64_t ref) {
    if (timer_kind == TIMER_QUEUE) {
        queue_on_expiry(m, d, (uint32_t)ref);
        return;
    }
    uint32_t slot = message_due(m, ref);
    const struct message *g = message_at(m->queues, slot);
    if (g->state == MESSAGE_CONFIRMING) {
        confirm_emit_missed(m, d, g->id);
        return;
    }
    const struct message_times t = message_times_of(m->queues, g);
    bool due = g->state == MESSAGE_DELAYED && (t.expires_ns == 0 || t.due_ns < t.expires_ns);
    if (due) {
        message_emit(d, FACT_MESSAGE_DUE, g->id);
    } else {
        on_end_of_life(m, d, slot);
    }
}

static uint64_t queue_memory_bytes(const struct model *m) {
    const struct queues *s = m->queues;
    uint64_t bytes = sizeof *s + roster_memory_bytes(&s->roster);
    const struct slab *slabs[] = {&s->messages, &s->times,   &s->ties,
                                  &s->keys,     &s->targets, &s->tenants};
    for (size_t i = 0; i < ARRAY_LENGTH(slabs); i++) {
        bytes += slab_memory_bytes(slabs[i]);
    }
    bytes += map_memory_bytes(&s->by_id) + map_memory_bytes(&s->by_key) +
             map_memory_bytes(&s->by_target) + map_memory_bytes(&s->by_tenant) +
             s->chunk_count * sizeof *s->chunks + rolls_memory_bytes(&s->delayed);
    for (uint32_t i = roster_after(&s->roster, 0); i != 0; i = roster_after(&s->roster, i)) {
        const struct queue *q = queue_at(s, i);
        bytes += sizeof *q + tenant_memory_bytes(s, q);
        bytes += strlen(q->def.name) + strlen(q->def.destination) + 2;
    }
    return bytes;
}

const struct module queue_module = {
    .name = "queue",
    .decide = queue_decide,
    .prefetch = queue_prefetch,
    .apply = queue_apply,
    .on_timer = queue_on_timer,
    .save = queue_save,
    .load = queue_load,
    .check = queue_check,
    .memory_bytes = queue_memory_bytes,
    .section_version = 6, /* with a pace: the burst as it was asked for */
};
