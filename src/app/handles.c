#include "app/handles.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>

#include "base/error.h"

/* Sealed segments that stay open (OPEN_FILES_MAX of the log), and the few of loops, locks, snapshots and output. */
#define HANDLES_OF_LOG    288u
#define HANDLES_OF_SERVER 72u /* the listener, those that are told 503, one that is turned away */

uint64_t handles_raise(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return HANDLES_MIN;
    }
    rlim_t before = limit.rlim_cur;
    limit.rlim_cur = limit.rlim_max;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_max : before;
}

static uint32_t smaller(uint64_t a, uint32_t b) {
    return a < b ? (uint32_t)a : b;
}

int handles_divide(uint64_t handles, uint32_t servers, struct handles_share *share,
                   char error_text[256]) {
    uint64_t kept = HANDLES_OF_LOG + (uint64_t)HANDLES_OF_SERVER * servers;
    uint64_t needed = kept + 2 * (uint64_t)servers + 8;
    needed = needed > HANDLES_MIN ? needed : HANDLES_MIN;
    if (handles < needed) {
        snprintf(error_text, 256,
                 "%" PRIu64 " file handles (ulimit -n) are too few: at least %" PRIu64
                 " are needed",
                 handles, needed);
        return E_LIMIT;
    }
    uint64_t left = handles - kept;
    share->dispatch = smaller(left / 4, share->dispatch);
    share->connections = smaller((left - share->dispatch) / servers, share->connections);
    return 0;
}
