#include "mail.h"

#include <assert.h>
#include <stdio.h>

struct world mail;

int mail_setup(void **state) {
    (void)state;
    world_init(&mail, NULL);
    return 0;
}

int mail_teardown(void **state) {
    (void)state;
    model_check(mail.model);
    world_check_replay(&mail);
    world_reload(&mail);
    world_check_replay(&mail);
    world_release(&mail);
    return 0;
}

struct queue_def mail_def(const char *name, const char *destination) {
    return world_queue_def(name, destination);
}

enum refusal mail_define(struct queue_def *def) {
    return world_define(&mail, def);
}

void mail_queue(const char *name) {
    struct queue_def def = mail_def(name, "");
    enum refusal refusal = mail_define(&def);
    assert(refusal == REFUSAL_NONE);
}

enum refusal mail_try(struct letter l, struct receipt *ret) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_PUBLISH);
    r.in.publish.queue = span_text(l.queue);
    r.in.publish.priority = l.priority;
    r.in.publish.schedule_ns = l.schedule_ns;
    r.in.publish.ttl_ns = l.ttl_ns;
    r.in.publish.envelope.ordering_key = span_text(l.key != NULL ? l.key : "");
    r.in.publish.envelope.body = span_text(l.body != NULL ? l.body : "");
    enum refusal refusal = world_ask(&mail, &r);
    *ret = r.receipt;
    request_release(&r);
    return refusal;
}

uint64_t mail_put(struct letter l) {
    struct receipt receipt;
    enum refusal refusal = mail_try(l, &receipt);
    assert(refusal == REFUSAL_NONE && receipt.id != 0);
    return receipt.id;
}

struct message_info mail_get(uint64_t id) {
    return push_message(&mail, id);
}

struct queue_info mail_info(const char *queue) {
    struct request r;
    request_init(&r, REQUEST_QUEUE_GET);
    r.name = span_text(queue);
    enum refusal refusal = world_ask(&mail, &r);
    assert(refusal == REFUSAL_NONE);
    struct queue_info info = r.out.queue;
    request_release(&r);
    return info;
}

struct receipt_info mail_receipt(uint64_t id) {
    struct request r;
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = id;
    enum refusal refusal = world_ask(&mail, &r);
    struct receipt_info info = {0};
    if (refusal == REFUSAL_NONE) {
        info = r.out.receipt;
    }
    request_release(&r);
    return info;
}

const char *mail_receipt_queue(uint64_t id) {
    static char name[QUEUE_NAME_MAX_BYTES + 1];
    struct request r;
    request_init(&r, REQUEST_RECEIPT_GET);
    r.id = id;
    enum refusal refusal = world_ask(&mail, &r);
    assert(refusal == REFUSAL_NONE);
    struct span queue = request_receipt_queue(&r);
    snprintf(name, sizeof name, "%.*s", SPAN_ARG(queue));
    request_release(&r);
    return name;
}

enum refusal mail_ask_id(enum request_kind kind, const char *queue, uint64_t id) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text(queue);
    r.id = id;
    enum refusal refusal = world_ask(&mail, &r);
    request_release(&r);
    return refusal;
}

int mail_apply(struct span facts) {
    struct applied where = {
        .time_ns = mail.now_ns, .position = mail.position, .address = mail.position};
    return model_apply(mail.model, &where, facts);
}

void mail_fact(struct buffer *out, uint16_t kind, uint16_t version, struct span payload) {
    int rc = buffer_put_u16(out, kind);
    rc = rc != 0 ? rc : buffer_put_u16(out, version);
    rc = rc != 0 ? rc : buffer_put_bytes(out, payload);
    assert(rc == 0);
}
