/*
 * A call: one HTTP request of one attempt, from its body in the log to its report. How it goes is call_send.c's.
 *
 * Calls are kept per destination with a curl handle in which all that does not change is set once.
 */
#include "dispatch/internal.h"

#include <assert.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/batch.h"
#include "model/destination.h"

#define LINE_MAX_BYTES (64u << 10)

static void call_free(struct call *c);

static struct call *call_create(struct dispatch *d, struct target *t) {
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        return NULL;
    }
    c->kind = HANDLE_CALL;
    c->owner = d;
    c->target = t;
    c->lookup.all = &d->lookups;
    buffer_init(&c->record, RECORD_MAX_BYTES);
    buffer_init(&c->line, LINE_MAX_BYTES);
    buffer_init(&c->made, 2 * RECORD_MAX_BYTES);
    header_list_init(&c->headers);
    c->response_max_bytes =
        t->def.max_response_bytes != 0 ? t->def.max_response_bytes : d->options.responses_max_bytes;
    c->easy = curl_easy_init();
    if (c->easy == NULL || call_send_init(c) != CURLE_OK) {
        call_free(c);
        return NULL;
    }
    return c;
}

static void call_free(struct call *c) {
    batch_free(c->batch);
    call_send_release(c);
    if (c->easy != NULL) {
        curl_easy_cleanup(c->easy);
    }
    buffer_release(&c->record);
    buffer_release(&c->line);
    buffer_release(&c->made);
    header_list_release(&c->headers);
    free(c);
}

static void leave_idle(struct call *c) {
    list_remove(&c->node);
    list_remove(&c->in_idle);
    c->target->idle_count--;
    c->owner->idle_count--;
}

void call_end_idle(struct call *c) {
    leave_idle(c);
    call_free(c);
}

static void become_idle(struct call *c) {
    struct dispatch *d = c->owner;
    list_prepend(&c->target->idle, &c->node);
    list_append(&d->idle, &c->in_idle);
    c->target->idle_count++;
    if (++d->idle_count > IDLE_CALLS_ALL_MAX) {
        call_end_idle(CONTAINER_OF(list_first(&d->idle), struct call, in_idle));
    }
}

static struct call *call_take(struct dispatch *d, struct target *t) {
    struct list_node *n = list_first(&t->idle);
    if (n == NULL) {
        return call_create(d, t);
    }
    struct call *c = CONTAINER_OF(n, struct call, node);
    leave_idle(c);
    return c;
}

static void call_keep(struct call *c) {
    struct target *t = c->target;
    batch_free(c->batch);
    c->batch = NULL;
    if (t->idle_count >= IDLE_CALLS_MAX || t->refs == 1) {
        call_free(c);
    } else {
        if (c->record.capacity > RECORD_KEPT_BYTES) {
            buffer_release(&c->record);
            buffer_init(&c->record, RECORD_MAX_BYTES);
        }
        if (c->made.capacity > RECORD_KEPT_BYTES) {
            buffer_release(&c->made);
            buffer_init(&c->made, 2 * RECORD_MAX_BYTES);
        }
        become_idle(c);
    }
    target_unref(t);
}

/* ---- the way out ---- */

/* Where the body is by now. E_NOT_FOUND: where it was, or nowhere. */
static int ask_address(struct dispatch *d, struct attempt_start *start) {
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = start->message;
    int rc = engine_call(d->engine, &r);
    bool moved = rc == 0 && r.refusal == REFUSAL_NONE && r.out.message.address != 0 &&
                 r.out.message.address != start->address;
    if (moved) {
        start->address = r.out.message.address;
    }
    request_release(&r);
    return moved ? 0 : rc != 0 ? rc : E_NOT_FOUND;
}

/*
 * Compaction may have moved the body after the start was decided; its old place may even hold something else
 * by now. So before a body is called lost, the engine is asked where it is.
 */
int call_read_body(struct dispatch *d, struct attempt_start *start, struct buffer *record,
                   struct stored_message *ret) {
    buffer_clear(record);
    int rc = engine_copy_message_ahead(d->engine, start->message, start->address, &d->bodies,
                                       record, ret);
    if ((rc == E_NOT_FOUND || rc == E_CORRUPT) && ask_address(d, start) == 0) {
        buffer_clear(record);
        rc = engine_copy_message_ahead(d->engine, start->message, start->address, &d->bodies,
                                       record, ret);
    }
    return rc;
}

/* Something is chosen or limited by how long answers take, so they must not lie about. */
static bool times_matter(const struct destination_def *def) {
    return def->adaptive.ceiling != 0 || def->endpoints.count > 1;
}

static void call_begin(struct call *c, struct report *r, const struct attempt_start *start) {
    c->report = r;
    attempt_start_copy(&c->start, start);
    c->began_ns = c->left_ns = clock_monotonic_ns();
    c->received_bytes = 0;
    c->excerpt_bytes = 0;
    c->curl_said[0] = '\0';
    c->sent = 0;
    c->origin = NULL;
    c->plain = NULL;
    c->address_refused = false;
    c->cut = false;
    c->impatient = start->ahead_ns == 0 || times_matter(&c->target->def);
}

static void count_end(struct dispatch *d, const struct attempt_finish *f) {
    atomic_fetch_add(f->success ? &d->succeeded : &d->failed, 1);
    if (f->error == ATTEMPT_TIMEOUT) {
        atomic_fetch_add(&d->timeouts, 1);
    }
}

/* Stays as it is while the call is under way. */
static size_t weight_of(const struct call *c) {
    return c->batch != NULL ? c->made.size : c->record.size;
}

static void leave_under_way(struct call *c) {
    struct dispatch *d = c->owner;
    list_remove(&c->node);
    d->under_way_count--;
    d->impatient_count -= c->impatient;
    d->under_way_bytes -= weight_of(c);
}

/* It never left. */
static struct attempt_finish unsent(enum attempt_error error, struct span excerpt) {
    bool final = error == ATTEMPT_BODY_LOST || error == ATTEMPT_NOT_MADE;
    return (struct attempt_finish){
        .error = (uint8_t)error, .retriable = !final, .excerpt = excerpt};
}

static void end_unsent(struct dispatch *d, struct report *r, const struct attempt_start *start,
                       enum attempt_error error, struct span excerpt) {
    struct attempt_finish f = unsent(error, excerpt);
    count_end(d, &f);
    report_end(&d->reports, r, start, &f);
    batch_end_joined(d, start, &f);
}

static void end_call_unsent(struct call *c, enum attempt_error error) {
    struct span excerpt = span_of(c->excerpt, c->excerpt_bytes);
    if (c->batch == NULL) {
        end_unsent(c->owner, c->report, &c->start, error, excerpt);
        return;
    }
    struct attempt_finish f = unsent(error, excerpt);
    count_end(c->owner, &f);
    batch_end(c, &f);
}

/* False: it has ended, nothing of it can be sent. */
static bool begin_batch(struct call *c) {
    c->batch = batch_create(c->owner, &c->start, c->report);
    if (c->batch == NULL) {
        end_unsent(c->owner, c->report, &c->start, ATTEMPT_UNKNOWN, span_of(NULL, 0));
        return false;
    }
    c->start.items = NULL;
    c->start.item_count = 0;
    if (c->target->def.batch.max_messages <= 1) {
        /* Defined otherwise meanwhile: one by one, then. */
        batch_end(c, &(struct attempt_finish){.error = ATTEMPT_UNKNOWN, .retriable = true});
        return false;
    }
    buffer_clear(&c->record);
    return batch_make(c) > 0;
}

static enum attempt_error no_token(struct call *c, const char *why) {
    c->excerpt_bytes = strlen(why);
    memcpy(c->excerpt, why, c->excerpt_bytes);
    return ATTEMPT_NO_TOKEN;
}

static enum attempt_error send_with_token(struct call *c) {
    struct target *t = c->target;
    enum token_state state = token_get(&t->token, clock_monotonic_ns());
    if (state == TOKEN_REFUSED) {
        return no_token(c, t->token.why);
    }
    if (state == TOKEN_GOOD && list_empty(&t->line)) {
        return call_send(c);
    }
    list_append(&t->line, &c->in_line);
    return ATTEMPT_OK;
}

static enum attempt_error prepare(struct dispatch *d, struct call *c) {
    int rc = c->batch != NULL ? 0 : call_read_body(d, &c->start, &c->record, &c->stored);
    if (rc == E_CORRUPT || rc == E_NOT_FOUND) {
        return ATTEMPT_BODY_LOST;
    }
    if (rc != 0) {
        return ATTEMPT_UNKNOWN; /* no memory, a dead log: nothing was sent, so it may come again */
    }
    return c->target->def.making.token_url[0] == '\0' ? call_send(c) : send_with_token(c);
}

void call_launch(struct dispatch *d, struct target *t, struct report *r,
                 const struct attempt_start *start) {
    struct call *c = call_take(d, t);
    if (c == NULL) {
        target_unref(t);
        end_unsent(d, r, start, ATTEMPT_UNKNOWN, span_of(NULL, 0));
        return;
    }
    call_begin(c, r, start);
    bool several = t->def.batch.max_messages > 1 || start->item_count > 0;
    if (several && !begin_batch(c)) {
        call_keep(c);
        return;
    }
    enum attempt_error error = prepare(d, c);
    if (error != ATTEMPT_OK) {
        end_call_unsent(c, error);
        call_keep(c);
        return;
    }
    list_append(&d->under_way, &c->node);
    d->under_way_count++;
    d->impatient_count += c->impatient;
    d->under_way_bytes += weight_of(c);
}

/* ---- the line ---- */

/*
 * Attempts are started at their pace while a token is awaited, and would all leave in the moment in which it comes. So they
 * stand in line, and leave by the gaps that the limits ask for; who would leave after his time is over is not sent.
 */
static void leave_line(struct call *c) {
    struct target *t = c->target;
    list_remove(&c->in_line);
    if (list_empty(&t->line) && list_linked(&t->in_lines)) {
        list_remove(&t->in_lines);
    }
}

static uint64_t gaps_of(const struct call *c) {
    bool each = c->batch != NULL && c->target->def.batch.token != BATCH_TOKEN_REQUEST;
    return each ? c->batch->count : 1;
}

/* Out of the line: sent, or ended with an error. */
static void go_on(struct call *c, enum attempt_error error) {
    leave_line(c);
    error = error == ATTEMPT_OK ? call_send(c) : error;
    if (error != ATTEMPT_OK) {
        end_call_unsent(c, error);
        leave_under_way(c);
        call_keep(c);
    }
}

/* False: it waits. */
static bool first_goes_on(struct target *t, uint64_t now_ns) {
    struct call *c = CONTAINER_OF(list_first(&t->line), struct call, in_line);
    if (now_ns >= c->began_ns + c->start.timeout_ns) {
        go_on(c, no_token(c, "no token: it came too late"));
        return true;
    }
    switch (token_get(&t->token, now_ns)) {
    case TOKEN_REFUSED:
        go_on(c, no_token(c, t->token.why));
        return true;
    case TOKEN_GOOD:
        if (target_takes_place(t, gaps_of(c), now_ns)) {
            c->left_ns = now_ns;
            go_on(c, ATTEMPT_OK);
            return true;
        }
        break;
    case TOKEN_AWAITED:
        break;
    }
    return false;
}

static void line_goes_on(struct target *t, uint64_t now_ns) {
    t->refs++;
    while (!list_empty(&t->line) && first_goes_on(t, now_ns)) {
    }
    target_unref(t);
}

void calls_go_on(struct dispatch *d, uint64_t now_ns) {
    struct list_node *n = list_first(&d->lines);
    while (n != NULL) {
        struct target *t = CONTAINER_OF(n, struct target, in_lines);
        n = list_next(&d->lines, n);
        line_goes_on(t, now_ns);
    }
    transport_kick(&d->transport);
}

void call_token_known(struct target *t) {
    if (!list_empty(&t->line) && !list_linked(&t->in_lines)) {
        list_append(&t->owner->lines, &t->in_lines);
    }
    calls_go_on(t->owner, clock_monotonic_ns());
}

/* ---- the way back ---- */

static void describe_end(const struct call *c, const struct call_end *end,
                         struct attempt_finish *f) {
    unsigned status = end->status >= 100 && end->status <= 999 ? end->status : 0;
    *f = (struct attempt_finish){
        .status = (uint16_t)status,
        .error = (uint8_t)end->error,
        .success = end->error == ATTEMPT_OK && status >= 200 && status <= 299,
        .duration_ns = clock_monotonic_ns() - c->left_ns,
        .excerpt = span_of(c->excerpt, c->excerpt_bytes),
        .ordering_key = c->stored.envelope.ordering_key,
        .correlation_id = c->stored.envelope.correlation_id,
        .retry = c->stored.envelope.retry,
    };
    f->retriable =
        end->error != ATTEMPT_OK || status_list_has(c->target->def.retry_statuses, status);
    if (end->error == ATTEMPT_OK) {
        uint64_t s = end->retry_after_s;
        f->retry_after_ns = s < UINT32_MAX ? s * NS_PER_SECOND : UINT32_MAX * NS_PER_SECOND;
    }
}

void call_end(struct call *c, const struct call_end *end) {
    struct dispatch *d = c->owner;
    struct attempt_finish f;
    describe_end(c, end, &f);
    if (f.status == 401 && c->target->def.making.token_url[0] != '\0') {
        token_reject(&c->target->token); /* and another one may be taken */
        f.retriable = true;
    }
    count_end(d, &f);
    if (c->batch != NULL) {
        batch_end(c, &f);
    } else {
        report_end(&d->reports, c->report, &c->start, &f);
    }
    leave_under_way(c);
    call_keep(c);
}

void call_abandon(struct call *c) {
    struct dispatch *d = c->owner;
    struct target *t = c->target;
    if (list_linked(&c->in_line)) {
        leave_line(c);
    } else {
        call_withdraw(c);
    }
    if (c->batch != NULL) {
        batch_abandon(c);
    } else {
        report_give_back(&d->reports, c->report);
    }
    leave_under_way(c);
    atomic_fetch_add(&d->abandoned, 1);
    call_free(c);
    target_unref(t);
}
