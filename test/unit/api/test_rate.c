/* So many in a second, of each client. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <sodium.h>
#include <string.h>

#include "api/rate.h"
#include "base/clock.h"

static const uint64_t START_NS = 77 * NS_PER_SECOND;

static struct rate *make(uint32_t per_second, uint32_t burst) {
    struct rate *r;
    assert_true(sodium_init() >= 0);
    assert_int_equal(rate_create(per_second, burst, &r), 0);
    return r;
}

static void a_burst_and_then_the_rate(void **state) {
    (void)state;
    struct rate *r = make(10, 5);
    struct rate_state s;
    for (uint32_t i = 0; i < 5; i++) {
        assert_true(rate_take(r, 1, START_NS, &s));
        assert_int_equal(s.remaining, 4 - i);
        assert_int_equal(s.reset_ns, (i + 1) * 100 * NS_PER_MS);
    }
    for (int i = 0; i < 3; i++) { /* a refused one is not counted */
        assert_false(rate_take(r, 1, START_NS + 40 * NS_PER_MS, &s));
        assert_int_equal(s.wait_ns, 60 * NS_PER_MS);
        assert_int_equal(s.remaining, 0);
    }
    assert_false(rate_take(r, 1, START_NS + 100 * NS_PER_MS - 1, &s));
    assert_true(rate_take(r, 1, START_NS + 100 * NS_PER_MS, &s));
    assert_false(rate_take(r, 1, START_NS + 100 * NS_PER_MS, &s));
    assert_true(
        rate_take(r, 1, START_NS + 1000 * NS_PER_SECOND, &s)); /* idle: no more than the burst */
    assert_int_equal(s.remaining, 4);
    rate_free(r);
}

static void who_keeps_to_the_rate_is_never_refused(void **state) {
    (void)state;
    struct rate *r = make(3, 1);
    struct rate_state s;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_true(rate_take(r, 7, START_NS + i * NS_PER_SECOND / 3 + i, &s));
    }
    rate_free(r);
}

static void clients_are_told_apart(void **state) {
    (void)state;
    struct rate *r = make(1, 1);
    struct rate_state s;
    const char *same[] = {"10.0.0.1:1", "10.0.0.1:2"}, *other = "10.0.0.2:1";
    assert_true(rate_take(r, rate_client_of_peer(r, span_text(same[0])), START_NS, &s));
    assert_false(rate_take(r, rate_client_of_peer(r, span_text(same[1])), START_NS, &s));
    assert_true(rate_take(r, rate_client_of_peer(r, span_text(other)), START_NS, &s));
    assert_true(rate_client_of_peer(r, span_text("[2001:db8::1]:80")) ==
                rate_client_of_peer(r, span_text("[2001:db8::2]:81")));
    assert_true(rate_client_of_peer(r, span_text("[2001:db8::1]:80")) !=
                rate_client_of_peer(r, span_text("[2001:db8:0:1::1]:80")));
    assert_true(rate_client_of_token(r, "a#1") != rate_client_of_token(r, "b#1"));
    struct rate *another = make(1, 1); /* nobody can choose with whom he shares */
    assert_true(rate_client_of_token(r, "a#1") != rate_client_of_token(another, "a#1"));
    rate_free(another);
    rate_free(r);
}

static void as_told(void **state) {
    (void)state;
    struct rate *r = make(10, 25);
    char text[RATE_TEXT_SIZE];
    assert_string_equal(rate_policy(r), "\"client\";q=25;w=3");
    rate_text(&(struct rate_state){.remaining = 3, .reset_ns = NS_PER_SECOND + 1}, text);
    assert_string_equal(text, "\"client\";r=3;t=2");
    rate_free(r);
    r = make(RATE_MAX, 0);
    assert_string_equal(rate_policy(r), "\"client\";q=1000000;w=1");
    rate_free(r);
}

#define THREADS 4
static struct rate *shared;

static void *take_many(void *arg) {
    struct rate_state s;
    uint32_t *let_in = arg;
    for (int i = 0; i < 20000; i++) {
        *let_in += rate_take(shared, 5, START_NS, &s);
    }
    return NULL;
}

static void threads_share_the_burst(void **state) {
    (void)state;
    pthread_t threads[THREADS];
    uint32_t let_in[THREADS] = {0}, sum = 0;
    shared = make(1, 30000);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, take_many, &let_in[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], NULL);
        sum += let_in[i];
    }
    assert_int_equal(sum, 30000);
    rate_free(shared);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_and_then_the_rate),
        cmocka_unit_test(who_keeps_to_the_rate_is_never_refused),
        cmocka_unit_test(clients_are_told_apart),
        cmocka_unit_test(as_told),
        cmocka_unit_test(threads_share_the_burst),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
