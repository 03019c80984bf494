/* What people and publishers ask about slips, one at a time. Jobs: traffic_chores.c. */
#include <string.h>

#include "chores.h"
#include "tenants.h"
#include "traffic.h"

#define TRIES 12u

static void nothing_known(struct sim *s, struct call *c) {
    (void)s;
    (void)c;
}

/* ---- publish ---- */

static unsigned draw_desk(struct rng *rng) {
    static const uint8_t desks[] = {DESK_WORK, DESK_WORK, DESK_WORK, DESK_ASIDE, DESK_ONCE,
                                    DESK_ONCE, DESK_FAIR, DESK_FAIR, DESK_FAIR,  DESK_FAIR,
                                    DESK_BANK, DESK_BANK, DESK_BULK, DESK_BULK};
    return desks[rng_below(rng, sizeof(desks))];
}

static bool make_publish(struct sim *s, struct call *c, struct rng *rng) {
    struct publish *p = &c->q.r.in.publish;
    c->desk = (uint8_t)draw_desk(rng);
    c->slip = slip_make(s, c->desk);
    struct slip *l = slip_at(s, c->slip);
    if (c->desk == DESK_ONCE && rng_below(rng, 8) > 0) {
        l->key = (uint8_t)(1 + rng_below(rng, SLIP_KEYS - 1));
        snprintf(c->key, sizeof(c->key), "unique-%u", l->key);
        p->unique_key = span_text(c->key);
    }
    if (c->desk == DESK_FAIR)
        l->tenant = (uint8_t)rng_below(rng, TENANTS);
    if (l->tenant != 0) {
        snprintf(c->header_text, sizeof(c->header_text), "X-Tenant: %s\n", tenant_names[l->tenant]);
        p->envelope.headers = span_text(c->header_text);
    }
    if (c->body == NULL)
        c->body = sim_alloc(LETTER_BYTES_MAX);
    slip_fill(c->slip, 0, c->body);
    p->envelope.body = span_of(c->body, slip_bytes(c->slip, 0));
    p->queue = c->q.r.name = span_text(s->slips->desks[c->desk].name);
    return true;
}

/* T4: is the key of this slip another's, or can it be? */
static void check_first(struct sim *s, uint32_t tag, const struct receipt *receipt) {
    uint32_t other = slip_at(s, tag)->key == 0 ? 0 : s->slips->latest[slip_at(s, tag)->key];
    if (other == 0 || other == tag)
        return;
    const struct slip *l = slip_at(s, other);
    bool holds = s->slips->until_delivered
                     ? !l->left_key && slip_may(s, other) == SLIP_WAITS(DESK_ONCE)
                     : l->accepted_ns + s->slips->window_ns > receipt->accepted_ns;
    SIM_CHECK(s, !holds, "slips %u and %u of one key are both taken", other, tag);
}

static void check_twin(struct sim *s, const struct call *c, uint64_t id) {
    const struct slips *all = s->slips;
    unsigned key = slip_at(s, c->slip)->key;
    SIM_CHECK(s, key != 0, "slip %u without a key is taken for a twin", c->slip);
    uint32_t other = id != 0 ? slip_find(s, id) : all->latest[key];
    s->result->twins++;
    if (other == 0) {
        SIM_CHECK(s, all->ghosts[key], "slip %u is taken for a twin of nobody", c->slip);
        return;
    }
    const struct slip *l = slip_at(s, other);
    bool in_window = l->accepted_ns + all->window_ns >= s->turn_engine_ns;
    bool may = all->until_delivered ? !l->lost_key : in_window;
    SIM_CHECK(s, l->key == key && l->desk == DESK_ONCE && (may || (id == 0 && all->ghosts[key])),
              "slip %u is taken for a twin of slip %u, whose key is free", c->slip, other);
}

static void publish_answered(struct sim *s, struct call *c) {
    const struct desk_facts *d = &s->slips->desks[c->desk];
    const struct request *r = &c->q.r;
    struct slip *l = slip_at(s, c->slip);
    if (r->refusal == REFUSAL_NONE && !r->duplicate) {
        SIM_CHECK(s, chores_work_at(s, c->desk) || d->certain < d->max_messages,
                  "%s takes more than its limit", d->name);
        check_first(s, c->slip, &r->receipt);
        slip_accepted(s, c->slip, r->receipt.id, r->receipt.accepted_ns);
        return;
    }
    if (r->refusal == REFUSAL_NONE || r->refusal == REFUSAL_ALREADY_CLAIMED) {
        SIM_CHECK(s, (r->refusal != REFUSAL_NONE) == s->slips->refuses_twins,
                  "a twin is answered otherwise than its desk says");
        check_twin(s, c, r->receipt.id);
    } else if (r->refusal == REFUSAL_QUEUE_FULL) {
        SIM_CHECK(s, chores_work_at(s, c->desk) || d->maybe >= d->max_messages, "%s is not full",
                  d->name);
    } else if (!traffic_is_full(s, c)) {
        traffic_unexpected(s, c);
    }
    SIM_CHECK(s, l->id == 0, "slip %u is refused and is there", c->slip);
    l->asked = false;
    l->refused = true;
}

static void publish_lost(struct sim *s, struct call *c) {
    s->slips->ghosts[slip_at(s, c->slip)->key] = true;
}

const struct traffic traffic_slip = {26, REQUEST_QUEUE_PUBLISH, make_publish, publish_answered,
                                     publish_lost};

/* ---- one slip ---- */

/* One of the latest, or of all, that may be in one of those states. 0: none was found. */
static uint32_t draw_slip(struct sim *s, struct rng *rng, unsigned may) {
    uint32_t count = s->slips->count;
    for (unsigned n = 0; n < TRIES && count > 1; n++) {
        uint32_t tag = traffic_recent(rng, count, 120);
        if (tag > 0 && slip_at(s, tag)->id != 0 && (slip_at(s, tag)->may & may))
            return tag;
    }
    return 0;
}

/* A desk where it may be. */
static unsigned desk_where(const struct sim *s, uint32_t tag) {
    const struct slip *l = slip_at(s, tag);
    for (unsigned d = 0; d < DESKS; d++)
        if (l->may & SLIP_AT(d))
            return d;
    return l->desk;
}

static bool fill_slip(struct sim *s, struct call *c, uint32_t tag) {
    if (tag == 0)
        return false;
    c->slip = tag;
    c->desk = (uint8_t)desk_where(s, tag);
    c->order = ++s->slips->asked;
    c->q.r.name = span_text(s->slips->desks[c->desk].name);
    c->q.r.id = slip_at(s, tag)->id;
    return true;
}

#define EVERYWHERE (SLIP_GONE - 1)
#define DEAD_ANYWHERE                                                                              \
    (SLIP_DEAD(DESK_WORK) | SLIP_DEAD(DESK_ASIDE) | SLIP_DEAD(DESK_ONCE) | SLIP_DEAD(DESK_FAIR) |  \
     SLIP_DEAD(DESK_BANK) | SLIP_DEAD(DESK_BULK))

/* What all that change one slip can be answered besides yes. True: it was that. */
static bool change_refused(struct sim *s, const struct call *c) {
    const struct slip *l = slip_at(s, c->slip);
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        SIM_CHECK(s, (slip_may(s, c->slip) & SLIP_AT(c->desk)) && l->under_way == 0,
                  "slip %u is changed at %s, and was not there (%x)", c->slip,
                  s->slips->desks[c->desk].name, slip_may(s, c->slip));
        return false;
    case REFUSAL_NOT_FOUND:
        SIM_CHECK(s, slip_may(s, c->slip) & ~SLIP_AT(c->desk), "slip %u is not found at %s",
                  c->slip, s->slips->desks[c->desk].name);
        return true;
    case REFUSAL_CONFLICT:
        SIM_CHECK(s, l->under_way != 0 || l->stranded || l->confirming,
                  "slip %u is not under way, and cannot be changed", c->slip);
        return true;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
        return true;
    }
}

/* ---- looking ---- */

static bool make_look(struct sim *s, struct call *c, struct rng *rng) {
    return fill_slip(s, c, draw_slip(s, rng, EVERYWHERE));
}

static void look_answered(struct sim *s, struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    const struct message_info *info = &c->q.r.out.message;
    if (c->q.r.refusal == REFUSAL_NOT_FOUND) {
        SIM_CHECK(s, slip_may(s, c->slip) & ~SLIP_AT(c->desk), "slip %u is not found", c->slip);
        return;
    }
    if (c->q.r.refusal != REFUSAL_NONE)
        traffic_unexpected(s, c);
    unsigned now = info->state == MESSAGE_DEAD ? SLIP_DEAD(c->desk) : SLIP_WAITS(c->desk);
    SIM_CHECK(s, slip_may(s, c->slip) & now, "slip %u is %s at %s; it may be %x", c->slip,
              message_state_name(info->state), s->slips->desks[c->desk].name, slip_may(s, c->slip));
    SIM_CHECK(s, info->state != MESSAGE_CONFIRMING || c->desk == DESK_BANK,
              "slip %u waits for a confirmation", c->slip);
    l->seen = (struct message_seen){info->address, info->attempts, info->state};
    l->seen_versions = l->versions;
}

const struct traffic traffic_slip_look = {8, REQUEST_MESSAGE_GET, make_look, look_answered,
                                          nothing_known};

/* ---- discard ---- */

static bool make_discard(struct sim *s, struct call *c, struct rng *rng) {
    c->q.r.in.note = span_text("it was a mistake");
    return fill_slip(s, c, draw_slip(s, rng, rng_below(rng, 3) > 0 ? DEAD_ANYWHERE : EVERYWHERE));
}

static void discard_answered(struct sim *s, struct call *c) {
    if (change_refused(s, c))
        return;
    slip_at(s, c->slip)->settled = c->order;
    slip_set(s, c->slip, SLIP_GONE);
}

static void discard_lost(struct sim *s, struct call *c) {
    slip_set(s, c->slip, slip_at(s, c->slip)->may | SLIP_GONE);
}

const struct traffic traffic_slip_discard = {3, REQUEST_MESSAGE_DELETE, make_discard,
                                             discard_answered, discard_lost};

/* ---- edit ---- */

static struct stored_message *fill_content(struct sim *s, struct call *c) {
    const struct slip *l = slip_at(s, c->slip);
    c->stored = (struct stored_message){.priority = slip_priority(c->version)};
    if (c->body == NULL)
        c->body = sim_alloc(LETTER_BYTES_MAX);
    slip_fill(c->slip, c->version, c->body);
    c->stored.envelope.body = span_of(c->body, slip_bytes(c->slip, c->version));
    if (l->tenant != 0) {
        snprintf(c->header_text, sizeof(c->header_text), "X-Tenant: %s\n", tenant_names[l->tenant]);
        c->stored.envelope.headers = span_text(c->header_text);
    }
    return &c->stored;
}

static bool make_edit(struct sim *s, struct call *c, struct rng *rng) {
    uint32_t tag = draw_slip(s, rng, EVERYWHERE);
    struct slip *l = slip_at(s, tag);
    if (tag == 0 || l->seen.address == 0 || l->made + 1u >= VERSIONS_MAX || !fill_slip(s, c, tag))
        return false;
    c->version = ++l->made;
    c->base = l->seen_versions;
    l->versions |= UINT64_C(1) << c->version;
    l->since = c->order; /* as it may be decided at any time */
    c->q.r.in.edit.seen = l->seen;
    c->q.r.in.edit.content = fill_content(s, c);
    return true;
}

static void edit_answered(struct sim *s, struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    uint64_t own = UINT64_C(1) << c->version;
    if (c->q.r.refusal != REFUSAL_NONE) {
        if (c->q.r.refusal != REFUSAL_STALE)
            (void)change_refused(s, c);
        l->versions &= ~own;
        SIM_CHECK(s, l->versions != 0, "slip %u has version %u, which was refused", c->slip,
                  c->version);
        return;
    }
    (void)change_refused(s, c);
    SIM_CHECK(s, c->base & l->versions & ~own, "slip %u is edited by who saw versions %llx of %llx",
              c->slip, (unsigned long long)c->base, (unsigned long long)(l->versions & ~own));
    s->result->edits++;
    l->versions = own;
    slip_taken_until_now(s, c->slip);
    l->settled = c->order;
}

const struct traffic traffic_slip_edit = {7, REQUEST_MESSAGE_EDIT, make_edit, edit_answered,
                                          nothing_known};

/* ---- move ---- */

static bool make_transfer(struct sim *s, struct call *c, struct rng *rng) {
    static const uint8_t targets[] = {DESK_WORK, DESK_ASIDE, DESK_ASIDE, DESK_ONCE};
    uint32_t tag = draw_slip(s, rng, EVERYWHERE);
    if (tag == 0 || slip_at(s, tag)->seen.address == 0 || !fill_slip(s, c, tag))
        return false;
    c->to = targets[rng_below(rng, sizeof(targets))];
    const struct slip *l = slip_at(s, tag);
    c->version = l->last_version;
    c->base = l->seen_versions;
    c->q.r.in.transfer.seen = l->seen;
    c->q.r.in.transfer.stored = fill_content(s, c);
    c->q.r.in.transfer.to = span_text(s->slips->desks[c->to].name);
    return c->to != c->desk;
}

static void transfer_answered(struct sim *s, struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    const struct desk_facts *to = &s->slips->desks[c->to];
    if (c->q.r.refusal == REFUSAL_STALE)
        return;
    if (c->q.r.refusal == REFUSAL_QUEUE_FULL) {
        SIM_CHECK(s, chores_work_at(s, c->to) || to->maybe >= to->max_messages, "%s is not full",
                  to->name);
        return;
    }
    if (change_refused(s, c))
        return;
    SIM_CHECK(s, c->base & l->versions, "slip %u is moved by who saw versions %llx of %llx",
              c->slip, (unsigned long long)c->base, (unsigned long long)l->versions);
    s->result->moves++;
    slip_renewed(s, c->slip, c->to);
    l->settled = c->order;
}

static void transfer_lost(struct sim *s, struct call *c) {
    slip_set(s, c->slip, slip_at(s, c->slip)->may | SLIP_WAITS(c->to));
    slip_at(s, c->slip)->anew = true;
}

const struct traffic traffic_slip_move = {4, REQUEST_MESSAGE_TRANSFER, make_transfer,
                                          transfer_answered, transfer_lost};

/* ---- redrive ---- */

static bool make_redrive(struct sim *s, struct call *c, struct rng *rng) {
    bool there = fill_slip(s, c, draw_slip(s, rng, DEAD_ANYWHERE));
    c->q.r.in.redrive.id = c->q.r.id;
    return there;
}

static void redrive_answered(struct sim *s, struct call *c) {
    unsigned may = slip_may(s, c->slip);
    if (c->q.r.refusal == REFUSAL_CONFLICT) {
        SIM_CHECK(s, may & SLIP_WAITS(c->desk), "slip %u is not dead", c->slip);
        return;
    }
    if (change_refused(s, c))
        return;
    SIM_CHECK(s, (may & SLIP_DEAD(c->desk)) && c->q.r.count == 1,
              "slip %u is redriven, and was not dead", c->slip);
    slip_renewed(s, c->slip, c->desk);
    slip_at(s, c->slip)->settled = c->order;
}

static void redrive_lost(struct sim *s, struct call *c) {
    slip_set(s, c->slip, slip_at(s, c->slip)->may | SLIP_WAITS(c->desk));
    slip_at(s, c->slip)->anew = true;
}

const struct traffic traffic_slip_redrive = {4, REQUEST_QUEUE_REDRIVE, make_redrive,
                                             redrive_answered, redrive_lost};

/* ---- what became of it, told from outside ---- */

static bool make_confirm(struct sim *s, struct call *c, struct rng *rng) {
    static const enum confirm_outcome outcomes[] = {CONFIRM_SUCCEEDED, CONFIRM_SUCCEEDED,
                                                    CONFIRM_FAILED, CONFIRM_RETRY};
    uint32_t tag = draw_slip(s, rng, SLIP_WAITS(DESK_BANK));
    if (tag == 0 || (slip_at(s, tag)->attempts == 0 && rng_below(rng, 8) > 0) ||
        !fill_slip(s, c, tag))
        return false;
    c->q.r.in.confirm.outcome = outcomes[rng_below(rng, ARRAY_LENGTH(outcomes))];
    c->q.r.in.confirm.note = span_text("as we heard");
    slip_at(s, tag)->told_often++;
    return true;
}

/* T5: it was new, and counts. */
static void take_outcome(struct sim *s, const struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    enum confirm_outcome outcome = c->q.r.in.confirm.outcome;
    SIM_CHECK(s, slip_may(s, c->slip) & SLIP_WAITS(DESK_BANK) && l->attempts > 0,
              "slip %u is told to be %s, and was not sent", c->slip, confirm_outcome_name(outcome));
    s->result->confirmed++;
    slip_taken_until_now(s, c->slip);
    l->settled = c->order;
    if (l->under_way != 0) {
        SIM_CHECK(s, l->told == 0, "slip %u is told to be %s, and had been told otherwise", c->slip,
                  confirm_outcome_name(outcome));
        l->told = (uint8_t)outcome;
        return;
    }
    bool late = !l->confirming || sim_engine_ns(s) >= l->confirm_from_ns;
    unsigned what = slip_told(s, c->slip, outcome);
    if (outcome == CONFIRM_RETRY && late)
        what |= l->may & SLIP_AT(DESK_BANK);
    l->confirming = false;
    slip_set(s, c->slip, what);
}

static void confirm_answered(struct sim *s, struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    bool waits =
        l->confirming && sim_engine_ns(s) < l->confirm_from_ns && l->may == SLIP_WAITS(DESK_BANK);
    switch (c->q.r.refusal) {
    case REFUSAL_NONE:
        if (!c->q.r.replayed)
            take_outcome(s, c);
        else
            SIM_CHECK(s, !waits, "slip %u waits, and nothing was made of its outcome", c->slip);
        return;
    case REFUSAL_CONFLICT:
        SIM_CHECK(s, !waits, "slip %u waits, and its outcome is refused", c->slip);
        return;
    case REFUSAL_NOT_FOUND:
        SIM_CHECK(s, slip_may(s, c->slip) & SLIP_GONE, "slip %u is not found: it waits", c->slip);
        return;
    default:
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    }
}

static void confirm_lost(struct sim *s, struct call *c) {
    struct slip *l = slip_at(s, c->slip);
    enum confirm_outcome outcome = c->q.r.in.confirm.outcome;
    if (l->under_way != 0 && l->told == 0)
        l->may_tell |= (uint8_t)(1u << outcome);
    else if (l->under_way == 0) /* a start may have come before it that nobody was told of */
        slip_set(s, c->slip, l->may | slip_told(s, c->slip, outcome));
    l->confirm_from_ns = 0; /* it may wait no longer */
}

const struct traffic traffic_slip_confirm = {6, REQUEST_CONFIRM, make_confirm, confirm_answered,
                                             confirm_lost};
