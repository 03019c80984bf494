#include "api/match.h"

#include <stdio.h>
#include <strings.h>

#include "base/amqp_table.h"
#include "base/error.h"

void matcher_init(struct matcher *m, const struct message_filter *filter) {
    m->filter = filter;
    if (json_pointer_parse(filter->pointer, &m->pointer) != 0) {
        m->pointer.count = 0;
    }
}

/* ---- header fields ---- */

static bool lines_have(struct span lines, const struct message_filter *f) {
    struct span name, value;
    while (header_line_next(&lines, &name, &value)) {
        if (header_name_is(name, f->header) &&
            (f->header_value.data == NULL || span_equal(value, f->header_value))) {
            return true;
        }
    }
    return false;
}

static bool field_is(const struct amqp_field *f, struct span value) {
    struct span text;
    int64_t number;
    char digits[24];
    if (value.data == NULL || (amqp_field_text(f, &text) && span_equal(text, value))) {
        return true;
    }
    if (!amqp_field_integer(f, &number)) {
        return f->type == 't' && span_is(value, f->as.boolean ? "true" : "false");
    }
    snprintf(digits, sizeof digits, "%lld", (long long)number);
    return span_is(value, digits);
}

static bool table_has(struct span entries, const struct message_filter *f) {
    struct amqp_field field;
    while (amqp_table_next(&entries, &field)) {
        if (span_equal(field.name, f->header) && field_is(&field, f->header_value)) {
            return true;
        }
    }
    return false;
}

/* ---- bodies ---- */

static bool string_is(struct span raw, struct span text) {
    uint8_t room[6 * FILTER_TEXT_MAX];
    if (raw.size > sizeof room) {
        return false; /* each byte of a text takes six at most */
    }
    struct span plain = span_of(NULL, 0);
    size_t size = json_string_decode(raw, room, &plain);
    return span_equal(plain.data != NULL ? plain : span_of(room, size), text);
}

static bool pointed_is(const struct matcher *m, struct span body) {
    struct json_found found = {.kind = JSON_KIND_NONE};
    struct json_fault fault;
    if (json_scan(body, &m->pointer, &found, &fault) != 0 || found.kind == JSON_KIND_NONE) {
        return false;
    }
    struct span text = m->filter->equals;
    if (text.data == NULL) {
        return true;
    }
    return found.kind == JSON_KIND_STRING ? string_is(found.raw, text)
                                          : span_equal(found.raw, text);
}

bool matcher_takes(const struct matcher *m, const struct stored_message *stored) {
    const struct message_filter *f = m->filter;
    struct span body = stored->envelope.body;
    if (f->header.size > 0 && !lines_have(stored->envelope.headers, f) &&
        !table_has(stored_message_table(stored), f)) {
        return false;
    }
    if (f->contains.size > 0 && (body.size == 0 || memmem(body.data, body.size, f->contains.data,
                                                          f->contains.size) == NULL)) {
        return false;
    }
    return f->pointer.data == NULL || pointed_is(m, body);
}
