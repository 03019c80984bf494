#include "providers.h"

#include <string.h>

#include "letters.h"
#include "units.h"

#define SEEN_MAX    1024u /* a ring */
#define STARTS_LOOK 96u
#define FLIGHTS_MAX 8192u
#define EXCERPT     "what it said"

struct moment {
    uint64_t from_ns, to_ns; /* the decision was made in between */
};

struct provider {
    struct pace_def pace;
    uint64_t timeout_ns;
    uint64_t seen[SEEN_MAX]; /* ring: when requests arrived, its clock */
    uint64_t seen_count;
    struct moment starts[SEEN_MAX]; /* ring */
    uint64_t starts_count;
    uint64_t closed_until_ns; /* monotonic, by its Retry-After; 0: open */
    uint32_t
        loose_count; /* after a new pace was asked for: the most that any of them allows, ... */
    uint64_t loose_until_ns; /* ... while what was sent by the one before is on its way; 0: over */
    bool paused, pause_certain;
};

enum flight_event { FLIGHT_ARRIVES = 1, FLIGHT_ENDS = 2 };

struct flight {
    uint64_t message;
    uint64_t started_ns;
    uint64_t retry_after_ns;
    uint32_t letter, attempt;
    uint32_t life; /* of the process that sent it */
    uint32_t next_free;
    uint16_t status;
    uint8_t error;
    uint8_t destination;
    bool success, retriable, unsent;
};

struct providers {
    struct provider items[DESTINATIONS];
    struct heap events;
    struct flight flights[FLIGHTS_MAX];
    uint32_t free; /* index, 0: none */
    uint32_t used;
    uint32_t life;
    uint32_t in_flight[DESTINATIONS];
};

static void ignore_move(void *owner, const struct heap_entry *e, uint32_t index) {
    (void)owner;
    (void)e;
    (void)index;
}

struct providers *providers_create(struct sim *s) {
    struct providers *p = sim_alloc(sizeof(*p));
    heap_init(&p->events, p, ignore_move);
    p->used = 1;
    uint64_t draw = sim_draw(s, 'p', 0);
    p->items[DESTINATION_SMOOTH].pace = (struct pace_def){
        .mode = PACE_SMOOTH,
        .count = 200 + (uint32_t)(draw % 3000),
        .period_ns = NS_PER_SECOND,
        .burst = (uint32_t)(draw >> 12) % 20,
    };
    p->items[DESTINATION_STRICT].pace = (struct pace_def){
        .mode = PACE_STRICT,
        .count = 10 + (uint32_t)(draw >> 20) % 90,
        .period_ns = (20 + (draw >> 30) % 200) * NS_PER_MS,
    };
    p->items[DESTINATION_CAPPED].pace = (struct pace_def){
        .concurrency = 4 + (uint32_t)(draw >> 44) % 28, .period_ns = NS_PER_SECOND};
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        p->items[d].timeout_ns = (50 + (draw >> 50) % 150) * NS_PER_MS;
        p->items[d].pause_certain = true;
    }
    return p;
}

void providers_free(struct providers *p) {
    heap_release(&p->events);
    free(p);
}

const struct pace_def *provider_pace(const struct sim *s, unsigned destination) {
    return &s->providers->items[destination].pace;
}

uint64_t provider_timeout_ns(const struct sim *s, unsigned destination) {
    return s->providers->items[destination].timeout_ns;
}

/* ---- pace ---- */

static uint32_t count_of(const struct sim *s, struct provider *p) {
    if (p->loose_until_ns == 0)
        return p->pace.count;
    if (s->now_ns < p->loose_until_ns)
        return p->loose_count > p->pace.count ? p->loose_count : p->pace.count;
    p->loose_until_ns = p->loose_count = 0;
    p->seen_count = p->starts_count = 0;
    return p->pace.count;
}

static void check_strict(struct sim *s, unsigned d, uint64_t now) {
    struct provider *p = &s->providers->items[d];
    uint32_t count = count_of(s, p);
    if (p->seen_count >= count) {
        uint64_t first = p->seen[(p->seen_count - count) % SEEN_MAX];
        /* A catching-up clock is at most 200 ppm fast. */
        uint64_t least = p->pace.period_ns - p->pace.period_ns / 4000;
        SIM_CHECK(s, now - first >= least,
                  "the strict provider sees %u requests within %llu us, %u are allowed in %llu us",
                  count + 1, (unsigned long long)(now - first) / 1000, count,
                  (unsigned long long)p->pace.period_ns / 1000);
    }
    p->seen[p->seen_count++ % SEEN_MAX] = now;
}

static void check_smooth(struct sim *s, unsigned d) {
    struct provider *p = &s->providers->items[d];
    struct moment now = {.from_ns = s->turn_ns, .to_ns = s->now_ns};
    uint32_t count = count_of(s, p);
    struct pace_def pace = p->pace;
    pace.count = count;
    uint32_t burst = pace_burst(&pace);
    for (uint64_t back = 1; back <= STARTS_LOOK && back <= p->starts_count; back++) {
        struct moment m = p->starts[(p->starts_count - back) % SEEN_MAX];
        uint64_t window = now.to_ns - m.from_ns;
        window += window / 4000;
        uint64_t most = burst + 1 + window / (pace.period_ns / count);
        SIM_CHECK(s, back + 1 <= most,
                  "%llu starts within %llu us at the smooth destination, %llu are allowed",
                  (unsigned long long)back + 1, (unsigned long long)window / 1000,
                  (unsigned long long)most);
    }
    p->starts[p->starts_count++ % SEEN_MAX] = now;
}

void providers_forget(struct sim *s) {
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        struct provider *p = &s->providers->items[d];
        p->seen_count = p->starts_count = 0;
        p->closed_until_ns = 0;
    }
}

void provider_pace_defined(struct sim *s, unsigned destination, const struct pace_def *pace,
                           bool asked) {
    struct provider *p = &s->providers->items[destination];
    uint32_t most = p->pace.count > pace->count ? p->pace.count : pace->count;
    p->loose_count = most > p->loose_count ? most : p->loose_count;
    p->loose_until_ns = UINT64_MAX;
    if (asked)
        return;
    p->pace.count = pace->count;
    p->loose_until_ns = s->now_ns + 2 * p->pace.period_ns + 2 * p->timeout_ns;
}

void provider_paused(struct sim *s, unsigned destination, bool paused, bool certain) {
    struct provider *p = &s->providers->items[destination];
    p->paused = paused;
    p->pause_certain = certain;
}

void provider_audit(struct sim *s, unsigned destination, bool paused) {
    struct provider *p = &s->providers->items[destination];
    SIM_CHECK(s, !p->pause_certain || p->paused == paused, "the pause of %s is lost",
              destination_names[destination]);
    provider_paused(s, destination, paused, true);
}

bool provider_is_paused(const struct sim *s, unsigned destination) {
    return s->providers->items[destination].paused;
}

/* ---- what a provider does ---- */

static void later(struct sim *s, uint32_t flight, enum flight_event event, uint64_t at_ns) {
    int error = heap_insert(&s->providers->events,
                            (struct heap_entry){.due_ns = at_ns, .ref = flight, .kind = event});
    assert(error == 0);
}

static uint32_t flight_take(struct providers *p) {
    uint32_t flight = p->free;
    if (flight != 0)
        p->free = p->flights[flight].next_free;
    else
        flight = p->used++;
    assert(flight < FLIGHTS_MAX);
    return flight;
}

static void flight_give(struct providers *p, uint32_t flight) {
    p->flights[flight].next_free = p->free;
    p->free = flight;
}

/* What the provider will make of it: a function of letter and attempt. Most is well. */
static void decide_answer(struct sim *s, struct flight *f) {
    uint64_t draw = sim_draw(s, 'a', (uint64_t)f->letter << 16 | f->attempt);
    uint64_t health = 50 + sim_draw(s, 'h', f->destination) % 50;
    uint64_t luck = draw % 100;
    *f = (struct flight){.message = f->message,
                         .started_ns = f->started_ns,
                         .letter = f->letter,
                         .attempt = f->attempt,
                         .life = f->life,
                         .destination = f->destination};
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
    const struct provider *to = &p->items[f->destination];
    if (to->pace.mode == PACE_STRICT && to->pace.count != 0)
        check_strict(s, f->destination, at_ns);
    if (f->life != p->life) { /* nobody waits for the answer any more */
        flight_give(p, flight);
        return;
    }
    decide_answer(s, f);
    uint64_t draw = sim_draw(s, 's', (uint64_t)f->letter << 16 | f->attempt);
    uint64_t answer_ns = at_ns + (1 + draw % 12) * NS_PER_MS;
    uint64_t timeout_ns = f->started_ns + to->timeout_ns;
    if (f->error == ATTEMPT_TIMEOUT || answer_ns > timeout_ns) {
        f->status = 0;
        f->success = false;
        f->retriable = true;
        f->retry_after_ns = 0;
        f->error = ATTEMPT_TIMEOUT;
        answer_ns = timeout_ns;
    }
    later(s, flight, FLIGHT_ENDS, answer_ns);
}

static void end(struct sim *s, uint32_t flight) {
    struct flight *f = &s->providers->flights[flight];
    if (f->life != s->providers->life) {
        flight_give(s->providers, flight);
        return;
    }
    struct call *c = call_take(s, REQUEST_ATTEMPT_FINISH);
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
    struct heap *events = &s->providers->events;
    const struct heap_entry *first;
    while ((first = heap_first(events)) != NULL && first->due_ns <= s->now_ns) {
        struct heap_entry e = *first;
        heap_remove(events, 1);
        if (e.kind == FLIGHT_ARRIVES)
            arrive(s, e.ref, e.due_ns);
        else
            end(s, e.ref);
    }
}

uint64_t providers_next_ns(const struct sim *s) {
    const struct heap_entry *first = heap_first(&s->providers->events);
    return first != NULL ? first->due_ns : UINT64_MAX;
}

void providers_restart(struct sim *s) {
    s->providers->life++;
    memset(s->providers->in_flight, 0, sizeof(s->providers->in_flight));
    for (unsigned d = 0; d < DESTINATIONS; d++)
        s->providers->items[d].closed_until_ns = 0;
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

static void check_start(struct sim *s, unsigned d, const struct letter *l) {
    struct providers *all = s->providers;
    struct provider *p = &all->items[d];
    SIM_CHECK(s, !p->pause_certain || !p->paused, "a start at a paused destination");
    SIM_CHECK(s, p->closed_until_ns <= s->now_ns, "a start before Retry-After is over");
    SIM_CHECK(s, p->pace.concurrency == 0 || all->in_flight[d] < p->pace.concurrency,
              "more under way than the destination's concurrency");
    const struct queue_facts *q = &s->letters->queues[l->queue];
    SIM_CHECK(s, !q->paused || q->may_pause, "a start from a paused queue");
    if (p->pace.mode == PACE_SMOOTH && p->pace.count != 0)
        check_smooth(s, d);
}

/* Of a folder that was imported: nobody knows it here, it is simply done. */
static void start_foreign(struct sim *s, const struct attempt_start *a) {
    uint32_t flight = flight_take(s->providers);
    s->providers->flights[flight] = (struct flight){
        .message = a->message,
        .started_ns = s->now_ns,
        .attempt = a->attempt,
        .life = s->providers->life,
        .status = 200,
        .success = true,
    };
    later(s, flight, FLIGHT_ENDS, s->now_ns + NS_PER_MS);
}

static void start_one(struct sim *s, const struct attempt_start *a) {
    struct providers *p = s->providers;
    int error;
    if (strncmp(a->queue, "sim-", 4) != 0) {
        start_foreign(s, a);
        return;
    }
    uint32_t tag = read_letter(s, a, &error);
    SIM_CHECK(s, tag != 0, "a start of a message that nobody knows");
    int to = queue_destination(letter_at(s, tag)->queue);
    SIM_CHECK(s, to >= 0, "a start from a queue that is not pushed");
    unsigned d = (unsigned)to;
    check_start(s, d, letter_at(s, tag));
    letter_begins(s, tag, a->attempt);
    s->result->attempts++;
    uint32_t flight = flight_take(p);
    p->flights[flight] = (struct flight){
        .message = a->message,
        .started_ns = s->now_ns,
        .letter = tag,
        .attempt = a->attempt,
        .life = p->life,
        .destination = (uint8_t)d,
    };
    p->in_flight[d]++;
    if (error != 0) { /* as the dispatcher does it: it never left */
        struct flight *f = &p->flights[flight];
        f->error = error == E_CORRUPT || error == E_NOT_FOUND ? ATTEMPT_BODY_LOST : ATTEMPT_UNKNOWN;
        f->retriable = f->error != ATTEMPT_BODY_LOST;
        later(s, flight, FLIGHT_ENDS, s->now_ns);
        return;
    }
    uint64_t draw = sim_draw(s, 'l', (uint64_t)tag << 16 | a->attempt);
    uint64_t latency_ns = draw % 50 == 0 ? (draw >> 8) % (p->items[d].timeout_ns * 9 / 10)
                                         : (draw >> 8) % (3 * NS_PER_MS);
    later(s, flight, FLIGHT_ARRIVES, s->now_ns + latency_ns);
}

void providers_start(void *sim, const struct attempt_start *starts, size_t count) {
    struct sim *s = sim;
    for (size_t i = 0; i < count; i++)
        start_one(s, &starts[i]);
}

/* ---- ends ---- */

/* What the end makes of its letter, as the policy says: MAY_GONE, MAY_ALIVE, MAY_DEAD. */
static unsigned verdict_of(const struct sim *s, const struct attempt_finish *f,
                           const struct letter *l) {
    const struct queue_facts *q = &s->letters->queues[l->queue];
    if (f->success)
        return MAY_GONE;
    if (f->retriable && (q->max_attempts == 0 || f->attempt < q->max_attempts))
        return MAY_ALIVE;
    return q->dead_letters ? MAY_DEAD : MAY_GONE;
}

static bool dies(const struct sim *s, const struct attempt_finish *f, const struct letter *l) {
    return !f->success && verdict_of(s, f, l) != MAY_ALIVE;
}

void provider_finish_answered(struct sim *s, struct call *c) {
    const struct attempt_finish *f = &c->q.r.in.finish;
    struct letter *l = letter_at(s, c->letter);
    struct providers *p = s->providers;
    struct flight *flight = &p->flights[c->flight];
    if (c->q.r.refusal == REFUSAL_DISK_FULL) { /* the dispatcher asks again until there is room */
        SIM_CHECK(s, s->tight, "an attempt's end is refused: the disk is said to be full");
        later(s, c->flight, FLIGHT_ENDS, s->now_ns + 20 * NS_PER_MS);
        return;
    }
    SIM_CHECK(s, c->q.r.refusal == REFUSAL_NONE, "an attempt's end is refused: %s",
              refusal_name(c->q.r.refusal));
    if (c->letter == 0) {
        flight_give(p, c->flight);
        return;
    }
    letter_ends(s, l);
    letter_set(s, l, verdict_of(s, f, l));
    l->delivered |= f->success;
    if (dies(s, f, l))
        unit_letter_died(s, c->letter);
    if (f->retry_after_ns != 0 && (f->status == 429 || f->status == 503)) {
        /* From the decision on; the engine's clock may be a little fast. */
        uint64_t until_ns = s->turn_ns + f->retry_after_ns - f->retry_after_ns / 4000;
        struct provider *to = &p->items[flight->destination];
        to->closed_until_ns = until_ns > to->closed_until_ns ? until_ns : to->closed_until_ns;
    }
    assert(p->in_flight[flight->destination] > 0);
    p->in_flight[flight->destination]--;
    flight_give(p, c->flight);
}

void provider_finish_lost(struct sim *s, struct call *c) {
    const struct attempt_finish *f = &c->q.r.in.finish;
    flight_give(s->providers, c->flight);
    if (c->letter == 0)
        return;
    struct letter *l = letter_at(s, c->letter);
    letter_set(s, l, l->may | verdict_of(s, f, l));
    if (dies(s, f, l))
        unit_letter_unsure(s, c->letter);
}
