/*
 * Writes the seeds that code makes better than hands: the facts and the snapshot of a state with something of
 * everything, records to be given checksums, short texts. Usage: make_seeds <corpus folder>. Same files each time.
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
        module |= reader_u32(&index) << 16;
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

/* ---- what facts carry ---- */

static void write_stored(const char *name, uint8_t kind, struct span bytes) {
    struct buffer out;
    buffer_init(&out, SEED_MAX);
    put_u8(&out, kind);
    put_span(&out, bytes);
    write_seed("stored", name, buffer_span(&out));
    buffer_release(&out);
}

/* Where the definition begins in a DEFINED fact, and which kind it is for fuzz_stored.c. */
static const struct carried {
    uint16_t kind;
    uint8_t skip, as;
    const char *name;
} CARRIED[] = {
    {FACT_QUEUE_DEFINED, 12, 0, "queue"},       {FACT_STOCK_DEFINED, 12, 1, "stock"},
    {FACT_CAMPAIGN_DEFINED, 16, 2, "campaign"}, {FACT_DESTINATION_DEFINED, 12, 3, "destination"},
    {FACT_MESSAGE_PUT, 0, 4, "message"},
};

static void write_all_stored(void) {
    struct reader log;
    reader_init(&log, buffer_span(&fuzz_state()->log));
    while (log.left > 0) {
        reader_take(&log, 16);
        struct span facts = reader_bytes(&log), left = facts;
        struct fact f;
        while (fact_next(&left, &f) == 0) {
            for (size_t i = 0; i < ARRAY_LENGTH(CARRIED); i++) {
                const struct carried *c = &CARRIED[i];
                if (f.kind == c->kind) {
                    struct span p = span_of(f.payload.data + c->skip, f.payload.size - c->skip);
                    write_stored(c->name, c->as, p);
                }
            }
        }
        write_stored("record", 5, facts);
    }
}

/* ---- short texts ---- */

static const struct text {
    const char *name;
    uint8_t reader; /* in fuzz_text.c */
    const char *text;
} TEXTS[] = {
    {"percent", 0, "/v1/a%20b%C3%A9+%2f"},
    {"percent-bad", 0, "%zz%c0%80%00"},
    {"query", 1, "page_size=20&filter=a%20b&&view=full&page_token=0000000000000001"},
    {"query-twice", 1, "a=1&a=2&=x"},
    {"route-message", 2, "/v1/queues/q/messages/r0000000000000040:redrive"},
    {"route-verb", 2, "/v1/queues/a%3Ab:pause"},
    {"route-dots", 2, "/v1/queues/../messages/%2e%2e"},
    {"receipt", 3, "r0123456789abcdef"},
    {"time", 4, "2030-01-02T03:04:05.678901234+05:30"},
    {"time-leap", 4, "2024-02-29T23:59:60Z"},
    {"duration", 5, "1.5s"},
    {"duration-days", 5, "100000d"},
    {"number", 6, "18446744073709551615"},
    {"token", 7, "Bearer slc_06099d4c_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
    {"token-hash", 7, "blake2b:06099d4c:00000000000000000000000000000000:ffff"},
    {"trace", 8, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
    {"statuses", 9, "408,425,429,500-599"},
    {"statuses-bad", 9, "599-500,,99,1000"},
    {"address-4", 10, "93.184.216.34"},
    {"address-mapped", 10, "::ffff:10.0.0.1"},
    {"address-nat64", 10, "64:ff9b::7f00:1"},
    {"headers", 11, "X-One: 1\nX-Taken: 2\nContent-Length: 7\nHost: x\n"},
    {"headers-cr", 11, "A: b\rC: d\n: e\nF\n"},
    {"template-url", 13, "/orders/{orderingKey}?a={body:/b~1c}\n../x y\xc3\xa9"},
    {"template-braces", 13, "{{{receipt}}}{header.X-A}\nABC"},
    {"template-open", 13, "{receipt\n\r\nX: y"},
    {"excerpt", 12, "ok\r\n\tcaf\xc3\xa9 \xff\xc3"},
};

static void write_texts(void) {
    for (size_t i = 0; i < ARRAY_LENGTH(TEXTS); i++) {
        struct buffer out;
        buffer_init(&out, SEED_MAX);
        put_u8(&out, TEXTS[i].reader);
        put_span(&out, span_text(TEXTS[i].text));
        write_seed("text", TEXTS[i].name, buffer_span(&out));
        buffer_release(&out);
    }
}

/* ---- records, for fuzz_log.c to give checksums ---- */

/* position step, time step, index in the batch, facts, lost, length (2), 0 */
static void put_record(struct buffer *out, const uint8_t fields[5], struct span facts) {
    for (size_t i = 0; i < 5; i++) {
        put_u8(out, fields[i]);
    }
    put_u8(out, (uint8_t)facts.size);
    put_u8(out, (uint8_t)(facts.size >> 8));
    put_u8(out, 0);
    put_span(out, facts);
}

static void write_records(void) {
    static const uint8_t one_fact[] = {1, 0, 1, 0, 2, 0, 0, 0, 'h', 'i'};
    static const struct {
        const char *name;
        uint8_t fields[3][5];
    } runs[] = {
        {"records-in-order", {{1, 1, 0, 1, 0}, {1, 0, 1, 1, 0}, {1, 5, 0, 1, 0}}},
        {"records-with-a-gap", {{1, 1, 0, 1, 0}, {2, 1, 0, 1, 0}, {1, 1, 0, 1, 0}}},
        {"records-back-in-time", {{1, 9, 0, 1, 0}, {1, 0xf0, 0, 1, 0}, {1, 1, 0, 1, 0}}},
        {"records-lost", {{1, 1, 0, 1, 0}, {1, 1, 0, 0, 1}, {1, 1, 0, 1, 0}}},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(runs); i++) {
        struct buffer out;
        buffer_init(&out, SEED_MAX);
        put_u8(&out, 2);
        for (size_t k = 0; k < 3; k++) {
            put_record(&out, runs[i].fields[k], span_of(one_fact, sizeof one_fact));
        }
        write_seed("log", runs[i].name, buffer_span(&out));
        buffer_release(&out);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_seeds CORPUS-FOLDER\n");
        return 2;
    }
    corpus = argv[1];
    write_facts();
    write_snapshots();
    write_all_stored();
    write_texts();
    write_records();
    return 0;
}
