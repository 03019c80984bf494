#include "log/file_ops.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int result_of(int rc) {
    return rc < 0 ? -errno : rc;
}

static int system_open(void *context, const char *path, int flags, int mode) {
    (void)context;
    return result_of(open(path, flags | O_CLOEXEC, mode));
}

static int system_close(void *context, int file) {
    (void)context;
    return result_of(close(file));
}

static int system_write_at(void *context, int file, const void *data, size_t size,
                           uint64_t offset) {
    (void)context;
    const char *next = data;
    while (size > 0) {
        ssize_t written = pwrite(file, next, size, (off_t)offset);
        if (written < 0 && errno == EINTR) {
            continue;
        }
        if (written <= 0) {
            return written < 0 ? -errno : -EIO;
        }
        next += written;
        size -= (size_t)written;
        offset += (uint64_t)written;
    }
    return 0;
}

static ssize_t system_read_at(void *context, int file, void *data, size_t size, uint64_t offset) {
    (void)context;
    char *next = data;
    size_t left = size;
    while (left > 0) {
        ssize_t got = pread(file, next, left, (off_t)offset);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return -errno;
        }
        if (got == 0) {
            break;
        }
        next += got;
        left -= (size_t)got;
        offset += (uint64_t)got;
    }
    return (ssize_t)(size - left);
}

static int system_flush(void *context, int file) {
    (void)context;
    return result_of(fdatasync(file));
}

static int system_reserve(void *context, int file, uint64_t offset, uint64_t size) {
    (void)context;
    int rc;
    do {
        rc = posix_fallocate(file, (off_t)offset, (off_t)size); /* returns the error itself */
    } while (rc == EINTR);
    return -rc;
}

static int system_truncate(void *context, int file, uint64_t size) {
    (void)context;
    return result_of(ftruncate(file, (off_t)size));
}

static int system_size(void *context, int file, uint64_t *ret_size) {
    (void)context;
    struct stat st;
    if (fstat(file, &st) != 0) {
        return -errno;
    }
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

static int system_rename(void *context, const char *from, const char *to) {
    (void)context;
    return result_of(rename(from, to));
}

static int system_unlink(void *context, const char *path) {
    (void)context;
    return result_of(unlink(path));
}

static int system_make_directory(void *context, const char *path, int mode) {
    (void)context;
    return result_of(mkdir(path, (mode_t)mode));
}

static int system_flush_directory(void *context, const char *path) {
    (void)context;
    int file = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (file < 0) {
        return -errno;
    }
    int rc = result_of(fsync(file));
    close(file);
    return rc;
}

static int system_list(void *context, const char *path, void (*entry)(void *arg, const char *name),
                       void *arg) {
    (void)context;
    DIR *directory = opendir(path);
    if (directory == NULL) {
        return -errno;
    }
    struct dirent *d;
    errno = 0;
    while ((d = readdir(directory)) != NULL) {
        if (strcmp(d->d_name, ".") != 0 && strcmp(d->d_name, "..") != 0) {
            entry(arg, d->d_name);
        }
        errno = 0;
    }
    int rc = -errno;
    closedir(directory);
    return rc;
}

static int system_lock(void *context, int file) {
    (void)context;
    return result_of(flock(file, LOCK_EX | LOCK_NB));
}

static int system_free_bytes(void *context, const char *path, uint64_t *ret_bytes) {
    (void)context;
    struct statvfs st;
    if (statvfs(path, &st) != 0) {
        return -errno;
    }
    *ret_bytes = (uint64_t)st.f_bavail * st.f_frsize;
    return 0;
}

const struct file_ops file_ops_system = {
    .open = system_open,
    .close = system_close,
    .write_at = system_write_at,
    .read_at = system_read_at,
    .flush = system_flush,
    .reserve = system_reserve,
    .truncate = system_truncate,
    .size = system_size,
    .rename = system_rename,
    .unlink = system_unlink,
    .make_directory = system_make_directory,
    .flush_directory = system_flush_directory,
    .list = system_list,
    .lock = system_lock,
    .free_bytes = system_free_bytes,
};
