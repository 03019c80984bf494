/*
 * Fairness between tenants: shares, who comes late, priority and ordering keys within, the limit of tenants; and random
 * publishes, sends and deletes against a twin of plain lists. A seed that fails is printed; SEED=n runs it alone.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "mail.h"
#include "seeds.h"

#define TENANTS 7u

struct gold {
    const char *tenant;
    uint32_t weight;
};

static void fair_queue(const char *header, const struct gold *weights, uint32_t count) {
    struct queue_def def = mail_def("q", "out");
    assert_int_equal(def_set_text(&def.tenant_header, span_text(header)), 0);
    def.tenant_weights.items = calloc(count + 1, sizeof *def.tenant_weights.items);
    assert_non_null(def.tenant_weights.items);
    for (uint32_t i = 0; i < count; i++) {
        struct weight_def *w = &def.tenant_weights.items[i];
        assert_int_equal(weight_def_init(w), 0);
        assert_int_equal(def_set_text(&w->tenant, span_text(weights[i].tenant)), 0);
        w->weight = weights[i].weight;
        def.tenant_weights.count++;
    }
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
}

static void begin(void) {
    assert_int_equal(push_define_destination(&mail, "out", push_pace(0, 1)), REFUSAL_NONE);
    fair_queue("X-Tenant", NULL, 0);
}

static uint64_t put(const char *tenant, const char *key, uint8_t priority) {
    char headers[64];
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    snprintf(headers, sizeof headers, "A: b\nx-tenant: %s\n", tenant);
    r.in.publish.queue = span_text("q");
    r.in.publish.priority = priority;
    r.in.publish.envelope.ordering_key = span_text(key);
    r.in.publish.envelope.headers = span_text(tenant[0] != '\0' ? headers : "");
    r.in.publish.envelope.body = span_text("body");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    uint64_t id = r.receipt.id;
    request_release(&r);
    return id;
}

/* The next message is sent; 0: there is none. */
static uint64_t send(void) {
    struct attempt_start start;
    if (!push_start(&mail, &start)) {
        return 0;
    }
    push_finish(&mail, &start, 200, 0);
    return start.message;
}

static void nobody_waits_longer_than_a_round(void **state) {
    (void)state;
    begin();
    for (unsigned i = 0; i < 1000; i++) {
        put("big", "", 0);
    }
    for (unsigned i = 0; i < 10; i++) {
        send();
    }
    uint64_t small = put("small", "", 0), second = put("small", "", 0), none = put("", "", 0);
    world_reload(&mail);
    uint64_t sent[6];
    for (unsigned i = 0; i < 6; i++) {
        sent[i] = send();
    }
    assert_int_equal(sent[1], small); /* behind one of the thousand */
    assert_int_equal(sent[2], none);  /* who names no tenant is one of his own */
    assert_int_equal(sent[4], second);
    assert_int_equal(mail_info("q").tenants, 1);
}

static void weights_are_turns_in_a_round(void **state) {
    (void)state;
    begin();
    fair_queue("X-Tenant", (struct gold[]){{"gold", 3}, {"silver", 2}}, 2);
    uint64_t first[3] = {0};
    const char *const names[] = {"gold", "silver", "iron"};
    for (unsigned i = 0; i < 60; i++) {
        for (unsigned n = 0; n < 3; n++) {
            uint64_t id = put(names[n], "", 0);
            first[n] = first[n] == 0 ? id : first[n];
        }
    }
    char seen[13] = "";
    for (unsigned i = 0; i < 12; i++) {
        uint64_t id = send();
        seen[i] = "gsi"[(id_position(id) - id_position(first[0])) % 3];
    }
    assert_string_equal(seen, "gggssigggssi");
    /* Changed at run time: from the next turn on. */
    fair_queue("X-Tenant", (struct gold[]){{"iron", 2}}, 1);
    for (unsigned i = 0; i < 3; i++) {
        send();
    }
    for (unsigned i = 0; i < 8; i++) {
        uint64_t id = send();
        seen[i] = "gsi"[(id_position(id) - id_position(first[0])) % 3];
    }
    seen[8] = '\0';
    assert_string_equal(seen, "siigsiig");
}

static void priority_counts_within_a_tenant(void **state) {
    (void)state;
    begin();
    uint64_t a = put("a", "", 0), b = put("b", "", 0);
    uint64_t high = put("a", "", 9), higher = put("a", "", 9);
    assert_int_equal(send(), high);
    assert_int_equal(send(), b); /* whose turn it is, whatever the priority of the other's */
    assert_int_equal(send(), higher);
    assert_int_equal(send(), a);
}

static void ordering_keys_hold(void **state) {
    (void)state;
    begin();
    struct attempt_start start;
    uint64_t first = put("a", "k", 0), second = put("b", "k", 0), other = put("b", "", 0);
    assert_true(push_start(&mail, &start));
    assert_int_equal(start.message, first);
    assert_int_equal(send(), other); /* the second waits for its key, not for its turn */
    assert_int_equal(send(), 0);
    push_finish(&mail, &start, 200, 0);
    assert_int_equal(send(), second);
}

static void what_comes_back_is_its_tenants(void **state) {
    (void)state;
    begin();
    struct attempt_start start;
    uint64_t a = put("a", "", 0), dead = put("a", "", 0);
    assert_true(push_start(&mail, &start));
    push_finish(&mail, &start, 503, 0);
    mail.now_ns += 3600 * NS_PER_SECOND;
    world_run_timers(&mail);
    world_reload(&mail);
    assert_int_equal(send(), a);
    assert_true(push_start(&mail, &start));
    push_finish(&mail, &start, 422, 0);
    put("b", "", 0), put("b", "", 0);
    struct request r;
    request_init(&r, REQUEST_QUEUE_REDRIVE);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    world_reload(&mail);
    send();
    assert_int_equal(send(), dead);
}

static void beyond_the_limit_tenants_share(void **state) {
    (void)state;
    world_release(&mail);
    world_init(&mail, &(struct model_limits){.tenants = 2});
    begin();
    uint64_t a = put("a", "", 0), b = put("b", "", 0);
    uint64_t c = put("c", "", 0), d = put("d", "", 0);
    put("a", "", 0), put("b", "", 0);
    assert_int_equal(mail_info("q").tenants, 2);
    assert_int_equal(send(), a);
    assert_int_equal(send(), b);
    assert_int_equal(send(), c);
    send(), send();
    assert_int_equal(send(), d);
    assert_int_equal(mail_info("q").tenants, 0);
    put("c", "", 0);
    assert_int_equal(mail_info("q").tenants, 1); /* there is room again */
}

static void a_queue_turns_fair_and_back(void **state) {
    (void)state;
    assert_int_equal(push_define_destination(&mail, "out", push_pace(0, 1)), REFUSAL_NONE);
    struct queue_def def = mail_def("q", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t old = put("a", "", 0), older = put("a", "", 0);
    fair_queue("X-Tenant", NULL, 0);
    uint64_t a = put("a", "", 0), later = put("a", "", 0);
    assert_int_equal(send(), old);
    assert_int_equal(send(), a);
    def = mail_def("q", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    world_reload(&mail);
    assert_int_equal(send(), older);
    assert_int_equal(send(), later);
}

static void purges_know_tenants(void **state) {
    (void)state;
    begin();
    for (unsigned i = 0; i < 30; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%u", i % 4);
        put(i % 4 == 3 ? "" : name, i % 5 == 0 ? "k" : "", (uint8_t)(i % 3));
    }
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(r.count, 30); /* and lists show all */
    request_release(&r);
    request_init(&r, REQUEST_QUEUE_PURGE);
    r.name = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    assert_int_equal(r.count, 30);
    request_release(&r);
    struct queue_info info = mail_info("q");
    assert_true(info.ready == 0 && info.blocked == 0 && info.tenants == 0);
    assert_int_equal(send(), 0);
}

static void pages_pass_nobody_over(void **state) {
    (void)state;
    begin();
    for (unsigned i = 0; i < 50; i++) {
        char name[8];
        snprintf(name, sizeof name, "t%u", i % 4);
        put(i % 4 == 3 ? "" : name, "", (uint8_t)(i % 3));
    }
    uint64_t after = 0, seen = 0;
    do {
        struct request r;
        request_init(&r, REQUEST_QUEUE_MESSAGES);
        r.name = span_text("q");
        r.in.list.state = MESSAGE_READY;
        r.in.list.in_order = true;
        r.in.list.after = after;
        r.in.list.max = 7;
        assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
        seen += r.count;
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(seen, 50);
}

/* ---- random, against plain lists ---- */

#define STEPS    1200u
#define SEEDS    30u
#define WAIT_MAX 4096u

struct twin {
    struct {
        uint64_t id;
        uint8_t priority;
        uint8_t tenant;
    } waiting[WAIT_MAX]; /* in order of arrival */
    unsigned count;
    uint8_t round[TENANTS];
    unsigned round_count, left;
};

static const uint32_t twin_weights[TENANTS] = {1, 1, 3, 1, 2, 1, 5}; /* 0: who names none */

static bool twin_has(const struct twin *t, uint8_t tenant) {
    for (unsigned i = 0; i < t->count; i++) {
        if (t->waiting[i].tenant == tenant) {
            return true;
        }
    }
    return false;
}

static void twin_drop(struct twin *t, unsigned at) {
    uint8_t tenant = t->waiting[at].tenant;
    memmove(&t->waiting[at], &t->waiting[at + 1], (--t->count - at) * sizeof t->waiting[0]);
    if (twin_has(t, tenant)) {
        return;
    }
    unsigned i = 0;
    while (t->round[i] != tenant) {
        i++;
    }
    memmove(&t->round[i], &t->round[i + 1], --t->round_count - i);
    if (i == 0 && t->round_count > 0) {
        t->left = twin_weights[t->round[0]];
    }
}

static void twin_put(struct twin *t, uint64_t id, uint8_t tenant, uint8_t priority) {
    if (!twin_has(t, tenant)) {
        t->round[t->round_count++] = tenant;
        t->left = t->round_count == 1 ? twin_weights[tenant] : t->left;
    }
    t->waiting[t->count].id = id;
    t->waiting[t->count].priority = priority;
    t->waiting[t->count++].tenant = tenant;
}

static uint64_t twin_send(struct twin *t) {
    if (t->count == 0) {
        return 0;
    }
    uint8_t tenant = t->round[0];
    unsigned best = WAIT_MAX;
    for (unsigned i = 0; i < t->count; i++) {
        if (t->waiting[i].tenant == tenant &&
            (best == WAIT_MAX || t->waiting[i].priority > t->waiting[best].priority)) {
            best = i;
        }
    }
    uint64_t id = t->waiting[best].id;
    twin_drop(t, best);
    if (t->round_count > 0 && t->round[0] == tenant && --t->left == 0) {
        memmove(t->round, t->round + 1, t->round_count - 1);
        t->round[t->round_count - 1] = tenant;
        t->left = twin_weights[t->round[0]];
    }
    return id;
}

static void step(struct twin *t) {
    static const char *const names[TENANTS] = {"", "a", "b", "c", "d", "e", "f"};
    uint64_t what = rng_below(&mail.rng, 20);
    if (what < 10 && t->count < WAIT_MAX) {
        /* Some say more than others. */
        uint8_t tenant = (uint8_t)(rng_below(&mail.rng, TENANTS) * rng_below(&mail.rng, 2));
        uint8_t priority = (uint8_t)rng_below(&mail.rng, 4);
        twin_put(t, put(names[tenant], "", priority), tenant, priority);
    } else if (what < 19) {
        assert_int_equal(send(), twin_send(t));
    } else if (t->count > 0) {
        unsigned at = (unsigned)rng_below(&mail.rng, t->count);
        assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "q", t->waiting[at].id), REFUSAL_NONE);
        twin_drop(t, at);
    }
}

static void it_agrees_with_its_twin(void **state) {
    (void)state;
    const struct seeds seeds = seeds_to_run(SEEDS);
    for (uint64_t seed = seeds.first; seed <= seeds.last; seed++) {
        print_message("seed %llu\n", (unsigned long long)seed);
        world_release(&mail);
        world_init(&mail, NULL);
        rng_init(&mail.rng, seed);
        begin();
        fair_queue("X-Tenant", (struct gold[]){{"b", 3}, {"d", 2}, {"f", 5}}, 3);
        static struct twin twin;
        twin = (struct twin){.count = 0};
        for (unsigned i = 0; i < STEPS; i++) {
            step(&twin);
            if (rng_below(&mail.rng, 150) == 0) {
                model_check(mail.model);
                world_reload(&mail);
            }
        }
        model_check(mail.model);
        world_check_replay(&mail);
    }
}

static void with_endpoints(struct destination_def *def, void *context) {
    (void)context;
    def->endpoints.items = calloc(4, sizeof *def->endpoints.items);
    assert_non_null(def->endpoints.items);
    for (unsigned i = 0; i < 4; i++) {
        char name[] = {'e', (char)('0' + i), '\0'};
        struct endpoint_def *e = &def->endpoints.items[def->endpoints.count++];
        assert_int_equal(endpoint_def_init(e), 0);
        assert_int_equal(def_set_text(&e->name, span_text(name)), 0);
        assert_int_equal(def_set_text(&e->url, span_text("http://provider.example/e")), 0);
    }
    def->balance.policy = BALANCE_CONSISTENT;
    def->balance.key = BALANCE_KEY_TENANT;
}

/* Also of those that are sent again after a restart; who has no tenant goes by the ordering key, else in turn. */
static void a_tenant_keeps_its_endpoint(void **state) {
    (void)state;
    static const char *const names[] = {"a", "b", "c", "d",
                                        "e", "f", "g"}; /* turns alone would not do */
    uint32_t at[7] = {0}, seen = 0;
    assert_int_equal(push_define_more(&mail, "out", push_pace(0, 1), with_endpoints, NULL),
                     REFUSAL_NONE);
    fair_queue("X-Tenant", NULL, 0);
    for (unsigned i = 0; i < 80; i++) {
        struct attempt_start start;
        put(names[i % 7], "", 0);
        if (i == 40) {
            world_reload(&mail);
        }
        assert_true(push_start(&mail, &start));
        assert_true(at[i % 7] == 0 || at[i % 7] == start.endpoint);
        at[i % 7] = start.endpoint;
        seen |= 1u << start.endpoint % 32;
        push_finish(&mail, &start, 200, 0);
    }
    assert_true((seen & (seen - 1)) != 0);
    uint32_t by_key = 0;
    for (unsigned i = 0; i < 8; i++) {
        struct attempt_start start;
        put("", "key", 0);
        assert_true(push_start(&mail, &start));
        assert_true(by_key == 0 || by_key == start.endpoint);
        by_key = start.endpoint;
        push_finish(&mail, &start, 200, 0);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, mail_setup, mail_teardown)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(nobody_waits_longer_than_a_round), TEST(weights_are_turns_in_a_round),
        TEST(priority_counts_within_a_tenant),  TEST(ordering_keys_hold),
        TEST(what_comes_back_is_its_tenants),   TEST(beyond_the_limit_tenants_share),
        TEST(a_queue_turns_fair_and_back),      TEST(purges_know_tenants),
        TEST(pages_pass_nobody_over),           TEST(it_agrees_with_its_twin),
        TEST(a_tenant_keeps_its_endpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
