/* Requests about destinations: pauses, other limits while they run, what people and checks say. */
#include <string.h>

#include "guard.h"
#include "providers.h"
#include "traffic.h"

static void nothing_known(struct sim *s, struct call *c) {
    (void)s;
    (void)c;
}

void traffic_fill_destination(struct sim *s, struct call *c, unsigned destination,
                              const uint32_t *counts) {
    destination_fill(provider_facts(s, destination), destination, counts, &c->destination_def);
    c->destination = destination;
    c->q.r.name = span_text(destination_names[destination]);
    c->q.r.in.define.destination = &c->destination_def;
}

static bool make_pause_destination(struct sim *s, struct call *c, struct rng *rng) {
    c->destination = (unsigned)rng_below(rng, DESTINATIONS);
    bool paused = provider_is_paused(s, c->destination);
    if (!paused && rng_below(rng, 4) != 0)
        return false;
    c->q.r.kind = paused ? REQUEST_DESTINATION_RESUME : REQUEST_DESTINATION_PAUSE;
    c->q.r.name = span_text(destination_names[c->destination]);
    provider_paused(s, c->destination, paused, false);
    return true;
}

static void pause_destination_answered(struct sim *s, struct call *c) {
    if (c->q.r.refusal == REFUSAL_NONE)
        provider_paused(s, c->destination, c->q.r.kind == REQUEST_DESTINATION_PAUSE, true);
    else if (!traffic_is_full(s, c))
        traffic_unexpected(s, c);
}

const struct traffic traffic_pause_destination = {2, REQUEST_DESTINATION_PAUSE,
                                                  make_pause_destination,
                                                  pause_destination_answered, nothing_known};

/* ---- other limits ---- */

/* Of a rate that was 10: anything from 2 to 30; of the last of several now and then nothing. */
static uint32_t draw_count(const struct destination_facts *f, unsigned limit, struct rng *rng) {
    const struct pace_def *def = &f->limits[limit].def;
    if (limit == LIMITS_EACH - 1 && rng_below(rng, 3) == 0)
        return 0;
    uint32_t from = def->count != 0 ? def->count : 50;
    uint32_t count = 1 + from / 5 + (uint32_t)rng_below(rng, from * 3);
    uint32_t most = def->mode == PACE_STRICT ? 200 : 4000;
    return count < most ? count : most;
}

static bool make_limits(struct sim *s, struct call *c, struct rng *rng) {
    static const uint8_t changing[] = {DESTINATION_SMOOTH, DESTINATION_STRICT, DESTINATION_MANY,
                                       DESTINATION_MANY};
    if (rng_below(rng, 12) != 0)
        return false;
    unsigned d = changing[rng_below(rng, sizeof(changing))];
    const struct destination_facts *f = provider_facts(s, d);
    uint32_t counts[LIMITS_EACH] = {0};
    for (unsigned i = 0; i < f->limit_count; i++)
        counts[i] = draw_count(f, i, rng);
    if (!provider_redefine(s, d, counts))
        return false;
    traffic_fill_destination(s, c, d, counts);
    return true;
}

static void limits_answered(struct sim *s, struct call *c) {
    uint32_t counts[LIMITS_EACH];
    if (c->q.r.refusal == REFUSAL_NONE) {
        destination_counts(provider_facts(s, c->destination), &c->destination_def, counts);
        provider_redefined(s, c->destination, counts);
    } else if (traffic_is_full(s, c)) {
        provider_not_redefined(s, c->destination);
    } else {
        traffic_unexpected(s, c);
    }
}

/* The audit finds which of them hold. */
const struct traffic traffic_limits = {1, REQUEST_DESTINATION_DEFINE, make_limits, limits_answered,
                                       nothing_known};

/* ---- by hand, and checks ---- */

/* What lets messages go is asked for more often than what holds them. */
static enum request_kind draw_act(struct rng *rng, unsigned endpoint_count) {
    static const enum request_kind acts[] = {
        REQUEST_DESTINATION_OPEN,   REQUEST_DESTINATION_CLOSE,    REQUEST_DESTINATION_CLOSE,
        REQUEST_DESTINATION_RETURN, REQUEST_DESTINATION_FAILOVER, REQUEST_DESTINATION_RETURN,
        REQUEST_DESTINATION_RETURN, REQUEST_DESTINATION_RETURN,   REQUEST_ENDPOINT_EJECT,
        REQUEST_ENDPOINT_RETURN,    REQUEST_ENDPOINT_RETURN,      REQUEST_ENDPOINT_CHECKED,
        REQUEST_ENDPOINT_CHECKED,   REQUEST_ENDPOINT_CHECKED,     REQUEST_ENDPOINT_CHECKED,
    };
    return acts[rng_below(rng, endpoint_count > 0 ? ARRAY_LENGTH(acts) : 8)];
}

void traffic_fill_act(struct sim *s, struct call *c, enum request_kind kind, unsigned endpoint,
                      bool up) {
    c->destination = DESTINATION_GUARDED;
    c->stock = endpoint;
    c->q.r.kind = kind;
    c->q.r.name = span_text(destination_names[c->destination]);
    if (kind == REQUEST_ENDPOINT_CHECKED)
        c->q.r.in.checked =
            (struct endpoint_checked){.destination = provider_index(s, c->destination),
                                      .endpoint = endpoint_id(span_text(endpoint_names[endpoint])),
                                      .up = up};
    else
        c->q.r.in.endpoint = span_text(endpoint_names[endpoint]);
    if (kind == REQUEST_DESTINATION_CLOSE)
        provider_reopens(s, c->destination, false);
}

static bool make_act(struct sim *s, struct call *c, struct rng *rng) {
    const struct destination_facts *f = provider_facts(s, DESTINATION_GUARDED);
    enum request_kind kind = draw_act(rng, f->endpoint_count);
    unsigned endpoint = (unsigned)rng_below(rng, ENDPOINTS_EACH);
    bool up = rng_below(rng, 4) != 0;
    if (provider_index(s, DESTINATION_GUARDED) == UINT32_MAX ||
        !guard_ask(s, DESTINATION_GUARDED, kind, endpoint))
        return false;
    traffic_fill_act(s, c, kind, endpoint, up);
    return true;
}

static void act_answered(struct sim *s, struct call *c) {
    bool done = c->q.r.refusal == REFUSAL_NONE;
    if (!done && !traffic_is_full(s, c))
        traffic_unexpected(s, c);
    guard_answered(s, c->destination, &c->q.r, c->stock, done);
    if (c->q.r.kind == REQUEST_DESTINATION_CLOSE)
        provider_reopens(s, c->destination, true);
}

static void act_lost(struct sim *s, struct call *c) {
    guard_ask_lost(s, c->destination, c->q.r.kind, c->stock);
}

const struct traffic traffic_act = {1, REQUEST_DESTINATION_CLOSE, make_act, act_answered, act_lost};
