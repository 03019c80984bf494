#include "base/clock.h"

#include <assert.h>
#include <time.h>

static uint64_t clock_read_ns(clockid_t id) {
    struct timespec t;
    int rc = clock_gettime(id, &t);
    assert(rc == 0);
    (void)rc;
    return (uint64_t)t.tv_sec * NS_PER_SECOND + (uint64_t)t.tv_nsec;
}

uint64_t clock_real_ns(void) {
    return clock_read_ns(CLOCK_REALTIME);
}

uint64_t clock_monotonic_ns(void) {
    return clock_read_ns(CLOCK_MONOTONIC);
}
