/*
 * The snapshot of a model.
 *
 *   offset  size  header (16 bytes)
 *        0     8  magic "SLUICE\x01M"
 *        8     4  format version (1)
 *       12     4  zero
 *
 *   then the sections, one after the other, as the modules wrote them
 *
 *   then the index: per section
 *        0     4  module
 *        4     4  section version
 *        8     8  offset of the section from the start of the snapshot
 *       16     8  its length
 *       24     4  number of chunks
 *       28     .  per chunk: length (4), CRC-32C (4)
 *
 *   and the footer (32 bytes)
 *        0     8  offset of the index
 *        8     8  length of the index
 *       16     4  CRC-32C of the index
 *       20     4  CRC-32C of the header and of bytes 0..19 here
 *       24     8  magic "SLUICE\x01E"
 *
 * Checksums stand apart, at the end, so that a section is one piece of the mapped file and is read in
 * place, and a writer needs to know no length beforehand. A snapshot that was not written to its end
 * has no footer.
 */
#include <assert.h>
#include <endian.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "model/destination.h"
#include "model/put.h"
#include "model/state.h"

#define SNAPSHOT_VERSION      1u
#define SNAPSHOT_HEADER_BYTES 16u
#define SNAPSHOT_FOOTER_BYTES 32u
#define INDEX_MAX_BYTES       ((size_t)64 << 20)
#define CHUNK_MAX_BYTES       ((size_t)64 << 20)

static const char header_magic[8] = "SLUICE\x01M";
static const char footer_magic[8] = "SLUICE\x01"
                                    "E";

/* ---- save ---- */

struct snapshot_writer {
    int (*write)(void *sink, struct span bytes);
    void *sink;
    struct buffer index;  /* owns */
    struct buffer chunks; /* owns: of the present section */
    uint64_t offset;
    uint32_t chunk_count;
    uint32_t header_crc;
};

static int writer_put(struct snapshot_writer *w, struct span bytes) {
    int rc = w->write(w->sink, bytes);
    w->offset += bytes.size;
    return rc;
}

static int writer_flush(void *sink, struct buffer *chunk) {
    struct snapshot_writer *w = sink;
    if (chunk->size == 0) {
        return 0;
    }
    int rc = buffer_put_u32(&w->chunks, (uint32_t)chunk->size);
    if (rc == 0) {
        rc = buffer_put_u32(&w->chunks, crc32c_update(0, chunk->data, chunk->size));
    }
    if (rc == 0) {
        rc = writer_put(w, buffer_span(chunk));
    }
    w->chunk_count++;
    buffer_clear(chunk);
    return rc;
}

static int save_section(const struct model *m, struct snapshot_writer *w, unsigned module,
                        struct buffer *chunk) {
    const struct module *mod = modules[module];
    uint64_t offset = w->offset;
    buffer_clear(&w->chunks);
    w->chunk_count = 0;
    int rc = mod->save(m, chunk, writer_flush, w);
    if (rc == 0) {
        rc = writer_flush(w, chunk);
    }
    if (rc == 0 && w->offset == offset) {
        return 0; /* nothing to say: a program that does not know the module yet can read the rest */
    }
    struct saver index = {.chunk = &w->index, .rc = rc};
    save_u32(&index, module);
    save_u32(&index, mod->section_version);
    save_u64(&index, offset);
    save_u64(&index, w->offset - offset);
    save_u32(&index, w->chunk_count);
    return index.rc != 0 ? index.rc : buffer_append_span(&w->index, buffer_span(&w->chunks));
}

static int save_header(struct snapshot_writer *w, struct buffer *scratch) {
    struct saver out = {.chunk = scratch};
    out.rc = buffer_append(scratch, header_magic, sizeof header_magic);
    save_u32(&out, SNAPSHOT_VERSION);
    save_u32(&out, 0);
    w->header_crc = crc32c_update(0, scratch->data, scratch->size);
    out.rc = out.rc != 0 ? out.rc : writer_put(w, buffer_span(scratch));
    buffer_clear(scratch);
    return out.rc;
}

static int save_footer(struct snapshot_writer *w, struct buffer *scratch) {
    struct saver out = {.chunk = scratch};
    save_u64(&out, w->offset);
    save_u64(&out, w->index.size);
    save_u32(&out, crc32c_update(0, w->index.data, w->index.size));
    save_u32(&out, crc32c_update(w->header_crc, scratch->data, scratch->size));
    out.rc = out.rc != 0 ? out.rc : buffer_append(scratch, footer_magic, sizeof footer_magic);
    out.rc = out.rc != 0 ? out.rc : writer_put(w, buffer_span(&w->index));
    return out.rc != 0 ? out.rc : writer_put(w, buffer_span(scratch));
}

int model_save(const struct model *m, int (*write)(void *sink, struct span bytes), void *sink) {
    struct snapshot_writer w = {.write = write, .sink = sink};
    struct buffer chunk;
    buffer_init(&w.index, INDEX_MAX_BYTES);
    buffer_init(&w.chunks, INDEX_MAX_BYTES);
    buffer_init(&chunk, CHUNK_MAX_BYTES);
    int rc = save_header(&w, &chunk);
    for (unsigned i = 0; i < MODULE_COUNT && rc == 0; i++) {
        if (modules[i] != NULL && modules[i]->save != NULL) {
            rc = save_section(m, &w, i, &chunk);
        }
    }
    if (rc == 0) {
        rc = save_footer(&w, &chunk);
    }
    buffer_release(&w.index);
    buffer_release(&w.chunks);
    buffer_release(&chunk);
    return rc;
}

/* ---- load ---- */

static int check_chunks(struct span section, struct reader *index, uint32_t count) {
    size_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t length = reader_u32(index);
        uint32_t crc = reader_u32(index);
        if (index->failed || length > section.size - done ||
            crc32c_update(0, section.data + done, length) != crc) {
            return E_CORRUPT;
        }
        done += length;
    }
    return done == section.size ? 0 : E_CORRUPT;
}

#define EVERY_MODULE 0u

static int load_section(struct model *m, struct span whole, struct reader *index,
                        uint32_t *last_module, unsigned only) {
    uint32_t module = reader_u32(index);
    uint32_t version = reader_u32(index);
    uint64_t offset = reader_u64(index);
    uint64_t length = reader_u64(index);
    uint32_t chunks = reader_u32(index);
    if (index->failed || offset > whole.size || length > whole.size - offset ||
        module <= *last_module || version == 0) {
        return E_CORRUPT; /* no module begins with version 0: to them it means that nothing is loaded */
    }
    if (module >= MODULE_COUNT || modules[module] == NULL || modules[module]->load == NULL ||
        version > modules[module]->section_version) {
        return E_VERSION;
    }
    *last_module = module;
    struct span section = span_of(whole.data + offset, length);
    int rc = check_chunks(section, index, chunks);
    if (rc != 0) {
        return rc;
    }
    struct reader r;
    reader_init(&r, section);
    if (only != EVERY_MODULE && module != only) {
        return 0;
    }
    m->section_version = version;
    rc = modules[module]->load(m, &r);
    m->section_version = 0;
    return rc == 0 && !reader_done(&r) ? E_CORRUPT : rc;
}

/* Header and footer, and the index that the footer names. */
static int find_index(struct span bytes, struct reader *ret_index) {
    if (bytes.size < SNAPSHOT_HEADER_BYTES + SNAPSHOT_FOOTER_BYTES ||
        memcmp(bytes.data, header_magic, sizeof header_magic) != 0) {
        return E_CORRUPT;
    }
    struct span footer =
        span_of(bytes.data + bytes.size - SNAPSHOT_FOOTER_BYTES, SNAPSHOT_FOOTER_BYTES);
    struct reader r;
    reader_init(&r, footer);
    uint64_t offset = reader_u64(&r);
    uint64_t length = reader_u64(&r);
    uint32_t index_crc = reader_u32(&r);
    uint32_t crc = crc32c_update(0, bytes.data, SNAPSHOT_HEADER_BYTES);
    if (reader_u32(&r) != crc32c_update(crc, footer.data, 20) ||
        memcmp(r.next, footer_magic, sizeof footer_magic) != 0) {
        return E_CORRUPT;
    }
    uint32_t version;
    memcpy(&version, bytes.data + sizeof header_magic, sizeof version);
    if (le32toh(version) > SNAPSHOT_VERSION) {
        return E_VERSION;
    }
    uint64_t end = bytes.size - SNAPSHOT_FOOTER_BYTES;
    if (offset > end || length != end - offset ||
        crc32c_update(0, bytes.data + offset, length) != index_crc) {
        return E_CORRUPT;
    }
    reader_init(ret_index, span_of(bytes.data + offset, length));
    return 0;
}

static int load(struct model *m, struct span bytes, unsigned only) {
    struct reader index;
    int rc = find_index(bytes, &index);
    uint32_t last_module = 0;
    while (rc == 0 && index.left > 0) {
        rc = load_section(m, bytes, &index, &last_module, only);
    }
    return rc;
}

int model_load(struct model *m, struct span bytes) {
    int rc = load(m, bytes, EVERY_MODULE);
    return rc == 0 && !destination_knows_confirming(m) ? E_CORRUPT : rc;
}

int model_load_module(struct model *m, struct span bytes, unsigned module) {
    return load(m, bytes, module);
}
