#include "log/scan.h"

#include <assert.h>

#include "base/error.h"

#define WINDOW_BYTES (256u << 10)
/* Behind a break we look at every byte, but by blocks, and pass by those that are all zero. */
#define BLOCK_BYTES 4096u
#define WINDOW_MAX  (RECORD_MAX_BYTES + WINDOW_BYTES)

void scan_init(struct scan *s, const struct file_ops *files, int file, uint32_t seed,
               uint64_t end) {
    *s = (struct scan){.files = files, .file = file, .seed = seed, .end = end};
    buffer_init(&s->window, WINDOW_MAX);
}

void scan_release(struct scan *s) {
    buffer_release(&s->window);
}

void scan_forget(struct scan *s) {
    buffer_clear(&s->window);
}

static int window_fill(struct scan *s, uint64_t offset, size_t want) {
    size_t size = want < WINDOW_BYTES ? WINDOW_BYTES : want;
    if (size > s->end - offset) {
        size = (size_t)(s->end - offset);
    }
    buffer_clear(&s->window);
    int rc = buffer_reserve(&s->window, size);
    if (rc != 0) {
        return rc;
    }
    ssize_t got = s->files->read_at(s->files->context, s->file, s->window.data, size, offset);
    if (got < 0) {
        return E_IO;
    }
    s->window.size = (size_t)got;
    s->window_at = offset;
    return 0;
}

/* The bytes at `offset`: at least `want` of them, unless the end comes before. */
static int window_at(struct scan *s, uint64_t offset, size_t want, struct span *ret) {
    assert(offset <= s->end);
    if (want > s->end - offset) {
        want = (size_t)(s->end - offset);
    }
    bool inside = offset >= s->window_at && offset - s->window_at <= s->window.size &&
                  s->window.size - (size_t)(offset - s->window_at) >= want;
    if (!inside) {
        int rc = window_fill(s, offset, want);
        if (rc != 0) {
            return rc;
        }
    }
    size_t skip = (size_t)(offset - s->window_at);
    *ret = s->window.size == 0 ? span_of(NULL, 0)
                               : span_of(s->window.data + skip, s->window.size - skip);
    return 0;
}

int scan_record(struct scan *s, uint64_t offset, struct record *ret) {
    struct span in;
    int rc = window_at(s, offset, RECORD_HEADER_BYTES, &in);
    if (rc == 0 && record_length(in) > in.size) {
        rc = window_at(s, offset, record_length(in), &in);
    }
    return rc != 0 ? rc : record_decode(in, s->seed, ret);
}

/* Allocated space that was never written. */
static bool is_zero(struct span block) {
    return block.data[0] == 0 && memcmp(block.data, block.data + 1, block.size - 1) == 0;
}

/*
 * The first place in the block that looks like a record, by its position and length alone; where there
 * is none, the place to go on from. In a block of zeros only a length whose low bytes are zero can begin,
 * and only with its last bytes.
 */
static size_t candidate_in(struct span block, uint64_t distance, uint64_t position) {
    if (is_zero(block)) {
        return block.size - (sizeof(uint32_t) - 1);
    }
    size_t i = 0;
    for (; i + RECORD_HEADER_BYTES <= block.size; i++) {
        struct span at = span_of(block.data + i, block.size - i);
        uint64_t ahead = record_position(at) - position;
        if (ahead - 1 < (distance + i) / RECORD_HEADER_BYTES && record_length(at) != 0) {
            break;
        }
    }
    return i;
}

/*
 * As scan_find, but from `at` on. How far ahead a position may be is told by how far it is from `offset`, where
 * `position` was expected: from the last place found it would be too near for short records.
 */
static int find_from(struct scan *s, uint64_t at, uint64_t offset, uint64_t position,
                     uint64_t *ret_offset, struct record *ret) {
    while (at + RECORD_HEADER_BYTES <= s->end) {
        struct span in;
        int rc = window_at(s, at, RECORD_HEADER_BYTES, &in);
        if (rc != 0) {
            return rc;
        }
        if (in.size < RECORD_HEADER_BYTES) {
            break; /* the file is shorter than its end said */
        }
        struct span block = span_of(in.data, in.size < BLOCK_BYTES ? in.size : BLOCK_BYTES);
        size_t skip = candidate_in(block, at - offset, position);
        at += skip;
        if (skip + RECORD_HEADER_BYTES > block.size) {
            continue; /* none; on to the next block */
        }
        struct record r;
        rc = scan_record(s, at, &r);
        if (rc == 0) {
            *ret_offset = at;
            *ret = r;
            return 0;
        }
        if (rc == E_IO || rc == E_NOMEM) {
            return rc;
        }
        at++;
    }
    return E_END;
}

int scan_find(struct scan *s, uint64_t offset, uint64_t position, uint64_t *ret_offset,
              struct record *ret) {
    return find_from(s, offset + 1, offset, position, ret_offset, ret);
}

int scan_run(struct scan *s, struct scan_end *end) {
    for (;;) {
        struct record r;
        int rc = scan_record(s, end->offset, &r);
        if (rc == E_IO || rc == E_NOMEM) {
            return rc;
        }
        if (rc == 0 && (r.position != end->position || r.time_ns < end->last_time_ns)) {
            rc = E_CORRUPT;
        }
        if (rc != 0) {
            end->reason = rc;
            return 0;
        }
        if (r.batch_index == 0) {
            end->batch_offset = end->offset;
        }
        end->offset += r.size_bytes;
        end->position++;
        end->last_time_ns = r.time_ns;
    }
}

int scan_look_behind(struct scan *s, const struct scan_end *end, enum scan_behind *ret_behind) {
    enum scan_behind behind = SCAN_NOTHING;
    uint64_t offset = end->offset;
    for (;;) {
        struct record r;
        int rc = find_from(s, offset + 1, end->offset, end->position, &offset, &r);
        if (rc == E_END) {
            break;
        }
        if (rc != 0) {
            return rc;
        }
        behind = SCAN_LEFTOVER;
        if (r.position - r.batch_index > end->position) {
            behind = SCAN_WITNESS;
            break;
        }
    }
    *ret_behind = behind;
    return 0;
}
