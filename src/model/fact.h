/*
 * model/fact.h - the kinds of facts. Kinds are only added, never redefined; the payloads are described
 * at the emit function of each, byte by byte, and in docs/format/facts.md.
 */
#ifndef SLUICE_MODEL_FACT_H
#define SLUICE_MODEL_FACT_H

/* name, kind (module in the high byte), present version */
#define FACT_TABLE(X)                                                                              \
    X(QUEUE_DEFINED, 0x0101, 1)                                                                    \
    X(QUEUE_DELETED, 0x0102, 1)                                                                    \
    X(QUEUE_PAUSED, 0x0103, 1)                                                                     \
    X(QUEUE_PURGED, 0x0104, 1)                                                                     \
    X(QUEUE_REMOVED, 0x0105, 1) /* with everything in it */                                        \
    X(QUEUE_TOUCHED, 0x0106, 1) /* it is in use: its time to expire begins anew */                 \
    X(QUEUE_OWNED, 0x0107, 1)   /* it is exclusive to a session */                                 \
    X(MESSAGE_PUT, 0x0110, 1)                                                                      \
    X(MESSAGE_MOVED, 0x0111, 1)                                                                    \
    X(MESSAGE_DUE, 0x0112, 1)     /* delay over */                                                 \
    X(MESSAGE_EXPIRED, 0x0113, 2) /* time to live over */                                          \
    X(MESSAGE_DELETED, 0x0114, 1)                                                                  \
    X(MESSAGE_REDRIVEN, 0x0115, 2)                                                                 \
    X(MESSAGE_FANOUT, 0x0116, 3)        /* one body, several queues */                             \
    X(MESSAGE_DEAD_LETTERED, 0x0117, 2) /* out of its queue and, the same body, into others */     \
    X(MESSAGE_RELOCATED, 0x0118, 1)     /* MOVED, for a body that several share */                 \
    X(MESSAGE_TENANT, 0x0130, 1)                                                                   \
    X(MESSAGE_EDITED, 0x0120, 1)      /* another body under the same id */                         \
    X(MESSAGE_TRANSFERRED, 0x0121, 1) /* to another queue */                                       \
    X(IDS_RESERVED, 0x0119, 1)                                                                     \
    X(STOCK_DEFINED, 0x0201, 1)                                                                    \
    X(STOCK_DELETED, 0x0202, 1)                                                                    \
    X(STOCK_PLUS, 0x0203, 1)                                                                       \
    X(STOCK_MINUS, 0x0204, 1)                                                                      \
    X(STOCK_CONFIRMED, 0x0205, 1)                                                                  \
    X(STOCK_TOMBSTONE, 0x0206, 1)                                                                  \
    X(STOCK_TOMBSTONE_ENDED, 0x0207, 1)                                                            \
    X(CAMPAIGN_DEFINED, 0x0301, 1)                                                                 \
    X(CAMPAIGN_DELETED, 0x0302, 1)                                                                 \
    X(CAMPAIGN_ENTERED, 0x0303, 1)                                                                 \
    X(CAMPAIGN_SETTLED, 0x0304, 1)                                                                 \
    X(DEDUP_STORED, 0x0401, 2)                                                                     \
    X(DESTINATION_DEFINED, 0x0501, 1)                                                              \
    X(DESTINATION_DELETED, 0x0502, 1)                                                              \
    X(DESTINATION_PAUSED, 0x0503, 1)                                                               \
    X(DESTINATION_STATUS, 0x0504, 1)  /* healthy, caution, critical */                             \
    X(DESTINATION_BREAKER, 0x0505, 2) /* opened or closed by hand */                               \
    X(ENDPOINT_CHANGED, 0x0506, 1)    /* by hand or by a check */                                  \
    X(ATTEMPT_STARTED, 0x0510, 4)                                                                  \
    X(ATTEMPT_FINISHED, 0x0511, 2)                                                                 \
    X(ATTEMPT_DEFERRED, 0x0512, 1) /* a retry over the budget */                                   \
    X(MESSAGE_CONFIRMED, 0x0513, 1)                                                                \
    X(TRANSACTION_DONE, 0x0601, 1) /* the receipt of a transaction without messages */             \
    X(AUDIT_RECORDED, 0x0901, 1)                                                                   \
    X(AUDIT_WRITTEN, 0x0902, 1) /* the audit file has the entries up to a number */                \
    X(VHOST_DEFINED, 0x0801, 1)                                                                    \
    X(VHOST_DELETED, 0x0802, 1) /* with everything in it */                                        \
    X(EXCHANGE_DECLARED, 0x0803, 1)                                                                \
    X(EXCHANGE_DELETED, 0x0804, 1)                                                                 \
    X(BINDING_ADDED, 0x0805, 1)                                                                    \
    X(BINDING_REMOVED, 0x0806, 1)                                                                  \
    X(POLICY_DEFINED, 0x0807, 1)                                                                   \
    X(POLICY_DELETED, 0x0808, 1)                                                                   \
    X(POLICY_APPLIED, 0x0809, 1)                                                                   \
    X(USER_DEFINED, 0x0a01, 1)                                                                     \
    X(USER_DELETED, 0x0a02, 1)                                                                     \
    X(PERMISSION_DEFINED, 0x0a03, 1)                                                               \
    X(PERMISSION_DELETED, 0x0a04, 1)                                                               \
    X(JOB_STARTED, 0x0d01, 1)                                                                      \
    X(JOB_STEPPED, 0x0d02, 1)                                                                      \
    X(JOB_ENDED, 0x0d03, 1)                                                                        \
    X(SESSION_CLOSED, 0x0b02, 1)                                                                   \
    X(CONSUMER_ADDED, 0x0b03, 1)                                                                   \
    X(CONSUMER_CANCELLED, 0x0b04, 1)                                                               \
    X(CONSUMER_CREDITED, 0x0b05, 1)                                                                \
    X(CHANNEL_LIMITED, 0x0b06, 1)                                                                  \
    X(CHANNEL_CLOSED, 0x0b07, 1)                                                                   \
    X(SESSION_OPENED, 0x0b08, 1)                                                                   \
    X(MESSAGE_DELIVERED, 0x0b10, 1)                                                                \
    X(MESSAGES_SETTLED, 0x0b11, 1)

enum fact_kind {
#define X(name, number, version) FACT_##name = number,
    FACT_TABLE(X)
#undef X
};

/* "ATTEMPT_STARTED", or NULL for an unknown kind. For `sluice log dump`. */
const char *fact_kind_name(unsigned kind);
/* The version that this program writes, and the newest that it reads; 0 for an unknown kind. */
unsigned fact_kind_version(unsigned kind);

#endif
