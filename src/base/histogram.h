/*
 * base/histogram.h - latencies in log-linear buckets.
 *
 * Promise: a quantile is at most 1/32 (3.1 %) above the true one, never below it; adding is a few
 *          instructions and never allocates. Times of 2^42 ns (73 minutes) and more share one bucket.
 * Shape:   plain struct, caller-owned, about 10 KB; one writer (merge several for a total).
 * Units:   ns.
 */
#ifndef SLUICE_BASE_HISTOGRAM_H
#define SLUICE_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEP_BITS 5u /* 32 buckets for each doubling */
#define HISTOGRAM_MAX_BITS  42u
#define HISTOGRAM_BUCKETS   ((HISTOGRAM_MAX_BITS - HISTOGRAM_STEP_BITS + 1) << HISTOGRAM_STEP_BITS)

struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS];
    uint64_t count;
    uint64_t sum_ns;
    uint64_t min_ns; /* UINT64_MAX while empty */
    uint64_t max_ns;
};

void histogram_init(struct histogram *h);
void histogram_add(struct histogram *h, uint64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *from);
/* quantile in 0..1, e.g. 0.999; 0 while empty. */
uint64_t histogram_quantile_ns(const struct histogram *h, double quantile);
/* How many of the added times were at most `ns`, to the resolution of a bucket. */
uint64_t histogram_count_up_to(const struct histogram *h, uint64_t ns);

#endif
