#include "api/search.h"

#include "api/match.h"
#include "base/error.h"
#include "model/queue.h"

#define CANDIDATES 256u /* of which bodies are read between two questions to the engine */

int search_read(struct engine *e, const struct message_info *info, struct span queue,
                struct buffer *bytes, struct stored_message *ret) {
    int error = engine_read_message(e, info->stored_id, info->address, bytes, ret);
    if (error == 0 || error == E_CORRUPT) {
        return error;
    }
    /* Its segment may have been given back since: the body stands elsewhere. */
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.name = queue;
    r.id = info->id;
    error = engine_call(e, &r);
    if (error == 0) {
        const struct message_info *now = &r.out.message;
        error = r.refusal != REFUSAL_NONE
                    ? E_NOT_FOUND
                    : engine_read_message(e, now->stored_id, now->address, bytes, ret);
    }
    request_release(&r);
    return error;
}

struct search {
    struct engine *engine; /* borrows */
    struct request *r;     /* borrows */
    struct matcher matcher;
    bool reads;
    struct buffer room;
    uint32_t max;
    uint64_t after, bound, bodies, bytes;
    unsigned steps;
};

static bool takes(struct search *s, const struct message_info *info) {
    struct stored_message stored;
    if (!s->reads) {
        return true;
    }
    s->bodies++;
    s->bytes += info->body_bytes;
    return search_read(s->engine, info, s->r->name, &s->room, &stored) == 0 &&
           matcher_takes(&s->matcher, &stored);
}

/* False: the page is full, or enough was read; the cursor stands behind what was looked at. */
static bool keep(struct search *s, const struct request *step) {
    struct request *r = s->r;
    for (uint64_t i = 0; i < step->count; i++) {
        struct message_info info;
        memcpy(&info, step->out_bytes.data + i * sizeof info, sizeof info);
        if (takes(s, &info)) {
            if (buffer_append(&r->out_bytes, &info, sizeof info) != 0) {
                r->refusal = REFUSAL_BUSY;
                return false;
            }
            r->count++;
        }
        bool enough = s->bodies >= SEARCH_BODIES_MAX || s->bytes >= SEARCH_BYTES_MAX;
        if (i + 1 < step->count && (r->count == s->max || enough)) {
            s->after = info.after;
            s->bound = info.bound;
            return false;
        }
    }
    s->after = step->next;
    s->bound = step->next_bound;
    return r->count < s->max && s->bodies < SEARCH_BODIES_MAX;
}

static bool search_step(struct search *s) {
    struct request *r = s->r, step;
    request_init(&step, REQUEST_QUEUE_MESSAGES);
    step.name = r->name;
    step.in.list = r->in.list;
    step.in.list.after = s->after;
    step.in.list.bound = s->bound;
    step.in.list.max = s->reads ? CANDIDATES : s->max - (uint32_t)r->count;
    int error = engine_call(s->engine, &step);
    bool more = false;
    if (error != 0) {
        r->refusal = error == E_BUSY || error == E_NOMEM ? REFUSAL_BUSY : REFUSAL_STOPPING;
    } else if (step.refusal != REFUSAL_NONE) {
        r->refusal = step.refusal;
        r->error_detail = step.error_detail;
        memcpy(r->error_pointer, step.error_pointer, sizeof r->error_pointer);
    } else {
        r->visited += step.visited;
        more = keep(s, &step);
    }
    request_release(&step);
    return more && s->after != 0 && ++s->steps < SEARCH_STEPS_MAX;
}

void search_run(struct engine *e, struct request *r) {
    const struct message_filter *f = r->in.list.filter;
    struct search s = {.engine = e, .r = r, .after = r->in.list.after, .bound = r->in.list.bound};
    s.max = request_list_max(r);
    s.reads = message_filter_needs_body(f);
    matcher_init(&s.matcher, f);
    buffer_init(&s.room, RECORD_MAX_BYTES * 2u);
    r->refusal = REFUSAL_NONE;
    while (search_step(&s)) {
    }
    r->next = s.after;
    r->next_bound = s.bound;
    buffer_release(&s.room);
}
