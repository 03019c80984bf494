/*
 * Jobs: a short list in order of their beginning. What a step does: job_step.c.
 *
 *   JOB_STARTED  0 8 job   8 4 queue index   12 4 index of the queue to move to, 0: none   16 1 action   17 1 state
 *                18 8 ns between two messages, 0: none   26 8 messages there are in that state
 *                34 . name of the queue, of the other one, filter, reason, actor (each u32 length, bytes)
 *   JOB_STEPPED  0 8 job   8 8 cursor   16 8 looked at   24 4 done   28 4 could not be done   32 8 not before
 *   JOB_ENDED    0 8 job   8 1 status
 *
 * Snapshot section (left out while there is no job): u32 count, then per job, the oldest first: the bytes of its
 * JOB_STARTED with u32 length before them, then 8 began, 8 ended, 1 status, 8 cursor, 8 looked at, 8 done, 8 could not be
 * done, 8 not before, 4 steps.
 */
#include "model/job_state.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"
#include "model/audit.h"
#include "model/fact.h"
#include "model/put.h"
#include "model/queue_state.h"

int jobs_create(const struct model *m, struct jobs **ret) {
    *ret = calloc(1, sizeof **ret);
    return *ret != NULL ? 0 : E_NOMEM;
}

static void job_free(struct job *j) {
    free(j->texts);
    free(j);
}

void jobs_free(struct jobs *s) {
    while (s != NULL && s->first != NULL) {
        struct job *j = s->first;
        s->first = j->next;
        job_free(j);
    }
    free(s);
}

const char *job_action_name(enum job_action a) {
    static const char *const names[] = {"", "redrive", "move", "discard"};
    return (unsigned)a < ARRAY_LENGTH(names) ? names[a] : "";
}

const char *job_status_name(enum job_status s) {
    static const char *const names[] = {"", "running", "done", "cancelled", "failed"};
    return (unsigned)s < ARRAY_LENGTH(names) ? names[s] : "";
}

struct job *job_find(const struct model *m, uint64_t id) {
    struct job *j = m->jobs->first;
    while (j != NULL && j->info.id != id) {
        j = j->next;
    }
    return j;
}

static struct span job_text(const struct job *j, unsigned which) {
    struct reader in;
    reader_init(&in, span_of(j->texts, j->texts_size));
    for (unsigned i = 0; i < which; i++) {
        (void)reader_bytes(&in);
    }
    return reader_bytes(&in);
}

/* ---- start, cancel ---- */

static enum refusal check_start(const struct model *m, struct request *r, const struct queue *q) {
    const struct job_start *in = &r->in.job_start;
    const unsigned waiting = STATE_BIT(MESSAGE_READY) | STATE_BIT(MESSAGE_DELAYED) |
                             STATE_BIT(MESSAGE_BLOCKED) | STATE_BIT(MESSAGE_DEAD);
    unsigned may = in->action == JOB_REDRIVE ? STATE_BIT(MESSAGE_DEAD) : waiting;
    bool states_fit = in->state < STATES_LIVE && (may & STATE_BIT(in->state)) != 0;
    if (m->jobs->running >= JOBS_RUNNING_MAX) {
        return request_refuse(r, REFUSAL_LIMIT, "64 jobs are running: wait for one, or cancel it");
    }
    if (!states_fit) {
        return request_invalid(r, "/filter/state",
                               in->action == JOB_REDRIVE ? "what is sent again is dead"
                                                         : "ready, delayed, blocked or dead");
    }
    if (in->filter.size > JOB_TEXT_MAX_BYTES || in->reason.size > JOB_TEXT_MAX_BYTES) {
        return request_invalid(r, in->filter.size > JOB_TEXT_MAX_BYTES ? "/filter" : "/reason",
                               "at most 8 KiB");
    }
    const struct queue *to = NULL;
    return in->action == JOB_MOVE ? queue_find_target(m, r, in->to, q, &to) : REFUSAL_NONE;
}

static void put_started(struct buffer *out, const struct job_info *i, uint32_t queue, uint32_t to,
                        struct span texts, struct saver *s) {
    *s = (struct saver){.chunk = out};
    save_u64(s, i->id);
    save_u32(s, queue);
    save_u32(s, to);
    save_u8(s, (uint8_t)i->action);
    save_u8(s, (uint8_t)i->state);
    save_u64(s, i->interval_ns);
    save_u64(s, i->total);
    s->rc = s->rc != 0 ? s->rc : buffer_append_span(out, texts);
}

static int put_texts(struct buffer *out, const struct queue *q, const struct request *r) {
    const struct job_start *in = &r->in.job_start;
    const struct span texts[TEXTS] = {span_text(q->def.name), in->to, in->filter, in->reason,
                                      r->actor};
    int rc = 0;
    for (unsigned i = 0; i < TEXTS && rc == 0; i++) {
        rc = buffer_put_bytes(out, texts[i]);
    }
    return rc;
}

static enum refusal decide_start(const struct model *m, struct decision *d, struct request *r) {
    const struct queue *q = queue_at(m->queues, queue_find(m, r->name));
    if (q == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no queue by this name");
    }
    enum refusal refusal = check_start(m, r, q);
    if (refusal != REFUSAL_NONE) {
        return refusal;
    }
    const struct job_start *in = &r->in.job_start;
    struct job_info info = {
        .id = decision_id(d),
        .action = in->action,
        .state = in->state,
        .interval_ns = in->interval_ns,
        .total = q->counts[in->state],
    };
    uint32_t to = in->action == JOB_MOVE ? queue_find(m, in->to) : 0;
    struct buffer texts;
    struct saver s;
    buffer_init(&texts, TEXTS * (4 + JOB_TEXT_MAX_BYTES));
    d->failed |= put_texts(&texts, q, r) != 0;
    size_t begun = decision_begin(d, FACT_JOB_STARTED, 1);
    put_started(d->facts, &info, q->index, to, buffer_span(&texts), &s);
    d->failed |= s.rc != 0;
    decision_end(d, begun);
    buffer_release(&texts);
    r->id = info.id;
    r->out.job = info;
    return REFUSAL_NONE;
}

void job_emit_ended(struct decision *d, const struct job *j, enum job_status status) {
    size_t begun = decision_begin(d, FACT_JOB_ENDED, 1);
    decision_put_u64(d, j->info.id);
    decision_put_u8(d, (uint8_t)status);
    decision_end(d, begun);
}

/* The job of the request, of the queue of the request. */
static struct job *job_asked(const struct model *m, const struct request *r) {
    struct job *j = job_find(m, r->id);
    return j != NULL && span_equal(job_text(j, TEXT_QUEUE), r->name) ? j : NULL;
}

static enum refusal decide_cancel(const struct model *m, struct decision *d, struct request *r) {
    const struct job *j = job_asked(m, r);
    if (j == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such job of this queue");
    }
    if (j->info.status == JOB_RUNNING) {
        job_emit_ended(d, j, JOB_CANCELLED);
    }
    r->count = j->info.done;
    return REFUSAL_NONE;
}

/* ---- looking ---- */

static int tell(const struct job *j, struct buffer *out) {
    int rc = buffer_append(out, &j->info, sizeof j->info);
    return rc != 0 ? rc : buffer_put_bytes(out, span_of(j->texts, j->texts_size));
}

/* The latest first; in.list.after is the id that the page before ended with. */
static enum refusal decide_list(const struct model *m, struct decision *d, struct request *r) {
    uint64_t below = r->in.list.after == 0 ? UINT64_MAX : r->in.list.after;
    uint32_t max = request_list_max(r);
    const struct job *found[JOBS_KEPT_MAX];
    uint32_t count = 0;
    if (queue_find(m, r->name) == 0) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no queue by this name");
    }
    for (const struct job *j = m->jobs->first; j != NULL; j = j->next) {
        if (span_equal(job_text(j, TEXT_QUEUE), r->name) && j->info.id < below) {
            found[count++] = j;
        }
    }
    while (count > 0 && r->count < max) {
        const struct job *j = found[--count];
        d->failed |= tell(j, &r->out_bytes) != 0;
        r->next = j->info.id;
        r->count++;
    }
    r->next = count == 0 ? 0 : r->next;
    return REFUSAL_NONE;
}

static enum refusal decide_get(const struct model *m, struct decision *d, struct request *r) {
    const struct job *j = job_asked(m, r);
    if (j == NULL) {
        return request_refuse(r, REFUSAL_NOT_FOUND, "there is no such job of this queue");
    }
    r->count = 1;
    d->failed |= tell(j, &r->out_bytes) != 0;
    return REFUSAL_NONE;
}

/* The running one that may go on first: told, and in how long. None: count is 0. */
static enum refusal decide_next(const struct model *m, struct decision *d, struct request *r) {
    const struct job *next = NULL;
    for (const struct job *j = m->jobs->first; j != NULL; j = j->next) {
        bool sooner = next == NULL || j->info.next_ns < next->info.next_ns;
        next = j->info.status == JOB_RUNNING && sooner ? j : next;
    }
    if (next != NULL) {
        r->count = 1;
        r->next = next->info.next_ns > d->now_ns ? next->info.next_ns - d->now_ns : 0;
        d->failed |= tell(next, &r->out_bytes) != 0;
    }
    return REFUSAL_NONE;
}

static enum refusal job_decide(const struct model *m, struct decision *d, struct request *r) {
    switch (r->kind) {
    case REQUEST_JOB_START:
        return decide_start(m, d, r);
    case REQUEST_JOB_CANCEL:
        return decide_cancel(m, d, r);
    case REQUEST_JOB_GET:
        return decide_get(m, d, r);
    case REQUEST_JOB_LIST:
        return decide_list(m, d, r);
    case REQUEST_JOB_NEXT:
        return decide_next(m, d, r);
    default:
        return job_decide_step(m, d, r);
    }
}

/* ---- apply ---- */

/* Those that ended first go; as many as may run are less than are kept. */
static void trim(struct jobs *s) {
    struct job **at = &s->first;
    while (s->count > JOBS_KEPT_MAX && *at != NULL) {
        struct job *j = *at;
        if (j->info.status == JOB_RUNNING) {
            at = &j->next;
            continue;
        }
        *at = j->next;
        job_free(j);
        s->count--;
    }
}

static int read_started(struct reader *in, struct job *j) {
    j->info.id = reader_u64(in);
    j->queue = reader_u32(in);
    j->to = reader_u32(in);
    j->info.action = (enum job_action)reader_u8(in);
    j->info.state = (enum message_state)reader_u8(in);
    j->info.interval_ns = reader_u64(in);
    j->info.total = reader_u64(in);
    struct span texts = reader_take(in, in->left);
    struct reader walk;
    reader_init(&walk, texts);
    for (unsigned i = 0; i < TEXTS; i++) {
        (void)reader_bytes(&walk);
    }
    bool valid = !in->failed && reader_done(&walk) && j->info.id != 0 &&
                 j->info.action >= JOB_REDRIVE && j->info.action <= JOB_DISCARD &&
                 j->info.state < STATES_LIVE;
    j->texts = valid ? malloc(texts.size) : NULL;
    if (j->texts == NULL) {
        return valid ? E_NOMEM : E_CORRUPT;
    }
    memcpy(j->texts, texts.data, texts.size);
    j->texts_size = (uint32_t)texts.size;
    j->info.status = JOB_RUNNING;
    return 0;
}

/* Takes it over, also on failure. */
static int append(struct jobs *s, struct job *j) {
    struct job **at = &s->first;
    while (*at != NULL && (*at)->info.id < j->info.id) {
        at = &(*at)->next;
    }
    if (*at != NULL || (j->info.status == JOB_RUNNING && s->running >= JOBS_RUNNING_MAX)) {
        job_free(j);
        return E_CORRUPT; /* J1 */
    }
    *at = j;
    s->count++;
    s->running += j->info.status == JOB_RUNNING;
    trim(s);
    return 0;
}

static int make(struct reader *in, struct job **ret) {
    struct job *j = calloc(1, sizeof *j);
    int rc = j == NULL ? E_NOMEM : read_started(in, j);
    if (rc != 0) {
        free(j);
        return rc;
    }
    *ret = j;
    return 0;
}

static int apply_started(struct model *m, const struct applied *w, struct reader *in) {
    struct job *j;
    int rc = make(in, &j);
    if (rc != 0) {
        return rc;
    }
    j->info.began_ns = w->time_ns;
    return append(m->jobs, j);
}

static int apply_stepped(struct model *m, struct reader *in) {
    struct job *j = job_find(m, reader_u64(in));
    uint64_t cursor = reader_u64(in), visited = reader_u64(in);
    uint32_t done = reader_u32(in), failed = reader_u32(in);
    uint64_t next_ns = reader_u64(in);
    if (in->failed || j == NULL || j->info.status != JOB_RUNNING) {
        return E_CORRUPT;
    }
    j->info.cursor = cursor;
    j->info.visited += visited;
    j->info.done += done;
    j->info.failed += failed;
    j->info.next_ns = next_ns;
    j->info.steps++;
    return 0;
}

static int apply_ended(struct model *m, const struct applied *w, struct reader *in) {
    struct job *j = job_find(m, reader_u64(in));
    uint8_t status = reader_u8(in);
    if (in->failed || j == NULL || j->info.status != JOB_RUNNING || status <= JOB_RUNNING ||
        status > JOB_FAILED) {
        return E_CORRUPT;
    }
    j->info.status = (enum job_status)status;
    j->info.ended_ns = w->time_ns;
    m->jobs->running--; /* J2 */
    return 0;
}

static int job_apply(struct model *m, const struct applied *where, uint16_t kind, uint16_t version,
                     struct reader *payload) {
    switch (kind) {
    case FACT_JOB_STARTED:
        return apply_started(m, where, payload);
    case FACT_JOB_STEPPED:
        return apply_stepped(m, payload);
    case FACT_JOB_ENDED:
        return apply_ended(m, where, payload);
    default:
        return E_VERSION;
    }
}

/* ---- snapshot, check ---- */

static void save_job(const struct job *j, struct saver *out) {
    const struct job_info *i = &j->info;
    size_t at = 0;
    struct saver inner;
    out->rc = out->rc != 0 ? out->rc : sized_begin(out->chunk, &at);
    if (out->rc != 0) {
        return;
    }
    put_started(out->chunk, i, j->queue, j->to, span_of(j->texts, j->texts_size), &inner);
    out->rc = inner.rc;
    if (out->rc == 0) {
        sized_end(out->chunk, at);
    }
    save_u64(out, i->began_ns);
    save_u64(out, i->ended_ns);
    save_u8(out, (uint8_t)i->status);
    save_u64(out, i->cursor);
    save_u64(out, i->visited);
    save_u64(out, i->done);
    save_u64(out, i->failed);
    save_u64(out, i->next_ns);
    save_u32(out, i->steps);
    save_item_end(out);
}

static int job_save(const struct model *m, struct buffer *chunk,
                    int (*flush)(void *sink, struct buffer *chunk), void *sink) {
    struct saver out = {.chunk = chunk, .flush = flush, .sink = sink};
    if (m->jobs->first == NULL) {
        return 0;
    }
    save_u32(&out, m->jobs->count);
    for (const struct job *j = m->jobs->first; j != NULL; j = j->next) {
        save_job(j, &out);
    }
    return out.rc;
}

static int load_job(struct model *m, struct reader *in) {
    struct reader started;
    struct span bytes = reader_bytes(in);
    struct job *j;
    reader_init(&started, bytes);
    int rc = in->failed ? E_CORRUPT : make(&started, &j);
    if (rc != 0) {
        return rc;
    }
    struct job_info *i = &j->info;
    i->began_ns = reader_u64(in);
    i->ended_ns = reader_u64(in);
    i->status = (enum job_status)reader_u8(in);
    i->cursor = reader_u64(in);
    i->visited = reader_u64(in);
    i->done = reader_u64(in);
    i->failed = reader_u64(in);
    i->next_ns = reader_u64(in);
    i->steps = reader_u32(in);
    if (in->failed || i->status < JOB_RUNNING || i->status > JOB_FAILED) {
        job_free(j);
        return E_CORRUPT;
    }
    return append(m->jobs, j);
}

static int job_load(struct model *m, struct reader *section) {
    uint32_t count = reader_u32(section);
    int rc = section->failed || count > JOBS_KEPT_MAX ? E_CORRUPT : 0;
    for (uint32_t i = 0; i < count && rc == 0; i++) {
        rc = load_job(m, section);
    }
    return rc;
}

static void job_check(const struct model *m) {
    const struct jobs *s = m->jobs;
    uint32_t count = 0, running = 0;
    uint64_t last = 0;
    for (const struct job *j = s->first; j != NULL; j = j->next) {
        assert(j->info.id > last); /* J1 */
        last = j->info.id;
        count++;
        running += j->info.status == JOB_RUNNING;
    }
    assert(count == s->count && running == s->running); /* J2 */
    assert(count <= JOBS_KEPT_MAX && running <= JOBS_RUNNING_MAX);
}

const struct module job_module = {
    .name = "job",
    .decide = job_decide,
    .apply = job_apply,
    .save = job_save,
    .load = job_load,
    .check = job_check,
    .section_version = 1,
};
