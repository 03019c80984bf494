#include "amqp/broker.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

#define POOL_MAX_BYTES   (2u << 20)
#define POOLED_MAX_BYTES (64u << 10) /* of one */

/* ---- memory ---- */

struct amqp_op *amqp_op_create(enum amqp_op_kind kind, size_t room_bytes) {
    struct amqp_op *op = malloc(sizeof *op + room_bytes);
    if (op == NULL)
        return NULL;
    memset(op, 0, sizeof *op);
    op->kind = kind;
    op->room_bytes = op->capacity_bytes = room_bytes;
    return op;
}

struct amqp_op *amqp_op_grow(struct amqp_op *op, size_t room_bytes) {
    assert(room_bytes >= op->room_bytes);
    struct amqp_op *grown =
        room_bytes <= op->capacity_bytes ? op : realloc(op, sizeof *op + room_bytes);
    if (grown != NULL) {
        grown->room_bytes = room_bytes;
        if (grown->capacity_bytes < room_bytes)
            grown->capacity_bytes = room_bytes;
    }
    return grown;
}

static struct amqp_op *pool_take(struct amqp_op_pool *pool, enum amqp_op_kind kind, size_t bytes) {
    struct amqp_op *op = pool->first;
    if (op == NULL || op->capacity_bytes < bytes) {
        op = amqp_op_create(kind, bytes);
    } else {
        size_t capacity_bytes = op->capacity_bytes;
        pool->first = op->next;
        pool->bytes -= capacity_bytes;
        memset(op, 0, sizeof *op);
        op->kind = kind;
        op->room_bytes = bytes;
        op->capacity_bytes = capacity_bytes;
    }
    if (op != NULL)
        op->pool = pool;
    return op;
}

static void give_back(struct amqp_op *op) {
    struct amqp_op_pool *pool = op->pool;
    if (pool == NULL || op->capacity_bytes > POOLED_MAX_BYTES ||
        pool->bytes + op->capacity_bytes > POOL_MAX_BYTES) {
        free(op);
        return;
    }
    pool->bytes += op->capacity_bytes;
    op->next = pool->first;
    pool->first = op;
}

void amqp_op_pool_release(struct amqp_op_pool *pool) {
    while (pool->first != NULL) {
        struct amqp_op *op = pool->first;
        pool->first = op->next;
        free(op);
    }
    pool->bytes = 0;
}

/* ---- ops ---- */

uint8_t *amqp_op_room(struct amqp_op *op) {
    return (uint8_t *)(op + 1);
}

struct amqp_op *amqp_op_create_method(struct amqp_op_pool *pool, enum amqp_op_kind kind,
                                      struct span payload) {
    struct amqp_op *op =
        pool != NULL ? pool_take(pool, kind, payload.size) : amqp_op_create(kind, payload.size);
    if (op == NULL)
        return NULL;
    memcpy(amqp_op_room(op), payload.data, payload.size);
    int error = amqp_method_read(span_of(amqp_op_room(op), payload.size), &op->method);
    assert(error == 0); /* it was read before */
    return op;
}

static void free_list(struct amqp_op *op) {
    while (op != NULL) {
        struct amqp_op *next = op->next;
        amqp_op_free(op);
        op = next;
    }
}

void amqp_op_free(struct amqp_op *op) {
    if (op == NULL)
        return;
    if (op->host_free != NULL)
        op->host_free(op);
    if (op->kind == AMQP_OP_SETTLE)
        free(op->in.settle.items);
    if (op->kind == AMQP_OP_COMMIT) {
        free(op->in.commit.items);
        free_list(op->in.commit.publishes);
    }
    free(op->text);
    free(op->name);
    give_back(op);
}

int amqp_op_set_name(struct amqp_op *op, struct span name) {
    assert(op->name == NULL);
    op->name = span_dup(name);
    return op->name != NULL ? 0 : E_NOMEM;
}

void amqp_op_refuse(struct amqp_op *op, enum amqp_code code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    free(op->text);
    if (vasprintf(&op->text, format, arguments) < 0)
        op->text = NULL;
    va_end(arguments);
    op->code = code;
}
