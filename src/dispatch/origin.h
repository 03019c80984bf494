/*
 * dispatch/origin.h - where the requests of one endpoint go over plain connections (plain.h), and how they begin.
 *
 * Promise: usable only for what needs nothing of curl but the connection: an http:// URL without places, without a
 *          proxy, with a plain host name. All else is curl's. So is an endpoint, until it is defined anew, from the first
 *          answer on that is no HTTP/1.1 which answer.h understands: curl has seen more of the world.
 *          The head says what curl would say.
 * Shape:   part of a target, one for each of its endpoints.
 */
#ifndef SLUICE_DISPATCH_ORIGIN_H
#define SLUICE_DISPATCH_ORIGIN_H

#include "base/buffer.h"
#include "base/list.h"
#include "dispatch/header_list.h"

struct origin {
    const char *url; /* borrows from the definition */
    bool usable;
    char *host;       /* owns: as the Host field has it */
    char *path;       /* owns: with the query */
    struct list kept; /* struct plain: idle connections to it */
};

struct origin_request {
    const char *method;
    const char *user_agent;
    struct span body; /* of GET and HEAD none is sent */
    const struct header_list *headers, *more;
};

/* E_NOMEM. What it is not usable for is no error. */
MUST_CHECK int origin_init(struct origin *o, const char *url);
/* Its connections are closed. */
void origin_release(struct origin *o);
/* Of a definition's or a message's method, whether requests with it may go this way. */
bool origin_may(const struct origin *o, const char *method);
/* Either way: GET and HEAD have no body. */
bool method_has_body(const char *method);
/* E_NOMEM, E_LIMIT. */
MUST_CHECK int origin_write_head(const struct origin *o, const struct origin_request *r,
                                 struct buffer *out);

#endif
