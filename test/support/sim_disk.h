/*
 * test/support/sim_disk.h - a disk in memory that fails, tears, forgets and garbles on command.
 *
 *      struct sim_disk *disk = sim_disk_create(seed);
 *      options.files = sim_disk_ops(disk);
 *      sim_disk_crash_at(disk, 17);             the 17th change from now stops the machine
 *      ... run until everything fails ...
 *      sim_disk_restart(disk, SIM_SCATTER);     power comes back; handles and locks are gone
 *      ... open again and check ...
 *
 * Model:   every file has the bytes that a reader sees now and the bytes that were flushed; every byte
 *          written since counts as unflushed. A flushed byte changes only when it is written again
 *          to another value (a sector that is rewritten may be old or new, but neighbours in it that
 *          were not part of the write survive). Creates, renames and unlinks are each whole or not at all, and are
 *          lost unless the directory was flushed; flushing a file does not flush its name. After a
 *          failed flush the pages are clean and their bytes lost, as Linux has it.
 * Shape:   opaque, any thread. Everything random comes from the seed.
 * Units:   `nth` counts changing operations from 1: creating open, write, flush, reserve, truncate,
 *          rename, unlink, make_directory, flush_directory.
 */
#ifndef SLUICE_TEST_SIM_DISK_H
#define SLUICE_TEST_SIM_DISK_H

#include <stdbool.h>

#include "log/file_ops.h"

#define SIM_SECTOR_BYTES 512u

struct sim_disk;

enum sim_operation {
    SIM_OPEN, /* a file that is there */
    SIM_CREATE,
    SIM_READ,
    SIM_WRITE,
    SIM_FLUSH,
    SIM_RESERVE,
    SIM_TRUNCATE,
    SIM_SIZE,
    SIM_RENAME, /* the watcher is told the new name */
    SIM_UNLINK,
    SIM_MAKE_DIRECTORY,
    SIM_FLUSH_DIRECTORY,
    SIM_LIST,
    SIM_OPERATIONS /* how many there are */
};

/* What becomes of an operation; a positive number is the errno that it fails with. */
#define SIM_GO    0
#define SIM_CRASH (-1) /* the machine stops here: the operation arrives in part */
#define SIM_SHORT (-2) /* of a read: fewer bytes than there are */

/* Asked before each operation. It must not call the disk. */
typedef int sim_disk_watcher(void *context, enum sim_operation operation, const char *path);

/* What becomes of what was not flushed. */
enum sim_loss {
    SIM_KEEP,    /* the process died, the machine did not: all is there, and still not flushed */
    SIM_DROP,    /* nothing of it arrived */
    SIM_TEAR,    /* of each file the first sectors, of the names the first changes */
    SIM_SCATTER, /* any sectors, any changes of names */
    SIM_GARBLE,  /* any sectors, some of them with random bytes where they were written */
    SIM_LOSSES   /* how many there are */
};

struct sim_disk *sim_disk_create(uint64_t seed);
void sim_disk_free(struct sim_disk *d);
/* Borrowed as long as the disk. */
const struct file_ops *sim_disk_ops(struct sim_disk *d);

/* Changing operations so far. */
uint64_t sim_disk_operations(const struct sim_disk *d);
/* The nth from now fails with this errno (a write then arrives in part); later ones do not. 0: none. */
void sim_disk_fail_at(struct sim_disk *d, uint64_t nth, int error_number);
/* From the nth from now on everything fails with EIO and changes nothing (that one may in part). */
void sim_disk_crash_at(struct sim_disk *d, uint64_t nth);
bool sim_disk_crashed(const struct sim_disk *d);
/* Forgets planned failures, closes handles, drops locks, loses what was not flushed. */
void sim_disk_restart(struct sim_disk *d, enum sim_loss loss);

/* Room for all files together; the default is 1 GiB. */
void sim_disk_set_capacity(struct sim_disk *d, uint64_t bytes);

/* Flips one bit of a flushed byte. False: no such file or byte. */
bool sim_disk_flip(struct sim_disk *d, const char *path, uint64_t offset, unsigned bit);
/* NULL: nobody. */
void sim_disk_watch(struct sim_disk *d, sim_disk_watcher *watcher, void *context);
/* The machine stops now, between two operations. */
void sim_disk_stop(struct sim_disk *d);
/* Another disk with the same files as they are seen now; all its names are durable. */
struct sim_disk *sim_disk_copy(const struct sim_disk *from, uint64_t seed);

/* Damage that nobody made by an operation: it is durable at once. False: no such file or place. */
bool sim_disk_cut(struct sim_disk *d, const char *path, uint64_t size);
bool sim_disk_remove(struct sim_disk *d, const char *path);
bool sim_disk_double(struct sim_disk *d, const char *path, const char *to);
/* Files from outside, durable at once. */
void sim_disk_put(struct sim_disk *d, const char *path, const void *data, size_t size);
void sim_disk_put_directory(struct sim_disk *d, const char *path);
/* Paths of what stands in a directory, borrowed until names change; at most `max`. */
size_t sim_disk_names(const struct sim_disk *d, const char *directory, const char **ret_paths,
                      size_t max);

/* Size of a file as seen now, UINT64_MAX when there is none. */
uint64_t sim_disk_file_size(const struct sim_disk *d, const char *path);

#endif
