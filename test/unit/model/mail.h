/*
 * test/unit/model/mail.h - short forms for tests of queues: define, publish, ask, expect.
 */
#ifndef SLUICE_TEST_UNIT_MODEL_MAIL_H
#define SLUICE_TEST_UNIT_MODEL_MAIL_H

#include "push.h"

/* The world of a test file, and what cmocka calls around each test of it. */
extern struct world mail;
int mail_setup(void **state);
/* Whatever a test did must pass model_check and survive replay and reload. */
int mail_teardown(void **state);

/* A definition with its defaults and this name, pushing to `destination` ("": to none). */
struct queue_def mail_def(const char *name, const char *destination);
/* Defines it and releases it. */
enum refusal mail_define(struct queue_def *def);
/* mail_define(mail_def(name, "")), and it must succeed. */
void mail_queue(const char *name);

struct letter {
    const char *queue, *key, *body;
    uint8_t priority;
    uint64_t schedule_ns, ttl_ns;
};
enum refusal mail_try(struct letter l, struct receipt *ret);
/* It must succeed; the id. */
uint64_t mail_put(struct letter l);

struct message_info mail_get(uint64_t id);
struct queue_info mail_info(const char *queue);
struct receipt_info mail_receipt(uint64_t id);
const char *mail_receipt_queue(uint64_t id); /* static */
/* A request that names a queue and a message. */
enum refusal mail_ask_id(enum request_kind kind, const char *queue, uint64_t id);
/* Applies facts that nobody decided. */
int mail_apply(struct span facts);
/* One fact, into an initialised buffer. */
void mail_fact(struct buffer *out, uint16_t kind, uint16_t version, struct span payload);

#endif
