/*
 * Connections and channels: who is there, from a census of all loops (amqp/census.h), and ending one.
 *
 * Who sees all vhosts (administrator, monitoring, tokens) sees all; other users their own connections, as in RabbitMQ.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/census.h"
#include "manage/calls.h"
#include "manage/manager.h"

struct peers_ask {
    struct amqp_census census;
    struct net_item back;
    struct call *call; /* borrows: it waits */
    void (*then)(struct call *c);
};

/* ---- asking ---- */

static bool sees_all(const struct call *c) {
    const struct auth_user *user = c->principal.user;
    return user == NULL || (user->tags & (USER_ADMINISTRATOR | USER_MONITORING)) != 0;
}

static bool is_own(const struct call *c, const json_t *item) {
    const struct auth_user *user = c->principal.user;
    const char *name = json_string_value(json_object_get(item, "user"));
    return user == NULL || (name != NULL && span_is(user->name, name));
}

/* NULL: no memory. */
static json_t *list_json(const struct call *c, struct span tables) {
    json_t *list = json_array();
    struct reader r;
    reader_init(&r, tables);
    while (r.left > 0) {
        json_t *item = table_to_json(amqp_table_get(&r));
        if (item == NULL)
            break;
        json_object_set_new(item, "node", json_string(MANAGE_NODE));
        if (!sees_all(c) && !is_own(c, item))
            json_decref(item);
        else if (json_array_append_new(list, item) != 0)
            break;
    }
    return list;
}

static void run_back(struct net_item *item) {
    struct peers_ask *ask = CONTAINER_OF(item, struct peers_ask, back);
    struct call *c = ask->call;
    struct manage *m = c->own;
    void (*then)(struct call * c) = ask->then;
    bool failed = ask->census.failed;
    json_decref(m->connections);
    json_decref(m->channels);
    m->connections = list_json(c, buffer_span(&ask->census.connection_list));
    m->channels = list_json(c, buffer_span(&ask->census.channel_list));
    m->closed = ask->census.closed;
    m->connection_count =
        sees_all(c) ? ask->census.connection_count : json_array_size(m->connections);
    m->channel_count = sees_all(c) ? ask->census.channel_count : json_array_size(m->channels);
    amqp_census_release(&ask->census);
    free(ask);
    if (failed || m->connections == NULL || m->channels == NULL)
        call_problem(c, PROBLEM_INTERNAL, NULL);
    else
        then(c);
}

/* On another loop. */
static void census_done(struct amqp_census *census) {
    struct peers_ask *ask = CONTAINER_OF(census, struct peers_ask, census);
    ask->back.run = run_back;
    net_loop_post(ask->call->loop->loop, &ask->back);
}

static struct peers_ask *begin(struct call *c, void (*then)(struct call *c)) {
    struct peers_ask *ask = manage_of(c) != NULL ? calloc(1, sizeof *ask) : NULL;
    if (ask == NULL) {
        if (c->own != NULL)
            call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    amqp_census_init(&ask->census);
    ask->census.done = census_done;
    ask->call = c;
    ask->then = then;
    return ask;
}

/* What the call may see goes into m->connections and m->channels. */
enum wanted { WANT_CONNECTIONS, WANT_CHANNELS, WANT_NAMES, WANT_COUNTS };

static void ask_peers(struct call *c, enum wanted wanted, void (*then)(struct call *c)) {
    struct peers_ask *ask = begin(c, then);
    if (ask == NULL)
        return;
    bool counts_own = wanted == WANT_COUNTS && !sees_all(c);
    ask->census.connections = wanted == WANT_CONNECTIONS;
    ask->census.channels = wanted == WANT_CHANNELS || counts_own;
    ask->census.names = wanted == WANT_NAMES || counts_own;
    amqp_hub_census(manage_manager(c)->options.amqp, &ask->census);
}

void manage_count_peers(struct call *c, void (*then)(struct call *c)) {
    ask_peers(c, WANT_COUNTS, then);
}

/* ---- lists ---- */

static bool is_named(const json_t *item, const char *key, struct span wanted) {
    const char *text = json_string_value(json_object_get(item, key));
    return text != NULL && span_is(wanted, text);
}

/* /connections, /channels, /vhosts/{vhost}/connections, /connections/{connection}/channels */
static bool is_wanted(const struct call *c, const json_t *item) {
    if (c->match.capture_count == 0)
        return true;
    if (strncmp(c->route->pattern, "/api/vhosts/", 12) == 0)
        return is_named(item, "vhost", call_capture(c, 0));
    return is_named(json_object_get(item, "connection_details"), "name", call_capture(c, 0));
}

static void send_list(struct call *c) {
    const struct manage *m = c->own;
    const char *last = strrchr(c->route->pattern, '/');
    json_t *list = strcmp(last, "/channels") == 0 ? m->channels : m->connections;
    struct pages *p = pages_begin(c);
    size_t i;
    json_t *item;
    if (p == NULL)
        return;
    json_array_foreach(list, i, item) {
        json_object_del(item, "session");
        if (is_wanted(c, item))
            pages_add(p, json_incref(item));
    }
    pages_end(c, p);
}

void manage_connections(struct call *c) {
    ask_peers(c, WANT_CONNECTIONS, send_list);
}

void manage_channels(struct call *c) {
    ask_peers(c, WANT_CHANNELS, send_list);
}

/* ---- one of them ---- */

static json_t *find(const struct call *c, json_t *list) {
    size_t i;
    json_t *item;
    json_array_foreach(list, i, item) {
        if (is_named(item, "name", call_capture(c, 0)))
            return item;
    }
    return NULL;
}

static void send_one(struct call *c) {
    const struct manage *m = c->own;
    bool channel = strstr(c->route->pattern, "/channels/") != NULL;
    json_t *found = find(c, channel ? m->channels : m->connections);
    if (found == NULL) {
        call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
        return;
    }
    json_object_del(found, "session");
    manage_send(c, 200, json_incref(found));
}

void manage_connection(struct call *c) {
    ask_peers(c, WANT_CONNECTIONS, send_one);
}

void manage_channel(struct call *c) {
    ask_peers(c, WANT_CHANNELS, send_one);
}

/* ---- ending one ---- */

static void send_closed(struct call *c) {
    const struct manage *m = c->own;
    if (m->closed > 0)
        call_empty(c, 204);
    else
        call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
}

/* It stands in the audit now. */
static void close_it(struct call *c) {
    if (manage_refused(c))
        return;
    struct peers_ask *ask = begin(c, send_closed);
    if (ask == NULL)
        return;
    struct span reason = http_header_find(c->x, "x-reason");
    ask->census.close = call_capture(c, 0);
    ask->census.reason = reason.size > 0 ? reason : span_text("Closed via management plugin");
    amqp_hub_census(manage_manager(c)->options.amqp, &ask->census);
}

static void decide_close(struct call *c) {
    const struct manage *m = c->own;
    const struct auth_user *user = c->principal.user;
    const json_t *found = find(c, m->connections);
    if (found == NULL) {
        call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
        return;
    }
    if (user != NULL && (user->tags & USER_ADMINISTRATOR) == 0 && !is_own(c, found)) {
        call_problem(c, PROBLEM_FORBIDDEN, "it is the connection of another user");
        return;
    }
    struct request *r = call_request(c, REQUEST_AUDIT_NOTE);
    r->name = span_text("close-connection");
    r->in.note = call_capture(c, 0);
    manage_submit(c, false, close_it);
}

void manage_delete_connection(struct call *c) {
    ask_peers(c, WANT_NAMES, decide_close);
}

/* ---- consumers, by their connections' names ---- */

static void session_key(uint64_t session, char out[24]) {
    snprintf(out, 24, "%" PRIx64, session);
}

const char *manage_session_name(const struct manage *m, uint64_t session) {
    char key[24];
    session_key(session, key);
    return json_string_value(json_object_get(m->session_names, key));
}

static void name_sessions(struct call *c) {
    struct manage *m = c->own;
    size_t i;
    json_t *item;
    m->session_names = json_object();
    json_array_foreach(m->connections, i, item) {
        char key[24];
        session_key((uint64_t)json_integer_value(json_object_get(item, "session")), key);
        json_object_set(m->session_names, key, json_object_get(item, "name"));
    }
    if (strncmp(c->route->pattern, "/api/consumers", 14) == 0)
        manage_list_all(c);
    else
        manage_show(c);
}

void manage_consumers(struct call *c) {
    ask_peers(c, WANT_NAMES, name_sessions);
}

void manage_show_queue(struct call *c) {
    ask_peers(c, WANT_NAMES, name_sessions);
}
