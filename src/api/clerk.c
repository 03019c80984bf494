#include "api/clerk.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "api/job_runner.h"
#include "api/search.h"
#include "base/clock.h"
#include "base/error.h"

#define WAIT_MAX_NS (3600 * NS_PER_SECOND)

struct clerk {
    struct engine *engine; /* borrows */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_request *first, *last; /* link: searches that wait */
    uint32_t waiting;
    bool stopping, woken;
};

static struct engine_request *take(struct clerk *k) {
    struct engine_request *q = k->first;
    if (q != NULL) {
        k->first = q->next;
        k->last = k->first != NULL ? k->last : NULL;
        k->waiting--;
    }
    return q;
}

static void answer(struct engine_request *q) {
    q->next = NULL;
    q->port->deliver(q->port, q, q);
}

static void refuse_all(struct clerk *k) {
    for (struct engine_request *q = take(k); q != NULL; q = take(k)) {
        q->r.refusal = REFUSAL_STOPPING;
        answer(q);
    }
}

/* Until there is something to do, or `ns` have passed. */
static void wait(struct clerk *k, uint64_t ns) {
    uint64_t until_ns = clock_monotonic_ns() + (ns < WAIT_MAX_NS ? ns : WAIT_MAX_NS);
    struct timespec until = {.tv_sec = (time_t)(until_ns / NS_PER_SECOND),
                             .tv_nsec = (long)(until_ns % NS_PER_SECOND)};
    int error = ns == 0 ? ETIMEDOUT : 0;
    while (error == 0 && !k->stopping && !k->woken && k->first == NULL) {
        error = ns == UINT64_MAX ? pthread_cond_wait(&k->wake, &k->lock)
                                 : pthread_cond_timedwait(&k->wake, &k->lock, &until);
    }
}

void clerk_wake(struct clerk *k) {
    pthread_mutex_lock(&k->lock);
    k->woken = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
}

static void *run(void *argument) {
    struct clerk *k = argument;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        struct engine_request *q = take(k);
        k->woken = false;
        pthread_mutex_unlock(&k->lock);
        if (q != NULL) {
            search_run(k->engine, &q->r);
            answer(q);
        }
        uint64_t wait_ns = job_runner_turn(k->engine);
        pthread_mutex_lock(&k->lock);
        wait(k, wait_ns);
    }
    refuse_all(k);
    pthread_mutex_unlock(&k->lock);
    return NULL;
}

int clerk_create(struct engine *engine, struct clerk **ret) {
    struct clerk *k = calloc(1, sizeof *k);
    if (k == NULL) {
        return E_NOMEM;
    }
    k->engine = engine;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&k->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (pthread_create(&k->thread, NULL, run, k) != 0) {
        pthread_cond_destroy(&k->wake);
        pthread_mutex_destroy(&k->lock);
        free(k);
        return E_NOMEM;
    }
    pthread_setname_np(k->thread, "sluice-clerk");
    *ret = k;
    return 0;
}

void clerk_stop(struct clerk *k) {
    pthread_mutex_lock(&k->lock);
    k->stopping = true;
    pthread_cond_signal(&k->wake);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
}

void clerk_free(struct clerk *k) {
    if (k == NULL) {
        return;
    }
    pthread_cond_destroy(&k->wake);
    pthread_mutex_destroy(&k->lock);
    free(k);
}

int clerk_search(struct clerk *k, struct engine_request *q) {
    int error = 0;
    pthread_mutex_lock(&k->lock);
    if (k->stopping || k->waiting == CLERK_WAITING_MAX) {
        error = k->stopping ? E_CLOSED : E_BUSY;
    } else {
        q->next = NULL;
        *(k->last != NULL ? &k->last->next : &k->first) = q;
        k->last = q;
        k->waiting++;
        pthread_cond_signal(&k->wake);
    }
    pthread_mutex_unlock(&k->lock);
    return error;
}
