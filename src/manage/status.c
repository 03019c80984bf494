/*
 * What the server says about itself: overview, node, health checks, who is asking.
 */
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "engine/memory.h"
#include "manage/calls.h"
#include "manage/manager.h"

/* Tools compare this with versions of RabbitMQ to know what they may ask for. */
#define LIKE_VERSION "3.10.8"

struct totals {
    uint64_t ready, unacked, queues, exchanges, consumers, connections, channels;
    uint64_t published, delivered, acked;
};

/* ---- overview ---- */

static void count_queues(const struct call *c, struct totals *t) {
    struct manage_items i;
    struct manage_item item;
    for (items_begin(&i, c->own, LIST_QUEUE); items_next(&i, &item);) {
        const struct queue_info *info = &item.u.queue.info;
        if (!manage_may(c, RIGHT_SEE, item.vhost, span_text("")))
            continue;
        t->queues++;
        t->ready += info->ready + info->blocked;
        t->unacked += info->in_flight;
        t->published += info->published;
        t->delivered += info->attempts;
        t->acked += info->completed;
    }
}

static void count_all(const struct call *c, struct totals *t) {
    struct manage_items i;
    struct manage_item item;
    *t = (struct totals){.queues = 0};
    count_queues(c, t);
    for (items_begin(&i, c->own, LIST_EXCHANGE); items_next(&i, &item);)
        t->exchanges += manage_may(c, RIGHT_SEE, item.vhost, span_text(""));
    for (items_begin(&i, c->own, LIST_CONSUMER); items_next(&i, &item);)
        t->consumers += manage_may(c, RIGHT_SEE, item.vhost, span_text(""));
    const struct manage *m = c->own;
    t->connections = m->connection_count;
    t->channels = m->channel_count;
}

static json_t *listeners_json(const struct manager *m) {
    json_t *list = json_array();
    for (size_t i = 0; i < m->options.listener_count; i++) {
        const struct manage_listener *l = &m->options.listeners[i];
        json_array_append_new(list,
                              json_pack("{s:s,s:s,s:s,s:i}", "node", MANAGE_NODE, "protocol",
                                        l->protocol, "ip_address", l->host, "port", (int)l->port));
    }
    return list;
}

/* Where this API is served, as RabbitMQ lists its web contexts: the port is a text there. */
static json_t *contexts_json(const struct manager *m) {
    json_t *list = json_array();
    for (size_t i = 0; i < m->options.listener_count; i++) {
        const struct manage_listener *l = &m->options.listeners[i];
        char port[8];
        snprintf(port, sizeof port, "%u", l->port);
        if (strncmp(l->protocol, "http", 4) == 0)
            json_array_append_new(list, json_pack("{s:[],s:s,s:s,s:s,s:s,s:s,s:s}", "ssl_opts",
                                                  "node", MANAGE_NODE, "description",
                                                  "RabbitMQ Management", "path", "/", "cowboy_opts",
                                                  "[]", "ip", l->host, "port", port));
    }
    return list;
}

static json_t *exchange_types_json(void) {
    json_t *list = json_array();
    for (int type = EXCHANGE_DIRECT; type <= EXCHANGE_HASH; type++)
        json_array_append_new(list, json_pack("{s:s,s:b}", "name",
                                              exchange_type_name((enum exchange_type)type, false),
                                              "enabled", 1));
    json_array_append_new(list, json_pack("{s:s,s:b}", "name", "x-delayed-message", "enabled", 1));
    return list;
}

static void send_overview(struct call *c) {
    const struct manager *m = manage_manager(c);
    struct totals t;
    count_all(c, &t);
    json_t *o = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s}", "management_version", LIKE_VERSION,
                          "rabbitmq_version", LIKE_VERSION, "product_name", "Sluice",
                          "product_version", m->options.version, "node", MANAGE_NODE,
                          "cluster_name", MANAGE_NODE, "rates_mode", "none", "erlang_version", "");
    json_object_set_new(o, "exchange_types", exchange_types_json());
    json_object_set_new(o, "listeners", listeners_json(m));
    json_object_set_new(o, "contexts", contexts_json(m));
    json_object_set_new(o, "statistics_db_event_queue", json_integer(0));
    json_object_set_new(o, "queue_totals",
                        json_pack("{s:I,s:I,s:I}", "messages", (json_int_t)(t.ready + t.unacked),
                                  "messages_ready", (json_int_t)t.ready, "messages_unacknowledged",
                                  (json_int_t)t.unacked));
    json_object_set_new(o, "object_totals",
                        json_pack("{s:I,s:I,s:I,s:I,s:I}", "channels", (json_int_t)t.channels,
                                  "connections", (json_int_t)t.connections, "consumers",
                                  (json_int_t)t.consumers, "exchanges", (json_int_t)t.exchanges,
                                  "queues", (json_int_t)t.queues));
    json_object_set_new(o, "message_stats",
                        json_pack("{s:I,s:I,s:I}", "publish", (json_int_t)t.published,
                                  "deliver_get", (json_int_t)t.delivered, "ack",
                                  (json_int_t)t.acked));
    manage_send(c, 200, o);
}

static void ask_lists(struct call *c) {
    manage_ask(c, WANT(QUEUE) | WANT(EXCHANGE) | WANT(CONSUMER), span_text(""), send_overview);
}

void manage_overview(struct call *c) {
    manage_count_peers(c, ask_lists);
}

/* ---- the node ---- */

static json_t *node_json(const struct call *c) {
    const struct api *api = c->loop->api;
    const struct manager *m = manage_manager(c);
    struct engine_stats stats;
    struct rlimit files = {.rlim_cur = 0};
    char pid[16];
    engine_stats(api->options.engine, &stats);
    getrlimit(RLIMIT_NOFILE, &files);
    snprintf(pid, sizeof pid, "%d", (int)getpid());
    uint64_t uptime_ms = (clock_monotonic_ns() - api->started_ns) / NS_PER_MS;
    bool full = engine_room(api->options.engine) != LOG_ROOM_OK;
    json_t *o = json_pack("{s:s,s:s,s:b,s:s,s:I,s:I,s:b,s:b,s:I,s:i,s:[]}", "name", MANAGE_NODE,
                          "type", "disc", "running", 1, "os_pid", pid, "uptime",
                          (json_int_t)uptime_ms, "mem_used", (json_int_t)memory_resident_bytes(),
                          "mem_alarm", (int)engine_is_short_of_memory(api->options.engine),
                          "disk_free_alarm", (int)full, "fd_total", (json_int_t)files.rlim_cur,
                          "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "partitions");
    json_object_set_new(o, "exchange_types", exchange_types_json());
    json_object_set_new(o, "rates_mode", json_string("none"));
    json_object_set_new(o, "being_drained", json_false());
    json_object_set_new(o, "applications",
                        json_pack("[{s:s,s:s,s:s}]", "name", "sluice", "description", "Sluice",
                                  "version", m->options.version));
    return o;
}

void manage_nodes(struct call *c) {
    manage_send(c, 200, json_pack("[o]", node_json(c)));
}

void manage_node(struct call *c) {
    if (span_is(call_capture(c, 0), MANAGE_NODE))
        manage_send(c, 200, node_json(c));
    else
        call_problem(c, PROBLEM_NOT_FOUND, "no such node");
}

void manage_cluster_name(struct call *c) {
    manage_send(c, 200, json_pack("{s:s}", "name", MANAGE_NODE));
}

void manage_auth(struct call *c) {
    manage_send(
        c, 200,
        json_pack("{s:b,s:s,s:s}", "enable_uaa", 0, "uaa_client_id", "", "uaa_location", ""));
}

void manage_whoami(struct call *c) {
    static const struct {
        const char *name;
        enum user_tag tag;
    } tags[] = {{"management", USER_MANAGEMENT},
                {"policymaker", USER_POLICYMAKER},
                {"monitoring", USER_MONITORING},
                {"administrator", USER_ADMINISTRATOR}};
    const struct auth_user *user = c->principal.user;
    const struct auth_token *token = c->principal.token;
    json_t *list = json_array();
    for (size_t i = 0; user != NULL && i < ARRAY_LENGTH(tags); i++) {
        if ((user->tags & tags[i].tag) != 0)
            json_array_append_new(list, json_string(tags[i].name));
    }
    json_t *name = user != NULL    ? text_to_json(user->name)
                   : token != NULL ? json_string(auth_token_name(token))
                                   : json_string("anonymous");
    manage_send(c, 200, json_pack("{s:o,s:o}", "name", name, "tags", list));
}

/* ---- health ---- */

static json_t *health_ok(void) {
    return json_pack("{s:s}", "status", "ok");
}

static void flushed(struct call *c) {
    if (!manage_refused(c))
        manage_send(c, 200, health_ok());
}

/* Alarms, and that the engine decides and flushes: what is said to be well was tried. */
void manage_health(struct call *c) {
    if (engine_room(c->loop->api->options.engine) != LOG_ROOM_OK) {
        manage_send(c, 503,
                    json_pack("{s:s,s:s}", "status", "failed", "reason",
                              "There are alarms in effect in the cluster: low on disk"));
        return;
    }
    if (engine_is_short_of_memory(c->loop->api->options.engine)) {
        manage_send(c, 503,
                    json_pack("{s:s,s:s}", "status", "failed", "reason",
                              "There are alarms in effect in the cluster: low on memory"));
        return;
    }
    if (manage_of(c) == NULL)
        return;
    (void)call_request(c, REQUEST_NOTHING);
    manage_submit(c, true, flushed);
}

void manage_health_of_node(struct call *c) {
    if (span_is(call_capture(c, 0), MANAGE_NODE))
        manage_health(c);
    else
        call_problem(c, PROBLEM_NOT_FOUND, "no such node");
}

/* /health/checks/port-listener/{port}, /health/checks/protocol-listener/{protocol} */
void manage_health_listener(struct call *c) {
    const struct manager *m = manage_manager(c);
    bool by_port = strstr(c->route->pattern, "port-listener") != NULL &&
                   strstr(c->route->pattern, "protocol") == NULL;
    struct span wanted = call_capture(c, 0);
    for (size_t i = 0; i < m->options.listener_count; i++) {
        const struct manage_listener *l = &m->options.listeners[i];
        char port[8];
        snprintf(port, sizeof port, "%u", l->port);
        if (!span_is(wanted, by_port ? port : l->protocol))
            continue;
        json_t *o = health_ok();
        if (by_port)
            json_object_set_new(o, "port", json_integer(l->port));
        else
            json_object_set_new(o, "protocol", json_string(l->protocol));
        manage_send(c, 200, o);
        return;
    }
    manage_send(c, 503, json_pack("{s:s,s:s}", "status", "failed", "reason", "No active listener"));
}
