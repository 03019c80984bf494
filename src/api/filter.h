/*
 * api/filter.h - which messages are meant, as people say it: in a query or in the JSON of a job.
 *
 * Shape: owns the texts that `match` borrows.
 */
#ifndef SLUICE_API_FILTER_H
#define SLUICE_API_FILTER_H

#include "api/fields.h"
#include "model/queue_filter.h"

struct filter {
    uint8_t state; /* enum message_state; 0: any */
    uint8_t reason, error;
    uint16_t status;
    uint32_t attempts_min;
    uint64_t accepted_from_ns, accepted_to_ns, changed_from_ns, changed_to_ns;
    char *ordering_key, *header, *pointer, *equals, *contains; /* own; NULL: not said */
    struct message_filter match;
};

extern const struct field filter_fields[];

/* E_INVALID: errors were added; E_NOMEM. Release it either way. */
MUST_CHECK int filter_read(struct filter *f, const json_t *object, struct field_reader *r);
void filter_release(struct filter *f);
/* Is there a member of this name, and is it a number? */
bool filter_has(struct span name, bool *ret_number);

#endif
