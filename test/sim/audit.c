#include "audit.h"

#include <string.h>

#include "clients.h"
#include "ledger.h"
#include "letters.h"
#include "outcomes.h"
#include "parcels.h"
#include "providers.h"
#include "slips.h"
#include "units.h"

#define LIST_STATES 5u
#define BODY_SAMPLE 8u /* one body of so many is read */

static const uint8_t states[LIST_STATES] = {MESSAGE_READY, MESSAGE_BLOCKED, MESSAGE_DELAYED,
                                            MESSAGE_IN_FLIGHT, MESSAGE_DEAD};

struct audit {
    struct call **calls; /* owns */
    size_t count, capacity;
    size_t at; /* of the call that is looked at next */
};

static void make_room(struct audit *a, size_t more) {
    if (a->count + more <= a->capacity)
        return;
    a->capacity = a->capacity == 0 ? 512 : a->capacity * 2;
    a->calls = realloc(a->calls, a->capacity * sizeof(*a->calls));
    assert(a->calls != NULL);
}

static struct call *add(struct sim *s, struct audit *a, enum request_kind kind, const char *name) {
    make_room(a, 1);
    struct call *c = call_take(s, kind);
    c->q.r.name = span_text(name);
    a->calls[a->count++] = c;
    return c;
}

/* ---- the questions; the answers are looked at in the same order ---- */

static void ask_lists(struct sim *s, struct audit *a, const char *queue) {
    add(s, a, REQUEST_QUEUE_GET, queue);
    for (unsigned i = 0; i < LIST_STATES; i++) {
        struct call *c = add(s, a, REQUEST_QUEUE_MESSAGES, queue);
        c->q.r.in.list.state = (enum message_state)states[i];
        c->q.r.in.list.max = LIST_MAX;
    }
}

static void ask_queues(struct sim *s, struct audit *a) {
    for (unsigned q = 0; q < QUEUES; q++)
        ask_lists(s, a, s->letters->queues[q].name);
}

static void ask_members(struct sim *s, struct audit *a) {
    for (unsigned k = 0; k < CAMPAIGNS; k++) {
        const struct campaign_facts *facts = &s->units->campaigns[k];
        for (uint32_t m = 1; m <= MEMBERS; m++) {
            const struct entry_facts *e = &facts->members[m];
            if (e->receipt == 0 && !e->asked)
                continue;
            struct call *c = add(s, a, REQUEST_CAMPAIGN_ENTRY_GET, facts->name);
            c->campaign = k;
            c->member = m;
            snprintf(c->member_text, sizeof(c->member_text), "member-%u", m);
            c->q.r.in.enter.member = span_text(c->member_text);
        }
    }
}

static void ask_units(struct sim *s, struct audit *a) {
    for (uint32_t unit = 1; unit < s->units->count; unit++) {
        const char *stock = s->units->stocks[unit_at(s, unit)->stock].name;
        struct call *c = add(s, a, REQUEST_STOCK_RESERVATION_GET, stock);
        c->unit = unit;
        unit_key(s, unit, c->purchase);
        c->q.r.in.reserve.stock = span_text(stock);
        c->q.r.in.reserve.purchase = span_text(c->purchase);
    }
}

static void ask_rest(struct sim *s, struct audit *a) {
    for (unsigned i = 0; i < STOCKS; i++)
        add(s, a, REQUEST_STOCK_GET, s->units->stocks[i].name);
    for (unsigned k = 0; k < CAMPAIGNS; k++)
        add(s, a, REQUEST_CAMPAIGN_GET, s->units->campaigns[k].name);
    for (unsigned d = 0; d < DESTINATIONS; d++)
        add(s, a, REQUEST_DESTINATION_GET, destination_names[d]);
    struct call *ends = add(s, a, REQUEST_QUEUE_MESSAGES, ENDS_NAME);
    ends->q.r.in.list.state = MESSAGE_READY;
    ends->q.r.in.list.max = LIST_MAX;
    add(s, a, REQUEST_AUDIT_LIST, "")->q.r.in.list.max = LIST_MAX;
}

/* ---- messages ---- */

static uint32_t letter_behind(struct sim *s, const struct message_info *info, bool sample) {
    uint32_t tag = letter_find(s, info->id);
    if (tag != 0 && !sample)
        return tag;
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    int error = engine_read_message(s->engine, info->id, info->address, &bytes, &stored);
    SIM_CHECK(s, error == 0, "the body of message %llx cannot be read: %s",
              (unsigned long long)info->id, error_name(error));
    uint32_t read = letter_of_body(s, stored.envelope.body);
    SIM_CHECK(s, tag == 0 || tag == read, "message %llx has the body of another",
              (unsigned long long)info->id);
    if (tag == 0) { /* A3: only what was asked for */
        SIM_CHECK(s, letter_at(s, read)->asked, "letter %u is there; nobody waits for its answer",
                  read);
        letter_accepted(s, read, info->id, stored.accepted_ns);
    }
    buffer_release(&bytes);
    return read;
}

/* Of a letter that is alive: taken, or cancelled by a client. One that was given back may have another number. */
static void see_ticket(struct unit *u) {
    if (u->may & UNIT_NONE)
        u->number = 0;
    u->may &= UNIT_FINAL | UNIT_CANCELLED;
}

static void look_at_message(struct sim *s, const struct message_info *info, unsigned queue) {
    uint32_t tag =
        letter_behind(s, info, info->id / 64 % BODY_SAMPLE == s->letters->audit % BODY_SAMPLE);
    struct letter *l = letter_at(s, tag);
    unsigned now = info->state == MESSAGE_DEAD ? MAY_DEAD : MAY_ALIVE;
    SIM_CHECK(s, l->queue == queue && l->size == info->body_bytes, "letter %u is another", tag);
    SIM_CHECK(s, l->audit != s->letters->audit, "letter %u is there twice", tag);
    SIM_CHECK(s, letter_may(s, l) & now, "letter %u is %s; it may be %u by the answers", tag,
              message_state_name(info->state), letter_may(s, l));
    /* Without room the engine cannot write down yet that it does not know the outcome. */
    l->stranded = info->state == MESSAGE_IN_FLIGHT && l->under_way == 0 && s->engine->recovering;
    SIM_CHECK(s, l->stranded || (info->state == MESSAGE_IN_FLIGHT) == (l->under_way != 0),
              "letter %u is %s; attempt %u is under way", tag, message_state_name(info->state),
              l->under_way);
    /* One attempt may have begun that nobody was told of. */
    SIM_CHECK(s,
              l->redriven || now == MAY_DEAD ||
                  (info->attempts >= l->attempts && info->attempts <= l->attempts + 1),
              "letter %u had %u attempts, %u are known", tag, info->attempts, l->attempts);
    l->attempts = info->attempts;
    l->audit = s->letters->audit;
    letter_set(s, l, now);
    if (l->unit != 0 && now == MAY_DEAD)
        unit_letter_died(s, tag);
    else if (l->unit != 0 && !l->tied)
        see_ticket(unit_at(s, l->unit));
}

/* Which one holds is known from here on, unless another is on its way. */
static void see_rule(struct sim *s, struct rule *r, bool changing, uint64_t found,
                     const char *name) {
    SIM_CHECK(s, rule_may_be(r, found), "%s is ruled by %llu; %llu was set, %llu asked for", name,
              (unsigned long long)found, (unsigned long long)r->now, (unsigned long long)r->asked);
    if (!changing)
        *r = rule_of(found);
}

static void see_queue_rules(struct sim *s, struct queue_facts *q, const struct request *get) {
    struct queue_def def;
    struct reader in;
    reader_init(&in, buffer_span(&get->out_bytes));
    int error = queue_def_decode(&in, &def);
    SIM_CHECK(s, error == 0, "the definition of %s cannot be read", q->name);
    bool either = rule_may_be(&q->max_messages, def.max_messages) &&
                  (q->max_messages.now == def.max_messages) ==
                      (q->max_attempts.now == def.retry.max_attempts);
    SIM_CHECK(s, either || rule_known(&q->max_messages) || rule_known(&q->max_attempts),
              "the definition of %s was changed in part", q->name);
    see_rule(s, &q->max_messages, q->changing, def.max_messages, q->name);
    see_rule(s, &q->max_attempts, q->changing, def.retry.max_attempts, q->name);
    queue_def_release(&def);
}

static void look_at_queue(struct sim *s, struct audit *a, unsigned queue) {
    struct queue_facts *q = &s->letters->queues[queue];
    const struct request *get = &a->calls[a->at++]->q.r;
    SIM_CHECK(s, get->refusal == REFUSAL_NONE, "queue %s is lost", q->name);
    const struct queue_info *info = &get->out.queue;
    const uint64_t counts[LIST_STATES] = {info->ready, info->blocked, info->delayed,
                                          info->in_flight, info->dead};
    for (unsigned i = 0; i < LIST_STATES; i++) {
        const struct request *list = &a->calls[a->at++]->q.r;
        SIM_CHECK(s, list->refusal == REFUSAL_NONE && list->count == counts[i],
                  "%s counts %llu and lists %llu", q->name, (unsigned long long)counts[i],
                  (unsigned long long)list->count);
        for (uint64_t n = 0; n < list->count; n++) {
            struct message_info message;
            memcpy(&message, list->out_bytes.data + n * sizeof(message), sizeof(message));
            look_at_message(s, &message, queue);
        }
    }
    see_queue_rules(s, q, get);
    SIM_CHECK(s, q->may_pause || q->paused == info->paused, "the pause of %s is lost", q->name);
    q->paused = info->paused;
    q->may_pause = false;
}

/* A1 and A2 for what was not seen. */
static void look_for_missing(struct sim *s) {
    for (uint32_t tag = 1; tag < s->letters->count; tag++) {
        struct letter *l = letter_at(s, tag);
        if (l->audit == s->letters->audit)
            continue;
        if (l->id != 0) {
            SIM_CHECK(s, letter_may(s, l) & MAY_GONE, "letter %u was accepted (%llx) and is lost",
                      tag, (unsigned long long)l->id);
            letter_set(s, l, MAY_GONE);
        } else if (l->asked) {
            l->asked = false;
            /* What lives for a short time may have come and gone. */
            l->refused = l->life_ns == 0 && s->letters->queues[l->queue].ttl_ns == 0;
        }
    }
}

/* ---- entries ---- */

/* Of an entry without an answer, behind which came a purge without one: nobody saw the letter, which is gone. */
static uint32_t swept_letter(struct sim *s, const struct call *c) {
    for (uint32_t tag = s->letters->count - 1; tag > 0; tag--) {
        struct letter *l = letter_at(s, tag);
        if (!l->tied || !l->swept || l->id != 0 || l->member != c->member)
            continue;
        l->refused = false;
        letter_accepted(s, tag, c->q.r.out.entry.id, c->q.r.receipt.accepted_ns);
        letter_set(s, l, MAY_GONE);
        return tag;
    }
    return 0;
}

static void adopt_entry(struct sim *s, struct entry_facts *e, const struct call *c) {
    const struct campaign_facts *k = &s->units->campaigns[c->campaign];
    uint64_t receipt = c->q.r.out.entry.id;
    uint32_t tag = k->has_queue ? letter_find(s, receipt) : 0;
    if (tag == 0 && k->has_queue && c->q.r.out.entry.state == ENTRY_FAILED)
        tag = swept_letter(s, c);
    SIM_CHECK(s, tag != 0 || !k->has_queue, "member %u of %s has entered; the letter is not there",
              c->member, k->name);
    /* One that was withdrawn stands again after a redrive that had no answer. */
    bool again = tag != 0 && letter_at(s, tag)->redriven && letter_at(s, tag)->member == c->member;
    SIM_CHECK(s, e->asked || again, "member %u of %s has an entry that nobody asked for", c->member,
              k->name);
    uint32_t unit = tag != 0 ? letter_at(s, tag)->unit : 0;
    if (unit == 0)
        unit = unit_make(s, k->stock, c->member);
    unit_at(s, unit)->receipt = receipt;
    unit_at(s, unit)->letter = tag;
    unit_at(s, unit)->may = UNIT_NONE | UNIT_FINAL;
    if (tag != 0)
        letter_at(s, tag)->unit = unit;
    *e = (struct entry_facts){.receipt = receipt, .unit = unit, .letter = tag};
}

/* A5: the entry, its letter and its unit say the same. */
static void look_at_standing(struct sim *s, const struct entry_facts *e, const struct call *c) {
    const struct campaign_facts *k = &s->units->campaigns[c->campaign];
    const struct entry_info *info = &c->q.r.out.entry;
    struct unit *u = unit_at(s, e->unit);
    bool in_use = info->state != ENTRY_FAILED || k->policy == CAMPAIGN_FAILURE_KEEP;
    SIM_CHECK(s, unit_may(s, u) & (in_use ? UNIT_FINAL : UNIT_NONE),
              "member %u of %s: the entry's state is %d, its unit may be %u", c->member, k->name,
              info->state, unit_may(s, u));
    SIM_CHECK(s, u->number == 0 || !in_use || u->may != UNIT_FINAL || u->number == info->number,
              "member %u of %s had number %u and has %llu", c->member, k->name, u->number,
              (unsigned long long)info->number);
    u->may = in_use ? UNIT_FINAL : UNIT_NONE;
    u->number = in_use ? (uint32_t)info->number : 0;
    if (e->letter == 0)
        return;
    struct letter *l = letter_at(s, e->letter);
    unsigned expected = info->state == ENTRY_ACCEPTED ? MAY_ALIVE
                        : info->state == ENTRY_SENT   ? MAY_GONE
                                                      : MAY_DEAD | MAY_GONE;
    SIM_CHECK(s, l->may & expected, "member %u of %s: the entry's state is %d, its letter's %u",
              c->member, k->name, info->state, l->may);
    l->delivered |= info->state == ENTRY_SENT;
}

static void look_at_member(struct sim *s, const struct call *c) {
    const struct campaign_facts *k = &s->units->campaigns[c->campaign];
    struct entry_facts *e = &s->units->campaigns[c->campaign].members[c->member];
    bool withdraws = k->has_queue && k->policy == CAMPAIGN_FAILURE_RELEASE_REENTER;
    bool stood = e->receipt != 0 && (!withdraws || letter_at(s, e->letter)->may == MAY_ALIVE ||
                                     letter_at(s, e->letter)->delivered);
    if (c->q.r.refusal == REFUSAL_NOT_FOUND) {
        SIM_CHECK(s, !stood, "member %u has entered %s, and the entry is lost", c->member, k->name);
    } else {
        SIM_CHECK(s, c->q.r.refusal == REFUSAL_NONE, "an entry cannot be asked for");
        if (e->receipt != c->q.r.out.entry.id) {
            SIM_CHECK(s, !stood, "member %u of %s has another entry now", c->member, k->name);
            adopt_entry(s, e, c);
        }
        look_at_standing(s, e, c);
    }
    e->asked = false;
}

/* ---- units ---- */

static unsigned unit_state_of(const struct call *c) {
    if (c->q.r.refusal == REFUSAL_NOT_FOUND)
        return UNIT_NONE;
    enum reservation_state state = c->q.r.out.reservation.state;
    return state == RESERVATION_HELD    ? UNIT_HELD
           : state == RESERVATION_FINAL ? UNIT_FINAL
                                        : UNIT_CANCELLED;
}

static void look_at_unit(struct sim *s, const struct call *c) {
    struct unit *u = unit_at(s, c->unit);
    const char *stock = s->units->stocks[u->stock].name;
    unsigned now = unit_state_of(c), may = unit_may(s, u);
    const struct reservation_info *info = &c->q.r.out.reservation;
    SIM_CHECK(s, may & now, "%s: unit %u is in state %u; it may be %u by the answers", stock,
              c->unit, now, may);
    bool in_use = now & UNIT_IN_USE;
    bool was = (may & ~(unsigned)UNIT_IN_USE) == 0;
    SIM_CHECK(s, !in_use || !was || u->number == 0 || u->number == info->number,
              "%s: unit %u had number %u and has %llu", stock, c->unit, u->number,
              (unsigned long long)info->number);
    u->may = (uint8_t)now;
    u->number = in_use ? (uint32_t)info->number : 0;
    u->until_ns = now == UNIT_HELD ? info->expires_ns : 0;
    if (in_use && c->q.r.receipt.id != 0)
        u->receipt = c->q.r.receipt.id;
    const struct letter *l = u->stock == STOCK_TICKETS ? letter_at(s, u->letter) : NULL;
    SIM_CHECK(s, l == NULL || l->id != 0 || !in_use || !l->refused,
              "ticket %u is taken, and the letter of its transaction is not there", c->unit);
}

static void look_at_campaign(struct sim *s, struct campaign_facts *k, const struct request *get) {
    struct campaign_def def;
    struct reader in;
    SIM_CHECK(s, get->refusal == REFUSAL_NONE, "campaign %s is lost", k->name);
    reader_init(&in, buffer_span(&get->out_bytes));
    int error = campaign_def_decode(&in, &def);
    SIM_CHECK(s, error == 0, "the definition of %s cannot be read", k->name);
    see_rule(s, &k->safety, k->changing, def.safety_stock, k->name);
    see_rule(s, &k->generation, k->changing, get->generation, k->name);
    campaign_def_release(&def);
}

static void look_at_rest(struct sim *s, struct audit *a) {
    for (unsigned i = 0; i < STOCKS; i++) {
        const struct request *r = &a->calls[a->at++]->q.r;
        struct stock_facts *st = &s->units->stocks[i];
        uint64_t total = r->out.stock.total;
        SIM_CHECK(s, r->refusal == REFUSAL_NONE, "stock %s is lost", st->name);
        SIM_CHECK(s, total == st->total || total == st->total_asked,
                  "%s has a total of %llu, %llu was set", st->name, (unsigned long long)total,
                  (unsigned long long)st->total);
        st->total = total;
        st->total_asked = 0;
        units_check_numbers(s, i, r->out.stock.used);
    }
    for (unsigned k = 0; k < CAMPAIGNS; k++)
        look_at_campaign(s, &s->units->campaigns[k], &a->calls[a->at++]->q.r);
    for (unsigned d = 0; d < DESTINATIONS; d++) {
        const struct request *r = &a->calls[a->at++]->q.r;
        SIM_CHECK(s, r->refusal == REFUSAL_NONE, "destination %s is lost", destination_names[d]);
        provider_audit(s, d, r);
    }
    outcomes_audit(s, &a->calls[a->at++]->q.r);
    ledger_audit(s, &a->calls[a->at++]->q.r);
}

/* ---- boxes ---- */

static void ask_boxes(struct sim *s, struct audit *a) {
    for (unsigned box = 0; box < BOXES; box++)
        ask_lists(s, a, s->parcels->boxes[box].name);
}

static void look_at_box(struct sim *s, struct audit *a, unsigned box) {
    const char *name = s->parcels->boxes[box].name;
    const struct request *get = &a->calls[a->at++]->q.r;
    SIM_CHECK(s, get->refusal == REFUSAL_NONE, "box %s is lost", name);
    const struct queue_info *info = &get->out.queue;
    const uint64_t counts[LIST_STATES] = {info->ready, info->blocked, info->delayed,
                                          info->in_flight, info->dead};
    for (unsigned i = 0; i < LIST_STATES; i++) {
        const struct request *list = &a->calls[a->at++]->q.r;
        SIM_CHECK(s,
                  list->refusal == REFUSAL_NONE &&
                      (list->count == counts[i] || states[i] == MESSAGE_IN_FLIGHT),
                  "%s counts %llu and lists %llu", name, (unsigned long long)counts[i],
                  (unsigned long long)list->count);
        for (uint64_t n = 0; n < list->count; n++) {
            struct message_info message;
            memcpy(&message, list->out_bytes.data + n * sizeof(message), sizeof(message));
            parcel_seen(s, &message, box);
        }
    }
    parcels_see_held(s, box);
}

static void look_at_boxes(struct sim *s, struct audit *a) {
    parcels_audit_begin(s);
    for (unsigned box = 0; box < BOXES; box++)
        look_at_box(s, a, box);
    parcels_audit_end(s);
}

static void look(struct sim *s, void *context) {
    struct audit *a = context;
    s->letters->audit++;
    for (unsigned q = 0; q < QUEUES; q++)
        look_at_queue(s, a, q);
    look_for_missing(s);
    for (; a->calls[a->at]->q.r.kind == REQUEST_CAMPAIGN_ENTRY_GET; a->at++)
        look_at_member(s, a->calls[a->at]);
    for (; a->calls[a->at]->q.r.kind == REQUEST_STOCK_RESERVATION_GET; a->at++)
        look_at_unit(s, a->calls[a->at]);
    look_at_rest(s, a);
    look_at_boxes(s, a);
    slips_look(s, a->calls + a->at);
    a->at += SLIP_QUESTIONS;
    assert(a->at == a->count);
}

bool audit_run(struct sim *s) {
    struct audit a = {0};
    bool quiet = s->quiet;
    s->quiet = true;
    ask_queues(s, &a);
    ask_members(s, &a);
    ask_units(s, &a);
    ask_rest(s, &a);
    ask_boxes(s, &a);
    make_room(&a, SLIP_QUESTIONS);
    slips_ask(s, a.calls + a.count);
    a.count += SLIP_QUESTIONS;
    bool done = calls_finish(s, a.calls, a.count, look, &a);
    for (size_t i = 0; done && i < a.count; i++)
        call_give(s, a.calls[i]);
    free(a.calls);
    done = done && outcomes_delete(s);
    s->quiet = quiet;
    s->result->audits += done;
    return done;
}
