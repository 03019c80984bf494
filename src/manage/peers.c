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

/* A census and what it found, until the call is answered. */
struct peers {
    struct amqp_census census;
    struct net_item back;
    struct call *call; /* borrows: it waits */
    void (*then)(struct call *c);
};

void manage_peers_free(struct peers *p) {
    if (p == NULL)
        return;
    amqp_census_release(&p->census);
    free(p);
}

/* ---- who may see it ---- */

static bool sees_all(const struct call *c) {
    const struct auth_user *user = c->principal.user;
    return user == NULL || (user->tags & (USER_ADMINISTRATOR | USER_MONITORING)) != 0;
}

static bool has_text(struct span table, const char *field, struct span wanted) {
    struct amqp_field f;
    struct span text;
    return amqp_table_find(table, field, &f) && amqp_field_text(&f, &text) &&
           span_equal(text, wanted);
}

static bool is_own(const struct call *c, struct span table) {
    const struct auth_user *user = c->principal.user;
    return user == NULL || has_text(table, "user", user->name);
}

/* The next that the call may see; false at the end. */
static bool next_seen(const struct call *c, struct reader *r, struct span *ret) {
    while (r->left > 0) {
        *ret = amqp_table_get(r);
        if (r->failed)
            return false;
        if (sees_all(c) || is_own(c, *ret))
            return true;
    }
    return false;
}

static struct reader connections_of(const struct call *c) {
    const struct manage *m = c->own;
    struct reader r;
    reader_init(&r, buffer_span(&m->peers->census.connection_list));
    return r;
}

static struct reader channels_of(const struct call *c) {
    const struct manage *m = c->own;
    struct reader r;
    reader_init(&r, buffer_span(&m->peers->census.channel_list));
    return r;
}

static size_t count(const struct call *c, struct reader r) {
    struct span table;
    size_t count = 0;
    while (next_seen(c, &r, &table))
        count++;
    return count;
}

json_t *manage_peer_json(struct span table) {
    json_t *item = table_to_json(table);
    if (item == NULL)
        return NULL;
    json_object_del(item, "session");
    json_object_set_new(item, "node", json_string(MANAGE_NODE));
    return item;
}

/* ---- asking ---- */

static void run_back(struct net_item *item) {
    struct peers *p = CONTAINER_OF(item, struct peers, back);
    struct call *c = p->call;
    struct manage *m = c->own;
    const struct amqp_census *census = &p->census;
    m->closed = census->closed;
    m->connection_count = sees_all(c) ? census->connection_count : count(c, connections_of(c));
    m->channel_count = sees_all(c) ? census->channel_count : count(c, channels_of(c));
    if (census->failed)
        call_problem(c, PROBLEM_INTERNAL, NULL);
    else
        p->then(c);
}

/* On another loop. */
static void census_done(struct amqp_census *census) {
    struct peers *p = CONTAINER_OF(census, struct peers, census);
    p->back.run = run_back;
    net_loop_post(p->call->loop->loop, &p->back);
}

static struct peers *begin(struct call *c, void (*then)(struct call *c)) {
    struct manage *m = manage_of(c);
    struct peers *p = m != NULL ? calloc(1, sizeof *p) : NULL;
    if (p == NULL) {
        if (m != NULL)
            call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    amqp_census_init(&p->census);
    p->census.done = census_done;
    p->call = c;
    p->then = then;
    manage_peers_free(m->peers);
    m->peers = p;
    return p;
}

/* What the call may see goes into m->peers. */
enum wanted { WANT_CONNECTIONS, WANT_CHANNELS, WANT_NAMES, WANT_COUNTS };

static void ask_peers(struct call *c, enum wanted wanted, void (*then)(struct call *c)) {
    struct peers *p = begin(c, then);
    if (p == NULL)
        return;
    bool counts_own = wanted == WANT_COUNTS && !sees_all(c);
    p->census.connections = wanted == WANT_CONNECTIONS;
    p->census.channels = wanted == WANT_CHANNELS || counts_own;
    p->census.names = wanted == WANT_NAMES || wanted == WANT_CHANNELS || counts_own;
    amqp_hub_census(manage_manager(c)->options.amqp, &p->census);
}

void manage_count_peers(struct call *c, void (*then)(struct call *c)) {
    ask_peers(c, WANT_COUNTS, then);
}

/* ---- lists ---- */

static bool find(const struct call *c, struct reader r, struct span *ret) {
    while (next_seen(c, &r, ret)) {
        if (has_text(*ret, "name", call_capture(c, 0)))
            return true;
    }
    return false;
}

static bool is_of_one(const struct call *c) {
    return strstr(c->route->pattern, "/connections/{connection}/channels") != NULL;
}

/* /connections, /channels, /vhosts/{vhost}/connections, /connections/{connection}/channels */
static bool is_wanted(const struct call *c, struct span table) {
    struct amqp_field details;
    if (c->match.capture_count == 0)
        return true;
    if (!is_of_one(c))
        return has_text(table, "vhost", call_capture(c, 0));
    return amqp_table_find(table, "connection_details", &details) && details.type == 'F' &&
           has_text(details.as.bytes, "name", call_capture(c, 0));
}

static void send_list(struct call *c) {
    const char *last = strrchr(c->route->pattern, '/');
    struct reader r = strcmp(last, "/channels") == 0 ? channels_of(c) : connections_of(c);
    struct span table;
    if (is_of_one(c) && !find(c, connections_of(c), &table)) {
        call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
        return;
    }
    struct pages *p = pages_begin(c);
    if (p == NULL)
        return;
    while (next_seen(c, &r, &table)) {
        if (is_wanted(c, table))
            pages_add_table(p, table);
    }
    pages_end(c, p);
}

static void list_peers(struct call *c) {
    const char *last = strrchr(c->route->pattern, '/');
    ask_peers(c, strcmp(last, "/channels") == 0 ? WANT_CHANNELS : WANT_CONNECTIONS, send_list);
}

static void list_of_vhost(struct call *c) {
    struct manage_items items;
    struct manage_item item;
    items_begin(&items, c->own, LIST_VHOST);
    while (items_next(&items, &item)) {
        if (span_equal(item.name, call_capture(c, 0))) {
            list_peers(c);
            return;
        }
    }
    call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
}

void manage_peers(struct call *c) {
    if (strncmp(c->route->pattern, "/api/vhosts/", 12) != 0)
        list_peers(c);
    else if (manage_of(c) != NULL)
        manage_ask(c, WANT(VHOST), span_text(""), list_of_vhost);
}

/* ---- one of them ---- */

static void send_one(struct call *c) {
    bool channel = strstr(c->route->pattern, "/channels/") != NULL;
    struct span found;
    if (find(c, channel ? channels_of(c) : connections_of(c), &found))
        manage_send(c, 200, manage_peer_json(found));
    else
        call_problem(c, PROBLEM_NOT_FOUND, "Not Found");
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
    struct peers *p = begin(c, send_closed);
    if (p == NULL)
        return;
    struct span reason = http_header_find(c->x, "x-reason");
    p->census.close = call_capture(c, 0);
    p->census.reason = reason.size > 0 ? reason : span_text("Closed via management plugin");
    amqp_hub_census(manage_manager(c)->options.amqp, &p->census);
}

static void decide_close(struct call *c) {
    const struct auth_user *user = c->principal.user;
    struct span found;
    if (!find(c, connections_of(c), &found)) {
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
    struct reader r = connections_of(c);
    struct span table, name;
    struct amqp_field f;
    m->session_names = json_object();
    while (next_seen(c, &r, &table)) {
        char key[24];
        int64_t session = 0;
        if (amqp_table_find(table, "session", &f) && amqp_field_integer(&f, &session) &&
            amqp_table_find(table, "name", &f) && amqp_field_text(&f, &name)) {
            session_key((uint64_t)session, key);
            json_object_set_new(m->session_names, key, text_to_json(name));
        }
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
