#include "log_folder.h"

#include <assert.h>
#include <fcntl.h>

#include "base/reader.h"

#define SEGMENT_BYTES (64u << 10)
#define SEGMENT_PATH  "data/log/0000000000000001.seg"

int log_folder_open(struct mem_files *folder, bool salvage, struct log **ret_log) {
    struct log_options options = {.directory = "data",
                                  .files = &folder->ops,
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
    for (uint8_t i = 1; i <= LOG_FOLDER_RECORDS; i++) {
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
        int rc = log_folder_open(&files, false, &log);
        assert(rc == 0);
        append_records(log);
        log_close(log);
    }
    return &files;
}

static void damage(struct span in, struct mem_files *folder) {
    mem_files_copy(folder, good_log());
    uint64_t offset = (in.data[0] | (uint64_t)in.data[1] << 8) % 4096;
    const struct file_ops *ops = &folder->ops;
    int file = ops->open(ops->context, SEGMENT_PATH, O_RDWR, 0);
    assert(file >= 0);
    ops->write_at(ops->context, file, in.data + 2, in.size - 2, offset);
    ops->close(ops->context, file);
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

static void write_records(struct span in, struct mem_files *folder) {
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
    mem_files_init(folder);
    mem_files_put(folder, SEGMENT_PATH, buffer_span(&out));
    buffer_release(&out);
}

bool log_folder_make(struct span in, struct mem_files *folder) {
    struct span rest = span_of(in.data + 1, in.size - 1);
    bool own = in.data[0] % 3 == 1;
    if (own) {
        damage(rest, folder);
    } else {
        write_records(rest, folder);
    }
    return own;
}
