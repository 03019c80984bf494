/*
 * amqp/access.h - what a user may do in a vhost: three patterns, and the right that each op needs.
 *
 * Promise: a pattern is compiled once, when it is first needed; ".*" and "" never. What does not compile allows
 *          nothing. Names are matched as RabbitMQ does: anywhere in the name unless the pattern is
 *          anchored; an empty pattern allows no name; the default exchange is "amq.default".
 * Shape:   counted: connections of one user in one vhost share it.
 */
#ifndef SLUICE_AMQP_ACCESS_H
#define SLUICE_AMQP_ACCESS_H

#include "amqp/broker.h"
#include "base/list.h"

enum amqp_right { AMQP_CONFIGURE, AMQP_WRITE, AMQP_READ };
#define AMQP_RIGHTS 3u

struct amqp_access;

/* Nothing is allowed at first; one reference. E_NOMEM. */
MUST_CHECK int amqp_access_create(struct list *shared, struct span user, struct span vhost,
                                  struct amqp_access **ret);
/* Out of those in the list, with a reference more; NULL: none. */
struct amqp_access *amqp_access_find(const struct list *shared, struct span user,
                                     struct span vhost);
void amqp_access_ref(struct amqp_access *a);
void amqp_access_unref(struct amqp_access *a);
/* NULL: there are no more. */
struct amqp_access *amqp_access_first(const struct list *shared);
struct amqp_access *amqp_access_next(const struct list *shared, const struct amqp_access *a);
struct span amqp_access_user(const struct amqp_access *a);
struct span amqp_access_vhost(const struct amqp_access *a);

/* Patterns by right; without memory it allows nothing. */
void amqp_access_set(struct amqp_access *a, const struct span patterns[AMQP_RIGHTS]);
/* It has the tag `administrator`, or needs none. */
void amqp_access_set_administrator(struct amqp_access *a);
/* Out of the answer to ACCESS_GET. False: the user has no permission there, and now nothing is allowed. */
bool amqp_access_read(struct amqp_access *a, struct span items);
bool amqp_access_allows(struct amqp_access *a, enum amqp_right right, struct span name);

/* False: refused (403). What no name is in is allowed. */
bool amqp_access_check(struct amqp_access *a, struct amqp_op *op);

#endif
