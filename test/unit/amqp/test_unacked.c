#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "amqp/unacked.h"
#include "base/error.h"
#include "base/rng.h"

#define TAGS_MAX 4000u

/* The twin: what is unsettled, by tag. */
struct twin {
    uint64_t message[TAGS_MAX + 1];
    uint64_t last_told;
    size_t told;
};

static void told(void *context, const struct amqp_unacked_entry *e) {
    struct twin *t = context;
    assert_true(e->tag > t->last_told);
    assert_true(t->message[e->tag] == e->message && e->message != 0);
    assert_true(e->consumer == e->message * 3);
    t->message[e->tag] = 0;
    t->last_told = e->tag;
    t->told++;
}

static size_t twin_count(const struct twin *t, uint64_t to) {
    size_t count = 0;
    for (uint64_t tag = 1; tag <= to; tag++)
        count += t->message[tag] != 0;
    return count;
}

static void settle(struct amqp_unacked *u, struct twin *t, struct rng *rng) {
    uint64_t tag = rng_below(rng, u->last_tag + 2);
    bool multiple = rng_below(rng, 5) == 0;
    bool all = multiple && tag == 0;
    bool known = all || (tag <= u->last_tag && t->message[tag] != 0);
    size_t expected = multiple ? twin_count(t, all ? u->last_tag : tag) : 1;
    t->last_told = t->told = 0;
    int error = amqp_unacked_settle(u, tag, multiple, told, t);
    assert_int_equal(error, known ? 0 : E_NOT_FOUND);
    assert_int_equal(t->told, known ? expected : 0);
}

static void agrees_with_a_plain_array(void **state) {
    (void)state;
    struct rng rng;
    static struct twin t;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        rng_init(&rng, seed);
        t = (struct twin){0};
        struct amqp_unacked u;
        amqp_unacked_init(&u);
        while (u.last_tag < TAGS_MAX) {
            uint64_t tag = 0;
            if (rng_below(&rng, 3) == 0) {
                settle(&u, &t, &rng);
            } else if (rng_below(&rng, 10) == 0) {
                amqp_unacked_skip(&u);
            } else {
                uint64_t message = 1 + rng_below(&rng, 1000);
                assert_int_equal(amqp_unacked_add(&u, message, message * 3, &tag), 0);
                assert_true(tag == u.last_tag);
                t.message[tag] = message;
            }
            amqp_unacked_check(&u);
            assert_int_equal(u.count, u.last_tag % 50 == 0 ? twin_count(&t, u.last_tag) : u.count);
        }
        amqp_unacked_release(&u);
    }
}

static void holes_are_closed(void **state) {
    (void)state;
    static struct twin t;
    struct amqp_unacked u;
    uint64_t tag;
    amqp_unacked_init(&u);
    t = (struct twin){0};
    assert_int_equal(amqp_unacked_add(&u, 1, 3, &tag), 0); /* stays at the front */
    for (int i = 0; i < 3000; i++) {
        assert_int_equal(amqp_unacked_add(&u, 2, 6, &tag), 0);
        t.message[tag] = 2;
        t.last_told = 0;
        assert_int_equal(amqp_unacked_settle(&u, tag, false, told, &t), 0);
    }
    assert_true(u.capacity <= 32);
    amqp_unacked_release(&u);
}

static void a_rollback_puts_back(void **state) {
    (void)state;
    static struct twin t;
    struct amqp_unacked u;
    uint64_t tag;
    amqp_unacked_init(&u);
    t = (struct twin){0};
    for (uint64_t message = 1; message <= 5; message++) {
        assert_int_equal(amqp_unacked_add(&u, message, message * 3, &tag), 0);
        t.message[tag] = message;
    }
    assert_int_equal(amqp_unacked_settle(&u, 2, false, told, &t), 0);
    t.last_told = 0;
    assert_int_equal(amqp_unacked_settle(&u, 4, true, told, &t), 0);
    const struct amqp_unacked_entry entries[] = {{4, 4, 12}, {1, 1, 3}, {2, 2, 6}};
    for (size_t i = 0; i < 3; i++)
        t.message[entries[i].tag] = entries[i].message;
    assert_int_equal(amqp_unacked_restore(&u, entries, 3), 0);
    amqp_unacked_check(&u);
    t.last_told = t.told = 0;
    assert_int_equal(amqp_unacked_settle(&u, 3, false, told, &t), E_NOT_FOUND);
    assert_int_equal(amqp_unacked_settle(&u, 0, true, told, &t), 0);
    assert_int_equal(t.told, 4);
    assert_int_equal(amqp_unacked_settle(&u, 0, true, told, &t), 0); /* all of nothing */
    amqp_unacked_release(&u);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_plain_array),
        cmocka_unit_test(holes_are_closed),
        cmocka_unit_test(a_rollback_puts_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
