/*
 * The files of snapshots in a data folder (src/engine/snapshot.c): whatever the newest holds, a start goes on from it, or
 * from the one before, and never from half of one.
 *
 *      byte 0     even: the rest is the newest file; odd: the rest replaces bytes of a good one at the offset of
 *                 its first two bytes, and what bit 1 says, cuts it off there
 */
#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "engine/internal.h"
#include "mem_files.h"
#include "state.h"

#define GOOD_PATH     "data/snapshot/0000000000000003.snap"
#define NEWEST_PATH   "data/snapshot/0000000000000005.snap"
#define LEFTOVER_PATH "data/snapshot/0000000000000007.tmp"
#define STATE_MAX     ((size_t)4 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void engine_on(struct engine *e, struct mem_files *files) {
    static char directory[] = "data";
    *e = (struct engine){.directory = directory, .files = &files->ops};
    e->options.limits.queues = 100;
    rng_init(&e->random, 1);
}

/* The state of state.h, as the engine writes it for a position. */
static struct span good_file(uint64_t position) {
    static struct mem_files made[8];
    struct mem_files *files = &made[position];
    if (files->ops.open == NULL) {
        struct engine e;
        mem_files_init(files);
        engine_on(&e, files);
        e.model = fuzz_model_loaded();
        int rc = snapshot_write(&e, position, 1000 * position, 0);
        assert(rc == 0);
        model_free(e.model);
    }
    char path[64];
    snprintf(path, sizeof path, "data/snapshot/%016x.tmp", (unsigned)position);
    return mem_files_get(files, path);
}

static void damaged_file(struct span in, uint8_t how, struct buffer *out) {
    struct span good = good_file(5);
    size_t at = in.size >= 2 ? (in.data[0] | (size_t)in.data[1] << 8) % good.size : 0;
    struct span with = span_of(in.data + 2, in.size >= 2 ? in.size - 2 : 0);
    with.size = with.size < good.size - at ? with.size : good.size - at;
    int rc = buffer_append_span(out, good);
    assert(rc == 0);
    if (with.size > 0) {
        memcpy(out->data + at, with.data, with.size);
    }
    if ((how & 2) != 0) {
        out->size = at + with.size;
    }
}

static bool is_good_state(const struct model *m) {
    struct buffer state;
    buffer_init(&state, STATE_MAX);
    fuzz_model_save(m, &state);
    bool same = span_equal(buffer_span(&state), buffer_span(&fuzz_state()->snapshot));
    buffer_release(&state);
    return same;
}

static void start(struct mem_files *files, bool only_damage) {
    struct engine e;
    char text[512];
    uint64_t position, time_ns;
    engine_on(&e, files);
    int rc = snapshot_load(&e, &position, &time_ns, text);
    assert(rc == 0 || (rc == E_VERSION && text[0] != '\0'));
    assert(mem_files_get(files, LEFTOVER_PATH).data == NULL);
    if (rc == 0) {
        assert(position == 3 || position == 5);
        assert(position == 5 || time_ns == 3000);
        assert(position != 3 || is_good_state(e.model));
        assert(!only_damage ||
               is_good_state(e.model)); /* a checksum covers every byte that counts */
        model_check(e.model);
    }
    model_free(e.model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct mem_files files;
    struct buffer newest;
    if (size == 0 || size > STATE_MAX / 4) {
        return 0;
    }
    struct span rest = span_of(data + 1, size - 1);
    bool only_damage = (data[0] & 1) != 0;
    buffer_init(&newest, STATE_MAX);
    if (only_damage) {
        damaged_file(rest, data[0], &newest);
    } else {
        int rc = buffer_append_span(&newest, rest);
        assert(rc == 0);
    }
    mem_files_init(&files);
    mem_files_put(&files, GOOD_PATH, good_file(3));
    mem_files_put(&files, NEWEST_PATH, buffer_span(&newest));
    mem_files_put(&files, LEFTOVER_PATH, rest);
    start(&files, only_damage);
    mem_files_release(&files);
    buffer_release(&newest);
    return 0;
}
