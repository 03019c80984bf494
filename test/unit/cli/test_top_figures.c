#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cli/top_figures.h"

/* One event of a server that has been up for `uptime` seconds. */
static void add(struct top_figures *f, double at_s, double uptime, int entries, int sold_out,
                int attempts) {
    json_t *json =
        json_pack("{s:f, s:[{s:s, s:b, s:i, s:i, s:i, s:{s:i}}], s:[{s:i}], s:[{s:i}]}", "uptime",
                  uptime, "campaigns", "name", "giveaway", "open", 1, "entries", entries, "left",
                  100 - entries, "total", 100, "refused", "sold-out", sold_out, "queues", "ready",
                  entries, "destinations", "attempts", attempts);
    assert_non_null(json);
    top_figures_add(f, json, (uint64_t)(at_s * (double)NS_PER_SECOND));
    json_decref(json);
}

static void rates_are_over_a_second(void **state) {
    (void)state;
    static struct top_figures f;
    top_figures_init(&f, NULL);
    for (int i = 0; i <= 12; i++)
        add(&f, 10 + i * 0.25, i * 0.25, i * 5, i * 100, i);
    assert_int_equal((int)(f.rates[TOP_ACCEPTED] + 0.5), 20);
    assert_int_equal((int)(f.rates[TOP_REFUSED] + 0.5), 400);
    assert_int_equal((int)(f.rates[TOP_STARTED] + 0.5), 4);
    assert_int_equal(f.most_started, 4);
    assert_int_equal(f.left, 40);
    assert_int_equal(f.restarts, 0);
}

/* 500 in any second may all start within 0.96 s, which is no rate of 520. */
static void a_stretch_below_a_second_is_not_blown_up(void **state) {
    (void)state;
    static struct top_figures f;
    top_figures_init(&f, NULL);
    for (int i = 0; i <= 4; i++)
        add(&f, 10 + i * 0.24, i * 0.24, 0, 0, i * 125);
    assert_int_equal(f.most_started, 500);
}

static void a_restart_takes_nothing_away(void **state) {
    (void)state;
    static struct top_figures f;
    top_figures_init(&f, "giveaway");
    add(&f, 10, 5, 40, 70, 30);
    add(&f, 10.5, 0.1, 42, 5, 1);
    assert_int_equal(f.restarts, 1);
    assert_int_equal(top_figures_refused(&f), 75);
    assert_int_equal(top_total_value(&f.started), 31);
    assert_int_equal((int)(f.rates[TOP_REFUSED] + 0.5), 10);
    assert_int_equal(f.entries, 42);
}

/* Absent from the event after a restart: the counter stands at 0 until it happens again. */
static void a_reason_that_is_absent_keeps_its_total(void **state) {
    (void)state;
    static struct top_figures f;
    json_t *none = json_pack("{s:[{s:s, s:{}}]}", "campaigns", "name", "giveaway", "refused");
    top_figures_init(&f, NULL);
    add(&f, 10, 5, 1, 70, 0);
    top_figures_add(&f, none, 11 * NS_PER_SECOND);
    assert_int_equal(top_figures_refused(&f), 70);
    add(&f, 12, 7, 1, 3, 0);
    assert_int_equal(top_figures_refused(&f), 73);
    json_decref(none);
}

/* The events tell their own time: that the second one was late must not halve the rate. */
static void the_server_tells_the_time(void **state) {
    (void)state;
    static struct top_figures f;
    top_figures_init(&f, NULL);
    for (int i = 0; i < 2; i++) {
        json_t *json = json_pack("{s:s, s:i}", "time",
                                 i == 0 ? "2030-01-02T03:04:05.250Z" : "2030-01-02T03:04:06.250Z",
                                 "accepted", 100 * i);
        top_figures_add(&f, json, (uint64_t)i * 2 * NS_PER_SECOND);
        json_decref(json);
    }
    assert_int_equal((int)(f.rates[TOP_ACCEPTED] + 0.5), 100);
}

static void odd_json_is_survived(void **state) {
    (void)state;
    static const char *const odd[] = {
        "{}",
        "{\"campaigns\":7}",
        "{\"campaigns\":[null,3]}",
        "{\"accepted\":-5}",
        "{\"campaigns\":[{\"name\":\"giveaway\",\"refused\":[1]}]}",
        "{\"queues\":{\"a\":1}}",
    };
    static struct top_figures f;
    top_figures_init(&f, NULL);
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
        json_t *json = json_loads(odd[i], 0, NULL);
        assert_non_null(json);
        top_figures_add(&f, json, i * NS_PER_SECOND);
        top_figures_provider(&f, json);
        json_decref(json);
    }
    assert_int_equal(top_figures_refused(&f), 0);
    assert_int_equal(top_total_value(&f.accepted), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_over_a_second),
        cmocka_unit_test(a_stretch_below_a_second_is_not_blown_up),
        cmocka_unit_test(a_restart_takes_nothing_away),
        cmocka_unit_test(a_reason_that_is_absent_keeps_its_total),
        cmocka_unit_test(the_server_tells_the_time),
        cmocka_unit_test(odd_json_is_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
