/*
 * The reader of log segments. The first byte of the input chooses:
 *
 *      0 mod 3   the rest is a record, decoded as it stands and walked fact by fact
 *      1 mod 3   the rest replaces bytes of a good segment at an offset of its first two bytes
 *      2 mod 3   the rest describes records (8 bytes: position, time, index in the batch, facts, flags,
 *                length of what follows as facts), which are written with good checksums
 *
 * The folder is then verified, opened as it is, opened with salvage, and followed to its end. What comes out is in
 * order; in the second case, where every checksum is the writer's, only what was written: the content of each record
 * is its position.
 */
#include <assert.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "base/reader.h"
#include "log/log.h"
#include "log/verify.h"
#include "mem_files.h"

#define RECORDS       12
#define SEGMENT_BYTES (64u << 10)
#define SEGMENT_PATH  "data/log/0000000000000001.seg"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- decoding ---- */

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

/* ---- a good log, made once ---- */

static int open_log(struct mem_files *files, bool salvage, struct log **ret_log) {
    struct log_options options = {.directory = "data",
                                  .files = &files->ops,
                                  .segment_bytes = SEGMENT_BYTES,
                                  .no_thread = true,
                                  .salvage = salvage};
    struct log_recovery found;
    char text[512];
    return log_open(&options, &found, text, ret_log);
}

static void append_records(struct log *log) {
    struct buffer facts;
    buffer_init(&facts, 1u << 16);
    for (uint8_t i = 1; i <= RECORDS; i++) {
        uint8_t payload[200];
        uint64_t position, address;
        memset(payload, i, sizeof payload);
        buffer_clear(&facts);
        int rc = fact_encode(&facts, 1, 1, span_of(payload, 20u * (i % 10u)));
        assert(rc == 0);
        rc = log_append(log, i, 1, buffer_span(&facts), &position, &address);
        assert(rc == 0 && position == i);
        rc = i % 3 == 0 ? log_flush(log) : 0;
        assert(rc == 0);
    }
    buffer_release(&facts);
}

static const struct mem_files *good_log(void) {
    static struct mem_files files;
    if (files.files[0].path[0] == '\0') {
        struct log *log;
        mem_files_init(&files);
        int rc = open_log(&files, false, &log);
        assert(rc == 0);
        append_records(log);
        log_close(log);
    }
    return &files;
}

/* ---- reading ---- */

struct order {
    bool own_content; /* that of append_records */
    uint64_t position, time_ns;
};

static int check_record(void *context, const char *file, uint64_t offset, const struct record *r) {
    const struct order *o = context;
    (void)file;
    (void)offset;
    struct span facts = r->facts;
    struct fact fact;
    if (!o->own_content || r->lost) {
        return 0;
    }
    assert(r->position >= 1 && r->position <= RECORDS);
    int rc = fact_next(&facts, &fact);
    assert(rc == 0);
    for (size_t i = 0; i < fact.payload.size; i++) {
        assert(fact.payload.data[i] == r->position);
    }
    return 0;
}

static void on_finding(void *context, const struct log_finding *f) {
    (void)context;
    assert(strlen(f->text) < sizeof f->text);
}

static void check_reads_back(struct log *log, uint64_t address, const struct record *expected) {
    struct buffer bytes;
    struct record r;
    buffer_init(&bytes, RECORD_MAX_BYTES);
    int rc = log_read(log, address, &bytes, &r);
    assert(rc == 0 || expected->lost);
    assert(rc != 0 || (r.position == expected->position && span_equal(r.facts, expected->facts)));
    buffer_release(&bytes);
}

/* I: consecutive positions, times that never go back, each found again by its address. */
static void follow(struct log *log, struct order *o) {
    struct log_cursor *c;
    struct record r;
    uint64_t address;
    int rc = log_cursor_open(log, 0, &c);
    assert(rc == 0);
    o->position = o->time_ns = 0;
    while (log_cursor_next(c, &r, &address) == 0) {
        check_record(o, NULL, 0, &r);
        assert(o->position == 0 || r.position == o->position + 1);
        assert(r.time_ns >= o->time_ns);
        o->position = r.position;
        o->time_ns = r.time_ns;
        check_reads_back(log, address, &r);
    }
    log_cursor_close(c);
}

/* Once more open, it takes records again. */
static void append_one(struct log *log, const struct order *o) {
    uint64_t position, address;
    uint8_t fact[FACT_HEADER_BYTES] = {1, 0, 1, 0};
    int rc = log_append(log, o->time_ns, 1, span_of(fact, sizeof fact), &position, &address);
    assert(rc == 0 || rc == E_FULL);
    rc = rc == 0 ? log_flush(log) : 0;
    assert(rc == 0);
}

static void read_folder(const struct mem_files *folder, bool own_content) {
    struct order o = {.own_content = own_content};
    struct log_visitor visitor = {&o, check_record, on_finding};
    struct log_scan_summary summary;
    struct mem_files files;
    mem_files_copy(&files, folder);
    int rc = log_scan("data", &files.ops, 0, &visitor, &summary);
    assert(rc == 0);
    for (int salvage = 0; salvage <= 1; salvage++) {
        struct log *log;
        if (open_log(&files, salvage == 1, &log) == 0) {
            follow(log, &o);
            if (salvage == 1) {
                append_one(log, &o);
            }
            log_close(log);
        }
    }
    mem_files_release(&files);
}

static void damage_segment(struct span in) {
    struct mem_files folder;
    mem_files_copy(&folder, good_log());
    uint64_t offset = (in.data[0] | (uint64_t)in.data[1] << 8) % 4096;
    const struct file_ops *ops = &folder.ops;
    int file = ops->open(ops->context, SEGMENT_PATH, O_RDWR, 0);
    assert(file >= 0);
    ops->write_at(ops->context, file, in.data + 2, in.size - 2, offset);
    ops->close(ops->context, file);
    read_folder(&folder, true);
    mem_files_release(&folder);
}

static void describe_record(struct reader *in, struct buffer *out, uint32_t seed,
                            struct record *last) {
    struct record r = {.epoch = LOG_EPOCH};
    r.position = last->position + reader_u8(in);
    r.time_ns = last->time_ns + (uint64_t)(int8_t)reader_u8(in);
    r.batch_index = reader_u8(in);
    r.fact_count = reader_u8(in);
    r.lost = reader_u8(in) == 1;
    uint32_t length = reader_u8(in);
    length |= (uint32_t)reader_u8(in) << 8;
    (void)reader_u8(in); /* 8 bytes in all */
    r.facts = reader_take(in, length);
    if (!in->failed && record_encode(out, seed, &r) == 0) {
        *last = r;
    }
}

static void write_records(struct span in) {
    const struct segment_header h = {
        .format_version = LOG_FORMAT_VERSION, .number = 1, .first_position = 1, .folder_id = 7};
    struct buffer out;
    struct reader r;
    struct record last = {.time_ns = 1000};
    uint8_t header[SEGMENT_HEADER_BYTES];
    buffer_init(&out, 1u << 20);
    segment_header_encode(header, &h);
    int rc = buffer_append(&out, header, sizeof header);
    assert(rc == 0);
    reader_init(&r, in);
    while (r.left > 0 && !r.failed) {
        describe_record(&r, &out, segment_seed(&h), &last);
    }
    struct mem_files folder;
    mem_files_init(&folder);
    mem_files_put(&folder, SEGMENT_PATH, buffer_span(&out));
    read_folder(&folder, false);
    mem_files_release(&folder);
    buffer_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 60000) {
        return 0;
    }
    struct span rest = span_of(data + 1, size - 1);
    switch (data[0] % 3) {
    case 0:
        decode_record(rest);
        break;
    case 1:
        damage_segment(rest);
        break;
    default:
        write_records(rest);
    }
    return 0;
}
