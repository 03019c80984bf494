/*
 * GET: lists of everything, and single things out of them.
 */
#include <stdio.h>
#include <stdlib.h>

#include "manage/calls.h"

/* What stands behind /api/ in the pattern, and its list. */
static const struct {
    const char *plural;
    enum manage_list list;
} plurals[] = {
    {"vhosts", LIST_VHOST},
    {"exchanges", LIST_EXCHANGE},
    {"queues", LIST_QUEUE},
    {"bindings", LIST_BINDING},
    {"consumers", LIST_CONSUMER},
    {"policies", LIST_POLICY},
    {"permissions", LIST_PERMISSION},
    {"users", LIST_USER},
    {"operator-policies", LIST_POLICY},
};

static enum manage_list list_of(const struct call *c) {
    const char *name = c->route->pattern + sizeof "/api/" - 1;
    size_t i = 0;
    while (i < ARRAY_LENGTH(plurals) - 1 &&
           (strncmp(name, plurals[i].plural, strcspn(name, "/")) != 0 ||
            strlen(plurals[i].plural) != strcspn(name, "/")))
        i++;
    return plurals[i].list;
}

/* The path's vhost, for those that stand in one. */
static struct span path_vhost(const struct call *c, enum manage_list list) {
    bool in_vhost = list != LIST_VHOST && list != LIST_USER && c->match.capture_count > 0;
    return in_vhost ? call_capture(c, 0) : span_text("");
}

static bool sees(const struct call *c, enum manage_list list, const struct manage_item *item) {
    bool of_operator = strncmp(c->route->pattern, "/api/operator-policies", 22) == 0;
    if (list == LIST_POLICY && item->u.policy.operator_policy != of_operator)
        return false;
    return list == LIST_USER || manage_may(c, RIGHT_SEE, item->vhost, span_text(""));
}

/* Each queue is bound to the default exchange by its name. */
static void add_default_bindings(struct call *c, struct pages *p) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_QUEUE); items_next(&i, &item);) {
        if (sees(c, LIST_QUEUE, &item))
            pages_add(p, default_binding_json(item.vhost, item.name));
    }
}

/* There is one in each vhost, which the engine does not list: nothing can be done to it. */
static void add_default_exchanges(struct call *c, struct span vhost, struct pages *p) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_VHOST); items_next(&i, &item);) {
        struct manage_item exchange = {
            .vhost = item.vhost,
            .name = span_text(""),
            .u.exchange.info = {.type = EXCHANGE_DIRECT, .durable = true, .builtin = true}};
        if (sees(c, LIST_VHOST, &item) && (vhost.size == 0 || span_equal(vhost, item.vhost)))
            pages_add(p, item_to_json(c, LIST_EXCHANGE, &exchange));
    }
}

static void send_list(struct call *c) {
    enum manage_list list = list_of(c);
    struct span vhost = path_vhost(c, list);
    struct manage_items i;
    struct manage_item item;
    struct pages *p = pages_begin(c);
    if (p == NULL)
        return;
    if (list == LIST_BINDING)
        add_default_bindings(c, p);
    if (list == LIST_EXCHANGE)
        add_default_exchanges(c, vhost, p);
    for (items_begin(&i, c->own, list); items_next(&i, &item);) {
        if (sees(c, list, &item) && (vhost.size == 0 || span_equal(vhost, item.vhost)))
            pages_add(p, item_to_json(c, list, &item));
    }
    pages_end(c, p);
}

void manage_list_all(struct call *c) {
    enum manage_list list = list_of(c);
    unsigned lists = 1u << list | (list == LIST_BINDING || list == LIST_VHOST ? WANT(QUEUE) : 0) |
                     (list == LIST_EXCHANGE ? WANT(VHOST) | WANT(POLICY) : 0) |
                     (list == LIST_QUEUE ? WANT(POLICY) : 0);
    if (manage_of(c) != NULL)
        manage_ask(c, lists, path_vhost(c, list), send_list);
}

/* ---- one thing ---- */

static bool is_asked(const struct call *c, enum manage_list list, const struct manage_item *item) {
    size_t last = c->match.capture_count - 1;
    return span_equal(item->name, call_capture(c, last)) &&
           (last == 0 || span_equal(item->vhost, call_capture(c, 0)));
}

static json_t *consumers_of(const struct call *c, struct span vhost, struct span queue) {
    json_t *list = json_array();
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_CONSUMER); items_next(&i, &item);) {
        if (span_equal(item.name, queue) && span_equal(item.vhost, vhost))
            json_array_append_new(list, item_to_json(c, LIST_CONSUMER, &item));
    }
    return list;
}

static void send_one(struct call *c) {
    enum manage_list list = list_of(c);
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, list); items_next(&i, &item);) {
        if (!is_asked(c, list, &item) || !sees(c, list, &item))
            continue;
        json_t *found = item_to_json(c, list, &item);
        if (list == LIST_QUEUE && found != NULL)
            json_object_set_new(found, "consumer_details", consumers_of(c, item.vhost, item.name));
        manage_send(c, 200, found);
        return;
    }
    call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
}

void manage_show(struct call *c) {
    enum manage_list list = list_of(c);
    bool alone = c->match.capture_count == 1;
    unsigned lists = 1u << list | (list == LIST_QUEUE ? WANT(CONSUMER) | WANT(POLICY) : 0) |
                     (list == LIST_EXCHANGE ? WANT(POLICY) : 0) |
                     (list == LIST_VHOST ? WANT(QUEUE) : 0);
    if (manage_of(c) != NULL)
        manage_ask(c, lists, alone ? span_text("") : call_capture(c, 0), send_one);
}

/* ---- bindings of one thing ---- */

/*
 * /queues/{v}/{q}/bindings, /exchanges/{v}/{x}/bindings/source|destination,
 * /bindings/{v}/e/{source}/q|e/{destination}
 */
static bool is_of(const struct call *c, const struct binding *b) {
    const char *pattern = c->route->pattern;
    struct span name = call_capture(c, 1);
    if (c->match.capture_count >= 3)
        return span_equal(b->source, name) && span_equal(b->destination, call_capture(c, 2)) &&
               b->to_exchange == (strstr(pattern, "/e/{destination}") != NULL);
    if (strncmp(pattern, "/api/queues/", 12) == 0)
        return !b->to_exchange && span_equal(b->destination, name);
    return strstr(pattern, "/source") != NULL ? span_equal(b->source, name)
                                              : b->to_exchange && span_equal(b->destination, name);
}

static void send_bindings(struct call *c) {
    struct manage_items i;
    struct manage_item item;
    struct pages *p = pages_begin(c);
    if (p == NULL)
        return;
    bool of_queue = strncmp(c->route->pattern, "/api/queues/", 12) == 0;
    for (items_begin(&i, c->own, LIST_QUEUE); of_queue && items_next(&i, &item);) {
        if (span_equal(item.name, call_capture(c, 1)) && span_equal(item.vhost, call_capture(c, 0)))
            pages_add(p, default_binding_json(item.vhost, item.name));
    }
    for (items_begin(&i, c->own, LIST_BINDING); items_next(&i, &item);) {
        if (is_of(c, &item.u.binding))
            pages_add(p, item_to_json(c, LIST_BINDING, &item));
    }
    pages_end(c, p);
}

void manage_bindings_of(struct call *c) {
    struct span vhost = call_capture(c, 0);
    if (manage_of(c) != NULL && manage_allowed(c, RIGHT_SEE, vhost, span_text("")))
        manage_ask(c, WANT(BINDING) | WANT(QUEUE), vhost, send_bindings);
}

/* ---- the rest ---- */

static void send_user_permissions(struct call *c) {
    struct manage_items i;
    struct manage_item item;
    json_t *list = json_array();
    for (items_begin(&i, c->own, LIST_PERMISSION); items_next(&i, &item);) {
        bool of_vhost = strncmp(c->route->pattern, "/api/vhosts/", 12) == 0;
        struct span found = of_vhost ? item.u.permission.vhost : item.u.permission.user;
        if (span_equal(found, call_capture(c, 0)))
            json_array_append_new(list, item_to_json(c, LIST_PERMISSION, &item));
    }
    manage_send(c, 200, list);
}

void manage_user_permissions(struct call *c) {
    manage_ask(c, WANT(PERMISSION), span_text(""), send_user_permissions);
}

/* There is none of these here, which is what an empty list says. */
void manage_empty_list(struct call *c) {
    manage_send(c, 200, json_array());
}
