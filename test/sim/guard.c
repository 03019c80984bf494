#include "guard.h"

#include <string.h>

#include "fuse.h"
#include "providers.h"

#define STARTS_RING 2048u

struct guarded_start {
    uint64_t from_ns, to_ns;
    bool retry;
};

struct endpoint_facts {
    bool out, down; /* as far as known */
    bool out_sure, down_sure;
};

struct guard {
    const struct destination_facts *facts; /* borrows */
    struct fuse fuse;
    struct guarded_start starts[STARTS_RING]; /* ring */
    uint64_t start_count;
    uint64_t unknown_until_ns; /* before it, starts may have been that nobody was told of */
    uint64_t ramp_from_ns;     /* 0: none is known */
    uint64_t ramp_starts;
    struct endpoint_facts endpoints[ENDPOINTS_EACH];
    uint64_t bad_ends;    /* of its own messages at it, since it was known to be healthy; at most */
    bool over, over_sure; /* by hand to the second destination */
    bool asking;
};

struct guard *guard_create(const struct destination_facts *facts) {
    struct guard *g = sim_alloc(sizeof(*g));
    g->facts = facts;
    fuse_init(&g->fuse, &facts->breaker);
    for (unsigned i = 0; i < ENDPOINTS_EACH; i++)
        g->endpoints[i].out_sure = g->endpoints[i].down_sure = true;
    g->over_sure = true;
    return g;
}

void guard_free(struct guard *g) {
    free(g);
}

static struct guard *guard_of(const struct sim *s, unsigned destination) {
    return provider_guard(s, destination);
}

/* ---- starts ---- */

static const struct guarded_start *start_at(const struct guard *g, uint64_t back) {
    return &g->starts[(g->start_count - back) % STARTS_RING];
}

/* The window of the promise is exact to a sixteenth. */
static void check_budget(struct sim *s, const struct guard *g, const char *name) {
    const struct budget_def *def = &g->facts->budget;
    uint64_t from_ns = s->turn_engine_ns, to_ns = sim_engine_ns(s);
    uint64_t always = def->min_per_second * (def->window_ns / NS_PER_MS) / 1000, starts = 0,
             retries = 0, back = 1;
    always = always > 0 ? always : 1;
    for (; back <= STARTS_RING && back <= g->start_count; back++) {
        const struct guarded_start *e = start_at(g, back);
        if (e->to_ns + def->window_ns < from_ns)
            break;
        starts++;
        retries += e->retry && e->from_ns + def->window_ns / 16 * 15 > to_ns;
    }
    bool known = back <= STARTS_RING && g->unknown_until_ns + def->window_ns < from_ns;
    SIM_CHECK(s, !known || retries < always || (retries + 1) * 100 <= (starts + 1) * def->percent,
              "retry %llu among %llu starts at %s, %u percent are allowed",
              (unsigned long long)retries + 1, (unsigned long long)starts + 1, name, def->percent);
    s->result->budgeted += known && retries + 1 >= always;
}

/* Starts that fit below the ramp until `passed_ns`: rate times the area under the line from a tenth to all. */
static double ramp_area(const struct destination_facts *f, double passed_ns) {
    double length = (double)f->ramp.duration_ns, least = length / 10;
    double flat = passed_ns < least ? passed_ns : least;
    double climb = passed_ns > least ? (passed_ns * passed_ns - least * least) / 2 : 0;
    const struct pace_def *pace = &f->limits[0].def;
    return (least * flat + climb) / length / (double)(pace->period_ns / pace->count);
}

static void check_ramp(struct sim *s, struct guard *g, const char *name) {
    uint64_t passed_ns = sim_engine_ns(s) - g->ramp_from_ns;
    if (g->ramp_from_ns == 0 || passed_ns >= g->facts->ramp.duration_ns)
        return;
    double most = 2 + ramp_area(g->facts, (double)passed_ns);
    SIM_CHECK(s, (double)++g->ramp_starts <= most,
              "%llu starts at %s %llu us behind its breaker's closing, %.1f are allowed",
              (unsigned long long)g->ramp_starts, name, (unsigned long long)passed_ns / 1000, most);
}

static void check_endpoint(struct sim *s, const struct guard *g, const char *name, uint32_t id) {
    unsigned i = 0;
    while (i < g->facts->endpoint_count && endpoint_id(span_text(endpoint_names[i])) != id)
        i++;
    SIM_CHECK(s, i < g->facts->endpoint_count || (id == 0 && g->facts->endpoint_count == 0),
              "a start at an endpoint of %s that is not there", name);
    if (id == 0)
        return;
    const struct endpoint_facts *e = &g->endpoints[i];
    SIM_CHECK(s, !(e->out && e->out_sure) && !(e->down && e->down_sure),
              "a start at endpoint %s of %s, which is out", endpoint_names[i], name);
}

static void check_route(struct sim *s, unsigned home, unsigned to) {
    const struct guard *g = guard_of(s, home);
    if (to == home) {
        SIM_CHECK(s, !g->over || !g->over_sure, "a start at %s, whose messages were sent over",
                  destination_names[to]);
        return;
    }
    bool may = g->facts->fails_over && to == DESTINATION_SECOND &&
               (g->over || !g->over_sure || g->bad_ends > g->facts->failover.failures);
    SIM_CHECK(s, may, "a message of %s goes to %s after %llu failures", destination_names[home],
              destination_names[to], (unsigned long long)g->bad_ends);
    s->result->failed_over++;
}

uint32_t guards_start(struct sim *s, unsigned home, unsigned to, const struct attempt_start *a) {
    struct guard *g = guard_of(s, to);
    const char *name = destination_names[to];
    bool retry = a->attempt > 1 && !a->outcome_unknown_before;
    check_route(s, home, to);
    check_endpoint(s, g, name, a->endpoint);
    if (retry)
        check_budget(s, g, name);
    check_ramp(s, g, name);
    g->starts[g->start_count++ % STARTS_RING] =
        (struct guarded_start){s->turn_engine_ns, sim_engine_ns(s), retry};
    return g->facts->breaker.window_calls != 0 ? fuse_start(s, &g->fuse, name) : 0;
}

/* ---- ends ---- */

static enum call_outcome outcome_of(const struct attempt_finish *f) {
    if (f->success)
        return OUTCOME_GOOD;
    if (f->error == ATTEMPT_UNKNOWN || f->error == ATTEMPT_BODY_LOST)
        return OUTCOME_NONE;
    bool refused = f->error == ATTEMPT_OK && f->status < 500 && f->status != 429;
    return refused ? OUTCOME_GOOD : OUTCOME_BAD;
}

static struct fuse_end end_of(uint32_t ticket, const struct attempt_finish *f) {
    return (struct fuse_end){.period = ticket,
                             .outcome = outcome_of(f),
                             .duration_ns = f->duration_ns / NS_PER_US * NS_PER_US};
}

static void closed(const struct sim *s, struct guard *g) {
    g->ramp_from_ns = s->turn_engine_ns;
    g->ramp_starts = 0;
}

void guards_end(struct sim *s, unsigned home, unsigned to, uint32_t ticket,
                const struct attempt_finish *f) {
    struct guard *g = guard_of(s, to);
    struct fuse_end e = end_of(ticket, f);
    g->bad_ends += home == to && e.outcome == OUTCOME_BAD;
    if (g->facts->breaker.window_calls != 0 && fuse_end(s, &g->fuse, &e))
        closed(s, g);
}

void guards_end_lost(struct sim *s, unsigned home, unsigned to, uint32_t ticket,
                     const struct attempt_finish *f, uint64_t order) {
    struct guard *g = guard_of(s, to);
    struct fuse_end e = end_of(ticket, f);
    g->bad_ends += home == to && e.outcome == OUTCOME_BAD;
    if (g->facts->breaker.window_calls != 0)
        fuse_end_lost(&g->fuse, &e, order);
}

void guards_restart(struct sim *s) {
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        struct guard *g = guard_of(s, d);
        g->ramp_from_ns = 0;
        g->unknown_until_ns = UINT64_MAX / 2;
    }
}

/* ---- audits ---- */

static void audit_endpoints(struct sim *s, struct guard *g, const char *name,
                            const struct request *get) {
    const uint8_t *d = get->out_bytes.data + get->out_bytes.size - get->count;
    for (unsigned i = 0; i < g->facts->endpoint_count; i++) {
        struct endpoint_facts *e = &g->endpoints[i];
        struct endpoint_info info;
        memcpy(&info, d + offsetof(struct destination_detail, endpoints) + i * sizeof(info),
               sizeof(info));
        SIM_CHECK(s,
                  (!e->out_sure || e->out == info.out) && (!e->down_sure || e->down == info.down),
                  "endpoint %s of %s is %s and %s", endpoint_names[i], name,
                  info.out ? "out" : "in", info.down ? "down" : "up");
        if (g->asking)
            continue;
        *e = (struct endpoint_facts){info.out, info.down, true, true};
    }
}

void guard_audit(struct sim *s, unsigned destination, const struct request *get) {
    struct guard *g = guard_of(s, destination);
    const char *name = destination_names[destination];
    const struct destination_info *info = &get->out.destination;
    bool fresh = s->looking && !s->engine->recovering;
    if (s->looking)
        g->asking = false;
    g->unknown_until_ns = s->looking ? sim_engine_ns(s) : g->unknown_until_ns;
    audit_endpoints(s, g, name, get);
    if (s->looking && !fresh)
        fuse_doubt(&g->fuse);
    else if (g->facts->breaker.window_calls != 0 && !g->asking)
        fuse_audit(s, &g->fuse, name, info, fresh);
    SIM_CHECK(s, !g->over_sure || !g->over || info->health == HEALTH_CRITICAL,
              "%s was sent over by hand and is %s", name, health_name((enum health)info->health));
    if (s->looking && !g->over_sure)
        g->over = g->over_sure = false; /* it is over by hand or by the rule: nobody can say */
    if (info->health != HEALTH_CRITICAL && !g->asking) {
        g->over = false;
        g->over_sure = true;
        g->bad_ends = info->failures;
    }
}

/* ---- by hand ---- */

static void unsettle(struct guard *g, enum request_kind kind, unsigned endpoint) {
    switch (kind) {
    case REQUEST_DESTINATION_OPEN:
    case REQUEST_DESTINATION_CLOSE:
        fuse_ask(&g->fuse);
        break;
    case REQUEST_DESTINATION_FAILOVER:
    case REQUEST_DESTINATION_RETURN:
        g->over_sure = false;
        break;
    case REQUEST_ENDPOINT_CHECKED:
        g->endpoints[endpoint].down_sure = false;
        break;
    default:
        g->endpoints[endpoint].out_sure = false;
    }
}

bool guard_ask(struct sim *s, unsigned destination, enum request_kind kind, unsigned endpoint) {
    struct guard *g = guard_of(s, destination);
    if (g->asking)
        return false;
    g->asking = true;
    unsettle(g, kind, endpoint);
    return true;
}

void guard_answered(struct sim *s, unsigned destination, const struct request *r, unsigned endpoint,
                    bool done) {
    struct guard *g = guard_of(s, destination);
    bool hand = r->kind == REQUEST_DESTINATION_OPEN || r->kind == REQUEST_DESTINATION_CLOSE;
    g->asking = false;
    if (!done && hand)
        fuse_not_forced(&g->fuse);
    if (!done)
        return; /* what was not sure stays so until the next audit */
    if (hand && fuse_forced(&g->fuse, r->kind == REQUEST_DESTINATION_OPEN))
        closed(s, g);
    if (r->kind == REQUEST_DESTINATION_FAILOVER || r->kind == REQUEST_DESTINATION_RETURN) {
        g->over = r->kind == REQUEST_DESTINATION_FAILOVER;
        g->over_sure = true;
    }
    struct endpoint_facts *e = &g->endpoints[endpoint];
    if (r->kind == REQUEST_ENDPOINT_EJECT || r->kind == REQUEST_ENDPOINT_RETURN) {
        e->out = r->kind == REQUEST_ENDPOINT_EJECT;
        e->out_sure = true;
    } else if (r->kind == REQUEST_ENDPOINT_CHECKED) {
        e->down = !r->in.checked.up;
        e->down_sure = true;
    }
}

void guard_ask_lost(struct sim *s, unsigned destination, enum request_kind kind,
                    unsigned endpoint) {
    struct guard *g = guard_of(s, destination);
    if (kind == REQUEST_DESTINATION_OPEN || kind == REQUEST_DESTINATION_CLOSE)
        fuse_ask_lost(&g->fuse);
    unsettle(g, kind, endpoint);
}
