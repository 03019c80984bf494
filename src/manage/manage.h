/*
 * manage/manage.h - the management API that RabbitMQ's tools speak, under /api.
 *
 * Promise: what tools read of RabbitMQ 3.10 stands where they look for it; what there is none of is left out
 *          or null, never made up (docs/amqp-management.md has the table of fields).
 * Shape:   routes on the HTTP API (api_options.more), one manager for the process. A call asks the engine for
 *          the lists that it needs, one after the other, and answers from them: they are of moments close
 *          together, not of one.
 */
#ifndef SLUICE_MANAGE_MANAGE_H
#define SLUICE_MANAGE_MANAGE_H

#include "api/api.h"

struct manager;
struct amqp_hub;

struct manage_listener {
    const char *protocol; /* "amqp", "amqp/ssl", "http", "https" */
    const char *host;
    uint16_t port;
};

struct manage_options {
    const char *version;                     /* borrows */
    const struct manage_listener *listeners; /* borrows */
    size_t listener_count;
    struct amqp_hub *amqp; /* borrows: whose connections are listed */
};

/* E_NOMEM */
MUST_CHECK int manager_create(const struct manage_options *options, struct manager **ret);
/* After the API. */
void manager_free(struct manager *m);
/* For api_options.more; borrowed from the manager. */
const struct api_more *manager_routes(const struct manager *m);

#endif
