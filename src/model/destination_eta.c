/*
 * When a message that has others before it may be sent: honest, as far as it can be known.
 *
 * What comes before it are the messages of its own queue and, of each other queue with ready messages, as many as
 * that one's lane gets meanwhile, but no more than it has. All of them need a start: of each limit of the
 * destination (what its burst and tokens still give at once is free), of the caps on what is under way (by how long
 * attempts took of late), and of the queue's own pace. The slowest of them decides. A destination that is paused, whose
 * breaker is not closed or whose adaptive limit has no room says nothing: nobody knows when that ends.
 */
#include "base/clock.h"
#include "model/destination_state.h"

__extension__ typedef unsigned __int128 uint128;

#define CENTURY_NS (UINT64_C(100) * 365 * 86400 * NS_PER_SECOND)

static uint64_t later(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

static uint64_t capped(uint128 ns) {
    return ns < CENTURY_NS ? (uint64_t)ns : CENTURY_NS;
}

/* ns until `starts` starts and one more have been made by a rate. */
static uint64_t pace_takes_ns(const struct pace *p, uint64_t now_ns, uint64_t starts) {
    if (p->def.count == 0) {
        return 0;
    }
    struct pace rate = *p; /* without its cap; the ring is only read */
    rate.def.concurrency = 0;
    uint64_t left = pace_left(&rate, now_ns);
    uint64_t wait_ns = pace_wait_ns(&rate, now_ns);
    if (starts < left) {
        return wait_ns;
    }
    uint128 more = (uint128)starts + 1 - left;
    return later(wait_ns, capped(more * p->def.period_ns / p->def.count));
}

static uint64_t concurrency_takes_ns(const struct destination *t, uint64_t starts) {
    uint32_t cap = limits_concurrency(&t->limits);
    uint32_t adaptive = adaptive_limit(&t->adaptive, &t->def.adaptive);
    cap = cap < adaptive ? cap : adaptive;
    uint128 rounds = cap == 0 || cap == UINT32_MAX ? 0 : starts / cap;
    return capped(rounds * t->average_us * NS_PER_US);
}

static uint64_t backlog_of(const void *asker, uint32_t queue) {
    return queue_ready_count(asker, queue);
}

uint64_t destination_eta_ns(const struct model *m, uint32_t destination, uint32_t queue,
                            uint64_t now_ns, uint64_t ahead) {
    const struct destination *home = destination_at(m, destination);
    if (home == NULL || home->paused) {
        return 0;
    }
    uint64_t wait_ns;
    const struct destination *t = destination_route(m, home, now_ns, &wait_ns);
    if (t->paused || t->breaker.state != BREAKER_CLOSED) {
        return 0;
    }
    const struct queue_def *def = queue_definition(m, queue);
    if (def != NULL) {
        const struct ready_node *n = &m->destinations->ready[QUEUE_SLOT(queue)];
        uint32_t slot = n->lanes_of == home->index ? QUEUE_SLOT(queue) : 0;
        ahead = lanes_before(&home->lanes, slot, def->weight, def->guaranteed_percent, ahead,
                             backlog_of, m);
    }
    uint64_t takes_ns = concurrency_takes_ns(t, ahead);
    takes_ns = later(takes_ns, wait_ns != PACE_WAIT_FOR_END ? wait_ns : 0);
    for (uint32_t i = 0; i < t->limits.count; i++) {
        takes_ns = later(takes_ns, pace_takes_ns(&t->limits.paces[i], now_ns, ahead));
    }
    return now_ns + takes_ns;
}
