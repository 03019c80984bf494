/*
 * Reports: how the end of an attempt reaches the engine.
 *
 *      free --take--> with a call --end--> ended --submit--> engine --deliver--> returned --look--> free
 *                                            ^                                      |
 *                                            +------- refused as busy --------------+
 *
 * deliver may run on any thread, also inside engine_submit on our own; it only moves the chain to
 * `returned`. The loop looks at what returned before it submits the next chain.
 */
#include "dispatch/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define CHAIN_MAX 1024u

static void deliver(struct engine_port *port, struct engine_request *first,
                    struct engine_request *last) {
    struct reports *p = CONTAINER_OF(port, struct reports, port);
    bool again = false;
    for (struct engine_request *r = first; r != NULL && !again; r = r->next) {
        again = r->r.refusal != REFUSAL_NONE;
    }
    pthread_mutex_lock(&p->lock);
    last->next = p->returned;
    p->returned = first;
    pthread_mutex_unlock(&p->lock);
    if (again) {
        dispatch_wake(p->owner); /* the others can lie there until the loop comes by */
    }
}

int reports_init(struct reports *p, struct dispatch *owner) {
    *p = (struct reports){.port = {.deliver = deliver, .never_in_place = true, .may_wait = true},
                          .owner = owner};
    return pthread_mutex_init(&p->lock, NULL) == 0 ? 0 : E_NOMEM;
}

static void free_chain(struct engine_request *first) {
    while (first != NULL) {
        struct engine_request *next = first->next;
        request_release(&first->r);
        free(CONTAINER_OF(first, struct report, request));
        first = next;
    }
}

void reports_release(struct reports *p) {
    free_chain(p->free);
    free_chain(p->returned);
    free_chain(p->first);
    pthread_mutex_destroy(&p->lock);
}

static struct engine_request *pop_free(struct reports *p) {
    struct engine_request *r = p->free;
    if (r != NULL) {
        p->free = r->next;
    }
    return r;
}

struct report *report_take(struct reports *p) {
    struct engine_request *known = pop_free(p);
    struct report *r;
    if (known != NULL) {
        r = CONTAINER_OF(known, struct report, request);
    } else if ((r = calloc(1, sizeof *r)) != NULL) {
        request_init(&r->request.r, REQUEST_ATTEMPT_FINISH);
        r->owner = p->owner;
    } else {
        return NULL;
    }
    atomic_fetch_add(&p->out, 1);
    return r;
}

void report_give_back(struct reports *p, struct report *r) {
    r->request.next = p->free;
    p->free = &r->request;
    atomic_fetch_sub(&p->out, 1);
}

static void line_up(struct reports *p, struct engine_request *r) {
    r->port = &p->port;
    r->next = NULL;
    if (p->last != NULL) {
        p->last->next = r;
    } else {
        p->first = r;
    }
    p->last = r;
    p->ended++;
}

/* What is too long to be kept is not told. */
static struct span keep(uint8_t *room, struct span text) {
    size_t size = text.size <= KEY_MAX_BYTES ? text.size : 0;
    if (size > 0) {
        memcpy(room, text.data, size);
    }
    return span_of(room, size);
}

void report_fill(struct report *r, const struct attempt_start *start,
                 const struct attempt_finish *finish) {
    struct request *q = &r->request.r;
    q->in.finish = *finish;
    q->in.finish.message = start->message;
    q->in.finish.attempt = start->attempt;
    q->in.finish.excerpt = span_of(r->excerpt, excerpt_clean(finish->excerpt, r->excerpt));
    q->in.finish.ordering_key = keep(r->ordering_key, finish->ordering_key);
    q->in.finish.correlation_id = keep(r->correlation_id, finish->correlation_id);
    q->in.finish.retry = keep(r->retry, finish->retry);
}

void report_line_up(struct reports *p, struct report *r) {
    line_up(p, &r->request);
}

void report_end(struct reports *p, struct report *r, const struct attempt_start *start,
                const struct attempt_finish *finish) {
    report_fill(r, start, finish);
    report_line_up(p, r);
}

/* What the engine would not decide now comes again; all else is done with. */
static void look_at_returned(struct reports *p) {
    pthread_mutex_lock(&p->lock);
    struct engine_request *r = p->returned;
    p->returned = NULL;
    pthread_mutex_unlock(&p->lock);
    while (r != NULL) {
        struct engine_request *next = r->next;
        if (r->r.refusal == REFUSAL_NONE) {
            report_give_back(p, CONTAINER_OF(r, struct report, request));
        } else {
            r->r.refusal = REFUSAL_NONE;
            line_up(p, r);
            p->wait = true;
        }
        r = next;
    }
}

static struct engine_request *cut_chain(struct reports *p, struct engine_request **ret_last,
                                        uint32_t *ret_count) {
    struct engine_request *first = p->first;
    struct engine_request *last = first;
    uint32_t count = 1;
    while (last->next != NULL && count < CHAIN_MAX) {
        last = last->next;
        count++;
    }
    p->first = last->next;
    p->last = p->first != NULL ? p->last : NULL;
    p->ended -= count;
    last->next = NULL;
    *ret_last = last;
    *ret_count = count;
    return first;
}

static void put_back(struct reports *p, struct engine_request *first, struct engine_request *last,
                     uint32_t count) {
    last->next = p->first;
    p->first = first;
    p->last = p->last != NULL ? p->last : last;
    p->ended += count;
}

void reports_submit(struct reports *p, struct engine *engine) {
    p->wait = false;
    look_at_returned(p);
    while (p->first != NULL && !p->wait) {
        struct engine_request *last;
        uint32_t count;
        struct engine_request *first = cut_chain(p, &last, &count);
        int rc = engine_submit(engine, first, last, count);
        if (rc != 0) {
            /* Busy: soon again. Closed or dead: the next start calls these outcomes unknown. */
            put_back(p, first, last, count);
            p->wait = true;
        }
    }
}

bool reports_pending(const struct reports *p) {
    return atomic_load(&p->out) > 0;
}
