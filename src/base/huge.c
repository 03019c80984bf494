#include "base/huge.h"

#include <assert.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"

#define QUIET_S 1 /* nobody took one for so long: a burst takes several a second */

struct ahead {
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    pthread_t thread;
    bool runs, stopping;
    uint64_t takes; /* since the start */
    unsigned count;
    void *blocks[HUGE_AHEAD]; /* owned */
};

static struct ahead ahead = {.lock = PTHREAD_MUTEX_INITIALIZER, .wanted = PTHREAD_COND_INITIALIZER};

static void lock(void) {
    pthread_mutex_lock(&ahead.lock);
}

static void unlock(void) {
    pthread_mutex_unlock(&ahead.lock);
}

/* From the system itself: what malloc gives was never touched only if it likes. */
static void *block_create(size_t bytes) {
    size_t size = bytes + HUGE_BYTES;
    uint8_t *from = mmap(NULL, size, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (from == MAP_FAILED) {
        return NULL;
    }
    size_t before = -(uintptr_t)from % HUGE_BYTES, after = HUGE_BYTES - before;
    uint8_t *block = from + before;
    if (before > 0) {
        munmap(from, before);
    }
    munmap(block + bytes, after);
    (void)madvise(block, bytes, MADV_HUGEPAGE); /* a hint; without it nothing breaks */
    return block;
}

/* Page by page: the system may have given small ones. */
static void touch(uint8_t *block) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < HUGE_BYTES; at += page) {
        *(volatile uint8_t *)(block + at) = 0;
    }
}

void *huge_take(size_t bytes) {
    void *block = NULL;
    assert(bytes % HUGE_BYTES == 0);
    if (bytes == HUGE_BYTES) {
        lock();
        if (ahead.count > 0) {
            block = ahead.blocks[--ahead.count];
        }
        ahead.takes++;
        bool wake = ahead.runs;
        unlock();
        if (wake) {
            pthread_cond_signal(&ahead.wanted);
        }
    }
    return block != NULL ? block : block_create(bytes);
}

void huge_give(void *block, size_t bytes) {
    munmap(block, bytes);
}

/* Lock held. */
static bool is_wanted(void) {
    return ahead.takes > 0 && ahead.count < HUGE_AHEAD;
}

/* Lock held, but not while it waits. False: somebody took one, or it is the end. */
static bool stays_quiet(void) {
    uint64_t takes = ahead.takes;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += QUIET_S;
    int error = 0;
    while (error == 0 && ahead.takes == takes && !ahead.stopping) {
        error = pthread_cond_clockwait(&ahead.wanted, &ahead.lock, CLOCK_MONOTONIC, &until);
    }
    return ahead.takes == takes && !ahead.stopping;
}

/* Lock held, but not while it is made. False: no memory now; the next one taken asks again. */
static bool add(void) {
    unlock();
    void *block = block_create(HUGE_BYTES);
    if (block != NULL) {
        touch(block);
    }
    lock();
    if (block != NULL) {
        ahead.blocks[ahead.count++] = block; /* only this thread adds */
    }
    return block != NULL;
}

/* The least at once; the rest when it does not take the processor from what wants them. */
static void *prepare(void *unused) {
    (void)unused;
    uint64_t quiet_at = 0; /* takes */
    lock();
    while (!ahead.stopping) {
        if (!is_wanted()) {
            pthread_cond_wait(&ahead.wanted, &ahead.lock);
        } else if (ahead.count >= HUGE_LEAST && ahead.takes != quiet_at) {
            quiet_at = stays_quiet() ? ahead.takes : quiet_at;
        } else if (!add()) {
            pthread_cond_wait(&ahead.wanted, &ahead.lock);
        }
    }
    unlock();
    return NULL;
}

/* A child that was forked while the thread held the lock would wait for it for ever. */
static void survive_forks(void) {
    (void)pthread_atfork(lock, unlock, unlock);
}

int huge_ahead_start(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, survive_forks);
    ahead.takes = 0;
    ahead.stopping = false;
    if (pthread_create(&ahead.thread, NULL, prepare, NULL) != 0) {
        return E_NOMEM;
    }
    pthread_setname_np(ahead.thread, "sluice-memory");
    lock();
    ahead.runs = true;
    unlock();
    return 0;
}

void huge_ahead_stop(void) {
    lock();
    bool ran = ahead.runs;
    ahead.runs = false;
    ahead.stopping = true;
    pthread_cond_signal(&ahead.wanted);
    unlock();
    if (ran) {
        pthread_join(ahead.thread, NULL);
    }
    while (ahead.count > 0) {
        huge_give(ahead.blocks[--ahead.count], HUGE_BYTES);
    }
}

unsigned huge_ahead_count(void) {
    lock();
    unsigned count = ahead.count;
    unlock();
    return count;
}
