/*
 * api/head.h - what a request brings in its head: fields, query, rights. Internal to api/.
 */
#ifndef SLUICE_API_HEAD_H
#define SLUICE_API_HEAD_H

#include "api/call.h"

/* Fills c->head and the correlation id. */
void head_read(struct call *c);
/* Each of these: false: answered with a problem. */
MUST_CHECK bool head_query(struct call *c);
MUST_CHECK bool head_body_type(struct call *c);
MUST_CHECK bool head_rights(struct call *c);
/* May the caller do this to this resource too? For requests that name several. */
bool head_may(const struct call *c, unsigned scope, struct span resource);

/* "00-<32 hex>-<16 hex>-<2 hex>", ids not zero. */
bool traceparent_valid(struct span text);

#endif
