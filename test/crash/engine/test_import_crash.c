/*
 * An import of definitions (the requests that manage/import.c makes of a file, in its order) against a disk that stops,
 * tears, forgets and garbles at every single operation, with snapshots in between. After the restart
 *   I1  what all lists tell, byte for byte, is what they told when as many requests had been answered, or one more;
 *   I2  the whole import once more is a yes to each, and leads to what one that nothing disturbed leads to.
 * Then the next operation.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "base/amqp_table.h"
#include "base/reader.h"
#include "machine.h"
#include "round.h"

#define VHOST      "shop"
#define THINGS     12u
#define STATE_MAX  (1u << 20)
#define SNAPSHOT_1 5u /* behind so many things */
#define SNAPSHOT_2 11u

struct world {
    struct machine m;
    struct buffer dead_letters, length; /* tables: of a queue, of a policy */
};

static void world_open(struct world *w) {
    struct engine_options options = machine_options(&w->m);
    struct engine_recovery recovery;
    char text[512];
    assert_int_equal(engine_open(&options, &recovery, text, &w->m.engine), 0);
}

static void world_init(struct world *w, uint64_t seed) {
    struct amqp_table_out t;
    *w = (struct world){.m = machine_create(seed)};
    buffer_init(&w->dead_letters, 1024);
    amqp_table_begin(&t, &w->dead_letters);
    amqp_put_text(&t, "x-dead-letter-exchange", span_text("failed"));
    assert_int_equal(amqp_table_end(&t), 0);
    buffer_init(&w->length, 1024);
    amqp_table_begin(&t, &w->length);
    amqp_put_text(&t, "overflow", span_text("reject-publish"));
    assert_int_equal(amqp_table_end(&t), 0);
    world_open(w);
}

static void world_release(struct world *w) {
    machine_close(&w->m);
    buffer_release(&w->dead_letters);
    buffer_release(&w->length);
    sim_disk_free(w->m.disk);
}

/* ---- the file ---- */

static struct span entries(const struct buffer *table) {
    return span_of(table->data + 4, table->size - 4);
}

static void fill_access(struct request *r, bool user) {
    r->name = span_text("ann");
    r->vhost = user ? span_of(NULL, 0) : span_text(VHOST);
    if (user)
        r->in.user = (struct user_def){.name = r->name, .tags = span_text("monitoring")};
    else
        r->in.permission = (struct permission_def){.user = r->name,
                                                   .vhost = r->vhost,
                                                   .configure = span_text("^x"),
                                                   .write = span_text(".*"),
                                                   .read = span_text(".*")};
}

static void fill_exchange(struct request *r, const char *name, const char *type) {
    request_init(r, REQUEST_EXCHANGE_DECLARE);
    r->name = span_text(name);
    r->in.exchange = (struct exchange_declare){.type = span_text(type), .durable = true};
}

static void fill_queue(struct request *r, const char *name, struct span arguments) {
    request_init(r, REQUEST_AMQP_QUEUE_DECLARE);
    r->name = span_text(name);
    r->in.queue_declare = (struct queue_declare){.durable = true, .arguments = arguments};
}

static void fill_binding(struct request *r, const char *from, const char *to, const char *key) {
    request_init(r, REQUEST_AMQP_BIND);
    r->name = span_text(from);
    r->in.binding = (struct binding){
        .source = r->name, .destination = span_text(to), .routing_key = span_text(key)};
}

static void fill_policy(const struct world *w, struct request *r, bool of_operator) {
    request_init(r, REQUEST_POLICY_DEFINE);
    r->name = span_text(of_operator ? "limit" : "short");
    r->in.policy = (struct policy_def){.name = r->name,
                                       .pattern = span_text("^q"),
                                       .apply_to = span_text("queues"),
                                       .priority = 3,
                                       .definition = entries(&w->length),
                                       .operator_policy = of_operator};
}

static void fill(const struct world *w, unsigned thing, struct request *r) {
    static const enum request_kind access[] = {REQUEST_VHOST_DEFINE, REQUEST_USER_DEFINE,
                                               REQUEST_PERMISSION_DEFINE};
    if (thing < 3)
        request_init(r, access[thing]);
    else if (thing == 3)
        fill_policy(w, r, false);
    else if (thing < 6)
        fill_exchange(r, thing == 4 ? "orders" : "failed", thing == 4 ? "topic" : "fanout");
    else if (thing < 9)
        fill_queue(r,
                   thing == 6   ? "q1"
                   : thing == 7 ? "q2"
                                : "dead",
                   thing == 8 ? span_of(NULL, 0) : entries(&w->dead_letters));
    else
        fill_binding(r, thing == 11 ? "failed" : "orders",
                     thing == 9    ? "q1"
                     : thing == 10 ? "q2"
                                   : "dead",
                     thing == 9 ? "a.#" : "b.*");
    r->vhost = span_text(VHOST);
    if (thing == 0)
        r->name = r->vhost;
    else if (thing < 3)
        fill_access(r, thing == 1);
}

/* How many were answered: all must be a yes. */
static unsigned import(struct world *w) {
    for (unsigned thing = 0; thing < THINGS; thing++) {
        struct request r;
        fill(w, thing, &r);
        bool answered = engine_call(w->m.engine, &r) == 0;
        if (answered)
            assert_int_equal(r.refusal, REFUSAL_NONE);
        request_release(&r);
        if (!answered)
            return thing;
        bool snapshot = thing + 1 == SNAPSHOT_1 || thing + 1 == SNAPSHOT_2;
        if (snapshot && engine_snapshot(w->m.engine) != 0)
            return thing + 1;
    }
    return THINGS;
}

/* ---- what is there ---- */

/* Field by field: between them there is whatever was on the stack. */
static int put_queues(struct buffer *out, struct span queues) {
    struct reader in;
    reader_init(&in, queues);
    int rc = 0;
    while (rc == 0 && in.left > 0) {
        struct queue_info q;
        rc = buffer_put_bytes(out, reader_bytes(&in)); /* its definition */
        struct span info = reader_bytes(&in);
        assert_int_equal(info.size, sizeof q);
        memcpy(&q, info.data, sizeof q);
        const uint64_t fields[] = {
            q.ready,      q.delayed, q.in_flight,       q.dead,      q.blocked,
            q.confirming, q.bytes,   q.published,       q.completed, q.died,
            q.expired,    q.deleted, q.attempts,        q.oldest_ns, q.paused,
            q.consumers,  q.policy,  q.operator_policy, q.tenants};
        rc = rc != 0 ? rc : buffer_append(out, fields, sizeof fields);
    }
    return rc;
}

static void tell(struct world *w, struct buffer *out) {
    static const enum request_kind lists[] = {
        REQUEST_VHOST_LIST,    REQUEST_USER_LIST,    REQUEST_PERMISSION_LIST, REQUEST_POLICY_LIST,
        REQUEST_EXCHANGE_LIST, REQUEST_BINDING_LIST, REQUEST_QUEUE_LIST};
    buffer_init(out, STATE_MAX);
    for (unsigned i = 0; i < ARRAY_LENGTH(lists); i++) {
        struct request r;
        request_init(&r, lists[i]);
        r.in.list.max = 1000;
        assert_int_equal(engine_call(w->m.engine, &r), 0);
        assert_int_equal(r.refusal, REFUSAL_NONE);
        struct span listed = buffer_span(&r.out_bytes);
        assert_int_equal(lists[i] == REQUEST_QUEUE_LIST ? put_queues(out, listed)
                                                        : buffer_put_bytes(out, listed),
                         0);
        request_release(&r);
    }
}

static struct buffer told[THINGS + 1]; /* when so many were answered */

static int learn(void **state) {
    (void)state;
    struct world w;
    world_init(&w, 1);
    tell(&w, &told[0]);
    for (unsigned thing = 0; thing < THINGS; thing++) {
        struct request r;
        fill(&w, thing, &r);
        assert_int_equal(engine_call(w.m.engine, &r), 0);
        assert_int_equal(r.refusal, REFUSAL_NONE);
        request_release(&r);
        tell(&w, &told[thing + 1]);
        assert_false(span_equal(buffer_span(&told[thing]), buffer_span(&told[thing + 1])));
    }
    world_release(&w);
    return 0;
}

static int forget(void **state) {
    (void)state;
    for (unsigned n = 0; n <= THINGS; n++)
        buffer_release(&told[n]);
    return 0;
}

static bool is_as_behind(struct span now, unsigned answered) {
    return answered <= THINGS && span_equal(now, buffer_span(&told[answered]));
}

static bool round_at(uint64_t nth, enum sim_loss loss) {
    struct world w;
    struct buffer now;
    world_init(&w, crash_seed(nth));
    sim_disk_crash_at(w.m.disk, nth);
    unsigned answered = import(&w);
    machine_close(&w.m);
    bool crashed = sim_disk_crashed(w.m.disk);
    sim_disk_restart(w.m.disk, loss);
    world_open(&w);
    tell(&w, &now);
    assert_true(is_as_behind(buffer_span(&now), answered) ||
                is_as_behind(buffer_span(&now), answered + 1)); /* I1 */
    buffer_release(&now);
    assert_int_equal(import(&w), THINGS);
    tell(&w, &now);
    assert_true(is_as_behind(buffer_span(&now), THINGS)); /* I2 */
    buffer_release(&now);
    world_release(&w);
    return crashed;
}

static void an_import_over_a_stop_at_any_operation(void **state) {
    (void)state;
    uint64_t nth = 1;
    while (round_at(nth, (enum sim_loss)((nth + crash_round()) % SIM_LOSSES)))
        nth++;
    assert_true(nth > 30);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_import_over_a_stop_at_any_operation),
    };
    return cmocka_run_group_tests(tests, learn, forget);
}
