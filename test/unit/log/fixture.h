/*
 * test/unit/log/fixture.h - a log on a simulated disk, and one fact at a time to put into it.
 */
#ifndef SLUICE_TEST_LOG_FIXTURE_H
#define SLUICE_TEST_LOG_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "log/log.h"
#include "sim_disk.h"

#define FIXTURE_SEGMENT_BYTES (64u << 10)
#define FIXTURE_POSITIONS     4096u

struct fixture {
    struct sim_disk *disk;
    struct log_options options;
    struct log *log;
    struct log_recovery found;
    char error_text[512];
    char failure[512];
    uint64_t durable;
    uint64_t address[FIXTURE_POSITIONS];
};

static inline void fixture_on_durable(void *context, uint64_t position) {
    struct fixture *f = context;
    assert_true(position > f->durable);
    f->durable = position;
}

static inline void fixture_on_failed(void *context, const char *message) {
    struct fixture *f = context;
    assert_int_equal(f->failure[0], '\0'); /* once */
    strncpy(f->failure, message, sizeof f->failure - 1);
}

static inline int fixture_open(struct fixture *f) {
    return log_open(&f->options, &f->found, f->error_text, &f->log);
}

static inline void fixture_close(struct fixture *f) {
    log_close(f->log);
    f->log = NULL;
}

static inline int fixture_setup(void **state) {
    struct fixture *f = calloc(1, sizeof *f);
    f->disk = sim_disk_create(1);
    f->options = (struct log_options){
        .directory = "data",
        .files = sim_disk_ops(f->disk),
        .segment_bytes = FIXTURE_SEGMENT_BYTES,
        .no_thread = true,
        .context = f,
        .on_durable = fixture_on_durable,
        .on_failed = fixture_on_failed,
    };
    *state = f;
    return fixture_open(f);
}

static inline int fixture_teardown(void **state) {
    struct fixture *f = *state;
    log_close(f->log);
    sim_disk_free(f->disk);
    free(f);
    return 0;
}

/* One record with one fact of `size` bytes, each the low byte of its position. */
static inline int fixture_append(struct fixture *f, size_t size, uint64_t *ret_position) {
    uint64_t position = log_next_position(f->log), address;
    uint8_t *payload = malloc(size + 1);
    memset(payload, (int)(position & 0xff), size);
    struct buffer facts;
    buffer_init(&facts, RECORD_MAX_BYTES + 4096);
    assert_int_equal(fact_encode(&facts, 0x0101, 1, span_of(payload, size)), 0);
    int rc = log_append(f->log, 1000 + position, 1, buffer_span(&facts), ret_position, &address);
    if (rc == 0 && position < FIXTURE_POSITIONS) {
        f->address[position] = address;
    }
    buffer_release(&facts);
    free(payload);
    return rc;
}

static inline uint64_t fixture_add(struct fixture *f, size_t size) {
    uint64_t position = 0;
    assert_int_equal(fixture_append(f, size, &position), 0);
    return position;
}

/* `count` records of `size`, each flushed by itself. */
static inline void fixture_fill(struct fixture *f, int count, size_t size) {
    for (int i = 0; i < count; i++) {
        fixture_add(f, size);
        assert_int_equal(log_flush(f->log), 0);
    }
}

static inline void fixture_check_record(const struct record *r) {
    struct span facts = r->facts;
    struct fact fact;
    assert_int_equal(fact_next(&facts, &fact), 0);
    for (size_t i = 0; i < fact.payload.size; i++) {
        assert_int_equal(fact.payload.data[i], r->position & 0xff);
    }
}

static inline int fixture_read(struct fixture *f, uint64_t position) {
    struct buffer out;
    struct record r;
    buffer_init(&out, RECORD_MAX_BYTES);
    int rc = log_read(f->log, f->address[position], &out, &r);
    if (rc == 0) {
        assert_true(r.position == position);
        fixture_check_record(&r);
    }
    buffer_release(&out);
    return rc;
}

static inline size_t fixture_segments(const struct fixture *f) {
    return log_segments(f->log, NULL, 0);
}

#endif
