/*
 * powercut.c - makes kill -9 as bad as a power cut: a preloaded library that keeps an undo journal
 *              of every change below POWERCUT_ROOT that was not flushed.
 *
 * kill -9 loses nothing that the kernel was given; a power cut loses whatever was not flushed. So
 * every write goes through to the real file (whoever reads sees it at once, as always), but before
 * that, what stood there is noted in a journal. After the kill, rig/power.py looks up in the
 * journal what was changed since the last flush of each file and folder, and takes back as much of
 * it as its seed says: nothing, all, all behind some point, or any choice of sectors and names.
 *
 * What counts as flushed:
 *   C1 fdatasync or fsync of a file: bytes and size of that file as when the flush began;
 *   C2 fsync of a folder: the names in that folder as when the flush began. A file's own flush says
 *      nothing about its name: POSIX promises no more, though most file systems do more;
 *   C3 nothing else. sync(), O_SYNC and the like do not occur in the program: see the end.
 *
 * The journal is a sparse file, mapped and shared, so that it needs no file handle (the snapshot's
 * child closes all) and outlives every process. Numbers are little-endian, records follow one
 * another from byte 4096:
 *
 *    0  u32 size of the record, a multiple of 8     32  u64 c
 *    4  u32 kind                                    40  u32 bytes of name, "\0" between two names
 *    8  u64 inode                                   44  u32 bytes of payload
 *   16  u64 a                                       48  name, payload, zeros up to the size
 *   24  u64 b
 *
 *   kind        inode      a               b         c         name      payload
 *   WRITE       file       first byte      old size  new size            whole sectors as they were
 *   SIZE        file       0               old size  new size            what was cut off
 *   CREATE      file                                           path
 *   RENAME      file       inode replaced, or 0                from, to
 *   UNLINK      file                                           path
 *   MKDIR       folder                                         path
 *   FLUSH       file       journal's end when it began
 *   FLUSH_DIR   folder     journal's end when it began         path
 *
 * A record is complete before its change happens (CREATE and MKDIR, which need the new inode:
 * after), and the end of the journal moves over a complete record only; so a kill at any moment
 * leaves at most a record whose change did not happen, and to take that back changes nothing. A
 * file that loses its name keeps another one in POWERCUT_GRAVEYARD, for the case that the loss is
 * taken back.
 *
 * Anything else that writes below the root ends the process with a message (refuse): a path that
 * this file does not know would make the test pass for the wrong reason.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PUBLIC        __attribute__((visibility("default")))
#define SAME_AS(name) PUBLIC __attribute__((alias(#name)))

#define JOURNAL_BYTES ((uint64_t)1 << 32) /* sparse */
#define JOURNAL_START 4096u
#define SECTOR_BYTES  512u
#define FILES_MAX     65536

enum kind { WRITE = 1, SIZE, CREATE, RENAME, UNLINK, MKDIR, FLUSH, FLUSH_DIR };

struct record {
    uint32_t size, kind;
    uint64_t inode, a, b, c;
    uint32_t name_bytes, payload_bytes;
};

/* The first page of the journal. rig/power.py knows the first four. */
struct head {
    char magic[8]; /* "PWRCUT01" */
    _Atomic uint64_t end, changes;
    _Atomic uint64_t cut_at; /* the change at which the power goes; 0: never */
    uint64_t flush_us;
    _Atomic uint64_t random;
    pthread_mutex_t lock;
};

static struct head *head; /* NULL: not asked for, everything passes through */
static const char *root, *graveyard;
static size_t root_bytes;
static _Atomic bool watched[FILES_MAX];

/* ---- the real functions ---- */

/* Looked up once: after a fork nobody knows in what state dlsym's lock is. */
#define REAL(name)                                                                                 \
    __extension__({                                                                                \
        static __typeof__(&name) function;                                                         \
        if (function == NULL) {                                                                    \
            function = (__typeof__(&name))real(#name);                                             \
        }                                                                                          \
        function;                                                                                  \
    })

static void *real(const char *name) {
    void *function = dlsym(RTLD_NEXT, name);
    if (function == NULL) {
        abort();
    }
    return function;
}

__attribute__((noreturn)) static void die(const char *what, const char *name) {
    char text[512];
    int size = snprintf(text, sizeof text, "powercut: %s: %s\n", what, name);
    (void)!syscall(SYS_write, 2, text, (size_t)size);
    kill(0, SIGKILL); /* a group of our own: see rig/server.py */
    abort();
}

static void refuse(const char *call) {
    die("a way to write that powercut.c does not know", call);
}

/* ---- start ---- */

static uint64_t number_of(const char *name) {
    const char *text = getenv(name);
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static void map_journal(const char *path) {
    int file = REAL(open)(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (file < 0 || REAL(ftruncate)(file, (off_t)JOURNAL_BYTES) != 0) {
        die("cannot make the journal", path);
    }
    void *memory = REAL(mmap)(NULL, JOURNAL_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        die("cannot map the journal", path);
    }
    REAL(close)(file);
    head = memory;
}

__attribute__((constructor)) static void start(void) {
    const char *journal = getenv("POWERCUT_JOURNAL");
    root = getenv("POWERCUT_ROOT");
    graveyard = getenv("POWERCUT_GRAVEYARD");
    if (journal == NULL || root == NULL || graveyard == NULL) {
        return;
    }
    root_bytes = strlen(root);
    map_journal(journal);
    if (head->end == 0) {
        memcpy(head->magic, "PWRCUT01", 8);
        head->end = JOURNAL_START;
    }
    head->changes = 0;
    head->cut_at = number_of("POWERCUT_AT");
    head->flush_us = number_of("POWERCUT_FLUSH_US");
    head->random = number_of("POWERCUT_SEED") | 1;
    /* Shared with the snapshot's child, which may be killed while it holds the lock. */
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&head->lock, &attributes);
}

static uint64_t random_below(uint64_t limit) {
    uint64_t x = head->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    head->random = x;
    return x % limit;
}

/* ---- what is watched ---- */

static bool below_root(const char *path) {
    if (head == NULL) {
        return false;
    }
    if (path[0] != '/') { /* the harness gives whole paths, so it is none of ours */
        return false;
    }
    return strncmp(path, root, root_bytes) == 0 && (path[root_bytes] == '/' || !path[root_bytes]);
}

static bool is_watched(int file) {
    return head != NULL && file >= 0 && file < FILES_MAX && watched[file];
}

static void watch(int file, bool on) {
    if (file >= FILES_MAX && on) {
        die("too many files", "open");
    }
    if (file >= 0 && file < FILES_MAX) {
        watched[file] = on;
    }
}

static struct stat status_of(int file) {
    struct stat st;
    if (fstat(file, &st) != 0) {
        die("fstat", strerror(errno));
    }
    return st;
}

/* ---- the journal ---- */

static void lock(void) {
    if (pthread_mutex_lock(&head->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&head->lock);
    }
}

static void unlock(void) {
    pthread_mutex_unlock(&head->lock);
}

/* Counts a change; the power may go here, before it happens. Lock held. */
static void count_change(void) {
    if (++head->changes == head->cut_at) {
        kill(0, SIGKILL);
        pause();
    }
}

/* Room for a record at the end, which it becomes part of by journal_commit. Lock held. */
static struct record *journal_begin(enum kind kind, uint64_t inode, size_t name_bytes,
                                    size_t payload_bytes) {
    uint64_t size = (sizeof(struct record) + name_bytes + payload_bytes + 7) & ~(uint64_t)7;
    if (head->end + size > JOURNAL_BYTES) {
        die("the journal is full", "make rounds shorter");
    }
    struct record *r = (void *)((char *)head + head->end); /* a multiple of 8 */
    *r = (struct record){.size = (uint32_t)size,
                         .kind = kind,
                         .inode = inode,
                         .name_bytes = (uint32_t)name_bytes,
                         .payload_bytes = (uint32_t)payload_bytes};
    return r;
}

static char *record_name(struct record *r) {
    return (char *)(r + 1);
}

static char *record_payload(struct record *r) {
    return record_name(r) + r->name_bytes;
}

static void journal_commit(const struct record *r) {
    head->end += r->size;
}

static void journal_name(enum kind kind, uint64_t inode, uint64_t a, const char *name) {
    size_t size = strlen(name);
    struct record *r = journal_begin(kind, inode, size, 0);
    r->a = a;
    memcpy(record_name(r), name, size);
    journal_commit(r);
}

static void read_before(int file, void *out, size_t size, uint64_t offset) {
    memset(out, 0, size); /* behind the end there are zeros */
    for (size_t done = 0; done < size;) {
        ssize_t got = pread(file, (char *)out + done, size - done, (off_t)(offset + done));
        if (got <= 0) {
            break;
        }
        done += (size_t)got;
    }
}

/* ---- writing ---- */

static void journal_write(int file, uint64_t offset, uint64_t size) {
    struct stat st = status_of(file);
    uint64_t first = offset / SECTOR_BYTES * SECTOR_BYTES;
    uint64_t end = (offset + size + SECTOR_BYTES - 1) / SECTOR_BYTES * SECTOR_BYTES;
    struct record *r = journal_begin(WRITE, st.st_ino, 0, end - first);
    r->a = first;
    r->b = (uint64_t)st.st_size;
    r->c = offset + size > r->b ? offset + size : r->b;
    read_before(file, record_payload(r), end - first, first);
    journal_commit(r);
}

PUBLIC ssize_t pwrite(int file, const void *data, size_t size, off_t offset) {
    if (!is_watched(file)) {
        return REAL(pwrite)(file, data, size, offset);
    }
    lock();
    journal_write(file, (uint64_t)offset, size);
    count_change();
    ssize_t written = REAL(pwrite)(file, data, size, offset);
    unlock();
    return written;
}

PUBLIC ssize_t pwritev(int file, const struct iovec *parts, int count, off_t offset) {
    if (!is_watched(file)) {
        return REAL(pwritev)(file, parts, count, offset);
    }
    uint64_t size = 0;
    for (int i = 0; i < count; i++) {
        size += parts[i].iov_len;
    }
    lock();
    journal_write(file, (uint64_t)offset, size);
    count_change();
    ssize_t written = REAL(pwritev)(file, parts, count, offset);
    unlock();
    return written;
}

static void journal_size(int file, uint64_t new_size) {
    struct stat st = status_of(file);
    uint64_t old_size = (uint64_t)st.st_size;
    if (old_size == new_size) {
        return;
    }
    uint64_t cut = new_size < old_size ? old_size - new_size : 0;
    struct record *r = journal_begin(SIZE, st.st_ino, 0, cut);
    r->b = old_size;
    r->c = new_size;
    read_before(file, record_payload(r), cut, new_size);
    journal_commit(r);
}

PUBLIC int ftruncate(int file, off_t size) {
    if (!is_watched(file)) {
        return REAL(ftruncate)(file, size);
    }
    lock();
    journal_size(file, (uint64_t)size);
    count_change();
    int rc = REAL(ftruncate)(file, size);
    unlock();
    return rc;
}

static void journal_growth(int file, uint64_t end) {
    if ((uint64_t)status_of(file).st_size < end) {
        journal_size(file, end);
    }
    count_change();
}

PUBLIC int posix_fallocate(int file, off_t offset, off_t size) {
    if (!is_watched(file)) {
        return REAL(posix_fallocate)(file, offset, size);
    }
    lock();
    journal_growth(file, (uint64_t)(offset + size));
    int rc = REAL(posix_fallocate)(file, offset, size);
    unlock();
    return rc;
}

PUBLIC int fallocate(int file, int mode, off_t offset, off_t size) {
    if (!is_watched(file)) {
        return REAL(fallocate)(file, mode, offset, size);
    }
    if (mode != 0) {
        refuse("fallocate with a mode");
    }
    lock();
    journal_growth(file, (uint64_t)(offset + size));
    int rc = REAL(fallocate)(file, mode, offset, size);
    unlock();
    return rc;
}

/* ---- flushing ---- */

/* The kernel's own flush is left out: a kill loses nothing anyway. How slow it is, the seed says. */
static int flush(int file) {
    char link[64], path[4096];
    uint64_t end = head->end;
    struct stat st = status_of(file);
    if (head->flush_us > 0) {
        lock();
        uint64_t us = random_below(head->flush_us);
        unlock();
        usleep((useconds_t)us);
    }
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t size = readlink(link, path, sizeof path - 1);
    path[size < 0 ? 0 : size] = '\0';
    lock();
    count_change();
    journal_name(S_ISDIR(st.st_mode) ? FLUSH_DIR : FLUSH, st.st_ino, end, path);
    unlock();
    return 0;
}

PUBLIC int fsync(int file) {
    return is_watched(file) ? flush(file) : REAL(fsync)(file);
}

PUBLIC int fdatasync(int file) {
    return is_watched(file) ? flush(file) : REAL(fdatasync)(file);
}

/* ---- names ---- */

static int open_watched(const char *path, int flags, mode_t mode) {
    struct stat st;
    lock();
    bool is_new = (flags & O_CREAT) && lstat(path, &st) != 0;
    if (is_new) {
        count_change();
    }
    int file = REAL(open)(path, flags & ~O_TRUNC, mode);
    if (file >= 0) {
        watch(file, true);
        if (is_new) {
            journal_name(CREATE, status_of(file).st_ino, 0, path);
        } else if (flags & O_TRUNC) {
            journal_size(file, 0);
            count_change();
            (void)!REAL(ftruncate)(file, 0);
        }
    }
    int error = errno;
    unlock();
    errno = error;
    return file;
}

static mode_t mode_of(int flags, va_list arguments) {
    return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
}

PUBLIC int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (!below_root(path)) {
        return REAL(open)(path, flags, mode);
    }
    if (flags & (O_SYNC | O_DSYNC | O_APPEND) || (flags & O_TMPFILE) == O_TMPFILE) {
        refuse("open with O_SYNC, O_DSYNC, O_APPEND or O_TMPFILE");
    }
    return open_watched(path, flags, mode);
}

PUBLIC int openat(int folder, const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = mode_of(flags, arguments);
    va_end(arguments);
    if (is_watched(folder)) {
        refuse("openat in a watched folder");
    }
    return below_root(path) ? open(path, flags, mode) : REAL(openat)(folder, path, flags, mode);
}

PUBLIC int close(int file) {
    watch(file, false);
    return REAL(close)(file);
}

PUBLIC int close_range(unsigned first, unsigned last, int flags) {
    for (unsigned file = first; file <= last && file < FILES_MAX; file++) {
        watched[file] = false;
    }
    return REAL(close_range)(first, last, flags);
}

/* Another name for what loses its last one. */
static void bury(const char *path, uint64_t inode) {
    char grave[4096];
    snprintf(grave, sizeof grave, "%s/%llu", graveyard, (unsigned long long)inode);
    if (REAL(link)(path, grave) != 0 && errno != EEXIST) {
        die("cannot keep what is unlinked", path);
    }
}

static void journal_rename(const char *from, const char *to, uint64_t inode) {
    struct stat replaced;
    bool replaces = lstat(to, &replaced) == 0;
    if (replaces) {
        bury(to, replaced.st_ino);
    }
    size_t from_bytes = strlen(from) + 1, to_bytes = strlen(to);
    struct record *r = journal_begin(RENAME, inode, from_bytes + to_bytes, 0);
    r->a = replaces ? replaced.st_ino : 0;
    memcpy(record_name(r), from, from_bytes);
    memcpy(record_name(r) + from_bytes, to, to_bytes);
    journal_commit(r);
}

PUBLIC int rename(const char *from, const char *to) {
    if (!below_root(from) && !below_root(to)) {
        return REAL(rename)(from, to);
    }
    struct stat st;
    lock();
    if (lstat(from, &st) == 0) {
        if (!S_ISREG(st.st_mode)) {
            refuse("rename of a folder");
        }
        journal_rename(from, to, st.st_ino);
        count_change();
    }
    int rc = REAL(rename)(from, to);
    int error = errno;
    unlock();
    errno = error;
    return rc;
}

PUBLIC int unlink(const char *path) {
    struct stat st;
    if (!below_root(path)) {
        return REAL(unlink)(path);
    }
    lock();
    if (lstat(path, &st) == 0) {
        bury(path, st.st_ino);
        journal_name(UNLINK, st.st_ino, 0, path);
        count_change();
    }
    int rc = REAL(unlink)(path);
    int error = errno;
    unlock();
    errno = error;
    return rc;
}

PUBLIC int mkdir(const char *path, mode_t mode) {
    struct stat st;
    if (!below_root(path)) {
        return REAL(mkdir)(path, mode);
    }
    lock();
    int rc = REAL(mkdir)(path, mode);
    int error = errno;
    if (rc == 0 && lstat(path, &st) == 0) {
        journal_name(MKDIR, st.st_ino, 0, path);
        count_change();
    }
    unlock();
    errno = error;
    return rc;
}

/* ---- what is refused ---- */

PUBLIC ssize_t write(int file, const void *data, size_t size) {
    if (is_watched(file)) {
        refuse("write");
    }
    return REAL(write)(file, data, size);
}

PUBLIC ssize_t writev(int file, const struct iovec *parts, int count) {
    if (is_watched(file)) {
        refuse("writev");
    }
    return REAL(writev)(file, parts, count);
}

PUBLIC ssize_t pwritev2(int file, const struct iovec *parts, int count, off_t offset, int flags) {
    if (is_watched(file)) {
        refuse("pwritev2");
    }
    return REAL(pwritev2)(file, parts, count, offset, flags);
}

PUBLIC void *mmap(void *address, size_t size, int protection, int flags, int file, off_t offset) {
    if (is_watched(file) && (flags & MAP_SHARED) && (protection & PROT_WRITE)) {
        refuse("mmap");
    }
    return REAL(mmap)(address, size, protection, flags, file, offset);
}

PUBLIC ssize_t copy_file_range(int in, off64_t *in_offset, int out, off64_t *out_offset,
                               size_t size, unsigned flags) {
    if (is_watched(out)) {
        refuse("copy_file_range");
    }
    return REAL(copy_file_range)(in, in_offset, out, out_offset, size, flags);
}

PUBLIC int dup(int file) {
    if (is_watched(file)) {
        refuse("dup");
    }
    return REAL(dup)(file);
}

PUBLIC int dup2(int file, int copy) {
    if (is_watched(file)) {
        refuse("dup2");
    }
    watch(copy, false);
    return REAL(dup2)(file, copy);
}

PUBLIC int fcntl(int file, int command, ...) {
    va_list arguments;
    va_start(arguments, command);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (is_watched(file) && (command == F_DUPFD || command == F_DUPFD_CLOEXEC)) {
        refuse("fcntl that duplicates");
    }
    return REAL(fcntl)(file, command, argument);
}

#define REFUSE_PATH(name, path, parameters, ...)                                                   \
    PUBLIC int name parameters {                                                                   \
        if (below_root(path)) {                                                                    \
            refuse(#name);                                                                         \
        }                                                                                          \
        return REAL(name)(__VA_ARGS__);                                                            \
    }

REFUSE_PATH(truncate, path, (const char *path, off_t size), path, size)
REFUSE_PATH(creat, path, (const char *path, mode_t mode), path, mode)
REFUSE_PATH(rmdir, path, (const char *path), path)
REFUSE_PATH(link, to, (const char *from, const char *to), from, to)
REFUSE_PATH(symlink, to, (const char *from, const char *to), from, to)
REFUSE_PATH(renameat, to, (int a, const char *from, int b, const char *to), a, from, b, to)
REFUSE_PATH(renameat2, to, (int a, const char *from, int b, const char *to, unsigned flags), a,
            from, b, to, flags)
REFUSE_PATH(unlinkat, path, (int folder, const char *path, int flags), folder, path, flags)
REFUSE_PATH(mkdirat, path, (int folder, const char *path, mode_t mode), folder, path, mode)

/* io_uring has no function of the C library: whoever uses it comes through here. */
PUBLIC long syscall(long number, ...) {
    va_list arguments;
    va_start(arguments, number);
    long a = va_arg(arguments, long), b = va_arg(arguments, long), c = va_arg(arguments, long);
    long d = va_arg(arguments, long), e = va_arg(arguments, long), f = va_arg(arguments, long);
    va_end(arguments);
    if (head != NULL && number == SYS_io_uring_setup) {
        errno = ENOSYS; /* libuv asks, too: without it, it does without */
        return -1;
    }
    return REAL(syscall)(number, a, b, c, d, e, f);
}

/* The names under which programs with 64-bit offsets or fortified sources call the same. */
SAME_AS(pwrite) ssize_t pwrite64(int file, const void *data, size_t size, off64_t offset);
SAME_AS(pwritev) ssize_t pwritev64(int file, const struct iovec *parts, int count, off64_t offset);
SAME_AS(pwritev2)
ssize_t pwritev64v2(int file, const struct iovec *parts, int count, off64_t offset, int flags);
SAME_AS(ftruncate) int ftruncate64(int file, off64_t size);
SAME_AS(posix_fallocate) int posix_fallocate64(int file, off64_t offset, off64_t size);
SAME_AS(fallocate) int fallocate64(int file, int mode, off64_t offset, off64_t size);
SAME_AS(open) int open64(const char *path, int flags, ...);
SAME_AS(openat) int openat64(int folder, const char *path, int flags, ...);
SAME_AS(mmap)
void *mmap64(void *address, size_t size, int protection, int flags, int file, off64_t offset);
SAME_AS(fcntl) int fcntl64(int file, int command, ...);
SAME_AS(truncate) int truncate64(const char *path, off64_t size);
SAME_AS(creat) int creat64(const char *path, mode_t mode);

PUBLIC int __open_2(const char *path, int flags);
PUBLIC int __open_2(const char *path, int flags) {
    return open(path, flags);
}
SAME_AS(__open_2) int __open64_2(const char *path, int flags);
