/*
 * bench/micro_log - what the log costs by itself, beside a bare pwrite + fdatasync of the same size in
 * the same run on the same disk.
 *
 *      micro_log <folder> [record bytes, default 300] [seconds for each part, default 2]
 *
 * Prints three lines: bare flush, log_flush of one record, and append + commit as fast as it goes.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/histogram.h"
#include "log/log.h"

#define BARE_FILE_BYTES (64u << 20)

static struct histogram times;

static void die(const char *what, const char *why) {
    fprintf(stderr, "micro_log: %s: %s\n", what, why);
    exit(1);
}

static void print_times(const char *name) {
    printf("%-28s n %7" PRIu64 "  mean %7.1f us  p50 %7.1f  p99 %8.1f  p99.9 %8.1f\n", name,
           times.count, (double)times.sum_ns / (double)(times.count + !times.count) / 1000.0,
           (double)histogram_quantile_ns(&times, 0.5) / 1000.0,
           (double)histogram_quantile_ns(&times, 0.99) / 1000.0,
           (double)histogram_quantile_ns(&times, 0.999) / 1000.0);
}

/* Into space that is allocated but not written, like a fresh segment. */
static void run_bare(const char *folder, const char *bytes, size_t size, uint64_t run_ns) {
    char path[4096];
    snprintf(path, sizeof path, "%s/bare", folder);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || posix_fallocate(file, 0, BARE_FILE_BYTES) != 0) {
        die(path, strerror(errno));
    }
    histogram_init(&times);
    off_t offset = 0;
    uint64_t start_ns = clock_monotonic_ns(), before_ns = start_ns;
    while (before_ns - start_ns < run_ns && (uint64_t)offset + size <= BARE_FILE_BYTES) {
        if (pwrite(file, bytes, size, offset) != (ssize_t)size || fdatasync(file) != 0) {
            die(path, strerror(errno));
        }
        offset += (off_t)size;
        uint64_t now_ns = clock_monotonic_ns();
        histogram_add(&times, now_ns - before_ns);
        before_ns = now_ns;
    }
    close(file);
    unlink(path);
    print_times("bare pwrite + fdatasync");
}

static void run_flushes(struct log *log, struct span facts, uint64_t run_ns) {
    histogram_init(&times);
    uint64_t start_ns = clock_monotonic_ns(), before_ns = start_ns;
    while (before_ns - start_ns < run_ns) {
        uint64_t position, address;
        int rc = log_append(log, before_ns, 1, facts, &position, &address);
        if (rc != 0 || log_flush(log) != 0) {
            die("append and flush", error_text(rc));
        }
        uint64_t now_ns = clock_monotonic_ns();
        histogram_add(&times, now_ns - before_ns);
        before_ns = now_ns;
    }
    print_times("log_append + log_flush");
}

static void run_pipeline(struct log *log, struct span facts, uint64_t run_ns) {
    struct log_stats before, after;
    log_stats(log, &before);
    uint64_t start_ns = clock_monotonic_ns(), append_ns = 0, count = 0;
    while (clock_monotonic_ns() - start_ns < run_ns) {
        uint64_t batch_ns = clock_monotonic_ns();
        int rc = 0;
        for (int i = 0; i < 64 && rc == 0; i++) {
            uint64_t position, address;
            rc = log_append(log, batch_ns, 1, facts, &position, &address);
            count += rc == 0 ? 1 : 0;
        }
        log_commit(log);
        append_ns += clock_monotonic_ns() - batch_ns;
        if (rc == E_BUSY) {
            sched_yield();
        } else if (rc != 0) {
            die("append", error_text(rc));
        }
    }
    while (log_durable_position(log) + 1 < log_next_position(log)) {
        log_commit(log);
        usleep(100);
    }
    double took_s = (double)(clock_monotonic_ns() - start_ns) / 1e9;
    log_stats(log, &after);
    double bytes = (double)(after.appended_bytes - before.appended_bytes);
    printf("%-28s %.0f records/s, %.1f MB/s, %.0f flushes/s, %.0f ns a record in append+commit, "
           "%.4f bytes written a byte\n",
           "log_append + log_commit", (double)count / took_s, bytes / took_s / 1e6,
           (double)(after.flushes - before.flushes) / took_s, (double)append_ns / (double)count,
           (double)(after.written_bytes - before.written_bytes) / bytes);
}

static void on_failed(void *context, const char *message) {
    (void)context;
    die("the log failed", message);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        die("usage", "micro_log <folder> [record bytes] [seconds]");
    }
    size_t size = argc > 2 ? strtoul(argv[2], NULL, 10) : 300;
    uint64_t run_ns = (argc > 3 ? strtoul(argv[3], NULL, 10) : 2) * NS_PER_SECOND;
    mkdir(argv[1], 0700);
    char *payload = calloc(1, size + 1);
    struct buffer facts;
    buffer_init(&facts, RECORD_MAX_BYTES);
    if (size < RECORD_HEADER_BYTES + FACT_HEADER_BYTES ||
        fact_encode(&facts, 1, 1,
                    span_of(payload, size - RECORD_HEADER_BYTES - FACT_HEADER_BYTES)) != 0) {
        die("record size", "48 bytes to 32 MiB");
    }
    run_bare(argv[1], payload, size, run_ns);

    struct log_options options = {.directory = argv[1], .on_failed = on_failed};
    struct log_recovery recovery;
    char text[512];
    struct log *log;
    if (log_open(&options, &recovery, text, &log) != 0) {
        die("log_open", text);
    }
    run_flushes(log, buffer_span(&facts), run_ns);
    run_pipeline(log, buffer_span(&facts), run_ns);
    uint64_t closed_at = log_next_position(log);
    log_close(log);

    uint64_t start_ns = clock_monotonic_ns();
    if (log_open(&options, &recovery, text, &log) != 0 || recovery.next_position != closed_at) {
        die("reopening", text);
    }
    printf("%-28s %.1f ms, %u segments\n", "log_open, reading all",
           (double)(clock_monotonic_ns() - start_ns) / 1e6, recovery.segments);
    log_close(log);
    buffer_release(&facts);
    free(payload);
    return 0;
}
