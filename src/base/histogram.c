/*
 * Bucket of a time: below 32 ns each ns has its own; above, the place of the top bit chooses a group
 * of 32 and the five bits after it choose the bucket in the group.
 *
 *      ns        0..31   32..63  64..127  128..255 ...
 *      group       0        1       2        3            width of a bucket: 2^(group-1) ns
 */
#include "base/histogram.h"

#include <string.h>

#define STEPS (1u << HISTOGRAM_STEP_BITS)

static uint32_t bucket_of(uint64_t ns) {
    if (ns < STEPS) {
        return (uint32_t)ns;
    }
    if (ns >> HISTOGRAM_MAX_BITS != 0) {
        return HISTOGRAM_BUCKETS - 1;
    }
    uint32_t top = 63u - (uint32_t)__builtin_clzll(ns);
    uint32_t shift = top - HISTOGRAM_STEP_BITS;
    return (shift << HISTOGRAM_STEP_BITS) + (uint32_t)(ns >> shift);
}

/* The largest time in the bucket. */
static uint64_t bucket_end_ns(uint32_t bucket) {
    if (bucket < STEPS) {
        return bucket;
    }
    uint32_t shift = (bucket >> HISTOGRAM_STEP_BITS) - 1;
    uint64_t step = (bucket & (STEPS - 1)) + STEPS;
    return ((step + 1) << shift) - 1;
}

void histogram_init(struct histogram *h) {
    memset(h, 0, sizeof *h);
    h->min_ns = UINT64_MAX;
}

void histogram_add(struct histogram *h, uint64_t ns) {
    h->counts[bucket_of(ns)]++;
    h->count++;
    h->sum_ns += ns;
    h->min_ns = ns < h->min_ns ? ns : h->min_ns;
    h->max_ns = ns > h->max_ns ? ns : h->max_ns;
}

void histogram_merge(struct histogram *into, const struct histogram *from) {
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        into->counts[i] += from->counts[i];
    }
    into->count += from->count;
    into->sum_ns += from->sum_ns;
    into->min_ns = from->min_ns < into->min_ns ? from->min_ns : into->min_ns;
    into->max_ns = from->max_ns > into->max_ns ? from->max_ns : into->max_ns;
}

uint64_t histogram_quantile_ns(const struct histogram *h, double quantile) {
    if (h->count == 0) {
        return 0;
    }
    double wanted = quantile * (double)h->count;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > 0 && (double)seen >= wanted) {
            uint64_t end_ns = bucket_end_ns(i);
            return end_ns < h->max_ns && i < HISTOGRAM_BUCKETS - 1 ? end_ns : h->max_ns;
        }
    }
    return h->max_ns;
}

uint64_t histogram_count_up_to(const struct histogram *h, uint64_t ns) {
    uint64_t seen = 0;
    for (uint32_t i = 0; i <= bucket_of(ns); i++) {
        seen += h->counts[i];
    }
    return seen;
}
