#include "model/request.h"

#include <assert.h>
#include <stdio.h>

#include "base/error.h"

#define OUT_MAX_BYTES ((size_t)64 << 20) /* LIST_MAX definitions of full size */
#define LIST_DEFAULT  100u
#define RECEIPT_HEX   16u

void request_init(struct request *r, enum request_kind kind) {
    memset(r, 0, sizeof *r);
    r->kind = kind;
    buffer_init(&r->out_bytes, OUT_MAX_BYTES);
}

struct span request_receipt_queue(const struct request *r) {
    return span_of(r->out_bytes.data, r->count);
}

struct span request_receipt_campaign(const struct request *r) {
    size_t queue = r->count, size = r->out_bytes.size;
    return queue < size ? span_of(r->out_bytes.data + queue, size - queue) : span_of(NULL, 0);
}

void request_release(struct request *r) {
    buffer_release(&r->out_bytes);
}

enum refusal request_invalid(struct request *r, const char *pointer, const char *detail) {
    snprintf(r->error_pointer, sizeof r->error_pointer, "%s", pointer);
    r->error_detail = detail;
    return REFUSAL_INVALID;
}

enum refusal request_refuse(struct request *r, enum refusal refusal, const char *detail) {
    r->error_detail = detail;
    return refusal;
}

enum refusal request_refuse_at(struct request *r, enum refusal refusal, const char *pointer,
                               const char *detail) {
    (void)request_invalid(r, pointer, detail);
    return refusal;
}

uint32_t request_list_max(const struct request *r) {
    uint32_t max = r->in.list.max;
    return max == 0 ? LIST_DEFAULT : max > LIST_MAX ? LIST_MAX : max;
}

uint32_t request_list_items(const struct request *r) {
    switch (r->kind) {
    case REQUEST_QUEUE_LIST:
    case REQUEST_QUEUE_MESSAGES:
    case REQUEST_STOCK_LIST:
    case REQUEST_CAMPAIGN_LIST:
    case REQUEST_CAMPAIGN_ENTRIES:
    case REQUEST_DESTINATION_LIST:
    case REQUEST_AUDIT_LIST:
    case REQUEST_JOB_LIST:
        return request_list_max(r);
    case REQUEST_EXCHANGE_LIST: /* these come whole, and such are asked for seldom */
    case REQUEST_BINDING_LIST:
    case REQUEST_VHOST_LIST:
    case REQUEST_POLICY_LIST:
    case REQUEST_USER_LIST:
    case REQUEST_PERMISSION_LIST:
    case REQUEST_CONSUMER_LIST:
        return LIST_MAX;
    default:
        return 0;
    }
}

const char *request_kind_name(enum request_kind k) {
    switch (k) {
#define X(name, number)                                                                            \
    case REQUEST_##name:                                                                           \
        return #name;
        REQUEST_TABLE(X)
#undef X
    }
    return "UNKNOWN";
}

const char *message_state_name(enum message_state s) {
    switch (s) {
    case MESSAGE_READY:
        return "ready";
    case MESSAGE_DELAYED:
        return "delayed";
    case MESSAGE_IN_FLIGHT:
        return "in-flight";
    case MESSAGE_DEAD:
        return "dead";
    case MESSAGE_BLOCKED:
        return "blocked";
    case MESSAGE_DONE:
        return "done";
    case MESSAGE_DROPPED:
        return "dropped";
    case MESSAGE_CONFIRMING:
        return "confirming";
    }
    return "none";
}

const char *confirm_outcome_name(enum confirm_outcome o) {
    static const char *const names[] = {[CONFIRM_NONE] = "",
                                        [CONFIRM_SUCCEEDED] = "succeeded",
                                        [CONFIRM_FAILED] = "failed",
                                        [CONFIRM_RETRY] = "retry",
                                        [CONFIRM_MISSED] = "missed"};
    return names[o];
}

const char *dead_reason_name(enum dead_reason r) {
    switch (r) {
    case DEAD_NONE:
        return "none";
    case DEAD_REFUSED:
        return "refused";
    case DEAD_EXHAUSTED:
        return "exhausted";
    case DEAD_EXPIRED:
        return "expired";
    case DEAD_DELETED:
        return "deleted";
    case DEAD_REJECTED:
        return "rejected";
    case DEAD_MAXLEN:
        return "maxlen";
    case DEAD_DELIVERY_LIMIT:
        return "delivery-limit";
    case DEAD_DEADLINE:
        return "deadline";
    case DEAD_UNCONFIRMED:
        return "unconfirmed";
    }
    return "unknown";
}

const char *waits_for_name(enum waits_for w) {
    static const char *const names[] = {"", "queue-resumed", "destination-resumed",
                                        "breaker-closed", "endpoint-returned"};
    return names[w];
}

const char *pause_reason_name(enum pause_reason r) {
    switch (r) {
    case PAUSE_NONE:
        return "none";
    case PAUSE_BY_HAND:
        return "by-hand";
    case PAUSE_GONE:
        return "gone";
    }
    return "unknown";
}

const char *attempt_error_name(enum attempt_error e) {
    switch (e) {
    case ATTEMPT_OK:
        return "ok";
    case ATTEMPT_CONNECT:
        return "connect";
    case ATTEMPT_TIMEOUT:
        return "timeout";
    case ATTEMPT_TLS:
        return "tls";
    case ATTEMPT_DNS:
        return "dns";
    case ATTEMPT_PROTOCOL:
        return "protocol";
    case ATTEMPT_ADDRESS_REFUSED:
        return "address-refused";
    case ATTEMPT_UNKNOWN:
        return "unknown";
    case ATTEMPT_BODY_LOST:
        return "body-lost";
    case ATTEMPT_NOT_MADE:
        return "not-made";
    case ATTEMPT_NO_TOKEN:
        return "no-token";
    case ATTEMPT_BROKEN:
        return "broken";
    }
    return "unknown";
}

void receipt_format(uint64_t id, char out[18]) {
    static const char digits[] = "0123456789abcdef";
    out[0] = 'r';
    for (unsigned i = 0; i < RECEIPT_HEX; i++) {
        out[RECEIPT_HEX - i] = digits[id >> (4 * i) & 15];
    }
    out[RECEIPT_HEX + 1] = '\0';
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int receipt_parse(struct span text, uint64_t *ret_id) {
    if (text.size != RECEIPT_HEX + 1 || text.data[0] != 'r') {
        return E_INVALID;
    }
    uint64_t id = 0;
    for (size_t i = 1; i <= RECEIPT_HEX; i++) {
        int value = hex_value(text.data[i]);
        if (value < 0) {
            return E_INVALID; /* capitals too: one id, one text */
        }
        id = id << 4 | (unsigned)value;
    }
    *ret_id = id;
    return 0;
}
