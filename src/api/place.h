/*
 * api/place.h - page tokens of lists of messages: the place where a list goes on, and which list that is.
 *
 * Shape:  48 hexadecimal digits: 16 after, 16 bound (in.list of request.h), 8 of the process, 8 check of all that and of the list.
 *         The check is against mistakes; whoever makes a token up gets to another place of a list that he may read.
 * Errors: E_INVALID: no token, or of another list; E_CLOSED: of a process that is no more, where that matters (queue_place_lasts).
 */
#ifndef SLUICE_API_PLACE_H
#define SLUICE_API_PLACE_H

#include <jansson.h>

#include "base/span.h"
#include "model/request.h"

#define PLACE_DIGITS 48u

struct place {
    uint64_t after, bound;
};

/* What is listed, as a check of it; filter NULL: all. */
uint32_t place_list(struct span queue, enum message_state state, const json_t *filter);
void place_write(const struct place *p, uint32_t list, uint32_t process,
                 char out[PLACE_DIGITS + 1]);
MUST_CHECK int place_read(struct span token, uint32_t list, uint32_t process, struct place *ret);

#endif
