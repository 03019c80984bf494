/*
 * cli/import_drain.h - moves the messages of one queue from another broker to ours.
 *
 *      take up to LINK_WINDOW messages    publish them    wait for every confirm    acknowledge them all
 *
 * Promise: D1 a message is acknowledged over there only after it was confirmed here, which is: flushed. So it is there,
 *             here, or (between the two, when a program or the connection ends) in both; it is never in none.
 *          D2 what was handed out before (`redelivered`) and has a message-id is marked so that ours takes it only if it
 *             has not taken it: the id is made of its message-id, exchange, key and body. Without one it may be twice:
 *             it is counted as `unsure`.
 *          D3 order is kept, as one batch follows the other and each is one connection's.
 *          D4 exchange, routing key, headers and properties stay as they are. The time to live of a message begins
 *             anew: no broker says when it came in. With `ttl_from_timestamp` the rest is counted from its timestamp.
 * Errors:  -1 with the reason in the link that failed. Whatever was moved stays moved; the same call goes on.
 */
#ifndef SLUICE_CLI_IMPORT_DRAIN_H
#define SLUICE_CLI_IMPORT_DRAIN_H

#include "cli/import_link.h"

struct drain {
    struct link *from, *to; /* borrows */
    const char *queue;
    bool ttl_from_timestamp;
    volatile bool *stop; /* borrows: set by a signal, seen between batches */
    void (*progress)(const struct drain *d);
    /* out */
    uint64_t sent; /* to this channel, in all */
    uint64_t confirmed;
    uint64_t moved, again, unsure;
};

/* Until nothing is ready there. `sent` and `confirmed` go on over the queues of a connection. */
MUST_CHECK int drain_queue(struct drain *d);

#endif
