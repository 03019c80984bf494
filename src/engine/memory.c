#include "engine/memory.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GROUPS_ROOT "/sys/fs/cgroup"
#define PATH_BYTES  4096u
#define RISE_BYTES  ((uint64_t)1 << 20) /* between two looks: more is coming */

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

static uint64_t max_of_group(const char *root, const char *path) {
    char name[2 * PATH_BYTES];
    uint64_t max = UINT64_MAX;
    snprintf(name, sizeof(name), "%s%s/memory.max", root, path);
    FILE *f = fopen(name, "re");
    if (f == NULL)
        return max;
    if (fscanf(f, "%" SCNu64, &max) != 1)
        max = UINT64_MAX; /* "max" */
    fclose(f);
    return max;
}

uint64_t memory_groups_max(const char *root, const char *path) {
    char above[PATH_BYTES];
    snprintf(above, sizeof(above), "%s", path);
    uint64_t least = max_of_group(root, "");
    for (char *slash; (slash = strrchr(above, '/')) != NULL; *slash = '\0') {
        uint64_t max = max_of_group(root, above);
        least = max < least ? max : least;
    }
    return least;
}

/* Of the unified hierarchy: the line "0::/system.slice/sluice.service". Empty: the root, or there is none. */
static void own_group(char path[PATH_BYTES]) {
    char line[PATH_BYTES];
    path[0] = '\0';
    FILE *f = fopen("/proc/self/cgroup", "re");
    if (f == NULL)
        return;
    while (fgets(line, sizeof(line), f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "0::/", 4) == 0)
            snprintf(path, PATH_BYTES, "%s", line + 3);
    }
    fclose(f);
}

uint64_t memory_available_bytes(void) {
    char path[PATH_BYTES];
    own_group(path);
    uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t groups = memory_groups_max(GROUPS_ROOT, path);
    return groups < machine ? groups : machine;
}

bool memory_is_short(bool was, uint64_t used_bytes, uint64_t max_bytes) {
    return max_bytes != 0 && used_bytes > (was ? max_bytes - max_bytes / 16 : max_bytes);
}

bool memory_slack_due(struct memory_slack *s, uint64_t resident_bytes, uint64_t now_ns) {
    bool rises = resident_bytes > s->last_bytes + RISE_BYTES;
    s->last_bytes = resident_bytes;
    if (s->least_bytes == 0 || resident_bytes < s->least_bytes)
        s->least_bytes = resident_bytes;
    if (rises || resident_bytes - s->least_bytes < MEMORY_SLACK_BYTES) {
        if (s->look_at_ns < now_ns + MEMORY_CALM_NS)
            s->look_at_ns = now_ns + MEMORY_CALM_NS;
        return false;
    }
    if (now_ns < s->look_at_ns)
        return false;
    s->look_at_ns = now_ns + MEMORY_ASK_EVERY_NS;
    return true;
}

uint64_t memory_free_bytes(void) {
    return mallinfo2().fordblks;
}

void memory_slack_gone(struct memory_slack *s, uint64_t resident_bytes, uint64_t now_ns) {
    *s = (struct memory_slack){.least_bytes = resident_bytes,
                               .last_bytes = resident_bytes,
                               .look_at_ns = now_ns + MEMORY_TRIM_EVERY_NS};
}
