/*
 * PUT, POST and DELETE of vhosts, users, permissions, exchanges, queues, bindings and policies.
 *
 * A PUT is answered 204 when the thing was there and 201 when it was not, so each asks first.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "base/password.h"
#include "manage/calls.h"

static bool begin(struct call *c) {
    return manage_of(c) != NULL && manage_body(c);
}

static struct span no_text(void) {
    return span_text("");
}

/* The path's thing among those of the list. */
static bool listed(const struct call *c, enum manage_list list, struct span vhost,
                   struct span name) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, list); items_next(&i, &item);) {
        if (span_equal(item.name, name) && (vhost.size == 0 || span_equal(item.vhost, vhost)))
            return true;
    }
    return false;
}

/* ---- vhosts ---- */

static void put_vhost(struct call *c) {
    struct manage *m = c->own;
    m->there = listed(c, LIST_VHOST, no_text(), call_capture(c, 0));
    call_request(c, REQUEST_VHOST_DEFINE)->name = call_capture(c, 0);
    manage_submit(c, false, manage_defined);
}

void manage_put_vhost(struct call *c) {
    if (begin(c))
        manage_ask(c, WANT(VHOST), no_text(), put_vhost);
}

void manage_delete_vhost(struct call *c) {
    if (manage_of(c) == NULL)
        return;
    call_request(c, REQUEST_VHOST_DELETE)->name = call_capture(c, 0);
    manage_submit(c, false, manage_done);
}

/* ---- users ---- */

/* Tags are a list, or one text with commas. */
static struct span tags_of(struct call *c) {
    const json_t *tags = json_object_get(c->tree, "tags"), *tag;
    struct manage *m = c->own;
    size_t i;
    if (json_is_string(tags))
        return member_text(c->tree, "tags");
    buffer_clear(&m->text);
    json_array_foreach((json_t *)(uintptr_t)tags, i, tag) {
        const char *text = json_string_value(tag);
        if (text != NULL && buffer_printf(&m->text, "%s%s", m->text.size > 0 ? "," : "", text) != 0)
            return no_text();
    }
    return manage_copy(c, buffer_span(&m->text));
}

/* Of a user that is defined: what is kept of the password. */
struct hashing {
    uv_work_t work;
    struct call *call; /* borrows: it waits */
    struct span password;
    bool failed;
    char hash[PASSWORD_HASH_BYTES];
};

static void define_user(struct call *c, struct hashing *h) {
    struct manage *m = c->own;
    struct span name = call_capture(c, 0);
    m->there = listed(c, LIST_USER, no_text(), name);
    struct request *r = call_request(c, REQUEST_USER_DEFINE);
    r->name = name;
    r->in.user = (struct user_def){.name = name, .hash = span_text(h->hash), .tags = tags_of(c)};
    manage_submit(c, false, manage_defined);
}

static void hash_work(uv_work_t *w) {
    struct hashing *h = CONTAINER_OF(w, struct hashing, work);
    h->failed = password_hash(h->password, h->hash) != 0;
}

static void hashed(uv_work_t *w, int status) {
    struct hashing *h = CONTAINER_OF(w, struct hashing, work);
    (void)status;
    manage_worked(h->call);
    if (h->failed)
        call_problem(h->call, PROBLEM_INTERNAL, "no memory for the password");
    else
        define_user(h->call, h);
}

/* Without a password: a hash of another server, or none, and nobody logs in by a password. NULL: fine. */
static const char *take_hash(struct call *c, char hash[PASSWORD_HASH_BYTES]) {
    struct span given = member_text(c->tree, "password_hash");
    struct span algorithm = member_text(c->tree, "hashing_algorithm");
    hash[0] = '\0';
    if (given.size == 0)
        return json_object_get(c->tree, "password_hash") != NULL
                   ? NULL
                   : "expected password or password_hash";
    if (algorithm.size == 0)
        algorithm = span_text("rabbit_password_hashing_sha256");
    return password_import(algorithm, given, hash) == 0 ? NULL : "not such a password_hash";
}

static void put_user(struct call *c) {
    struct hashing *h = call_alloc(c, sizeof *h);
    if (h == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    *h = (struct hashing){.call = c, .password = member_text(c->tree, "password")};
    const char *wrong = h->password.size > 0 ? NULL : take_hash(c, h->hash);
    if (wrong != NULL)
        call_invalid(c, "", wrong);
    else if (h->password.size > 0)
        manage_work(c, &h->work, hash_work, hashed);
    else
        define_user(c, h);
}

void manage_put_user(struct call *c) {
    if (begin(c))
        manage_ask(c, WANT(USER), no_text(), put_user);
}

void manage_delete_user(struct call *c) {
    if (manage_of(c) == NULL)
        return;
    struct request *r = call_request(c, REQUEST_USER_DELETE);
    r->name = r->in.user.name = call_capture(c, 0);
    manage_submit(c, false, manage_done);
}

static void delete_next(struct call *c);

/* One that is not there ends it, as in RabbitMQ: those before it are gone. */
static void deleted_one(struct call *c) {
    if (c->request.r.refusal == REFUSAL_NOT_FOUND)
        call_invalid(c, "/users", "no_such_user");
    else if (!manage_refused(c))
        delete_next(c);
}

static void delete_next(struct call *c) {
    struct manage *m = c->own;
    const json_t *name = json_array_get(json_object_get(c->tree, "users"), m->asked++);
    if (name == NULL) {
        call_empty(c, 204);
        return;
    }
    struct request *r = call_request(c, REQUEST_USER_DELETE);
    r->name = r->in.user.name = span_text(json_string_value(name));
    manage_submit(c, false, deleted_one);
}

void manage_delete_users(struct call *c) {
    if (manage_of(c) == NULL || !manage_body(c))
        return;
    const json_t *users = json_object_get(c->tree, "users"), *name;
    bool texts = json_is_array(users);
    size_t i;
    json_array_foreach((json_t *)(uintptr_t)users, i, name) texts = texts && json_is_string(name);
    if (texts)
        delete_next(c);
    else
        call_invalid(c, "/users", "expected a list of names");
}

/* ---- permissions ---- */

static void put_permission(struct call *c) {
    struct manage *m = c->own;
    struct span vhost = call_capture(c, 0), user = call_capture(c, 1);
    m->there = listed(c, LIST_PERMISSION, vhost, user);
    struct request *r = call_request(c, REQUEST_PERMISSION_DEFINE);
    r->name = user;
    r->vhost = vhost;
    r->in.permission = (struct permission_def){.user = user,
                                               .vhost = vhost,
                                               .configure = member_text(c->tree, "configure"),
                                               .write = member_text(c->tree, "write"),
                                               .read = member_text(c->tree, "read")};
    manage_submit(c, false, manage_defined);
}

static bool pattern_compiles(struct span text) {
    struct pattern *p;
    if (pattern_compile(text, &p) != 0)
        return false;
    pattern_free(p);
    return true;
}

void manage_put_permission(struct call *c) {
    static const char *const names[] = {"configure", "write", "read"};
    if (!begin(c))
        return;
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (!json_is_string(json_object_get(c->tree, names[i])) ||
            !pattern_compiles(member_text(c->tree, names[i]))) {
            call_invalid(c, "", "expected configure, write and read: regular expressions");
            return;
        }
    }
    manage_ask(c, WANT(PERMISSION), no_text(), put_permission);
}

void manage_delete_permission(struct call *c) {
    if (manage_of(c) == NULL)
        return;
    struct request *r = call_request(c, REQUEST_PERMISSION_DELETE);
    r->vhost = r->in.permission.vhost = call_capture(c, 0);
    r->name = r->in.permission.user = call_capture(c, 1);
    manage_submit(c, false, manage_done);
}

/* ---- exchanges and queues ---- */

/* Encoded `arguments` of the body. False: answered. */
static bool take_arguments(struct call *c, struct span *ret) {
    struct manage *m = c->own;
    if (table_from_json(json_object_get(c->tree, "arguments"), &m->text, ret) == 0)
        return true;
    call_invalid(c, "/arguments", "expected an object that is a table of AMQP");
    return false;
}

/* Absent: true, as in RabbitMQ. */
static bool is_durable(const json_t *tree) {
    return json_object_get(tree, "durable") == NULL || member_bool(tree, "durable");
}

static struct request *about_named(struct call *c, enum request_kind kind) {
    struct request *r = call_request(c, kind);
    r->vhost = call_capture(c, 0);
    r->name = call_capture(c, 1);
    return r;
}

static void declare_exchange(struct call *c) {
    struct manage *m = c->own;
    struct span arguments;
    m->there = c->request.r.refusal == REFUSAL_NONE;
    if (c->request.r.refusal != REFUSAL_NOT_FOUND && manage_refused(c))
        return;
    if (!take_arguments(c, &arguments))
        return;
    struct request *r = about_named(c, REQUEST_EXCHANGE_DECLARE);
    struct span type = member_text(c->tree, "type");
    r->in.exchange = (struct exchange_declare){.type = type.size > 0 ? type : span_text("direct"),
                                               .arguments = arguments,
                                               .durable = is_durable(c->tree),
                                               .auto_delete = member_bool(c->tree, "auto_delete"),
                                               .internal = member_bool(c->tree, "internal")};
    manage_submit(c, false, manage_defined);
}

void manage_put_exchange(struct call *c) {
    if (!begin(c) || !manage_allowed(c, RIGHT_CONFIGURE, call_capture(c, 0), call_capture(c, 1)))
        return;
    struct request *r = about_named(c, REQUEST_EXCHANGE_DECLARE);
    r->in.exchange = (struct exchange_declare){.passive = true};
    manage_submit(c, true, declare_exchange);
}

static void declare_queue(struct call *c) {
    struct manage *m = c->own;
    struct span arguments;
    m->there = c->request.r.refusal == REFUSAL_NONE;
    if (c->request.r.refusal != REFUSAL_NOT_FOUND && manage_refused(c))
        return;
    if (!take_arguments(c, &arguments))
        return;
    struct request *r = about_named(c, REQUEST_AMQP_QUEUE_DECLARE);
    r->in.queue_declare =
        (struct queue_declare){.arguments = arguments,
                               .durable = is_durable(c->tree),
                               .auto_delete = member_bool(c->tree, "auto_delete")};
    manage_submit(c, false, manage_defined);
}

void manage_put_queue(struct call *c) {
    if (!begin(c) || !manage_allowed(c, RIGHT_CONFIGURE, call_capture(c, 0), call_capture(c, 1)))
        return;
    struct request *r = about_named(c, REQUEST_AMQP_QUEUE_DECLARE);
    r->in.queue_declare = (struct queue_declare){.passive = true};
    manage_submit(c, true, declare_queue);
}

/* AMQP says "done" to a delete of what is not there; HTTP says 404: so it is asked for first. */
static void delete_named(struct call *c) {
    bool queue = strncmp(c->route->pattern, "/api/queues/", 12) == 0;
    if (manage_refused(c))
        return;
    struct request *r = about_named(c, queue ? REQUEST_AMQP_QUEUE_DELETE : REQUEST_EXCHANGE_DELETE);
    r->in.remove = (struct queue_remove){.if_unused = manage_flag(c, "if-unused"),
                                         .if_empty = manage_flag(c, "if-empty")};
    manage_submit(c, false, manage_done);
}

void manage_delete_exchange(struct call *c) {
    if (manage_of(c) == NULL ||
        !manage_allowed(c, RIGHT_CONFIGURE, call_capture(c, 0), call_capture(c, 1)))
        return;
    struct request *r = about_named(c, REQUEST_EXCHANGE_DECLARE);
    r->in.exchange = (struct exchange_declare){.passive = true};
    manage_submit(c, true, delete_named);
}

void manage_delete_queue(struct call *c) {
    if (manage_of(c) == NULL ||
        !manage_allowed(c, RIGHT_CONFIGURE, call_capture(c, 0), call_capture(c, 1)))
        return;
    struct request *r = about_named(c, REQUEST_AMQP_QUEUE_DECLARE);
    r->in.queue_declare = (struct queue_declare){.passive = true};
    manage_submit(c, true, delete_named);
}

void manage_purge_queue(struct call *c) {
    if (manage_of(c) == NULL ||
        !manage_allowed(c, RIGHT_READ, call_capture(c, 0), call_capture(c, 1)))
        return;
    (void)about_named(c, REQUEST_AMQP_QUEUE_PURGE);
    manage_submit(c, false, manage_done);
}

/* ---- bindings: /bindings/{vhost}/e/{source}/q|e/{destination}[/{properties}] ---- */

static bool to_exchange(const struct call *c) {
    return strstr(c->route->pattern, "/e/{destination}") != NULL;
}

/* RabbitMQ: write of the destination, read of the source. */
static bool may_bind(struct call *c) {
    struct span vhost = call_capture(c, 0);
    return manage_allowed(c, RIGHT_WRITE, vhost, call_capture(c, 2)) &&
           manage_allowed(c, RIGHT_READ, vhost, call_capture(c, 1));
}

static struct request *about_binding(struct call *c, enum request_kind kind, struct span key,
                                     struct span arguments) {
    struct request *r = call_request(c, kind);
    r->vhost = call_capture(c, 0);
    r->name = call_capture(c, 1);
    r->in.binding = (struct binding){.source = call_capture(c, 1),
                                     .destination = call_capture(c, 2),
                                     .to_exchange = to_exchange(c),
                                     .routing_key = key,
                                     .arguments = arguments};
    return r;
}

static void bound(struct call *c) {
    char key[PROPERTIES_KEY_BYTES], location[3 * PROPERTIES_KEY_BYTES + 2 * 256];
    if (manage_refused(c))
        return;
    binding_properties_key(&c->request.r.in.binding, key);
    size_t at = 0;
    for (const char *k = key; *k != '\0'; k++) {
        if (*k == '%')
            at += (size_t)snprintf(location + at, 4, "%%25");
        else
            location[at++] = *k;
    }
    call_header(c, "Location", span_of(location, at));
    call_empty(c, 201);
}

void manage_post_binding(struct call *c) {
    struct span arguments;
    if (begin(c) && may_bind(c) && take_arguments(c, &arguments)) {
        (void)about_binding(c, REQUEST_AMQP_BIND, member_text(c->tree, "routing_key"), arguments);
        manage_submit(c, false, bound);
    }
}

static void unbind(struct call *c) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_BINDING); items_next(&i, &item);) {
        const struct binding *b = &item.u.binding;
        char key[PROPERTIES_KEY_BYTES];
        binding_properties_key(b, key);
        if (span_equal(b->source, call_capture(c, 1)) &&
            span_equal(b->destination, call_capture(c, 2)) && b->to_exchange == to_exchange(c) &&
            span_is(call_capture(c, 3), key)) {
            (void)about_binding(c, REQUEST_AMQP_UNBIND, b->routing_key, b->arguments);
            manage_submit(c, false, manage_done);
            return;
        }
    }
    call_problem(c, PROBLEM_NOT_FOUND, "no such binding");
}

void manage_delete_binding(struct call *c) {
    if (manage_of(c) != NULL && may_bind(c))
        manage_ask(c, WANT(BINDING), call_capture(c, 0), unbind);
}

/* ---- policies ---- */

static bool of_operator(const struct call *c) {
    return strncmp(c->route->pattern, "/api/operator-policies/", 23) == 0;
}

static bool policy_listed(const struct call *c, struct span vhost, struct span name) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_POLICY); items_next(&i, &item);) {
        if (span_equal(item.vhost, vhost) && span_equal(item.name, name) &&
            item.u.policy.operator_policy == of_operator(c))
            return true;
    }
    return false;
}

static void put_policy(struct call *c) {
    struct manage *m = c->own;
    struct span vhost = call_capture(c, 0), name = call_capture(c, 1), entries;
    m->there = policy_listed(c, vhost, name);
    if (table_from_json(json_object_get(c->tree, "definition"), &m->text, &entries) != 0) {
        call_invalid(c, "/definition", "expected an object");
        return;
    }
    struct span apply_to = member_text(c->tree, "apply-to");
    struct request *r = about_named(c, REQUEST_POLICY_DEFINE);
    r->in.policy = (struct policy_def){.name = name,
                                       .pattern = member_text(c->tree, "pattern"),
                                       .apply_to = apply_to.size > 0 ? apply_to
                                                   : of_operator(c)  ? span_text("queues")
                                                                     : span_text("all"),
                                       .priority = (int32_t)member_integer(c->tree, "priority"),
                                       .definition = entries,
                                       .operator_policy = of_operator(c)};
    manage_submit(c, false, manage_defined);
}

void manage_put_policy(struct call *c) {
    if (!begin(c) || !manage_allowed(c, RIGHT_SEE, call_capture(c, 0), no_text()))
        return;
    if (!pattern_compiles(member_text(c->tree, "pattern"))) {
        call_invalid(c, "/pattern", "expected a regular expression");
        return;
    }
    manage_ask(c, WANT(POLICY), call_capture(c, 0), put_policy);
}

void manage_delete_policy(struct call *c) {
    if (manage_of(c) == NULL || !manage_allowed(c, RIGHT_SEE, call_capture(c, 0), no_text()))
        return;
    struct request *r = about_named(c, REQUEST_POLICY_DELETE);
    r->in.policy.name = r->name;
    r->in.policy.operator_policy = of_operator(c);
    manage_submit(c, false, manage_done);
}
