#include "sim_disk.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

#define NAMES_MAX        1024u
#define PATH_MAX_BYTES   256u
#define HANDLES_MAX      1024u
#define DEFAULT_CAPACITY (UINT64_C(1) << 30)
#define NO_INODE         -1

/* Of a byte that differs from what was flushed: a loss may garble what was written, not what was cut. */
#define DIRTY_WRITTEN 1
#define DIRTY_CUT     2

struct inode {
    uint8_t *now;    /* owns: what readers see */
    uint8_t *synced; /* owns: what a loss cannot take */
    uint8_t
        *dirty; /* owns: DIRTY_* for each byte of `now` that a flush would make durable, else 0 */
    size_t now_size, synced_size, allocated;
    size_t dirty_from, dirty_to; /* no byte outside is dirty */
    bool size_dirty;
    bool forgot; /* a flush failed: `now` and `synced` may differ anywhere */
    bool directory;
};

struct name {
    char *path; /* owns; NULL: free */
    int inode;
};

struct name_table {
    struct name names[NAMES_MAX];
    size_t end; /* all from here on are free */
};

enum change_kind { CHANGE_CREATE, CHANGE_RENAME, CHANGE_UNLINK };

/* A change of names that was not flushed. */
struct change {
    enum change_kind kind;
    char *path; /* owns */
    char *to;   /* owns; for a rename */
    int inode;
};

struct handle {
    int inode; /* NO_INODE: free */
    bool locks;
    char path[PATH_MAX_BYTES]; /* by which it was opened, or its name since it was renamed */
};

struct sim_disk {
    struct file_ops ops;
    pthread_mutex_t lock;
    struct rng rng;
    struct inode **inodes; /* owns; never removed before the end */
    int inode_count;
    struct name_table now, synced;
    struct change *changes; /* owns; since the last flush of their directory, in order */
    size_t change_count;
    struct handle handles[HANDLES_MAX];
    size_t handle_end; /* all from here on are free */
    uint64_t operations;
    uint64_t fail_at, crash_at; /* operation numbers; 0: none */
    int fail_errno;
    bool crashed;
    uint64_t capacity;
    sim_disk_watcher *watcher; /* NULL: nobody looks */
    void *watcher_context;     /* borrows */
};

static void *must(void *p) {
    assert(p != NULL); /* a test does not go on without memory */
    return p;
}

/* ---- names ---- */

static struct name *name_find(struct name_table *t, const char *path) {
    for (size_t i = 0; i < t->end; i++) {
        if (t->names[i].path != NULL && strcmp(t->names[i].path, path) == 0) {
            return &t->names[i];
        }
    }
    return NULL;
}

static void name_remove(struct name_table *t, const char *path) {
    struct name *n = name_find(t, path);
    if (n != NULL) {
        free(n->path);
        n->path = NULL;
    }
}

static void name_set(struct name_table *t, const char *path, int inode) {
    name_remove(t, path);
    for (size_t i = 0; i < NAMES_MAX; i++) {
        if (t->names[i].path == NULL) {
            t->names[i] = (struct name){.path = must(strdup(path)), .inode = inode};
            t->end = i < t->end ? t->end : i + 1;
            return;
        }
    }
    assert(!"too many names for the simulated disk");
}

static void name_table_clear(struct name_table *t) {
    for (size_t i = 0; i < t->end; i++) {
        free(t->names[i].path);
        t->names[i].path = NULL;
    }
    t->end = 0;
}

static void name_table_copy(struct name_table *to, const struct name_table *from) {
    name_table_clear(to);
    for (size_t i = 0; i < from->end; i++) {
        if (from->names[i].path != NULL) {
            name_set(to, from->names[i].path, from->names[i].inode);
        }
    }
}

static bool in_directory(const char *path, const char *directory) {
    size_t size = strlen(directory);
    return strncmp(path, directory, size) == 0 && path[size] == '/' &&
           strchr(path + size + 1, '/') == NULL;
}

static void change_apply(const struct change *c, struct name_table *t) {
    switch (c->kind) {
    case CHANGE_CREATE:
        name_set(t, c->path, c->inode);
        break;
    case CHANGE_UNLINK:
        name_remove(t, c->path);
        break;
    case CHANGE_RENAME:
        if (name_find(t, c->path) != NULL) {
            name_remove(t, c->path);
            name_set(t, c->to, c->inode);
        }
        break;
    }
}

static void change_names(struct sim_disk *d, enum change_kind kind, const char *path,
                         const char *to, int inode) {
    struct change c = {
        .kind = kind,
        .path = must(strdup(path)),
        .to = to == NULL ? NULL : must(strdup(to)),
        .inode = inode,
    };
    d->changes = must(realloc(d->changes, (d->change_count + 1) * sizeof c));
    d->changes[d->change_count++] = c;
    change_apply(&c, &d->now);
}

static void change_free(struct change *c) {
    free(c->path);
    free(c->to);
}

/* ---- bytes ---- */

static int inode_create(struct sim_disk *d, bool directory) {
    d->inodes = must(realloc(d->inodes, ((size_t)d->inode_count + 1) * sizeof(void *)));
    struct inode *n = must(calloc(1, sizeof *n));
    n->directory = directory;
    d->inodes[d->inode_count] = n;
    return d->inode_count++;
}

static uint8_t *grown(uint8_t *bytes, size_t from, size_t to) {
    bytes = must(realloc(bytes, to));
    memset(bytes + from, 0, to - from);
    return bytes;
}

static void inode_grow(struct inode *n, size_t size) {
    if (size > n->allocated) {
        n->now = grown(n->now, n->allocated, size);
        n->synced = grown(n->synced, n->allocated, size);
        n->dirty = grown(n->dirty, n->allocated, size);
        n->allocated = size;
    }
    if (size > n->now_size) {
        n->now_size = size;
        n->size_dirty = true;
    }
}

static void inode_soil(struct inode *n, size_t from, size_t to) {
    bool clean = n->dirty_from == n->dirty_to;
    n->dirty_from = clean || from < n->dirty_from ? from : n->dirty_from;
    n->dirty_to = clean || to > n->dirty_to ? to : n->dirty_to;
}

static void inode_write(struct inode *n, const void *data, size_t size, uint64_t offset) {
    if (size > 0) {
        inode_grow(n, (size_t)offset + size);
        memcpy(n->now + offset, data, size);
        inode_soil(n, (size_t)offset, (size_t)offset + size);
        const uint8_t *now = n->now + offset, *synced = n->synced + offset;
        uint8_t *dirty = n->dirty + offset;
        for (size_t i = 0; i < size; i++) {
            dirty[i] = now[i] != synced[i] ? DIRTY_WRITTEN : dirty[i];
        }
    }
}

static void inode_truncate(struct inode *n, size_t size) {
    if (size < n->now_size) {
        memset(n->now + size, 0, n->now_size - size);
        memset(n->dirty + size, DIRTY_CUT, n->now_size - size);
        inode_soil(n, size, n->now_size);
        n->now_size = size;
        n->size_dirty = true;
    } else {
        inode_grow(n, size);
    }
}

static void inode_flush(struct inode *n) {
    const uint8_t *now = n->now;
    uint8_t *synced = n->synced, *dirty = n->dirty;
    for (size_t i = n->dirty_from; i < n->dirty_to; i++) {
        synced[i] = dirty[i] != 0 ? now[i] : synced[i];
        dirty[i] = 0;
    }
    n->dirty_from = n->dirty_to = 0;
    n->synced_size = n->now_size;
    n->size_dirty = false;
}

/* After a failed flush: the kernel calls the pages clean, though they never arrived. */
static void inode_forget_dirty(struct inode *n) {
    if (n->dirty_from < n->dirty_to) {
        memset(n->dirty + n->dirty_from, 0, n->dirty_to - n->dirty_from);
        n->forgot = true;
    }
    n->dirty_from = n->dirty_to = 0;
    n->forgot |= n->size_dirty;
    n->size_dirty = false;
}

/* One sector at a restart: `arrives` makes its unflushed bytes durable, `garbles` makes them random. */
static void sector_settle(struct sim_disk *d, struct inode *n, size_t at, bool arrives,
                          bool garbles) {
    size_t end = at + SIM_SECTOR_BYTES < n->allocated ? at + SIM_SECTOR_BYTES : n->allocated;
    for (size_t i = at; i < end; i++) {
        if (n->dirty[i] == DIRTY_WRITTEN && garbles) {
            n->synced[i] = (uint8_t)rng_next(&d->rng);
        } else if (n->dirty[i] != 0 && arrives) {
            n->synced[i] = n->now[i];
        }
    }
}

static bool sector_is_dirty(const struct inode *n, size_t at) {
    size_t end = at + SIM_SECTOR_BYTES < n->allocated ? at + SIM_SECTOR_BYTES : n->allocated;
    for (size_t i = at; i < end; i++) {
        if (n->dirty[i] != 0) {
            return true;
        }
    }
    return false;
}

static void inode_settle(struct sim_disk *d, struct inode *n, enum sim_loss loss) {
    if (n->dirty_from == n->dirty_to && !n->size_dirty && !n->forgot) {
        return;
    }
    size_t dirty_sectors = 0, seen = 0, end = n->dirty_to;
    size_t begin = n->dirty_from / SIM_SECTOR_BYTES * SIM_SECTOR_BYTES;
    for (size_t at = begin; at < end; at += SIM_SECTOR_BYTES) {
        dirty_sectors += sector_is_dirty(n, at) ? 1 : 0;
    }
    size_t kept = (size_t)rng_below(&d->rng, dirty_sectors + 1); /* of a torn write */
    for (size_t at = begin; at < end; at += SIM_SECTOR_BYTES) {
        if (sector_is_dirty(n, at)) {
            bool arrives =
                loss == SIM_TEAR ? seen < kept : loss != SIM_DROP && rng_below(&d->rng, 2) == 0;
            bool garbles = loss == SIM_GARBLE && rng_below(&d->rng, 3) == 0;
            sector_settle(d, n, at, arrives, garbles);
            seen++;
        }
    }
    bool size_arrives = n->size_dirty && loss != SIM_DROP && rng_below(&d->rng, 2) == 0;
    if (size_arrives) {
        n->synced_size = n->now_size;
    }
    if (n->allocated > 0) {
        memset(n->synced + n->synced_size, 0, n->allocated - n->synced_size);
        memcpy(n->now, n->synced, n->allocated);
    }
    n->now_size = n->synced_size;
    inode_forget_dirty(n);
    n->forgot = false;
}

static void names_settle(struct sim_disk *d, enum sim_loss loss) {
    size_t kept = loss == SIM_TEAR ? (size_t)rng_below(&d->rng, d->change_count + 1) : 0;
    for (size_t i = 0; i < d->change_count; i++) {
        bool any = loss == SIM_SCATTER || loss == SIM_GARBLE;
        if (loss == SIM_TEAR ? i < kept : any && rng_below(&d->rng, 2) == 0) {
            change_apply(&d->changes[i], &d->synced);
        }
        change_free(&d->changes[i]);
    }
    d->change_count = 0;
    name_table_copy(&d->now, &d->synced);
}

/* ---- the operations; lock held from begin to end ---- */

enum fate { FATE_RUN, FATE_FAIL, FATE_STOPPED };

static int ask_watcher(struct sim_disk *d, enum sim_operation operation, const char *path) {
    if (d->watcher == NULL) {
        return SIM_GO;
    }
    return d->watcher(d->watcher_context, operation, path);
}

/* Counts a changing operation and says what becomes of it. */
static enum fate begin_change(struct sim_disk *d, enum sim_operation operation, const char *path,
                              int *ret_error) {
    if (d->crashed) {
        *ret_error = -EIO;
        return FATE_STOPPED;
    }
    d->operations++;
    int verdict = ask_watcher(d, operation, path);
    if (d->operations == d->crash_at || verdict == SIM_CRASH) {
        d->crashed = true;
        *ret_error = -EIO;
        return FATE_FAIL;
    }
    if (d->operations == d->fail_at || verdict > 0) {
        *ret_error = verdict > 0 ? -verdict : -d->fail_errno;
        return FATE_FAIL;
    }
    return FATE_RUN;
}

/* What changes nothing cannot be where a machine stops for good: 0, or a negative errno. */
static int begin_look(struct sim_disk *d, enum sim_operation operation, const char *path,
                      bool *ret_short) {
    if (d->crashed) {
        return -EIO;
    }
    int verdict = ask_watcher(d, operation, path);
    if (verdict == SIM_CRASH) {
        d->crashed = true;
        return -EIO;
    }
    *ret_short = verdict == SIM_SHORT;
    return verdict > 0 ? -verdict : 0;
}

static uint64_t used_bytes(const struct sim_disk *d) {
    uint64_t used = 0;
    for (size_t i = 0; i < d->now.end; i++) {
        if (d->now.names[i].path != NULL) {
            used += d->inodes[d->now.names[i].inode]->now_size;
        }
    }
    return used;
}

static bool has_room(const struct sim_disk *d, const struct inode *n, uint64_t end) {
    uint64_t more = end > n->now_size ? end - n->now_size : 0;
    return more == 0 || used_bytes(d) + more <= d->capacity;
}

static struct inode *inode_of(struct sim_disk *d, int file) {
    assert(file >= 0 && (size_t)file < HANDLES_MAX);
    return d->handles[file].inode == NO_INODE ? NULL : d->inodes[d->handles[file].inode];
}

static int handle_create(struct sim_disk *d, int inode, const char *path) {
    for (int i = 0; i < (int)HANDLES_MAX; i++) {
        d->handle_end = (size_t)i < d->handle_end ? d->handle_end : (size_t)i + 1;
        if (d->handles[i].inode == NO_INODE) {
            d->handles[i].inode = inode;
            d->handles[i].locks = false;
            snprintf(d->handles[i].path, PATH_MAX_BYTES, "%s", path);
            return i;
        }
    }
    return -EMFILE;
}

static int open_locked(struct sim_disk *d, const char *path, int flags) {
    struct name *n = name_find(&d->now, path);
    int error = 0;
    bool cut_short;
    if (d->crashed) {
        return -EIO;
    }
    if (n != NULL) {
        error = begin_look(d, SIM_OPEN, path, &cut_short);
        if (error != 0) {
            return error;
        }
        if ((flags & O_TRUNC) != 0) {
            inode_truncate(d->inodes[n->inode], 0);
        }
        return (flags & O_EXCL) != 0 ? -EEXIST : handle_create(d, n->inode, path);
    }
    if ((flags & O_CREAT) == 0) {
        return -ENOENT;
    }
    if (begin_change(d, SIM_CREATE, path, &error) != FATE_RUN) {
        return error;
    }
    int inode = inode_create(d, false);
    change_names(d, CHANGE_CREATE, path, NULL, inode);
    return handle_create(d, inode, path);
}

static int sim_open(void *context, const char *path, int flags, int mode) {
    struct sim_disk *d = context;
    (void)mode;
    pthread_mutex_lock(&d->lock);
    int rc = open_locked(d, path, flags);
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_close(void *context, int file) {
    struct sim_disk *d = context;
    pthread_mutex_lock(&d->lock);
    d->handles[file].inode = NO_INODE;
    d->handles[file].locks = false;
    pthread_mutex_unlock(&d->lock);
    return 0;
}

static int write_locked(struct sim_disk *d, int file, const void *data, size_t size,
                        uint64_t offset) {
    int error;
    struct inode *n = inode_of(d, file);
    enum fate fate = begin_change(d, SIM_WRITE, d->handles[file].path, &error);
    if (n == NULL) {
        return -EBADF;
    }
    if (fate == FATE_FAIL) {
        size_t sectors = size / SIM_SECTOR_BYTES + 1;
        size_t arrived = (size_t)rng_below(&d->rng, sectors + 1) * SIM_SECTOR_BYTES;
        inode_write(n, data, arrived < size ? arrived : size, offset);
    }
    if (fate != FATE_RUN) {
        return error;
    }
    if (!has_room(d, n, offset + size)) {
        return -ENOSPC;
    }
    inode_write(n, data, size, offset);
    return 0;
}

static int sim_write_at(void *context, int file, const void *data, size_t size, uint64_t offset) {
    struct sim_disk *d = context;
    pthread_mutex_lock(&d->lock);
    int rc = write_locked(d, file, data, size, offset);
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static ssize_t sim_read_at(void *context, int file, void *data, size_t size, uint64_t offset) {
    struct sim_disk *d = context;
    pthread_mutex_lock(&d->lock);
    const struct inode *n = inode_of(d, file);
    bool cut_short = false;
    ssize_t got = n == NULL ? -EBADF : begin_look(d, SIM_READ, d->handles[file].path, &cut_short);
    if (got == 0 && offset < n->now_size) {
        size_t left = n->now_size - (size_t)offset;
        got = (ssize_t)(size < left ? size : left);
        got = cut_short ? (ssize_t)rng_below(&d->rng, (uint64_t)got) : got;
        memcpy(data, n->now + offset, (size_t)got);
    }
    pthread_mutex_unlock(&d->lock);
    return got;
}

static int sim_flush(void *context, int file) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    struct inode *n = inode_of(d, file);
    enum fate fate = begin_change(d, SIM_FLUSH, d->handles[file].path, &rc);
    if (n == NULL) {
        rc = -EBADF;
    } else if (fate == FATE_RUN) {
        inode_flush(n);
    } else if (fate == FATE_FAIL && !d->crashed) {
        inode_forget_dirty(n);
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_reserve(void *context, int file, uint64_t offset, uint64_t size) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    struct inode *n = inode_of(d, file);
    enum fate fate = begin_change(d, SIM_RESERVE, d->handles[file].path, &rc);
    if (n == NULL) {
        rc = -EBADF;
    } else if (fate == FATE_RUN) {
        rc = has_room(d, n, offset + size) ? 0 : -ENOSPC;
        if (rc == 0) {
            inode_grow(n, (size_t)(offset + size));
        }
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_truncate(void *context, int file, uint64_t size) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    struct inode *n = inode_of(d, file);
    enum fate fate = begin_change(d, SIM_TRUNCATE, d->handles[file].path, &rc);
    if (n == NULL) {
        rc = -EBADF;
    } else if (fate == FATE_RUN) {
        inode_truncate(n, (size_t)size);
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_size(void *context, int file, uint64_t *ret_size) {
    struct sim_disk *d = context;
    pthread_mutex_lock(&d->lock);
    const struct inode *n = inode_of(d, file);
    bool cut_short;
    int rc = n == NULL ? -EBADF : begin_look(d, SIM_SIZE, d->handles[file].path, &cut_short);
    if (rc == 0) {
        *ret_size = n->now_size;
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static void rename_handles(struct sim_disk *d, int inode, const char *to) {
    for (size_t i = 0; i < d->handle_end; i++) {
        if (d->handles[i].inode == inode) {
            snprintf(d->handles[i].path, PATH_MAX_BYTES, "%s", to);
        }
    }
}

static int sim_rename(void *context, const char *from, const char *to) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    if (begin_change(d, SIM_RENAME, to, &rc) == FATE_RUN) {
        struct name *n = name_find(&d->now, from);
        rc = n == NULL ? -ENOENT : 0;
        if (rc == 0) {
            rename_handles(d, n->inode, to);
            change_names(d, CHANGE_RENAME, from, to, n->inode);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_unlink(void *context, const char *path) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    if (begin_change(d, SIM_UNLINK, path, &rc) == FATE_RUN) {
        struct name *n = name_find(&d->now, path);
        rc = n == NULL ? -ENOENT : 0;
        if (rc == 0) {
            change_names(d, CHANGE_UNLINK, path, NULL, n->inode);
        }
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_make_directory(void *context, const char *path, int mode) {
    struct sim_disk *d = context;
    int rc = 0;
    (void)mode;
    pthread_mutex_lock(&d->lock);
    if (name_find(&d->now, path) != NULL) {
        rc = -EEXIST;
    } else if (begin_change(d, SIM_MAKE_DIRECTORY, path, &rc) == FATE_RUN) {
        change_names(d, CHANGE_CREATE, path, NULL, inode_create(d, true));
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

/* Where a change of names takes place; both paths of a rename are in one directory. */
static void flush_changes_in(struct sim_disk *d, const char *directory) {
    size_t left = 0;
    for (size_t i = 0; i < d->change_count; i++) {
        /* "." and "/" hold the top of what the tests make. */
        bool top = strcmp(directory, ".") == 0 && strchr(d->changes[i].path, '/') == NULL;
        if (top || in_directory(d->changes[i].path, directory)) {
            change_apply(&d->changes[i], &d->synced);
            change_free(&d->changes[i]);
        } else {
            d->changes[left++] = d->changes[i];
        }
    }
    d->change_count = left;
}

static int sim_flush_directory(void *context, const char *path) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    if (begin_change(d, SIM_FLUSH_DIRECTORY, path, &rc) == FATE_RUN) {
        flush_changes_in(d, path);
    }
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_list(void *context, const char *path, void (*entry)(void *arg, const char *name),
                    void *arg) {
    struct sim_disk *d = context;
    bool cut_short;
    int rc = begin_look(d, SIM_LIST, path, &cut_short);
    rc = rc == 0 && name_find(&d->now, path) == NULL ? -ENOENT : rc;
    for (size_t i = 0; rc == 0 && i < d->now.end; i++) {
        /* Without the lock, because `entry` may call back; a test lists while nothing else runs. */
        const char *name = d->now.names[i].path;
        if (name != NULL && in_directory(name, path)) {
            char copy[256];
            snprintf(copy, sizeof copy, "%s", strrchr(name, '/') + 1);
            entry(arg, copy);
        }
    }
    return rc;
}

static int sim_lock(void *context, int file) {
    struct sim_disk *d = context;
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    for (size_t i = 0; i < d->handle_end; i++) {
        if (d->handles[i].inode == d->handles[file].inode && d->handles[i].locks) {
            rc = -EWOULDBLOCK;
        }
    }
    d->handles[file].locks = rc == 0;
    pthread_mutex_unlock(&d->lock);
    return rc;
}

static int sim_free_bytes(void *context, const char *path, uint64_t *ret_bytes) {
    struct sim_disk *d = context;
    (void)path;
    pthread_mutex_lock(&d->lock);
    uint64_t used = used_bytes(d);
    *ret_bytes = used < d->capacity ? d->capacity - used : 0;
    pthread_mutex_unlock(&d->lock);
    return 0;
}

/* ---- commands ---- */

static void set_ops(struct sim_disk *d) {
    d->ops = (struct file_ops){
        .context = d,
        .open = sim_open,
        .close = sim_close,
        .write_at = sim_write_at,
        .read_at = sim_read_at,
        .flush = sim_flush,
        .reserve = sim_reserve,
        .truncate = sim_truncate,
        .size = sim_size,
        .rename = sim_rename,
        .unlink = sim_unlink,
        .make_directory = sim_make_directory,
        .flush_directory = sim_flush_directory,
        .list = sim_list,
        .lock = sim_lock,
        .free_bytes = sim_free_bytes,
    };
}

struct sim_disk *sim_disk_create(uint64_t seed) {
    struct sim_disk *d = must(calloc(1, sizeof *d));
    pthread_mutex_init(&d->lock, NULL);
    rng_init(&d->rng, seed);
    d->capacity = DEFAULT_CAPACITY;
    set_ops(d);
    for (size_t i = 0; i < HANDLES_MAX; i++) {
        d->handles[i].inode = NO_INODE;
    }
    return d;
}

static struct inode *inode_copy(const struct inode *from) {
    struct inode *n = must(malloc(sizeof *n));
    *n = *from;
    if (from->allocated > 0) {
        n->now = must(malloc(from->allocated));
        n->synced = must(malloc(from->allocated));
        n->dirty = must(malloc(from->allocated));
        memcpy(n->now, from->now, from->allocated);
        memcpy(n->synced, from->synced, from->allocated);
        memcpy(n->dirty, from->dirty, from->allocated);
    }
    return n;
}

static bool has_name(const struct sim_disk *d, int inode) {
    for (size_t i = 0; i < d->now.end; i++) {
        if (d->now.names[i].path != NULL && d->now.names[i].inode == inode) {
            return true;
        }
    }
    return false;
}

struct sim_disk *sim_disk_copy(const struct sim_disk *from, uint64_t seed) {
    static const struct inode nothing;
    struct sim_disk *d = sim_disk_create(seed);
    d->capacity = from->capacity;
    d->inodes = must(malloc(((size_t)from->inode_count + 1) * sizeof(void *)));
    for (int i = 0; i < from->inode_count; i++) {
        d->inodes[i] = inode_copy(has_name(from, i) ? from->inodes[i] : &nothing);
    }
    d->inode_count = from->inode_count;
    name_table_copy(&d->now, &from->now);
    name_table_copy(&d->synced, &from->now);
    return d;
}

void sim_disk_free(struct sim_disk *d) {
    for (int i = 0; i < d->inode_count; i++) {
        free(d->inodes[i]->now);
        free(d->inodes[i]->synced);
        free(d->inodes[i]->dirty);
        free(d->inodes[i]);
    }
    for (size_t i = 0; i < d->change_count; i++) {
        change_free(&d->changes[i]);
    }
    name_table_clear(&d->now);
    name_table_clear(&d->synced);
    free(d->changes);
    free(d->inodes);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

const struct file_ops *sim_disk_ops(struct sim_disk *d) {
    return &d->ops;
}

uint64_t sim_disk_operations(const struct sim_disk *d) {
    return d->operations;
}

void sim_disk_fail_at(struct sim_disk *d, uint64_t nth, int error_number) {
    d->fail_at = nth == 0 ? 0 : d->operations + nth;
    d->fail_errno = error_number;
}

void sim_disk_crash_at(struct sim_disk *d, uint64_t nth) {
    d->crash_at = nth == 0 ? 0 : d->operations + nth;
}

bool sim_disk_crashed(const struct sim_disk *d) {
    return d->crashed;
}

void sim_disk_restart(struct sim_disk *d, enum sim_loss loss) {
    d->crashed = false;
    d->fail_at = d->crash_at = 0;
    for (size_t i = 0; i < d->handle_end; i++) {
        d->handles[i].inode = NO_INODE;
        d->handles[i].locks = false;
    }
    if (loss != SIM_KEEP) {
        for (int i = 0; i < d->inode_count; i++) {
            inode_settle(d, d->inodes[i], loss);
        }
        names_settle(d, loss);
    }
}

void sim_disk_set_capacity(struct sim_disk *d, uint64_t bytes) {
    pthread_mutex_lock(&d->lock);
    d->capacity = bytes;
    pthread_mutex_unlock(&d->lock);
}

bool sim_disk_flip(struct sim_disk *d, const char *path, uint64_t offset, unsigned bit) {
    struct name *n = name_find(&d->now, path);
    if (n == NULL || offset >= d->inodes[n->inode]->now_size) {
        return false;
    }
    d->inodes[n->inode]->now[offset] ^= (uint8_t)(1u << bit);
    d->inodes[n->inode]->synced[offset] ^= (uint8_t)(1u << bit);
    return true;
}

uint64_t sim_disk_file_size(const struct sim_disk *d, const char *path) {
    struct name *n = name_find((struct name_table *)&d->now, path);
    return n == NULL ? UINT64_MAX : d->inodes[n->inode]->now_size;
}

/* ---- damage, and files from outside ---- */

void sim_disk_watch(struct sim_disk *d, sim_disk_watcher *watcher, void *context) {
    d->watcher = watcher;
    d->watcher_context = context;
}

void sim_disk_stop(struct sim_disk *d) {
    d->crashed = true;
}

bool sim_disk_cut(struct sim_disk *d, const char *path, uint64_t size) {
    struct name *n = name_find(&d->now, path);
    if (n == NULL || size > d->inodes[n->inode]->now_size) {
        return false;
    }
    inode_truncate(d->inodes[n->inode], (size_t)size);
    inode_flush(d->inodes[n->inode]);
    return true;
}

bool sim_disk_remove(struct sim_disk *d, const char *path) {
    bool there = name_find(&d->now, path) != NULL;
    name_remove(&d->now, path);
    name_remove(&d->synced, path);
    return there;
}

void sim_disk_put(struct sim_disk *d, const char *path, const void *data, size_t size) {
    int inode = inode_create(d, false);
    inode_write(d->inodes[inode], data, size, 0);
    inode_flush(d->inodes[inode]);
    name_set(&d->now, path, inode);
    name_set(&d->synced, path, inode);
}

void sim_disk_put_directory(struct sim_disk *d, const char *path) {
    int inode = inode_create(d, true);
    name_set(&d->now, path, inode);
    name_set(&d->synced, path, inode);
}

bool sim_disk_double(struct sim_disk *d, const char *path, const char *to) {
    const struct name *n = name_find(&d->now, path);
    if (n == NULL) {
        return false;
    }
    sim_disk_put(d, to, d->inodes[n->inode]->now, d->inodes[n->inode]->now_size);
    return true;
}

size_t sim_disk_names(const struct sim_disk *d, const char *directory, const char **ret_paths,
                      size_t max) {
    size_t count = 0;
    for (size_t i = 0; i < d->now.end && count < max; i++) {
        if (d->now.names[i].path != NULL && in_directory(d->now.names[i].path, directory)) {
            ret_paths[count++] = d->now.names[i].path;
        }
    }
    return count;
}
