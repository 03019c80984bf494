/*
 * POST /api/definitions: one request to the engine for each thing of the file, one after the other, in the order
 * in which they lean on one another:
 *
 *      vhosts, users, permissions, policies, exchanges, queues, bindings
 *
 * What is there already stays as it is. What cannot be honoured is not dropped silently: the answer is an array
 * of {"where": "/queues/3", "what": "queue 'x' in vhost '/'", "why": "..."}; an empty one: all was honoured.
 * It is not all or nothing: what was defined before a line that fails stays, as in RabbitMQ, and the same file
 * may be sent again.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/password.h"
#include "manage/calls.h"

struct import {
    size_t part;    /* in the table below */
    size_t item;    /* in that part's array */
    json_t *report; /* owns */
    char hash[PASSWORD_HASH_BYTES];
    struct buffer tags; /* owns */
};

enum { WHERE_BYTES = 96, WHAT_BYTES = 512 };

struct part {
    const char *name;
    /* Fills in the request. False: reported, nothing is asked. */
    bool (*fill)(struct call *c, const json_t *item, struct request *r);
    bool of_vhost;
    const char *noun;
};

void import_free(struct import *i) {
    if (i == NULL)
        return;
    json_decref(i->report);
    buffer_release(&i->tags);
    free(i);
}

static struct import *import_of(const struct call *c) {
    return ((struct manage *)c->own)->import;
}

/* ---- the report ---- */

static const struct part *part_of(const struct call *c);

static void PRINTF_LIKE(5, 6) report_at(struct import *i, const char *where, const char *what,
                                        struct span vhost, const char *format, ...) {
    char why[512], full[WHAT_BYTES];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(why, sizeof why, format, arguments);
    va_end(arguments);
    if (vhost.size > 0)
        snprintf(full, sizeof full, "%s in vhost '%.*s'", what, SPAN_ARG(vhost));
    else
        snprintf(full, sizeof full, "%s", what);
    json_array_append_new(i->report, json_pack("{s:s,s:o,s:o}", "where", where, "what",
                                               text_to_json(span_text(full)), "why",
                                               text_to_json(span_text(why))));
}

static void describe(const struct part *p, const json_t *item, char out[WHAT_BYTES]) {
    struct span name = member_text(item, "name"), user = member_text(item, "user");
    if (strcmp(p->noun, "binding") == 0)
        snprintf(out, WHAT_BYTES, "binding '%.*s' -> '%.*s'", SPAN_ARG(member_text(item, "source")),
                 SPAN_ARG(member_text(item, "destination")));
    else
        snprintf(out, WHAT_BYTES, "%s '%.*s'", p->noun, SPAN_ARG(name.size > 0 ? name : user));
}

static void report(struct call *c, const json_t *item, const char *why) {
    const struct part *p = part_of(c);
    struct import *i = import_of(c);
    char where[WHERE_BYTES], what[WHAT_BYTES];
    snprintf(where, sizeof where, "/%s/%zu", p->name, i->item);
    describe(p, item, what);
    report_at(i, where, what, p->of_vhost ? member_text(item, "vhost") : span_text(""), "%s", why);
}

/* ---- parts ---- */

static struct span vhost_of(const struct call *c, const json_t *item) {
    struct span vhost = member_text(item, "vhost");
    return c->match.capture_count > 0 ? call_capture(c, 0)
           : vhost.size > 0           ? vhost
                                      : span_text("/");
}

static bool take_table_of(struct call *c, const json_t *item, const json_t *table,
                          struct span *ret) {
    struct manage *m = c->own;
    if (table_from_json(table, &m->text, ret) == 0)
        return true;
    report(c, item, "its arguments are no table of AMQP");
    return false;
}

static bool take_table(struct call *c, const json_t *item, const char *name, struct span *ret) {
    return take_table_of(c, item, json_object_get(item, name), ret);
}

static bool fill_vhost(struct call *c, const json_t *item, struct request *r) {
    r->kind = REQUEST_VHOST_DEFINE;
    r->name = member_text(item, "name");
    struct span type = member_text(item, "default_queue_type");
    if (type.size > 0 && !span_is(type, "classic") && !span_is(type, "undefined"))
        report(c, item, "default_queue_type is not kept: queues are declared with their type");
    return true;
}

static void put_tags(const json_t *item, struct buffer *out) {
    const json_t *tags = json_object_get(item, "tags"), *tag;
    size_t k;
    buffer_clear(out);
    if (json_is_string(tags) && buffer_append_text(out, json_string_value(tags)) != 0)
        buffer_clear(out);
    json_array_foreach((json_t *)(uintptr_t)tags, k, tag) {
        const char *text = json_string_value(tag);
        if (text != NULL && buffer_printf(out, "%s%s", out->size > 0 ? "," : "", text) != 0)
            buffer_clear(out); /* without its rights rather than with half of them */
    }
}

static bool fill_user(struct call *c, const json_t *item, struct request *r) {
    struct import *i = import_of(c);
    struct span hash = member_text(item, "password_hash");
    struct span algorithm = member_text(item, "hashing_algorithm");
    if (algorithm.size == 0)
        algorithm =
            span_text("rabbit_password_hashing_md5"); /* of the files before there were names */
    i->hash[0] = '\0';
    if (hash.size > 0 && password_import(algorithm, hash, i->hash) != 0)
        report(c, item,
               "the password cannot be checked by its hashing_algorithm: the user is made, "
               "but no password lets it in until a new one is set");
    if (json_object_size(json_object_get(item, "limits")) > 0)
        report(c, item, "limits of users are not kept");
    put_tags(item, &i->tags);
    r->kind = REQUEST_USER_DEFINE;
    r->name = member_text(item, "name");
    r->in.user = (struct user_def){
        .name = r->name, .hash = span_text(i->hash), .tags = buffer_span(&i->tags)};
    return true;
}

static bool fill_permission(struct call *c, const json_t *item, struct request *r) {
    r->kind = REQUEST_PERMISSION_DEFINE;
    r->vhost = vhost_of(c, item);
    r->name = member_text(item, "user");
    r->in.permission = (struct permission_def){.user = r->name,
                                               .vhost = r->vhost,
                                               .configure = member_text(item, "configure"),
                                               .write = member_text(item, "write"),
                                               .read = member_text(item, "read")};
    return true;
}

/* Taken and kept by the model, and without effect there. */
static const char *const idle_settings[] = {
    "queue-mode",
    "queue-version",
    "queue-master-locator",
    "queue-leader-locator",
    "ha-mode",
    "ha-params",
    "ha-sync-mode",
    "ha-sync-batch-size",
    "ha-promote-on-shutdown",
    "ha-promote-on-failure",
    "max-in-memory-length",
    "max-in-memory-bytes",
    "dead-letter-strategy",
    "federation-upstream",
    "federation-upstream-set",
    "max-age",
    "stream-max-segment-size-bytes",
    "initial-cluster-size",
    "shards-per-node",
};

static void report_idle(struct call *c, const json_t *item, const json_t *object, const char *noun,
                        const char *const *names, size_t count) {
    for (size_t k = 0; k < count; k++) {
        char why[128];
        if (json_object_get(object, names[k]) == NULL)
            continue;
        snprintf(why, sizeof why, "the %s %s is kept, but has no effect here", noun, names[k]);
        report(c, item, why);
    }
}

static bool fill_policy_from(struct call *c, const json_t *item, const json_t *values,
                             struct request *r) {
    struct span definition, apply_to = member_text(values, "apply-to");
    if (!take_table_of(c, item, json_object_get(values, "definition"), &definition))
        return false;
    report_idle(c, item, json_object_get(values, "definition"), "setting", idle_settings,
                ARRAY_LENGTH(idle_settings));
    r->kind = REQUEST_POLICY_DEFINE;
    r->vhost = vhost_of(c, item);
    r->name = member_text(item, "name");
    r->in.policy = (struct policy_def){.name = r->name,
                                       .pattern = member_text(values, "pattern"),
                                       .apply_to = apply_to.size > 0 ? apply_to : span_text("all"),
                                       .priority = (int32_t)member_integer(values, "priority"),
                                       .definition = definition,
                                       .operator_policy = values != item};
    return true;
}

static bool fill_policy(struct call *c, const json_t *item, struct request *r) {
    return fill_policy_from(c, item, item, r);
}

static bool fill_exchange(struct call *c, const json_t *item, struct request *r) {
    struct span arguments;
    if (!take_table(c, item, "arguments", &arguments))
        return false;
    r->kind = REQUEST_EXCHANGE_DECLARE;
    r->vhost = vhost_of(c, item);
    r->name = member_text(item, "name");
    r->in.exchange = (struct exchange_declare){.type = member_text(item, "type"),
                                               .arguments = arguments,
                                               .durable = member_bool(item, "durable"),
                                               .auto_delete = member_bool(item, "auto_delete"),
                                               .internal = member_bool(item, "internal")};
    return true;
}

/* Taken and kept by the model, and without effect there. */
static const char *const idle_arguments[] = {
    "x-queue-master-locator",
    "x-quorum-initial-group-size",
    "x-dead-letter-strategy",
    "x-max-in-memory-length",
    "x-max-in-memory-bytes",
    "x-queue-leader-locator",
    "x-initial-cluster-size",
    "x-queue-version",
    "x-ha-policy",
    "x-cancel-on-ha-failover",
};

static bool fill_queue(struct call *c, const json_t *item, struct request *r) {
    struct span arguments;
    if (!take_table(c, item, "arguments", &arguments))
        return false;
    report_idle(c, item, json_object_get(item, "arguments"), "argument", idle_arguments,
                ARRAY_LENGTH(idle_arguments));
    r->kind = REQUEST_AMQP_QUEUE_DECLARE;
    r->vhost = vhost_of(c, item);
    r->name = member_text(item, "name");
    if (r->name.size == 0) {
        report(c, item, "a queue of a definitions file has a name");
        return false;
    }
    r->in.queue_declare = (struct queue_declare){.arguments = arguments,
                                                 .durable = member_bool(item, "durable"),
                                                 .auto_delete = member_bool(item, "auto_delete")};
    return true;
}

static bool fill_binding(struct call *c, const json_t *item, struct request *r) {
    struct span arguments;
    if (!take_table(c, item, "arguments", &arguments))
        return false;
    r->kind = REQUEST_AMQP_BIND;
    r->vhost = vhost_of(c, item);
    r->name = member_text(item, "source");
    r->in.binding =
        (struct binding){.source = r->name,
                         .destination = member_text(item, "destination"),
                         .to_exchange = span_is(member_text(item, "destination_type"), "exchange"),
                         .routing_key = member_text(item, "routing_key"),
                         .arguments = arguments};
    return true;
}

static bool fill_nothing(struct call *c, const json_t *item, struct request *r);

/* Operator policies are parameters in RabbitMQ. */
static bool fill_parameter(struct call *c, const json_t *item, struct request *r) {
    const json_t *value = json_object_get(item, "value");
    return span_is(member_text(item, "component"), "operator_policy") && json_is_object(value)
               ? fill_policy_from(c, item, value, r)
               : fill_nothing(c, item, r);
}

static bool fill_nothing(struct call *c, const json_t *item, struct request *r) {
    const struct part *p = part_of(c);
    (void)r;
    /* The name of a cluster and its id say who it was, not what it does. */
    struct span name = member_text(item, "name");
    if (strcmp(p->name, "global_parameters") == 0 &&
        (span_is(name, "internal_cluster_id") || span_is(name, "cluster_name")))
        return false;
    report(c, item,
           strcmp(p->name, "topic_permissions") == 0
               ? "permissions by routing key are not kept"
               : "there are no parameters here (shovels, federation, limits)");
    return false;
}

static const struct part parts[] = {
    {"vhosts", fill_vhost, false, "vhost"},
    {"users", fill_user, false, "user"},
    {"permissions", fill_permission, true, "permission of"},
    {"topic_permissions", fill_nothing, true, "topic permission of"},
    {"parameters", fill_parameter, true, "parameter"},
    {"global_parameters", fill_nothing, false, "global parameter"},
    {"policies", fill_policy, true, "policy"},
    {"exchanges", fill_exchange, true, "exchange"},
    {"queues", fill_queue, true, "queue"},
    {"bindings", fill_binding, true, "binding"},
};

static const struct part *part_of(const struct call *c) {
    return &parts[import_of(c)->part];
}

/* What is no part at all, and is not only about the file. */
static void report_unknown(struct import *i, const json_t *tree) {
    static const char *const about[] = {"rabbit_version", "rabbitmq_version", "product_name",
                                        "product_version", "original_vhost_name"};
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)tree, name, value) {
        bool known = false;
        for (size_t k = 0; k < ARRAY_LENGTH(parts); k++)
            known = known || strcmp(parts[k].name, name) == 0;
        for (size_t k = 0; k < ARRAY_LENGTH(about); k++)
            known = known || strcmp(about[k], name) == 0;
        char where[WHERE_BYTES];
        snprintf(where, sizeof where, "/%.80s", name);
        if (!known && json_array_size(value) + json_object_size(value) > 0)
            report_at(i, where, name, span_text(""), "nothing of that name is known here");
        else if (known && !json_is_array(value) && !json_is_string(value))
            report_at(i, where, name, span_text(""), "expected an array");
    }
}

/* ---- one after the other ---- */

static void next(struct call *c);

static const json_t *present(const struct call *c) {
    const struct import *i = import_of(c);
    return json_array_get(json_object_get(c->tree, parts[i->part].name), i->item);
}

static void defined(struct call *c) {
    const struct request *r = &c->request.r;
    struct import *i = import_of(c);
    char why[256];
    if (r->refusal == REFUSAL_BUSY || r->refusal == REFUSAL_STOPPING) {
        if (manage_refused(c)) /* not the line's fault: the whole may be sent again */
            return;
    }
    if (r->refusal != REFUSAL_NONE) {
        const char *detail = r->error_detail != NULL ? r->error_detail : refusal_name(r->refusal);
        const char *slash = strrchr(r->error_pointer, '/');
        snprintf(why, sizeof why, "%s%s%s", detail, slash != NULL ? ": " : "",
                 slash != NULL ? slash + 1 : "");
        report(c, present(c), why);
    }
    i->item++;
    next(c);
}

/* Skips what asks for nothing; answers at the end. */
static void next(struct call *c) {
    struct import *i = import_of(c);
    bool whole = c->match.capture_count == 0;
    while (i->part < ARRAY_LENGTH(parts)) {
        const json_t *item = present(c);
        bool passed = !whole && strcmp(parts[i->part].name, "policies") != 0 &&
                      strcmp(parts[i->part].name, "parameters") != 0 &&
                      strcmp(parts[i->part].name, "exchanges") != 0 &&
                      strcmp(parts[i->part].name, "queues") != 0 &&
                      strcmp(parts[i->part].name, "bindings") != 0;
        if (item == NULL || (passed && i->item > 0)) {
            i->part++;
            i->item = 0;
            continue;
        }
        struct request *r = call_request(c, REQUEST_NOTHING);
        if (passed)
            report(c, item, "not a part of one vhost: import the whole file");
        else if (!json_is_object(item))
            report(c, item, "expected an object");
        else if (parts[i->part].fill(c, item, r)) {
            manage_submit(c, false, defined);
            return;
        }
        i->item++;
    }
    json_t *lines = i->report;
    i->report = NULL;
    manage_send(c, 200, lines);
}

void manage_import(struct call *c) {
    struct manage *m = manage_of(c);
    if (m == NULL || !manage_body(c))
        return;
    struct import *i = calloc(1, sizeof *i);
    if (i != NULL) {
        m->import = i;
        i->report = json_array();
        buffer_init(&i->tags, 4096);
    }
    if (i == NULL || i->report == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    report_unknown(i, c->tree);
    next(c);
}
