#include "log/format.h"

#include <assert.h>
#include <endian.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/reader.h"

#define CRC_COVERS_FROM  8u /* length and CRC itself are outside */
#define HEADER_CRC_AT    60u
#define RECORD_FLAG_LOST 1u

static const uint8_t segment_magic[8] = {'S', 'L', 'U', 'I', 'C', 'E', 1, 'L'};

static void store_u16(uint8_t *at, uint16_t v) {
    v = htole16(v);
    memcpy(at, &v, sizeof v);
}

static void store_u32(uint8_t *at, uint32_t v) {
    v = htole32(v);
    memcpy(at, &v, sizeof v);
}

static void store_u64(uint8_t *at, uint64_t v) {
    v = htole64(v);
    memcpy(at, &v, sizeof v);
}

static uint32_t load_u32(const uint8_t *at) {
    uint32_t v;
    memcpy(&v, at, sizeof v);
    return le32toh(v);
}

void segment_header_encode(uint8_t out[SEGMENT_HEADER_BYTES], const struct segment_header *h) {
    memset(out, 0, SEGMENT_HEADER_BYTES);
    memcpy(out, segment_magic, sizeof segment_magic);
    store_u32(out + 8, h->format_version);
    store_u32(out + 12, h->number);
    store_u64(out + 16, h->first_position);
    store_u64(out + 24, h->created_ns);
    store_u64(out + 32, h->folder_id);
    store_u32(out + HEADER_CRC_AT, crc32c_update(0, out, HEADER_CRC_AT));
}

int segment_header_decode(struct span in, struct segment_header *ret) {
    if (in.size < SEGMENT_HEADER_BYTES) {
        return E_TORN;
    }
    if (memcmp(in.data, segment_magic, sizeof segment_magic) != 0 ||
        load_u32(in.data + HEADER_CRC_AT) != crc32c_update(0, in.data, HEADER_CRC_AT)) {
        return E_CORRUPT;
    }
    struct reader r;
    reader_init(&r, span_of(in.data + sizeof segment_magic, HEADER_CRC_AT - sizeof segment_magic));
    struct segment_header h = {0};
    h.format_version = reader_u32(&r);
    if (h.format_version != LOG_FORMAT_VERSION) {
        return h.format_version > LOG_FORMAT_VERSION ? E_VERSION : E_CORRUPT;
    }
    h.number = reader_u32(&r);
    h.first_position = reader_u64(&r);
    h.created_ns = reader_u64(&r);
    h.folder_id = reader_u64(&r);
    *ret = h;
    return 0;
}

uint32_t segment_seed(const struct segment_header *h) {
    return (uint32_t)hash_u64(h->folder_id ^ hash_u64(h->number));
}

static void record_header_store(uint8_t *at, uint32_t size_bytes, const struct record *r,
                                uint16_t flags) {
    store_u32(at, size_bytes);
    store_u64(at + 8, r->position);
    store_u64(at + 16, r->time_ns);
    store_u32(at + 24, r->epoch);
    store_u32(at + 28, r->batch_index);
    store_u16(at + 32, r->fact_count);
    store_u16(at + 34, flags);
    store_u32(at + 36, 0);
}

static uint32_t record_crc(const uint8_t *at, uint32_t size_bytes, uint32_t seed) {
    return crc32c_update(seed, at + CRC_COVERS_FROM, size_bytes - CRC_COVERS_FROM);
}

int record_encode(struct buffer *out, uint32_t seed, const struct record *r) {
    if (r->facts.size > RECORD_MAX_BYTES - RECORD_HEADER_BYTES) {
        return E_LIMIT;
    }
    uint32_t size_bytes = RECORD_HEADER_BYTES + (uint32_t)r->facts.size;
    int rc = buffer_reserve(out, size_bytes);
    if (rc != 0) {
        return rc;
    }
    uint8_t *at = out->data + out->size;
    record_header_store(at, size_bytes, r, 0);
    /* Of the facts as they came, which the cache has, and not of what has only just been stored. */
    uint32_t crc = record_crc(at, RECORD_HEADER_BYTES, seed);
    store_u32(at + 4, crc32c_update(crc, r->facts.data, r->facts.size));
    if (r->facts.size > 0) {
        memcpy(at + RECORD_HEADER_BYTES, r->facts.data, r->facts.size);
    }
    out->size += size_bytes;
    return 0;
}

void record_encode_lost(uint8_t *at, uint32_t size_bytes, uint32_t seed, uint64_t position,
                        uint64_t time_ns) {
    assert(size_bytes >= RECORD_HEADER_BYTES && size_bytes <= RECORD_MAX_BYTES);
    struct record r = {.position = position, .time_ns = time_ns, .epoch = LOG_EPOCH};
    record_header_store(at, size_bytes, &r, RECORD_FLAG_LOST);
    store_u32(at + 4, record_crc(at, size_bytes, seed));
}

uint32_t record_length(struct span in) {
    if (in.size < sizeof(uint32_t)) {
        return 0;
    }
    uint32_t length = load_u32(in.data);
    return length >= RECORD_HEADER_BYTES && length <= RECORD_MAX_BYTES ? length : 0;
}

uint64_t record_position(struct span in) {
    uint64_t v;
    assert(in.size >= RECORD_HEADER_BYTES);
    memcpy(&v, in.data + 8, sizeof v);
    return le64toh(v);
}

static bool facts_are_well_formed(struct span facts, uint16_t count) {
    struct fact fact;
    uint32_t seen = 0;
    int rc;
    while ((rc = fact_next(&facts, &fact)) == 0) {
        seen++;
    }
    return rc == E_END && seen == count;
}

/* Neither an end nor torn, as far as its length says. */
static int check_length(struct span in) {
    if (in.size < sizeof(uint32_t) || load_u32(in.data) == 0) {
        return E_END;
    }
    uint32_t length = record_length(in);
    if (length == 0) {
        return E_CORRUPT;
    }
    return in.size < length ? E_TORN : 0;
}

int record_decode(struct span in, uint32_t seed, struct record *ret) {
    int rc = check_length(in);
    if (rc != 0) {
        return rc;
    }
    uint32_t length = record_length(in);
    bool good = load_u32(in.data + 4) == record_crc(in.data, length, seed);
    return good ? record_view(in, ret) : E_CORRUPT;
}

int record_view(struct span in, struct record *ret) {
    int rc = check_length(in);
    if (rc != 0) {
        return rc;
    }
    uint32_t length = record_length(in);
    struct reader r;
    reader_init(&r, span_of(in.data + CRC_COVERS_FROM, length - CRC_COVERS_FROM));
    struct record record = {.size_bytes = length};
    record.position = reader_u64(&r);
    record.time_ns = reader_u64(&r);
    record.epoch = reader_u32(&r);
    record.batch_index = reader_u32(&r);
    record.fact_count = reader_u16(&r);
    uint16_t flags = reader_u16(&r);
    uint32_t zero = reader_u32(&r);
    record.lost = flags == RECORD_FLAG_LOST;
    record.facts = record.lost ? span_of(NULL, 0) : reader_take(&r, r.left);
    if ((flags & ~RECORD_FLAG_LOST) != 0 || zero != 0 || record.batch_index > record.position ||
        !facts_are_well_formed(record.facts, record.fact_count)) {
        return E_CORRUPT;
    }
    *ret = record;
    return 0;
}

int fact_encode(struct buffer *out, uint16_t kind, uint16_t version, struct span payload) {
    if (payload.size > RECORD_MAX_BYTES) {
        return E_LIMIT;
    }
    int rc = buffer_reserve(out, FACT_HEADER_BYTES + payload.size);
    if (rc != 0) {
        return rc;
    }
    uint8_t *at = out->data + out->size;
    store_u16(at, kind);
    store_u16(at + 2, version);
    store_u32(at + 4, (uint32_t)payload.size);
    if (payload.size > 0) {
        memcpy(at + FACT_HEADER_BYTES, payload.data, payload.size);
    }
    out->size += FACT_HEADER_BYTES + payload.size;
    return 0;
}

int fact_next(struct span *facts, struct fact *ret) {
    if (facts->size == 0) {
        return E_END;
    }
    struct reader r;
    reader_init(&r, *facts);
    struct fact fact;
    fact.kind = reader_u16(&r);
    fact.version = reader_u16(&r);
    fact.payload = reader_bytes(&r);
    if (r.failed) {
        return E_CORRUPT;
    }
    *facts = span_of(r.next, r.left);
    *ret = fact;
    return 0;
}
