/*
 * model/queue_arguments.h - the x- arguments of a queue, read into its definition and compared.
 *
 * Promise: an argument that is known has the right type and range, or the declaration is refused; one of another
 *          type of queue (quorum, stream) too; any other is kept as it is.
 */
#ifndef SLUICE_MODEL_QUEUE_ARGUMENTS_H
#define SLUICE_MODEL_QUEUE_ARGUMENTS_H

#include "model/request.h"

/* More than any queue can hold: what x-max-length 0 says. */
#define QUEUE_HOLDS_NOTHING UINT64_MAX

bool queue_arguments_quorum(struct span arguments);
/* Over a def with AMQP's defaults; its texts are set. PRECONDITION with the pointer; LIMIT: no memory. */
enum refusal queue_arguments_read(struct request *r, struct span arguments, struct queue_def *def);
/*
 * The settings of a policy ("max-length"), over a def where all that a policy can set is 0. What has an effect
 * elsewhere or nowhere here (queue-mode, ha-mode, alternate-exchange) is passed over. INVALID: of another type, or
 * a key that nobody knows; LIMIT: no memory.
 */
enum refusal queue_policy_read(struct request *r, struct span definition, struct queue_def *def);
/* Are those that matter the same? Else PRECONDITION with the pointer. */
enum refusal queue_arguments_compare(struct request *r, struct span present, struct span wanted);

#endif
