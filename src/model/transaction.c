/*
 * Transactions: check all, then emit all.
 *
 * The receipt of a transaction is the first id of its record: that of its first reservation or message,
 * or one of its own (TRANSACTION_DONE) when it makes neither. Stock goes first when the facts are
 * emitted, so that a message can be tied to a purchase whose number is made from its receipt.
 */
#include "model/transaction.h"

#include <assert.h>
#include <stdio.h>

#include "base/error.h"
#include "model/dedup.h"
#include "model/fact.h"
#include "model/queue.h"
#include "model/receipt.h"
#include "model/state.h"
#include "model/stock.h"

/* Keys of transactions are apart from those of requests: a scope that no hash of a path is likely to be. */
#define DEDUP_SCOPE UINT64_C(0x736c756963652e31)

struct plan {
    struct stock_plan stock;
    uint32_t queue;
    uint32_t compensated_stock; /* index, 0: none */
    uint32_t reserved_by;       /* operation + 1 whose purchase is given back; 0: its own text */
};

static bool is_stock_operation(enum operation_kind kind) {
    return kind == OPERATION_RESERVE || kind == OPERATION_RELEASE || kind == OPERATION_CONFIRM;
}

static struct idempotency dedup_key_of(const struct operation *o) {
    return (struct idempotency){.key = o->dedup_key, .scope = DEDUP_SCOPE ^ o->dedup_space};
}

static enum refusal refuse_at(struct request *r, uint32_t n, const char *field,
                              enum refusal refusal, const char *detail) {
    assert(n < TRANSACTION_OPERATIONS_MAX);
    snprintf(r->error_pointer, sizeof r->error_pointer, "/operations/%u%.49s", n, field);
    r->error_detail = detail;
    return refusal;
}

/* ---- different resources ---- */

/* The text that names the resource, and the field that has it. */
static struct span resource_of(const struct operation *o, const char **ret_field) {
    switch (o->kind) {
    case OPERATION_ENQUEUE:
        *ret_field = "/queue";
        return o->enqueue.queue;
    case OPERATION_DEDUP:
        *ret_field = "/key";
        return o->dedup_key;
    default:
        *ret_field = "/stock";
        return o->reserve.stock;
    }
}

static enum refusal check_different(const struct operation *o, uint32_t count, struct request *r) {
    for (uint32_t n = 1; n < count; n++) {
        const char *field, *other;
        struct span resource = resource_of(&o[n], &field);
        for (uint32_t before = 0; before < n; before++) {
            struct span named = resource_of(&o[before], &other);
            if (field[1] == other[1] && span_equal(resource, named)) {
                return refuse_at(r, n, field, REFUSAL_INVALID,
                                 "an earlier operation names the same resource");
            }
        }
    }
    return REFUSAL_NONE;
}

/* ---- checks ---- */

static enum refusal check_stock(const struct model *m, const struct decision *d,
                                const struct operation *o, uint32_t n, struct plan *p,
                                struct request *r) {
    enum refusal refusal = stock_check(m, d, o->kind, o->reserve.stock, &o->reserve, &p->stock);
    if (refusal == REFUSAL_NOT_FOUND && p->stock.stock == 0) {
        refusal = REFUSAL_REFERENCE; /* what is not found is no resource of the path */
    }
    if (refusal != REFUSAL_NONE) {
        return refuse_at(r, n, "", refusal, p->stock.detail);
    }
    return REFUSAL_NONE;
}

/* The RESERVE of the same transaction that takes the stock's unit; 0: none, else operation + 1. */
static uint32_t reservation_of(const struct request *r, struct span stock) {
    const struct operation *o = r->in.transaction.operations;
    for (uint32_t n = 0; n < r->in.transaction.count; n++) {
        if (o[n].kind == OPERATION_RESERVE && span_equal(o[n].reserve.stock, stock)) {
            return n + 1;
        }
    }
    return 0;
}

static enum refusal check_compensation(const struct model *m, const struct operation *o, uint32_t n,
                                       struct plan *p, struct request *r) {
    if (o->compensate_stock.size == 0) {
        return REFUSAL_NONE;
    }
    p->compensated_stock = stock_find(m, o->compensate_stock);
    if (p->compensated_stock == 0) {
        return refuse_at(r, n, "", REFUSAL_REFERENCE, "the stock to compensate does not exist");
    }
    if (o->compensate_purchase.size > KEY_MAX_BYTES) {
        return refuse_at(r, n, "", REFUSAL_INVALID, "a purchase key has at most 255 bytes");
    }
    if (o->compensate_purchase.size == 0) {
        p->reserved_by = reservation_of(r, o->compensate_stock);
        if (p->reserved_by == 0) {
            return refuse_at(r, n, "", REFUSAL_INVALID, "a purchase to compensate is needed");
        }
    }
    return REFUSAL_NONE;
}

static enum refusal check_enqueue(const struct model *m, const struct decision *d,
                                  const struct operation *o, uint32_t n, struct plan *p,
                                  struct request *r) {
    enum refusal refusal = queue_check_publish(m, d, &o->enqueue, r, &p->queue);
    if (refusal != REFUSAL_NONE) {
        char field[sizeof r->error_pointer - sizeof "/operations/63"];
        snprintf(field, sizeof field, "%.*s", (int)sizeof field - 1, r->error_pointer);
        return refuse_at(r, n, field, refusal == REFUSAL_NOT_FOUND ? REFUSAL_REFERENCE : refusal,
                         r->error_detail);
    }
    return check_compensation(m, o, n, p, r);
}

static enum refusal check_dedup(const struct model *m, const struct decision *d,
                                const struct operation *o, uint32_t n, struct request *r) {
    if (o->dedup_key.size == 0 || o->dedup_key.size > KEY_MAX_BYTES) {
        return refuse_at(r, n, "", REFUSAL_INVALID, "a key has 1 to 255 bytes");
    }
    struct idempotency key = dedup_key_of(o);
    uint64_t fingerprint;
    if (dedup_find(m, d->now_ns, &key, &fingerprint, &r->receipt)) {
        return refuse_at(r, n, "", REFUSAL_ALREADY_CLAIMED, "the key was seen before");
    }
    if (!d->may_grow) {
        return refuse_at(r, n, "", REFUSAL_DISK_FULL, NULL);
    }
    if (!dedup_has_room(m, d->now_ns)) {
        return refuse_at(r, n, "", REFUSAL_LIMIT, "the limit of keys is reached");
    }
    return REFUSAL_NONE;
}

static enum refusal check_operation(const struct model *m, const struct decision *d,
                                    const struct operation *o, uint32_t n, struct plan *p,
                                    struct request *r) {
    if (is_stock_operation(o->kind)) {
        return check_stock(m, d, o, n, p, r);
    }
    if (o->kind == OPERATION_ENQUEUE) {
        return check_enqueue(m, d, o, n, p, r);
    }
    if (o->kind == OPERATION_DEDUP) {
        return check_dedup(m, d, o, n, r);
    }
    return refuse_at(r, n, "", REFUSAL_INVALID, "unknown kind of operation");
}

static enum refusal check_all(const struct model *m, const struct decision *d, struct plan *plans,
                              struct request *r) {
    const struct operation *o = r->in.transaction.operations;
    uint32_t count = r->in.transaction.count;
    if (count == 0 || count > TRANSACTION_OPERATIONS_MAX) {
        return request_invalid(r, "/operations", "1 to 64 operations");
    }
    enum refusal refusal = check_different(o, count, r);
    for (uint32_t n = 0; n < count && refusal == REFUSAL_NONE; n++) {
        refusal = check_operation(m, d, &o[n], n, &plans[n], r);
    }
    return refusal;
}

/* ---- emits ---- */

static void emit_enqueue(const struct model *m, struct decision *d, struct operation *o,
                         const struct plan *p, const struct plan *plans) {
    struct tie tie = {.stock = p->compensated_stock};
    if (tie.stock != 0) {
        tie.purchase =
            p->reserved_by != 0 ? plans[p->reserved_by - 1].stock.purchase : o->compensate_purchase;
    }
    queue_emit_put(m, d, p->queue, &o->enqueue, &tie, &o->receipt);
}

/*
 * TRANSACTION_DONE v1
 *        0    8  receipt id
 */
static void emit_done(struct decision *d) {
    size_t begun = decision_begin(d, FACT_TRANSACTION_DONE, 1);
    decision_put_u64(d, id_make(d->position, d->operation++));
    decision_end(d, begun);
}

static void emit_all(const struct model *m, struct decision *d, struct plan *plans,
                     struct request *r) {
    struct operation *o = r->in.transaction.operations;
    uint32_t count = r->in.transaction.count;
    uint32_t before = d->operation;
    r->receipt = (struct receipt){.id = id_make(d->position, before), .accepted_ns = d->now_ns};
    for (uint32_t n = 0; n < count; n++) {
        if (is_stock_operation(o[n].kind)) {
            stock_emit(m, d, &plans[n].stock, &o[n].receipt);
        } else if (o[n].kind == OPERATION_DEDUP) {
            struct idempotency key = dedup_key_of(&o[n]);
            dedup_emit(m, d, &key, &r->receipt, o[n].dedup_ttl_ns);
        }
    }
    for (uint32_t n = 0; n < count; n++) {
        if (o[n].kind == OPERATION_ENQUEUE) {
            emit_enqueue(m, d, &o[n], &plans[n], plans);
        }
    }
    if (d->operation == before) {
        emit_done(d);
    }
}

static enum refusal transaction_decide(const struct model *m, struct decision *d,
                                       struct request *r) {
    struct plan plans[TRANSACTION_OPERATIONS_MAX];
    memset(plans, 0, sizeof plans);
    if (r->kind != REQUEST_TRANSACTION) {
        return REFUSAL_INVALID;
    }
    enum refusal refusal = check_all(m, d, plans, r);
    if (refusal == REFUSAL_NONE) {
        emit_all(m, d, plans, r);
    }
    return refusal;
}

static int transaction_apply(struct model *m, const struct applied *w, uint16_t kind,
                             uint16_t version, struct reader *p) {
    (void)version;
    uint64_t id = reader_u64(p);
    if (kind != FACT_TRANSACTION_DONE || p->failed || id_position(id) != w->position) {
        return E_CORRUPT;
    }
    return receipt_note(m, w, id, 0, 0, DEAD_NONE, 0, 0, 0);
}

const struct module transaction_module = {
    .name = "transaction",
    .decide = transaction_decide,
    .apply = transaction_apply,
    .section_version = 1,
};
