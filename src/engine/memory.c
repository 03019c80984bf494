#include "engine/memory.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define CGROUP_MAX "/sys/fs/cgroup/memory.max"

uint64_t memory_resident_bytes(void) {
    uint64_t size, resident = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (f == NULL)
        return 0;
    if (fscanf(f, "%" SCNu64 " %" SCNu64, &size, &resident) != 2)
        resident = 0;
    fclose(f);
    return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t memory_available_bytes(void) {
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE), group;
    FILE *f = fopen(CGROUP_MAX, "re");
    if (f == NULL)
        return machine;
    if (fscanf(f, "%" SCNu64, &group) != 1 || group > machine)
        group = machine; /* "max" */
    fclose(f);
    return group;
}

bool memory_is_short(bool was, uint64_t used_bytes, uint64_t max_bytes) {
    return max_bytes != 0 && used_bytes > (was ? max_bytes - max_bytes / 16 : max_bytes);
}
