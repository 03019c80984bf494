/*
 * Dispatch deadlines, and when a message will leave.
 *
 * A message's place in its queue is not counted: a list may have millions. It is taken from where its id lies
 * between the first and the last of its list, which are in order of arrival but for what came back; so it is
 * right at both ends and about right between them.
 *
 * A deadline is stored as the end of the message's time to live, with a mark: what is not sent by then is dead
 * for that reason. What is in flight at that time may end.
 */
#include "model/destination.h"
#include "model/queue_tenant.h"

__extension__ typedef unsigned __int128 uint128;

/* Ready messages of its set above this one's priority. */
static uint64_t count_above(const struct ready_set *set, const struct message *g) {
    uint64_t ahead = 0;
    for (uint32_t i = g->priority + 1u; i < set->level_count; i++) {
        ahead += set->levels->lists[i].count;
    }
    return ahead;
}

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t eta_ns(const struct model *m, const struct queue *q, uint64_t now_ns,
                       uint64_t schedule_ns, uint64_t ahead) {
    uint32_t destination = q->target == 0 ? 0 : target_at(m->queues, q->target)->destination;
    if (destination == 0 || q->def.paused) {
        return 0;
    }
    uint64_t eta = destination_eta_ns(m, destination, q->index, now_ns, ahead);
    if (eta != 0 && q->def.pace.count != 0) {
        uint128 own = (uint128)ahead * q->def.pace.period_ns / q->def.pace.count;
        uint64_t room = UINT64_MAX / 2 - now_ns;
        eta = later(eta, now_ns + (own < room ? (uint64_t)own : room));
    }
    return eta != 0 ? later(eta, schedule_ns) : 0;
}

uint64_t queue_eta_new_ns(const struct model *m, const struct queue *q, uint64_t now_ns,
                          uint64_t schedule_ns, uint8_t priority, uint64_t tenant) {
    uint64_t ahead = q->counts[MESSAGE_BLOCKED] + tenant_ahead_new(m, q, tenant, priority);
    return eta_ns(m, q, now_ns, schedule_ns, ahead);
}

static uint64_t count_before(const struct queues *s, const struct ready_set *set,
                             const struct message *g) {
    const struct slot_list *l = &set->levels->lists[g->priority];
    uint64_t first = message_at(s, l->first)->id, last = message_at(s, l->last)->id;
    if (g->id <= first || last <= first) {
        return 0;
    }
    uint128 part = (uint128)(g->id - first) * (l->count - 1);
    return g->id >= last ? l->count - 1 : (uint64_t)(part / (last - first));
}

uint64_t queue_message_eta_ns(const struct model *m, uint64_t id, uint64_t now_ns) {
    const struct queues *s = m->queues;
    uint32_t slot = message_find(s, id);
    const struct message *g = slot != 0 ? message_at(s, slot) : NULL;
    const struct queue *q = g != NULL ? queue_at(s, g->queue) : NULL;
    if (g == NULL || g->state == MESSAGE_IN_FLIGHT || g->state == MESSAGE_CONFIRMING ||
        g->state == MESSAGE_DEAD) {
        return 0;
    }
    if (g->state != MESSAGE_READY) {
        uint64_t due_ns = g->times != 0 ? times_at(s, g->times)->due_ns : 0;
        return queue_eta_new_ns(m, q, now_ns, due_ns, g->priority, tenant_of(s, g));
    }
    const struct ready_set *set = tenant_set(s, queue_at(s, g->queue), g);
    uint64_t own = count_above(set, g) + count_before(s, set, g);
    return eta_ns(m, q, now_ns, 0, tenant_ahead(m, q, g, own));
}

enum refusal queue_check_deadline(const struct model *m, const struct decision *d,
                                  struct request *r, const struct queue *q,
                                  const struct publish *p) {
    if (p->deadline_ns == 0) {
        return REFUSAL_NONE;
    }
    uint64_t eta =
        queue_eta_new_ns(m, q, d->now_ns, p->schedule_ns, p->priority, tenant_of_publish(q, p));
    if (p->deadline_ns <= d->now_ns || p->deadline_ns < p->schedule_ns) {
        return request_refuse(r, REFUSAL_DEADLINE, "the deadline is over before it may leave");
    }
    return eta <= p->deadline_ns
               ? REFUSAL_NONE
               : request_refuse(r, REFUSAL_DEADLINE, "what is before it takes longer");
}

void queue_set_deadline(const struct publish *p, struct message_payload *payload) {
    uint64_t expires_ns = payload->stored.expires_ns;
    if (p->deadline_ns != 0 && (expires_ns == 0 || p->deadline_ns < expires_ns)) {
        payload->stored.expires_ns = p->deadline_ns;
        payload->by_deadline = true;
    }
}
