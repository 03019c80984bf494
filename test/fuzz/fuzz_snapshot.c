/*
 * Snapshots: of a model, with checksums that hold, and as they stand.
 *
 *      byte 0     even: the rest is a snapshot, read as it is
 *                 odd:  the rest are sections, each u16 module, u16 version, u32 length, bytes; they are
 *                       put into a container with good checksums, so that the readers of the modules are reached
 *
 * What loads keeps its invariants, saves as the same bytes again, and can be gone on from.
 */
#include <assert.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "base/reader.h"
#include "state.h"

#define SNAPSHOT_MAX ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void put_u32(struct buffer *out, uint64_t v) {
    int rc = buffer_put_u32(out, (uint32_t)v);
    assert(rc == 0);
}

static void put_u64(struct buffer *out, uint64_t v) {
    int rc = buffer_put_u64(out, v);
    assert(rc == 0);
}

static void put(struct buffer *out, const void *bytes, size_t size) {
    int rc = buffer_append(out, bytes, size);
    assert(rc == 0);
}

/* docs/format/snapshot.md: the section goes out, its entry goes to the index. */
static void put_section(struct buffer *out, struct buffer *index, uint32_t module, struct span s) {
    put_u32(index, module & 0xffff);
    put_u32(index, module >> 16);
    put_u64(index, out->size);
    put_u64(index, s.size);
    put_u32(index, s.size > 0 ? 1 : 0);
    if (s.size > 0) {
        put_u32(index, s.size);
        put_u32(index, crc32c_update(0, s.data, s.size));
        put(out, s.data, s.size);
    }
}

static void wrap(struct span sections, struct buffer *out) {
    struct buffer index;
    struct reader r;
    buffer_init(&index, SNAPSHOT_MAX);
    reader_init(&r, sections);
    put(out, "SLUICE\x01M", 8);
    put_u32(out, 1);
    put_u32(out, 0);
    for (;;) {
        uint32_t module = reader_u32(&r);
        struct span section = reader_bytes(&r);
        if (r.failed) {
            break;
        }
        put_section(out, &index, module, section);
    }
    size_t index_at = out->size;
    put(out, index.data, index.size);
    size_t footer_at = out->size;
    put_u64(out, index_at);
    put_u64(out, index.size);
    put_u32(out, crc32c_update(0, index.data, index.size));
    uint32_t crc = crc32c_update(0, out->data, 16);
    put_u32(out, crc32c_update(crc, out->data + footer_at, 20));
    put(out,
        "SLUICE\x01"
        "E",
        8);
    buffer_release(&index);
}

static void load(struct span snapshot) {
    struct model *m = fuzz_model_empty();
    int rc = model_load(m, snapshot);
    assert(rc == 0 || rc == E_CORRUPT || rc == E_VERSION);
    if (rc == 0) {
        fuzz_model_exercise(m, fuzz_state()->now_ns, UINT64_C(1) << 40);
    }
    model_free(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0 || size > SNAPSHOT_MAX / 4) {
        return 0;
    }
    struct span rest = span_of(data + 1, size - 1);
    if ((data[0] & 1) == 0) {
        load(rest);
        return 0;
    }
    struct buffer whole;
    buffer_init(&whole, SNAPSHOT_MAX);
    wrap(rest, &whole);
    load(buffer_span(&whole));
    buffer_release(&whole);
    return 0;
}
