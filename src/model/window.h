/*
 * model/window.h - a sliding count of calls: in all, bad, slow.
 *
 * Promise: window_sum covers the last 15/16 to 16/16 of the width; counts are exact in it. What is older
 *          never counts. Time never goes back.
 * Shape:   plain struct of 16 buckets, integers only, no allocation. Counters of a bucket stop at 2^32-1.
 */
#ifndef SLUICE_MODEL_WINDOW_H
#define SLUICE_MODEL_WINDOW_H

#include "base/buffer.h"
#include "base/reader.h"

#define WINDOW_BUCKETS 16u

struct call_count {
    uint32_t total, bad, slow;
};

struct window {
    uint64_t width_ns;
    uint64_t newest; /* number of the newest bucket: time / (width / 16) */
    struct call_count buckets[WINDOW_BUCKETS];
};

/* Another width empties it. */
void window_define(struct window *w, uint64_t width_ns);
void window_clear(struct window *w);
void window_add(struct window *w, uint64_t now_ns, struct call_count more);
struct call_count window_sum(const struct window *w, uint64_t now_ns);
MUST_CHECK int window_save(const struct window *w, struct buffer *out);
/* `in` notes a failure; the width is part of what was saved. */
void window_load(struct window *w, struct reader *in);

#endif
