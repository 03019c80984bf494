/*
 * Whether a destination may be called now, and by which way its messages go.
 *
 * The gates of one destination, each of which may say "not now":
 *
 *      paused -> closed (Retry-After) -> breaker -> limits -> ramp -> adaptive -> an endpoint is in
 *
 * All but the limits cost nothing where they are not defined. Each answers 0, a time to wait, or "something
 * else than time": then an end, a definition, a check or a person changes it, which are all requests, after
 * which the engine asks again.
 */
#include "base/clock.h"
#include "base/u64.h"
#include "model/campaign.h"
#include "model/destination_state.h"

static uint64_t until(uint64_t at_ns, uint64_t now_ns) {
    return at_ns == UINT64_MAX ? PACE_WAIT_FOR_END : at_ns > now_ns ? at_ns - now_ns : 0;
}

static uint64_t endpoints_wait_ns(const struct destination *t, uint64_t now_ns) {
    uint64_t at_ns;
    if (t->endpoints.count == 0 || endpoints_any_in(&t->endpoints, now_ns, &at_ns)) {
        return 0;
    }
    return until(at_ns, now_ns);
}

/* When its turn has come no rate makes a start wait, so what is left is a place. */
static uint64_t turn_wait_ns(const struct limits *l, uint64_t now_ns, uint64_t horizon_ns) {
    uint64_t turn_ns = limits_turn_ns(l, now_ns);
    uint64_t wait_ns = limits_wait_ns(l, turn_ns);
    return wait_ns != 0 ? wait_ns : until(turn_ns, now_ns + horizon_ns);
}

struct way destination_way(const struct model *m, const struct destination *t, uint64_t now_ns,
                           uint64_t horizon_ns) {
    struct way way = {t, PACE_WAIT_FOR_END, destination_by_turns(m, t, now_ns)};
    uint32_t in_flight = limits_in_flight(&t->limits) + t->held_places;
    if (t->paused || in_flight >= adaptive_limit(&t->adaptive, &t->def.adaptive) ||
        (t->held_places > 0 && in_flight >= limits_concurrency(&t->limits))) {
        return way;
    }
    uint64_t wait_ns =
        u64_max(until(t->closed_until_ns, now_ns), breaker_wait_ns(&t->breaker, now_ns));
    wait_ns = u64_max(wait_ns, way.by_turns ? turn_wait_ns(&t->limits, now_ns, horizon_ns)
                                            : limits_wait_ns(&t->limits, now_ns));
    wait_ns = u64_max(wait_ns, ramp_wait_ns(&t->ramp, &t->def.ramp, &t->limits, now_ns));
    way.wait_ns = u64_max(wait_ns, endpoints_wait_ns(t, now_ns));
    return way;
}

/* NULL: there is none. */
static const struct destination *second_of(const struct model *m, const struct destination *home) {
    const char *name = home->def.failover.destination;
    if (name[0] == '\0') {
        return NULL;
    }
    const struct destination *t = destination_at(m, destination_find(m, span_text(name)));
    return t != home ? t : NULL;
}

/* While the first is out of favour it is still asked for a few calls when its time has come: the way back. */
static struct way route_over(const struct model *m, const struct destination *home,
                             const struct destination *second, uint64_t now_ns) {
    const struct failover_def *def = &home->def.failover;
    struct way back = {home, PACE_WAIT_FOR_END, false};
    bool may_probe = failover_may_probe(&home->failover, def, now_ns);
    if (may_probe) {
        back = destination_way(m, home, now_ns, TURN_NEAR_NS);
    } else if (failover_may_probe(&home->failover, def, home->failover.return_ns)) {
        back.wait_ns = until(home->failover.return_ns, now_ns);
    }
    struct way over = destination_way(m, second, now_ns, TURN_NEAR_NS);
    if (may_probe && back.wait_ns == 0) {
        return back;
    }
    over.wait_ns = back.wait_ns < over.wait_ns ? back.wait_ns : over.wait_ns;
    return over;
}

struct way destination_route(const struct model *m, const struct destination *home, uint64_t now_ns,
                             uint64_t horizon_ns) {
    const struct destination *second = NULL;
    if (failover_is_over(&home->failover) && !home->paused) {
        second = second_of(m, home);
    }
    return second != NULL ? route_over(m, home, second, now_ns)
                          : destination_way(m, home, now_ns, horizon_ns);
}

uint64_t destination_key(const struct model *m, const struct destination *t,
                         const struct message_view *v) {
    uint64_t named = 0;
    switch (t->def.balance.key) {
    case BALANCE_KEY_NONE:
        return 0;
    case BALANCE_KEY_MEMBER:
        named = v->tie.campaign != 0 ? campaign_member_hash(m, v->id) : 0;
        break;
    case BALANCE_KEY_TENANT:
        named = v->tenant_hash;
        break;
    case BALANCE_KEY_ORDERING:
        break;
    }
    return named != 0 ? named : v->key_hash;
}
