/*
 * test/fuzz/mem_files.h - files in memory that simply work, for targets that make a thousand folders a second.
 *
 * For failing, tearing and forgetting ones see test/support/sim_disk.h, which pays for that with each byte.
 *
 * Shape: caller-owned, at most MEM_FILES_MAX names, directories are only prefixes. One thread.
 */
#ifndef SLUICE_TEST_FUZZ_MEM_FILES_H
#define SLUICE_TEST_FUZZ_MEM_FILES_H

#include "base/span.h"
#include "log/file_ops.h"

#define MEM_FILES_MAX  32u
#define MEM_PATH_BYTES 96u

struct mem_file {
    char path[MEM_PATH_BYTES]; /* empty: no name (free, or unlinked while open) */
    uint8_t *data;             /* owns */
    size_t size, room;
    unsigned handles;
};

struct mem_files {
    struct file_ops ops;
    struct mem_file files[MEM_FILES_MAX];
};

void mem_files_init(struct mem_files *m);
void mem_files_release(struct mem_files *m);
/* A folder as `from` is now; `m` is initialised by this. */
void mem_files_copy(struct mem_files *m, const struct mem_files *from);
/* Makes or replaces a file. */
void mem_files_put(struct mem_files *m, const char *path, struct span content);
/* Content as it is now; data == NULL: no such file. */
struct span mem_files_get(const struct mem_files *m, const char *path);

#endif
