/*
 * Four kinds of people, of 100:
 *
 *    4  early birds    click before the opening (one in four of them twice), and again within the
 *                      first 300 ms
 *   88  everybody else come in the burst: most at once, then fewer; the density of first clicks
 *                      falls in a straight line to a quarter of what it was
 *    8  latecomers     come when all that is left is what others had to give back
 *
 * What remains of the entries are clicks of people who clicked before: a few of latecomers, most in
 * the burst, seven in ten of those a double click within a quarter of a second, the others a new try up
 * to three seconds later.
 */
#include "plan.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/rng.h"

#define EARLY_PER_CENT       4u
#define LATE_PER_CENT        8u
#define LATE_DOUBLE_PER_CENT 25u
#define RETURN_MS            300u

struct draft {
    const struct plan_options *o;
    struct rng rng;
    struct plan plan;
    uint32_t *members;    /* owns; all of them, shuffled */
    int32_t *first_ms;    /* owns; by place in `members`: first click from the opening on */
    uint32_t early, late; /* places: [0, early) early birds, [late, count) latecomers */
};

static int32_t between(struct draft *d, int32_t low, int32_t high) {
    return low + (int32_t)rng_below(&d->rng, (uint64_t)(high - low) + 1);
}

static void click_add(struct draft *d, uint32_t place, int32_t due_ms) {
    d->plan.clicks[d->plan.count++] = (struct click){d->members[place], due_ms};
}

static void members_shuffle(struct draft *d) {
    for (uint32_t i = 0; i < d->o->members; i++) {
        uint32_t other = (uint32_t)rng_below(&d->rng, i + 1);
        d->members[i] = d->members[other];
        d->members[other] = i;
    }
}

/* Density 1.6 - 1.2 x over x in [0, 1]: the inverse of its integral at a uniform draw. */
static int32_t burst_moment(struct draft *d) {
    double u = (double)(rng_next(&d->rng) >> 11) * 0x1p-53;
    return (int32_t)((1.6 - sqrt(2.56 - 2.4 * u)) / 1.2 * d->o->burst_ms);
}

static void early_birds(struct draft *d) {
    int32_t early_ms = (int32_t)d->o->early_ms;
    for (uint32_t i = 0; i < d->early; i++) {
        click_add(d, i, between(d, -early_ms, -1));
        if (i % 4 == 0)
            click_add(d, i, between(d, -early_ms, -1));
        d->first_ms[i] = between(d, 0, RETURN_MS);
        click_add(d, i, d->first_ms[i]);
    }
}

static void everybody(struct draft *d) {
    for (uint32_t i = d->early; i < d->late; i++) {
        d->first_ms[i] = burst_moment(d);
        click_add(d, i, d->first_ms[i]);
    }
}

static void repeats(struct draft *d, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = (uint32_t)rng_below(&d->rng, d->late);
        bool double_click = rng_below(&d->rng, 10) < 7;
        int32_t later_ms = double_click ? between(d, 15, 250) : between(d, 500, 3000);
        click_add(d, place, d->first_ms[place] + later_ms);
    }
}

static void latecomers(struct draft *d, uint32_t doubles) {
    d->plan.late_first = d->plan.count;
    for (uint32_t i = d->late; i < d->o->members; i++) {
        click_add(d, i, 0);
        if (i - d->late < doubles)
            click_add(d, i, 0);
    }
}

static int click_compare(const void *left, const void *right) {
    const struct click *a = left, *b = right;
    return (a->due_ms > b->due_ms) - (a->due_ms < b->due_ms);
}

static int draft_fill(struct draft *d) {
    uint32_t late_members = d->o->members - d->late;
    uint32_t late_doubles = late_members * LATE_DOUBLE_PER_CENT / 100;
    uint32_t fixed = d->o->members + d->early + (d->early + 3) / 4 + late_doubles;
    if (d->late == 0 || d->o->entries < fixed)
        return E_INVALID;
    members_shuffle(d);
    early_birds(d);
    everybody(d);
    repeats(d, d->o->entries - fixed);
    qsort(d->plan.clicks, d->plan.count, sizeof(struct click), click_compare);
    latecomers(d, late_doubles);
    return 0;
}

int plan_create(const struct plan_options *o, struct plan *ret) {
    struct draft d = {.o = o};
    rng_init(&d.rng, o->seed);
    d.early = (uint32_t)((uint64_t)o->members * EARLY_PER_CENT / 100);
    d.late = o->members - (uint32_t)((uint64_t)o->members * LATE_PER_CENT / 100);
    d.members = calloc(o->members + 1u, sizeof(*d.members));
    d.first_ms = calloc(o->members + 1u, sizeof(*d.first_ms));
    d.plan.clicks = calloc(o->entries + 1u, sizeof(*d.plan.clicks));
    int rc = E_NOMEM;
    if (d.members != NULL && d.first_ms != NULL && d.plan.clicks != NULL)
        rc = draft_fill(&d);
    free(d.members);
    free(d.first_ms);
    if (rc != 0)
        plan_release(&d.plan);
    else
        *ret = d.plan;
    return rc;
}

void plan_release(struct plan *p) {
    free(p->clicks);
    *p = (struct plan){0};
}
