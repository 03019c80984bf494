/*
 * The engine against a disk that stops, tears, forgets and garbles, at every single operation.
 *
 * A workload (entries of members, publishes, deletes, attempts, snapshots, compaction) runs in one thread on
 * the simulated disk. At the nth changing operation the machine stops. After the restart an oracle that saw
 * only requests and answers asks the new engine:
 *   O1  what was acknowledged is there: each member's entry with its receipt and number, each message;
 *   O2  what was not acknowledged is there wholly or not at all: units used = entries, numbers 1..used,
 *       and the queue holds one message per entry that was not sent or deleted;
 *   O3  it goes on: the same members enter again and get the same receipts.
 * Then the next n. The loss of unflushed bytes takes turns through all kinds.
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "machine.h"
#include "round.h"

#define MEMBERS    24u
#define NOTES      12u
#define TOTAL      20u
#define BODY_BYTES 3000u

struct world {
    struct machine m;
    double share; /* compact_live_share: copies nearly everything forward, or nearly nothing */
    struct attempt_start started[64]; /* given out, not finished */
    size_t started_count;
    /* what the clients know */
    uint64_t entry_receipt[MEMBERS]; /* 0: no answer seen */
    uint64_t entry_number[MEMBERS];
    bool entry_tried[MEMBERS];
    uint64_t note_id[NOTES];
    bool note_tried[NOTES], note_delete_tried[NOTES], note_deleted[NOTES];
    char body[BODY_BYTES + 1];
};

static void on_starts(void *context, const struct attempt_start *starts, size_t count) {
    struct world *w = context;
    for (size_t i = 0; i < count && w->started_count < 64; i++)
        w->started[w->started_count++] = starts[i];
}

static int world_open(struct world *w, char text[512]) {
    struct engine_options options = machine_options(&w->m);
    options.compact_live_share = w->share;
    options.start_attempts = on_starts;
    struct engine_recovery recovery;
    w->started_count = 0;
    return engine_open(&options, &recovery, text, &w->m.engine);
}

/* ---- requests; each returns false when the machine stopped before an answer ---- */

static bool call(struct world *w, struct request *r) {
    return engine_call(w->m.engine, r) == 0;
}

/* An answer that is yes; a disk that says "full" once is a no, and nothing else may be. */
static bool call_yes(struct world *w, struct request *r) {
    if (!call(w, r))
        return false;
    if (r->refusal != REFUSAL_DISK_FULL)
        assert_int_equal(r->refusal, REFUSAL_NONE);
    return r->refusal == REFUSAL_NONE;
}

static bool define_destination(struct world *w) {
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("provider")), 0);
    assert_int_equal(def_set_text(&def.url, span_text("http://127.0.0.1:1/")), 0);
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.name = span_text("provider");
    r.in.define.destination = &def;
    bool answered = call_yes(w, &r);
    request_release(&r);
    destination_def_release(&def);
    return answered;
}

static bool define_queue(struct world *w, const char *name, const char *destination) {
    struct queue_def def;
    assert_int_equal(queue_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text(name)), 0);
    assert_int_equal(def_set_text(&def.destination, span_text(destination)), 0);
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.name = span_text(name);
    r.in.define.queue = &def;
    bool answered = call_yes(w, &r);
    request_release(&r);
    queue_def_release(&def);
    return answered;
}

static bool define_stock(struct world *w) {
    struct stock_def def;
    assert_int_equal(stock_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("units")), 0);
    def.total = TOTAL;
    struct request r;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.name = span_text("units");
    r.in.define.stock = &def;
    bool answered = call_yes(w, &r);
    request_release(&r);
    stock_def_release(&def);
    return answered;
}

static bool define_campaign(struct world *w) {
    struct campaign_def def;
    assert_int_equal(campaign_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("give")), 0);
    assert_int_equal(def_set_text(&def.stock, span_text("units")), 0);
    assert_int_equal(def_set_text(&def.queue, span_text("sending")), 0);
    assert_int_equal(def_set_text(&def.member_pointer, span_text("/member")), 0);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_DEFINE);
    r.name = span_text("give");
    r.in.define.campaign = &def;
    bool answered = call_yes(w, &r);
    request_release(&r);
    campaign_def_release(&def);
    return answered;
}

static bool define_all(struct world *w) {
    return define_destination(w) && define_queue(w, "sending", "provider") &&
           define_queue(w, "notes", "") && define_stock(w) && define_campaign(w);
}

static bool enter(struct world *w, unsigned member) {
    char key[16];
    snprintf(key, sizeof(key), "m%02u", member);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTER);
    r.name = span_text("give");
    r.in.enter.member = span_text(key);
    r.in.enter.generation = 1;
    r.in.enter.envelope.body = span_of(w->body, BODY_BYTES);
    w->entry_tried[member] = true;
    bool answered = call(w, &r);
    if (answered && (r.refusal == REFUSAL_NONE || r.refusal == REFUSAL_ALREADY_CLAIMED)) {
        if (w->entry_receipt[member] != 0) { /* O1, O3: the same answer as ever */
            assert_int_equal(r.receipt.id, w->entry_receipt[member]);
            assert_int_equal(r.receipt.number, w->entry_number[member]);
        }
        w->entry_receipt[member] = r.receipt.id;
        w->entry_number[member] = r.receipt.number;
    } else if (answered && r.refusal != REFUSAL_DISK_FULL) {
        assert_int_equal(r.refusal, REFUSAL_SOLD_OUT);
        assert_int_equal(w->entry_receipt[member], 0);
    }
    request_release(&r);
    return answered;
}

static bool note(struct world *w, unsigned n) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.name = r.in.publish.queue = span_text("notes");
    r.in.publish.envelope.body = span_of(w->body, BODY_BYTES - n);
    w->note_tried[n] = true;
    bool answered = call_yes(w, &r);
    if (answered) {
        w->note_id[n] = r.receipt.id;
    }
    request_release(&r);
    return answered;
}

static bool delete_note(struct world *w, unsigned n) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_DELETE);
    r.name = span_text("notes");
    r.id = w->note_id[n];
    w->note_delete_tried[n] = true;
    bool answered = call_yes(w, &r);
    if (answered) {
        w->note_deleted[n] = true;
    }
    request_release(&r);
    return answered;
}

/* The oldest attempt given out ends well. */
static bool finish_one(struct world *w) {
    if (w->started_count == 0)
        return true;
    struct request r;
    request_init(&r, REQUEST_ATTEMPT_FINISH);
    r.in.finish.message = w->started[0].message;
    r.in.finish.attempt = w->started[0].attempt;
    r.in.finish.status = 200;
    r.in.finish.success = true;
    memmove(&w->started[0], &w->started[1], --w->started_count * sizeof(w->started[0]));
    bool answered = call(w, &r);
    request_release(&r);
    return answered;
}

/* Stops where the machine stops. */
static bool run(struct world *w) {
    if (!define_all(w))
        return false;
    for (unsigned i = 0; i < MEMBERS; i++) {
        if (!enter(w, i) || !finish_one(w))
            return false;
        if (i < NOTES && !note(w, i))
            return false;
        if (i >= 2 && i < NOTES && i % 3 != 0 && !delete_note(w, i - 1))
            return false;
        if ((i == 8 || i == 14 || i == 20) && engine_snapshot(w->m.engine) != 0)
            return false;
        engine_turn(w->m.engine);
    }
    return !sim_disk_crashed(w->m.disk);
}

/* ---- the oracle ---- */

static uint64_t stock_used(struct world *w) {
    struct request r;
    request_init(&r, REQUEST_STOCK_GET);
    r.name = span_text("units");
    assert_true(call(w, &r));
    uint64_t used = r.refusal == REFUSAL_NONE ? r.out.stock.used : 0;
    request_release(&r);
    return used;
}

static bool entry_of(struct world *w, unsigned member, struct entry_info *ret) {
    char key[16];
    snprintf(key, sizeof(key), "m%02u", member);
    struct request r;
    request_init(&r, REQUEST_CAMPAIGN_ENTRY_GET);
    r.name = span_text("give");
    r.in.enter.member = span_text(key);
    assert_true(call(w, &r));
    bool found = r.refusal == REFUSAL_NONE;
    *ret = r.out.entry;
    request_release(&r);
    return found;
}

static void check_entries(struct world *w) {
    bool seen[TOTAL + 1] = {false};
    uint64_t entries = 0;
    for (unsigned i = 0; i < MEMBERS; i++) {
        struct entry_info entry;
        bool found = entry_of(w, i, &entry);
        if (w->entry_receipt[i] != 0) { /* O1 */
            assert_true(found);
            assert_int_equal(entry.id, w->entry_receipt[i]);
            assert_int_equal(entry.number, w->entry_number[i]);
        }
        assert_true(!found || w->entry_tried[i]);
        if (found) { /* O2 */
            entries++;
            assert_in_range(entry.number, 1, TOTAL);
            assert_false(seen[entry.number]);
            seen[entry.number] = true;
        }
    }
    assert_int_equal(stock_used(w), entries);
    for (uint64_t n = 1; n <= entries; n++)
        assert_true(seen[n]);
}

static void check_notes(struct world *w) {
    for (unsigned n = 0; n < NOTES; n++) {
        if (w->note_id[n] == 0)
            continue;
        struct request r;
        request_init(&r, REQUEST_MESSAGE_GET);
        r.name = span_text("notes");
        r.id = w->note_id[n];
        assert_true(call(w, &r));
        bool there = r.refusal == REFUSAL_NONE;
        if (w->note_deleted[n])
            assert_false(there);
        else if (!w->note_delete_tried[n])
            assert_true(there);
        if (there) {
            struct buffer bytes;
            buffer_init(&bytes, RECORD_MAX_BYTES);
            struct stored_message stored;
            assert_int_equal(
                engine_read_message(w->m.engine, r.id, r.out.message.address, &bytes, &stored), 0);
            assert_true(span_equal(stored.envelope.body, span_of(w->body, BODY_BYTES - n)));
            buffer_release(&bytes);
        }
        request_release(&r);
    }
}

static void check_after_restart(struct world *w) {
    assert_true(define_all(w)); /* idempotent: what is there stays */
    check_entries(w);
    check_notes(w);
    for (unsigned i = 0; i < MEMBERS; i++)
        assert_true(enter(w, i)); /* O3 */
    assert_int_equal(stock_used(w), TOTAL);
    check_entries(w);
}

static void world_init(struct world *w, uint64_t seed) {
    *w = (struct world){.m = machine_create(seed)};
    w->share = seed % 2 == 0 ? 0.9 : 0.01;
    for (unsigned i = 0; i < BODY_BYTES; i++)
        w->body[i] = (char)('a' + i % 26);
}

static uint64_t operations_of_a_whole_run(void) {
    struct world w;
    world_init(&w, crash_seed(1));
    char text[512];
    assert_int_equal(world_open(&w, text), 0);
    assert_true(run(&w));
    check_after_restart(&w);
    uint64_t operations = sim_disk_operations(w.m.disk);
    engine_close(w.m.engine, true);
    sim_disk_free(w.m.disk);
    return operations;
}

static void one_crash(uint64_t nth, enum sim_loss loss) {
    struct world w;
    world_init(&w, crash_seed(nth * SIM_LOSSES + loss));
    sim_disk_crash_at(w.m.disk, nth);
    char text[512];
    bool opened = world_open(&w, text) == 0;
    if (opened) {
        run(&w);
        machine_close(&w.m);
    }
    sim_disk_restart(w.m.disk, loss);
    int error = world_open(&w, text);
    if (error != 0)
        fail_msg("operation %u, loss %d: open: %s: %s", (unsigned)nth, loss, error_name(error),
                 text);
    check_after_restart(&w);
    engine_close(w.m.engine, true);
    assert_int_equal(world_open(&w, text), 0);
    check_entries(&w);
    check_notes(&w);
    machine_close(&w.m);
    sim_disk_free(w.m.disk);
}

static void a_stop_at_any_operation_loses_nothing_acknowledged(void **state) {
    (void)state;
    uint64_t operations = operations_of_a_whole_run();
    assert_true(operations > 100);
    for (uint64_t nth = 1; nth <= operations; nth++)
        one_crash(nth, (enum sim_loss)((nth + crash_round()) % SIM_LOSSES));
}

/* One operation fails, the machine goes on: either it did not matter or the engine said no more. */
static void a_failure_of_any_operation_loses_nothing_acknowledged(void **state) {
    (void)state;
    uint64_t operations = operations_of_a_whole_run();
    for (uint64_t nth = 1; nth <= operations; nth++) {
        struct world w;
        world_init(&w, crash_seed(nth));
        sim_disk_fail_at(w.m.disk, nth, nth % 2 == 0 ? EIO : ENOSPC);
        char text[512];
        if (world_open(&w, text) == 0) {
            run(&w);
            machine_close(&w.m);
        }
        sim_disk_restart(w.m.disk, SIM_DROP);
        int error = world_open(&w, text);
        if (error != 0)
            fail_msg("operation %u: open: %s: %s", (unsigned)nth, error_name(error), text);
        check_after_restart(&w);
        machine_close(&w.m);
        sim_disk_free(w.m.disk);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stop_at_any_operation_loses_nothing_acknowledged),
        cmocka_unit_test(a_failure_of_any_operation_loses_nothing_acknowledged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
