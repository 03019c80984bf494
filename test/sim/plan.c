#include "plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "faults.h"

#define FAULTS_MOST 14u

static const char *const names[] = {
#define X(name, text, what) text,
    FAULT_TABLE(X)
#undef X
};

static const char *const texts[] = {
#define X(name, text, what) what,
    FAULT_TABLE(X)
#undef X
};

const char *fault_name(enum fault_kind k) {
    return names[k];
}

const char *fault_text(enum fault_kind k) {
    return texts[k];
}

/* How often each kind is drawn; stops are what all is about. */
static const uint8_t weights[FAULT_KINDS] = {
    [FAULT_KILL] = 10,      [FAULT_DROP] = 8,      [FAULT_TEAR] = 8,     [FAULT_SCATTER] = 8,
    [FAULT_GARBLE] = 8,     [FAULT_IO_ERROR] = 12, [FAULT_NO_SPACE] = 7, [FAULT_READ_ERROR] = 7,
    [FAULT_SHORT_READ] = 5, [FAULT_SLOW] = 6,      [FAULT_FULL] = 6,     [FAULT_AHEAD] = 4,
    [FAULT_BACK] = 4,       [FAULT_CLOSE] = 4,     [FAULT_FLIP] = 8,     [FAULT_CUT] = 4,
    [FAULT_MISSING] = 3,    [FAULT_DOUBLED] = 3,
};

static enum fault_kind draw_kind(struct rng *rng) {
    uint32_t sum = 0;
    for (unsigned k = 0; k < FAULT_KINDS; k++)
        sum += weights[k];
    uint32_t at = (uint32_t)rng_below(rng, sum);
    unsigned k = 0;
    for (; at >= weights[k]; k++)
        at -= weights[k];
    return (enum fault_kind)k;
}

/* Half of them at the next operation of any kind, the others where few operations are. */
static void draw_place(struct rng *rng, struct fault *f) {
    if (rng_below(rng, 3) == 0) {
        f->site = SITE_ANY;
        f->nth = 1 + (uint32_t)rng_below(rng, 40);
    } else {
        f->site = site_draw(rng, f->kind);
        f->nth = 1 + (uint32_t)rng_below(rng, 3);
    }
}

void plan_make(struct plan *p, uint64_t seed, uint32_t clients, uint32_t operations) {
    struct rng rng;
    rng_init(&rng, seed ^ UINT64_C(0x706c616e));
    uint32_t drawn = 1u + (uint32_t)rng_below(&rng, 2) * 3 + (uint32_t)rng_below(&rng, 60);
    *p = (struct plan){
        .seed = seed,
        .clients = clients != 0 ? clients : drawn,
        .operations = operations,
        .fault_count = (uint32_t)rng_below(&rng, FAULTS_MOST + 1),
    };
    for (uint32_t i = 0; i < p->fault_count; i++) {
        struct fault *f = &p->faults[i];
        f->kind = draw_kind(&rng);
        f->number = i;
        f->at = (uint32_t)rng_below(&rng, PLAN_LENGTH);
        draw_place(&rng, f);
        /* What a folder goes through once is gone through at the first start. */
        if (site_is_of_start(f->site) && rng_below(&rng, 2) == 0)
            f->at = 0;
        f->amount = rng_next(&rng);
    }
}

static struct fault *find_fault(struct plan *p, uint32_t number) {
    for (uint32_t i = 0; i < p->fault_count; i++)
        if (p->faults[i].number == number)
            return &p->faults[i];
    return NULL;
}

bool plan_keep_faults(struct plan *p, const char *list) {
    struct plan kept = *p;
    kept.fault_count = 0;
    if (strcmp(list, "all") == 0)
        return true;
    while (strcmp(list, "none") != 0 && *list != '\0') {
        char *end;
        struct fault *f = find_fault(p, (uint32_t)strtoul(list, &end, 10));
        if (end == list || f == NULL || kept.fault_count == PLAN_FAULTS_MAX)
            return false;
        kept.faults[kept.fault_count++] = *f;
        list = *end == ',' ? end + 1 : end;
    }
    *p = kept;
    return true;
}

void plan_print_options(const struct plan *p, FILE *out) {
    fprintf(out, "--seed %llu --clients %u --operations %u --faults ", (unsigned long long)p->seed,
            p->clients, p->operations);
    for (uint32_t i = 0; i < p->fault_count; i++)
        fprintf(out, "%s%u", i > 0 ? "," : "", p->faults[i].number);
    fprintf(out, "%s", p->fault_count == 0 ? "none" : "");
    if (p->import != NULL)
        fprintf(out, " --import %s", p->import);
}

void plan_print(const struct plan *p, FILE *out) {
    fprintf(out, "seed %llu, %u clients, %u operations, %u faults\n", (unsigned long long)p->seed,
            p->clients, p->operations, p->fault_count);
    for (uint32_t i = 0; i < p->fault_count; i++) {
        const struct fault *f = &p->faults[i];
        char site[SITE_NAME_BYTES];
        site_name(f->site, site);
        fprintf(out, "  %2u. from operation %5u, at the %u. of: %s: %s (%s)\n", f->number, f->at,
                f->nth, site, fault_name(f->kind), fault_text(f->kind));
    }
}
