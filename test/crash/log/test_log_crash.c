/*
 * Every file operation of the log fails, tears, is lost or is garbled in turn.
 *
 * The content of a record follows from the seed and its position, so what is read back is judged
 * without keeping a copy. A run is: a workload of appends, flushes, releases and reopenings up to the
 * operation at which the disk stops or fails; then power comes back with one kind of loss, the log is
 * opened again and judged:
 *
 *   L1  everything reported durable and not released is there, byte for byte
 *   L2  whatever else is there is a record that was appended, whole
 *   L3  positions are consecutive, but for segments that were released
 *   L4  the log takes new records, and they survive a second power loss
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/rng.h"
#include "log/log.h"
#include "log/verify.h"
#include "round.h"
#include "sim_disk.h"

#define SEGMENT_BYTES  (64u << 10)
#define WORKLOAD_STEPS 70
#define PAYLOAD_MAX    24000u
#define POSITIONS_MAX  4096u
#define SEGMENTS_MAX   256u
#define FACT_KIND      0x0102
#define FACT_VERSION   3

struct world {
    struct sim_disk *disk;
    struct rng rng;
    uint64_t seed;
    struct log *log;
    struct buffer facts;
    uint64_t durable;  /* highest position reported */
    uint64_t appended; /* highest position given out */
    uint64_t failures; /* calls of on_failed */
    uint64_t address[POSITIONS_MAX];
    bool released[POSITIONS_MAX];
    /* filled by scanning */
    bool seen[POSITIONS_MAX];
    uint64_t seen_last;
    uint32_t corrupt_findings;
    uint32_t lost_records;
};

/* ---- content ---- */

static void make_facts(struct world *w, uint64_t position) {
    struct rng r;
    rng_init(&r, w->seed ^ position * 0x9e3779b97f4a7c15ull);
    static uint8_t payload[PAYLOAD_MAX];
    uint64_t limit = rng_below(&r, 12) == 0 ? PAYLOAD_MAX : 900;
    size_t size = (size_t)rng_below(&r, limit);
    for (size_t i = 0; i < size; i++) {
        payload[i] = (uint8_t)(rng_next(&r) >> 32);
    }
    buffer_clear(&w->facts);
    assert_int_equal(fact_encode(&w->facts, FACT_KIND, FACT_VERSION, span_of(payload, size)), 0);
}

static void judge_record(struct world *w, const struct record *r) {
    assert_true(r->position >= 1 && r->position < POSITIONS_MAX);
    if (r->lost) {
        w->lost_records++;
        return;
    }
    assert_true(r->position <= w->appended);
    make_facts(w, r->position);
    assert_int_equal(r->fact_count, 1);
    assert_true(r->time_ns == 1000 + r->position);
    assert_true(span_equal(r->facts, buffer_span(&w->facts)));
}

/* ---- the workload ---- */

static void on_durable(void *context, uint64_t position) {
    struct world *w = context;
    assert_true(position > w->durable);
    assert_true(position <= w->appended);
    w->durable = position;
}

static void on_failed(void *context, const char *message) {
    struct world *w = context;
    assert_non_null(strstr(message, "failed"));
    w->failures++;
}

static int open_log(struct world *w, bool salvage, struct log_recovery *ret, char text[512]) {
    struct log_options options = {
        .directory = "data",
        .files = sim_disk_ops(w->disk),
        .segment_bytes = SEGMENT_BYTES,
        .salvage = salvage,
        .no_thread = true,
        .context = w,
        .on_durable = on_durable,
        .on_failed = on_failed,
    };
    return log_open(&options, ret, text, &w->log);
}

static bool append_one(struct world *w) {
    uint64_t position = log_next_position(w->log), got = 0, address = 0;
    make_facts(w, position);
    int rc = log_append(w->log, 1000 + position, 1, buffer_span(&w->facts), &got, &address);
    if (rc != 0) {
        return false;
    }
    assert_true(got == position && position < POSITIONS_MAX);
    w->appended = position;
    w->address[position] = address;
    w->released[position] = false; /* a lost position is given out again */
    return true;
}

static void release_some_segment(struct world *w) {
    struct log_segment_info infos[SEGMENTS_MAX];
    size_t count = log_segments(w->log, infos, SEGMENTS_MAX);
    size_t i = (size_t)rng_below(&w->rng, count);
    if (!infos[i].sealed) {
        return;
    }
    for (uint64_t p = infos[i].first_position; p <= infos[i].last_position; p++) {
        w->released[p] = true;
    }
    log_release(w->log, infos[i].number);
}

static bool reopen(struct world *w) {
    struct log_recovery found;
    char text[512];
    log_close(w->log);
    w->log = NULL;
    if (w->failures > 0 || open_log(w, false, &found, text) != 0) {
        return false;
    }
    assert_true(found.next_position == w->appended + 1);
    return true;
}

/* Until it is done, or the disk refuses. */
static void run_workload(struct world *w, int steps) {
    bool good = true;
    for (int step = 0; good && step < steps; step++) {
        switch (rng_below(&w->rng, 16)) {
        case 0:
            release_some_segment(w);
            break;
        case 1:
            good = rng_below(&w->rng, 4) != 0 || reopen(w);
            break;
        case 2:
        case 3:
        case 4:
        case 5:
            good = log_flush(w->log) == 0;
            break;
        default:
            for (uint64_t n = 1 + rng_below(&w->rng, 6); good && n > 0; n--) {
                good = append_one(w);
            }
        }
    }
    if (good) {
        good = log_flush(w->log) == 0;
    }
}

/* ---- judging ---- */

static int visit_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    struct world *w = context;
    (void)file;
    (void)offset;
    judge_record(w, r);
    assert_true(r->position > w->seen_last);
    w->seen[r->position] = true;
    w->seen_last = r->position;
    return 0;
}

static void visit_finding(void *context, const struct log_finding *f) {
    struct world *w = context;
    if (f->kind == LOG_FINDING_CORRUPT || f->kind == LOG_FINDING_BAD_HEADER) {
        w->corrupt_findings++;
    }
}

static struct log_scan_summary scan_all(struct world *w) {
    struct log_visitor visitor = {w, visit_record, visit_finding};
    struct log_scan_summary summary = {0};
    memset(w->seen, 0, sizeof w->seen);
    w->seen_last = 0;
    w->corrupt_findings = 0;
    w->lost_records = 0;
    int rc = log_scan("data", sim_disk_ops(w->disk), 0, &visitor, &summary);
    assert_true(rc == 0 || rc == E_NOT_FOUND);
    return summary;
}

/* L1 to L3, and reading by address. */
static void judge_open_log(struct world *w, const struct log_recovery *found) {
    assert_true(found->next_position > w->durable);
    assert_true(found->next_position <= w->appended + 1);
    struct log_scan_summary summary = scan_all(w);
    assert_int_equal(summary.corrupt, 0);
    assert_int_equal(summary.torn, 0); /* opening has cut it */
    struct buffer out;
    buffer_init(&out, 1u << 20);
    for (uint64_t p = 1; p < found->next_position; p++) {
        assert_true(w->seen[p] || w->released[p]);
        struct record r;
        buffer_clear(&out);
        int rc = log_read(w->log, w->address[p], &out, &r);
        if (w->released[p] && rc != 0) {
            assert_int_equal(rc, E_NOT_FOUND);
            continue;
        }
        assert_int_equal(rc, 0);
        assert_true(r.position == p);
        judge_record(w, &r);
    }
    buffer_release(&out);
}

static char doing[128]; /* for the message when it goes wrong */

static void open_and_judge(struct world *w) {
    struct log_recovery found;
    char text[512];
    int rc = open_log(w, false, &found, text);
    if (rc != 0) {
        print_message("%s: open: %s: %s\n", doing, error_name(rc), text);
    }
    assert_int_equal(rc, 0);
    judge_open_log(w, &found);
    w->appended = found.next_position - 1;
    w->durable = found.next_position - 1;
    w->failures = 0;
}

static void stop_log(struct world *w) {
    log_close(w->log);
    w->log = NULL;
}

static void world_init(struct world *w, uint64_t seed) {
    memset(w, 0, sizeof *w);
    w->seed = seed;
    w->disk = sim_disk_create(seed);
    rng_init(&w->rng, seed);
    buffer_init(&w->facts, 1u << 20);
}

static void world_release(struct world *w) {
    stop_log(w);
    sim_disk_free(w->disk);
    buffer_release(&w->facts);
}

static void start_workload(struct world *w, int steps) {
    struct log_recovery found;
    char text[512];
    if (open_log(w, false, &found, text) == 0) {
        run_workload(w, steps);
    }
}

static uint64_t operations_of_workload(uint64_t seed) {
    static struct world w;
    world_init(&w, seed);
    start_workload(&w, WORKLOAD_STEPS);
    assert_int_equal(w.failures, 0);
    uint64_t count = sim_disk_operations(w.disk);
    world_release(&w);
    return count;
}

/* L4: the second life, and a plain power loss at its end. */
static void live_on(struct world *w) {
    run_workload(w, 12);
    assert_int_equal(w->failures, 0);
    assert_true(w->durable == w->appended);
    sim_disk_crash_at(w->disk, 1);
    stop_log(w);
    sim_disk_restart(w->disk, SIM_DROP);
    open_and_judge(w);
}

/* ---- the tests ---- */

static void crash_at(uint64_t seed, uint64_t operation, enum sim_loss loss) {
    static struct world w;
    snprintf(doing, sizeof doing, "seed %llu, stop at %llu, loss %d", (unsigned long long)seed,
             (unsigned long long)operation, (int)loss);
    world_init(&w, seed);
    sim_disk_crash_at(w.disk, operation);
    start_workload(&w, WORKLOAD_STEPS);
    stop_log(&w);
    sim_disk_restart(w.disk, loss);
    open_and_judge(&w);
    live_on(&w);
    world_release(&w);
}

static void survives_a_stop_at_every_operation(void **state) {
    (void)state;
    for (uint64_t seed = crash_seed(1); seed <= crash_seed(3); seed++) {
        uint64_t operations = operations_of_workload(seed);
        print_message("seed %llu: %llu operations\n", (unsigned long long)seed,
                      (unsigned long long)operations);
        for (uint64_t n = 1; n <= operations; n++) {
            for (enum sim_loss loss = SIM_KEEP; loss < SIM_LOSSES; loss++) {
                crash_at(seed, n, loss);
            }
        }
    }
}

/* One operation fails, the machine goes on: nothing may be called durable that is not. */
static void fail_at(uint64_t seed, uint64_t operation, int error_number, enum sim_loss loss) {
    static struct world w;
    snprintf(doing, sizeof doing, "seed %llu, errno %d at %llu, loss %d", (unsigned long long)seed,
             error_number, (unsigned long long)operation, (int)loss);
    world_init(&w, seed);
    sim_disk_fail_at(w.disk, operation, error_number);
    start_workload(&w, WORKLOAD_STEPS);
    assert_true(w.failures <= 1);
    if (w.failures == 1 && w.log != NULL) {
        uint64_t position, address;
        make_facts(&w, w.appended + 1);
        assert_int_equal(log_append(w.log, 1, 1, buffer_span(&w.facts), &position, &address), E_IO);
        assert_int_equal(log_flush(w.log), E_IO);
        assert_true(log_durable_position(w.log) == w.durable);
    }
    stop_log(&w);
    assert_true(w.failures <= 1);
    sim_disk_restart(w.disk, loss);
    open_and_judge(&w);
    live_on(&w);
    world_release(&w);
}

static void survives_a_failure_of_every_operation(void **state) {
    (void)state;
    uint64_t seed = crash_seed(4), operations = operations_of_workload(seed);
    print_message("seed %llu: %llu operations\n", (unsigned long long)seed,
                  (unsigned long long)operations);
    for (uint64_t n = 1; n <= operations; n++) {
        fail_at(seed, n, EIO, SIM_DROP);
        fail_at(seed, n, EIO, SIM_SCATTER);
        fail_at(seed, n, ENOSPC, SIM_KEEP);
    }
}

/* Every position that a reader can get after a flip, by every way there is, is right or refused. */
static void judge_flipped(struct world *w, uint64_t last_batch_first) {
    struct log_recovery found;
    char text[512];
    scan_all(w);
    uint32_t findings = w->corrupt_findings;
    int rc = open_log(w, false, &found, text);
    if (rc != 0) {
        assert_int_equal(rc, E_CORRUPT);
        assert_non_null(strstr(text, "sluice log verify"));
        assert_non_null(strstr(text, ".seg"));
        assert_true(findings > 0);
        return;
    }
    /* Not refused: then nothing was lost, but for the last batch, which looks torn. */
    assert_true(found.next_position >= last_batch_first);
    assert_int_equal(findings, 0);
    for (uint64_t p = 1; p < found.next_position; p++) {
        assert_true(w->seen[p]);
    }
    assert_true(found.next_position == w->appended + 1 || found.report[0] != '\0');
    stop_log(w);
}

/* After salvage the log opens, reads to its end, and misses only what it says. */
static void judge_salvaged(struct world *w) {
    struct log_recovery found;
    char text[512];
    int rc = open_log(w, true, &found, text);
    assert_int_equal(rc, 0);
    assert_true(found.dropped_bytes == 0 || found.report[0] != '\0');
    struct log_cursor *cursor;
    assert_int_equal(log_cursor_open(w->log, 0, &cursor), 0);
    struct record r;
    uint64_t address, position = found.first_position - 1;
    w->lost_records = 0;
    while ((rc = log_cursor_next(cursor, &r, &address)) == 0) {
        assert_true(r.position == ++position);
        judge_record(w, &r);
        assert_true(address == w->address[position]);
    }
    /* Only a header that does not read takes a whole segment away. */
    bool set_aside = strstr(found.report, "set aside") != NULL;
    assert_int_equal(rc, set_aside ? rc : E_END);
    assert_true(set_aside || w->lost_records <= 1);
    log_cursor_close(cursor);
    stop_log(w);
    assert_int_equal(open_log(w, false, &found, text), 0);
    assert_true(found.dropped_bytes == 0 && found.cut_bytes == 0);
    stop_log(w);
}

static void build_for_flips(struct world *w, uint64_t seed, uint64_t *ret_last_batch_first) {
    struct log_recovery found;
    char text[512];
    world_init(w, seed);
    assert_int_equal(open_log(w, false, &found, text), 0);
    for (int batch = 0; batch < 30; batch++) {
        *ret_last_batch_first = w->appended + 1;
        for (uint64_t n = 1 + rng_below(&w->rng, 5); n > 0; n--) {
            assert_true(append_one(w));
        }
        assert_int_equal(log_flush(w->log), 0);
    }
    stop_log(w);
}

static void collect_name(void *context, const char *name) {
    char(*names)[32] = context;
    for (int i = 0; i < 64; i++) {
        if (names[i][0] == '\0' && strstr(name, ".seg") != NULL) {
            snprintf(names[i], 32, "%s", name);
            return;
        }
    }
}

static void flipped_bits_are_refused_and_found(void **state) {
    (void)state;
    const int rounds = 400;
    int refused = 0;
    for (int round = 0; round < rounds; round++) {
        static struct world w;
        uint64_t last_batch_first = 0;
        uint64_t seed = crash_seed(7 + (uint64_t)(round % 5));
        build_for_flips(&w, seed, &last_batch_first);
        rng_init(&w.rng, crash_seed(1000 + (uint64_t)round));
        char names[64][32] = {{0}};
        const struct file_ops *files = sim_disk_ops(w.disk);
        assert_int_equal(files->list(files->context, "data/log", collect_name, names), 0);
        int count = 0;
        while (names[count][0] != '\0') {
            count++;
        }
        assert_true(count >= 1);
        char path[64];
        snprintf(path, sizeof path, "data/log/%s", names[rng_below(&w.rng, (uint64_t)count)]);
        uint64_t size = sim_disk_file_size(w.disk, path);
        uint64_t range = round % 4 == 0 ? SEGMENT_HEADER_BYTES + RECORD_HEADER_BYTES : size;
        assert_true(
            sim_disk_flip(w.disk, path, rng_below(&w.rng, range), (unsigned)rng_below(&w.rng, 8)));
        judge_flipped(&w, last_batch_first);
        refused += w.corrupt_findings > 0 ? 1 : 0;
        judge_salvaged(&w);
        world_release(&w);
    }
    print_message("%d of %d flips refused\n", refused, rounds);
    assert_true(refused > rounds / 2);
}

/* The disk fills, accepting ends in time, room comes back, accepting goes on. */
static void a_full_disk_is_told_in_time_and_forgotten_when_over(void **state) {
    (void)state;
    static struct world w;
    struct log_recovery found;
    char text[512];
    world_init(&w, 21);
    sim_disk_set_capacity(w.disk, 6 * SEGMENT_BYTES + 4096);
    assert_int_equal(open_log(&w, false, &found, text), 0);
    bool reserve_seen = false;
    while (append_one(&w)) {
        assert_int_equal(log_flush(w.log), 0);
        reserve_seen = reserve_seen || log_room(w.log) == LOG_ROOM_RESERVE;
    }
    assert_int_equal(w.failures, 0);
    assert_true(reserve_seen);
    assert_int_not_equal(log_room(w.log), LOG_ROOM_OK);
    uint64_t position, address;
    int rc = log_append(w.log, 1, 0, span_of(NULL, 0), &position, &address);
    assert_true(rc == 0 || rc == E_FULL); /* a small one may still fit */
    log_release(w.log, 1);
    assert_int_equal(log_room(w.log), LOG_ROOM_OK);
    w.appended = log_next_position(w.log) - 1;
    assert_true(append_one(&w));
    assert_int_equal(log_flush(w.log), 0);
    sim_disk_set_capacity(w.disk, 100 * SEGMENT_BYTES);
    stop_log(&w);
    world_release(&w);
}

/* On a full disk a released segment is the next one at once: its old name must be gone for good. */
static void recycle_and_stop_at(uint64_t operation, enum sim_loss loss) {
    static struct world w;
    struct log_recovery found;
    char text[512];
    struct log_segment_info first;
    snprintf(doing, sizeof doing, "recycling, stop at %llu, loss %d", (unsigned long long)operation,
             (int)loss);
    world_init(&w, crash_seed(31));
    sim_disk_set_capacity(w.disk, 3 * SEGMENT_BYTES);
    assert_int_equal(open_log(&w, false, &found, text), 0);
    while (append_one(&w)) {
        assert_int_equal(log_flush(w.log), 0);
    }
    assert_true(log_segments(w.log, &first, 1) >= 2);
    sim_disk_crash_at(w.disk, operation);
    for (uint64_t p = first.first_position; p <= first.last_position; p++) {
        w.released[p] = true;
    }
    log_release(w.log, first.number);
    while (append_one(&w) && log_flush(w.log) == 0) {
    }
    stop_log(&w);
    sim_disk_restart(w.disk, loss);
    open_and_judge(&w);
    world_release(&w);
}

static void a_recycled_file_never_returns_under_its_old_name(void **state) {
    (void)state;
    for (uint64_t n = 1; n <= 20; n++) {
        for (enum sim_loss loss = SIM_KEEP; loss < SIM_LOSSES; loss++) {
            recycle_and_stop_at(n, loss);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(survives_a_stop_at_every_operation),
        cmocka_unit_test(survives_a_failure_of_every_operation),
        cmocka_unit_test(flipped_bits_are_refused_and_found),
        cmocka_unit_test(a_full_disk_is_told_in_time_and_forgotten_when_over),
        cmocka_unit_test(a_recycled_file_never_returns_under_its_old_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
