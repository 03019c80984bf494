/*
 * When a message that has others before it may be sent: honest, as far as it can be known.
 *
 * What comes before it are the messages of its own queue and, of each other queue with ready messages, as many as
 * that one's lane gets meanwhile, but no more than it has; and among them as many retries as there were of late. Where
 * requests take several messages, so many fewer requests. All of them need a start: of each limit of the
 * destination (what its burst and tokens still give at once is free), of the caps on what is under way (by how long
 * attempts took of late), and of the queue's own pace (queue_eta.c). The slowest of them decides, and a ramp stretches it. What is closed by a
 * Retry-After, by its breaker, or because its endpoints are left out for a time, begins when that is over; behind an open breaker first come as many as it probes
 * with, then, when these have ended, the others, as if all probes were good: that is the earliest that may be. What is paused,
 * was opened by hand or has no endpoint that is well has no time. Nor is known what is still to come: who is published
 * later with a higher priority or in another lane, and how the next attempts end.
 */
#include "base/clock.h"
#include "base/u64.h"
#include "model/destination_state.h"

__extension__ typedef unsigned __int128 uint128;

static uint64_t capped(uint128 ns) {
    return ns < PACE_TAKES_MAX_NS ? (uint64_t)ns : PACE_TAKES_MAX_NS;
}

static uint64_t attempt_takes_ns(const struct destination *t) {
    return t->average_us * NS_PER_US;
}

/* By places: in rounds of as many as there are. */
static uint64_t rounds_take_ns(const struct destination *t, uint64_t starts) {
    uint32_t cap = limits_concurrency(&t->limits);
    uint32_t adaptive = adaptive_limit(&t->adaptive, &t->def.adaptive);
    cap = cap < adaptive ? cap : adaptive;
    uint128 rounds = cap == 0 || cap == UINT32_MAX ? 0 : starts / cap;
    return capped(rounds * attempt_takes_ns(t));
}

/* Until so many starts and one more have been made, from from_ns on. */
static uint64_t starts_take_ns(const struct destination *t, const struct ramp *ramp,
                               uint64_t from_ns, uint64_t starts) {
    uint64_t takes_ns = rounds_take_ns(t, starts);
    for (uint32_t i = 0; i < t->limits.count; i++) {
        takes_ns = u64_max(takes_ns, pace_takes_ns(&t->limits.paces[i], from_ns, starts));
    }
    return ramp_takes_ns(ramp, &t->def.ramp, from_ns, takes_ns);
}

/* Of a breaker that is open: first the probes, which end; and behind them, if all are good, what is left, with the ramp. */
static uint64_t behind_probes_ns(const struct destination *t, uint64_t from_ns, uint64_t starts) {
    const struct breaker *b = &t->breaker;
    uint32_t made = b->probes_out + b->probes_done;
    uint32_t probes = made < b->def.probes ? b->def.probes - made : 0;
    if (starts < probes) {
        return from_ns + starts_take_ns(t, &t->ramp, from_ns, starts);
    }
    uint64_t closes_ns = from_ns + attempt_takes_ns(t);
    closes_ns += probes > 0 ? starts_take_ns(t, &t->ramp, from_ns, probes - 1) : 0;
    struct ramp ramp = t->ramp;
    ramp_begin(&ramp, &t->def.ramp, closes_ns);
    return closes_ns + starts_take_ns(t, &ramp, closes_ns, starts - probes);
}

static uint64_t backlog_of(const void *asker, uint32_t queue) {
    return queue_ready_count(asker, queue);
}

/* How many messages a request takes, as they are of late: of as many bytes as those that are ready. */
static uint64_t messages_per_request(const struct model *m, const struct destination *t,
                                     uint32_t queue) {
    const struct batch_def *b = &t->def.batch;
    if (b->max_messages <= 1 || b->token == BATCH_TOKEN_MESSAGE) {
        return 1;
    }
    uint64_t count = queue_ready_count(m, queue), bytes = queue_ready_bytes(m, queue);
    uint64_t fit = bytes == 0 ? b->max_messages : (uint64_t)b->max_bytes * count / bytes;
    fit = fit < b->max_messages ? fit : b->max_messages;
    return fit > 0 ? fit : 1;
}

/* How long the next request waits for more to join it, with what is ready and the one that is asked about. */
static uint64_t joining_ns(const struct model *m, const struct destination *t, uint32_t queue,
                           uint64_t now_ns, uint64_t ahead) {
    struct message_view next;
    if (t->def.batch.max_messages <= 1 || ahead + 1 >= t->def.batch.max_messages) {
        return 0;
    }
    bool waits = queue_peek(m, queue, now_ns, &next);
    uint64_t at_ns = (waits ? next.accepted_ns_hint : now_ns) + t->def.batch.wait_ns;
    return at_ns > now_ns ? at_ns - now_ns : 0;
}

uint64_t destination_attempt_ns(const struct model *m, uint32_t destination) {
    const struct destination *t = destination_at(m, destination);
    return t != NULL ? attempt_takes_ns(t) : 0;
}

static uint64_t before_in_lanes(const struct model *m, const struct destination *home,
                                uint32_t queue, uint64_t ahead) {
    const struct queue_def *def = queue_definition(m, queue);
    if (def == NULL) {
        return ahead;
    }
    const struct ready_node *n = &m->destinations->ready[QUEUE_SLOT(queue)];
    uint32_t slot = n->lanes_of == home->index ? QUEUE_SLOT(queue) : 0;
    return lanes_before(&home->lanes, slot, def->weight, def->guaranteed_percent, ahead, backlog_of,
                        m);
}

/* When one is in; UINT64_MAX: nobody knows. */
static uint64_t endpoint_at_ns(const struct destination *t, uint64_t now_ns) {
    uint64_t at_ns;
    return t->endpoints.count == 0 || endpoints_any_in(&t->endpoints, now_ns, &at_ns) ? now_ns
                                                                                      : at_ns;
}

static enum waits_for waits_for(const struct destination *t, uint64_t endpoint_ns) {
    return t->paused                            ? WAITS_FOR_DESTINATION
           : t->breaker.state == BREAKER_FORCED ? WAITS_FOR_BREAKER
           : endpoint_ns == UINT64_MAX          ? WAITS_FOR_ENDPOINT
                                                : WAITS_FOR_NOBODY;
}

struct eta destination_eta(const struct model *m, uint32_t destination, uint32_t queue,
                           uint64_t now_ns, uint64_t ahead) {
    const struct destination *home = destination_at(m, destination);
    if (home == NULL) {
        return (struct eta){0, WAITS_FOR_NOBODY};
    }
    struct way way = destination_route(m, home, now_ns, 0);
    const struct destination *t = way.to;
    uint64_t endpoint_ns = endpoint_at_ns(t, now_ns);
    struct eta eta = {0, waits_for(t, endpoint_ns)};
    if (eta.waits_for != WAITS_FOR_NOBODY) {
        return eta;
    }
    uint64_t starts = before_in_lanes(m, home, queue, ahead);
    uint64_t from_ns = u64_max(u64_max(now_ns, t->closed_until_ns), t->breaker.until_ns);
    from_ns = u64_max(from_ns, endpoint_ns);
    if (t->breaker.state == BREAKER_CLOSED) {
        starts = budget_starts_for(&t->budget, starts, from_ns) / messages_per_request(m, t, queue);
        eta.at_ns = from_ns + starts_take_ns(t, &t->ramp, from_ns, starts);
    } else { /* how many failed of late says nothing of the time behind good probes */
        eta.at_ns = behind_probes_ns(t, from_ns, starts / messages_per_request(m, t, queue));
    }
    eta.at_ns = u64_max(eta.at_ns, from_ns + joining_ns(m, t, queue, now_ns, ahead));
    eta.at_ns = u64_max(eta.at_ns, now_ns + (way.wait_ns != PACE_WAIT_FOR_END ? way.wait_ns : 0));
    return eta;
}
