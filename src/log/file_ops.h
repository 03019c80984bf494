/*
 * log/file_ops.h - every file operation of the log and the snapshots, as one replaceable table.
 *
 * Promise: nothing under log/ or engine/ calls the kernel for files but through this table, so a
 *          test can make each call fail, tear, lose what was not flushed, or garble.
 * Errors:  0 or a result >= 0, else a negative errno (not our codes), so callers can tell ENOSPC.
 */
#ifndef SLUICE_LOG_FILE_OPS_H
#define SLUICE_LOG_FILE_OPS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct file_ops {
    void *context; /* borrows: passed to every call */
    /* flags as open(2), always with O_CLOEXEC. >= 0: a handle. */
    int (*open)(void *context, const char *path, int flags, int mode);
    int (*close)(void *context, int file);
    /* Whole buffer or error; the callee loops over short counts. */
    int (*write_at)(void *context, int file, const void *data, size_t size, uint64_t offset);
    /* Bytes read, short only at the end of the file. */
    ssize_t (*read_at)(void *context, int file, void *data, size_t size, uint64_t offset);
    /* fdatasync */
    int (*flush)(void *context, int file);
    /* posix_fallocate: room for [offset, offset+size), file size grows. */
    int (*reserve)(void *context, int file, uint64_t offset, uint64_t size);
    int (*truncate)(void *context, int file, uint64_t size);
    int (*size)(void *context, int file, uint64_t *ret_size);
    int (*rename)(void *context, const char *from, const char *to);
    int (*unlink)(void *context, const char *path);
    int (*make_directory)(void *context, const char *path, int mode);
    /* open + fsync + close of a directory: makes creates and renames in it durable. */
    int (*flush_directory)(void *context, const char *path);
    /* Calls `entry` for every name in the directory but "." and "..". */
    int (*list)(void *context, const char *path, void (*entry)(void *arg, const char *name),
                void *arg);
    /* Exclusive advisory lock, without waiting. -EWOULDBLOCK when another process has it. */
    int (*lock)(void *context, int file);
    /* Bytes that an unprivileged writer may still allocate on the file system of `path`. */
    int (*free_bytes)(void *context, const char *path, uint64_t *ret_bytes);
};

/* The kernel's. */
extern const struct file_ops file_ops_system;

#endif
