/*
 * The reader of log segments. The first byte of the input chooses:
 *
 *      0 mod 3   the rest is a record, decoded as it stands and walked fact by fact
 *      else      a folder with a log, see log_folder.h
 *
 * The folder is then verified, opened as it is, opened with salvage, and followed to its end. What comes out is in
 * order; where every checksum is the writer's, only what was written: the content of each record is its
 * position.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "base/error.h"
#include "log/verify.h"
#include "log_folder.h"

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
    assert(r->position >= 1 && r->position <= LOG_FOLDER_RECORDS);
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
        if (log_folder_open(&files, salvage == 1, &log) == 0) {
            follow(log, &o);
            if (salvage == 1) {
                append_one(log, &o);
            }
            log_close(log);
        }
    }
    mem_files_release(&files);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 3 || size > 60000) {
        return 0;
    }
    if (data[0] % 3 == 0) {
        decode_record(span_of(data + 1, size - 1));
        return 0;
    }
    struct mem_files folder;
    bool own_content = log_folder_make(span_of(data, size), &folder);
    read_folder(&folder, own_content);
    mem_files_release(&folder);
    return 0;
}
