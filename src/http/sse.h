/*
 * http/sse.h - the text of one server-sent event.
 *
 * Promise: whatever is in `data`, line ends included, arrives as one event with that data (CR and CRLF
 *          become LF, as the format has it).
 * Errors:  E_INVALID: id or event with a line end or NUL; E_NOMEM, E_LIMIT of the buffer. After an
 *          error the buffer is as it was.
 * Source:  WHATWG HTML, "Server-sent events".
 */
#ifndef SLUICE_HTTP_SSE_H
#define SLUICE_HTTP_SSE_H

#include "base/buffer.h"
#include "base/compiler.h"

/* id and event may be empty: then their line is left out. */
MUST_CHECK int sse_append(struct buffer *out, struct span id, struct span event, struct span data);

#endif
