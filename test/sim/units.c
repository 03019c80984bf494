#include "units.h"

#include <string.h>

#include "letters.h"

struct units *units_create(void) {
    struct units *u = sim_alloc(sizeof(*u));
    u->count = 1;
    return u;
}

void units_free(struct units *u) {
    free(u->items);
    free(u);
}

uint32_t unit_make(struct sim *s, unsigned stock, uint32_t member) {
    struct units *u = s->units;
    if (u->count == u->capacity || u->items == NULL) {
        u->capacity = u->capacity == 0 ? 1024 : u->capacity * 2;
        u->items = realloc(u->items, u->capacity * sizeof(*u->items));
        assert(u->items != NULL);
    }
    uint32_t unit = u->count++;
    u->items[unit] = (struct unit){.stock = (uint8_t)stock, .member = member, .may = UNIT_NONE};
    return unit;
}

void unit_key(const struct sim *s, uint32_t unit, char out[24]) {
    const struct unit *u = unit_at(s, unit);
    if (u->stock == STOCK_SEATS || u->stock == STOCK_TICKETS)
        snprintf(out, 24, "p%u", unit);
    else
        receipt_format(u->receipt, out);
}

unsigned unit_may(const struct sim *s, const struct unit *u) {
    unsigned may = u->may;
    if ((may & UNIT_HELD) && u->until_ns != 0 && u->until_ns <= sim_engine_ns(s))
        may |= UNIT_NONE;
    return may;
}

struct unit_count units_count(const struct sim *s, unsigned stock, uint32_t member,
                              uint32_t without) {
    struct unit_count c = {0};
    for (uint32_t i = 1; i < s->units->count; i++) {
        const struct unit *u = unit_at(s, i);
        if (u->stock != stock || i == without || (member != 0 && u->member != member))
            continue;
        unsigned may = unit_may(s, u);
        c.maybe += (may & UNIT_IN_USE) != 0;
        c.certain += (may & ~(unsigned)UNIT_IN_USE) == 0;
    }
    return c;
}

void unit_given(struct sim *s, uint32_t unit, uint64_t number, uint64_t until_ns, uint64_t safety) {
    struct unit *u = unit_at(s, unit);
    const struct stock_facts *st = &s->units->stocks[u->stock];
    uint64_t total = st->total_asked > st->total ? st->total_asked : st->total;
    for (uint32_t i = 1; i < s->units->count; i++) {
        const struct unit *other = unit_at(s, i);
        bool same = i != unit && other->stock == u->stock && other->number == number;
        SIM_CHECK(s, !same || (unit_may(s, other) & ~(unsigned)UNIT_IN_USE) != 0,
                  "%s: number %llu is given twice (units %u and %u)", st->name,
                  (unsigned long long)number, i, unit); /* U1 */
    }
    struct unit_count c = units_count(s, u->stock, 0, unit);
    SIM_CHECK(s, number >= 1 && number <= c.maybe + 1,
              "%s: number %llu is given while at most %llu are in use", st->name,
              (unsigned long long)number, (unsigned long long)c.maybe); /* U2 */
    SIM_CHECK(s, c.certain + 1 + safety <= total, "%s: unit %llu of %llu is given", st->name,
              (unsigned long long)c.certain + 1, (unsigned long long)total); /* U3 */
    u->number = (uint32_t)number;
    u->until_ns = until_ns;
    u->may = until_ns != 0 ? UNIT_HELD : UNIT_FINAL;
}

void units_check_numbers(struct sim *s, unsigned stock, uint64_t used) {
    static uint32_t owners[1u << 14];
    memset(owners, 0, sizeof(owners));
    uint64_t found = 0;
    for (uint32_t i = 1; i < s->units->count; i++) {
        const struct unit *u = unit_at(s, i);
        if (u->stock != stock || (u->may & UNIT_IN_USE) == 0)
            continue;
        SIM_CHECK(s, u->number > 0 && u->number < 1u << 14 && owners[u->number] == 0,
                  "%s: units %u and %u have number %u", s->units->stocks[stock].name,
                  owners[u->number], i, u->number);
        owners[u->number] = i;
        found++;
    }
    SIM_CHECK(s, found == used, "%s says %llu in use, %llu purchases are found",
              s->units->stocks[stock].name, (unsigned long long)used, (unsigned long long)found);
    SIM_CHECK(s, used <= s->units->stocks[stock].total, "%s is sold above its total",
              s->units->stocks[stock].name);
}

/* ---- what is tied to a letter ---- */

static bool keeps_unit(const struct sim *s, const struct letter *l) {
    return l->tied && s->units->campaigns[CAMPAIGN_COUPONS].policy == CAMPAIGN_FAILURE_KEEP;
}

void unit_letter_died(struct sim *s, uint32_t tag) {
    const struct letter *l = letter_at(s, tag);
    if (l->unit == 0 || keeps_unit(s, l))
        return;
    struct unit *u = unit_at(s, l->unit);
    u->may = (u->may & UNIT_CANCELLED) != 0 ? u->may & ~(unsigned)UNIT_IN_USE : UNIT_NONE;
}

void unit_letter_redriven(struct sim *s, uint32_t tag) {
    const struct letter *l = letter_at(s, tag);
    if (l->unit == 0 || keeps_unit(s, l))
        return;
    struct unit *u = unit_at(s, l->unit);
    if (l->tied) /* of several entries of a member this one stands again */
        s->units->campaigns[CAMPAIGN_COUPONS].members[l->member] =
            (struct entry_facts){.receipt = l->id, .unit = l->unit, .letter = tag};
    if (u->may & UNIT_NONE) /* it had been given back: this may be another one */
        u->number = 0;
    u->may = UNIT_FINAL;
    u->until_ns = 0;
}

void unit_letter_unsure(struct sim *s, uint32_t tag) {
    const struct letter *l = letter_at(s, tag);
    if (l->unit == 0 || keeps_unit(s, l))
        return;
    struct unit *u = unit_at(s, l->unit);
    u->may |= UNIT_NONE | UNIT_FINAL;
}
