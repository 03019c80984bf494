/*
 * Definitions of all four kinds: the same five routes, told apart by the collection in their pattern.
 */
#include <stdio.h>
#include <stdlib.h>

#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"
#include "base/error.h"

#define PAGE_MAX_BYTES ((size_t)128 << 20) /* of the longest definitions */

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

/* A reference gets a name that nothing has where it leads to another tenant's. E_NOMEM. */
static int hide_reference(struct call *c, const char *plural, char **text) {
    struct span name = head_name(c, plural, span_text(*text));
    return name.data == NULL ? E_NOMEM : def_set_text(text, name);
}

static int hide_references(struct call *c) {
    struct definition *d = &c->definition;
    if (d->kind == DEFINITION_QUEUE) {
        int error = hide_reference(c, "destinations", &d->u.queue.destination);
        error = error != 0 ? error : hide_reference(c, "queues", &d->u.queue.on_success.queue);
        return error != 0 ? error : hide_reference(c, "queues", &d->u.queue.on_failure.queue);
    }
    if (d->kind == DEFINITION_CAMPAIGN) {
        int error = hide_reference(c, "stocks", &d->u.campaign.stock);
        return error != 0 ? error : hide_reference(c, "queues", &d->u.campaign.queue);
    }
    return 0;
}

/*
 * What a tenant may not say of a destination, NULL: it may. Where to fail over to is looked up only when
 * it is needed, so a name of another's is refused here, whether there is such a thing or not.
 */
static const char *destination_forbidden(const struct call *c, const struct destination_def *d) {
    struct span to = span_text(d->failover.destination), queue = span_text(d->failover.queue);
    bool files = d->ca_file[0] != '\0' || d->making.client_certificate[0] != '\0' ||
                 d->making.client_key[0] != '\0';
    if (d->allow_private || files) {
        return "allowPrivateAddresses, caFile and tls are for tokens without resources";
    }
    if ((to.size > 0 && !head_covers(c, "destinations", to)) ||
        (queue.size > 0 && !head_covers(c, "queues", queue))) {
        return "the token does not cover what it fails over to";
    }
    return NULL;
}

/*
 * A tenant defines under names of its own, refers to its own, and does not lead requests into the
 * network that the server stands in. False: answered.
 */
static bool tenant_may(struct call *c) {
    const struct definition *d = &c->definition;
    if (!auth_is_tenant(&c->principal)) {
        return true;
    }
    if (!head_covers(c, definition_types[d->kind].plural, span_text(definition_name(d)))) {
        call_problem(c, PROBLEM_FORBIDDEN, "the token does not cover this");
        return false;
    }
    const char *forbidden =
        d->kind == DEFINITION_DESTINATION ? destination_forbidden(c, &d->u.destination) : NULL;
    if (forbidden != NULL) {
        call_problem(c, PROBLEM_FORBIDDEN, forbidden);
        return false;
    }
    if (hide_references(c) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return false;
    }
    return true;
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
    if (!tenant_may(c)) {
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
    /* What a destination is like stands behind its definition. */
    static const size_t sizes[DEFINITION_KINDS] = {
        [DEFINITION_QUEUE] = sizeof(struct queue_info),
        [DEFINITION_STOCK] = sizeof(struct stock_info),
        [DEFINITION_CAMPAIGN] = sizeof(struct campaign_info),
    };
    if (call_refused(c)) {
        return;
    }
    if (definition_decode(kind, buffer_span(&r->out_bytes), &c->definition) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    c->has_definition = true;
    struct span info = span_of(&r->out, sizes[kind]);
    if (kind == DEFINITION_DESTINATION && r->count <= r->out_bytes.size) {
        info = span_of(r->out_bytes.data + r->out_bytes.size - r->count, r->count);
    }
    send_definition(c, 200, &c->definition, info);
}

void define_get(struct call *c) {
    c->request.r.kind = definition_types[kind_of(c)].get;
    c->request.r.name = call_capture(c, 0);
    call_submit(c, got);
}

static int write_definition(const struct definition *d, struct span info, struct json_out *out) {
    out_open(out, '{');
    definition_write(d, out);
    int error = info_write_stats(d->kind, info, out);
    out_close(out, '}');
    return error;
}

static int write_item(enum definition_kind kind, struct reader *r, struct json_out *out) {
    struct definition d;
    struct span encoded = reader_bytes(r), info = reader_bytes(r);
    int error = r->failed ? E_CORRUPT : definition_decode(kind, encoded, &d);
    if (error != 0) {
        return error;
    }
    error = write_definition(&d, info, out);
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

/*
 * A tenant's list is looked for among everything, LIST_MAX at a time, so that no step holds up the
 * engine. Its pages are counted in what it may see: a place in the whole would tell how much else there is.
 * c->count: its own so far; c->query.after: those on the pages before.
 */
static int keep_item(struct call *c, struct reader *r, struct json_out *out, bool *ret_more) {
    enum definition_kind kind = kind_of(c);
    struct definition d;
    struct span encoded = reader_bytes(r), info = reader_bytes(r);
    int error = r->failed ? E_CORRUPT : definition_decode(kind, encoded, &d);
    if (error != 0) {
        return error;
    }
    if (head_covers(c, definition_types[kind].plural, span_text(definition_name(&d)))) {
        uint64_t rank = c->count++;
        *ret_more = rank >= c->query.after && rank - c->query.after >= c->query.page_size;
        if (rank >= c->query.after && !*ret_more) {
            error = write_definition(&d, info, out);
        }
    }
    definition_release(&d);
    return error;
}

static void send_kept(struct call *c, bool more) {
    c->request.r.next = more ? c->query.after + c->query.page_size : 0;
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    out_key(&out, definition_types[kind_of(c)].plural);
    out_open(&out, '[');
    if (c->kept->size > 0) {
        out_raw(&out, buffer_span(c->kept));
    }
    out_close(&out, ']');
    call_page_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

static void kept_some(struct call *c) {
    struct request *answer = &c->request.r;
    if (call_refused(c)) {
        return;
    }
    struct reader r;
    struct json_out out;
    bool more = false;
    int error = 0;
    reader_init(&r, buffer_span(&answer->out_bytes));
    out_init(&out, c->kept);
    out.comma = c->kept->size > 0;
    for (uint64_t i = 0; i < answer->count && error == 0 && !more; i++) {
        error = keep_item(c, &r, &out, &more);
    }
    if (error != 0 || out.failed) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else if (!more && answer->next != 0) {
        answer->in.list.after = answer->next;
        call_resubmit(c);
    } else {
        send_kept(c, more);
    }
}

static void list_covered(struct call *c) {
    c->kept = malloc(sizeof *c->kept);
    if (c->kept == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    buffer_init(c->kept, PAGE_MAX_BYTES);
    c->request.r.kind = definition_types[kind_of(c)].list;
    c->request.r.in.list.max = LIST_MAX;
    call_submit(c, kept_some);
}

void define_list(struct call *c) {
    if (auth_is_tenant(&c->principal)) {
        list_covered(c);
    } else {
        call_list(c, definition_types[kind_of(c)].list, listed);
    }
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

/* ---- breaker, failover, endpoints ---- */

static void acted(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "name", call_capture(c, 0));
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

static void submit_act(struct call *c, enum request_kind kind) {
    c->request.r.kind = kind;
    c->request.r.name = call_capture(c, 0);
    call_submit(c, acted);
}

void destination_open(struct call *c) {
    submit_act(c, REQUEST_DESTINATION_OPEN);
}

void destination_close(struct call *c) {
    submit_act(c, REQUEST_DESTINATION_CLOSE);
}

void destination_failover(struct call *c) {
    submit_act(c, REQUEST_DESTINATION_FAILOVER);
}

void destination_return(struct call *c) {
    submit_act(c, REQUEST_DESTINATION_RETURN);
}

void endpoint_eject(struct call *c) {
    c->request.r.in.endpoint = call_capture(c, 1);
    submit_act(c, REQUEST_ENDPOINT_EJECT);
}

void endpoint_return(struct call *c) {
    c->request.r.in.endpoint = call_capture(c, 1);
    submit_act(c, REQUEST_ENDPOINT_RETURN);
}

void queue_pause(struct call *c) {
    submit_switch(c, REQUEST_QUEUE_PAUSE);
}

void queue_resume(struct call *c) {
    submit_switch(c, REQUEST_QUEUE_RESUME);
}
