/*
 * model/template.h - texts of a destination with places that each message fills: "/orders/{orderingKey}".
 *
 * Places:  {receipt} {idempotencyKey} {queue} {attempt} {orderingKey} {correlationId} {contentType}
 *          {header.NAME}   a header that the message was published with
 *          {body:POINTER}  a string, number, true or false of the JSON body, by RFC 6901
 *          {{ and }} stand for the braces themselves
 * Promise: pure. What a message lacks, or what could change the shape of the text around it (control
 *          characters; "." and ".." in a URL), makes the expansion fail: nothing half-filled leaves.
 * Errors:  E_NOT_FOUND: the message has no such value; E_INVALID: it has one that may not stand there;
 *          E_LIMIT, E_NOMEM. ret_place says which.
 */
#ifndef SLUICE_MODEL_TEMPLATE_H
#define SLUICE_MODEL_TEMPLATE_H

#include <stdbool.h>

#include "base/buffer.h"
#include "base/compiler.h"
#include "base/span.h"

enum template_for {
    TEMPLATE_URL,  /* values are percent-encoded, '/' too */
    TEMPLATE_LINE, /* a header's value */
    TEMPLATE_WORD, /* a method: capital letters */
};

/* NULL: fine. Else what is wrong with it. */
const char *template_problem(const char *text);
/* Whether there is anything to be filled. */
bool template_has_places(const char *text);
/* The same for the part of a URL that says whom to call: there must be none. */
bool template_url_host_is_fixed(const char *url);

/* The value of a place (without braces); E_NOT_FOUND. `ret` is borrowed until the next call. */
typedef int template_lookup(void *context, struct span place, struct span *ret);

/* Appends the expansion to `out`. */
MUST_CHECK int template_expand(const char *text, enum template_for target, template_lookup *lookup,
                               void *context, struct buffer *out, struct span *ret_place);

#endif
