#include "api/clerk.h"

#include <pthread.h>
#include <stdlib.h>

#include "api/search.h"
#include "base/error.h"

struct clerk {
    struct engine *engine; /* borrows */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct engine_request *first, *last; /* link: searches that wait */
    uint32_t waiting;
    bool stopping;
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

static void *run(void *argument) {
    struct clerk *k = argument;
    pthread_mutex_lock(&k->lock);
    while (!k->stopping) {
        struct engine_request *q = take(k);
        if (q == NULL) {
            pthread_cond_wait(&k->wake, &k->lock);
            continue;
        }
        pthread_mutex_unlock(&k->lock);
        search_run(k->engine, &q->r);
        answer(q);
        pthread_mutex_lock(&k->lock);
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
    pthread_cond_init(&k->wake, NULL);
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
