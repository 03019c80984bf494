/* The audit file over every crash: whatever operation it comes at, the file ends up whole and chained. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "model/audit.h"
#include "world.h"

#define NOTES     6u
#define FILE_PATH "/data/audit/audit.log"

static bool note(struct world *w) {
    struct request r;
    request_init(&r, REQUEST_AUDIT_NOTE);
    r.name = span_text("start");
    r.actor = span_text("program");
    r.in.note = span_text("for the test");
    int error = engine_call(w->engine, &r);
    bool done = error == 0 && r.refusal == REFUSAL_NONE;
    request_release(&r);
    return done;
}

static struct audit_state state_of(struct world *w) {
    return audit_state(w->engine->model);
}

static size_t read_file(struct world *w, char *out, size_t size) {
    const struct file_ops *files = w->options.files;
    int file = files->open(files->context, FILE_PATH, O_RDONLY, 0);
    if (file < 0)
        return 0;
    ssize_t got = files->read_at(files->context, file, out, size, 0);
    files->close(files->context, file);
    assert_true(got >= 0 && (size_t)got < size);
    return (size_t)got;
}

/* The number of the last line; each follows on the one before, by number and by hash. */
static uint64_t check_file(struct world *w) {
    static char text[1 << 16];
    uint8_t chain[AUDIT_HASH_BYTES] = {0};
    uint64_t last = 0;
    size_t size = read_file(w, text, sizeof(text)), at = 0;
    while (at < size) {
        const char *end = memchr(text + at, '\n', size - at);
        assert_non_null(end);
        struct audit_entry e;
        assert_int_equal(audit_line_parse(span_of(text + at, (size_t)(end - text) - at), &e), 0);
        audit_chain(chain, e.text, chain);
        assert_memory_equal(chain, e.hash, sizeof(chain));
        assert_int_equal(e.number, ++last);
        at = (size_t)(end - text) + 1;
    }
    return last;
}

/* Returns how many notes were answered. */
static uint64_t act(struct world *w) {
    uint64_t answered = 0;
    if (world_try_open(w) != 0)
        return 0;
    for (unsigned i = 0; i < NOTES; i++) {
        answered += note(w);
        if (i == NOTES / 2 && engine_snapshot(w->engine) != 0)
            break;
        engine_turn(w->engine);
    }
    return answered;
}

static void settle(struct world *w) {
    for (int i = 0; i < 4; i++) {
        w->now_ns += 20 * NS_PER_SECOND; /* past the pause after a failure */
        engine_turn(w->engine);
    }
}

static void written_and_told(void **unused) {
    (void)unused;
    struct world w;
    world_init(&w);
    assert_int_equal(act(&w), NOTES);
    settle(&w);
    assert_int_equal(check_file(&w), NOTES);
    assert_int_equal(state_of(&w).written, NOTES);
    world_close(&w);
    world_open(&w);
    settle(&w);
    assert_int_equal(check_file(&w), NOTES); /* and not again */
    assert_int_equal(w.notes, 0);
    world_release(&w);
}

/* True: the crash came before everything was done. */
static bool crash_at(uint64_t nth, enum sim_loss loss) {
    struct world w;
    world_init(&w);
    sim_disk_crash_at(w.disk, nth);
    uint64_t answered = act(&w);
    bool crashed = sim_disk_crashed(w.disk);
    if (!crashed)
        sim_disk_crash_at(w.disk, 1);
    world_close(&w);
    sim_disk_restart(w.disk, loss);
    w.failures = w.notes = 0;
    world_open(&w);
    settle(&w);
    assert_true(state_of(&w).count >= answered);
    assert_int_equal(check_file(&w), state_of(&w).count);
    assert_int_equal(state_of(&w).written, state_of(&w).count);
    if (strstr(w.note, "cut or changed") != NULL)
        fail_msg("crash %u, loss %d: %s", (unsigned)nth, loss, w.note);
    assert_true(note(&w));
    settle(&w);
    assert_int_equal(check_file(&w), state_of(&w).count);
    world_release(&w);
    return crashed;
}

static void a_crash_at_any_operation(void **unused) {
    (void)unused;
    for (enum sim_loss loss = SIM_KEEP; loss < SIM_LOSSES; loss++) {
        uint64_t nth = 1;
        while (crash_at(nth, loss))
            nth++;
        assert_true(nth > 30);
    }
}

/* An operation fails and the next does not: nothing is lost, and it is said when it is the file's. */
static void a_failure_at_any_operation(void **unused) {
    (void)unused;
    for (uint64_t nth = 1; nth < 60; nth++) {
        struct world w;
        world_init(&w);
        sim_disk_fail_at(w.disk, nth, ENOSPC);
        uint64_t answered = act(&w);
        sim_disk_fail_at(w.disk, 0, 0);
        world_crash(&w, SIM_DROP);
        world_open(&w);
        settle(&w);
        assert_true(state_of(&w).count >= answered);
        assert_int_equal(check_file(&w), state_of(&w).count);
        world_release(&w);
    }
}

/*
 * After a flush that failed, what was written can be read and never reaches the disk; the next flush succeeds. By the same
 * program, or by the next one on the same machine.
 */
static void lines_of_a_failed_flush_are_written_again(void **unused) {
    (void)unused;
    for (uint64_t nth = 1; nth < 120; nth++) {
        struct world w;
        world_init(&w);
        sim_disk_fail_at(w.disk, nth / 2, EIO);
        uint64_t answered = act(&w);
        sim_disk_fail_at(w.disk, 0, 0);
        if (nth % 2 == 0 || w.engine == NULL || w.failures > 0) {
            world_crash(&w, SIM_KEEP);
            world_open(&w);
        }
        assert_true(note(&w));
        settle(&w);
        world_crash(&w, SIM_DROP);
        w.notes = 0;
        world_open(&w);
        assert_true(note(&w));
        settle(&w);
        assert_true(state_of(&w).count >= answered + 2);
        assert_int_equal(check_file(&w), state_of(&w).count);
        assert_int_equal(w.notes, 0);
        world_release(&w);
    }
}

static void a_cut_is_said(void **unused) {
    (void)unused;
    struct world w;
    world_init(&w);
    act(&w);
    settle(&w);
    world_close(&w);
    assert_true(sim_disk_cut(w.disk, FILE_PATH, 100));
    world_open(&w);
    assert_true(note(&w));
    settle(&w);
    assert_non_null(strstr(w.note, "cut or changed"));
    world_release(&w);
}

/* Sectors of other times behind what was told: one reads as an earlier line. */
static void pieces_behind_the_end_are_cut_off(void **unused) {
    (void)unused;
    struct world w;
    static char text[1 << 16];
    world_init(&w);
    act(&w);
    settle(&w);
    world_close(&w);
    size_t size = read_file(&w, text, sizeof(text));
    size_t line = (size_t)((char *)memchr(text, '\n', size) - text) + 1;
    memcpy(text + size, text, line);
    memcpy(text + size + line, "a piece\n", 8);
    sim_disk_put(w.disk, FILE_PATH, text, size + line + 8);
    world_open(&w);
    assert_true(note(&w));
    settle(&w);
    assert_int_equal(check_file(&w), NOTES + 1);
    world_release(&w);
}

static void a_file_of_later_is_said(void **unused) {
    (void)unused;
    struct world w;
    static char text[1 << 16];
    world_init(&w);
    act(&w);
    settle(&w);
    size_t size = read_file(&w, text, sizeof(text));
    world_release(&w);
    world_init(&w); /* an older copy of the folder: the log knows nothing of these */
    sim_disk_put_directory(w.disk, "/data");
    sim_disk_put_directory(w.disk, "/data/audit");
    sim_disk_put(w.disk, FILE_PATH, text, size);
    world_open(&w);
    assert_true(note(&w));
    settle(&w);
    assert_non_null(strstr(w.note, "older copy"));
    world_release(&w);
}

/* Amid the replay the state has entries that it does not know to be written yet: they are, and stay written once. */
static void a_refused_start_writes_nothing(void **unused) {
    (void)unused;
    static char before[1 << 16], after[1 << 16];
    unsigned refused = 0;
    for (uint64_t at = 100; at < 4000; at += 60) {
        struct world w;
        world_init(&w);
        world_open(&w);
        for (unsigned i = 0; i < NOTES; i++) {
            assert_true(note(&w));
            settle(&w);
        }
        world_crash(&w, SIM_KEEP);
        size_t size = read_file(&w, before, sizeof(before));
        assert_int_equal(check_file(&w), NOTES);
        assert_true(sim_disk_flip(w.disk, "/data/log/0000000000000001.seg", at, 3));
        if (world_try_open(&w) != 0) {
            refused++;
            assert_int_equal(read_file(&w, after, sizeof(after)), size);
            assert_memory_equal(before, after, size);
        }
        world_release(&w);
    }
    assert_true(refused > 5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_and_told),
        cmocka_unit_test(a_crash_at_any_operation),
        cmocka_unit_test(a_failure_at_any_operation),
        cmocka_unit_test(lines_of_a_failed_flush_are_written_again),
        cmocka_unit_test(a_refused_start_writes_nothing),
        cmocka_unit_test(a_cut_is_said),
        cmocka_unit_test(pieces_behind_the_end_are_cut_off),
        cmocka_unit_test(a_file_of_later_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
