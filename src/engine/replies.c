/*
 * Answers and attempt starts wait here until the disk has what they rest on.
 *
 * Every entry has the position of the last record that its decision could have seen. Entries are added
 * by the writer, so positions never decrease and what becomes durable is always a prefix.
 *
 * The one race: the log thread may publish position p between a decision and its entry here. So
 * who adds asks for the durable position afterwards and releases the prefix too; both ways pop
 * under the same lock, so each entry leaves once.
 */
#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "engine/internal.h"

#define STARTS_CAPACITY_FIRST 256u
#define STARTS_PER_CALL       32u
#define PROGRESS_WAIT_MS      10u

int held_init(struct held *h) {
    *h = (struct held){0};
    h->starts = malloc(STARTS_CAPACITY_FIRST * sizeof(*h->starts));
    if (h->starts == NULL)
        return E_NOMEM;
    h->starts_capacity = STARTS_CAPACITY_FIRST;
    pthread_mutex_init(&h->lock, NULL);
    pthread_mutex_init(&h->deliver_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&h->progress, &monotonic);
    pthread_condattr_destroy(&monotonic);
    return 0;
}

void held_release(struct held *h) {
    if (h->starts == NULL)
        return;
    for (; h->starts_count > 0; h->starts_count--) {
        free(h->starts[h->starts_first].start.items);
        h->starts_first = (h->starts_first + 1) % h->starts_capacity;
    }
    free(h->starts);
    delivery_batch_free(h->batches);
    pthread_mutex_destroy(&h->lock);
    pthread_mutex_destroy(&h->deliver_lock);
    pthread_cond_destroy(&h->progress);
    h->starts = NULL;
}

void delivery_batch_free(struct delivery_batch *first) {
    while (first != NULL) {
        struct delivery_batch *next = first->next;
        for (uint32_t i = 0; i < first->count; i++)
            free(first->items[i].origin);
        free(first);
        first = next;
    }
}

void replies_deliver(struct engine *e, struct engine_request *first) {
    while (first != NULL) {
        struct engine_request *last = first;
        uint64_t count = 1, patient = engine_is_patient(first);
        for (; last->next != NULL && last->next->port == first->port; count++) {
            last = last->next;
            patient += engine_is_patient(last);
        }
        struct engine_request *rest = last->next;
        last->next = NULL;
        if (patient > 0)
            atomic_fetch_sub(&e->patient, patient);
        atomic_fetch_sub(&e->waiting, count);
        first->port->deliver(first->port, first, last);
        first = rest;
    }
}

/* Cuts the durable prefix off the chain. Lock held. */
static struct engine_request *take_durable(struct held *h, uint64_t durable_position) {
    struct engine_request *first = h->first;
    if (first == NULL || first->wait_position > durable_position)
        return NULL;
    struct engine_request *end = first;
    while (end->next != NULL && end->next->wait_position <= durable_position)
        end = end->next;
    h->first = end->next;
    if (h->first == NULL)
        h->last = NULL;
    end->next = NULL;
    return first;
}

static size_t take_durable_starts(struct held *h, uint64_t durable_position,
                                  struct attempt_start *ret_starts, size_t max) {
    size_t n = 0;
    while (n < max && h->starts_count > 0 &&
           h->starts[h->starts_first].wait_position <= durable_position) {
        attempt_start_copy(&ret_starts[n++], &h->starts[h->starts_first].start);
        h->starts_count--;
        h->starts_first = h->starts_count == 0 ? 0 : (h->starts_first + 1) % h->starts_capacity;
    }
    return n;
}

static void release_starts(struct engine *e, uint64_t durable_position) {
    struct held *h = &e->held;
    struct attempt_start starts[STARTS_PER_CALL];
    size_t n;
    pthread_mutex_lock(&h->lock);
    h->releasing++;
    do {
        n = h->dead ? 0 : take_durable_starts(h, durable_position, starts, STARTS_PER_CALL);
        pthread_mutex_unlock(&h->lock);
        if (n > 0)
            e->options.start_attempts(e->options.context, starts, n);
        pthread_mutex_lock(&h->lock);
    } while (n == STARTS_PER_CALL);
    h->releasing--;
    pthread_mutex_unlock(&h->lock);
}

bool replies_starts_wait(struct engine *e) {
    struct held *h = &e->held;
    pthread_mutex_lock(&h->lock);
    bool wait = (h->starts_count > 0 || h->releasing > 0) && !h->dead;
    pthread_mutex_unlock(&h->lock);
    return wait;
}

/* Cuts the durable prefix off. Lock held. */
static struct delivery_batch *take_durable_batches(struct held *h, uint64_t durable_position) {
    struct delivery_batch *first = h->batches;
    if (first == NULL || first->wait_position > durable_position)
        return NULL;
    struct delivery_batch *last = first;
    for (h->batches = first->next; h->batches != NULL; h->batches = last->next) {
        if (h->batches->wait_position > durable_position)
            break;
        last = h->batches;
    }
    if (h->batches == NULL)
        h->last_batch = NULL;
    last->next = NULL;
    return first;
}

static void release_batches(struct engine *e, uint64_t durable_position) {
    struct held *h = &e->held;
    pthread_mutex_lock(&h->deliver_lock);
    pthread_mutex_lock(&h->lock);
    struct delivery_batch *first = h->dead ? NULL : take_durable_batches(h, durable_position);
    pthread_mutex_unlock(&h->lock);
    if (first != NULL)
        e->options.deliver(e->options.context, first);
    pthread_mutex_unlock(&h->deliver_lock);
}

void replies_hold_batch(struct engine *e, struct delivery_batch *b) {
    struct held *h = &e->held;
    b->next = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->last_batch != NULL)
        h->last_batch->next = b;
    else
        h->batches = b;
    h->last_batch = b;
    pthread_mutex_unlock(&h->lock);
    replies_release(e, log_durable_position(e->log));
}

void replies_release(struct engine *e, uint64_t durable_position) {
    struct held *h = &e->held;
    pthread_mutex_lock(&h->lock);
    struct engine_request *first = h->dead ? NULL : take_durable(h, durable_position);
    bool starts = h->starts_count > 0 && !h->dead;
    bool batches = h->batches != NULL && !h->dead;
    pthread_cond_broadcast(&h->progress);
    pthread_mutex_unlock(&h->lock);
    replies_deliver(e, first);
    if (batches)
        release_batches(e, durable_position);
    if (starts)
        release_starts(e, durable_position);
}

void replies_hold(struct engine *e, struct engine_request *first, struct engine_request *last) {
    struct held *h = &e->held;
    pthread_mutex_lock(&h->lock);
    assert(h->last == NULL || h->last->wait_position <= first->wait_position);
    last->next = NULL;
    if (h->last != NULL)
        h->last->next = first;
    else
        h->first = first;
    h->last = last;
    pthread_mutex_unlock(&h->lock);
    replies_release(e, log_durable_position(e->log));
}

bool replies_withdraw(struct engine *e, struct engine_request *q) {
    struct held *h = &e->held;
    pthread_mutex_lock(&h->lock);
    assert(h->dead);
    struct engine_request *before = NULL, *at = h->first;
    for (; at != NULL && at != q; at = at->next)
        before = at;
    if (at != NULL && before == NULL)
        h->first = q->next;
    else if (at != NULL)
        before->next = q->next;
    if (at != NULL && h->last == q)
        h->last = before;
    pthread_mutex_unlock(&h->lock);
    return at != NULL;
}

/* The ring doubles; its order starts at index 0 again. Lock held. */
static int grow_starts(struct held *h) {
    uint32_t capacity = h->starts_capacity * 2;
    struct held_start *starts = malloc((size_t)capacity * sizeof(*starts));
    if (starts == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < h->starts_count; i++)
        starts[i] = h->starts[(h->starts_first + i) % h->starts_capacity];
    free(h->starts);
    h->starts = starts;
    h->starts_capacity = capacity;
    h->starts_first = 0;
    return 0;
}

int replies_hold_start(struct engine *e, const struct attempt_start *start,
                       uint64_t wait_position) {
    struct held *h = &e->held;
    int error = 0;
    pthread_mutex_lock(&h->lock);
    if (h->starts_count == h->starts_capacity)
        error = grow_starts(h);
    if (error == 0) {
        uint32_t at = (h->starts_first + h->starts_count++) % h->starts_capacity;
        h->starts[at].wait_position = wait_position;
        attempt_start_copy(&h->starts[at].start, start);
    }
    pthread_mutex_unlock(&h->lock);
    return error;
}

/* Room for one more grows by doubling, from the powers of two. */
static int add_item(struct attempt_start *lead, const struct attempt_start *start) {
    uint32_t n = lead->item_count;
    if ((n & (n - 1)) == 0) {
        struct attempt_item *items =
            realloc(lead->items, (n == 0 ? 1 : 2 * (size_t)n) * sizeof *items);
        if (items == NULL) {
            return E_NOMEM;
        }
        lead->items = items;
    }
    lead->items[lead->item_count++] = (struct attempt_item){
        .message = start->message, .address = start->address, .attempt = start->attempt};
    return 0;
}

/* The one that it joins was held by the same record, so it is still there. */
int replies_join_start(struct engine *e, const struct attempt_start *start) {
    struct held *h = &e->held;
    int error = E_NOT_FOUND;
    pthread_mutex_lock(&h->lock);
    for (uint32_t n = h->starts_count; n > 0 && error == E_NOT_FOUND; n--) {
        struct attempt_start *lead =
            &h->starts[(h->starts_first + n - 1) % h->starts_capacity].start;
        if (lead->message == start->lead) {
            error = add_item(lead, start);
        }
    }
    pthread_mutex_unlock(&h->lock);
    return error;
}

void replies_on_durable(void *engine, uint64_t position) {
    replies_release(engine, position);
}

void replies_on_failed(void *engine, const char *message) {
    struct engine *e = engine;
    atomic_store(&e->accepting, false);
    pthread_mutex_lock(&e->held.lock);
    bool first = !e->held.dead;
    e->held.dead = true;
    pthread_cond_broadcast(&e->held.progress);
    pthread_mutex_unlock(&e->held.lock);
    if (first && e->options.failed != NULL)
        e->options.failed(e->options.context, message);
}

void replies_wait_progress(struct engine *e, uint64_t position) {
    struct held *h = &e->held;
    struct timespec until = engine_timespec(clock_monotonic_ns() + PROGRESS_WAIT_MS * NS_PER_MS);
    pthread_mutex_lock(&h->lock);
    if (!h->dead && log_durable_position(e->log) <= position)
        pthread_cond_timedwait(&h->progress, &h->lock, &until);
    pthread_mutex_unlock(&h->lock);
}
