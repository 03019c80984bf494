/*
 * Definitions of all four kinds: the same five routes, told apart by the collection in their pattern.
 */
#include <stdio.h>

#include "api/info.h"
#include "api/routes.h"
#include "base/error.h"

/* "/v1/queues..." -> DEFINITION_QUEUE. The table of routes has no other patterns for these handlers. */
static enum definition_kind kind_of(const struct call *c) {
    const char *collection = c->route->pattern + sizeof "/v1/" - 1;
    int kind = 0;
    while (kind < DEFINITION_KINDS - 1 && strncmp(collection, definition_types[kind].plural,
                                                  strlen(definition_types[kind].plural)) != 0) {
        kind++;
    }
    return (enum definition_kind)kind;
}

static void send_definition(struct call *c, int status, const struct definition *d,
                            struct span info) {
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    definition_write(d, &out);
    if (info.size > 0 && info_write_stats(d->kind, info, &out) != 0) {
        out.failed = true;
    }
    out_close(&out, '}');
    call_json_end(c, status, &out);
}

/* ---- PUT, POST ---- */

static void defined(struct call *c) {
    const struct define *how = &c->request.r.in.define.how;
    if (call_refused(c)) {
        return;
    }
    if (how->ret_created) {
        char location[NAME_MAX_BYTES + 32];
        snprintf(location, sizeof location, "/v1/%s/%s",
                 definition_types[c->definition.kind].plural, definition_name(&c->definition));
        call_header(c, "Location", span_text(location));
    }
    send_definition(c, how->ret_created ? 201 : 200, &c->definition, span_of(NULL, 0));
}

static void define(struct call *c, struct span name, bool create_only) {
    enum definition_kind kind = kind_of(c);
    if (!call_read_tree(c)) {
        return;
    }
    int error = definition_init(&c->definition, kind);
    c->has_definition = true;
    struct field_reader reader = call_reader(c);
    if (error == 0) {
        error = definition_read(&c->definition, c->tree, name, &reader);
    }
    if (error == E_INVALID) {
        call_errors(c);
        return;
    }
    if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    definition_request(&c->definition, &c->request.r);
    c->request.r.in.define.how.create_only = create_only;
    call_submit(c, defined);
}

void define_put(struct call *c) {
    struct span name = call_capture(c, 0);
    if (!name_valid(name)) {
        call_invalid(c, "/name",
                     "a name has 1 to 128 letters, digits, '.', '_' or '-', and starts with a "
                     "letter or digit");
        return;
    }
    define(c, name, false);
}

void define_post(struct call *c) {
    define(c, span_of(NULL, 0), true);
}

/* ---- GET ---- */

static void got(struct call *c) {
    enum definition_kind kind = kind_of(c);
    const struct request *r = &c->request.r;
    static const size_t sizes[DEFINITION_KINDS] = {
        [DEFINITION_QUEUE] = sizeof(struct queue_info),
        [DEFINITION_STOCK] = sizeof(struct stock_info),
        [DEFINITION_CAMPAIGN] = sizeof(struct campaign_info),
        [DEFINITION_DESTINATION] = sizeof(struct destination_info),
    };
    if (call_refused(c)) {
        return;
    }
    if (definition_decode(kind, buffer_span(&r->out_bytes), &c->definition) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    c->has_definition = true;
    send_definition(c, 200, &c->definition, span_of(&r->out, sizes[kind]));
}

void define_get(struct call *c) {
    c->request.r.kind = definition_types[kind_of(c)].get;
    c->request.r.name = call_capture(c, 0);
    call_submit(c, got);
}

static int write_item(enum definition_kind kind, struct reader *r, struct json_out *out) {
    struct definition d;
    struct span encoded = reader_bytes(r), info = reader_bytes(r);
    int error = r->failed ? E_CORRUPT : definition_decode(kind, encoded, &d);
    if (error != 0) {
        return error;
    }
    out_open(out, '{');
    definition_write(&d, out);
    error = info_write_stats(kind, info, out);
    out_close(out, '}');
    definition_release(&d);
    return error;
}

static void listed(struct call *c) {
    enum definition_kind kind = kind_of(c);
    const struct request *answer = &c->request.r;
    if (call_refused(c)) {
        return;
    }
    struct reader r;
    reader_init(&r, buffer_span(&answer->out_bytes));
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    out_key(&out, definition_types[kind].plural);
    out_open(&out, '[');
    for (uint64_t i = 0; i < answer->count && !out.failed; i++) {
        out.failed = write_item(kind, &r, &out) != 0;
    }
    out_close(&out, ']');
    call_page_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void define_list(struct call *c) {
    call_list(c, definition_types[kind_of(c)].list, listed);
}

/* ---- DELETE ---- */

static void deleted(struct call *c) {
    if (!call_refused(c)) {
        call_empty(c, 204);
    }
}

void define_delete(struct call *c) {
    c->request.r.kind = definition_types[kind_of(c)].delete;
    c->request.r.name = call_capture(c, 0);
    call_submit(c, deleted);
}

/* ---- pause, resume ---- */

static void switched(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "name", call_capture(c, 0));
    info_bool(&out, "paused",
              c->request.r.kind == REQUEST_QUEUE_PAUSE ||
                  c->request.r.kind == REQUEST_DESTINATION_PAUSE);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

static void submit_switch(struct call *c, enum request_kind kind) {
    c->request.r.kind = kind;
    c->request.r.name = call_capture(c, 0);
    call_submit(c, switched);
}

void destination_pause(struct call *c) {
    submit_switch(c, REQUEST_DESTINATION_PAUSE);
}

void destination_resume(struct call *c) {
    submit_switch(c, REQUEST_DESTINATION_RESUME);
}

void queue_pause(struct call *c) {
    submit_switch(c, REQUEST_QUEUE_PAUSE);
}

void queue_resume(struct call *c) {
    submit_switch(c, REQUEST_QUEUE_RESUME);
}
