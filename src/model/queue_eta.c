/*
 * Dispatch deadlines, and when a message will leave.
 *
 * A message's place in its queue is not counted: a list may have millions. It is taken from where its id lies
 * between the first and the last of its list, which are in order of arrival but for what came back; so it is
 * right at both ends and about right between them. The same goes for its place among those of its ordering key, of
 * which each must have ended before the next one leaves.
 *
 * A deadline is stored as the end of the message's time to live, with a mark: what is not sent by then is dead
 * for that reason. What is in flight at that time may end.
 */
#include "base/u64.h"
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

static uint64_t at_pace_ns(const struct pace_def *own, uint64_t ahead, uint64_t attempt_ns,
                           uint64_t most_ns) {
    uint128 by_rate = own->count == 0 ? 0 : (uint128)ahead * own->period_ns / own->count;
    uint128 by_cap = own->concurrency == 0 ? 0 : (uint128)(ahead / own->concurrency) * attempt_ns;
    uint128 ns = by_rate > by_cap ? by_rate : by_cap;
    return ns < most_ns ? (uint64_t)ns : most_ns;
}

static uint32_t destination_of(const struct model *m, const struct queue *q) {
    return q->target == 0 ? 0 : target_at(m->queues, q->target)->destination;
}

/* of NULL: it is ready, nobody of its ordering key is before it. */
static struct eta eta_of(const struct model *m, const struct queue *q, uint64_t now_ns,
                         uint64_t schedule_ns, uint64_t ahead, const struct eta_asked *of) {
    uint32_t destination = destination_of(m, q);
    if (destination == 0 || q->def.paused) {
        return (struct eta){0, destination != 0 ? WAITS_FOR_QUEUE : WAITS_FOR_NOBODY};
    }
    struct eta eta = destination_eta(m, destination, q->index, now_ns, ahead);
    if (eta.at_ns == 0) {
        return eta;
    }
    uint64_t most_ns = UINT64_MAX / 2 - now_ns;
    uint64_t attempt_ns = destination_attempt_ns(m, destination);
    uint64_t own_ns = at_pace_ns(&q->def.pace, ahead, attempt_ns, most_ns);
    if (of != NULL) {
        uint128 key_ns = (uint128)of->of_key * attempt_ns;
        key_ns += of->key_until_ns > now_ns ? of->key_until_ns - now_ns : 0;
        own_ns = u64_max(own_ns, key_ns < most_ns ? (uint64_t)key_ns : most_ns);
    }
    eta.at_ns = u64_max(u64_max(eta.at_ns, now_ns + own_ns), schedule_ns);
    return eta;
}

static struct eta eta_new(const struct model *m, const struct queue *q, uint64_t now_ns,
                          uint64_t schedule_ns, const struct eta_asked *of) {
    uint64_t turns = (uint64_t)q->keys.count * of->of_key, blocked = q->counts[MESSAGE_BLOCKED];
    uint64_t ahead = tenant_ahead_new(m, q, of->tenant, of->priority);
    return eta_of(m, q, now_ns, schedule_ns, ahead + (turns < blocked ? turns : blocked), of);
}

uint64_t queue_eta_new_ns(const struct model *m, const struct queue *q, uint64_t now_ns,
                          uint64_t schedule_ns, const struct eta_asked *of) {
    return eta_new(m, q, now_ns, schedule_ns, of).at_ns;
}

static uint64_t key_until_ns(const struct queues *s, const struct message_key *k) {
    const struct message *holder = k->holder != 0 ? message_at(s, k->holder) : NULL;
    bool delayed = holder != NULL && holder->state == MESSAGE_DELAYED;
    return delayed ? message_times_of(s, holder).due_ns : 0;
}

struct eta_asked queue_eta_asked(const struct model *m, const struct queue *q,
                                 const struct publish *p) {
    const struct queues *s = m->queues;
    struct span key = p->envelope.ordering_key;
    uint32_t found = key.size == 0 ? 0 : key_find(s, key_hash(q->index, key));
    struct eta_asked of = {.tenant = tenant_of_publish(q, p), .priority = p->priority};
    if (found != 0) {
        const struct message_key *k = key_at(s, found);
        of.of_key = k->blocked.count + (k->holder != 0);
        of.key_until_ns = key_until_ns(s, k);
    }
    return of;
}

static uint64_t count_before(const struct queues *s, const struct slot_list *l,
                             const struct message *g) {
    uint64_t first = message_at(s, l->first)->id, last = message_at(s, l->last)->id;
    if (g->id <= first || last <= first) {
        return 0;
    }
    uint128 part = (uint128)(g->id - first) * (l->count - 1);
    return g->id >= last ? l->count - 1 : (uint64_t)(part / (last - first));
}

static bool still_leaves(const struct message *g) {
    return g->state == MESSAGE_READY || g->state == MESSAGE_DELAYED || g->state == MESSAGE_BLOCKED;
}

struct eta message_eta(const struct model *m, const struct message *g, uint64_t now_ns) {
    const struct queues *s = m->queues;
    struct queue *q = queue_at(s, g->queue);
    if (!still_leaves(g)) {
        return (struct eta){0, WAITS_FOR_NOBODY};
    }
    if (g->state != MESSAGE_READY) {
        uint64_t due_ns = message_times_of(s, g).due_ns;
        struct eta_asked of = {.tenant = tenant_of(s, g), .priority = g->priority};
        if (g->state == MESSAGE_BLOCKED) {
            of.of_key = 1 + count_before(s, &key_at(s, g->key)->blocked, g);
            of.key_until_ns = key_until_ns(s, key_at(s, g->key));
        }
        return eta_new(m, q, now_ns, due_ns, &of);
    }
    const struct ready_set *set = tenant_set(s, q, g);
    uint64_t own = count_above(set, g) + count_before(s, &set->levels->lists[g->priority], g);
    return eta_of(m, q, now_ns, 0, tenant_ahead(m, q, g, own), NULL);
}

enum refusal queue_check_deadline(const struct model *m, const struct decision *d,
                                  struct request *r, const struct queue *q,
                                  const struct publish *p) {
    if (p->deadline_ns == 0) {
        return REFUSAL_NONE;
    }
    struct eta_asked of = queue_eta_asked(m, q, p);
    uint64_t eta = queue_eta_new_ns(m, q, d->now_ns, p->schedule_ns, &of);
    if (p->deadline_ns <= d->now_ns || p->deadline_ns < p->schedule_ns) {
        return request_refuse(r, REFUSAL_DEADLINE, "the deadline is over before it may leave");
    }
    return eta <= p->deadline_ns
               ? REFUSAL_NONE
               : request_refuse(
                     r, REFUSAL_DEADLINE,
                     "what is before it takes longer, or its destination is closed until later");
}

void queue_set_deadline(const struct publish *p, struct message_payload *payload) {
    uint64_t expires_ns = payload->stored.expires_ns;
    if (p->deadline_ns != 0 && (expires_ns == 0 || p->deadline_ns < expires_ns)) {
        payload->stored.expires_ns = p->deadline_ns;
        payload->by_deadline = true;
    }
}
