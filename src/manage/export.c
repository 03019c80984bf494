/*
 * GET /api/definitions: what a definitions file of RabbitMQ holds, so that either can be moved to the other.
 */
#include "manage/calls.h"

static const struct {
    const char *name;
    enum manage_list list;
    bool of_vhost; /* stands in the export of a vhost as well */
} parts[] = {
    {"users", LIST_USER, false},
    {"vhosts", LIST_VHOST, false},
    {"permissions", LIST_PERMISSION, false},
    {"policies", LIST_POLICY, true},
    {"queues", LIST_QUEUE, true},
    {"exchanges", LIST_EXCHANGE, true},
    {"bindings", LIST_BINDING, true},
};

static json_t *part_json(const struct call *c, enum manage_list list, struct span vhost) {
    json_t *all = json_array();
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, list); items_next(&i, &item);) {
        if (vhost.size > 0 && !span_equal(vhost, item.vhost))
            continue;
        json_t *one = item_to_definition(list, &item);
        if (one != NULL && vhost.size > 0)
            json_object_del(one, "vhost");
        if (one != NULL)
            json_array_append_new(all, one);
    }
    return all;
}

static json_t *parameters_json(const struct call *c, struct span vhost) {
    json_t *all = json_array();
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_POLICY); items_next(&i, &item);) {
        if (item.u.policy.operator_policy && (vhost.size == 0 || span_equal(vhost, item.vhost)))
            json_array_append_new(all, operator_policy_parameter(&item));
    }
    return all;
}

static void send_definitions(struct call *c) {
    bool whole = c->match.capture_count == 0;
    struct span vhost = whole ? span_text("") : call_capture(c, 0);
    json_t *o = json_object();
    json_object_set_new(o, "rabbit_version", json_string("3.10.8"));
    json_object_set_new(o, "product_name", json_string("Sluice"));
    json_object_set_new(o, "parameters", parameters_json(c, vhost));
    if (whole) {
        json_object_set_new(o, "global_parameters", json_array());
        json_object_set_new(o, "topic_permissions", json_array());
    }
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        if (whole || parts[i].of_vhost)
            json_object_set_new(o, parts[i].name, part_json(c, parts[i].list, vhost));
    }
    manage_send(c, 200, o);
}

void manage_export(struct call *c) {
    unsigned lists = (1u << MANAGE_LISTS) - 1 - WANT(CONSUMER);
    manage_ask(c, lists, span_text(""), send_definitions);
}
