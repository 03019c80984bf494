#include "mem_files.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define FREE_BYTES (UINT64_C(1) << 30)

static struct mem_file *find(struct mem_files *m, const char *path) {
    for (size_t i = 0; i < MEM_FILES_MAX; i++) {
        if (m->files[i].path[0] != '\0' && strcmp(m->files[i].path, path) == 0) {
            return &m->files[i];
        }
    }
    return NULL;
}

static struct mem_file *make(struct mem_files *m, const char *path) {
    for (size_t i = 0; i < MEM_FILES_MAX; i++) {
        struct mem_file *f = &m->files[i];
        if (f->path[0] == '\0' && f->handles == 0) {
            assert(strlen(path) < sizeof f->path);
            strcpy(f->path, path);
            f->size = 0;
            return f;
        }
    }
    return NULL;
}

static void set_size(struct mem_file *f, size_t size) {
    if (size > f->room) {
        f->data = realloc(f->data, size);
        assert(f->data != NULL);
        f->room = size;
    }
    if (size > f->size) {
        memset(f->data + f->size, 0, size - f->size);
    }
    f->size = size;
}

static int mem_open(void *context, const char *path, int flags, int mode) {
    struct mem_files *m = context;
    struct mem_file *f = find(m, path);
    (void)mode;
    if (f == NULL && (flags & O_CREAT) != 0) {
        f = make(m, path);
    }
    if (f == NULL) {
        return (flags & O_CREAT) != 0 ? -ENOSPC : -ENOENT;
    }
    if ((flags & O_EXCL) != 0 && f->handles > 0) {
        return -EEXIST;
    }
    if ((flags & O_TRUNC) != 0) {
        f->size = 0;
    }
    f->handles++;
    return (int)(f - m->files);
}

static struct mem_file *opened(void *context, int file) {
    struct mem_files *m = context;
    assert(file >= 0 && file < (int)MEM_FILES_MAX && m->files[file].handles > 0);
    return &m->files[file];
}

static int mem_close(void *context, int file) {
    opened(context, file)->handles--;
    return 0;
}

static int mem_write_at(void *context, int file, const void *data, size_t size, uint64_t offset) {
    struct mem_file *f = opened(context, file);
    if (offset + size > f->size) {
        set_size(f, offset + size);
    }
    if (size > 0) {
        memcpy(f->data + offset, data, size);
    }
    return 0;
}

static ssize_t mem_read_at(void *context, int file, void *data, size_t size, uint64_t offset) {
    const struct mem_file *f = opened(context, file);
    size_t left = offset < f->size ? f->size - offset : 0;
    size_t count = size < left ? size : left;
    if (count > 0) {
        memcpy(data, f->data + offset, count);
    }
    return (ssize_t)count;
}

static int mem_flush(void *context, int file) {
    (void)opened(context, file);
    return 0;
}

static int mem_reserve(void *context, int file, uint64_t offset, uint64_t size) {
    struct mem_file *f = opened(context, file);
    if (offset + size > f->size) {
        set_size(f, offset + size);
    }
    return 0;
}

static int mem_truncate(void *context, int file, uint64_t size) {
    set_size(opened(context, file), size);
    return 0;
}

static int mem_size(void *context, int file, uint64_t *ret_size) {
    *ret_size = opened(context, file)->size;
    return 0;
}

static int mem_unlink(void *context, const char *path) {
    struct mem_file *f = find(context, path);
    if (f == NULL) {
        return -ENOENT;
    }
    f->path[0] = '\0';
    return 0;
}

static int mem_rename(void *context, const char *from, const char *to) {
    struct mem_file *f = find(context, from);
    if (f == NULL) {
        return -ENOENT;
    }
    if (strcmp(from, to) != 0) {
        (void)mem_unlink(context, to);
    }
    assert(strlen(to) < sizeof f->path);
    strcpy(f->path, to);
    return 0;
}

static int mem_make_directory(void *context, const char *path, int mode) {
    (void)context;
    (void)path;
    (void)mode;
    return 0;
}

static int mem_flush_directory(void *context, const char *path) {
    return mem_make_directory(context, path, 0);
}

static int mem_list(void *context, const char *path, void (*entry)(void *arg, const char *name),
                    void *arg) {
    struct mem_files *m = context;
    size_t length = strlen(path);
    for (size_t i = 0; i < MEM_FILES_MAX; i++) {
        const char *at = m->files[i].path;
        if (strncmp(at, path, length) == 0 && at[length] == '/' &&
            strchr(at + length + 1, '/') == NULL) {
            entry(arg, at + length + 1);
        }
    }
    return 0;
}

static int mem_lock(void *context, int file) {
    return mem_flush(context, file);
}

static int mem_free_bytes(void *context, const char *path, uint64_t *ret_bytes) {
    (void)context;
    (void)path;
    *ret_bytes = FREE_BYTES;
    return 0;
}

void mem_files_init(struct mem_files *m) {
    *m = (struct mem_files){.ops = {.context = m,
                                    .open = mem_open,
                                    .close = mem_close,
                                    .write_at = mem_write_at,
                                    .read_at = mem_read_at,
                                    .flush = mem_flush,
                                    .reserve = mem_reserve,
                                    .truncate = mem_truncate,
                                    .size = mem_size,
                                    .rename = mem_rename,
                                    .unlink = mem_unlink,
                                    .make_directory = mem_make_directory,
                                    .flush_directory = mem_flush_directory,
                                    .list = mem_list,
                                    .lock = mem_lock,
                                    .free_bytes = mem_free_bytes}};
}

void mem_files_release(struct mem_files *m) {
    for (size_t i = 0; i < MEM_FILES_MAX; i++) {
        free(m->files[i].data);
    }
    mem_files_init(m);
}

void mem_files_put(struct mem_files *m, const char *path, struct span content) {
    struct mem_file *f = find(m, path);
    f = f != NULL ? f : make(m, path);
    assert(f != NULL);
    set_size(f, content.size);
    if (content.size > 0) {
        memcpy(f->data, content.data, content.size);
    }
}

struct span mem_files_get(const struct mem_files *m, const char *path) {
    const struct mem_file *f = find((struct mem_files *)m, path);
    return f == NULL ? span_of(NULL, 0)
                     : span_of(f->data != NULL ? f->data : (uint8_t *)"", f->size);
}

void mem_files_copy(struct mem_files *m, const struct mem_files *from) {
    mem_files_init(m);
    for (size_t i = 0; i < MEM_FILES_MAX; i++) {
        const struct mem_file *f = &from->files[i];
        if (f->path[0] != '\0') {
            mem_files_put(m, f->path, span_of(f->data, f->size));
        }
    }
}
