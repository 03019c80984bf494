#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "amqp/budget.h"
#include "base/rng.h"

#define MAX 100u

static struct amqp_holder *gone_on[64];
static size_t gone_on_count;

static void go_on(struct amqp_holder *h) {
    assert_false(amqp_budget_waits(h));
    gone_on[gone_on_count++] = h;
}

static void init(struct amqp_budget *b) {
    gone_on_count = 0;
    amqp_budget_init(b, MAX, go_on);
}

static void room_is_given_while_there_is_some(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0}, y = {0};
    assert_true(amqp_budget_take(&b, &x, 60) && amqp_budget_take(&b, &y, 40));
    assert_false(amqp_budget_short(&b));
    amqp_budget_give(&b, 100);
    assert_true(amqp_budget_take(&b, &y, 100));
    amqp_budget_forget(&b, &x);
    amqp_budget_forget(&b, &y);
}

/* What leaves comes back by itself, so nobody has to be favoured for it. */
static void who_waits_gets_what_comes_free_in_order(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0}, y = {0}, z = {0};
    amqp_budget_leaves(&b, 90);
    assert_true(amqp_budget_take(&b, &z, 5));
    assert_false(amqp_budget_take(&b, &x, 30));
    assert_false(amqp_budget_take(&b, &y, 1)); /* there is room for it, but it came later */
    b.max_bytes = 94;                          /* above it, and not by what is held */
    amqp_budget_serve(&b);
    assert_true(amqp_budget_waits(&x) && gone_on_count == 0 && b.favoured == NULL);
    b.max_bytes = MAX;
    amqp_budget_left(&b, 90);
    amqp_budget_serve(&b);
    assert_true(gone_on_count == 2 && gone_on[0] == &x && gone_on[1] == &y);
    assert_int_equal(b.held_bytes, 36); /* granted: nobody else takes it */
    assert_false(amqp_budget_take(&b, &z, 65));
    assert_true(amqp_budget_take(&b, &x, 30) && amqp_budget_take(&b, &y, 1));
    assert_int_equal(b.held_bytes, 36);
    amqp_budget_forget(&b, &z);
    assert_false(amqp_budget_short(&b));
}

static void a_grant_that_is_not_taken_is_given_up(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0}, y = {0};
    assert_true(amqp_budget_take(&b, &y, 100));
    assert_false(amqp_budget_take(&b, &x, 50));
    amqp_budget_give(&b, 100);
    amqp_budget_serve(&b);
    assert_int_equal(b.held_bytes, 50);
    amqp_budget_progress(&b, &x, 0);
    assert_int_equal(b.held_bytes, 0);
    assert_true(amqp_budget_take(&b, &y, 100));
    assert_false(amqp_budget_take(&b, &x, 50));
    amqp_budget_give(&b, 100);
    amqp_budget_serve(&b);
    amqp_budget_forget(&b, &x);
    assert_int_equal(b.held_bytes, 0);
}

/* B1: all of it in halves that want more. One may go over, then the next. */
static void halves_do_not_wait_for_one_another(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0}, y = {0};
    assert_true(amqp_budget_take(&b, &x, 50) && amqp_budget_take(&b, &y, 50));
    assert_false(amqp_budget_take(&b, &x, 500));
    assert_false(amqp_budget_take(&b, &y, 500));
    amqp_budget_serve(&b);
    assert_true(gone_on_count == 1 && gone_on[0] == &x && b.favoured == &x);
    assert_true(amqp_budget_take(&b, &x, 500) && amqp_budget_take(&b, &x, 1));
    amqp_budget_serve(&b);
    amqp_budget_progress(&b, &x, 551); /* half of something is still there */
    assert_true(amqp_budget_waits(&y) && b.favoured == &x);
    amqp_budget_give(&b, 551);
    amqp_budget_leaves(&b, 551);
    amqp_budget_progress(&b, &x, 0);
    amqp_budget_serve(&b);
    assert_true(amqp_budget_waits(&y) && b.favoured == NULL); /* what leaves is above the most */
    amqp_budget_left(&b, 551);
    amqp_budget_serve(&b);
    assert_true(gone_on_count == 2 && gone_on[1] == &y && b.favoured == &y);
    assert_true(amqp_budget_take(&b, &y, 500));
    amqp_budget_forget(&b, &y);
    assert_true(b.favoured == NULL);
}

/* Who counts a little without asking must not make everybody wait for ever. */
static void held_above_the_most_with_nothing_that_leaves(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0};
    amqp_budget_add(&b, 101);
    assert_false(amqp_budget_take(&b, &x, 1));
    amqp_budget_serve(&b);
    assert_true(gone_on_count == 1 && b.favoured == &x);
    amqp_budget_forget(&b, &x);
}

static void the_favoured_shares_again_when_all_fits(void **state) {
    (void)state;
    struct amqp_budget b;
    init(&b);
    struct amqp_holder x = {0}, y = {0};
    assert_true(amqp_budget_take(&b, &y, 60));
    assert_false(amqp_budget_take(&b, &x, 50));
    amqp_budget_serve(&b);
    assert_true(b.favoured == &x && amqp_budget_take(&b, &x, 50));
    amqp_budget_progress(&b, &x, 50);
    assert_true(b.favoured == &x);
    amqp_budget_give(&b, 60);
    amqp_budget_progress(&b, &x, 50);
    assert_true(b.favoured == NULL);
    amqp_budget_forget(&b, &x);
}

/*
 * Clients that send messages of any size in parts of any size, several at a time: what is held never exceeds the most
 * by more than one of them may have, and each message becomes whole.
 */
#define CLIENTS 12u
#define LARGEST 90u

struct client {
    struct amqp_holder holder;
    uint32_t left;       /* of the message under way; 0: none */
    uint64_t held, goes; /* of halves; of whole ones on the way */
    uint32_t messages;
};

static void run_client(struct amqp_budget *b, struct client *c, struct rng *rng) {
    if (amqp_budget_waits(&c->holder))
        return;
    if (c->left == 0)
        c->left = 1 + (uint32_t)rng_below(rng, LARGEST - c->held);
    uint32_t part = 1 + (uint32_t)rng_below(rng, c->left);
    if (!amqp_budget_take(b, &c->holder, part))
        return;
    c->held += part;
    c->left -= part;
    bool again = c->left == 0 && c->held < LARGEST && rng_below(rng, 2) == 0; /* a transaction */
    if (c->left == 0 && !again) {
        amqp_budget_give(b, c->held);
        amqp_budget_leaves(b, c->held);
        c->goes += c->held;
        c->held = 0;
        c->messages++;
    }
    amqp_budget_progress(b, &c->holder, c->held);
}

static void everybody_gets_through(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 50; seed++) {
        struct amqp_budget b;
        init(&b);
        struct client clients[CLIENTS] = {0};
        struct rng rng;
        rng_init(&rng, seed);
        for (int step = 0; step < 20000; step++) {
            struct client *c = &clients[rng_below(&rng, CLIENTS)];
            run_client(&b, c, &rng);
            assert_true(b.held_bytes <= MAX + LARGEST);
            if (rng_below(&rng, 3) == 0) {
                amqp_budget_left(&b, c->goes);
                c->goes = 0;
            }
            gone_on_count = 0;
            amqp_budget_serve(&b);
        }
        for (size_t i = 0; i < CLIENTS; i++)
            assert_true(clients[i].messages > 4); /* of about 17 */
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_is_given_while_there_is_some),
        cmocka_unit_test(who_waits_gets_what_comes_free_in_order),
        cmocka_unit_test(a_grant_that_is_not_taken_is_given_up),
        cmocka_unit_test(halves_do_not_wait_for_one_another),
        cmocka_unit_test(held_above_the_most_with_nothing_that_leaves),
        cmocka_unit_test(the_favoured_shares_again_when_all_fits),
        cmocka_unit_test(everybody_gets_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
