/*
 * api/routes.h - the one table of routes: router, rights, query, OpenAPI. Internal to api/.
 */
#ifndef SLUICE_API_ROUTES_H
#define SLUICE_API_ROUTES_H

#include "api/call.h"

enum route_body { BODY_NONE, BODY_JSON, BODY_ANY };

/* Query parameters that a route knows; others are refused. */
enum route_query {
    QUERY_PAGE = 1,
    QUERY_FILTER = 2,
    QUERY_VIEW = 4,
    QUERY_OWN = 8,    /* the handler reads it */
    QUERY_MATCH = 16, /* members of filter.h, gathered in call.tree */
    QUERY_KEEP = 32,  /* body=keep */
    QUERY_REASON = 64
};

struct route {
    enum http_method method;
    const char *pattern;
    enum action action; /* who may: auth.h */
    enum route_body body;
    unsigned query; /* of enum route_query */
    void (*handle)(struct call *c);
    /* OpenAPI */
    const char *id;
    const char *summary;
    int status;          /* of success */
    const char *takes;   /* schema of the body, NULL: none */
    const char *answers; /* schema of the answer, NULL: none */
};

extern const struct route api_routes[];
extern const size_t api_route_count;

/* Handlers, by file. */
void define_put(struct call *c);
void define_post(struct call *c);
void define_get(struct call *c);
void define_list(struct call *c);
void define_delete(struct call *c);

void queue_publish(struct call *c);
void queue_pause(struct call *c);
void queue_resume(struct call *c);
void purge_queue(struct call *c);
void queue_redrive(struct call *c);
void messages_list(struct call *c);
void message_get(struct call *c);
void message_delete(struct call *c);
void message_redrive(struct call *c);
void message_edit(struct call *c);
void message_transfer(struct call *c);
/* The Sluice-* fields of a publish. False: answered. */
MUST_CHECK bool publish_options(struct call *c, struct publish *p);
/* There are none, where they would mean nothing. False: answered. */
MUST_CHECK bool publish_no_options(struct call *c);
/* Its life is over before it may leave. */
bool publish_outlived(const struct publish *p);
/* How a message is told from an edited one. */
#define ETAG_BYTES 48u
void message_etag(const struct message_info *m, uint16_t version, char out[ETAG_BYTES]);
/* The id of the path, into the request. False: answered. */
MUST_CHECK bool message_take_id(struct call *c, size_t capture);

void job_start(struct call *c);
void job_list(struct call *c);
void job_get(struct call *c);
void job_cancel(struct call *c);

void reservation_post(struct call *c);
void reservation_get(struct call *c);
void reservation_delete(struct call *c);
void reservation_confirm(struct call *c);

void campaign_enter(struct call *c);
void campaign_entries(struct call *c);
void campaign_entry(struct call *c);

void destination_pause(struct call *c);
void destination_resume(struct call *c);
void destination_open(struct call *c);
void destination_close(struct call *c);
void destination_failover(struct call *c);
void destination_return(struct call *c);
void endpoint_eject(struct call *c);
void endpoint_return(struct call *c);

void receipt_show(struct call *c);
void receipt_confirm(struct call *c);
void transaction_post(struct call *c);

void audit_list(struct call *c);

void system_noop(struct call *c);
void system_health(struct call *c);
void system_ready(struct call *c);
void system_metrics(struct call *c);
void system_openapi(struct call *c);
void system_problem(struct call *c);
void system_console(struct call *c);
void system_asset(struct call *c);
void system_events(struct call *c);

#endif
