/* Giving segments back: only what is dead by what is durable, and also on a disk that is full. */
#include "world.h"

#include <inttypes.h>

#include "engine/internal.h"

#define BODY 3000u

static struct engine_stats stats_of(struct world *w) {
    struct engine_stats stats;
    engine_stats(w->engine, &stats);
    return stats;
}

/* The first messages fill the first segment; it is sealed and both snapshots cover it. */
static void fill_and_cover(struct world *w, uint64_t *ids, unsigned count) {
    world_define_queue(w, "q", "");
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(world_publish(w, "q", BODY, 0, &ids[i]), REFUSAL_NONE);
    assert_int_equal(engine_snapshot(w->engine), 0);
    uint64_t more;
    assert_int_equal(world_publish(w, "q", BODY, 0, &more), REFUSAL_NONE);
    assert_int_equal(engine_snapshot(w->engine), 0);
}

/* What lives is copied forward, read from there, and found there again after a restart. */
static void a_moved_body_is_read_where_it_is(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[30];
    world_init(&w);
    w.options.compact_live_share = 0.5;
    world_open(&w);
    fill_and_cover(&w, ids, 30);
    uint64_t old = world_address(&w, "q", ids[0]);
    for (unsigned i = 1; i < 25; i++)
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
    assert_int_equal(engine_snapshot(w.engine), 0);
    engine_turn(w.engine);
    assert_true(stats_of(&w).moved_messages > 0);
    for (unsigned round = 0; round < 2; round++) {
        uint64_t now = world_address(&w, "q", ids[0]);
        assert_true(log_segment_of(now) > log_segment_of(old));
        assert_int_equal(world_read(&w, "q", ids[0]), 0);
        world_close(&w);
        world_open(&w);
    }
    world_release(&w);
}

/*
 * G2: the older of the two snapshots may be the one that is loaded, so what it does not cover stays, dead or
 * not; else one damaged file would cost everything behind the older one.
 */
static void a_segment_stays_for_the_older_snapshot(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[30], kept;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    assert_int_equal(engine_snapshot(w.engine), 0);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(world_publish(&w, "q", BODY, 0, &ids[i]), REFUSAL_NONE);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
    assert_int_equal(world_publish(&w, "q", BODY, 0, &kept), REFUSAL_NONE);
    assert_int_equal(engine_snapshot(w.engine), 0);
    uint64_t newest = w.engine->last_position;
    engine_turn(w.engine);
    assert_int_equal(stats_of(&w).released_segments, 0);
    world_close(&w);
    char path[64];
    snprintf(path, sizeof path, "/data/snapshot/%016" PRIx64 ".snap", newest);
    assert_true(sim_disk_flip(w.disk, path, 70, 1));
    world_open(&w);
    assert_int_equal(world_queue(&w, "q").ready, 1);
    assert_int_equal(world_read(&w, "q", kept), 0);
    world_release(&w);
}

static void ignore_delivery(struct engine_port *port, struct engine_request *first,
                            struct engine_request *last) {
    (void)port;
    (void)first;
    (void)last;
}

/* Decided; not flushed. */
static void delete_without_flush(struct world *w, struct engine_request *q, uint64_t id) {
    static struct engine_port port = {.deliver = ignore_delivery};
    *q = (struct engine_request){.port = &port};
    request_init(&q->r, REQUEST_MESSAGE_DELETE);
    q->r.name = span_text("q");
    q->r.id = id;
    atomic_fetch_add(&w->engine->waiting, 1);
    pthread_mutex_lock(&w->engine->lock);
    sequencer_work(w->engine, q);
    pthread_mutex_unlock(&w->engine->lock);
}

static void a_segment_stays_until_its_deletes_are_durable(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[30];
    struct engine_request deletes[30];
    world_init(&w);
    world_open(&w);
    fill_and_cover(&w, ids, 30);
    uint32_t first_segment = log_segment_of(world_address(&w, "q", ids[0]));
    unsigned in_first = 0;
    while (log_segment_of(world_address(&w, "q", ids[in_first])) == first_segment)
        in_first++;
    assert_in_range(in_first, 5, 29);
    for (unsigned i = 0; i < in_first; i++)
        delete_without_flush(&w, &deletes[i], ids[i]);
    keeper_compact(w.engine);
    /* The machine stops now: a delete that it forgot has its body, one that it kept does not matter. */
    world_crash(&w, SIM_DROP);
    world_open(&w);
    unsigned left = (unsigned)world_queue(&w, "q").ready;
    assert_true(left == 31 || left == 31 - in_first);
    for (unsigned i = left == 31 ? 0 : in_first; i < 30; i++)
        assert_int_equal(world_read(&w, "q", ids[i]), 0);
    world_release(&w);
}

/* Else a million waiting messages would be written again each few seconds. */
static void a_snapshot_waits_for_as_much_log_as_it_is_large(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.snapshot_every_bytes = 1;
    world_open(&w);
    world_define_queue(&w, "q", "");
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(world_publish(&w, "q", 10, 0, NULL), REFUSAL_NONE);
    engine_turn(w.engine);
    uint64_t taken = stats_of(&w).snapshots;
    assert_true(taken > 0 && taken < 20);
    world_close(&w);
    world_open(&w); /* knows it of the one it loaded, too */
    uint64_t large = snapshot_bytes(w.engine, w.engine->keeper.kept_positions[0]);
    assert_true(large > 1000 && w.engine->keeper.snapshot_bytes == large);
    taken = stats_of(&w).snapshots;
    while (stats_of(&w).log.appended_bytes + w.engine->keeper.replayed_bytes + 400 < large) {
        assert_int_equal(world_publish(&w, "q", 10, 0, NULL), REFUSAL_NONE);
        engine_turn(w.engine);
        assert_true(stats_of(&w).snapshots == taken);
    }
    assert_int_equal(world_publish(&w, "q", 600, 0, NULL), REFUSAL_NONE);
    engine_turn(w.engine);
    assert_true(stats_of(&w).snapshots == taken + 1);
    world_release(&w);
}

static void dead_segments_are_given_back(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[30];
    world_init(&w);
    world_open(&w);
    fill_and_cover(&w, ids, 30);
    for (unsigned i = 0; i < 30; i++)
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
    engine_turn(w.engine);
    assert_true(stats_of(&w).released_segments > 0);
    world_release(&w);
}

/*
 * Full: what adds is refused, what consumes goes on until nothing may be appended any more, and the
 * housekeeper makes room out of what was consumed, so that accepting resumes by itself.
 */
static void a_full_disk_empties_itself(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.min_free_bytes = 3 * WORLD_SEGMENT_BYTES; /* for snapshots */
    sim_disk_set_capacity(w.disk, 12 * WORLD_SEGMENT_BYTES);
    world_open(&w);
    world_define_queue(&w, "q", "");
    uint64_t ids[400];
    unsigned count = 0;
    enum refusal refusal = REFUSAL_NONE;
    while (count < 400 && (refusal = world_publish(&w, "q", BODY, 0, &ids[count])) == REFUSAL_NONE)
        count++;
    assert_int_equal(refusal, REFUSAL_DISK_FULL);
    assert_int_not_equal(engine_room(w.engine), LOG_ROOM_OK);
    for (unsigned i = 0; i < count; i++) {
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
        w.now_ns += 100 * NS_PER_MS;
    }
    for (unsigned i = 0; i < 20; i++) {
        engine_turn(w.engine);
        w.now_ns += NS_PER_SECOND;
    }
    assert_int_equal(engine_room(w.engine), LOG_ROOM_OK);
    assert_int_equal(world_publish(&w, "q", BODY, 0, NULL), REFUSAL_NONE);
    assert_int_equal(w.failures, 0);
    world_close(&w);
    world_open(&w);
    assert_int_equal(world_queue(&w, "q").ready, 1);
    world_release(&w);
}

/* The same without a minimum that somebody chose: what a snapshot needs is kept free by itself. */
static void a_full_disk_keeps_room_for_a_snapshot(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.keep_snapshot_room = true;
    world_open(&w);
    world_define_queue(&w, "q", "");
    sim_disk_set_capacity(w.disk, stats_of(&w).memory_bytes + 12 * WORLD_SEGMENT_BYTES);
    uint64_t ids[400];
    unsigned count = 0;
    enum refusal refusal = REFUSAL_NONE;
    while (count < 400 &&
           (refusal = world_publish(&w, "q", BODY, 0, &ids[count])) == REFUSAL_NONE) {
        count++;
        engine_turn(w.engine);
    }
    assert_int_equal(refusal, REFUSAL_DISK_FULL);
    assert_int_equal(engine_snapshot(w.engine), 0);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
    for (unsigned i = 0; i < 20; i++) {
        engine_turn(w.engine);
        w.now_ns += NS_PER_SECOND;
    }
    assert_int_equal(engine_room(w.engine), LOG_ROOM_OK);
    assert_int_equal(world_publish(&w, "q", BODY, 0, NULL), REFUSAL_NONE);
    assert_int_equal(w.failures, 0);
    world_release(&w);
}

static void a_body_that_cannot_be_read_stays_and_is_told_once(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[30];
    world_init(&w);
    w.options.compact_live_share = 0.9; /* copies nearly everything forward */
    world_open(&w);
    fill_and_cover(&w, ids, 3);
    for (unsigned i = 3; i < 30; i++)
        assert_int_equal(world_publish(&w, "q", BODY, 0, &ids[i]), REFUSAL_NONE);
    uint64_t address = world_address(&w, "q", ids[0]);
    assert_true(
        sim_disk_flip(w.disk, "/data/log/0000000000000001.seg", (address & UINT32_MAX) + 500, 3));
    for (unsigned i = 1; i < 12; i++)
        assert_int_equal(world_delete(&w, "q", ids[i]), REFUSAL_NONE);
    assert_int_equal(engine_snapshot(w.engine), 0);
    w.notes = 0;
    for (unsigned i = 0; i < 5; i++)
        engine_turn(w.engine);
    assert_int_equal(w.notes, 1);
    assert_int_equal(world_read(&w, "q", ids[0]), E_CORRUPT);
    assert_int_equal(world_address(&w, "q", ids[0]), address);
    world_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_stays_until_its_deletes_are_durable),
        cmocka_unit_test(a_snapshot_waits_for_as_much_log_as_it_is_large),
        cmocka_unit_test(dead_segments_are_given_back),
        cmocka_unit_test(a_moved_body_is_read_where_it_is),
        cmocka_unit_test(a_segment_stays_for_the_older_snapshot),
        cmocka_unit_test(a_full_disk_empties_itself),
        cmocka_unit_test(a_full_disk_keeps_room_for_a_snapshot),
        cmocka_unit_test(a_body_that_cannot_be_read_stays_and_is_told_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
