#include "api/filter.h"

#include <stdlib.h>

#include "api/json_scan.h"
#include "base/error.h"

/* In the order of enum dead_reason, enum attempt_error, enum message_state. */
static const char *const reasons[] = {"any",      "refused",     "exhausted", "expired",
                                      "deleted",  "rejected",    "maxlen",    "delivery-limit",
                                      "deadline", "unconfirmed", NULL};
static const char *const errors[] = {
    "any",     "connect",   "timeout",  "tls",      "dns",    "protocol", "address-refused",
    "unknown", "body-lost", "not-made", "no-token", "broken", NULL};
static const char *const states[] = {"any",  "ready",   "delayed", "in-flight",
                                     "dead", "blocked", NULL};

static bool text_valid(struct span text) {
    return text.size >= 1 && text.size <= FILTER_TEXT_MAX;
}

static bool key_valid(struct span text) {
    return text.size >= 1 && text.size <= KEY_MAX_BYTES;
}

static bool header_valid(struct span text) {
    const uint8_t *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    return text_valid(text) && colon != text.data;
}

static bool pointer_valid(struct span text) {
    struct json_pointer p;
    return json_pointer_parse(text, &p) == 0;
}

#define MEMBER(name) FIELD_AT(struct filter, name)
const struct field filter_fields[] = {
    {"state", FIELD_WORD, MEMBER(state), .words = states},
    {"reason", FIELD_WORD, MEMBER(reason), .words = reasons},
    {"error", FIELD_WORD, MEMBER(error), .words = errors},
    {"status", FIELD_INTEGER, MEMBER(status), .max = 999},
    {"minAttempts", FIELD_INTEGER, MEMBER(attempts_min), .max = UINT32_MAX},
    {"acceptedFrom", FIELD_TIME, MEMBER(accepted_from_ns)},
    {"acceptedTo", FIELD_TIME, MEMBER(accepted_to_ns)},
    {"changedFrom", FIELD_TIME, MEMBER(changed_from_ns)},
    {"changedTo", FIELD_TIME, MEMBER(changed_to_ns)},
    {"orderingKey", FIELD_TEXT, MEMBER(ordering_key), .valid = key_valid,
     .expects = "a text of 1 to 255 bytes"},
    {"header", FIELD_TEXT, MEMBER(header), .valid = header_valid,
     .expects = "Name, or Name: value, at most 1024 bytes"},
    {"pointer", FIELD_TEXT, MEMBER(pointer), .valid = pointer_valid,
     .expects = "a JSON pointer of at most 8 steps, such as /order/id"},
    {"equals", FIELD_TEXT, MEMBER(equals)},
    {"contains", FIELD_TEXT, MEMBER(contains), .valid = text_valid,
     .expects = "a text of 1 to 1024 bytes"},
    FIELD_END};

bool filter_has(struct span name, bool *ret_number) {
    for (const struct field *f = filter_fields; f->name != NULL; f++) {
        if (span_is(name, f->name)) {
            *ret_number = f->type == FIELD_INTEGER;
            return true;
        }
    }
    return false;
}

static struct span text_of(const char *text) {
    return text != NULL ? span_text(text) : span_of(NULL, 0);
}

/* "Name: value" apart; a name alone asks whether it is there. */
static void split_header(struct span text, struct message_filter *m) {
    const uint8_t *colon = text.size > 0 ? memchr(text.data, ':', text.size) : NULL;
    m->header = text;
    if (colon == NULL) {
        return;
    }
    m->header.size = (size_t)(colon - text.data);
    size_t at = m->header.size + 1;
    while (at < text.size && text.data[at] == ' ') {
        at++;
    }
    m->header_value = span_of(text.data + at, text.size - at);
}

int filter_read(struct filter *f, const json_t *object, struct field_reader *r) {
    *f = (struct filter){.state = 0};
    int error = fields_read(filter_fields, object, f, NULL, r);
    if (error != 0) {
        return error;
    }
    if (f->equals != NULL && (f->pointer == NULL || strlen(f->equals) > FILTER_TEXT_MAX)) {
        field_fault(r, "equals", "expected a pointer beside it, and at most %u bytes",
                    FILTER_TEXT_MAX);
        return E_INVALID;
    }
    f->match = (struct message_filter){
        .reason = (enum dead_reason)f->reason,
        .status = f->status,
        .error = f->error,
        .attempts_min = f->attempts_min,
        .accepted_from_ns = f->accepted_from_ns,
        .accepted_to_ns = f->accepted_to_ns,
        .changed_from_ns = f->changed_from_ns,
        .changed_to_ns = f->changed_to_ns,
        .ordering_key = text_of(f->ordering_key),
        .pointer = text_of(f->pointer),
        .equals = text_of(f->equals),
        .contains = text_of(f->contains),
    };
    split_header(text_of(f->header), &f->match);
    return 0;
}

void filter_release(struct filter *f) {
    free(f->ordering_key);
    free(f->header);
    free(f->pointer);
    free(f->equals);
    free(f->contains);
    *f = (struct filter){.state = 0};
}
