/*
 * base/u64.h - the lesser and the greater of two numbers: sizes, times, durations.
 */
#ifndef SLUICE_BASE_U64_H
#define SLUICE_BASE_U64_H

#include <stdint.h>

static inline uint64_t u64_min(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static inline uint64_t u64_max(uint64_t a, uint64_t b) {
    return a > b ? a : b;
}

#endif
