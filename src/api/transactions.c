/*
 * POST /v1/transactions: up to 64 operations on different resources, all or nothing.
 *
 *      {"operations": [
 *          {"reserve": {"stock": "seats", "member": "m1", "purchase": "p1"}},
 *          {"enqueue": {"queue": "mail", "body": {...}, "compensate": {"stock": "seats", "purchase": "p1"}}},
 *          {"dedup":   {"key": "order-17", "ttl": "1h"}}]}
 *
 * Each operation is read by a table of fields into a struct of owned texts, which stays with the call
 * (it is in its memory; the texts are moved there too and freed at once).
 */
#include <sodium.h>
#include <stdlib.h>

#include "api/head.h"
#include "api/info.h"
#include "api/routes.h"
#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"

#define YEAR_NS (365 * 86400 * NS_PER_SECOND)

/* The fields of all kinds; each kind's table names its own. */
struct operation_input {
    char *stock, *member, *purchase, *queue, *content_type, *ordering_key, *key, *unique_key;
    char *compensate_stock, *compensate_purchase;
    uint64_t hold_ns, delay_ns, schedule_ns, ttl_ns, deadline_ns;
    uint8_t priority;
};

static bool key_valid(struct span text) {
    return text.size >= 1 && text.size <= KEY_MAX_BYTES;
}

static bool type_valid(struct span text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < ' ' || text.data[i] > '~') {
            return false;
        }
    }
    return text.size >= 1 && text.size <= 255;
}

#define OPERATION(member) FIELD_AT(struct operation_input, member)
#define NAME_FIELD(json, member, noun)                                                             \
    {                                                                                              \
        json, FIELD_TEXT, OPERATION(member), .valid = name_valid,                                  \
                                             .expects = "the name of a " noun, .required = true    \
    }
#define KEY_FIELD(json, member, needed)                                                            \
    {                                                                                              \
        json, FIELD_TEXT, OPERATION(member),                                                       \
            .valid = key_valid, .expects = "a text of 1 to 255 bytes", .required = needed          \
    }

static const struct field reserve_fields[] = {
    NAME_FIELD("stock", stock, "stock"),
    KEY_FIELD("member", member, false),
    KEY_FIELD("purchase", purchase, false),
    {"hold", FIELD_DURATION, OPERATION(hold_ns), .max = YEAR_NS},
    FIELD_END};
static const struct field purchase_fields[] = {NAME_FIELD("stock", stock, "stock"),
                                               KEY_FIELD("purchase", purchase, true), FIELD_END};
static const struct field compensate_fields[] = {NAME_FIELD("stock", compensate_stock, "stock"),
                                                 KEY_FIELD("purchase", compensate_purchase, true),
                                                 FIELD_END};
static const struct field enqueue_fields[] = {
    NAME_FIELD("queue", queue, "queue"),
    {"contentType", FIELD_TEXT, OPERATION(content_type), .valid = type_valid,
     .expects = "a content type"},
    {"delay", FIELD_DURATION, OPERATION(delay_ns), .max = YEAR_NS},
    {"scheduleTime", FIELD_TIME, OPERATION(schedule_ns)},
    {"priority", FIELD_INTEGER, OPERATION(priority), .max = PRIORITY_MAX},
    {"ttl", FIELD_DURATION, OPERATION(ttl_ns), .max = 10 * YEAR_NS},
    {"dispatchDeadline", FIELD_TIME, OPERATION(deadline_ns)},
    KEY_FIELD("orderingKey", ordering_key, false),
    KEY_FIELD("uniqueKey", unique_key, false),
    {"compensate", FIELD_OBJECT, .offset = 0, .size = 0, .members = compensate_fields},
    FIELD_END};
static const struct field dedup_fields[] = {
    KEY_FIELD("key", key, true),
    {"ttl", FIELD_DURATION, OPERATION(ttl_ns), .max = YEAR_NS},
    FIELD_END};

static const struct {
    const char *name;
    enum operation_kind kind;
    const struct field *fields;
} kinds[] = {
    {"reserve", OPERATION_RESERVE, reserve_fields},
    {"release", OPERATION_RELEASE, purchase_fields},
    {"confirm", OPERATION_CONFIRM, purchase_fields},
    {"enqueue", OPERATION_ENQUEUE, enqueue_fields},
    {"dedup", OPERATION_DEDUP, dedup_fields},
};
static const char *const body_names[] = {"body", "bodyBase64", NULL};

/* ---- reading ---- */

/* Into the call's memory; absent: empty. */
static int keep_text(struct call *c, const char *text, struct span *ret) {
    size_t size = text != NULL ? strlen(text) : 0;
    char *copy = call_alloc(c, size + 1);
    if (copy == NULL) {
        return E_NOMEM;
    }
    memcpy(copy, text != NULL ? text : "", size);
    *ret = span_of(copy, size);
    return 0;
}

/* The texts of an operation: where they are read to, and where they go. */
#define TEXT(from, to)                                                                             \
    { offsetof(struct operation_input, from), offsetof(struct operation, to) }
static const struct {
    size_t from, to;
} texts[] = {
    TEXT(stock, reserve.stock),
    TEXT(member, reserve.member),
    TEXT(purchase, reserve.purchase),
    TEXT(queue, enqueue.queue),
    TEXT(content_type, enqueue.envelope.content_type),
    TEXT(ordering_key, enqueue.envelope.ordering_key),
    TEXT(unique_key, enqueue.unique_key),
    TEXT(key, dedup_key),
    TEXT(compensate_stock, compensate_stock),
    TEXT(compensate_purchase, compensate_purchase),
};
#undef TEXT

static char *input_text(const struct operation_input *in, size_t i) {
    const void *text = (const char *)in + texts[i].from;
    return *(char *const *)text;
}

static int keep_texts(struct call *c, const struct operation_input *in, struct operation *op) {
    int error = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(texts) && error == 0; i++) {
        void *kept = (char *)op + texts[i].to;
        error = keep_text(c, input_text(in, i), kept);
    }
    return error;
}

static void input_release(struct operation_input *in) {
    for (size_t i = 0; i < ARRAY_LENGTH(texts); i++) {
        free(input_text(in, i));
    }
}

static int json_body(struct call *c, const json_t *value, struct span *ret) {
    size_t size = json_dumpb(value, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
    char *text = size > 0 ? call_alloc(c, size) : NULL;
    if (text == NULL || json_dumpb(value, text, size, JSON_COMPACT | JSON_ENCODE_ANY) != size) {
        return E_NOMEM;
    }
    *ret = span_of(text, size);
    return 0;
}

static int base64_body(struct call *c, const json_t *value, struct span *ret) {
    size_t room = json_string_length(value) / 4 * 3 + 3, size;
    uint8_t *bytes = call_alloc(c, room);
    if (bytes == NULL) {
        return E_NOMEM;
    }
    if (!json_is_string(value) ||
        sodium_base642bin(bytes, room, json_string_value(value), json_string_length(value), NULL,
                          &size, NULL, sodium_base64_VARIANT_ORIGINAL) != 0) {
        return E_INVALID;
    }
    *ret = span_of(bytes, size);
    return 0;
}

static int read_body(struct call *c, const json_t *object, struct envelope *e,
                     struct field_reader *reader) {
    const json_t *body = json_object_get(object, "body");
    const json_t *base64 = json_object_get(object, "bodyBase64");
    if ((body == NULL) == (base64 == NULL)) {
        field_fault(reader, "body", "expected one of body and bodyBase64");
        return E_INVALID;
    }
    if (body != NULL) {
        if (e->content_type.size == 0) {
            e->content_type = span_text("application/json");
        }
        return json_body(c, body, &e->body);
    }
    int error = base64_body(c, base64, &e->body);
    if (error == E_INVALID) {
        field_expected(reader, "bodyBase64", "base64 with padding", base64);
    }
    return error;
}

static void fill_operation(struct call *c, const struct operation_input *in, struct operation *op) {
    struct envelope *e = &op->enqueue.envelope;
    op->reserve.hold_ns = in->hold_ns;
    op->dedup_ttl_ns = in->ttl_ns;
    op->enqueue.ttl_ns = in->ttl_ns;
    op->enqueue.deadline_ns = in->deadline_ns;
    op->enqueue.priority = in->priority;
    op->enqueue.schedule_ns = in->delay_ns != 0 ? clock_real_ns() + in->delay_ns : in->schedule_ns;
    e->traceparent = c->head.traceparent;
    e->tracestate = c->head.tracestate;
    e->correlation_id = span_of(c->correlation, c->correlation_size);
}

static int check_schedule(const json_t *object, const struct publish *p,
                          struct field_reader *reader) {
    if (publish_outlived(p)) {
        field_fault(reader, "ttl", "it is over before the message may leave");
        return E_INVALID;
    }
    if (json_object_get(object, "delay") == NULL ||
        json_object_get(object, "scheduleTime") == NULL) {
        return 0;
    }
    field_fault(reader, "delay", "expected one of delay and scheduleTime");
    return E_INVALID;
}

static int read_by_table(struct call *c, size_t kind, const json_t *object, struct operation *op,
                         struct field_reader *reader) {
    struct operation_input in = {.stock = NULL};
    bool enqueue = kinds[kind].kind == OPERATION_ENQUEUE;
    int error = fields_read(kinds[kind].fields, object, &in, enqueue ? body_names : NULL, reader);
    if (error == 0) {
        error = keep_texts(c, &in, op);
    }
    if (error == 0 && enqueue) {
        error = read_body(c, object, &op->enqueue.envelope, reader);
    }
    fill_operation(c, &in, op);
    if (error == 0 && enqueue) {
        error = check_schedule(object, &op->enqueue, reader);
    }
    input_release(&in);
    return error;
}

/* {"reserve": {...}}: one member, which names the kind. */
static int read_operation(struct call *c, const json_t *item, struct operation *op,
                          struct field_reader *reader) {
    const char *name = json_object_iter_key(json_object_iter((json_t *)item));
    for (size_t i = 0; json_object_size(item) == 1 && i < ARRAY_LENGTH(kinds); i++) {
        if (strcmp(name, kinds[i].name) != 0) {
            continue;
        }
        op->kind = kinds[i].kind;
        size_t outer = field_enter(reader, name);
        int error = read_by_table(c, i, json_object_get(item, name), op, reader);
        field_leave(reader, outer);
        return error;
    }
    if (json_object_size(item) == 1)
        field_fault(reader, name,
                    "unknown operation; there are reserve, release, confirm, enqueue, dedup");
    else
        field_expected(reader, "",
                       "an object with one of reserve, release, confirm, enqueue, dedup", item);
    return E_INVALID;
}

static int read_operations(struct call *c, const json_t *list, struct field_reader *reader) {
    size_t count = json_array_size(list);
    if (count == 0 || count > TRANSACTION_OPERATIONS_MAX) {
        if (json_is_array(list))
            field_fault(reader, "operations", "expected 1 to 64 operations, found %zu", count);
        else
            field_expected(reader, "operations", "a list of 1 to 64 operations", list);
        return E_INVALID;
    }
    struct operation *ops = call_alloc(c, count * sizeof *ops);
    if (ops == NULL) {
        return E_NOMEM;
    }
    memset(ops, 0, count * sizeof *ops);
    c->request.r.in.transaction.operations = ops;
    c->request.r.in.transaction.count = (uint32_t)count;
    int error = 0;
    size_t outer = field_enter(reader, "operations");
    for (size_t i = 0; i < count && error != E_NOMEM; i++) {
        size_t inner = field_enter_index(reader, i);
        int one = read_operation(c, json_array_get(list, i), &ops[i], reader);
        error = one != 0 ? one : error;
        field_leave(reader, inner);
    }
    field_leave(reader, outer);
    return error;
}

static int read_transaction(struct call *c) {
    static const struct field none[] = {FIELD_END};
    static const char *const others[] = {"operations", NULL};
    struct field_reader reader = call_reader(c);
    int error = fields_read(none, c->tree, NULL, others, &reader);
    int list = read_operations(c, json_object_get(c->tree, "operations"), &reader);
    return error != 0 ? error : list;
}

/* ---- rights: to each resource that is named, and to keys ---- */

/* What is not covered gets a name that nothing has. E_NOMEM. */
static int hide_foreign(struct call *c) {
    for (uint32_t i = 0; i < c->request.r.in.transaction.count; i++) {
        struct operation *op = &c->request.r.in.transaction.operations[i];
        struct span *names[] = {&op->reserve.stock, &op->enqueue.queue, &op->compensate_stock};
        for (size_t k = 0; k < ARRAY_LENGTH(names); k++) {
            *names[k] = head_name(c, k == 1 ? "queues" : "stocks", *names[k]);
            if (names[k]->data == NULL) {
                return E_NOMEM;
            }
        }
        op->dedup_space = auth_space(&c->principal);
    }
    return 0;
}

/* ---- answer ---- */

static const char *kind_name(enum operation_kind kind) {
    size_t i = 0;
    while (i < ARRAY_LENGTH(kinds) - 1 && kinds[i].kind != kind) {
        i++;
    }
    return kinds[i].name;
}

static void write_operation(const struct operation *op, struct json_out *out) {
    out_open(out, '{');
    info_text(out, "operation", kind_name(op->kind));
    if (op->receipt.id != 0) {
        info_receipt(out, "receipt", op->receipt.id);
    }
    if (op->receipt.number != 0) {
        info_u64(out, "number", op->receipt.number);
    }
    info_time(out, "eta", op->receipt.eta_ns);
    out_close(out, '}');
}

static void committed(struct call *c) {
    const struct request *r = &c->request.r;
    if (call_refused(c)) {
        return;
    }
    call_receipt_headers(c);
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    call_receipt_members(c, &out);
    if (!r->replayed) {
        out_key(&out, "operations");
        out_open(&out, '[');
        for (uint32_t i = 0; i < r->in.transaction.count; i++) {
            write_operation(&r->in.transaction.operations[i], &out);
        }
        out_close(&out, ']');
    }
    out_close(&out, '}');
    call_json_end(c, 202, &out);
}

void transaction_post(struct call *c) {
    c->request.r.kind = REQUEST_TRANSACTION;
    if (!publish_no_options(c) || !call_read_tree(c)) {
        return;
    }
    int error = read_transaction(c);
    if (error == E_INVALID) {
        call_errors(c);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else if (hide_foreign(c) != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else {
        call_submit(c, committed);
    }
}
