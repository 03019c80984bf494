/*
 * Starts that were decided ahead wait here until their turn, and the loop with them.
 *
 * At 500 a second the machine is woken for each attempt and sleeps in between, and being woken (timer, switch, cold
 * caches) costs more than the attempt: some 25 us for each of two or three wake-ups. So a turn may be up to
 * TURNS_GATHER_NS late, and those that come due meanwhile leave with it.
 *
 * Those that are late leave in the order of their turns, but not all at once: see target_leaves_ns.
 *
 * The answers of such attempts let nothing begin (model_end_is_awaited): they may lie in their sockets until
 * the next turn. So where all that is under way is of that kind, the loop *naps*: it does not watch its sockets, but
 * sleeps on a semaphore until the turn, to the microsecond, where libuv's timers know whole
 * milliseconds. (A condition variable takes its lock back as if others waited for it, and so wakes nobody at each unlock.) Then it looks at the sockets without waiting, reads the answers that are there, and sends. A start
 * that is wanted sooner, or anybody who calls dispatch_wake, ends the nap.
 */
#include <errno.h>
#include <time.h>

#include "base/clock.h"
#include "dispatch/internal.h"

#define TURNS_GATHER_NS (4 * NS_PER_MS)
#define TIMER_GATHER_NS NS_PER_MS        /* libuv adds up to two */
#define NAP_MAX_NS      (20 * NS_PER_MS) /* time-outs and checks wait as long */

static void turn_moved(void *owner, const struct heap_entry *e, uint32_t index) {
    (void)owner; /* only the first one is ever taken out */
    (void)e;
    (void)index;
}

void early_init(struct early *early, uv_loop_t *loop) {
    heap_init(&early->turns, early, turn_moved);
    slab_init(&early->cells, sizeof(struct attempt_start), UINT32_MAX - 1);
    uv_timer_init(loop, &early->turn); /* these two cannot fail */
    uv_idle_init(loop, &early->look);
    sem_init(&early->wake, 0, 0);
}

void early_close(struct early *early) {
    uv_close((uv_handle_t *)&early->turn, NULL);
    uv_close((uv_handle_t *)&early->look, NULL);
}

void early_release(struct early *early) {
    heap_release(&early->turns);
    slab_release(&early->cells);
    sem_destroy(&early->wake);
}

bool early_put(struct early *early, const struct attempt_start *start) {
    uint32_t cell;
    if (slab_take(&early->cells, &cell) != 0) {
        return false;
    }
    if (heap_insert(&early->turns, (struct heap_entry){start_turn_ns(start), cell, 0}) != 0) {
        slab_give(&early->cells, cell);
        return false;
    }
    attempt_start_copy(slab_at(&early->cells, cell), start);
    return true;
}

const struct attempt_start *early_first(const struct early *early) {
    const struct heap_entry *first = heap_first(&early->turns);
    return first != NULL ? slab_at(&early->cells, first->ref) : NULL;
}

void early_drop_first(struct early *early) {
    slab_give(&early->cells, heap_first(&early->turns)->ref);
    heap_remove(&early->turns, 1);
}

/* ---- waiting ---- */

static void on_turn(uv_timer_t *turn) {
    (void)turn; /* the loop looks round before it waits again */
}

static void on_look(uv_idle_t *look) {
    (void)look; /* only that it runs matters */
}

static void nap(struct early *early, pthread_mutex_t *lock, uint64_t until_ns) {
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_SECOND),
                             .tv_nsec = (long)(until_ns % NS_PER_SECOND)};
    pthread_mutex_lock(lock);
    bool may = !early->roused;
    early->nap_until_ns = may ? until_ns : 0;
    pthread_mutex_unlock(lock);
    if (!may) {
        return;
    }
    while (sem_clockwait(&early->wake, CLOCK_MONOTONIC, &until) != 0 && errno == EINTR) {
    }
    pthread_mutex_lock(lock);
    early->nap_until_ns = 0;
    while (sem_trywait(&early->wake) == 0) { /* who roused it as it woke, or once more */
    }
    pthread_mutex_unlock(lock);
}

void early_wait(struct early *early, pthread_mutex_t *lock, bool may_nap) {
    const struct heap_entry *first = heap_first(&early->turns);
    if (first == NULL) {
        uv_idle_stop(&early->look);
        return;
    }
    uint64_t now_ns = clock_monotonic_ns();
    uint64_t wait_ns = first->due_ns > now_ns ? first->due_ns - now_ns : 0;
    if (may_nap && wait_ns + TURNS_GATHER_NS <= NAP_MAX_NS) {
        uv_timer_stop(&early->turn);
        uv_idle_start(&early->look, on_look);
        nap(early, lock, first->due_ns + TURNS_GATHER_NS);
        return;
    }
    uv_idle_stop(&early->look);
    uv_timer_start(&early->turn, on_turn, (wait_ns + TIMER_GATHER_NS) / NS_PER_MS + 1, 0);
}

bool early_rouse(struct early *early) {
    early->roused = true;
    if (early->nap_until_ns == 0) {
        return false;
    }
    sem_post(&early->wake);
    return true;
}

bool early_may_wait(const struct early *early, const struct attempt_start *start) {
    return start_turn_ns(start) + TURNS_GATHER_NS >= early->nap_until_ns &&
           early->nap_until_ns != 0;
}
