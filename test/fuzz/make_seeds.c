/*
 * Writes the seeds that code makes better than hands: the facts and the snapshot of a state with something of
 * everything. Usage: make_seeds <corpus folder>. Same files each time.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/reader.h"
#include "log/format.h"
#include "model/fact.h"
#include "state.h"

#define SEED_MAX ((size_t)1 << 20)

static const char *corpus;

static void write_seed(const char *target, const char *name, struct span bytes) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", corpus, target, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(bytes.data, 1, bytes.size, file) != bytes.size ||
        fclose(file) != 0) {
        perror(path);
        exit(1);
    }
}

static void put_u8(struct buffer *out, uint8_t v) {
    int rc = buffer_put_u8(out, v);
    assert(rc == 0);
}

static void put_span(struct buffer *out, struct span s) {
    int rc = buffer_append_span(out, s);
    assert(rc == 0);
}

/* ---- facts ---- */

/* One more of each kind on the full state: nearly all are refused there, each at another place. */
static void write_each_kind(struct span facts, bool seen[65536]) {
    struct fact fact;
    while (fact_next(&facts, &fact) == 0) {
        if (seen[fact.kind]) {
            continue;
        }
        seen[fact.kind] = true;
        struct buffer out;
        buffer_init(&out, SEED_MAX);
        put_u8(&out, 1);
        int rc = fact_encode(&out, fact.kind, fact.version, fact.payload);
        assert(rc == 0);
        write_seed("facts", fact_kind_name(fact.kind), buffer_span(&out));
        buffer_release(&out);
    }
}

/* The whole history from nothing, record after record. */
static void write_facts(void) {
    static bool seen[65536];
    struct reader log;
    struct buffer all;
    uint64_t last_ns = fuzz_state()->now_ns;
    reader_init(&log, buffer_span(&fuzz_state()->log));
    buffer_init(&all, SEED_MAX);
    put_u8(&all, 0);
    while (log.left > 0) {
        uint64_t time_ns = reader_u64(&log);
        reader_u64(&log);
        struct span facts = reader_bytes(&log);
        uint64_t later_ns = time_ns > last_ns ? time_ns - last_ns : 0;
        put_span(&all, facts);
        int rc = fact_encode(&all, 0, 0, span_of(&later_ns, later_ns > 0 ? 7 : 0));
        assert(rc == 0);
        write_each_kind(facts, seen);
        last_ns = time_ns;
    }
    write_seed("facts", "history", buffer_span(&all));
    buffer_release(&all);
}

/* ---- snapshots ---- */

/* The sections of a snapshot, as fuzz_snapshot.c takes them: by the index at its end. */
static void sections_of(struct span s, struct buffer *out) {
    struct reader footer, index;
    reader_init(&footer, span_of(s.data + s.size - 32, 32));
    uint64_t index_at = reader_u64(&footer);
    uint64_t index_size = reader_u64(&footer);
    reader_init(&index, span_of(s.data + index_at, index_size));
    put_u8(out, 1);
    while (index.left > 0) {
        uint32_t module = reader_u32(&index);
        reader_u32(&index);
        uint64_t at = reader_u64(&index), size = reader_u64(&index);
        reader_take(&index, 8 * (size_t)reader_u32(&index));
        int rc = buffer_put_u32(out, module);
        rc = rc != 0 ? rc : buffer_put_bytes(out, span_of(s.data + at, size));
        assert(rc == 0);
    }
}

static void write_snapshot(const char *name, struct span snapshot) {
    char plain[64];
    struct buffer out;
    buffer_init(&out, SEED_MAX);
    sections_of(snapshot, &out);
    write_seed("snapshot", name, buffer_span(&out));
    buffer_clear(&out);
    put_u8(&out, 0);
    put_span(&out, snapshot);
    snprintf(plain, sizeof plain, "%s-as-it-stands", name);
    write_seed("snapshot", plain, buffer_span(&out));
    buffer_release(&out);
}

static void write_snapshots(void) {
    struct buffer empty;
    buffer_init(&empty, SEED_MAX);
    struct model *m = fuzz_model_empty();
    fuzz_model_save(m, &empty);
    write_snapshot("empty", buffer_span(&empty));
    write_snapshot("full", buffer_span(&fuzz_state()->snapshot));
    model_free(m);
    buffer_release(&empty);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_seeds CORPUS-FOLDER\n");
        return 2;
    }
    corpus = argv[1];
    write_facts();
    write_snapshots();
    return 0;
}
