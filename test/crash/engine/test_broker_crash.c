/*
 * The broker against a disk that stops, tears, forgets and garbles, at every single operation.
 *
 * A client publishes to an exchange that leads to two queues, consumes one of them, acknowledges, rejects (to a
 * dead-letter queue) and gives back, with snapshots and compaction in between. At the nth changing operation the
 * machine stops. After the restart everything is consumed and read back; an oracle that saw only answers says
 *   B1  what was confirmed and not settled is in both queues, once;
 *   B2  what was acknowledged, and that was answered, is in the first queue no more; nor what was rejected, which is in
 *       the dead-letter queue, once, with its body;
 *   B3  what was delivered k times says so when it comes again;
 *   B4  what was not confirmed is in both queues or in none, once.
 * Then the next n. The loss of unflushed bytes takes turns through all kinds; each round of `make crash` publishes
 * longer or shorter bodies, settles in another order and loses in another way.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/amqp_table.h"
#include "base/error.h"
#include "machine.h"
#include "round.h"

#define LETTERS        120u
#define BODY_BYTES_MAX 2600u
#define SESSION        77u

enum fate { UNSETTLED, TRIED, ACKED, REJECTED };

struct letter {
    bool tried, confirmed;
    enum fate fate; /* in queue "one" */
    bool reject;    /* what was tried */
    uint32_t delivered;
    /* seen after the restart */
    uint32_t in_one, in_two, in_dead;
};

struct world {
    struct machine m;
    struct delivery held[512];
    size_t held_count;
    struct letter letters[LETTERS];
    uint64_t moved; /* bodies copied forward */
};

static void on_deliver(void *context, struct delivery_batch *first) {
    struct world *w = context;
    for (const struct delivery_batch *b = first; b != NULL; b = b->next) {
        for (uint32_t i = 0; i < b->count; i++) {
            assert_true(w->held_count < ARRAY_LENGTH(w->held));
            w->held[w->held_count++] = b->items[i];
        }
    }
    delivery_batch_free(first);
}

static int world_open(struct world *w) {
    struct engine_options options = machine_options(&w->m);
    options.compact_live_share = 3; /* everything sealed is copied forward */
    options.deliver = on_deliver;
    struct engine_recovery recovery;
    char text[512];
    w->held_count = 0;
    return engine_open(&options, &recovery, text, &w->m.engine);
}

/* ---- requests; false: the machine stopped before an answer ---- */

static struct request ask_for(enum request_kind kind) {
    struct request r;
    request_init(&r, kind);
    r.vhost = span_text("/");
    r.session = SESSION;
    return r;
}

static bool call(struct world *w, struct request *r) {
    bool answered = engine_call(w->m.engine, r) == 0;
    if (answered && r->refusal != REFUSAL_DISK_FULL) {
        assert_int_equal(r->refusal, REFUSAL_NONE);
    }
    request_release(r);
    return answered && r->refusal == REFUSAL_NONE;
}

static bool declare(struct world *w, const char *name, struct span arguments) {
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DECLARE);
    r.name = span_text(name);
    r.in.queue_declare = (struct queue_declare){.durable = true, .arguments = arguments};
    return call(w, &r);
}

static bool bind(struct world *w, const char *name) {
    struct request r = ask_for(REQUEST_AMQP_BIND);
    r.in.binding =
        (struct binding){.source = span_text("amq.fanout"), .destination = span_text(name)};
    return call(w, &r);
}

static bool consume(struct world *w, const char *name, uint32_t number, uint16_t prefetch) {
    struct request r = ask_for(REQUEST_CONSUME);
    r.name = span_text(name);
    r.in.consume = (struct consume){.consumer = number, .channel = 1, .prefetch = prefetch};
    return call(w, &r);
}

/* 1,500 in round 0. */
static size_t body_bytes(uint32_t n) {
    return crash_round() == 0 ? 1500 : 600 + (crash_seed(n) * 2654435761u >> 16) % 2000;
}

static bool publish(struct world *w, uint32_t n) {
    char body[BODY_BYTES_MAX + 1];
    memset(body, '.', sizeof body);
    snprintf(body, sizeof body, "%u ", n);
    struct request r = ask_for(REQUEST_AMQP_PUBLISH);
    r.in.amqp_publish.vhost = span_text("/");
    r.in.amqp_publish.message = (struct amqp_message){.exchange = span_text("amq.fanout"),
                                                      .properties = span_of("\0", 2),
                                                      .body = span_of(body, body_bytes(n))};
    w->letters[n].tried = true;
    w->letters[n].confirmed = call(w, &r);
    return !sim_disk_crashed(w->m.disk);
}

/* Which letter a delivery is, by its body, which must be whole. */
static uint32_t letter_of(struct world *w, const struct delivery *d) {
    struct buffer bytes;
    struct stored_message stored;
    buffer_init(&bytes, 1u << 20);
    assert_int_equal(engine_read_message(w->m.engine, d->stored_id, d->address, &bytes, &stored),
                     0);
    assert_true(span_is(stored.exchange, "amq.fanout"));
    uint32_t n = (uint32_t)strtoul((const char *)stored.envelope.body.data, NULL, 10);
    assert_true(n < LETTERS);
    assert_int_equal(stored.envelope.body.size, body_bytes(n));
    buffer_release(&bytes);
    return n;
}

static bool settle(struct world *w, const struct delivery *d, enum settle_verdict verdict) {
    struct settle item = {.message = d->message, .verdict = verdict};
    struct request r = ask_for(REQUEST_SETTLE);
    r.in.settle = (struct settle_list){.items = &item, .count = 1};
    struct letter *l = &w->letters[letter_of(w, d)];
    bool final = verdict != SETTLE_REQUEUE;
    l->delivered++;
    l->reject = verdict == SETTLE_REJECT;
    l->fate = final ? TRIED : UNSETTLED;
    if (call(w, &r) && final) {
        l->fate = l->reject ? REJECTED : ACKED;
    }
    return !sim_disk_crashed(w->m.disk);
}

/* ---- the workload ---- */

static bool set_up(struct world *w) {
    struct buffer b;
    struct amqp_table_out t;
    buffer_init(&b, 1024);
    amqp_table_begin(&t, &b);
    amqp_put_text(&t, "x-dead-letter-exchange", span_text(""));
    amqp_put_text(&t, "x-dead-letter-routing-key", span_text("dead"));
    assert_int_equal(amqp_table_end(&t), 0);
    bool done = declare(w, "dead", span_of(NULL, 0)) &&
                declare(w, "one", span_of(b.data + 4, b.size - 4)) &&
                declare(w, "two", span_of(NULL, 0)) && bind(w, "one") && bind(w, "two") &&
                consume(w, "one", 1, 5);
    buffer_release(&b);
    return done;
}

static bool take_some(struct world *w, uint32_t step) {
    struct delivery taken[16];
    size_t count = 0;
    while (w->held_count > 0 && count < 2) {
        taken[count++] = w->held[0];
        memmove(w->held, w->held + 1, --w->held_count * sizeof *w->held);
    }
    static const enum settle_verdict verdicts[] = {SETTLE_ACK, SETTLE_REQUEUE, SETTLE_REJECT,
                                                   SETTLE_ACK};
    for (size_t i = 0; i < count; i++) {
        if (!settle(w, &taken[i], verdicts[(step + i) % 4])) {
            return false;
        }
    }
    return true;
}

static void run(struct world *w) {
    if (world_open(w) != 0) {
        return;
    }
    bool going = set_up(w);
    for (uint32_t n = 0; going && n < LETTERS; n++) {
        going = publish(w, n) && take_some(w, n + (uint32_t)crash_round());
        if (going && n % 10 == 9) {
            going = engine_snapshot(w->m.engine) == 0;
        }
    }
    struct engine_stats stats;
    engine_stats(w->m.engine, &stats);
    w->moved = stats.moved_messages;
    machine_close(&w->m);
}

/* ---- the oracle ---- */

static void empty(struct world *w, const char *name, uint32_t number) {
    assert_true(consume(w, name, number, 0));
    for (unsigned i = 0; i < 3; i++) {
        engine_turn(w->m.engine);
    }
    for (size_t i = 0; i < w->held_count; i++) {
        const struct delivery *d = &w->held[i];
        struct letter *l = &w->letters[letter_of(w, d)];
        *(number == 11 ? &l->in_one : number == 12 ? &l->in_two : &l->in_dead) += 1;
        if (number == 11) {
            assert_true(d->delivery_count >= l->delivered); /* B3 */
        }
    }
    w->held_count = 0;
}

static void check_letter(const struct letter *l) {
    assert_true(l->in_one <= 1 && l->in_two <= 1 && l->in_dead <= 1);
    if (l->confirmed) {
        assert_int_equal(l->in_two, 1); /* B1 */
    }
    switch (l->fate) {
    case UNSETTLED:
        assert_int_equal(l->in_dead, 0);
        assert_int_equal(l->in_one, l->in_two); /* B1, B4 */
        break;
    case TRIED:
        assert_true(l->in_two == 1 && l->in_one + l->in_dead <= 1);
        assert_true(!l->reject || l->in_one + l->in_dead == 1); /* in one place or the other */
        break;
    case ACKED:
        assert_true(l->in_one == 0 && l->in_dead == 0 && l->in_two == 1); /* B2 */
        break;
    case REJECTED:
        assert_true(l->in_one == 0 && l->in_dead == 1 && l->in_two == 1);
        break;
    }
}

static void check(struct world *w) {
    assert_int_equal(world_open(w), 0);
    for (uint32_t n = 0; n < LETTERS; n++) {
        w->letters[n].in_one = w->letters[n].in_two = w->letters[n].in_dead = 0;
    }
    struct request r = ask_for(REQUEST_AMQP_QUEUE_DECLARE);
    r.name = span_text("two");
    r.in.queue_declare = (struct queue_declare){.passive = true};
    bool there = engine_call(w->m.engine, &r) == 0 && r.refusal == REFUSAL_NONE;
    request_release(&r);
    if (there) {
        empty(w, "one", 11);
        empty(w, "two", 12);
        empty(w, "dead", 13);
        for (uint32_t n = 0; n < LETTERS; n++) {
            check_letter(&w->letters[n]);
        }
    } else {
        assert_false(w->letters[0].confirmed);
    }
    machine_close(&w->m);
}

static bool round_at(uint64_t nth, enum sim_loss loss) {
    struct world *w = calloc(1, sizeof *w);
    assert_non_null(w);
    w->m = machine_create(crash_seed(nth));
    sim_disk_crash_at(w->m.disk, nth);
    run(w);
    bool crashed = sim_disk_crashed(w->m.disk);
    assert_true(crashed || w->moved > 10); /* shared bodies too */
    sim_disk_restart(w->m.disk, loss);
    check(w);
    check(w); /* and what was not settled comes again */
    sim_disk_free(w->m.disk);
    free(w);
    return crashed;
}

static void test_every_operation(void **state) {
    uint64_t nth = 1;
    while (round_at(nth, (enum sim_loss)((nth + crash_round()) % SIM_LOSSES))) {
        nth++;
    }
    assert_true(nth > 100);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_operation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
