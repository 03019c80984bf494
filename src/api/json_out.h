/*
 * api/json_out.h - JSON text into a buffer, without a tree.
 *
 *      out_open(&j, '{');
 *      out_key(&j, "name"), out_text(&j, "orders");
 *      out_key(&j, "ready"), out_u64(&j, 3);
 *      out_close(&j, '}');
 *
 * Promise: commas are placed by the writer; text is escaped; bytes that are not UTF-8 become U+FFFD.
 *          The first failed append sets `failed` and everything after it is left out, so a caller
 *          asks once, at its end.
 */
#ifndef SLUICE_API_JSON_OUT_H
#define SLUICE_API_JSON_OUT_H

#include "base/buffer.h"

struct json_out {
    struct buffer *to; /* borrows */
    bool comma;        /* something stands before at this level */
    bool failed;
};

void out_init(struct json_out *j, struct buffer *to);
/* '{' or '['; '}' or ']'. */
void out_open(struct json_out *j, char bracket);
void out_close(struct json_out *j, char bracket);
/* `name` must need no escaping: it is one of ours. */
void out_key(struct json_out *j, const char *name);
/* A name that came from outside. */
void out_key_span(struct json_out *j, struct span name);
void out_text(struct json_out *j, const char *text);
void out_span(struct json_out *j, struct span text);
void out_u64(struct json_out *j, uint64_t value);
void out_double(struct json_out *j, double value);
void out_bool(struct json_out *j, bool value);
void out_null(struct json_out *j);
/* RFC 3339. */
void out_time(struct json_out *j, uint64_t ns);
/* "1.5s" */
void out_duration(struct json_out *j, uint64_t ns);
/* Base64 with padding, as a string. */
void out_base64(struct json_out *j, struct span bytes);
/* A value that is JSON already. */
void out_raw(struct json_out *j, struct span text);

#endif
