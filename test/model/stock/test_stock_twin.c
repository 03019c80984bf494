/*
 * Stocks against a twin that is nothing but arrays and loops.
 *
 * Random operations on a few stocks, purchases and members, with time that moves; after each the answer is
 * compared, every now and then the invariants, a replay of the whole log, and a reload. A seed that fails
 * is printed; give it as argument to run it alone.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "model/stock.h"
#include "world.h"

#define STOCKS    3u
#define PURCHASES 40u
#define MEMBERS   6u
#define SEEDS     60u
#define STEPS     1500u
#define TTL_NS    (50 * NS_PER_SECOND)
#define LIMIT     100u

enum twin_state { ABSENT, HELD, FINAL, TOMBSTONE };

struct twin_purchase {
    enum twin_state state;
    unsigned member; /* 0: none */
    uint64_t number, until_ns, id;
};

struct twin_stock {
    bool exists, on_sale;
    uint64_t total, per_member, hold_ns, sold_out_since_ns;
    struct twin_purchase purchases[PURCHASES];
};

struct twin {
    struct twin_stock stocks[STOCKS];
    uint64_t now_ns;
};

static uint64_t current_seed;

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            fprintf(stderr, "seed %llu: %s:%d: %s\n", (unsigned long long)current_seed, __FILE__,  \
                    __LINE__, #condition);                                                         \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

/* ---- the twin ---- */

static uint64_t twin_count(const struct twin_stock *s, enum twin_state a, enum twin_state b) {
    uint64_t n = 0;
    for (unsigned i = 0; i < PURCHASES; i++) {
        n += s->purchases[i].state == a || s->purchases[i].state == b;
    }
    return n;
}

static uint64_t twin_used(const struct twin_stock *s) {
    return twin_count(s, HELD, FINAL);
}

static uint64_t twin_of_member(const struct twin_stock *s, unsigned member) {
    uint64_t n = 0;
    for (unsigned i = 0; i < PURCHASES; i++) {
        const struct twin_purchase *p = &s->purchases[i];
        n += (p->state == HELD || p->state == FINAL) && p->member == member;
    }
    return n;
}

static uint64_t twin_everything(const struct twin *t, bool only_tombstones) {
    uint64_t n = 0;
    for (unsigned i = 0; i < STOCKS; i++) {
        n += twin_count(&t->stocks[i], TOMBSTONE, TOMBSTONE);
        n += only_tombstones ? 0 : twin_used(&t->stocks[i]);
    }
    return n;
}

static uint64_t twin_free_number(const struct twin_stock *s) {
    for (uint64_t number = 1;; number++) {
        bool is_used = false;
        for (unsigned i = 0; i < PURCHASES; i++) {
            const struct twin_purchase *p = &s->purchases[i];
            is_used |= (p->state == HELD || p->state == FINAL) && p->number == number;
        }
        if (!is_used) {
            return number;
        }
    }
}

static void twin_note_level(struct twin *t, struct twin_stock *s) {
    if (twin_used(s) < s->total) {
        s->sold_out_since_ns = 0;
    } else if (s->sold_out_since_ns == 0) {
        s->sold_out_since_ns = t->now_ns;
    }
}

static enum refusal twin_reserve(struct twin *t, struct twin_stock *s, struct twin_purchase *p,
                                 unsigned member, uint64_t hold_ns, uint64_t id) {
    if (p->state == TOMBSTONE) {
        return REFUSAL_CANCELLED;
    }
    if (p->state != ABSENT) {
        return p->member == member ? REFUSAL_NONE : REFUSAL_CONFLICT;
    }
    if (member != 0 && s->per_member != 0 && twin_of_member(s, member) >= s->per_member) {
        return REFUSAL_MEMBER_LIMIT;
    }
    if (twin_used(s) >= s->total) {
        return REFUSAL_SOLD_OUT;
    }
    if (twin_everything(t, false) >= LIMIT) {
        return REFUSAL_LIMIT;
    }
    hold_ns = hold_ns != 0 ? hold_ns : s->hold_ns;
    *p = (struct twin_purchase){
        .state = hold_ns != 0 ? HELD : FINAL,
        .member = member,
        .number = twin_free_number(s),
        .until_ns = hold_ns != 0 ? t->now_ns + hold_ns : 0,
        .id = id,
    };
    twin_note_level(t, s);
    return REFUSAL_NONE;
}

static enum refusal twin_release(struct twin *t, struct twin_stock *s, struct twin_purchase *p) {
    bool room = twin_everything(t, true) < LIMIT / 4 + 1;
    if (p->state == TOMBSTONE) {
        return REFUSAL_NONE;
    }
    if (p->state == ABSENT && (!room || twin_everything(t, false) >= LIMIT)) {
        return REFUSAL_LIMIT;
    }
    *p = (struct twin_purchase){.state = room ? TOMBSTONE : ABSENT,
                                .until_ns = room ? t->now_ns + TTL_NS : 0};
    twin_note_level(t, s);
    return REFUSAL_NONE;
}

static enum refusal twin_confirm(struct twin_purchase *p) {
    if (p->state == ABSENT || p->state == TOMBSTONE) {
        return p->state == ABSENT ? REFUSAL_NOT_FOUND : REFUSAL_CANCELLED;
    }
    p->state = FINAL;
    p->until_ns = 0;
    return REFUSAL_NONE;
}

static uint32_t twin_run_timers(struct twin *t) {
    uint32_t count = 0;
    for (unsigned i = 0; i < STOCKS; i++) {
        for (unsigned k = 0; k < PURCHASES; k++) {
            struct twin_purchase *p = &t->stocks[i].purchases[k];
            if (t->stocks[i].exists && p->until_ns != 0 && p->until_ns <= t->now_ns) {
                *p = (struct twin_purchase){.state = ABSENT};
                twin_note_level(t, &t->stocks[i]);
                count++;
            }
        }
    }
    return count;
}

/* ---- one step on both ---- */

static const char *const stock_names[STOCKS] = {"gold", "silver", "bronze"};

static struct span purchase_key(unsigned n, char out[64]) {
    int size = snprintf(out, 64, n % 3 == 0 ? "p%u" : "purchase-number-%08u-of-some-length", n);
    return span_of(out, (size_t)size);
}

static void step_operation(struct world *w, struct twin *t, enum request_kind kind) {
    unsigned at = (unsigned)rng_below(&w->rng, STOCKS);
    unsigned n = (unsigned)rng_below(&w->rng, PURCHASES);
    unsigned member = (unsigned)rng_below(&w->rng, MEMBERS);
    struct twin_stock *s = &t->stocks[at];
    struct twin_purchase *p = &s->purchases[n];
    char key[64], member_text[16];
    snprintf(member_text, sizeof member_text, "member-%u", member);
    struct request r;
    request_init(&r, kind);
    r.name = span_text(stock_names[at]);
    r.in.reserve.purchase = purchase_key(n, key);
    r.in.reserve.member = span_text(member == 0 ? "" : member_text);
    r.in.reserve.hold_ns = rng_below(&w->rng, 4) == 0 ? rng_below(&w->rng, 20) * NS_PER_SECOND : 0;
    enum refusal expected = REFUSAL_NOT_FOUND;
    if (s->exists && kind == REQUEST_STOCK_RESERVE) {
        expected = twin_reserve(t, s, p, member, r.in.reserve.hold_ns, id_make(w->position, 0));
    } else if (s->exists && kind == REQUEST_STOCK_RELEASE) {
        expected = twin_release(t, s, p);
    } else if (s->exists) {
        expected = twin_confirm(p);
    }
    enum refusal refusal = world_ask(w, &r);
    CHECK(refusal == expected);
    if (refusal == REFUSAL_NONE && kind == REQUEST_STOCK_RESERVE) {
        CHECK(r.receipt.number == p->number && r.receipt.id == p->id);
        CHECK(r.out.reservation.expires_ns == p->until_ns);
    }
    request_release(&r);
}

static void step_define(struct world *w, struct twin *t) {
    unsigned at = (unsigned)rng_below(&w->rng, STOCKS);
    struct twin_stock *s = &t->stocks[at];
    uint64_t total = rng_below(&w->rng, 12), per_member = rng_below(&w->rng, 4);
    uint64_t hold_ns = rng_below(&w->rng, 2) * 10 * NS_PER_SECOND;
    bool fits = !s->exists || total >= twin_used(s);
    enum refusal refusal = world_define_stock(w, stock_names[at], total, per_member, hold_ns);
    CHECK(refusal == (fits ? REFUSAL_NONE : REFUSAL_CONFLICT));
    if (fits) {
        s->exists = true;
        s->total = total;
        s->per_member = per_member;
        s->hold_ns = hold_ns;
        twin_note_level(t, s);
    }
}

static void step_delete(struct world *w, struct twin *t) {
    unsigned at = (unsigned)rng_below(&w->rng, STOCKS);
    struct request r;
    request_init(&r, REQUEST_STOCK_DELETE);
    r.name = span_text(stock_names[at]);
    CHECK(world_ask(w, &r) == (t->stocks[at].exists ? REFUSAL_NONE : REFUSAL_NOT_FOUND));
    request_release(&r);
    t->stocks[at] = (struct twin_stock){.exists = false};
}

static void step_time(struct world *w, struct twin *t) {
    w->now_ns += rng_below(&w->rng, 12) * NS_PER_SECOND;
    t->now_ns = w->now_ns;
    CHECK(world_run_timers(w) == twin_run_timers(t));
}

static void compare(const struct world *w, const struct twin *t) {
    for (unsigned i = 0; i < STOCKS; i++) {
        const struct twin_stock *s = &t->stocks[i];
        uint32_t index = stock_find(w->model, span_text(stock_names[i]));
        CHECK((index != 0) == s->exists);
        if (index == 0) {
            continue;
        }
        struct stock_info info;
        stock_describe(w->model, index, &info);
        CHECK(info.total == s->total && info.used == twin_used(s));
        CHECK(info.held == twin_count(s, HELD, HELD));
        CHECK(info.tombstones == twin_count(s, TOMBSTONE, TOMBSTONE));
        CHECK(info.sold_out == (info.used == info.total));
        CHECK(info.sold_out_since_ns == s->sold_out_since_ns);
    }
}

static void run_seed(uint64_t seed) {
    current_seed = seed;
    struct world w;
    struct twin t = {.now_ns = 0};
    world_init(&w, &(struct model_limits){.purchases = LIMIT, .tombstone_ttl_ns = TTL_NS});
    rng_init(&w.rng, seed);
    t.now_ns = w.now_ns;
    for (unsigned step = 0; step < STEPS; step++) {
        uint64_t dice = rng_below(&w.rng, 100);
        if (dice < 55) {
            step_operation(&w, &t, REQUEST_STOCK_RESERVE);
        } else if (dice < 70) {
            step_operation(&w, &t, REQUEST_STOCK_RELEASE);
        } else if (dice < 78) {
            step_operation(&w, &t, REQUEST_STOCK_CONFIRM);
        } else if (dice < 86) {
            step_define(&w, &t);
        } else if (dice < 87) {
            step_delete(&w, &t);
        } else {
            step_time(&w, &t);
        }
        compare(&w, &t);
        if (rng_below(&w.rng, 200) == 0) {
            model_check(w.model);
            world_reload(&w);
        }
    }
    model_check(w.model);
    world_check_replay(&w);
    world_release(&w);
}

int main(int argc, char **argv) {
    if (argc > 1) {
        run_seed(strtoull(argv[1], NULL, 10));
        return 0;
    }
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        run_seed(seed);
    }
    printf("%u seeds of %u steps agree\n", SEEDS, STEPS);
    return 0;
}
