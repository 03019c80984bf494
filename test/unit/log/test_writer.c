#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

static void nothing_is_durable_before_its_flush(void **state) {
    struct fixture *f = *state;
    fixture_add(f, 10);
    fixture_add(f, 10);
    assert_true(log_durable_position(f->log) == 0);
    log_commit(f->log); /* no thread: commit alone flushes nothing */
    assert_true(log_durable_position(f->log) == 0 && f->durable == 0);
    assert_int_equal(log_flush(f->log), 0);
    assert_true(log_durable_position(f->log) == 2 && f->durable == 2);
    assert_int_equal(log_flush(f->log), 0); /* nothing to do */
    struct log_stats stats;
    log_stats(f->log, &stats);
    assert_true(stats.batches == 1 && stats.flushes == 1);
}

static void time_never_goes_back(void **state) {
    struct fixture *f = *state;
    uint64_t position, address;
    struct record r;
    struct buffer out;
    buffer_init(&out, 4096);
    assert_int_equal(log_append(f->log, 500, 0, span_of(NULL, 0), &position, &address), 0);
    assert_int_equal(log_append(f->log, 400, 0, span_of(NULL, 0), &position, &address), 0);
    assert_int_equal(log_read(f->log, address, &out, &r), 0);
    assert_true(r.time_ns == 500);
    buffer_release(&out);
}

static void limits_are_told(void **state) {
    struct fixture *f = *state;
    uint64_t position;
    assert_int_equal(fixture_append(f, FIXTURE_SEGMENT_BYTES / 2, &position), E_TOO_LARGE);
    assert_int_equal(fixture_append(f, FIXTURE_SEGMENT_BYTES / 2 - 48, &position), 0);
    int rc;
    while ((rc = fixture_append(f, 30000, &position)) == 0) {
    }
    assert_int_equal(rc, E_BUSY); /* more segments in one batch than it has places for */
    assert_int_equal(log_flush(f->log), 0);
    assert_int_equal(fixture_append(f, 30000, &position), 0);
    fixture_close(f);
    f->options.batch_max_bytes = 10000;
    assert_int_equal(fixture_open(f), 0);
    assert_int_equal(fixture_append(f, 8000, &position), 0);
    assert_int_equal(fixture_append(f, 8000, &position), E_BUSY);
    assert_int_equal(log_flush(f->log), 0);
    assert_int_equal(fixture_append(f, 8000, &position), 0);
}

static void a_failed_flush_is_final(void **state) {
    struct fixture *f = *state;
    fixture_fill(f, 3, 100);
    uint64_t position;
    fixture_add(f, 100);
    sim_disk_fail_at(f->disk, 2, EIO); /* the write, then the flush */
    assert_int_equal(log_flush(f->log), E_IO);
    assert_non_null(strstr(f->failure, "flush data/log/0000000000000001.seg failed"));
    assert_non_null(strstr(f->failure, "position 4"));
    assert_true(f->durable == 3 && log_durable_position(f->log) == 3);
    assert_int_equal(fixture_append(f, 100, &position), E_IO);
    assert_int_equal(log_flush(f->log), E_IO); /* the disk is well again; it is not tried */
    assert_true(log_durable_position(f->log) == 3);
}

/* ---- with the log thread, on the real file system ---- */

#define THREADED_RECORDS 30000u
#define WINDOW           2000u

struct race {
    struct log *log;
    char folder[64];
    _Atomic uint64_t durable;
    _Atomic uint64_t address[THREADED_RECORDS + 1];
    atomic_bool done;
    _Atomic uint64_t reads;
};

static void race_on_durable(void *context, uint64_t position) {
    struct race *race = context;
    assert_true(position > atomic_exchange(&race->durable, position)); /* in order */
}

static void *race_reader(void *argument) {
    struct race *race = argument;
    struct buffer out;
    buffer_init(&out, 1u << 20);
    uint64_t n = 1;
    while (!atomic_load(&race->done)) {
        uint64_t last = log_next_position(race->log) - 1;
        n = n * 2862933555777941757ull + 3037000493ull;
        uint64_t position = last == 0 ? 0 : 1 + (n >> 20) % last;
        uint64_t address = position == 0 ? 0 : atomic_load(&race->address[position]);
        if (address != 0) {
            struct record r;
            buffer_clear(&out);
            int rc = log_read(race->log, address, &out, &r);
            assert_true(rc == E_NOT_FOUND || (rc == 0 && r.position == position));
            atomic_fetch_add(&race->reads, 1);
        }
    }
    buffer_release(&out);
    return NULL;
}

static void race_append(struct race *race, uint64_t count) {
    struct buffer facts;
    buffer_init(&facts, 4096);
    assert_int_equal(fact_encode(&facts, 1, 1, span_of((uint8_t[200]){1}, 200)), 0);
    for (uint64_t i = 0; i < count;) {
        uint64_t position, address;
        int rc = log_append(race->log, i, 1, buffer_span(&facts), &position, &address);
        if (rc == 0) {
            atomic_store(&race->address[position], address);
            i++;
        }
        if (rc == E_BUSY || i % 16 == 0) {
            log_commit(race->log);
        }
        if (i % 1000 == 0) {
            rc = log_flush(race->log);
            assert_true(rc == 0 || rc == E_BUSY);
        }
        struct log_segment_info infos[4];
        if (i % 2000 == 0 && log_segments(race->log, infos, 4) > 3 && infos[0].sealed) {
            log_release(race->log, infos[0].number);
        }
        while (log_next_position(race->log) - log_durable_position(race->log) > WINDOW) {
            log_commit(race->log);
            usleep(50);
        }
    }
    buffer_release(&facts);
}

static void appender_readers_and_log_thread_agree(void **state) {
    (void)state;
    static struct race race;
    memset(&race, 0, sizeof race);
    snprintf(race.folder, sizeof race.folder, "/tmp/sluice-writer-XXXXXX");
    assert_non_null(mkdtemp(race.folder));
    struct log_options options = {.directory = race.folder,
                                  .segment_bytes = 256u << 10,
                                  .context = &race,
                                  .on_durable = race_on_durable};
    struct log_recovery found;
    char text[512];
    assert_int_equal(log_open(&options, &found, text, &race.log), 0);
    pthread_t readers[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&readers[i], NULL, race_reader, &race), 0);
    }
    race_append(&race, THREADED_RECORDS);
    atomic_store(&race.done, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    }
    log_close(race.log);
    assert_true(atomic_load(&race.durable) == THREADED_RECORDS);
    assert_true(atomic_load(&race.reads) > 0);
    assert_int_equal(log_open(&options, &found, text, &race.log), 0);
    assert_true(found.next_position == THREADED_RECORDS + 1);
    log_close(race.log);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", race.folder);
    assert_int_equal(system(command), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_is_durable_before_its_flush, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(time_never_goes_back, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(limits_are_told, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(a_failed_flush_is_final, fixture_setup, fixture_teardown),
        cmocka_unit_test(appender_readers_and_log_thread_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
