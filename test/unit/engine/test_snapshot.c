/* Snapshots: which are kept, what a failed one leaves behind, and that they change nothing. */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/error.h"
#include "engine/internal.h"

#define BODY 2000u

static void publish_some(struct world *w, unsigned count) {
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(world_publish(w, "q", BODY, 0, NULL), REFUSAL_NONE);
}

static void snapshot_name(uint64_t position, const char *suffix, char path[64]) {
    snprintf(path, 64, "/data/snapshot/%016" PRIx64 "%s", position, suffix);
}

static bool exists(struct world *w, uint64_t position, const char *suffix) {
    char path[64];
    snapshot_name(position, suffix, path);
    return sim_disk_file_size(w->disk, path) != UINT64_MAX;
}

static uint64_t snapshot_now(struct world *w) {
    assert_int_equal(engine_snapshot(w->engine), 0);
    return w->engine->last_position;
}

static void damage(struct world *w, uint64_t position) {
    char path[64];
    snapshot_name(position, ".snap", path);
    assert_true(sim_disk_flip(w->disk, path, 70, 1));
}

static void the_two_newest_are_kept(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    uint64_t positions[4];
    for (unsigned i = 0; i < 4; i++) {
        publish_some(&w, 1);
        positions[i] = snapshot_now(&w);
        assert_int_equal(snapshot_now(&w), positions[i]); /* nothing new: nothing done */
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(exists(&w, positions[i], ".snap"), i >= 2);
    assert_int_equal(w.engine->keeper.kept_positions[0], positions[3]);
    assert_int_equal(w.engine->keeper.kept_positions[1], positions[2]);
    world_release(&w);
}

/* Else segments would be given back on its account, which the older one needs. */
static void one_that_does_not_read_is_not_counted(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    uint64_t good = snapshot_now(&w);
    publish_some(&w, 3);
    uint64_t bad = snapshot_now(&w);
    world_close(&w);
    damage(&w, bad);
    struct engine_progress progress = {.step = ENGINE_PROGRESS_LOG};
    w.options.progress = &progress;
    world_open(&w);
    assert_int_equal(progress.step, ENGINE_PROGRESS_OPEN);
    assert_int_equal(progress.done, 3);
    assert_int_equal(progress.of, 3);
    assert_int_equal(w.recovery.snapshot_position, good);
    assert_int_equal(w.recovery.replayed_records, 3);
    assert_int_equal(w.engine->keeper.kept_positions[0], good);
    assert_int_equal(w.engine->keeper.kept_positions[1], 0);
    assert_false(exists(&w, bad, ".snap"));
    assert_int_equal(world_queue(&w, "q").ready, 3);
    world_release(&w);
}

static void a_failed_one_leaves_nothing_behind(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    for (uint64_t nth = 1; nth <= 6; nth++) {
        publish_some(&w, 1);
        uint64_t kept = w.engine->keeper.kept_positions[0];
        sim_disk_fail_at(w.disk, nth, ENOSPC);
        int error = engine_snapshot(w.engine);
        sim_disk_fail_at(w.disk, 0, 0);
        assert_false(exists(&w, w.engine->last_position, ".tmp"));
        if (error != 0) {
            assert_int_equal(error, E_FULL);
            assert_int_equal(w.engine->keeper.kept_positions[0], kept);
        }
    }
    assert_int_equal(w.failures, 0);
    world_close(&w);
    world_open(&w);
    assert_int_equal(world_queue(&w, "q").ready, 6);
    world_release(&w);
}

static int names_are_not_flushed(void *context, enum sim_operation operation, const char *path) {
    (void)context;
    return operation == SIM_FLUSH_DIRECTORY && strcmp(path, "/data/snapshot") == 0 ? EIO : SIM_GO;
}

/* Killed between naming it and flushing that: the next start relies on it, so it must be there after the power went, too. */
static void one_that_is_relied_on_stays(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    publish_some(&w, 3);
    sim_disk_watch(w.disk, names_are_not_flushed, NULL);
    assert_int_equal(engine_snapshot(w.engine), E_IO);
    uint64_t position = w.engine->last_position;
    assert_int_equal(w.engine->keeper.kept_positions[0], 0);
    world_crash(&w, SIM_KEEP);
    assert_int_equal(world_try_open(&w),
                     E_IO); /* nor may it be relied on as long as it cannot be flushed */
    sim_disk_watch(w.disk, NULL, NULL);
    world_open(&w);
    assert_int_equal(w.engine->keeper.kept_positions[0], position);
    world_crash(&w, SIM_DROP);
    assert_true(exists(&w, position, ".snap"));
    world_open(&w);
    assert_int_equal(w.recovery.snapshot_position, position);
    world_release(&w);
}

static void run_a_while(struct world *w, unsigned rounds) {
    uint64_t ids[64];
    for (unsigned i = 0; i < rounds; i++) {
        uint64_t later = i % 3 == 0 ? w->now_ns + 5 * NS_PER_MS : 0;
        assert_int_equal(world_publish(w, "q", 100 + i * 7 % BODY, later, &ids[i % 64]),
                         REFUSAL_NONE);
        if (i % 2 == 1)
            assert_int_equal(world_delete(w, "q", ids[i / 2 % 64]), REFUSAL_NONE);
        w->now_ns += NS_PER_MS;
    }
}

static void expect_same(struct buffer *a, struct buffer *b) {
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->data, b->data, a->size);
    buffer_release(a);
}

static void replay_with_or_without_snapshot_gives_the_same_bytes(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    w.options.paranoid = false;
    world_open(&w);
    world_define_queue(&w, "q", "");
    run_a_while(&w, 60);
    struct buffer ran = world_state(&w);
    world_close(&w);
    world_open(&w);
    assert_int_equal(w.recovery.snapshot_position, 0);
    struct buffer replayed = world_state(&w);
    expect_same(&replayed, &ran);
    uint64_t position = snapshot_now(&w);
    world_close(&w);
    world_open(&w);
    assert_int_equal(w.recovery.snapshot_position, position);
    assert_int_equal(w.recovery.replayed_records, 0);
    struct buffer loaded = world_state(&w);
    expect_same(&loaded, &ran);
    buffer_release(&ran);
    world_release(&w);
}

static void ignore_delivery(struct engine_port *port, struct engine_request *first,
                            struct engine_request *last) {
    (void)port;
    (void)first;
    (void)last;
}

/* Decided, and not on its way to the disk. */
static void publish_without_flush(struct world *w, struct engine_request *q) {
    static struct engine_port port = {.deliver = ignore_delivery};
    *q = (struct engine_request){.port = &port};
    request_init(&q->r, REQUEST_QUEUE_PUBLISH);
    q->r.name = q->r.in.publish.queue = span_text("q");
    q->r.in.publish.envelope.body = span_text("a body");
    atomic_fetch_add(&w->engine->waiting, 1);
    pthread_mutex_lock(&w->engine->lock);
    sequencer_work(w->engine, q);
    pthread_mutex_unlock(&w->engine->lock);
}

static void expect_durable(void *context, enum engine_step step) {
    const struct world *w = context;
    if (step == ENGINE_STEP_SNAPSHOT_PUBLISHED)
        assert_true(log_durable_position(w->engine->log) >= w->engine->last_position);
}

/* Else a power cut would leave a state that knows more than the log, and the start would be refused. */
static void one_waits_for_the_log(void **state) {
    (void)state;
    struct world w;
    struct engine_request q;
    world_init(&w);
    w.options.between = expect_durable;
    world_open(&w);
    world_define_queue(&w, "q", "");
    publish_without_flush(&w, &q);
    assert_true(log_durable_position(w.engine->log) < w.engine->last_position);
    assert_int_equal(engine_snapshot(w.engine), 0);
    world_crash(&w, SIM_DROP);
    world_open(&w);
    assert_int_equal(world_queue(&w, "q").ready, 1);
    world_release(&w);
}

/* Records behind the snapshot are missing, and what follows would make sense without them. */
static void a_hole_behind_it_is_refused(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    snapshot_now(&w);
    publish_some(&w, 100);
    world_close(&w);
    assert_true(sim_disk_remove(w.disk, "/data/log/0000000000000001.seg"));
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    assert_non_null(strstr(w.text, "missing"));
    world_release(&w);
}

/* Once more with all that was given up there: what comes later starts from the state that is served now. */
static void expect_salvaged(struct world *w, unsigned ready, const char *said) {
    w->options.salvage = true;
    world_open(w);
    w->options.salvage = false;
    if (strstr(w->recovery.log.report, said) == NULL)
        fail_msg("not said: %s, but: %s", said, w->recovery.log.report);
    assert_int_equal(world_queue(w, "q").ready, ready);
    publish_some(w, 2);
    world_crash(w, SIM_DROP);
    world_open(w);
    assert_int_equal(w->recovery.log.report[0], '\0');
    assert_int_equal(world_queue(w, "q").ready, ready + 2);
}

static void a_salvage_goes_as_far_as_the_log(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    publish_some(&w, 100);
    uint64_t end = w.engine->last_position;
    world_close(&w);
    assert_true(
        sim_disk_flip(w.disk, "/data/log/0000000000000001.seg", 20, 1)); /* nothing is left */
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    w.options.salvage = true;
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    w.options.salvage = false;
    world_release(&w);

    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    uint64_t kept = snapshot_now(&w);
    publish_some(&w, 100);
    assert_int_equal(w.engine->last_position, end);
    world_close(&w);
    assert_true(sim_disk_flip(w.disk, "/data/log/0000000000000001.seg", 20, 1));
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    char said[64];
    snprintf(said, sizeof said, "gave up positions %" PRIu64 " to %" PRIu64, kept + 1, end);
    expect_salvaged(&w, 0, said);
    world_release(&w);
}

/* The end of a message whose acceptance is lost, and all that came later. */
static void a_salvage_goes_as_far_as_it_makes_sense(void **state) {
    (void)state;
    struct world w;
    uint64_t id;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    publish_some(&w, 3);
    assert_int_equal(world_publish(&w, "q", BODY, 0, &id), REFUSAL_NONE);
    uint64_t address = world_address(&w, "q", id);
    publish_some(&w, 3);
    uint64_t before = w.engine->last_position;
    assert_int_equal(world_delete(&w, "q", id), REFUSAL_NONE);
    publish_some(&w, 5);
    uint64_t end = w.engine->last_position;
    world_close(&w);
    assert_true(sim_disk_flip(w.disk, "/data/log/0000000000000001.seg",
                              (address & UINT32_MAX) + BODY / 2, 1));
    assert_int_equal(world_try_open(&w), E_CORRUPT);
    char said[64];
    snprintf(said, sizeof said, "gave up positions %" PRIu64 " to %" PRIu64, before + 1, end);
    expect_salvaged(&w, 6, said);
    world_release(&w);
}

static const struct file_ops *real_ops;
static unsigned failing_lists;

static int failing_list(void *context, const char *path, void (*entry)(void *arg, const char *name),
                        void *arg) {
    if (failing_lists > 0 && strcmp(path, "/data/snapshot") == 0) {
        failing_lists--;
        return -EIO;
    }
    return real_ops->list(context, path, entry, arg);
}

/* Not taken for one without snapshots: the log's end would be cut where the newest one rests on what was there. */
static void a_folder_that_cannot_be_listed_is_refused(void **state) {
    (void)state;
    struct world w;
    world_init(&w);
    world_open(&w);
    world_define_queue(&w, "q", "");
    publish_some(&w, 3);
    snapshot_now(&w);
    world_close(&w);
    assert_true(sim_disk_flip(w.disk, "/data/log/0000000000000001.seg", 3 * BODY, 1));
    real_ops = w.options.files;
    struct file_ops ops = *real_ops;
    ops.list = failing_list;
    w.options.files = &ops;
    for (unsigned which = 1; which <= 2; which++) { /* before the log is opened, and none at all */
        failing_lists = which % 2;
        uint64_t size = sim_disk_file_size(w.disk, "/data/log/0000000000000001.seg");
        assert_int_equal(world_try_open(&w), which == 1 ? E_IO : E_CORRUPT);
        assert_non_null(
            strstr(w.text, which == 1 ? "/data/snapshot cannot be listed" : "a snapshot rests on"));
        assert_int_equal(sim_disk_file_size(w.disk, "/data/log/0000000000000001.seg"), size);
    }
    w.options.files = real_ops;
    world_release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_newest_are_kept),
        cmocka_unit_test(one_that_does_not_read_is_not_counted),
        cmocka_unit_test(a_failed_one_leaves_nothing_behind),
        cmocka_unit_test(one_that_is_relied_on_stays),
        cmocka_unit_test(replay_with_or_without_snapshot_gives_the_same_bytes),
        cmocka_unit_test(one_waits_for_the_log),
        cmocka_unit_test(a_hole_behind_it_is_refused),
        cmocka_unit_test(a_salvage_goes_as_far_as_the_log),
        cmocka_unit_test(a_salvage_goes_as_far_as_it_makes_sense),
        cmocka_unit_test(a_folder_that_cannot_be_listed_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
