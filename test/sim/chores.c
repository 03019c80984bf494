#include "chores.h"

#include <inttypes.h>
#include <string.h>

#include "api/job_runner.h"
#include "model/job.h"

struct chores {
    struct chore items[CHORES_MAX];
    uint32_t made;
    uint64_t next_ns; /* the runner has something to do; UINT64_MAX: nothing */
    bool listed[CHORES_MAX];
};

struct chores *chores_create(void) {
    return sim_alloc(sizeof(struct chores));
}

void chores_free(struct chores *h) {
    free(h);
}

/* ---- which there are ---- */

struct chore *chore_make(struct sim *s) {
    struct chores *all = s->chores;
    for (unsigned i = 0; i < CHORES_MAX; i++)
        if (all->items[i].number == 0) {
            all->items[i] = (struct chore){.number = ++all->made, .asked = ++s->slips->asked};
            return &all->items[i];
        }
    return NULL;
}

struct chore *chore_at(struct sim *s, uint32_t number) {
    for (unsigned i = 0; number != 0 && i < CHORES_MAX; i++)
        if (s->chores->items[i].number == number)
            return &s->chores->items[i];
    return NULL;
}

struct chore *chore_draw(struct sim *s, uint64_t draw) {
    struct chore *h = &s->chores->items[draw % CHORES_MAX];
    return h->number != 0 && h->id != 0 ? h : NULL;
}

void chore_refused(struct sim *s, struct chore *h) {
    SIM_CHECK(s, h->id == 0, "job %u is refused and runs", h->number);
    *h = (struct chore){0};
}

/* ---- what they may do ---- */

static unsigned bit_before(const struct chore *h) {
    return h->state == MESSAGE_DEAD ? SLIP_DEAD(h->from) : SLIP_WAITS(h->from);
}

static unsigned bit_after(const struct chore *h) {
    switch (h->action) {
    case JOB_REDRIVE:
        return SLIP_WAITS(h->from);
    case JOB_MOVE:
        return SLIP_WAITS(h->to);
    default:
        return SLIP_GONE;
    }
}

/* J1 */
static bool may_have(const struct chore *h, const struct slip *l, uint32_t tag) {
    return h->number != 0 && (!h->odd_only || slip_is_odd(tag)) &&
           (h->answered == 0 || l->settled <= h->answered);
}

unsigned chores_may(const struct sim *s, uint32_t tag, unsigned may) {
    const struct slip *l = slip_at(s, tag);
    for (unsigned before = 0; before != may;) {
        before = may;
        for (unsigned i = 0; i < CHORES_MAX; i++) {
            const struct chore *h = &s->chores->items[i];
            if (may_have(h, l, tag) && (may & bit_before(h)))
                may |= bit_after(h);
        }
    }
    return may;
}

bool chores_may_renew(const struct sim *s, uint32_t tag) {
    unsigned may = slip_may(s, tag);
    for (unsigned i = 0; i < CHORES_MAX; i++) {
        const struct chore *h = &s->chores->items[i];
        if (h->action != JOB_DISCARD && may_have(h, slip_at(s, tag), tag) && (may & bit_before(h)))
            return true;
    }
    return false;
}

bool chores_work_at(const struct sim *s, unsigned desk) {
    for (unsigned i = 0; i < CHORES_MAX; i++) {
        const struct chore *h = &s->chores->items[i];
        if (h->number != 0 && (h->from == desk || (h->action == JOB_MOVE && h->to == desk)))
            return true;
    }
    return false;
}

/* J2: one that was there, as it is, before it was asked for. What waits is ready when somebody saw it so. */
static bool is_meant(const struct chore *h, const struct slip *l, uint32_t tag) {
    bool as_asked = h->state == MESSAGE_DEAD || (l->ready != 0 && l->ready <= h->asked);
    return l->may == bit_before(h) && l->since <= h->asked && as_asked &&
           (!h->odd_only || slip_is_odd(tag));
}

/* A text that could not be read stays where it is. */
static bool reads_well(const struct sim *s, const struct chore *h) {
    const uint32_t *happened = s->result->happened;
    bool reads = h->odd_only || h->action == JOB_MOVE;
    return !reads || happened[FAULT_READ_ERROR] + happened[FAULT_SHORT_READ] == 0;
}

void chore_over(struct sim *s, struct chore *h, bool done) {
    for (uint32_t tag = 1; tag < s->slips->count; tag++) {
        struct slip *l = slip_at(s, tag);
        unsigned may = slip_may(s, tag);
        if (done && reads_well(s, h) && is_meant(h, l, tag))
            may &= ~bit_before(h);
        l->anew |= chores_may_renew(s, tag);
        if (may != l->may)
            slip_set(s, tag, may);
    }
    *h = (struct chore){0};
}

/* ---- the runner ---- */

void chores_work(struct sim *s) {
    if (s->chores->next_ns > s->now_ns && s->chores->next_ns != UINT64_MAX)
        return;
    uint64_t wait_ns = job_runner_turn(s->engine);
    s->chores->next_ns = wait_ns == UINT64_MAX ? UINT64_MAX : s->now_ns + wait_ns;
}

bool chores_idle(const struct sim *s) {
    for (unsigned i = 0; i < CHORES_MAX; i++)
        if (s->chores->items[i].number != 0 && s->chores->next_ns != UINT64_MAX)
            return false;
    return true;
}

/* ---- what is told of them ---- */

uint32_t chore_number(struct reader *in, struct job_info *ret) {
    struct reader texts;
    struct span info = reader_take(in, sizeof(*ret));
    reader_init(&texts, reader_bytes(in));
    assert(!in->failed);
    memcpy(ret, info.data, sizeof(*ret));
    for (unsigned i = 0; i < 3; i++)
        (void)reader_bytes(&texts);
    char reason[32] = "";
    struct span text = reader_bytes(&texts);
    memcpy(reason, text.data, text.size < sizeof(reason) ? text.size : sizeof(reason) - 1);
    return (uint32_t)strtoul(reason + strcspn(reason, "0123456789"), NULL, 10);
}

/* J3; the runner may take what is due in 100 ms at once. */
static void check_pace(struct sim *s, const struct chore *h, const struct job_info *info) {
    uint64_t now_ns = sim_engine_ns(s);
    uint64_t passed_ns = now_ns > info->began_ns ? now_ns - info->began_ns : 0;
    SIM_CHECK(s, info->done * h->interval_ns <= passed_ns + JOB_BURST_NS + h->interval_ns,
              "job %u has done %" PRIu64 " in %" PRIu64 " us, one in %" PRIu64 " us is its pace",
              h->number, info->done, passed_ns / 1000, h->interval_ns / 1000);
    SIM_CHECK(s, info->done >= h->done, "job %u has done %" PRIu64 ", and had done %" PRIu64,
              h->number, info->done, h->done);
    SIM_CHECK(s, info->done + info->failed <= info->visited,
              "job %u has done %" PRIu64 ", and looked at %" PRIu64, h->number, info->done,
              info->visited);
}

static void check_done(struct sim *s, const struct chore *h) {
    for (uint32_t tag = 1; tag < s->slips->count && reads_well(s, h); tag++)
        SIM_CHECK(s, !is_meant(h, slip_at(s, tag), tag),
                  "job %u is done, and slip %u is where it was", h->number, tag);
}

void chore_seen(struct sim *s, const struct job_info *info, uint32_t number, bool audited) {
    struct chore *h = chore_at(s, number);
    if (h == NULL)
        return; /* it was over before */
    SIM_CHECK(s, h->id == 0 || h->id == info->id, "job %u has two ids", number);
    SIM_CHECK(s,
              info->action == h->action && info->state == h->state &&
                  info->interval_ns == h->interval_ns,
              "job %u is another", number);
    h->id = info->id;
    h->answered = h->answered != 0 ? h->answered : ++s->slips->asked;
    check_pace(s, h, info);
    h->done = info->done;
    SIM_CHECK(s, info->status == JOB_RUNNING || info->status == JOB_DONE || h->stopping,
              "job %u ended as %s", number, job_status_name(info->status));
    s->result->chores += info->status == JOB_DONE;
    s->result->chored += info->status == JOB_RUNNING ? 0 : (uint32_t)info->done;
    if (info->status == JOB_DONE && audited)
        check_done(s, h);
    if (info->status != JOB_RUNNING && audited)
        *h = (struct chore){0}; /* all is known anyway */
    else if (info->status != JOB_RUNNING)
        chore_over(s, h, info->status == JOB_DONE);
}

void chores_audit(struct sim *s, const struct request *list) {
    struct reader in;
    struct job_info info;
    SIM_CHECK(s, list->refusal == REFUSAL_NONE, "the jobs cannot be listed");
    reader_init(&in, buffer_span(&list->out_bytes));
    for (uint64_t n = 0; n < list->count; n++) {
        uint32_t number = chore_number(&in, &info);
        struct chore *h = chore_at(s, number);
        if (h == NULL)
            continue;
        s->chores->listed[h - s->chores->items] = true;
        chore_seen(s, &info, number, true);
    }
}

void chores_audit_end(struct sim *s) {
    for (unsigned i = 0; i < CHORES_MAX; i++) {
        struct chore *h = &s->chores->items[i];
        if (h->number != 0 && !s->chores->listed[i]) {
            SIM_CHECK(s, h->id == 0, "job %u was started and is lost", h->number);
            *h = (struct chore){0}; /* nobody waits for its answer any more: it never was */
        }
        s->chores->listed[i] = false;
    }
    s->chores->next_ns = 0;
}
