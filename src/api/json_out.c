#include "api/json_out.h"

#include "base/utf8.h"

#include <sodium.h>
#include <stdio.h>

#include "base/units.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

void out_init(struct json_out *j, struct buffer *to) {
    *j = (struct json_out){.to = to};
}

static void put(struct json_out *j, const void *bytes, size_t size) {
    if (!j->failed && buffer_append(j->to, bytes, size) != 0) {
        j->failed = true;
    }
}

static void separate(struct json_out *j) {
    if (j->comma) {
        put(j, ",", 1);
    }
    j->comma = true;
}

void out_open(struct json_out *j, char bracket) {
    separate(j);
    put(j, &bracket, 1);
    j->comma = false;
}

void out_close(struct json_out *j, char bracket) {
    put(j, &bracket, 1);
    j->comma = true;
}

void out_key(struct json_out *j, const char *name) {
    separate(j);
    put(j, "\"", 1);
    put(j, name, strlen(name));
    put(j, "\":", 2);
    j->comma = false;
}

/* One character that cannot stand in a string as it is. Returns how many bytes it took. */
static size_t put_special(struct json_out *j, const uint8_t *p, size_t left) {
    static const char letters[] = "btn\0fr"; /* for 8 to 13 */
    if (p[0] >= 0x80) {
        size_t length = utf8_length(p, left);
        put(j, length > 0 ? (const char *)p : REPLACEMENT, length > 0 ? length : 3);
        return length > 0 ? length : 1;
    }
    if (p[0] == '"' || p[0] == '\\') {
        put(j, (char[]){'\\', (char)p[0]}, 2);
    } else if (p[0] >= 8 && p[0] <= 13 && letters[p[0] - 8] != '\0') {
        put(j, (char[]){'\\', letters[p[0] - 8]}, 2);
    } else {
        char escape[7];
        snprintf(escape, sizeof escape, "\\u%04x", p[0]);
        put(j, escape, 6);
    }
    return 1;
}

static bool is_plain(uint8_t c) {
    return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

static void put_string(struct json_out *j, struct span text) {
    put(j, "\"", 1);
    size_t at = 0;
    while (at < text.size) {
        size_t end = at;
        while (end < text.size && is_plain(text.data[end])) {
            end++;
        }
        put(j, text.data + at, end - at);
        at = end;
        if (at < text.size) {
            at += put_special(j, text.data + at, text.size - at);
        }
    }
    put(j, "\"", 1);
}

void out_key_span(struct json_out *j, struct span name) {
    separate(j);
    put_string(j, name);
    put(j, ":", 1);
    j->comma = false;
}

void out_text(struct json_out *j, const char *text) {
    out_span(j, span_text(text));
}

void out_span(struct json_out *j, struct span text) {
    separate(j);
    put_string(j, text);
}

void out_u64(struct json_out *j, uint64_t value) {
    char digits[20];
    out_raw(j, span_of(digits, u64_format(value, digits)));
}

void out_double(struct json_out *j, double value) {
    char text[32];
    int size = snprintf(text, sizeof text, "%.9g", value);
    out_raw(j, span_of(text, (size_t)size));
}

void out_bool(struct json_out *j, bool value) {
    out_raw(j, span_text(value ? "true" : "false"));
}

void out_null(struct json_out *j) {
    out_raw(j, span_text("null"));
}

static void put_quoted(struct json_out *j, const char *text, size_t size) {
    separate(j);
    put(j, "\"", 1);
    put(j, text, size);
    put(j, "\"", 1);
}

void out_time(struct json_out *j, uint64_t ns) {
    char text[TIME_TEXT_BYTES];
    put_quoted(j, text, time_format(ns, text));
}

void out_duration(struct json_out *j, uint64_t ns) {
    char text[DURATION_TEXT_BYTES];
    put_quoted(j, text, duration_format(ns, text));
}

void out_base64(struct json_out *j, struct span bytes) {
    size_t room = sodium_base64_ENCODED_LEN(bytes.size, sodium_base64_VARIANT_ORIGINAL);
    separate(j);
    put(j, "\"", 1);
    if (!j->failed && buffer_reserve(j->to, room) != 0) {
        j->failed = true;
    }
    if (!j->failed) {
        sodium_bin2base64((char *)j->to->data + j->to->size, room, bytes.data, bytes.size,
                          sodium_base64_VARIANT_ORIGINAL);
        j->to->size += room - 1; /* room counts a NUL */
    }
    put(j, "\"", 1);
}

void out_raw(struct json_out *j, struct span text) {
    separate(j);
    put(j, text.data, text.size);
}
