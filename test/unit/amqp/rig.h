/*
 * test/unit/amqp/rig.h - one connection on a bench: the test is its client, its broker and its clock, and answers
 * ops when and in what order it likes.
 */
#ifndef SLUICE_TEST_AMQP_RIG_H
#define SLUICE_TEST_AMQP_RIG_H

#include "amqp/connection.h"

#define RIG_OPS_MAX 256u

struct rig {
    struct amqp_connection *connection;
    struct amqp_host host;
    struct amqp_op_pool pool;
    struct amqp_budget budget; /* of its own; host.budget may be another's */
    struct buffer in, out;
    size_t out_read;
    uint64_t now_ms;
    struct amqp_op *ops[RIG_OPS_MAX]; /* asked, oldest first */
    size_t op_count;
    bool ended, unused, resumed;
};

void rig_init(struct rig *r);
/* The connection is lost, what was asked is answered, all is freed. */
void rig_release(struct rig *r);
/* Handshake and channel 1. */
void rig_open(struct rig *r);

/* From the client. */
void rig_bytes(struct rig *r, struct span bytes);
void rig_method(struct rig *r, uint16_t channel, const struct amqp_method *m);
void rig_publish(struct rig *r, uint16_t channel, const char *key, bool mandatory,
                 const char *body);

/* Takes the op at `index` out of those asked; it must be of that kind. */
struct amqp_op *rig_take(struct rig *r, size_t index, enum amqp_op_kind kind);
/* Answers it, and flushes. */
void rig_answer(struct rig *r, struct amqp_op *op);

/* The next frame that the client got; it must be a method of that kind. */
struct amqp_method rig_expect(struct rig *r, uint16_t channel, enum amqp_method_id id);
/* The content behind it. */
struct span rig_expect_body(struct rig *r);
void rig_expect_nothing(struct rig *r);
void rig_expect_heartbeat(struct rig *r);

#endif
