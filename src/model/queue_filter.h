/*
 * model/queue_filter.h - which messages of a queue are meant: all that is set must hold.
 *
 * The upper part is asked of the messages in memory, by whoever walks the lists. The lower part is about what
 * is stored, which the model does not have: whoever reads bodies asks for it (api/match.h).
 */
#ifndef SLUICE_MODEL_QUEUE_FILTER_H
#define SLUICE_MODEL_QUEUE_FILTER_H

#include "model/request.h"

#define FILTER_TEXT_MAX 1024u /* bytes of each text */

struct message_filter {
    enum dead_reason reason; /* 0: any; so is 0 or empty in all others */
    uint16_t status;         /* of the last attempt */
    uint8_t error;           /* the same: enum attempt_error */
    uint32_t attempts_min;
    uint64_t accepted_from_ns, accepted_to_ns; /* from <= it < to */
    uint64_t changed_from_ns, changed_to_ns;
    struct span ordering_key;

    struct span header, header_value; /* of what is sent along, or AMQP's; no value: any */
    struct span pointer,
        equals; /* RFC 6901; no data: any; else the text there, of a string without quotes */
    struct span contains; /* bytes somewhere in the body */
};

/* Does it ask for something that is only in the log? */
bool message_filter_needs_body(const struct message_filter *f);

#endif
