/*
 * dispatch/event.h - a message as a CloudEvent 1.0, over HTTP.
 *
 * Promise: binary: the body as it came, the attributes as ce-* headers. structured: one JSON object; a JSON body stands
 *          in `data` as it came, byte for byte, any other in `data_base64`.
 * Errors:  kept in the header list, or returned: E_NOMEM, E_LIMIT.
 * Source:  CloudEvents 1.0.2, HTTP protocol binding.
 */
#ifndef SLUICE_DISPATCH_EVENT_H
#define SLUICE_DISPATCH_EVENT_H

#include "base/units.h"
#include "dispatch/header_list.h"

struct event {
    struct span id, source, type, subject; /* subject may be empty */
    char time[TIME_TEXT_BYTES];            /* RFC 3339 */
    struct span content_type;
};

void event_headers(const struct event *e, struct header_list *l);
MUST_CHECK int event_body(const struct event *e, struct span body, struct buffer *out);

#endif
