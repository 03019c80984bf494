/*
 * The bytes that earlier releases wrote: every fact is of a kind and version known today, all of them apply, and the state
 * that they make is the one that the release's own snapshot brings back. See test/fixtures/upgrade/make for the files.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "base/error.h"
#include "model/fact.h"
#include "model/model.h"

#define BYTES_MAX              ((size_t)64 << 20)
#define LINE_MAX_BYTES         (1u << 20)
#define SNAPSHOT_HEADER_BYTES  48u
#define SNAPSHOT_TRAILER_BYTES 16u

static const char *fixtures;

static uint32_t segment_of(uint64_t address) {
    return (uint32_t)(address >> 32);
}

static struct model *fresh_model(void) {
    struct model *m;
    struct model_limits limits = {0};
    assert_int_equal(model_create(&limits, (struct hash_key){5, 6}, &m), 0);
    model_set_segment_of(m, segment_of);
    return m;
}

static int append(void *sink, struct span bytes) {
    return buffer_append_span(sink, bytes);
}

/* ---- facts.txt: "@ position time address", then "kind version payload" for each fact ---- */

static void put_hex(struct buffer *out, const char *hex) {
    for (; hex[0] != '\0' && hex[0] != '-' && hex[0] != '\n'; hex += 2) {
        char digits[3] = {hex[0], hex[1], '\0'};
        assert_int_equal(buffer_put_u8(out, (uint8_t)strtoul(digits, NULL, 16)), 0);
    }
}

static void put_fact(struct buffer *facts, const char *line) {
    unsigned kind, version;
    int payload_at;
    assert_int_equal(sscanf(line, "%x %u %n", &kind, &version, &payload_at), 2);
    if (fact_kind_name(kind) == NULL || version > fact_kind_version(kind)) {
        fail_msg("a release wrote fact 0x%04x version %u; this program does not know it", kind,
                 version);
    }
    struct buffer payload;
    buffer_init(&payload, LINE_MAX_BYTES);
    put_hex(&payload, line + payload_at);
    int rc = buffer_put_u16(facts, (uint16_t)kind);
    rc = rc != 0 ? rc : buffer_put_u16(facts, (uint16_t)version);
    rc = rc != 0 ? rc : buffer_put_bytes(facts, buffer_span(&payload));
    assert_int_equal(rc, 0);
    buffer_release(&payload);
}

static void apply_record(struct model *m, const struct applied *where, struct buffer *facts) {
    if (facts->size == 0) {
        return;
    }
    if (model_apply(m, where, buffer_span(facts)) != 0) {
        fail_msg("the record at position %" PRIu64 " is refused", where->position);
    }
    buffer_clear(facts);
}

/* Returns how many records there were. */
static unsigned apply_all(struct model *m, FILE *file, char *line) {
    struct buffer facts;
    buffer_init(&facts, BYTES_MAX);
    struct applied where = {0};
    unsigned records = 0;
    while (fgets(line, LINE_MAX_BYTES, file) != NULL) {
        if (line[0] == '@') {
            apply_record(m, &where, &facts);
            assert_int_equal(sscanf(line, "@ %" SCNu64 " %" SCNu64 " %" SCNu64, &where.position,
                                    &where.time_ns, &where.address),
                             3);
            records++;
        } else if (line[0] != '#') {
            put_fact(&facts, line);
        }
    }
    apply_record(m, &where, &facts);
    buffer_release(&facts);
    return records;
}

static FILE *open_file(const char *release, const char *name) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", fixtures, release, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fail_msg("%s is missing", path);
    }
    return file;
}

static struct model *replay(const char *release) {
    struct model *m = fresh_model();
    char *line = malloc(LINE_MAX_BYTES);
    FILE *file = open_file(release, "facts.txt");
    assert_true(apply_all(m, file, line) > 50);
    fclose(file);
    free(line);
    return m;
}

/* The model's part of the release's snapshot file. */
static struct model *load(const char *release) {
    struct buffer bytes;
    buffer_init(&bytes, BYTES_MAX);
    FILE *file = open_file(release, "whole.snap");
    uint8_t part[4096];
    for (size_t size; (size = fread(part, 1, sizeof part, file)) > 0;) {
        assert_int_equal(buffer_append(&bytes, part, size), 0);
    }
    fclose(file);
    assert_true(bytes.size > SNAPSHOT_HEADER_BYTES + SNAPSHOT_TRAILER_BYTES);
    struct model *m = fresh_model();
    size_t size = bytes.size - SNAPSHOT_HEADER_BYTES - SNAPSHOT_TRAILER_BYTES;
    assert_int_equal(model_load(m, span_of(bytes.data + SNAPSHOT_HEADER_BYTES, size)), 0);
    buffer_release(&bytes);
    return m;
}

static void check_same(const struct model *a, const struct model *b) {
    struct buffer saved_a, saved_b;
    buffer_init(&saved_a, BYTES_MAX);
    buffer_init(&saved_b, BYTES_MAX);
    assert_int_equal(model_save(a, append, &saved_a), 0);
    assert_int_equal(model_save(b, append, &saved_b), 0);
    assert_true(span_equal(buffer_span(&saved_a), buffer_span(&saved_b)));
    buffer_release(&saved_a);
    buffer_release(&saved_b);
}

static void check_release(const char *release) {
    struct model *replayed = replay(release);
    struct model *loaded = load(release);
    model_check(replayed);
    model_check(loaded);
    check_same(replayed, loaded);
    model_free(replayed);
    model_free(loaded);
}

static void test_every_release(void **state) {
    DIR *folder = opendir(fixtures);
    assert_non_null(folder);
    unsigned releases = 0;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] >= '0' && entry->d_name[0] <= '9') {
            check_release(entry->d_name);
            releases++;
        }
    }
    closedir(folder);
    assert_true(releases > 0);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: test_model_release FOLDER-OF-FIXTURES\n");
        return 2;
    }
    fixtures = argv[1];
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_release)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
