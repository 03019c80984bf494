#include "api/job_runner.h"

#include <assert.h>
#include <stdlib.h>

#include "api/filter.h"
#include "api/json_tree.h"
#include "api/match.h"
#include "api/search.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/job.h"
#include "model/message_payload.h"
#include "model/queue.h"

#define AGAIN_NS      (NS_PER_SECOND / 10) /* the engine is busy */
#define FULL_AGAIN_NS NS_PER_SECOND        /* the other queue, or the disk, is full */
#define KEYS_BYTES    ((size_t)2 << 20)    /* of what a step keeps of stored messages */
#define KEYS_ENOUGH   (KEYS_BYTES / 2)     /* then it ends: there is room for any one more */

_Static_assert(KEYS_BYTES - KEYS_ENOUGH > EXTRA_BYTES_MAX, "what one message has besides its body");

struct turn {
    struct engine *engine; /* borrows */
    struct request job;    /* JOB_NEXT as answered */
    struct job_info info;
    struct span queue, to, actor; /* borrow job.out_bytes */
    struct filter filter;
    struct matcher matcher;
    struct job_item items[JOB_BATCH_MAX];
    uint32_t count;
    struct buffer body, keys;
};

/* Errors of engine_call, as a time to wait. 0: none. */
static uint64_t ask(struct turn *t, struct request *r) {
    return engine_call(t->engine, r) == 0 ? 0 : AGAIN_NS;
}

/* ---- what is to be done ---- */

static int read_filter(struct turn *t, struct span text) {
    struct field_errors *errors = calloc(1, sizeof *errors);
    struct field_reader reader = {.errors = errors};
    char reason[JSON_REASON_BYTES];
    json_t *tree = NULL;
    int error = errors == NULL ? E_NOMEM : json_tree_read(text, reason, &tree);
    if (error == 0) {
        error = filter_read(&t->filter, tree, &reader);
    }
    json_decref(tree);
    free(errors);
    return error;
}

/* False: there is no job, or it cannot be read. */
static bool read_job(struct turn *t) {
    struct reader in;
    reader_init(&in, buffer_span(&t->job.out_bytes));
    struct span info = reader_take(&in, sizeof t->info);
    (void)reader_u32(&in); /* of all texts */
    t->queue = reader_bytes(&in);
    t->to = reader_bytes(&in);
    struct span filter = reader_bytes(&in);
    (void)reader_bytes(&in); /* reason */
    t->actor = reader_bytes(&in);
    if (t->job.count == 0 || in.failed) {
        return false;
    }
    memcpy(&t->info, info.data, sizeof t->info);
    if (read_filter(t, filter) != 0) {
        return false;
    }
    struct message_filter *m = &t->filter.match;
    uint64_t until_ns = t->info.began_ns + 1; /* what happened since is not meant */
    m->changed_to_ns =
        m->changed_to_ns == 0 || until_ns < m->changed_to_ns ? until_ns : m->changed_to_ns;
    matcher_init(&t->matcher, m);
    return true;
}

/* ---- which messages ---- */

/* Into memory that was reserved, and so stays where it is. */
static struct span keep(struct buffer *keys, struct span text) {
    size_t at = keys->size;
    int error = buffer_append_span(keys, text);
    assert(error == 0);
    return span_of(keys->data + at, text.size);
}

/* What a key may be made of, without the body. */
static struct stored_message keep_keys(struct turn *t, const struct stored_message *from) {
    return (struct stored_message){
        .envelope = {.ordering_key = keep(&t->keys, from->envelope.ordering_key),
                     .headers = keep(&t->keys, from->envelope.headers)},
        .routing_key = keep(&t->keys, from->routing_key),
        .properties = keep(&t->keys, from->properties)};
}

/* One whose body cannot be read is left where it is. */
static void take(struct turn *t, const struct message_info *m) {
    struct job_item *item = &t->items[t->count];
    bool reads = message_filter_needs_body(&t->filter.match);
    bool moves = t->info.action == JOB_MOVE;
    struct stored_message stored;
    if ((reads || moves) && search_read(t->engine, m, t->queue, &t->body, &stored) != 0) {
        return;
    }
    if (reads && !matcher_takes(&t->matcher, &stored)) {
        return;
    }
    *item = (struct job_item){.id = m->id};
    if (moves) {
        item->stored = keep_keys(t, &stored);
    }
    t->count++;
}

/* Fills the step from a page of the list. */
static void take_page(struct turn *t, const struct request *list, struct job_step *step) {
    step->cursor = list->next;
    step->end = list->next == 0;
    for (uint64_t i = 0; i < list->count; i++) {
        struct message_info m;
        memcpy(&m, list->out_bytes.data + i * sizeof m, sizeof m);
        take(t, &m);
        if (t->keys.size > KEYS_ENOUGH && i + 1 < list->count) {
            step->cursor = m.after;
            step->end = false;
            break;
        }
    }
}

/* ---- a step ---- */

static uint64_t submit(struct turn *t, const struct job_step *step) {
    struct request r;
    request_init(&r, REQUEST_JOB_STEP);
    r.name = t->queue;
    r.id = t->info.id;
    r.actor = t->actor; /* whose job it is: when this ends it, that stands in the audit */
    r.address = span_text("job");
    r.in.job_step = *step;
    r.in.job_step.items = t->items;
    r.in.job_step.count = t->count;
    uint64_t wait_ns = ask(t, &r);
    if (wait_ns == 0 && r.refusal != REFUSAL_NONE) {
        wait_ns = r.refusal == REFUSAL_QUEUE_FULL || r.refusal == REFUSAL_DISK_FULL ||
                          r.refusal == REFUSAL_LIMIT
                      ? FULL_AGAIN_NS
                      : AGAIN_NS;
    }
    request_release(&r);
    return wait_ns;
}

static uint64_t do_step(struct turn *t) {
    struct job_step step = {.step = t->info.steps};
    struct request list;
    if (t->info.action == JOB_MOVE && buffer_reserve(&t->keys, KEYS_BYTES) != 0) {
        return AGAIN_NS;
    }
    request_init(&list, REQUEST_QUEUE_MESSAGES);
    list.name = t->queue;
    list.in.list.state = t->info.state;
    list.in.list.after = t->info.cursor;
    list.in.list.in_order = true;
    list.in.list.max = job_step_max(&t->info);
    list.in.list.filter = &t->filter.match;
    uint64_t wait_ns = ask(t, &list);
    if (wait_ns == 0) {
        if (list.refusal == REFUSAL_NONE) {
            take_page(t, &list, &step);
        } else {
            step.end = list.refusal == REFUSAL_NOT_FOUND; /* else from the beginning */
        }
        step.visited = list.visited;
        wait_ns = submit(t, &step);
    }
    request_release(&list);
    return wait_ns;
}

uint64_t job_runner_turn(struct engine *e) {
    struct turn *t = calloc(1, sizeof *t);
    if (t == NULL) {
        return AGAIN_NS;
    }
    t->engine = e;
    buffer_init(&t->body, RECORD_MAX_BYTES * 2u);
    buffer_init(&t->keys, KEYS_BYTES);
    request_init(&t->job, REQUEST_JOB_NEXT);
    uint64_t wait_ns = ask(t, &t->job);
    if (wait_ns == 0) {
        wait_ns = t->job.count == 0 ? UINT64_MAX : t->job.next;
        if (wait_ns == 0) {
            wait_ns = read_job(t) ? do_step(t) : FULL_AGAIN_NS;
        }
    }
    filter_release(&t->filter);
    buffer_release(&t->body);
    buffer_release(&t->keys);
    request_release(&t->job);
    free(t);
    return wait_ns;
}
