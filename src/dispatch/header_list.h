/*
 * dispatch/header_list.h - header lines of one request, as libcurl takes them.
 *
 * Promise: every line is "Name: value" with a token for a name and no control character in the value;
 *          what is not is left out, whoever wrote it. Clearing keeps the memory, so that a list that is
 *          used again allocates nothing.
 * Shape:   plain struct; the texts lie in one buffer, the lines in one array. header_list_curl links
 *          them; what it returns is borrowed until the next change.
 * Errors:  kept in `failed` (E_NOMEM, E_LIMIT above 128 KiB): check once, at the end.
 */
#ifndef SLUICE_DISPATCH_HEADER_LIST_H
#define SLUICE_DISPATCH_HEADER_LIST_H

#include <curl/curl.h>

#include "base/buffer.h"

struct header_line {
    struct curl_slist node; /* set by header_list_curl */
    uint32_t size, name_size;
};

struct header_list {
    struct buffer text;        /* lines, each with its NUL */
    struct header_line *lines; /* owns */
    uint32_t count;
    uint32_t capacity;
    int failed; /* the first error, 0: none */
};

void header_list_init(struct header_list *l);
void header_list_release(struct header_list *l);
void header_list_clear(struct header_list *l);
void header_list_add(struct header_list *l, const char *name, struct span value);
void header_list_add_text(struct header_list *l, const char *name, const char *value);
/*
 * "Name: value\n" lines. Left out are those that the list had a line for before or `reserved` (may be NULL) has, and
 * those that belong to the connection or are made by dispatch itself.
 */
void header_list_add_lines(struct header_list *l, struct span lines,
                           const struct header_list *reserved);
bool header_list_has(const struct header_list *l, struct span name);
/* Takes `name` out of what curl would send by itself. */
void header_list_suppress(struct header_list *l, const char *name);
/* Appends what `more` has; `more` must outlive the list that is returned. NULL: empty. */
struct curl_slist *header_list_curl(struct header_list *l, struct header_list *more);
/* All but what is suppressed, as they stand in a request. E_NOMEM, E_LIMIT. */
MUST_CHECK int header_list_write(const struct header_list *l, struct buffer *out);

#endif
