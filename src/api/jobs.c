/*
 * What is done to many messages: started, listed, looked at, cancelled.
 *
 *      POST /v1/queues/mail/jobs {"action": "redrive", "filter": {"status": 503}, "perSecond": 50}
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/clerk.h"
#include "api/filter.h"
#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/job.h"

#define JOB_ID_BYTES   18u
#define PER_SECOND_MAX 1e6
#define PER_SECOND_MIN 1e-5 /* about one a day */

/* As a receipt, with another letter. */
static void job_format(uint64_t id, char out[JOB_ID_BYTES]) {
    receipt_format(id, out);
    out[0] = 'j';
}

static bool take_job(struct call *c) {
    struct span text = call_capture(c, 1);
    char copy[JOB_ID_BYTES] = "";
    if (text.size == JOB_ID_BYTES - 1 && text.data[0] == 'j') {
        memcpy(copy, text.data, text.size);
        copy[0] = 'r';
    }
    c->request.r.name = call_capture(c, 0);
    if (receipt_parse(span_text(copy), &c->request.r.id) != 0) {
        call_problem(c, PROBLEM_NOT_FOUND, "a job is 'j' and 16 hexadecimal digits");
        return false;
    }
    return true;
}

/* ---- answers ---- */

static void write_job(const struct job_info *i, struct reader *texts, struct json_out *out) {
    char id[JOB_ID_BYTES];
    struct span queue = reader_bytes(texts), to = reader_bytes(texts);
    struct span filter = reader_bytes(texts), reason = reader_bytes(texts);
    struct span actor = reader_bytes(texts);
    job_format(i->id, id);
    out_open(out, '{');
    info_text(out, "id", id);
    info_span(out, "queue", queue);
    info_text(out, "action", job_action_name(i->action));
    info_text(out, "status", job_status_name(i->status));
    info_u64(out, "total", i->total > i->visited ? i->total : i->visited); /* more came since */
    info_u64(out, "searched", i->visited);
    info_u64(out, "done", i->done);
    info_u64(out, "failed", i->failed);
    info_time(out, "beganAt", i->began_ns);
    info_time(out, "endedAt", i->ended_ns);
    if (i->interval_ns != 0) {
        out_key(out, "perSecond");
        out_double(out, (double)NS_PER_SECOND / (double)i->interval_ns);
    }
    if (to.size > 0) {
        info_span(out, "to", to);
    }
    out_key(out, "filter");
    out_raw(out, filter);
    if (reason.size > 0) {
        info_span(out, "reason", reason);
    }
    if (actor.size > 0) {
        info_span(out, "startedBy", actor);
    }
    out_close(out, '}');
}

/* The next of JOB_LIST and JOB_GET. */
static void write_next(struct reader *in, struct json_out *out) {
    struct job_info info;
    struct span bytes = reader_take(in, sizeof info);
    struct reader texts;
    reader_init(&texts, reader_bytes(in));
    if (!in->failed) {
        memcpy(&info, bytes.data, sizeof info);
        write_job(&info, &texts, out);
    }
}

static void got(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct reader in;
    reader_init(&in, buffer_span(&c->request.r.out_bytes));
    struct json_out out = call_json_begin(c);
    write_next(&in, &out);
    call_json_end(c, 200, &out);
}

static void listed(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct reader in;
    reader_init(&in, buffer_span(&c->request.r.out_bytes));
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    out_key(&out, "jobs");
    out_open(&out, '[');
    for (uint64_t i = 0; i < c->request.r.count; i++) {
        write_next(&in, &out);
    }
    out_close(&out, ']');
    call_page_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void job_list(struct call *c) {
    call_list(c, REQUEST_JOB_LIST, listed);
}

void job_get(struct call *c) {
    c->request.r.kind = REQUEST_JOB_GET;
    if (take_job(c)) {
        call_submit(c, got);
    }
}

static void cancelled(struct call *c) {
    char id[JOB_ID_BYTES];
    if (call_refused(c)) {
        return;
    }
    job_format(c->request.r.id, id);
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_text(&out, "id", id);
    info_u64(&out, "done", c->request.r.count);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void job_cancel(struct call *c) {
    c->request.r.kind = REQUEST_JOB_CANCEL;
    if (take_job(c)) {
        call_submit(c, cancelled);
    }
}

/* ---- start ---- */

static const char *const actions[] = {"redrive", "move", "discard", NULL};

struct job_input {
    uint8_t action;    /* index of `actions`: enum job_action begins with 1 */
    char *to, *reason; /* own */
    struct filter filter;
};

static bool reason_valid(struct span text) {
    return text.size >= 1 && text.size <= 512;
}

static const struct field job_fields[] = {
    {"action", FIELD_WORD, FIELD_AT(struct job_input, action), .words = actions, .required = true},
    {"to", FIELD_TEXT, FIELD_AT(struct job_input, to)},
    {"reason", FIELD_TEXT, FIELD_AT(struct job_input, reason), .valid = reason_valid,
     .expects = "a text of 1 to 512 bytes"},
    FIELD_END};

static void input_free(void *own) {
    struct job_input *in = own;
    free(in->to);
    free(in->reason);
    filter_release(&in->filter);
    free(in);
}

/* 0: as fast as it goes. */
static int read_pace(const struct call *c, struct field_reader *reader, uint64_t *ret_interval_ns) {
    const json_t *value = json_object_get(c->tree, "perSecond");
    double rate = json_number_value(value);
    *ret_interval_ns = 0;
    if (value == NULL) {
        return 0;
    }
    if (!json_is_number(value) || rate < PER_SECOND_MIN || rate > PER_SECOND_MAX) {
        field_expected(reader, "perSecond", "a number from 0.00001 to 1000000", value);
        return E_INVALID;
    }
    *ret_interval_ns = (uint64_t)((double)NS_PER_SECOND / rate);
    return 0;
}

static int read_filter(struct call *c, struct job_input *in, struct field_reader *reader) {
    json_t *filter = json_object_get(c->tree, "filter");
    if (filter == NULL) {
        filter = json_object();
        if (json_object_set_new(c->tree, "filter", filter) != 0) {
            return E_NOMEM;
        }
    }
    size_t outer = field_enter(reader, "filter");
    int error = 0;
    if (!json_is_object(filter)) {
        field_expected(reader, "", "an object", filter);
        error = E_INVALID;
    }
    error = error != 0 ? error : filter_read(&in->filter, filter, reader);
    field_leave(reader, outer);
    return error;
}

static enum job_action action_of(const struct job_input *in) {
    return (enum job_action)(in->action + JOB_REDRIVE);
}

static int check_input(const struct job_input *in, struct field_reader *reader) {
    if ((action_of(in) == JOB_MOVE) != (in->to != NULL && in->to[0] != '\0')) {
        field_fault(reader, "to", "expected the name of a queue with move, nothing with others");
        return E_INVALID;
    }
    if (action_of(in) == JOB_DISCARD && in->reason == NULL) {
        field_fault(reader, "reason", "expected why they are discarded: it stands in the audit");
        return E_INVALID;
    }
    return 0;
}

static int read_input(struct call *c, struct job_input *in, uint64_t *ret_interval_ns) {
    static const char *const others[] = {"filter", "perSecond", NULL};
    struct field_reader reader = call_reader(c);
    reader.now_ns = clock_real_ns();
    int error = fields_read(job_fields, c->tree, in, others, &reader);
    int pace = read_pace(c, &reader, ret_interval_ns);
    int filter = read_filter(c, in, &reader);
    error = error != 0 ? error : pace != 0 ? pace : filter;
    return error != 0 ? error : check_input(in, &reader);
}

static void started(struct call *c) {
    char path[NAME_MAX_BYTES + 64], id[JOB_ID_BYTES];
    if (call_refused(c)) {
        return;
    }
    struct api *api = c->loop->api;
    if (api->clerk != NULL) {
        clerk_wake(api->clerk);
    }
    job_format(c->request.r.id, id);
    snprintf(path, sizeof path, "/v1/queues/%.*s/jobs/%s", SPAN_ARG(call_capture(c, 0)), id);
    call_header(c, "Location", span_text(path));
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_text(&out, "id", id);
    info_text(&out, "action", job_action_name(c->request.r.out.job.action));
    info_text(&out, "status", job_status_name(JOB_RUNNING));
    info_u64(&out, "total", c->request.r.out.job.total);
    info_u64(&out, "done", 0);
    out_close(&out, '}');
    call_json_end(c, 202, &out);
}

static bool keep_filter(struct call *c, struct span *ret) {
    const json_t *filter = json_object_get(c->tree, "filter");
    size_t size = json_dumpb(filter, NULL, 0, JSON_COMPACT);
    char *text = size > 0 && size <= JOB_TEXT_MAX_BYTES ? call_alloc(c, size) : NULL;
    if (text == NULL || json_dumpb(filter, text, size, JSON_COMPACT) != size) {
        return false;
    }
    *ret = span_of(text, size);
    return true;
}

/* Of the dead, unless it says otherwise; any is none that the model knows, and what is sent again is dead. */
static enum message_state state_of(const struct call *c, const struct job_input *in) {
    const json_t *said = json_object_get(json_object_get(c->tree, "filter"), "state");
    bool dead = in->filter.state == 0 && (said == NULL || action_of(in) == JOB_REDRIVE);
    return dead ? MESSAGE_DEAD : (enum message_state)in->filter.state;
}

static void submit_job(struct call *c, const struct job_input *in, uint64_t interval_ns) {
    struct request *r = &c->request.r;
    r->kind = REQUEST_JOB_START;
    r->name = call_capture(c, 0);
    r->in.job_start = (struct job_start){
        .action = action_of(in),
        .state = state_of(c, in),
        .to = in->to != NULL ? head_name(c, "queues", span_text(in->to)) : span_of(NULL, 0),
        .interval_ns = interval_ns,
        .reason = in->reason != NULL ? span_text(in->reason) : span_of(NULL, 0),
    };
    if (!keep_filter(c, &r->in.job_start.filter)) {
        call_invalid(c, "/filter", "expected at most 8 KiB");
        return;
    }
    call_submit(c, started);
}

void job_start(struct call *c) {
    if (!call_read_tree(c)) {
        return;
    }
    struct job_input *in = calloc(1, sizeof *in);
    uint64_t interval_ns = 0;
    if (in == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    c->own = in;
    c->own_free = input_free;
    int error = read_input(c, in, &interval_ns);
    if (error == E_INVALID) {
        call_errors(c);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else {
        submit_job(c, in, interval_ns);
    }
}
