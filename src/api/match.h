/*
 * api/match.h - does a stored message have what a filter asks of header fields and body?
 */
#ifndef SLUICE_API_MATCH_H
#define SLUICE_API_MATCH_H

#include "api/json_scan.h"
#include "model/queue_filter.h"

struct matcher {
    const struct message_filter *filter; /* borrows */
    struct json_pointer pointer;
};

/* The pointer was checked when the filter was read; one that is none finds nothing. */
void matcher_init(struct matcher *m, const struct message_filter *filter);
bool matcher_takes(const struct matcher *m, const struct stored_message *stored);

#endif
