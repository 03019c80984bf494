/* Jobs on the messages of a desk: start, ask for, cancel. */
#include "chores.h"
#include "traffic.h"

/* ---- start ---- */

static void draw_work(struct chore *h, struct rng *rng) {
    static const uint8_t desks[] = {DESK_WORK, DESK_WORK, DESK_ONCE, DESK_BANK, DESK_BULK};
    h->state = MESSAGE_DEAD;
    h->from = desks[rng_below(rng, sizeof(desks))];
    h->action = (enum job_action)(JOB_REDRIVE + rng_below(rng, 3));
    h->to = h->from == DESK_WORK || rng_below(rng, 2) == 0 ? DESK_ASIDE : DESK_WORK;
    if (rng_below(rng, 4) == 0) { /* what waits aside comes back, or goes */
        h->state = MESSAGE_READY;
        h->from = DESK_ASIDE;
        h->to = DESK_WORK;
        h->action = rng_below(rng, 3) == 0 ? JOB_DISCARD : JOB_MOVE;
    }
    h->odd_only = rng_below(rng, 2) == 0;
    h->interval_ns = rng_below(rng, 2) == 0 ? 0 : (1 + rng_below(rng, 40)) * NS_PER_MS;
}

static bool make_start(struct sim *s, struct call *c, struct rng *rng) {
    struct chore *h = rng_below(rng, 2) == 0 ? chore_make(s) : NULL;
    if (h == NULL)
        return false;
    draw_work(h, rng);
    c->chore = h->number;
    snprintf(c->key, sizeof(c->key), "job %u", h->number);
    c->q.r.name = span_text(s->slips->desks[h->from].name);
    c->q.r.in.job_start = (struct job_start){
        .action = h->action,
        .state = h->state,
        .to = span_text(h->action == JOB_MOVE ? s->slips->desks[h->to].name : ""),
        .interval_ns = h->interval_ns,
        .filter = span_text(h->odd_only ? "{\"contains\":\"" SLIP_ODD_TEXT "\"}" : "{}"),
        .reason = span_text(c->key),
    };
    return true;
}

static void start_answered(struct sim *s, struct call *c) {
    struct chore *h = chore_at(s, c->chore);
    if (c->q.r.refusal == REFUSAL_NONE && h != NULL) {
        h->id = c->q.r.id;
        h->answered = ++s->slips->asked;
    } else if (c->q.r.refusal == REFUSAL_DISK_FULL && traffic_is_full(s, c)) {
        chore_refused(s, h);
    } else {
        traffic_unexpected(s, c);
    }
}

static void nothing_known(struct sim *s, struct call *c) {
    (void)s;
    (void)c;
}

const struct traffic traffic_chore = {3, REQUEST_JOB_START, make_start, start_answered,
                                      nothing_known};

/* ---- ask, cancel ---- */

static bool fill_chore(struct sim *s, struct call *c, struct rng *rng) {
    struct chore *h = chore_draw(s, rng_below(rng, CHORES_MAX));
    if (h == NULL)
        return false;
    c->chore = h->number;
    c->q.r.id = h->id;
    c->q.r.name = span_text(s->slips->desks[h->from].name);
    return true;
}

static void look_answered(struct sim *s, struct call *c) {
    struct reader in;
    struct job_info info;
    if (c->q.r.refusal != REFUSAL_NONE)
        traffic_unexpected(s, c);
    reader_init(&in, buffer_span(&c->q.r.out_bytes));
    uint32_t number = chore_number(&in, &info);
    SIM_CHECK(s, number == c->chore, "job %u is asked for, job %u is told", c->chore, number);
    chore_seen(s, &info, number, false);
}

const struct traffic traffic_chore_look = {3, REQUEST_JOB_GET, fill_chore, look_answered,
                                           nothing_known};

static bool make_cancel(struct sim *s, struct call *c, struct rng *rng) {
    if (rng_below(rng, 3) > 0 || !fill_chore(s, c, rng))
        return false;
    chore_at(s, c->chore)->stopping = true;
    return true;
}

static void cancel_answered(struct sim *s, struct call *c) {
    struct chore *h = chore_at(s, c->chore);
    if (c->q.r.refusal != REFUSAL_NONE) {
        if (!traffic_is_full(s, c))
            traffic_unexpected(s, c);
    } else if (h != NULL) {
        SIM_CHECK(s, c->q.r.count >= h->done, "job %u had done more", h->number);
        chore_over(s, h, false);
    }
}

const struct traffic traffic_chore_cancel = {1, REQUEST_JOB_CANCEL, make_cancel, cancel_answered,
                                             nothing_known};
