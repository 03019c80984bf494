#include "clients.h"

#include <string.h>

#include "broker.h"
#include "desk.h"
#include "destinations.h"
#include "ledger.h"
#include "outcomes.h"
#include "providers.h"
#include "traffic.h"

#define THINK_MOST_NS (12 * NS_PER_MS)

struct client {
    struct rng rng;
    uint64_t next_ns;      /* asks no earlier */
    struct call *out;      /* without an answer */
    uint32_t retry_letter; /* to be asked for again with its key; 0: nothing */
};

struct clients {
    struct sim *sim; /* borrows */
    struct engine_port port;
    struct client items[PLAN_CLIENTS_MAX];
    uint32_t count;
    struct call *free;   /* link */
    struct call *out;    /* link: submitted, not answered */
    struct call *queued; /* link through q.next: to be submitted */
    struct call *queued_last;
    uint32_t out_count;
};

static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last);

struct clients *clients_create(struct sim *s) {
    struct clients *c = sim_alloc(sizeof(*c));
    c->sim = s;
    c->port.deliver = deliver;
    c->count = s->plan.clients < PLAN_CLIENTS_MAX ? s->plan.clients : PLAN_CLIENTS_MAX;
    for (uint32_t i = 0; i < c->count; i++) {
        rng_init(&c->items[i].rng, sim_draw(s, 'c', i));
        c->items[i].next_ns = s->now_ns + rng_below(&c->items[i].rng, THINK_MOST_NS);
    }
    return c;
}

static void free_list(struct call *c) {
    while (c != NULL) {
        struct call *next = c->next;
        free(c->body);
        free(c);
        c = next;
    }
}

void clients_free(struct clients *c) {
    free_list(c->free);
    free_list(c->out);
    free(c);
}

/* ---- calls ---- */

struct call *call_take(struct sim *s, enum request_kind kind) {
    struct clients *all = s->clients;
    struct call *c = all->free;
    if (c != NULL)
        all->free = c->next;
    else
        c = sim_alloc(sizeof(*c));
    uint8_t *body = c->body;
    memset(c, 0, sizeof(*c));
    c->body = body;
    request_init(&c->q.r, kind);
    c->q.port = &all->port;
    c->client = NO_CLIENT;
    return c;
}

void call_give(struct sim *s, struct call *c) {
    request_release(&c->q.r);
    destination_def_release(&c->destination_def);
    stock_def_release(&c->stock_def);
    queue_def_release(&c->queue_def);
    campaign_def_release(&c->campaign_def);
    c->next = s->clients->free;
    s->clients->free = c;
}

static void out_add(struct clients *all, struct call *c) {
    c->before = NULL;
    c->next = all->out;
    if (all->out != NULL)
        all->out->before = c;
    all->out = c;
    all->out_count++;
}

static void out_remove(struct clients *all, struct call *c) {
    *(c->before != NULL ? &c->before->next : &all->out) = c->next;
    if (c->next != NULL)
        c->next->before = c->before;
    all->out_count--;
}

void call_queue(struct sim *s, struct call *c) {
    struct clients *all = s->clients;
    c->q.next = NULL;
    if (all->queued != NULL)
        all->queued_last->q.next = &c->q;
    else
        all->queued = c;
    all->queued_last = c;
}

/* ---- answers ---- */

static void answer_client(struct sim *s, struct call *c) {
    if (c->client != NO_CLIENT) {
        struct client *who = &s->clients->items[c->client];
        who->out = NULL;
        who->next_ns = s->now_ns + rng_below(&who->rng, THINK_MOST_NS);
    }
    ledger_answered(s, c);
    c->traffic->answered(s, c);
}

static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last) {
    struct clients *all = CONTAINER_OF(port, struct clients, port);
    struct sim *s = all->sim;
    for (struct engine_request *q = first, *next; q != NULL; q = next) {
        struct call *c = CONTAINER_OF(q, struct call, q);
        next = q == last ? NULL : q->next;
        SIM_CHECK(s, !c->answered, "a request is answered twice");
        c->answered = true;
        out_remove(all, c);
        if (c->traffic != NULL)
            answer_client(s, c);
        else if (c->q.r.kind == REQUEST_ATTEMPT_FINISH)
            provider_finish_answered(s, c);
        else {
            if (c->finished != NULL)
                c->finished(s, c->context);
            continue; /* whoever asked looks at it and gives it back */
        }
        call_give(s, c);
    }
}

/* ---- asking ---- */

static void ask_one(struct sim *s, uint32_t number) {
    struct client *who = &s->clients->items[number];
    struct call *c;
    if (who->retry_letter != 0) {
        uint32_t tag = who->retry_letter;
        who->retry_letter = 0;
        c = traffic_retry(s, tag);
    } else {
        c = traffic_draw(s, &who->rng);
    }
    c->client = number;
    ledger_sign(s, c);
    who->out = c;
    s->result->requests++;
    call_queue(s, c);
}

void clients_ask(struct sim *s) {
    struct clients *all = s->clients;
    for (uint32_t i = 0; !s->draining && i < all->count; i++)
        if (all->items[i].out == NULL && all->items[i].next_ns <= s->now_ns)
            ask_one(s, i);
    struct call *first = all->queued, *last = all->queued_last;
    if (first == NULL)
        return;
    uint32_t count = 1;
    for (struct engine_request *q = &first->q; q != &last->q; q = q->next)
        count++;
    for (struct engine_request *q = &first->q;; q = q->next) {
        out_add(all, CONTAINER_OF(q, struct call, q));
        if (q == &last->q)
            break;
    }
    all->queued = all->queued_last = NULL;
    s->result->operations += count;
    int error = engine_submit(s->engine, &first->q, &last->q, count);
    SIM_CHECK(s, error == 0 || s->dead, "requests are not taken: %s", error_name(error));
}

uint64_t clients_next_ns(const struct sim *s) {
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t i = 0; !s->draining && i < s->clients->count; i++) {
        const struct client *c = &s->clients->items[i];
        if (c->out == NULL && c->next_ns < next_ns)
            next_ns = c->next_ns;
    }
    return next_ns;
}

bool clients_all_answered(const struct sim *s) {
    return s->clients->out_count == 0 && s->clients->queued == NULL;
}

static void lose(struct sim *s, struct call *c) {
    if (c->traffic != NULL && c->client == NO_CLIENT) {
        c->traffic->lost(s, c);
    } else if (c->traffic != NULL) {
        struct client *who = &s->clients->items[c->client];
        who->out = NULL;
        who->next_ns = s->now_ns + rng_below(&who->rng, THINK_MOST_NS);
        c->traffic->lost(s, c);
        if (c->letter != 0 && letter_at(s, c->letter)->keyed && rng_below(&who->rng, 3) > 0)
            who->retry_letter = c->letter;
    } else if (c->q.r.kind == REQUEST_ATTEMPT_FINISH) {
        provider_finish_lost(s, c);
    }
    call_give(s, c);
}

void clients_restart(struct sim *s) {
    struct clients *all = s->clients;
    while (all->queued != NULL) { /* not even asked: as good as lost */
        struct call *c = all->queued;
        struct engine_request *next = c->q.next;
        all->queued = next != NULL ? CONTAINER_OF(next, struct call, q) : NULL;
        out_add(all, c);
    }
    all->queued_last = NULL;
    /* In the order in which they were asked: a lost confirmation counts on the lost reservation before it. */
    struct call *oldest = all->out;
    while (oldest != NULL && oldest->next != NULL)
        oldest = oldest->next;
    while (oldest != NULL) {
        struct call *c = oldest;
        oldest = c->before;
        out_remove(all, c);
        lose(s, c);
    }
}

bool calls_finish(struct sim *s, struct call **calls, size_t count,
                  void (*finished)(struct sim *s, void *context), void *context) {
    calls[count - 1]->finished = finished;
    calls[count - 1]->context = context;
    for (size_t i = 0; i < count; i++) {
        calls[i]->q.next = i + 1 < count ? &calls[i + 1]->q : NULL;
        out_add(s->clients, calls[i]);
    }
    int error = engine_submit(s->engine, &calls[0]->q, &calls[count - 1]->q, (uint32_t)count);
    SIM_CHECK(s, error == 0 || s->dead, "the oracle's requests are not taken: %s",
              error_name(error));
    while (!calls[count - 1]->answered && !s->dead)
        run_turn(s);
    bool all = calls[count - 1]->answered;
    for (size_t i = 0; i < count && !all; i++)
        if (calls[i]->answered)
            call_give(s, calls[i]); /* the others are given back when they are lost */
    return all;
}

/* ---- what all runs work on ---- */

bool clients_ask_now(struct sim *s, struct call *c) {
    bool answered = calls_finish(s, &c, 1, NULL, NULL);
    if (!answered)
        return false;
    enum refusal refusal = c->q.r.refusal;
    SIM_CHECK(s, refusal == REFUSAL_NONE || (refusal == REFUSAL_DISK_FULL && s->tight),
              "a definition is refused: %s", refusal_name(refusal));
    call_give(s, c);
    return refusal == REFUSAL_NONE;
}

/* It is there already: nothing to be done. Its definition may differ by now (a stock that was raised). */
bool clients_exists(struct sim *s, enum request_kind kind, const char *name, bool *ret_there) {
    struct call *c = call_take(s, kind);
    c->q.r.name = span_text(name);
    bool answered = calls_finish(s, &c, 1, NULL, NULL);
    *ret_there = answered && c->q.r.refusal == REFUSAL_NONE;
    if (answered)
        call_give(s, c);
    return answered;
}

static bool define_destination(struct sim *s, unsigned d) {
    bool there;
    if (!clients_exists(s, REQUEST_DESTINATION_GET, destination_names[d], &there) || there)
        return there;
    struct call *c = call_take(s, REQUEST_DESTINATION_DEFINE);
    traffic_fill_destination(s, c, d, NULL);
    return clients_ask_now(s, c);
}

bool clients_define_queue(struct sim *s, struct queue_def *def) {
    struct call *c = call_take(s, REQUEST_QUEUE_DEFINE);
    c->q.r.name = span_text(def->name);
    c->q.r.in.define.queue = def;
    bool done = clients_ask_now(s, c);
    queue_def_release(def);
    return done;
}

/* Where outcomes go; nothing takes them from there. */
static bool define_ends(struct sim *s) {
    struct queue_def def;
    int error = queue_def_init(&def);
    error = error != 0 ? error : def_set_text(&def.name, span_text(ENDS_NAME));
    assert(error == 0);
    return clients_define_queue(s, &def);
}

void clients_fill_queue(const struct sim *s, unsigned q, struct queue_def *def) {
    const struct queue_facts *facts = &s->letters->queues[q];
    int error = queue_def_init(def);
    error = error != 0 ? error : def_set_text(&def->name, span_text(facts->name));
    if (error == 0 && queue_destination(q) >= 0)
        error = def_set_text(&def->destination, span_text(destination_names[queue_destination(q)]));
    if (error == 0 && q == QUEUE_TOLD) {
        error = def_set_text(&def->on_success.queue, span_text(ENDS_NAME));
        error = error != 0 ? error : def_set_text(&def->on_failure.queue, span_text(ENDS_NAME));
    }
    assert(error == 0);
    def->max_messages = facts->max_messages.asked;
    def->message_ttl_ns = facts->ttl_ns;
    def->dead_letters = facts->dead_letters;
    def->dispatch_deadline_ns = facts->deadline_ns;
    def->weight = facts->weight;
    def->guaranteed_percent = facts->percent;
    def->retry = (struct retry_def){.max_attempts = (uint32_t)facts->max_attempts.asked,
                                    .min_backoff_ns = 2 * NS_PER_MS,
                                    .max_backoff_ns = 60 * NS_PER_MS,
                                    .max_doublings = 4,
                                    .statuses = def->retry.statuses};
}

static bool define_queue(struct sim *s, unsigned q) {
    struct queue_def def;
    bool there;
    if (!clients_exists(s, REQUEST_QUEUE_GET, s->letters->queues[q].name, &there) || there)
        return there;
    clients_fill_queue(s, q, &def);
    return clients_define_queue(s, &def);
}

static bool define_stock(struct sim *s, unsigned stock) {
    const char *name = s->units->stocks[stock].name;
    bool there;
    if (!clients_exists(s, REQUEST_STOCK_GET, name, &there) || there)
        return there;
    struct call *c = call_take(s, REQUEST_STOCK_DEFINE);
    traffic_fill_stock(s, c, stock, s->units->stocks[stock].total);
    return clients_ask_now(s, c);
}

void clients_fill_campaign(const struct sim *s, unsigned campaign, struct campaign_def *def) {
    const struct campaign_facts *facts = &s->units->campaigns[campaign];
    int error = campaign_def_init(def);
    error = error != 0 ? error : def_set_text(&def->name, span_text(facts->name));
    error = error != 0 ? error
                       : def_set_text(&def->stock, span_text(s->units->stocks[facts->stock].name));
    error = error != 0 ? error : def_set_text(&def->member_pointer, span_text("/member"));
    if (error == 0 && facts->has_queue)
        error = def_set_text(&def->queue, span_text(s->letters->queues[QUEUE_MAIL].name));
    assert(error == 0);
    def->opens_ns = facts->opens_ns;
    def->safety_stock = facts->safety.asked;
    def->on_failure = (enum campaign_failure)facts->policy;
}

static bool define_campaign(struct sim *s, unsigned campaign) {
    const struct campaign_facts *facts = &s->units->campaigns[campaign];
    bool there;
    if (!clients_exists(s, REQUEST_CAMPAIGN_GET, facts->name, &there) || there)
        return there;
    struct call *c = call_take(s, REQUEST_CAMPAIGN_DEFINE);
    clients_fill_campaign(s, campaign, &c->campaign_def);
    c->q.r.name = span_text(facts->name);
    c->q.r.in.define.campaign = &c->campaign_def;
    return clients_ask_now(s, c);
}

bool clients_define(struct sim *s) {
    bool done = true;
    for (unsigned d = 0; done && d < DESTINATIONS; d++)
        done = define_destination(s, d);
    done = done && define_ends(s);
    for (unsigned q = 0; done && q < QUEUES; q++)
        done = define_queue(s, q);
    for (unsigned i = 0; done && i < STOCKS; i++)
        done = define_stock(s, i);
    for (unsigned i = 0; done && i < CAMPAIGNS; i++)
        done = define_campaign(s, i);
    return done && broker_define(s) && desks_define(s);
}
