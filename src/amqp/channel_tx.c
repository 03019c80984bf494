/*
 * Transactions: publishes and settlements are kept here until commit hands them to the broker as one op, and
 * so as one record. A rollback forgets the publishes and takes the settlements back: their deliveries are
 * unsettled again under their old tags.
 */
#include <stdlib.h>

#include "amqp/connection_state.h"
#include "base/error.h"

static void free_publishes(struct amqp_op *op) {
    while (op != NULL) {
        struct amqp_op *next = op->next;
        amqp_op_free(op);
        op = next;
    }
}

static void forget_publishes(struct amqp_channel *ch) {
    for (struct amqp_op *op = ch->tx_first; op != NULL; op = op->next)
        amqp_let_go(ch->connection, op->room_bytes);
    ch->tx_first = ch->tx_last = NULL;
    ch->tx_publishes = 0;
}

void amqp_tx_drop(struct amqp_channel *ch) {
    struct amqp_op *publishes = ch->tx_first;
    forget_publishes(ch);
    free_publishes(publishes);
    free(ch->tx_settled);
    ch->tx_settled = NULL;
    ch->tx_settled_count = ch->tx_settled_capacity = 0;
    amqp_let_others(ch->connection);
}

void amqp_tx_give_back(struct amqp_channel *ch) {
    for (size_t i = 0; i < ch->tx_settled_count; i++)
        amqp_settle(ch->connection, ch->tx_settled[i].entry.message, AMQP_VERDICT_REQUEUE);
    ch->tx_settled_count = 0;
}

static bool has_room(struct amqp_channel *ch) {
    uint32_t most = ch->connection->host->limits.transaction_ops;
    if (ch->tx_publishes + ch->tx_settled_count < most)
        return true;
    amqp_fail(ch->connection, AMQP_RESOURCE_ERROR, AMQP_TX_SELECT,
              "more than %u publishes and settlements in a transaction", most);
    return false;
}

void amqp_tx_publish(struct amqp_channel *ch, struct amqp_op *op) {
    struct amqp_connection *c = ch->connection;
    if (!has_room(ch)) {
        amqp_op_free(op);
        return;
    }
    if (op->room_bytes > c->host->limits.assembled_bytes - c->assembled_bytes) {
        amqp_op_free(op);
        amqp_fail(c, AMQP_RESOURCE_ERROR, AMQP_BASIC_PUBLISH, "the transaction is too large");
        return;
    }
    amqp_hold_more(c, op->room_bytes);
    if (ch->tx_first == NULL)
        ch->tx_first = op;
    else
        ch->tx_last->next = op;
    ch->tx_last = op;
    ch->tx_publishes++;
}

void amqp_tx_settle(struct amqp_channel *ch, const struct amqp_unacked_entry *e,
                    enum amqp_verdict verdict) {
    if (ch->state != AMQP_CHANNEL_OPEN_ || !has_room(ch))
        return;
    if (ch->tx_settled_count == ch->tx_settled_capacity) {
        size_t capacity = ch->tx_settled_capacity > 0 ? 2 * ch->tx_settled_capacity : 16;
        struct amqp_uncommitted *grown = realloc(ch->tx_settled, capacity * sizeof *grown);
        if (grown == NULL) {
            amqp_fail_nomem(ch->connection);
            return;
        }
        ch->tx_settled = grown;
        ch->tx_settled_capacity = capacity;
    }
    ch->tx_settled[ch->tx_settled_count++] = (struct amqp_uncommitted){*e, verdict};
}

static void commit(struct amqp_channel *ch) {
    struct amqp_op *op = amqp_op_create(AMQP_OP_COMMIT, 0);
    size_t count = ch->tx_settled_count;
    struct amqp_settlement *items = calloc(count + 1, sizeof *items);
    if (op == NULL || items == NULL) {
        free(items);
        amqp_op_free(op);
        amqp_fail_nomem(ch->connection);
        return;
    }
    for (size_t i = 0; i < count; i++)
        items[i] =
            (struct amqp_settlement){ch->tx_settled[i].entry.message, ch->tx_settled[i].verdict};
    for (const struct amqp_op *p = ch->tx_first; p != NULL; p = p->next)
        op->bytes += p->room_bytes;
    op->method.id = AMQP_TX_COMMIT;
    op->in.commit.publishes = ch->tx_first;
    op->in.commit.publish_count = ch->tx_publishes;
    op->in.commit.items = items;
    op->in.commit.count = count;
    forget_publishes(ch);
    amqp_tx_drop(ch);
    amqp_channel_ask(ch, op);
}

void amqp_committed(struct amqp_channel *ch, struct amqp_op *op) {
    for (struct amqp_op *p = op->in.commit.publishes; p != NULL; p = p->next)
        amqp_channel_published(ch, p);
    amqp_send(ch->connection, ch->number, &(struct amqp_method){.id = AMQP_TX_COMMIT_OK});
}

void amqp_commit_refused(struct amqp_channel *ch, const struct amqp_op *op) {
    for (size_t i = 0; i < op->in.commit.count; i++)
        amqp_settle(ch->connection, op->in.commit.items[i].message, AMQP_VERDICT_REQUEUE);
    amqp_settle_now(ch->connection);
}

static void rollback(struct amqp_channel *ch) {
    struct amqp_unacked_entry *entries = calloc(ch->tx_settled_count + 1, sizeof *entries);
    int error = entries != NULL ? 0 : E_NOMEM;
    for (size_t i = 0; error == 0 && i < ch->tx_settled_count; i++)
        entries[i] = ch->tx_settled[i].entry;
    if (error == 0)
        error = amqp_unacked_restore(&ch->unacked, entries, ch->tx_settled_count);
    free(entries);
    amqp_tx_drop(ch);
    if (error != 0)
        amqp_fail_nomem(ch->connection);
    else
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_TX_ROLLBACK_OK});
}

void amqp_tx_method(struct amqp_channel *ch, const struct amqp_method *m) {
    if (m->id == AMQP_TX_SELECT && ch->mode == AMQP_MODE_CONFIRM) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, m->id,
                          "cannot switch from confirm to tx mode");
    } else if (m->id == AMQP_TX_SELECT) {
        ch->mode = AMQP_MODE_TX;
        amqp_channel_reply(ch, &(struct amqp_method){.id = AMQP_TX_SELECT_OK});
    } else if (ch->mode != AMQP_MODE_TX) {
        amqp_channel_fail(ch, AMQP_PRECONDITION_FAILED, m->id, "channel is not transactional");
    } else if (m->id == AMQP_TX_COMMIT) {
        commit(ch);
    } else {
        rollback(ch);
    }
}
