#include "desk.h"

#include <string.h>

#include "flights.h"
#include "tenants.h"
#include "traffic.h"
#include "watch.h"

#define BULK_PERIODS 60u /* ms of its limit, at least */

struct slip_flight {
    uint64_t message, started_ns;
    uint32_t tag, attempt, life;
    uint8_t desk;
    bool takes_token;
    struct allowance allowed;
    uint16_t status;
    uint8_t error;
    bool retriable, success;
};

struct desk_services {
    struct slip_flight flights[FLIGHTS_MAX];
    struct flights air;
    uint32_t life;
    uint32_t out[DESKS]; /* requests under way, as their places are counted */
    struct watch bulk;
    uint32_t bulk_places;
    bool token_per_message;
    uint64_t timeout_ns;
};

struct desk_services *desk_services_create(struct sim *s) {
    struct desk_services *p = sim_alloc(sizeof(*p));
    uint64_t draw = sim_draw(s, 'D', 40);
    flights_init(&p->air);
    p->token_per_message = draw % 2 == 0;
    p->bulk_places = 1 + (uint32_t)(draw >> 4) % 6;
    p->bulk.def = (struct pace_def){.mode = PACE_STRICT,
                                    .count = 2 + (uint32_t)(draw >> 10) % 30,
                                    .period_ns = (BULK_PERIODS + (draw >> 20) % 300) * NS_PER_MS};
    p->timeout_ns = (40 + (draw >> 40) % 100) * NS_PER_MS;
    return p;
}

void desk_services_free(struct desk_services *p) {
    flights_release(&p->air);
    free(p);
}

/* ---- definitions ---- */

static void set_text(char **field, const char *text) {
    int error = def_set_text(field, span_text(text));
    assert(error == 0);
}

static void fill_bank(const struct sim *s, struct destination_def *def) {
    const struct slips *l = s->slips;
    set_text(&def->confirm.statuses, "202");
    def->confirm.deadline_ns = l->confirm_ns;
    def->confirm.at_deadline = l->missed_is_dead ? CONFIRM_DEADLINE_DEAD : CONFIRM_DEADLINE_RETRY;
    def->confirm.holds_place = l->holds_place;
    def->pace.concurrency = l->places;
}

static void fill_bulk(const struct sim *s, struct destination_def *def) {
    const struct desk_services *p = s->desk_services;
    uint64_t draw = sim_draw(s, 'D', 41);
    def->pace = p->bulk.def;
    def->pace.concurrency = p->bulk_places;
    def->batch.max_messages = s->slips->batch_most;
    def->batch.max_bytes = 1000 + (uint32_t)(draw % 20000);
    def->batch.wait_ns = (1 + (draw >> 20) % 30) * NS_PER_MS;
    def->batch.token = p->token_per_message ? BATCH_TOKEN_MESSAGE : BATCH_TOKEN_REQUEST;
}

static bool define_destination(struct sim *s, unsigned desk) {
    const char *name = s->slips->desks[desk].destination;
    bool there;
    if (name == NULL)
        return true;
    if (!clients_exists(s, REQUEST_DESTINATION_GET, name, &there) || there)
        return there;
    struct call *c = call_take(s, REQUEST_DESTINATION_DEFINE);
    struct destination_def *def = &c->destination_def;
    int error = destination_def_init(def);
    assert(error == 0);
    set_text(&def->name, name);
    set_text(&def->url, "http://provider.example/");
    if (desk == DESK_BANK)
        fill_bank(s, def);
    else if (desk == DESK_BULK)
        fill_bulk(s, def);
    def->timeout_ns = def->connect_timeout_ns = s->desk_services->timeout_ns;
    c->q.r.name = span_text(name);
    c->q.r.in.define.destination = def;
    return clients_ask_now(s, c);
}

static void fill_rules(const struct sim *s, unsigned desk, struct queue_def *def) {
    const struct slips *l = s->slips;
    if (desk == DESK_ONCE) {
        def->dedup = DEDUP_BY_HEADER;
        def->unique_until = l->until_delivered ? UNIQUE_UNTIL_DELIVERED : UNIQUE_FOR_WINDOW;
        def->dedup_ttl_ns = l->until_delivered ? 0 : l->window_ns;
        def->unique_answer = l->refuses_twins ? UNIQUE_REFUSES : UNIQUE_GIVES_RECEIPT;
    }
    if (desk != DESK_FAIR)
        return;
    set_text(&def->tenant_header, "X-Tenant");
    def->tenant_weights.items = sim_alloc(2 * sizeof(*def->tenant_weights.items));
    for (unsigned i = 0; i < 2; i++) {
        struct weight_def *w = &def->tenant_weights.items[def->tenant_weights.count++];
        int error = weight_def_init(w);
        assert(error == 0);
        set_text(&w->tenant, tenant_names[i + 1]);
        w->weight = tenant_weight(s, i + 1);
    }
}

static bool define_queue(struct sim *s, unsigned desk) {
    const struct desk_facts *facts = &s->slips->desks[desk];
    bool there;
    if (!clients_exists(s, REQUEST_QUEUE_GET, facts->name, &there) || there)
        return there;
    struct queue_def def;
    int error = queue_def_init(&def);
    assert(error == 0);
    set_text(&def.name, facts->name);
    if (facts->destination != NULL)
        set_text(&def.destination, facts->destination);
    def.max_messages = facts->max_messages;
    def.dead_letters = true;
    def.retry = (struct retry_def){.max_attempts = facts->max_attempts,
                                   .min_backoff_ns = 2 * NS_PER_MS,
                                   .max_backoff_ns = 60 * NS_PER_MS,
                                   .max_doublings = 4,
                                   .statuses = def.retry.statuses};
    fill_rules(s, desk, &def);
    return clients_define_queue(s, &def);
}

bool desks_define(struct sim *s) {
    bool done = true;
    for (unsigned d = 0; done && d < DESKS; d++)
        done = define_destination(s, d) && define_queue(s, d);
    return done;
}

/* ---- starts ---- */

bool desk_is_named(const char *queue) {
    return strncmp(queue, "desk-", 5) == 0;
}

static unsigned desk_of(struct sim *s, const char *queue) {
    for (unsigned d = 0; d < DESKS; d++)
        if (strcmp(s->slips->desks[d].name, queue) == 0)
            return d;
    sim_fail(s, "a start out of %s, nobody defined that", queue);
}

/* As the dispatcher reads it. 0: nobody knows it. */
static uint32_t read_slip(struct sim *s, uint64_t id, uint64_t address, int *ret_error) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    *ret_error = engine_read_message(s->engine, id, address, &bytes, &stored);
    uint32_t tag = 0;
    if (*ret_error == 0) {
        tag = slip_of_body(s, stored.envelope.body);
        slip_accepted(s, tag, id, stored.accepted_ns);
        SIM_CHECK(s, stored.priority == slip_priority(slip_at(s, tag)->last_version),
                  "slip %u is edited in part: its priority is %u", tag, stored.priority);
    } else {
        SIM_CHECK(s, s->errors > 0 || sim_disk_crashed(s->disk), "slip %llx cannot be read: %s",
                  (unsigned long long)id, error_name(*ret_error));
        tag = slip_find(s, id);
    }
    buffer_release(&bytes);
    return tag;
}

/* Those that wait for their confirmation for certain, and what is out. */
static void check_places(struct sim *s) {
    const struct slips *l = s->slips;
    uint32_t taken = s->desk_services->out[DESK_BANK];
    for (uint32_t tag = 1; l->holds_place && tag < l->count; tag++) {
        const struct slip *other = slip_at(s, tag);
        taken += other->confirming && sim_engine_ns(s) < other->confirm_from_ns &&
                 other->may == SLIP_WAITS(DESK_BANK);
    }
    SIM_CHECK(s, taken < l->places, "%u are at the bank, %u may", taken + 1, l->places);
}

static void check_request(struct sim *s, unsigned desk, const struct attempt_start *a) {
    struct desk_services *p = s->desk_services;
    SIM_CHECK(s, a->timeout_ns == p->timeout_ns, "an attempt of %llu us, %llu us were defined",
              (unsigned long long)a->timeout_ns / 1000, (unsigned long long)p->timeout_ns / 1000);
    SIM_CHECK(s, desk == DESK_BULK || a->item_count == 0, "a batch out of %s",
              s->slips->desks[desk].name);
    SIM_CHECK(s, a->item_count < s->slips->batch_most, "a batch of %u", a->item_count + 1);
    if (desk == DESK_BANK)
        check_places(s);
    if (desk == DESK_BULK)
        SIM_CHECK(s, p->out[DESK_BULK] < p->bulk_places, "%u batches are under way, %u may",
                  p->out[DESK_BULK] + 1, p->bulk_places);
}

static void start_slip(struct sim *s, unsigned desk, const struct attempt_start *a,
                       const struct attempt_item *item, uint64_t latency_ns) {
    struct desk_services *p = s->desk_services;
    int error;
    uint32_t tag = read_slip(s, item->message, item->address, &error);
    SIM_CHECK(s, tag != 0, "a start of a slip that nobody knows");
    if (desk == DESK_FAIR)
        tenants_start(s, slip_at(s, tag)->tenant);
    slip_begins(s, tag, desk, item->attempt);
    s->result->attempts++;
    uint32_t flight = flights_take(&p->air);
    uint64_t turn_ns = a->decided_ns + a->ahead_ns; /* the dispatcher keeps it until then */
    bool first = item->message == a->message;
    p->flights[flight] = (struct slip_flight){
        .message = item->message,
        .started_ns = turn_ns > s->now_ns ? turn_ns : s->now_ns,
        .tag = tag,
        .attempt = item->attempt,
        .life = p->life,
        .desk = (uint8_t)desk,
        .takes_token = first || p->token_per_message,
        .allowed = watch_allows(&p->bulk),
    };
    struct slip_flight *f = &p->flights[flight];
    p->out[desk] += f->takes_token;
    if (error == 0) {
        flights_later(&s->desk_services->air, flight, FLIGHT_ARRIVES, f->started_ns + latency_ns);
        return;
    }
    f->error = error == E_CORRUPT || error == E_NOT_FOUND ? ATTEMPT_BODY_LOST : ATTEMPT_UNKNOWN;
    f->retriable = f->error != ATTEMPT_BODY_LOST;
    flights_later(&s->desk_services->air, flight, FLIGHT_ENDS, s->now_ns);
}

void desk_start(struct sim *s, const struct attempt_start *a) {
    unsigned desk = desk_of(s, a->queue);
    struct attempt_item first = {a->message, a->address, a->attempt};
    uint64_t draw = sim_draw(s, 'D' ^ 0x80, a->message << 8 | a->attempt);
    uint64_t latency_ns = draw % (2 * NS_PER_MS);
    check_request(s, desk, a);
    s->result->batched += a->item_count;
    start_slip(s, desk, a, &first, latency_ns);
    for (uint32_t i = 0; i < a->item_count; i++)
        start_slip(s, desk, a, &a->items[i], latency_ns);
    free(a->items);
}

/* ---- what a service does ---- */

/* Few are well: what people work on is what went wrong. */
static void decide_answer(struct sim *s, struct slip_flight *f) {
    uint64_t draw = sim_draw(s, 'D' ^ 0x81, (uint64_t)f->tag << 16 | f->attempt);
    uint64_t luck = draw % 100;
    bool takes = f->desk == DESK_BANK && (draw >> 8) % 4 != 0;
    if (s->draining || luck < 60) {
        f->status = takes && !s->draining ? 202 : 200;
        f->success = true;
    } else if (luck < 75) {
        f->status = 422;
    } else if (luck < 80) {
        f->error = ATTEMPT_TIMEOUT;
        f->retriable = true;
    } else {
        f->status = 500;
        f->retriable = true;
    }
}

static void arrive(struct sim *s, uint32_t flight, uint64_t at_ns) {
    struct desk_services *p = s->desk_services;
    struct slip_flight *f = &p->flights[flight];
    if (f->desk == DESK_BULK && f->takes_token)
        watch_arrival(s, &p->bulk, "desk-bulk", f->allowed, at_ns);
    if (f->life != p->life) {
        flights_give(&p->air, flight);
        return;
    }
    decide_answer(s, f);
    uint64_t service_ns =
        (1 + sim_draw(s, 'D' ^ 0x82, f->started_ns) % 10) * NS_PER_MS; /* one of a batch */
    flights_later(&s->desk_services->air, flight, FLIGHT_ENDS,
                  f->error == ATTEMPT_TIMEOUT ? f->started_ns + p->timeout_ns : at_ns + service_ns);
}

static void end(struct sim *s, uint32_t flight) {
    struct slip_flight *f = &s->desk_services->flights[flight];
    if (f->life != s->desk_services->life) {
        flights_give(&s->desk_services->air, flight);
        return;
    }
    struct call *c = call_take(s, REQUEST_ATTEMPT_FINISH);
    c->traffic = &traffic_slip_end;
    c->slip = f->tag;
    c->desk = f->desk;
    c->flight = flight;
    c->order = ++s->slips->asked;
    c->q.r.in.finish = (struct attempt_finish){
        .message = f->message,
        .attempt = f->attempt,
        .status = f->status,
        .error = f->error,
        .retriable = f->retriable,
        .success = f->success,
        .duration_ns = s->now_ns - f->started_ns,
        .excerpt = span_text(f->success ? "" : "no"),
        .shared = f->desk == DESK_BULK,
        .answer_status = 200,
    };
    call_queue(s, c);
}

void desks_happen(struct sim *s) {
    struct heap_entry e;
    while (flights_next(&s->desk_services->air, s->now_ns, &e)) {
        if (e.kind == FLIGHT_ARRIVES)
            arrive(s, e.ref, e.due_ns);
        else
            end(s, e.ref);
    }
}

uint64_t desks_next_ns(const struct sim *s) {
    return flights_due_ns(&s->desk_services->air);
}

void desks_restart(struct sim *s) {
    s->desk_services->life++;
    memset(s->desk_services->out, 0, sizeof(s->desk_services->out));
}

void desks_forget(struct sim *s) {
    watch_forget(&s->desk_services->bulk);
}

/* ---- ends ---- */

/* As the policy says; of one whose outcome was told before, as that says. */
static unsigned verdict_of(const struct sim *s, const struct call *c) {
    const struct attempt_finish *f = &c->q.r.in.finish;
    const struct slip *l = slip_at(s, c->slip);
    if (l->told != 0)
        return slip_told(s, c->slip, (enum confirm_outcome)l->told);
    if (f->status == 202)
        return SLIP_WAITS(DESK_BANK);
    if (f->success)
        return SLIP_GONE;
    bool again = f->retriable && f->attempt < s->slips->desks[c->desk].max_attempts;
    return again ? SLIP_WAITS(c->desk) : SLIP_DEAD(c->desk);
}

static void end_answered(struct sim *s, struct call *c) {
    struct desk_services *p = s->desk_services;
    struct slip *l = slip_at(s, c->slip);
    struct slip_flight *f = &p->flights[c->flight];
    if (c->q.r.refusal == REFUSAL_DISK_FULL) { /* the dispatcher asks again until there is room */
        SIM_CHECK(s, s->tight, "a slip's end is refused: the disk is said to be full");
        flights_later(&s->desk_services->air, c->flight, FLIGHT_ENDS, s->now_ns + 20 * NS_PER_MS);
        return;
    }
    SIM_CHECK(s, c->q.r.refusal == REFUSAL_NONE, "a slip's end is refused: %s",
              refusal_name(c->q.r.refusal));
    unsigned verdict = verdict_of(s, c);
    bool waits = l->told == 0 && f->status == 202;
    l->under_way = l->told = 0;
    l->settled = c->order;
    l->confirming = waits;
    l->confirm_from_ns = s->turn_engine_ns + s->slips->confirm_ns;
    l->confirm_until_ns = sim_engine_ns(s) + s->slips->confirm_ns;
    slip_set(s, c->slip, verdict);
    assert(p->out[f->desk] >= f->takes_token);
    p->out[f->desk] -= f->takes_token;
    flights_give(&p->air, c->flight);
}

static void end_lost(struct sim *s, struct call *c) {
    flights_give(&s->desk_services->air, c->flight);
    slip_set(s, c->slip, slip_at(s, c->slip)->may | verdict_of(s, c));
}

const struct traffic traffic_slip_end = {0, REQUEST_ATTEMPT_FINISH, NULL, end_answered, end_lost};
