/*
 * The mailbox and the turn.
 *
 * Mailbox: a stack that posters push on with one compare-and-swap; the loop takes all of it with one
 * exchange and turns it round.
 *
 * Sleep: the loop sets `asleep` before it waits and then looks at the mailbox once more; a poster
 * pushes and then looks at `asleep`. Both are sequentially consistent, so at least one of them sees
 * the other: no post is slept through, and only the first post after falling asleep pays for the
 * wake-up (an eventfd write, far dearer than the push).
 *
 * Turn: see loop.h. The steps run in a prepare handle, that is, after all ready sockets were handled
 * and before epoll_wait. They repeat while that makes new work, at most TURN_ROUNDS times; what is
 * left then is done in the next turn, after a look at the sockets: `restless` keeps that look from waiting.
 */
#include "net/loop.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "net/wheel.h"

#define TURN_ROUNDS 8

/* Recycled output memory: room for the answers of many connections, given back when it grew large. */
#define POOL_BUFFERS     256u
#define POOL_FIRST_BYTES 4096u
#define POOL_KEEP_BYTES  (64u * 1024)

struct net_loop {
    uv_loop_t uv;
    uv_async_t wake;
    uv_prepare_t before;
    uv_check_t after;
    uv_timer_t ticker;
    uv_idle_t restless;   /* active: there is more to do than can be waited for */
    uint64_t ticks_at_ms; /* WHEEL_NEVER: the ticker is not set */
    bool started;
    bool again;
    struct net_loop_options options;
    char name[16];
    pthread_t thread;

    _Alignas(64) _Atomic(struct net_item *) mailbox; /* newest first */
    atomic_bool asleep;
    atomic_bool stopping;

    _Alignas(64) struct net_item *deferred; /* oldest first */
    struct net_item **deferred_end;
    struct list later; /* of this turn, behind those of the one before */
    uint64_t turn;
    struct wheel wheel;
    struct buffer pool[POOL_BUFFERS]; /* owns */
    size_t pooled;
    uint8_t read_room[NET_READ_BYTES];
    uint8_t plain_room[NET_READ_BYTES];
};

/* ---- mailbox ---- */

static struct net_item *reverse(struct net_item *item) {
    struct net_item *turned = NULL;
    while (item != NULL) {
        struct net_item *next = item->next;
        item->next = turned;
        turned = item;
        item = next;
    }
    return turned;
}

void net_loop_post(struct net_loop *loop, struct net_item *item) {
    struct net_item *head = atomic_load_explicit(&loop->mailbox, memory_order_relaxed);
    do {
        item->next = head;
    } while (!atomic_compare_exchange_weak(&loop->mailbox, &head, item));
    if (atomic_load(&loop->asleep) && atomic_exchange(&loop->asleep, false))
        uv_async_send(&loop->wake);
}

static bool mailbox_empty(struct net_loop *loop) {
    return atomic_load(&loop->mailbox) == NULL;
}

static void run_posted(struct net_loop *loop) {
    if (mailbox_empty(loop))
        return;
    struct net_item *item = reverse(atomic_exchange(&loop->mailbox, NULL));
    while (item != NULL) {
        struct net_item *next = item->next; /* run may free or post the item */
        item->run(item);
        item = next;
    }
}

/* ---- the turn ---- */

static void run_deferred(struct net_loop *loop) {
    struct net_item *item = loop->deferred;
    loop->deferred = NULL;
    loop->deferred_end = &loop->deferred;
    while (item != NULL) {
        struct net_item *next = item->next;
        item->run(item);
        item = next;
    }
}

void net_loop_defer(struct net_loop *loop, struct net_item *item) {
    item->next = NULL;
    *loop->deferred_end = item;
    loop->deferred_end = &item->next;
}

uint64_t net_loop_turn(const struct net_loop *loop) {
    return loop->turn;
}

void net_loop_later(struct net_loop *loop, struct net_later *later) {
    later->turn = loop->turn;
    list_append(&loop->later, &later->node);
}

static void run_later(struct net_loop *loop) {
    for (;;) {
        struct list_node *first = list_first(&loop->later);
        if (first == NULL)
            return;
        struct net_later *later = CONTAINER_OF(first, struct net_later, node);
        if (later->turn == loop->turn)
            return;
        list_remove(first);
        later->run(later);
    }
}

void net_loop_again(struct net_loop *loop) {
    loop->again = true;
}

static void on_tick(uv_timer_t *ticker) {
    struct net_loop *loop = ticker->data;
    loop->ticks_at_ms = WHEEL_NEVER;
    wheel_advance(&loop->wheel, uv_now(&loop->uv));
}

void net_loop_breathe(struct net_loop *loop) {
    if (mailbox_empty(loop))
        return;
    run_posted(loop);
    run_deferred(loop);
}

/* The ticker rings when the wheel has a slot to look into and not before, so that an idle loop sleeps. */
static void adjust_ticker(struct net_loop *loop) {
    uint64_t due_ms = wheel_next_ms(&loop->wheel), now_ms = uv_now(&loop->uv);
    if (due_ms == loop->ticks_at_ms)
        return;
    loop->ticks_at_ms = due_ms;
    if (due_ms != WHEEL_NEVER) {
        uint64_t wait_ms = due_ms > now_ms ? due_ms - now_ms : 0;
        int rc = uv_timer_start(&loop->ticker, on_tick, wait_ms, 0);
        assert(rc == 0);
        uv_unref((uv_handle_t *)&loop->ticker);
    } else {
        uv_timer_stop(&loop->ticker);
    }
}

static bool work_left(struct net_loop *loop) {
    return loop->again || loop->deferred != NULL || !mailbox_empty(loop);
}

static void on_idle(uv_idle_t *restless) {
    (void)restless; /* that it is active is enough */
}

static void fall_asleep(struct net_loop *loop) {
    atomic_store(&loop->asleep, true);
    if (!list_empty(&loop->later) || work_left(loop)) {
        atomic_store(&loop->asleep, false);
        uv_idle_start(&loop->restless, on_idle);
    }
    if (atomic_load(&loop->stopping)) { /* from now on only others' handles keep the loop alive */
        uv_unref((uv_handle_t *)&loop->wake);
        uv_unref((uv_handle_t *)&loop->before);
        uv_unref((uv_handle_t *)&loop->after);
    }
}

static void on_before_wait(uv_prepare_t *before) {
    struct net_loop *loop = before->data;
    uv_idle_stop(&loop->restless);
    run_later(loop);
    for (int round = 0; round < TURN_ROUNDS; round++) {
        run_posted(loop);
        loop->again = false; /* what was made up to here, before_wait sees */
        if (loop->options.before_wait != NULL) {
            loop->options.before_wait(loop->options.context, loop);
            run_posted(loop);
        }
        run_deferred(loop);
        if (!work_left(loop))
            break;
    }
    loop->turn++;
    adjust_ticker(loop);
    fall_asleep(loop);
}

static void on_after_wait(uv_check_t *after) {
    struct net_loop *loop = after->data;
    atomic_store_explicit(&loop->asleep, false, memory_order_relaxed);
}

static void on_wake(uv_async_t *wake) {
    (void)wake; /* the turn that it starts looks into the mailbox */
}

/* ---- life ---- */

/* None of these can fail but for a lack of descriptors, which uv_loop_init and the async show. */
static int init_handles(struct net_loop *loop) {
    if (uv_loop_init(&loop->uv) != 0)
        return E_IO;
    if (uv_async_init(&loop->uv, &loop->wake, on_wake) != 0) {
        int rc = uv_loop_close(&loop->uv);
        assert(rc == 0);
        return E_IO;
    }
    uv_prepare_init(&loop->uv, &loop->before);
    uv_check_init(&loop->uv, &loop->after);
    uv_timer_init(&loop->uv, &loop->ticker);
    uv_idle_init(&loop->uv, &loop->restless);
    loop->before.data = loop->after.data = loop->ticker.data = loop;
    uv_prepare_start(&loop->before, on_before_wait);
    uv_check_start(&loop->after, on_after_wait);
    return 0;
}

int net_loop_create(const struct net_loop_options *options, struct net_loop **ret_loop) {
    struct net_loop *loop = aligned_alloc(64, (sizeof *loop + 63) / 64 * 64);
    if (loop == NULL)
        return E_NOMEM;
    memset(loop, 0, offsetof(struct net_loop, read_room));
    int rc = init_handles(loop);
    if (rc != 0) {
        free(loop);
        return rc;
    }
    list_init(&loop->later);
    loop->options = *options;
    if (options->name != NULL)
        strncpy(loop->name, options->name, sizeof loop->name - 1);
    loop->deferred_end = &loop->deferred;
    wheel_init(&loop->wheel, uv_now(&loop->uv));
    loop->ticks_at_ms = WHEEL_NEVER;
    *ret_loop = loop;
    return 0;
}

static void *loop_main(void *arg) {
    struct net_loop *loop = arg;
    if (loop->name[0] != '\0')
        pthread_setname_np(pthread_self(), loop->name);
    uv_run(&loop->uv, UV_RUN_DEFAULT);
    return NULL;
}

/* Signals blocked: they belong to the main thread, and a write to a closed socket then says EPIPE. */
int net_loop_run(struct net_loop *loop) {
    assert(!loop->started);
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&loop->thread, NULL, loop_main, loop);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return E_IO;
    loop->started = true;
    return 0;
}

void net_loop_stop(struct net_loop *loop) {
    atomic_store(&loop->stopping, true);
    uv_async_send(&loop->wake);
}

static void close_own_handles(struct net_loop *loop) {
    uv_close((uv_handle_t *)&loop->wake, NULL);
    uv_close((uv_handle_t *)&loop->before, NULL);
    uv_close((uv_handle_t *)&loop->after, NULL);
    uv_close((uv_handle_t *)&loop->ticker, NULL);
    uv_close((uv_handle_t *)&loop->restless, NULL);
}

void net_loop_free(struct net_loop *loop) {
    if (loop == NULL)
        return;
    if (loop->started)
        pthread_join(loop->thread, NULL);
    close_own_handles(loop);
    for (int i = 0; i < 3; i++) { /* close callbacks, the users' too, and what they deferred */
        uv_run(&loop->uv, UV_RUN_NOWAIT);
        run_deferred(loop);
    }
    int rc = uv_loop_close(&loop->uv);
    assert(rc == 0 && "everything on the loop must be closed before it is freed");
    for (size_t i = 0; i < loop->pooled; i++)
        buffer_release(&loop->pool[i]);
    free(loop);
}

/* ---- what lives on the loop ---- */

uv_loop_t *net_loop_uv(struct net_loop *loop) {
    return &loop->uv;
}

uint64_t net_loop_now_ms(const struct net_loop *loop) {
    return uv_now(&loop->uv);
}

struct wheel *net_loop_wheel(struct net_loop *loop) {
    return &loop->wheel;
}

uint8_t *net_loop_read_room(struct net_loop *loop) {
    return loop->read_room;
}

uint8_t *net_loop_plain_room(struct net_loop *loop) {
    return loop->plain_room;
}

int net_loop_take_buffer(struct net_loop *loop, struct buffer *b) {
    if (loop->pooled > 0) {
        *b = loop->pool[--loop->pooled];
        return 0;
    }
    buffer_init(b, SIZE_MAX / 2);
    return buffer_reserve(b, POOL_FIRST_BYTES);
}

void net_loop_give_buffer(struct net_loop *loop, struct buffer *b) {
    if (b->capacity == 0 || b->capacity > POOL_KEEP_BYTES || loop->pooled == POOL_BUFFERS) {
        buffer_release(b);
        return;
    }
    buffer_clear(b);
    loop->pool[loop->pooled++] = *b;
    buffer_init(b, b->max);
}
