/*
 * /v1/stocks/{stock}/reservations: units taken, confirmed and given back by purchase number.
 */
#include <stdlib.h>

#include "api/info.h"
#include "api/routes.h"
#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"

/* What POST takes; texts are owned by the struct until they are copied into the call. */
struct reservation_input {
    char *member, *purchase;
    uint64_t hold_ns;
};

static bool key_valid(struct span text) {
    return text.size >= 1 && text.size <= KEY_MAX_BYTES;
}

static const struct field reservation_fields[] = {
    {"member", FIELD_TEXT, FIELD_AT(struct reservation_input, member), .valid = key_valid,
     .expects = "a text of 1 to 255 bytes"},
    {"purchase", FIELD_TEXT, FIELD_AT(struct reservation_input, purchase), .valid = key_valid,
     .expects = "a text of 1 to 255 bytes"},
    {"hold", FIELD_DURATION, FIELD_AT(struct reservation_input, hold_ns),
     .max = 365 * 86400 * NS_PER_SECOND},
    FIELD_END};

static void write_reservation(struct call *c, struct json_out *out) {
    const struct request *r = &c->request.r;
    const struct reservation_info *i = &r->out.reservation;
    if (i->state != 0) {
        info_text(out, "state", reservation_state_name(i->state));
    }
    info_time(out, "expiresAt", i->expires_ns);
}

static void send_reservation(struct call *c, int status) {
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "stock", call_capture(c, 0));
    struct span purchase = c->request.r.in.reserve.purchase;
    if (purchase.size > 0) {
        info_span(&out, "purchase", purchase);
    } else {
        /* Made from the receipt when none was given. */
        info_receipt(&out, "purchase", c->request.r.receipt.id);
    }
    write_reservation(c, &out);
    call_receipt_members(c, &out);
    out_close(&out, '}');
    call_json_end(c, status, &out);
}

static void reserved(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    call_receipt_headers(c);
    send_reservation(c, 201);
}

/* A member that stands in the body, as it will be asked for: text, or the digits of an integer. */
static int copy_text(struct call *c, const char *text, struct span *ret) {
    if (text == NULL) {
        return 0;
    }
    size_t size = strlen(text);
    char *copy = call_alloc(c, size);
    if (copy == NULL) {
        return E_NOMEM;
    }
    memcpy(copy, text, size);
    *ret = span_of(copy, size);
    return 0;
}

static int read_reservation(struct call *c) {
    struct reserve *to = &c->request.r.in.reserve;
    struct reservation_input in = {.hold_ns = 0};
    struct field_reader reader = call_reader(c);
    int error = fields_read(reservation_fields, c->tree, &in, NULL, &reader);
    if (error == 0) {
        error = copy_text(c, in.member, &to->member);
    }
    if (error == 0) {
        error = copy_text(c, in.purchase, &to->purchase);
    }
    to->hold_ns = in.hold_ns;
    free(in.member);
    free(in.purchase);
    return error;
}

static void name_stock(struct call *c, enum request_kind kind) {
    struct request *r = &c->request.r;
    r->kind = kind;
    r->name = r->in.reserve.stock = call_capture(c, 0);
}

void reservation_post(struct call *c) {
    name_stock(c, REQUEST_STOCK_RESERVE);
    if (!publish_no_options(c) || !call_read_tree(c)) {
        return;
    }
    int error = read_reservation(c);
    if (error == E_INVALID) {
        call_errors(c);
    } else if (error != 0) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else {
        call_submit(c, reserved);
    }
}

static void found(struct call *c) {
    if (!call_refused(c)) {
        send_reservation(c, 200);
    }
}

void reservation_get(struct call *c) {
    name_stock(c, REQUEST_STOCK_RESERVATION_GET);
    c->request.r.in.reserve.purchase = call_capture(c, 1);
    call_submit(c, found);
}

static void released(struct call *c) {
    if (!call_refused(c)) {
        call_empty(c, 204);
    }
}

void reservation_delete(struct call *c) {
    name_stock(c, REQUEST_STOCK_RELEASE);
    c->request.r.in.reserve.purchase = call_capture(c, 1);
    call_submit(c, released);
}

static void confirmed(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "stock", call_capture(c, 0));
    info_span(&out, "purchase", call_capture(c, 1));
    write_reservation(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void reservation_confirm(struct call *c) {
    name_stock(c, REQUEST_STOCK_CONFIRM);
    c->request.r.in.reserve.purchase = call_capture(c, 1);
    call_submit(c, confirmed);
}
