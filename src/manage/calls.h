/*
 * manage/calls.h - what handlers of the management API have in common. Internal to manage/.
 *
 * Life of a call: login (Basic only) -> call_go_on -> handler -> manage_ask, which fills in lists and goes on
 * in `then` -> further requests (call_request, call_submit) -> an answer.
 */
#ifndef SLUICE_MANAGE_CALLS_H
#define SLUICE_MANAGE_CALLS_H

#include <jansson.h>
#include <pthread.h>
#include <uv.h>

#include "api/routes.h"
#include "base/amqp_table.h"
#include "base/pattern.h"
#include "manage/manage.h"

enum manage_list {
    LIST_VHOST,
    LIST_EXCHANGE,
    LIST_QUEUE,
    LIST_BINDING,
    LIST_CONSUMER,
    LIST_POLICY,
    LIST_USER,
    LIST_PERMISSION,
    MANAGE_LISTS
};
#define WANT(list) (1u << LIST_##list)

struct manage_login; /* login.c */
struct import;       /* import.c */

/* Of one call; made when first asked for, and goes with the call. */
struct manage {
    struct buffer
        lists[MANAGE_LISTS]; /* owns: items as request.h describes them, u32 length before each */
    unsigned wanted;         /* of WANT: not asked yet */
    enum manage_list asking;
    void (*then)(struct call *c);
    bool there;                 /* what is defined was there before: 204, not 201 */
    struct buffer text;         /* owns: encoded tables and properties of the request */
    json_t *found;              /* owns: answers that come in steps */
    struct manage_login *login; /* owns */
    struct import *import;      /* owns */
    struct peers *peers;        /* owns: peers.c */
    json_t *session_names;      /* owns: of connections, for lists of consumers */
    size_t connection_count, channel_count;
    uint32_t closed;  /* connections, by this call */
    uint64_t session; /* of a get ... */
    uint32_t asked;   /* ... and how many messages it wants */
};

/* NULL: no memory, and that was answered. */
struct manage *manage_of(struct call *c);
struct manager *manage_manager(const struct call *c);
/* Asks for these lists, then goes on; of the vhost only, if it is not empty. */
void manage_ask(struct call *c, unsigned lists, struct span vhost, void (*then)(struct call *c));
/* One more question, whose answer goes to `then`; a quiet one only looks. */
void manage_submit(struct call *c, bool quiet, void (*then)(struct call *c));
/* True: refused, and that was answered in the words of the management API. */
MUST_CHECK bool manage_refused(struct call *c);
/* 204 when it was there, else 201. */
void manage_defined(struct call *c);
/* 204, when it was not refused. */
void manage_done(struct call *c);
/* Takes `value`. */
void manage_send(struct call *c, int status, json_t *value);
/* The body as an object in c->tree; an empty one is {}. False: answered. */
MUST_CHECK bool manage_body(struct call *c);
/* "" when it is not there or no text. */
struct span member_text(const json_t *object, const char *name);
bool member_bool(const json_t *object, const char *name);
int64_t member_integer(const json_t *object, const char *name);
/* Query parameter `name` says true or yes. */
bool manage_flag(const struct call *c, const char *name);
/* A copy that lives as long as the call. Empty with data NULL: no memory. */
struct span manage_copy(struct call *c, struct span text);

/*
 * ---- work on passwords: login.c ----
 * In a worker thread, since it takes a tenth of a second, which all others of the loop would wait. Too many at a time: answered. `after`
 * begins with manage_worked.
 */
void manage_work(struct call *c, uv_work_t *w, uv_work_cb work_on, uv_after_work_cb after);
void manage_worked(struct call *c);

/* ---- rights of users: login.c ---- */
enum manage_right { RIGHT_SEE, RIGHT_CONFIGURE, RIGHT_WRITE, RIGHT_READ };
void manage_login(struct call *c);
void manage_login_free(struct manage_login *l);
/* May the caller do that to what has this name? Others than mere users always may: auth.c asked. */
bool manage_may(const struct call *c, enum manage_right right, struct span vhost, struct span name);
/* The same; false: answered. */
MUST_CHECK bool manage_allowed(struct call *c, enum manage_right right, struct span vhost,
                               struct span name);
/* Of a user's tags, "administrator,monitoring". */
unsigned manage_tags(struct span text);

/* ---- tables: table.c ---- */
/* NULL: no memory. Bytes that are no UTF-8 are shown as base64. */
json_t *table_to_json(struct span entries);
json_t *text_to_json(struct span text);
/* The entries of an object, in `out` (cleared first). E_INVALID: not an object, or not a table. */
MUST_CHECK int table_from_json(const json_t *object, struct buffer *out, struct span *ret_entries);

/* ---- items: items.c ---- */
struct manage_items {
    enum manage_list list;
    struct reader rest;
};
/* What stands in a list for one thing; the union's member is that of the list. Not to be copied: spans lead inside. */
struct manage_item {
    struct span vhost, name;
    union {
        struct {
            struct exchange_info info;
            struct span arguments;
        } exchange;
        struct {
            struct span encoded;
            struct queue_info info;
        } queue;
        struct binding binding;
        struct {
            uint64_t session, unsettled;
            uint32_t number, priority;
            uint16_t channel, prefetch;
            uint8_t flags;
            struct span tag;
        } consumer; /* name: the queue's */
        struct policy_def policy;
        struct user_def user;
        struct permission_def permission;
    } u;
    char vhost_room[VHOST_MAX_BYTES + 1], name_room[QUEUE_NAME_MAX_BYTES + 1];
};
void items_begin(struct manage_items *i, const struct manage *m, enum manage_list list);
bool items_next(struct manage_items *i, struct manage_item *ret);
/* As the management API shows it. NULL: no memory. */
json_t *item_to_json(const struct call *c, enum manage_list list, const struct manage_item *item);
/* As a definitions file has it. NULL: it does not stand there (exclusive queues, built-in exchanges). */
json_t *item_to_definition(enum manage_list list, const struct manage_item *item);
/* Operator policies stand among the parameters of a definitions file. */
json_t *operator_policy_parameter(const struct manage_item *item);
json_t *default_binding_json(struct span vhost, struct span queue);
/* "a.%2A~5d3fce21": what names a binding among those between the same two. */
#define PROPERTIES_KEY_BYTES (3u * 255 + 16)
void binding_properties_key(const struct binding *b, char out[PROPERTIES_KEY_BYTES]);
#define MANAGE_NODE "sluice@localhost"

/* ---- answers that are lists: pages.c ---- */
struct pages;
/* Reads name, use_regex, sort, sort_reverse, columns, page, page_size. NULL: answered. */
struct pages *pages_begin(struct call *c);
/* Takes `item`, NULL: no memory. */
void pages_add(struct pages *p, json_t *item);
/* A connection or channel; `table` stays until the call is answered. */
void pages_add_table(struct pages *p, struct span table);
/* Answers, perhaps later. */
void pages_end(struct call *c, struct pages *p);

/* ---- messages' properties: properties.c ---- */
/* The properties and headers of a publish as they stand on the wire. E_INVALID, E_NOMEM, E_LIMIT. */
MUST_CHECK int properties_from_json(const json_t *object, struct buffer *out);
json_t *properties_to_json(struct span encoded);

/* ---- connections: peers.c ---- */
/* m->connection_count and m->channel_count: what the caller may see. Then goes on. */
void manage_count_peers(struct call *c, void (*then)(struct call *c));
void manage_peers_free(struct peers *p);
/* A connection or channel of the census. NULL: no memory. */
json_t *manage_peer_json(struct span table);
/* NULL: no connection that the caller may see. */
const char *manage_session_name(const struct manage *m, uint64_t session);

/* ---- import.c ---- */
void import_free(struct import *i);

extern const struct route manage_routes[];
extern const size_t manage_route_count;

/* ---- handlers ---- */
void manage_list_all(struct call *c); /* vhosts, exchanges, queues, bindings, consumers, ... */
void manage_show(struct call *c);
void manage_empty_list(struct call *c);
void manage_bindings_of(struct call *c);
void manage_user_permissions(struct call *c);
void manage_peers(struct call *c);
void manage_connection(struct call *c);
void manage_channel(struct call *c);
void manage_delete_connection(struct call *c);
void manage_consumers(struct call *c);
void manage_show_queue(struct call *c);
void manage_overview(struct call *c);
void manage_nodes(struct call *c);
void manage_node(struct call *c);
void manage_whoami(struct call *c);
void manage_cluster_name(struct call *c);
void manage_health(struct call *c);
void manage_health_of_node(struct call *c);
void manage_health_listener(struct call *c);
void manage_auth(struct call *c);
void manage_put_vhost(struct call *c);
void manage_delete_vhost(struct call *c);
void manage_put_user(struct call *c);
void manage_delete_user(struct call *c);
void manage_delete_users(struct call *c);
void manage_put_permission(struct call *c);
void manage_delete_permission(struct call *c);
void manage_put_exchange(struct call *c);
void manage_delete_exchange(struct call *c);
void manage_put_queue(struct call *c);
void manage_delete_queue(struct call *c);
void manage_purge_queue(struct call *c);
void manage_post_binding(struct call *c);
void manage_delete_binding(struct call *c);
void manage_put_policy(struct call *c);
void manage_delete_policy(struct call *c);
void manage_publish(struct call *c);
void manage_get(struct call *c);
void manage_export(struct call *c);
void manage_import(struct call *c);

#endif
