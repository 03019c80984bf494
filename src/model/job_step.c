/*
 * A step of a job: what it does to the messages that were found, how far it came, and when the next may be, in one record.
 */
#include "model/job_state.h"

#include "model/fact.h"
#include "model/queue_state.h"

uint32_t job_step_max(const struct job_info *i) {
    uint64_t most = i->interval_ns == 0 ? JOB_BATCH_MAX : JOB_BURST_NS / i->interval_ns;
    return most == 0 ? 1 : most < JOB_BATCH_MAX ? (uint32_t)most : JOB_BATCH_MAX;
}

struct step {
    const struct model *m;
    struct decision *d;
    const struct job *job;
    const struct queue *from, *to;
    const struct job_item *items;
    uint32_t slots[JOB_BATCH_MAX]; /* that are acted on, in the order of the list */
    uint32_t done, failed;
    uint64_t bytes;
};

/* It is where it was when the job began, and nothing happened to it since. (Only compaction may have moved its body.) */
static bool may_act(const struct step *s, uint32_t slot) {
    const struct message *g = message_at(s->m->queues, slot);
    return g->queue == s->from->index && g->state == (unsigned)s->job->info.state &&
           message_changed_ns(s->m, g) <= s->job->info.began_ns;
}

static enum refusal act(struct step *s, uint32_t slot, const struct job_item *item) {
    switch (s->job->info.action) {
    case JOB_REDRIVE:
        return queue_emit_redrive(s->m, s->d, s->from, slot);
    case JOB_MOVE:
        return queue_emit_transfer(s->m, s->d, slot, s->to, &item->stored);
    case JOB_DISCARD:
        message_emit(s->d, FACT_MESSAGE_DELETED, item->id);
        queue_emit_settlement(s->m, s->d, slot);
        return REFUSAL_NONE;
    }
    return REFUSAL_CONFLICT;
}

static bool has_room(const struct step *s, uint32_t slot) {
    uint64_t bytes = s->bytes + message_at(s->m->queues, slot)->body_bytes;
    return s->to == NULL || s->to->def.overflow == OVERFLOW_DROP_HEAD ||
           queue_has_room_for(s->to, s->done + 1u, bytes);
}

/* False: the other queue is full, and this item and those behind it were not looked at. */
static bool act_all(struct step *s, uint32_t count, uint32_t *ret_stopped) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t slot = message_find(s->m->queues, s->items[i].id);
        if (slot == 0 || !may_act(s, slot)) {
            continue;
        }
        if (!has_room(s, slot)) {
            *ret_stopped = slot;
            return false;
        }
        if (act(s, slot, &s->items[i]) != REFUSAL_NONE) {
            s->failed++;
            continue;
        }
        s->bytes += message_at(s->m->queues, slot)->body_bytes;
        s->slots[s->done++] = slot;
    }
    return true;
}

static void emit_stepped(struct step *s, uint64_t cursor, uint64_t visited) {
    const struct job_info *i = &s->job->info;
    uint64_t from_ns = i->next_ns > s->d->now_ns ? i->next_ns : s->d->now_ns;
    size_t begun = decision_begin(s->d, FACT_JOB_STEPPED, 1);
    decision_put_u64(s->d, i->id);
    decision_put_u64(s->d, cursor);
    decision_put_u64(s->d, visited);
    decision_put_u32(s->d, s->done);
    decision_put_u32(s->d, s->failed);
    decision_put_u64(s->d, from_ns + s->done * i->interval_ns);
    decision_end(s->d, begun);
}

static enum refusal check_step(const struct job *j, const struct decision *d, struct request *r) {
    const struct job_step *in = &r->in.job_step;
    if (j->info.steps != in->step) {
        return request_refuse(r, REFUSAL_CONFLICT, "this step was done already");
    }
    if (in->count > job_step_max(&j->info) || (in->count > 0 && d->now_ns < j->info.next_ns)) {
        return request_refuse(r, REFUSAL_CONFLICT, "faster than the pace of the job");
    }
    return REFUSAL_NONE;
}

enum refusal job_decide_step(const struct model *m, struct decision *d, struct request *r) {
    const struct job *j = job_find(m, r->id);
    const struct job_step *in = &r->in.job_step;
    if (j == NULL || j->info.status != JOB_RUNNING) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "the job is not running");
    }
    enum refusal refusal = check_step(j, d, r);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    struct step s = {.m = m, .d = d, .job = j, .items = in->items};
    s.from = queue_at(m->queues, j->queue);
    s.to = j->to != 0 ? queue_at(m->queues, j->to) : NULL;
    if (s.from == NULL || (j->to != 0 && s.to == NULL)) {
        job_emit_ended(d, j, JOB_FAILED); /* its queue is gone */
        return REFUSAL_NONE;
    }
    uint32_t stopped = 0;
    bool whole = act_all(&s, in->count, &stopped);
    if (!whole && s.done == 0 && s.failed == 0) {
        return request_refuse(r, REFUSAL_QUEUE_FULL, "the other queue is full");
    }
    uint64_t cursor = whole ? in->cursor : queue_cursor_at(m, stopped);
    emit_stepped(&s, queue_cursor_before(m, s.from, cursor, s.slots, s.done), in->visited);
    r->count = j->info.done + s.done;
    if (in->end && whole) {
        job_emit_ended(d, j, JOB_DONE);
    } else {
        r->actor = span_of(NULL, 0); /* of its steps only the end stands in the audit */
    }
    return REFUSAL_NONE;
}
