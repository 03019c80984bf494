#include "providers.h"

#include <string.h>

#include "desk.h"
#include "flights.h"
#include "guard.h"
#include "letters.h"
#include "shares.h"
#include "units.h"

#define INDICES_MAX 64u
#define EXCERPT     "what it said"

struct provider {
    struct destination_facts facts;
    struct guard *guard;      /* owns */
    uint64_t closed_until_ns; /* monotonic, by its Retry-After; 0: open */
    bool may_reopen;          /* somebody has asked for that, and has no answer yet */
    bool paused, pause_certain;
    bool redefining; /* asked for; no answer yet, or never */
};

struct flight {
    uint64_t message;
    uint64_t started_ns;
    uint64_t retry_after_ns;
    uint64_t timeout_ns;
    struct allowance allowed[LIMITS_EACH]; /* when it left */
    uint32_t letter, attempt;
    uint32_t life; /* of the process that sent it */
    uint16_t status;
    uint8_t error;
    uint8_t home, destination; /* of its queue; where it went */
    uint32_t ticket;           /* of its guard */
    uint64_t order;            /* of its end */
    bool success, retriable;
};

struct providers {
    struct provider items[DESTINATIONS];
    struct flights air;
    struct flight flights[FLIGHTS_MAX];
    uint32_t life;
    uint64_t ends;
    uint32_t in_flight[DESTINATIONS];
    uint8_t by_index[INDICES_MAX]; /* our number of a destination + 1, by the engine's */
};

struct providers *providers_create(struct sim *s) {
    struct providers *p = sim_alloc(sizeof(*p));
    flights_init(&p->air);
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        destination_draw(s, d, &p->items[d].facts);
        p->items[d].guard = guard_create(&p->items[d].facts);
        p->items[d].pause_certain = true;
    }
    return p;
}

void providers_free(struct providers *p) {
    for (unsigned d = 0; d < DESTINATIONS; d++)
        guard_free(p->items[d].guard);
    flights_release(&p->air);
    free(p);
}

struct destination_facts *provider_facts(const struct sim *s, unsigned destination) {
    return &s->providers->items[destination].facts;
}

struct guard *provider_guard(const struct sim *s, unsigned destination) {
    return s->providers->items[destination].guard;
}

uint32_t provider_index(const struct sim *s, unsigned destination) {
    for (uint32_t i = 0; i < INDICES_MAX; i++)
        if (s->providers->by_index[i] == destination + 1)
            return i;
    return UINT32_MAX;
}

/* ---- what is known of a destination ---- */

void providers_forget(struct sim *s) {
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        struct provider *p = &s->providers->items[d];
        for (unsigned i = 0; i < p->facts.limit_count; i++)
            watch_forget(&p->facts.limits[i]);
        p->closed_until_ns = 0;
    }
}

void provider_reopens(struct sim *s, unsigned destination, bool answered) {
    struct provider *p = &s->providers->items[destination];
    p->closed_until_ns = 0;
    p->may_reopen = !answered;
}

bool provider_redefine(struct sim *s, unsigned destination, const uint32_t counts[LIMITS_EACH]) {
    struct provider *p = &s->providers->items[destination];
    if (p->redefining)
        return false;
    p->redefining = true;
    for (unsigned i = 0; i < p->facts.limit_count; i++)
        watch_ask(&p->facts.limits[i], counts[i]);
    return true;
}

void provider_redefined(struct sim *s, unsigned destination, const uint32_t counts[LIMITS_EACH]) {
    struct provider *p = &s->providers->items[destination];
    p->redefining = false;
    for (unsigned i = 0; i < p->facts.limit_count; i++)
        watch_settle(&p->facts.limits[i], counts[i]);
}

void provider_not_redefined(struct sim *s, unsigned destination) {
    struct provider *p = &s->providers->items[destination];
    uint32_t counts[LIMITS_EACH] = {0};
    for (unsigned i = 0; i < p->facts.limit_count; i++)
        counts[i] = p->facts.limits[i].def.count;
    provider_redefined(s, destination, counts);
}

void provider_paused(struct sim *s, unsigned destination, bool paused, bool certain) {
    struct provider *p = &s->providers->items[destination];
    p->paused = paused;
    p->pause_certain = certain;
}

/* An answer that was lost may have been a yes: what is defined now says so. */
static void audit_limits(struct sim *s, unsigned destination, const struct request *get) {
    struct provider *p = &s->providers->items[destination];
    struct destination_def def;
    struct reader in;
    uint32_t counts[LIMITS_EACH];
    reader_init(&in, buffer_span(&get->out_bytes));
    int error = destination_def_decode(&in, &def);
    assert(error == 0);
    destination_counts(&p->facts, &def, counts);
    for (unsigned i = 0; i < p->facts.limit_count; i++) {
        const struct watch *w = &p->facts.limits[i];
        SIM_CHECK(s, counts[i] == w->def.count || (w->asked && counts[i] == w->asked_count),
                  "%s has a limit of %u, %u was defined", destination_names[destination], counts[i],
                  w->def.count);
    }
    if (p->redefining && s->looking)
        provider_redefined(s, destination, counts);
    destination_def_release(&def);
}

void provider_audit(struct sim *s, unsigned destination, const struct request *get) {
    struct provider *p = &s->providers->items[destination];
    bool paused = get->out.destination.paused;
    SIM_CHECK(s, !p->pause_certain || p->paused == paused, "the pause of %s is lost",
              destination_names[destination]);
    provider_paused(s, destination, paused, true);
    audit_limits(s, destination, get);
    guard_audit(s, destination, get);
}

bool provider_is_paused(const struct sim *s, unsigned destination) {
    return s->providers->items[destination].paused;
}

/* ---- what a provider does ---- */

/* Percent of good answers. The guarded one has bad spells. */
static uint64_t health_of(const struct sim *s, unsigned destination) {
    if (destination == DESTINATION_GUARDED)
        return sim_draw(s, 'g', s->now_ns / (250 * NS_PER_MS)) % 3 == 0 ? 10 : 90;
    return 50 + sim_draw(s, 'h', destination) % 50;
}

/* What the provider will make of it: a function of letter and attempt. Most is well. */
static void decide_answer(struct sim *s, struct flight *f) {
    uint64_t draw = sim_draw(s, 'a', (uint64_t)f->letter << 16 | f->attempt);
    uint64_t health = health_of(s, f->destination);
    uint64_t luck = draw % 100;
    if (s->draining || luck < health) {
        f->status = 200;
        f->success = true;
    } else if (luck % 8 == 0) {
        f->status = 422;
    } else if (luck % 8 == 1) {
        f->status = luck % 2 == 0 ? 429 : 503;
        f->retriable = true;
        f->retry_after_ns = (10 + (draw >> 8) % 300) * NS_PER_MS;
    } else if (luck % 8 == 2) {
        f->error = ATTEMPT_TIMEOUT;
        f->retriable = true;
    } else {
        f->status = 500;
        f->retriable = true;
    }
}

/* at_ns: a while ago, when the process was down or its disk slow meanwhile. */
static void arrive(struct sim *s, uint32_t flight, uint64_t at_ns) {
    struct providers *p = s->providers;
    struct flight *f = &p->flights[flight];
    struct destination_facts *to = &p->items[f->destination].facts;
    for (unsigned i = 0; i < to->limit_count; i++)
        if (to->limits[i].def.mode == PACE_STRICT)
            watch_arrival(s, &to->limits[i], destination_names[f->destination], f->allowed[i],
                          at_ns);
    if (f->life != p->life) { /* nobody waits for the answer any more */
        flights_give(&p->air, flight);
        return;
    }
    decide_answer(s, f);
    uint64_t draw = sim_draw(s, 's', (uint64_t)f->letter << 16 | f->attempt);
    uint64_t answer_ns = at_ns + (1 + draw % 12) * NS_PER_MS;
    uint64_t timeout_ns = f->started_ns + f->timeout_ns;
    if (f->error == ATTEMPT_TIMEOUT || answer_ns > timeout_ns) {
        f->status = 0;
        f->success = false;
        f->retriable = true;
        f->retry_after_ns = 0;
        f->error = ATTEMPT_TIMEOUT;
        answer_ns = timeout_ns;
    }
    flights_later(&s->providers->air, flight, FLIGHT_ENDS, answer_ns);
}

static void end(struct sim *s, uint32_t flight) {
    struct flight *f = &s->providers->flights[flight];
    if (f->life != s->providers->life) {
        flights_give(&s->providers->air, flight);
        return;
    }
    struct call *c = call_take(s, REQUEST_ATTEMPT_FINISH);
    f->order = ++s->providers->ends;
    c->letter = f->letter;
    c->flight = flight;
    c->q.r.in.finish = (struct attempt_finish){
        .message = f->message,
        .attempt = f->attempt,
        .status = f->status,
        .error = f->error,
        .retriable = f->retriable,
        .success = f->success,
        .duration_ns = s->now_ns - f->started_ns,
        .retry_after_ns = f->retry_after_ns,
        .excerpt = span_text(f->success ? "" : EXCERPT),
    };
    call_queue(s, c);
}

void providers_happen(struct sim *s) {
    struct heap_entry e;
    while (flights_next(&s->providers->air, s->now_ns, &e)) {
        if (e.kind == FLIGHT_ARRIVES)
            arrive(s, e.ref, e.due_ns);
        else
            end(s, e.ref);
    }
}

uint64_t providers_next_ns(const struct sim *s) {
    return flights_due_ns(&s->providers->air);
}

void providers_restart(struct sim *s) {
    s->providers->life++;
    memset(s->providers->in_flight, 0, sizeof(s->providers->in_flight));
    guards_restart(s);
    for (unsigned d = 0; d < DESTINATIONS; d++)
        provider_reopens(s, d, true);
}

/* ---- starts ---- */

/* The body as the dispatcher reads it. 0: it cannot be read now; *ret_error says why. */
static uint32_t read_letter(struct sim *s, const struct attempt_start *a, int *ret_error) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    *ret_error = engine_read_message(s->engine, a->message, a->address, &bytes, &stored);
    uint32_t tag = 0;
    if (*ret_error == 0) {
        tag = letter_of_body(s, stored.envelope.body);
        if (letter_at(s, tag)->id == 0)
            letter_accepted(s, tag, a->message, stored.accepted_ns);
        SIM_CHECK(s, letter_at(s, tag)->id == a->message, "the body of another message is sent");
    } else {
        SIM_CHECK(s, s->errors > 0 || sim_disk_crashed(s->disk),
                  "the body of %llx cannot be read: %s", (unsigned long long)a->message,
                  error_name(*ret_error));
        tag = letter_find(s, a->message);
    }
    buffer_release(&bytes);
    return tag;
}

static void check_start(struct sim *s, unsigned d, const struct letter *l,
                        const struct attempt_start *a) {
    struct providers *all = s->providers;
    struct provider *p = &all->items[d];
    SIM_CHECK(s, !p->pause_certain || !p->paused, "a start at a paused destination");
    SIM_CHECK(s, p->closed_until_ns <= s->now_ns, "a start before Retry-After is over");
    SIM_CHECK(s, p->facts.concurrency == 0 || all->in_flight[d] < p->facts.concurrency,
              "more under way than the destination's concurrency");
    SIM_CHECK(s, p->facts.adaptive.ceiling == 0 || all->in_flight[d] < p->facts.adaptive.ceiling,
              "more under way than the destination's adaptive limit may be");
    const struct queue_facts *q = &s->letters->queues[l->queue];
    SIM_CHECK(s, !q->paused || q->may_pause, "a start from a paused queue");
    if (d == DESTINATION_MANY)
        shares_start(s, l->queue);
    for (unsigned i = 0; i < p->facts.limit_count; i++)
        if (p->facts.limits[i].def.mode == PACE_SMOOTH)
            watch_start(s, &p->facts.limits[i], destination_names[d], a->ahead_ns, a->gap_ns != 0);
}

/* Our number of the destination that the engine names by an index. */
static unsigned destination_of(struct sim *s, uint32_t index) {
    struct providers *p = s->providers;
    assert(index < INDICES_MAX);
    if (p->by_index[index] == 0) {
        struct buffer bytes;
        struct destination_def def;
        struct reader in;
        uint32_t generation;
        buffer_init(&bytes, 1u << 20);
        int error = engine_destination(s->engine, index, &generation, &bytes);
        reader_init(&in, buffer_span(&bytes));
        error = error != 0 ? error : destination_def_decode(&in, &def);
        SIM_CHECK(s, error == 0, "a start at a destination that is not there");
        for (unsigned d = 0; d < DESTINATIONS; d++)
            if (strcmp(def.name, destination_names[d]) == 0)
                p->by_index[index] = (uint8_t)(d + 1);
        destination_def_release(&def);
        buffer_release(&bytes);
    }
    SIM_CHECK(s, p->by_index[index] != 0, "a start at a destination that nobody defined");
    return p->by_index[index] - 1u;
}

/* Of a folder that was imported: nobody knows it here, it is simply done. */
static void start_foreign(struct sim *s, const struct attempt_start *a) {
    uint32_t flight = flights_take(&s->providers->air);
    s->providers->flights[flight] = (struct flight){
        .message = a->message,
        .started_ns = s->now_ns,
        .attempt = a->attempt,
        .life = s->providers->life,
        .status = 200,
        .success = true,
    };
    flights_later(&s->providers->air, flight, FLIGHT_ENDS, s->now_ns + NS_PER_MS);
}

static uint64_t timeout_of(const struct sim *s, unsigned d, const struct letter *l) {
    uint64_t deadline_ns = s->letters->queues[l->queue].deadline_ns;
    return deadline_ns != 0 ? deadline_ns : s->providers->items[d].facts.timeout_ns;
}

static void start_one(struct sim *s, const struct attempt_start *a) {
    struct providers *p = s->providers;
    int error;
    if (desk_is_named(a->queue)) {
        desk_start(s, a);
        return;
    }
    if (strncmp(a->queue, "sim-", 4) != 0) {
        start_foreign(s, a);
        return;
    }
    uint32_t tag = read_letter(s, a, &error);
    SIM_CHECK(s, tag != 0, "a start of a message that nobody knows");
    int to = queue_destination(letter_at(s, tag)->queue);
    SIM_CHECK(s, to >= 0, "a start from a queue that is not pushed");
    unsigned d = destination_of(s, a->destination);
    uint64_t timeout_ns = timeout_of(s, d, letter_at(s, tag));
    SIM_CHECK(s, a->timeout_ns == timeout_ns, "an attempt of %llu us; %llu us were defined",
              (unsigned long long)a->timeout_ns / 1000, (unsigned long long)timeout_ns / 1000);
    uint32_t ticket = guards_start(s, (unsigned)to, d, a);
    check_start(s, d, letter_at(s, tag), a);
    letter_begins(s, tag, a->attempt);
    s->result->attempts++;
    uint32_t flight = flights_take(&p->air);
    p->flights[flight] = (struct flight){
        .message = a->message,
        .started_ns = s->now_ns,
        .letter = tag,
        .attempt = a->attempt,
        .life = p->life,
        .home = (uint8_t)to,
        .destination = (uint8_t)d,
        .ticket = ticket,
        .timeout_ns = timeout_ns,
    };
    for (unsigned i = 0; i < LIMITS_EACH; i++)
        p->flights[flight].allowed[i] = watch_allows(&p->items[d].facts.limits[i]);
    p->in_flight[d]++;
    if (error != 0) { /* as the dispatcher does it: it never left */
        struct flight *f = &p->flights[flight];
        f->error = error == E_CORRUPT || error == E_NOT_FOUND ? ATTEMPT_BODY_LOST : ATTEMPT_UNKNOWN;
        f->retriable = f->error != ATTEMPT_BODY_LOST;
        flights_later(&s->providers->air, flight, FLIGHT_ENDS, s->now_ns);
        return;
    }
    uint64_t draw = sim_draw(s, 'l', (uint64_t)tag << 16 | a->attempt);
    uint64_t latency_ns =
        draw % 50 == 0 ? (draw >> 8) % (timeout_ns * 9 / 10) : (draw >> 8) % (3 * NS_PER_MS);
    uint64_t turn_ns = a->decided_ns + a->ahead_ns; /* the dispatcher keeps it until then */
    p->flights[flight].started_ns = turn_ns > s->now_ns ? turn_ns : s->now_ns;
    flights_later(&s->providers->air, flight, FLIGHT_ARRIVES,
                  p->flights[flight].started_ns + latency_ns);
}

void providers_start(void *sim, const struct attempt_start *starts, size_t count) {
    struct sim *s = sim;
    for (size_t i = 0; i < count; i++)
        start_one(s, &starts[i]);
}

/* ---- ends ---- */

/* What the end makes of its letter, as the policy says: of MAY_GONE, MAY_ALIVE, MAY_DEAD what can be. */
static unsigned verdict_of(const struct sim *s, const struct attempt_finish *f,
                           const struct letter *l) {
    const struct queue_facts *q = &s->letters->queues[l->queue];
    if (f->success)
        return MAY_GONE;
    unsigned over = q->dead_letters ? MAY_DEAD : MAY_GONE;
    if (!f->retriable || f->attempt >= rule_most(&q->max_attempts))
        return over;
    return f->attempt < rule_least(&q->max_attempts) ? MAY_ALIVE : MAY_ALIVE | over;
}

void provider_finish_answered(struct sim *s, struct call *c) {
    const struct attempt_finish *f = &c->q.r.in.finish;
    struct letter *l = letter_at(s, c->letter);
    struct providers *p = s->providers;
    struct flight *flight = &p->flights[c->flight];
    if (c->q.r.refusal == REFUSAL_DISK_FULL) { /* the dispatcher asks again until there is room */
        SIM_CHECK(s, s->tight, "an attempt's end is refused: the disk is said to be full");
        flights_later(&s->providers->air, c->flight, FLIGHT_ENDS, s->now_ns + 20 * NS_PER_MS);
        return;
    }
    SIM_CHECK(s, c->q.r.refusal == REFUSAL_NONE, "an attempt's end is refused: %s",
              refusal_name(c->q.r.refusal));
    if (c->letter == 0) {
        flights_give(&p->air, c->flight);
        return;
    }
    guards_end(s, flight->home, flight->destination, flight->ticket, f);
    letter_ends(s, l);
    unsigned verdict = verdict_of(s, f, l);
    letter_set(s, l, verdict);
    l->delivered |= f->success;
    if (verdict & (verdict - 1))
        unit_letter_unsure(s, c->letter);
    else if (!f->success && verdict != MAY_ALIVE)
        unit_letter_died(s, c->letter);
    struct provider *to = &p->items[flight->destination];
    if (f->retry_after_ns != 0 && (f->status == 429 || f->status == 503) && !to->may_reopen) {
        /* From the decision on; the engine's clock may be a little fast. */
        uint64_t until_ns = s->turn_ns + f->retry_after_ns - f->retry_after_ns / 4000;
        to->closed_until_ns = until_ns > to->closed_until_ns ? until_ns : to->closed_until_ns;
    }
    assert(p->in_flight[flight->destination] > 0);
    p->in_flight[flight->destination]--;
    flights_give(&p->air, c->flight);
}

void provider_finish_lost(struct sim *s, struct call *c) {
    const struct attempt_finish *f = &c->q.r.in.finish;
    const struct flight *flight = &s->providers->flights[c->flight];
    flights_give(&s->providers->air, c->flight);
    if (c->letter == 0)
        return;
    guards_end_lost(s, flight->home, flight->destination, flight->ticket, f, flight->order);
    struct letter *l = letter_at(s, c->letter);
    unsigned verdict = verdict_of(s, f, l);
    letter_set(s, l, l->may | verdict);
    if (!f->success && verdict != MAY_ALIVE)
        unit_letter_unsure(s, c->letter);
}
