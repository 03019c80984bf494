/* A bit that flips: refused where the state is made from it, found and never delivered elsewhere. */
#include "world.h"

#include <string.h>

#define BODY  3000u
#define COUNT 60u

static void fill(struct world *w, uint64_t *ids) {
    world_define_queue(w, "q", "");
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(world_publish(w, "q", BODY, 0, &ids[i]), REFUSAL_NONE);
}

/* The first segment; the body of the message stands behind the address. */
static void flip_body(struct world *w, uint64_t address) {
    assert_int_equal(log_segment_of(address), 1);
    assert_true(
        sim_disk_flip(w->disk, "/data/log/0000000000000001.seg", (address & UINT32_MAX) + 1000, 5));
}

static void what_the_replay_needs_is_refused(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[COUNT];
    world_init(&w);
    world_open(&w);
    fill(&w, ids);
    uint64_t address = world_address(&w, "q", ids[2]);
    world_close(&w);
    flip_body(&w, address);
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    char offset[32];
    snprintf(offset, sizeof(offset), "offset %u", (unsigned)(address & UINT32_MAX));
    assert_non_null(strstr(w.text, "0000000000000001.seg"));
    assert_non_null(strstr(w.text, offset));
    assert_non_null(strstr(w.text, "sluice log verify"));
    world_release(&w);
}

static void what_a_snapshot_covers_is_found_and_never_delivered(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[COUNT];
    world_init(&w);
    world_open(&w);
    fill(&w, ids);
    uint64_t address = world_address(&w, "q", ids[2]);
    assert_int_equal(engine_snapshot(w.engine), 0);
    world_close(&w);
    flip_body(&w, address);
    world_open(&w);
    w.notes = 0;
    checker_run(w.engine);
    struct engine_stats stats;
    engine_stats(w.engine, &stats);
    assert_int_equal(stats.damaged, 1);
    assert_int_equal(w.notes, 1);
    assert_non_null(strstr(w.note, "0000000000000001.seg"));
    for (unsigned i = 0; i < COUNT; i++)
        assert_int_equal(world_read(&w, "q", ids[i]), i == 2 ? E_CORRUPT : 0);
    world_release(&w);
}

static void an_intact_log_is_not_accused(void **state) {
    (void)state;
    struct world w;
    uint64_t ids[COUNT];
    world_init(&w);
    world_open(&w);
    fill(&w, ids);
    assert_int_equal(engine_snapshot(w.engine), 0);
    world_close(&w);
    world_open(&w);
    fill(&w, ids); /* a tail that is being written */
    checker_run(w.engine);
    assert_int_equal(w.notes, 0);
    world_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_replay_needs_is_refused),
        cmocka_unit_test(what_a_snapshot_covers_is_found_and_never_delivered),
        cmocka_unit_test(an_intact_log_is_not_accused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
