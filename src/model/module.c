/*
 * The table of modules, and how a decision writes its facts.
 *
 *   offset  size  fact (the same bytes stand in the log)
 *        0     2  kind
 *        2     2  version
 *        4     4  length of the payload
 *        8     .  payload
 *
 * begin writes the header with length 0, end puts the true length in its place, so a payload is
 * written straight to where it stays.
 */
#include "model/module.h"

#include <assert.h>
#include <endian.h>

#include "model/audit.h"
#include "model/campaign.h"
#include "model/dedup.h"
#include "model/destination.h"
#include "model/exchange.h"
#include "model/history.h"
#include "model/job.h"
#include "model/queue.h"
#include "model/receipt.h"
#include "model/session.h"
#include "model/stock.h"
#include "model/transaction.h"
#include "model/user.h"

#define FACT_LENGTH_OFFSET 4u
#define FACT_HEADER_BYTES  8u

const struct module *const modules[MODULE_COUNT] = {
    [MODULE_QUEUE] = &queue_module,
    [MODULE_STOCK] = &stock_module,
    [MODULE_CAMPAIGN] = &campaign_module,
    [MODULE_DEDUP] = &dedup_module,
    [MODULE_DESTINATION] = &destination_module,
    [MODULE_TRANSACTION] = &transaction_module,
    [MODULE_RECEIPT] = &receipt_module,
    [MODULE_AUDIT] = &audit_module,
    [MODULE_EXCHANGE] = &exchange_module,
    [MODULE_USER] = &user_module,
    [MODULE_SESSION] = &session_module,
    [MODULE_HISTORY] = &history_module,
    [MODULE_JOB] = &job_module,
};

static inline void decision_keep(struct decision *d, int rc) {
    if (rc != 0) {
        d->failed = true;
    }
}

uint64_t decision_id(struct decision *d) {
    assert(d->operation < IDS_PER_POSITION * (d->reserved + 1));
    return id_make(d->position - d->reserved, 0) + d->operation++;
}

bool decision_has_ids(struct decision *d, uint32_t count) {
    if (d->operation + count <= IDS_PER_POSITION * (d->reserved + 1)) {
        return true;
    }
    d->operation += count; /* the next to ask wants its own besides */
    d->ids_wanted = d->operation;
    return false;
}

size_t decision_begin(struct decision *d, uint16_t kind, uint16_t version) {
    size_t begun = d->facts->size;
    decision_put_u16(d, kind);
    decision_put_u16(d, version);
    decision_put_u32(d, 0);
    return begun;
}

void decision_end(struct decision *d, size_t begun) {
    if (d->failed) {
        return;
    }
    assert(d->facts->size >= begun + FACT_HEADER_BYTES);
    uint32_t length = htole32((uint32_t)(d->facts->size - begun - FACT_HEADER_BYTES));
    memcpy(d->facts->data + begun + FACT_LENGTH_OFFSET, &length, sizeof length);
    if (d->fact_count == UINT16_MAX) {
        d->failed = true; /* the record header counts in 16 bits */
        return;
    }
    d->fact_count++;
}

void decision_put_u8(struct decision *d, uint8_t v) {
    decision_keep(d, buffer_put_u8(d->facts, v));
}

void decision_put_u16(struct decision *d, uint16_t v) {
    decision_keep(d, buffer_put_u16(d->facts, v));
}

void decision_put_u32(struct decision *d, uint32_t v) {
    decision_keep(d, buffer_put_u32(d->facts, v));
}

void decision_put_u64(struct decision *d, uint64_t v) {
    decision_keep(d, buffer_put_u64(d->facts, v));
}

void decision_put_span(struct decision *d, struct span s) {
    decision_keep(d, buffer_append_span(d->facts, s));
}

void decision_put_bytes(struct decision *d, struct span s) {
    decision_keep(d, buffer_put_bytes(d->facts, s));
}
