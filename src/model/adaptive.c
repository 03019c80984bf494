#include "model/adaptive.h"

#include "base/clock.h"

#define LIMIT_MAX       100000u /* calls: 10^8 thousandths fit in 32 bits */
#define GROWTH_MILLI    4000u   /* how far the limit may lie above what the gradient says */
#define TOLERANCE_MILLI 1500u
#define GRADIENT_LEAST  500u
#define RISE_MS         600000u
#define SHORT_SHARE     4u
#define STEP_SHARE      5u /* of the way to the new limit, each time */

bool adaptive_def_valid(const struct adaptive_def *def) {
    return def->ceiling == 0 ||
           (def->floor >= 1 && def->floor <= def->ceiling && def->ceiling <= LIMIT_MAX);
}

static uint32_t between(uint64_t limit_milli, const struct adaptive_def *def) {
    uint64_t low = (uint64_t)def->floor * 1000, high = (uint64_t)def->ceiling * 1000;
    return (uint32_t)(limit_milli < low ? low : limit_milli > high ? high : limit_milli);
}

void adaptive_define(struct adaptive *a, const struct adaptive_def *def) {
    if (def->ceiling == 0) {
        *a = (struct adaptive){0};
        return;
    }
    uint64_t from = a->limit_milli != 0 ? a->limit_milli : (uint64_t)def->floor * 4000;
    a->limit_milli = between(from, def);
}

uint32_t adaptive_limit(const struct adaptive *a, const struct adaptive_def *def) {
    return def->ceiling != 0 ? a->limit_milli / 1000 : UINT32_MAX;
}

static uint64_t mix(uint64_t old, uint64_t fresh, uint32_t share) {
    return fresh >= old ? old + (fresh - old) / share : old - (old - fresh) / share;
}

/* Rises with time, not with calls: how fast the far side is changes in minutes, whatever the traffic. */
static void rise(struct adaptive *a, uint64_t short_us_256, uint64_t now_ns) {
    uint64_t passed_ms = (now_ns - a->seen_ns) / NS_PER_MS;
    passed_ms = passed_ms < RISE_MS ? passed_ms : RISE_MS;
    a->usual_us_256 += (short_us_256 - a->usual_us_256) / RISE_MS * passed_ms;
}

static void note_time(struct adaptive *a, uint64_t us, uint64_t now_ns) {
    us = us < 1 ? 1 : us < UINT32_MAX ? us : UINT32_MAX;
    bool first = a->usual_us_256 == 0;
    a->short_us = (uint32_t)(first ? us : mix(a->short_us, us, SHORT_SHARE));
    uint64_t short_us_256 = (uint64_t)a->short_us * 256;
    if (first || short_us_256 <= a->usual_us_256) {
        a->usual_us_256 = short_us_256;
        a->seen_ns = now_ns;
    } else if (now_ns >= a->seen_ns + NS_PER_SECOND) {
        rise(a, short_us_256, now_ns);
        a->seen_ns = now_ns;
    }
}

void adaptive_end(struct adaptive *a, const struct adaptive_def *def, uint32_t in_flight,
                  enum call_outcome outcome, uint64_t duration_us, uint64_t now_ns) {
    if (def->ceiling == 0 || outcome == OUTCOME_NONE) {
        return;
    }
    if (outcome == OUTCOME_BAD) {
        a->limit_milli = between((uint64_t)a->limit_milli * 9 / 10, def);
        return;
    }
    note_time(a, duration_us, now_ns);
    uint64_t short_us = a->short_us > 0 ? a->short_us : 1;
    uint64_t gradient = a->usual_us_256 / 256 * TOLERANCE_MILLI / short_us;
    gradient = gradient > 1000 ? 1000 : gradient < GRADIENT_LEAST ? GRADIENT_LEAST : gradient;
    if (gradient == 1000 && (uint64_t)in_flight * 2000 < a->limit_milli) {
        return; /* nobody asks for more */
    }
    uint64_t next = (uint64_t)a->limit_milli * gradient / 1000 + GROWTH_MILLI;
    a->limit_milli = between(mix(a->limit_milli, next, STEP_SHARE), def);
}
