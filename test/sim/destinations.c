#include "destinations.h"

#include "letters.h"

const char *const destination_names[DESTINATIONS] = {"sim-smooth", "sim-strict",  "sim-capped",
                                                     "sim-many",   "sim-guarded", "sim-second"};
const char *const endpoint_names[ENDPOINTS_EACH] = {"one", "two", "three"};

int queue_destination(unsigned queue) {
    static const int destinations[QUEUES] = {
        [QUEUE_MAIL] = DESTINATION_SMOOTH,         [QUEUE_ORDERS] = DESTINATION_STRICT,
        [QUEUE_JOBS] = DESTINATION_CAPPED,         [QUEUE_STORE] = -1,
        [QUEUE_TICKETS] = DESTINATION_STRICT,      [QUEUE_LANE_FIRST] = DESTINATION_MANY,
        [QUEUE_LANE_FIRST + 1] = DESTINATION_MANY, [QUEUE_LANE_FIRST + 2] = DESTINATION_MANY,
        [QUEUE_TOLD] = DESTINATION_GUARDED,
    };
    return destinations[queue];
}

/* ---- drawn ---- */

static void draw_smooth(uint64_t draw, struct destination_facts *f) {
    f->limit_count = 1;
    f->limits[0].def = (struct pace_def){
        .mode = PACE_SMOOTH,
        .count = 200 + (uint32_t)(draw % 3000),
        .period_ns = NS_PER_SECOND,
        .burst = (draw >> 12) % 2 == 0 ? 0 : (uint32_t)(draw >> 13) % 20, /* 0: by turns */
    };
}

static void draw_strict(uint64_t draw, struct destination_facts *f) {
    f->limit_count = 1;
    f->limits[0].def = (struct pace_def){
        .mode = PACE_STRICT,
        .count = 10 + (uint32_t)(draw >> 20) % 90,
        .period_ns = (20 + (draw >> 30) % 200) * NS_PER_MS,
    };
}

/* About as fast as its queues are fed, so that now one limit holds them back and now another. */
static void draw_many(const struct sim *s, struct destination_facts *f) {
    uint64_t draw = sim_draw(s, 'p', 1);
    uint32_t rate = 6 + s->plan.clients * (2 + (uint32_t)(draw % 7));
    uint64_t period_ns = (100 + (draw >> 8) % 700) * NS_PER_MS;
    uint32_t strict = (uint32_t)(rate * period_ns / NS_PER_SECOND);
    f->limit_count = LIMITS_EACH;
    f->concurrency = 2 + (uint32_t)(draw >> 20) % 30;
    f->limits[0].def = (struct pace_def){
        .mode = PACE_SMOOTH, .count = rate, .period_ns = NS_PER_SECOND, .burst = 1 + rate / 8};
    f->limits[1].def =
        (struct pace_def){.mode = PACE_STRICT, .count = 2 + strict, .period_ns = period_ns};
    f->limits[2].def = (struct pace_def){.mode = PACE_SMOOTH,
                                         .count = 5 * rate,
                                         .period_ns = 4 * NS_PER_SECOND,
                                         .burst = 1 + (uint32_t)(draw >> 30) % (2 * rate)};
}

static void draw_breaker(uint64_t draw, struct breaker_def *b) {
    b->window_calls = 4 + (uint32_t)(draw % 16);
    b->minimum_calls = 1 + (uint32_t)(draw >> 8) % b->window_calls;
    b->failure_percent = 30 + (uint32_t)(draw >> 16) % 50;
    b->slow_ns = (draw >> 24) % 3 == 0 ? 8 * NS_PER_MS : 0;
    b->slow_percent = 60 + (uint32_t)(draw >> 28) % 41;
    b->probes = 1 + (uint32_t)(draw >> 36) % 5;
    b->open_ns = (20 + (draw >> 42) % 200) * NS_PER_MS;
    b->open_max_ns = b->open_ns * (1 + (draw >> 52) % 5);
}

static void draw_failover(uint64_t draw, struct destination_facts *f) {
    f->fails_over = true;
    f->failover.failures = 5 + (uint32_t)(draw % 40);
    f->failover.within_ns = (200 + (draw >> 8) % 2000) * NS_PER_MS;
    f->failover.every_ns = (10 + (draw >> 20) % 100) * NS_PER_MS;
    f->failover.pending_ns = (draw >> 30) % 2 == 0 ? 0 : (draw >> 32) % 300 * NS_PER_MS;
    f->failover.return_after_ns = (50 + (draw >> 42) % 500) * NS_PER_MS;
    f->failover.probes = 1 + (uint32_t)(draw >> 52) % 4;
    f->failover.manual_return = (draw >> 58) % 4 == 0;
}

static void draw_guarded(const struct sim *s, struct destination_facts *f) {
    uint64_t draw = sim_draw(s, 'p', 2);
    f->limit_count = 1;
    f->limits[0].def =
        (struct pace_def){.mode = PACE_SMOOTH,
                          .count = 20 + s->plan.clients * (4 + (uint32_t)(draw % 30)),
                          .period_ns = NS_PER_SECOND,
                          .burst = (uint32_t)(draw >> 8) % 10};
    f->budget = (struct budget_def){.percent = 5 + (uint32_t)(draw >> 16) % 40,
                                    .min_per_second = 1 + (uint32_t)(draw >> 24) % 10,
                                    .window_ns = (200 + (draw >> 32) % 2000) * NS_PER_MS};
    f->ramp.duration_ns = (draw >> 44) % 3 == 0 ? 0 : (50 + (draw >> 46) % 400) * NS_PER_MS;
    draw = sim_draw(s, 'p', 3);
    f->adaptive.ceiling = (draw >> 2) % 2 == 0 ? 0 : 4 + (uint32_t)(draw >> 4) % 30;
    f->endpoint_count = (draw >> 12) % 3 == 0 ? 0 : ENDPOINTS_EACH;
    f->balance.policy = (enum balance_policy)((draw >> 16) % (BALANCE_TWO_CHOICES + 1));
    f->balance.eject_errors = (uint32_t)(draw >> 24) % 6;
    f->balance.eject_ns = (10 + (draw >> 32) % 200) * NS_PER_MS;
    draw_breaker(sim_draw(s, 'p', 4), &f->breaker);
    draw_failover(sim_draw(s, 'p', 5), f);
}

/* What is not drawn is as a definition has it that says nothing. */
static void take_defaults(struct destination_facts *ret) {
    struct destination_def def;
    int error = destination_def_init(&def);
    assert(error == 0);
    ret->budget = def.budget;
    ret->breaker = def.breaker;
    ret->adaptive = def.adaptive;
    ret->balance = def.balance;
    destination_def_release(&def);
}

void destination_draw(const struct sim *s, unsigned destination, struct destination_facts *ret) {
    uint64_t draw = sim_draw(s, 'p', 0);
    take_defaults(ret);
    ret->timeout_ns = (50 + (draw >> 50) % 150) * NS_PER_MS;
    switch (destination) {
    case DESTINATION_SMOOTH:
        draw_smooth(draw, ret);
        break;
    case DESTINATION_STRICT:
        draw_strict(draw, ret);
        break;
    case DESTINATION_CAPPED:
        ret->concurrency = 4 + (uint32_t)(draw >> 44) % 28;
        break;
    case DESTINATION_MANY:
        draw_many(s, ret);
        break;
    case DESTINATION_GUARDED:
        draw_guarded(s, ret);
        break;
    case DESTINATION_SECOND:
        draw_smooth(draw >> 4, ret);
        ret->concurrency = 2 + (uint32_t)(draw >> 40) % 30;
        break;
    default:
        assert(!"no such destination");
    }
}

/* ---- definitions ---- */

static void add_limit(struct destination_def *def, const struct pace_def *limit) {
    struct limit_list *list = &def->limits;
    if (list->items == NULL)
        list->items = sim_alloc(LIMITS_EACH * sizeof(*list->items));
    list->items[list->count++] = *limit;
}

static void fill_endpoints(const struct destination_facts *facts, struct destination_def *ret) {
    if (facts->endpoint_count == 0)
        return;
    int error = def_set_text(&ret->url, span_text(""));
    ret->endpoints.items = sim_alloc(facts->endpoint_count * sizeof(*ret->endpoints.items));
    for (unsigned i = 0; i < facts->endpoint_count && error == 0; i++) {
        struct endpoint_def *e = &ret->endpoints.items[ret->endpoints.count++];
        error = endpoint_def_init(e);
        error = error != 0 ? error : def_set_text(&e->name, span_text(endpoint_names[i]));
        error = error != 0 ? error : def_set_text(&e->url, span_text("http://provider.example/"));
        e->weight = i + 1;
    }
    assert(error == 0);
}

static void fill_failover(const struct destination_facts *facts, struct destination_def *ret) {
    char *destination = ret->failover.destination, *queue = ret->failover.queue;
    if (!facts->fails_over)
        return;
    ret->failover = facts->failover;
    ret->failover.destination = destination;
    ret->failover.queue = queue;
    int error =
        def_set_text(&ret->failover.destination, span_text(destination_names[DESTINATION_SECOND]));
    assert(error == 0);
}

void destination_fill(const struct destination_facts *facts, unsigned destination,
                      const uint32_t *counts, struct destination_def *ret) {
    int error = destination_def_init(ret);
    error =
        error != 0 ? error : def_set_text(&ret->name, span_text(destination_names[destination]));
    error = error != 0 ? error : def_set_text(&ret->url, span_text("http://provider.example/"));
    assert(error == 0);
    for (unsigned i = 0; i < facts->limit_count; i++) {
        struct pace_def limit = facts->limits[i].def;
        limit.count = counts != NULL ? counts[i] : limit.count;
        if (i == 0)
            ret->pace = limit;
        else if (limit.count > 0)
            add_limit(ret, &limit);
    }
    ret->pace.concurrency = facts->concurrency;
    ret->breaker = facts->breaker;
    ret->budget = facts->budget;
    ret->ramp = facts->ramp;
    ret->adaptive = facts->adaptive;
    ret->balance = facts->balance;
    fill_endpoints(facts, ret);
    fill_failover(facts, ret);
    ret->timeout_ns = facts->timeout_ns;
    ret->connect_timeout_ns = facts->timeout_ns;
}

void destination_counts(const struct destination_facts *facts, const struct destination_def *def,
                        uint32_t ret_counts[LIMITS_EACH]) {
    for (unsigned i = 0; i < LIMITS_EACH; i++)
        ret_counts[i] = 0;
    ret_counts[0] = facts->limit_count > 0 ? def->pace.count : 0;
    for (unsigned i = 1; i < facts->limit_count; i++)
        for (uint32_t k = 0; k < def->limits.count; k++)
            if (def->limits.items[k].period_ns == facts->limits[i].def.period_ns)
                ret_counts[i] = def->limits.items[k].count;
}
