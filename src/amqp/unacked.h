/*
 * amqp/unacked.h - the deliveries of a channel that its client has not settled, by delivery tag.
 *
 * Promise: tags are given 1, 2, 3 and never again. Adding, and settling from the front or all up to a tag, costs
 *          O(1) an entry; settling one in the middle O(log n). Memory follows what is unsettled (holes are
 *          closed when they are more than half) and is given back when nothing is.
 * Shape:   caller-owned; entries ascend by tag between `first` and `end`; a settled one stays as a hole until
 *          it reaches the front.
 * Errors:  E_NOMEM; E_NOT_FOUND: no unsettled delivery has that tag.
 */
#ifndef SLUICE_AMQP_UNACKED_H
#define SLUICE_AMQP_UNACKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct amqp_unacked_entry {
    uint64_t tag;
    uint64_t message;  /* 0: a hole */
    uint64_t consumer; /* 0: from a get */
};

struct amqp_unacked {
    struct amqp_unacked_entry *entries; /* owns */
    size_t first, end, capacity;
    size_t count; /* unsettled */
    uint64_t last_tag;
};

typedef void amqp_unacked_settled(void *context, const struct amqp_unacked_entry *e);

void amqp_unacked_init(struct amqp_unacked *u);
void amqp_unacked_release(struct amqp_unacked *u);
/* A tag for a delivery that needs no settling. */
static inline uint64_t amqp_unacked_skip(struct amqp_unacked *u) {
    return ++u->last_tag;
}
/* Remembers a delivery; its tag. */
MUST_CHECK int amqp_unacked_add(struct amqp_unacked *u, uint64_t message, uint64_t consumer,
                                uint64_t *ret_tag);
/* Takes out one, or all up to it (`multiple`; tag 0: all there are) and tells each, oldest first. */
MUST_CHECK int amqp_unacked_settle(struct amqp_unacked *u, uint64_t tag, bool multiple,
                                   amqp_unacked_settled *settled, void *context);
/* Puts settled ones back under their old tags: a rollback. E_NOMEM: nothing was. */
MUST_CHECK int amqp_unacked_restore(struct amqp_unacked *u,
                                    const struct amqp_unacked_entry *entries, size_t count);
/* Asserts what stands above. For tests. */
void amqp_unacked_check(const struct amqp_unacked *u);

#endif
