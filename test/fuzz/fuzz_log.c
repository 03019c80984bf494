/*
 * Fuzzes the reader of log segments. The first byte of the input chooses:
 *
 *      even   the rest is a record, decoded as it stands and walked fact by fact
 *      odd    the rest replaces bytes of a good segment at an offset of its first two bytes; the log is
 *             then verified, opened as it is, opened with salvage, and followed to its end
 *
 * Whatever the bytes, only records that were written come out: the content of each is its position.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "log/log.h"
#include "log/verify.h"
#include "sim_disk.h"

#define RECORDS 12

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void walk_facts(const struct record *r) {
    struct span facts = r->facts;
    struct fact fact;
    uint32_t count = 0;
    while (fact_next(&facts, &fact) == 0) {
        count++;
    }
    assert(count == r->fact_count && facts.size == 0); /* record_decode promised */
}

static void decode_record(struct span in) {
    struct record r;
    if (record_decode(in, 0, &r) == 0) {
        assert(r.size_bytes <= in.size);
        walk_facts(&r);
    }
    struct segment_header h;
    (void)!segment_header_decode(in, &h);
    struct fact fact;
    while (fact_next(&in, &fact) == 0) {
    }
}

static int check_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    (void)context;
    (void)file;
    (void)offset;
    struct span facts = r->facts;
    struct fact fact;
    assert(r->position >= 1 && r->position <= RECORDS);
    if (!r->lost) {
        assert(fact_next(&facts, &fact) == 0);
        for (size_t i = 0; i < fact.payload.size; i++) {
            assert(fact.payload.data[i] == r->position);
        }
    }
    return 0;
}

static void on_finding(void *context, const struct log_finding *f) {
    (void)context;
    assert(strlen(f->text) < sizeof f->text);
}

static int open_log(struct sim_disk *disk, bool salvage, struct log **ret_log) {
    struct log_options options = {.directory = "data",
                                  .files = sim_disk_ops(disk),
                                  .segment_bytes = 64u << 10,
                                  .no_thread = true,
                                  .salvage = salvage};
    struct log_recovery found;
    char text[512];
    return log_open(&options, &found, text, ret_log);
}

static void write_good_log(struct sim_disk *disk) {
    struct log *log;
    int rc = open_log(disk, false, &log);
    assert(rc == 0);
    struct buffer facts;
    buffer_init(&facts, 1u << 16);
    for (uint8_t i = 1; i <= RECORDS; i++) {
        uint8_t payload[200];
        uint64_t position, address;
        memset(payload, i, sizeof payload);
        buffer_clear(&facts);
        rc = fact_encode(&facts, 1, 1, span_of(payload, 20u * (i % 10u)));
        assert(rc == 0);
        rc = log_append(log, i, 1, buffer_span(&facts), &position, &address);
        assert(rc == 0 && position == i);
        rc = i % 3 == 0 ? log_flush(log) : 0;
        assert(rc == 0);
    }
    buffer_release(&facts);
    log_close(log);
}

static void follow(struct log *log) {
    struct log_cursor *c;
    struct record r;
    uint64_t address;
    int rc = log_cursor_open(log, 0, &c);
    assert(rc == 0);
    while (log_cursor_next(c, &r, &address) == 0) {
        check_record(NULL, NULL, 0, &r);
    }
    log_cursor_close(c);
}

static void damage_segment(struct span in) {
    struct sim_disk *disk = sim_disk_create(1);
    write_good_log(disk);
    const struct file_ops *files = sim_disk_ops(disk);
    uint64_t offset = (in.data[0] | (uint64_t)in.data[1] << 8) % 4096;
    int file = files->open(files->context, "data/log/0000000000000001.seg", O_RDWR, 0);
    int rc = files->write_at(files->context, file, in.data + 2, in.size - 2, offset);
    assert(file >= 0 && rc == 0);
    files->close(files->context, file);

    struct log_visitor visitor = {NULL, check_record, on_finding};
    struct log_scan_summary summary;
    rc = log_scan("data", files, 0, &visitor, &summary);
    assert(rc == 0);
    for (int salvage = 0; salvage <= 1; salvage++) {
        struct log *log;
        if (open_log(disk, salvage == 1, &log) == 0) {
            follow(log);
            log_close(log);
        }
    }
    sim_disk_free(disk);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 60000) {
        return 0;
    }
    if ((data[0] & 1) == 0) {
        decode_record(span_of(data + 1, size - 1));
    } else {
        damage_segment(span_of(data + 1, size - 1));
    }
    return 0;
}
