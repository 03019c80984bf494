/*
 * api/head.h - what a request brings in its head: fields, query, rights. Internal to api/.
 */
#ifndef SLUICE_API_HEAD_H
#define SLUICE_API_HEAD_H

#include "api/call.h"

/* Fills c->head and the correlation id. */
void head_read(struct call *c);
/* Who asks (but for names and passwords, which login looks at later), and does he not ask too often? */
MUST_CHECK bool head_admit(struct call *c);
/* Each of these: false: answered with a problem. */
MUST_CHECK bool head_query(struct call *c);
MUST_CHECK bool head_body_type(struct call *c);
MUST_CHECK bool head_rights(struct call *c);
/* Does it come with a name and a password, to a route that takes them? */
bool head_logs_in(const struct call *c);
/*
 * For resources that a body names: may the caller know of "<plural>/<name>"?
 * head_name: `name` itself, or, if not, a name that nothing has; so what is another tenant's is answered
 * exactly as what is missing. data NULL: no memory.
 */
bool head_covers(const struct call *c, const char *plural, struct span name);
struct span head_name(struct call *c, const char *plural, struct span name);

/* "00-<32 hex>-<16 hex>-<2 hex>", ids not zero. */
bool traceparent_valid(struct span text);

#endif
