#include "model/ramp.h"

#include "base/clock.h"

#define DURATION_MAX_NS (86400 * NS_PER_SECOND)
#define STEPS           100u /* of a climbing concurrency: how often it is looked at again */

__extension__ typedef unsigned __int128 uint128;

bool ramp_def_valid(const struct ramp_def *def) {
    return def->duration_ns <= DURATION_MAX_NS && def->idle_ns <= 365 * DURATION_MAX_NS;
}

void ramp_begin(struct ramp *r, const struct ramp_def *def, uint64_t now_ns) {
    if (def->duration_ns != 0) {
        r->from_ns = now_ns;
        r->next_ns = now_ns;
    }
}

static bool climbs(const struct ramp *r, const struct ramp_def *def, uint64_t now_ns) {
    return def->duration_ns != 0 && r->from_ns != 0 && now_ns < r->from_ns + def->duration_ns;
}

/* At least the tenth that it begins with. */
static uint64_t passed_ns(const struct ramp *r, const struct ramp_def *def, uint64_t now_ns) {
    uint64_t least_ns = def->duration_ns / 10 + 1;
    uint64_t passed = now_ns - r->from_ns;
    return passed > least_ns ? passed : least_ns;
}

static bool is_idle(const struct ramp *r, const struct ramp_def *def, uint32_t in_flight,
                    uint64_t now_ns) {
    return def->duration_ns != 0 && def->idle_ns != 0 && in_flight == 0 &&
           now_ns >= r->last_use_ns + def->idle_ns;
}

uint64_t ramp_wait_ns(const struct ramp *r, const struct ramp_def *def, const struct limits *l,
                      uint64_t now_ns) {
    if (!climbs(r, def, now_ns) || is_idle(r, def, limits_in_flight(l), now_ns)) {
        return 0;
    }
    if (limits_interval_ns(l) != 0) {
        return r->next_ns > now_ns ? r->next_ns - now_ns : 0;
    }
    uint128 cap = (uint128)limits_concurrency(l) * passed_ns(r, def, now_ns) / def->duration_ns;
    bool full = limits_in_flight(l) >= (cap > 1 ? cap : 1);
    return full ? def->duration_ns / STEPS + 1 : 0;
}

void ramp_start(struct ramp *r, const struct ramp_def *def, const struct limits *l,
                uint64_t now_ns) {
    if (is_idle(r, def, limits_in_flight(l) - 1, now_ns)) {
        ramp_begin(r, def, now_ns);
    }
    if (climbs(r, def, now_ns)) {
        uint128 cost =
            (uint128)limits_interval_ns(l) * def->duration_ns / passed_ns(r, def, now_ns);
        uint64_t from_ns = r->next_ns > now_ns ? r->next_ns : now_ns;
        r->next_ns = from_ns + (uint64_t)cost;
    }
    r->last_use_ns = now_ns;
}

void ramp_end(struct ramp *r, uint64_t now_ns) {
    r->last_use_ns = now_ns > r->last_use_ns ? now_ns : r->last_use_ns;
}

/* What was done x after the beginning, in ns at the whole rate: a tenth of it first, then in proportion to x. */
static uint64_t done_by(const struct ramp_def *def, uint64_t x_ns) {
    uint128 d = def->duration_ns, x = x_ns < def->duration_ns ? x_ns : def->duration_ns;
    if (x <= d / 10) {
        return (uint64_t)(x / 10);
    }
    return (uint64_t)(d / 100 + (x * x - d * d / 100) / (2 * d)) + (x_ns - (uint64_t)x);
}

uint64_t ramp_takes_ns(const struct ramp *r, const struct ramp_def *def, uint64_t now_ns,
                       uint64_t work_ns) {
    if (!climbs(r, def, now_ns)) {
        return work_ns;
    }
    uint64_t begun = now_ns > r->from_ns ? now_ns - r->from_ns : 0;
    uint64_t wanted = done_by(def, begun) + work_ns;
    uint64_t least = begun, most = begun + work_ns + def->duration_ns;
    while (least < most) {
        uint64_t middle = least + (most - least) / 2;
        if (done_by(def, middle) < wanted) {
            least = middle + 1;
        } else {
            most = middle;
        }
    }
    return least - begun;
}
