/*
 * Building a line never fails: what does not fit is cut. TAIL_BYTES stay free for what must still
 * follow a cut value ("...", the closing quote and brace, the newline).
 */
#include "base/logline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "base/compiler.h"
#include "base/error.h"

#define TAIL_BYTES 8u
#define ESCAPE_MAX 6u /* \u001f */

static const char *const level_names[] = {"debug", "info", "warn", "error"};

static atomic_int least_level = LOGLINE_INFO;
static atomic_int chosen_format = LOGLINE_LOGFMT;
static atomic_int output_file = STDERR_FILENO;

void logline_set_level(enum logline_level least) {
    atomic_store_explicit(&least_level, (int)least, memory_order_relaxed);
}

void logline_set_format(enum logline_format format) {
    atomic_store_explicit(&chosen_format, (int)format, memory_order_relaxed);
}

void logline_set_file(int file) {
    atomic_store_explicit(&output_file, file, memory_order_relaxed);
}

bool logline_level_parse(const char *name, enum logline_level *ret_level) {
    for (size_t i = 0; i < ARRAY_LENGTH(level_names); i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *ret_level = (enum logline_level)i;
            return true;
        }
    }
    return false;
}

bool logline_wanted(enum logline_level level) {
    return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

static bool fits(const struct logline *l, size_t size) {
    return l->size + size + TAIL_BYTES <= sizeof l->text;
}

/* Only where `fits` was asked, or for the tail. */
static void put(struct logline *l, const char *bytes, size_t size) {
    memcpy(l->text + l->size, bytes, size);
    l->size += size;
}

static void put_char(struct logline *l, char c) {
    l->text[l->size++] = c;
}

/* Length of the UTF-8 sequence at p (no overlong forms, no surrogates), 0 when it is none. */
static size_t utf8_length(const uint8_t *p, size_t left) {
    size_t length = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (length == 0 || p[0] > 0xf4 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : length;
}

/* One character of a value as it stands between quotes; returns how many bytes of it were used. */
static size_t escape(const uint8_t *p, size_t left, char out[ESCAPE_MAX + 1], size_t *ret_size) {
    size_t length = utf8_length(p, left);
    if (length == 0) {
        *ret_size = 3;
        memcpy(out, "\xef\xbf\xbd", 3); /* U+FFFD */
        return 1;
    }
    if (p[0] == '"' || p[0] == '\\') {
        out[0] = '\\';
        out[1] = (char)p[0];
        *ret_size = 2;
    } else if (p[0] < 0x20 || p[0] == 0x7f) {
        *ret_size = (size_t)snprintf(out, ESCAPE_MAX + 1, "\\u%04x", p[0]);
    } else {
        memcpy(out, p, length);
        *ret_size = length;
    }
    return length;
}

static void put_quoted(struct logline *l, struct span value) {
    put_char(l, '"');
    size_t i = 0;
    while (i < value.size) {
        char out[ESCAPE_MAX + 1];
        size_t size;
        size_t used = escape(value.data + i, value.size - i, out, &size);
        if (!fits(l, size)) {
            put(l, "...", 3);
            l->full = true;
            break;
        }
        put(l, out, size);
        i += used;
    }
    put_char(l, '"');
}

static bool is_bare(struct span value) {
    for (size_t i = 0; i < value.size; i++) {
        uint8_t c = value.data[i];
        if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') {
            return false;
        }
    }
    return value.size > 0;
}

/* False: not wanted, or no room for the key and at least the quotes. */
static bool put_key(struct logline *l, const char *key) {
    size_t size = strlen(key);
    if (!l->wanted || l->full || !fits(l, size + 6)) {
        return false;
    }
    if (l->format == LOGLINE_JSON) {
        put(l, l->size == 1 ? "\"" : ",\"", l->size == 1 ? 1 : 2);
        put(l, key, size);
        put(l, "\":", 2);
    } else {
        put(l, " ", l->size == 0 ? 0 : 1);
        put(l, key, size);
        put_char(l, '=');
    }
    return true;
}

void logline_span(struct logline *l, const char *key, struct span value) {
    if (!put_key(l, key)) {
        return;
    }
    if (l->format == LOGLINE_LOGFMT && is_bare(value) && fits(l, value.size)) {
        put(l, (const char *)value.data, value.size);
    } else {
        put_quoted(l, value);
    }
}

void logline_text(struct logline *l, const char *key, const char *value) {
    logline_span(l, key, span_text(value == NULL ? "" : value));
}

/* A value that stands without quotes in both formats. */
static void PRINTF_LIKE(3, 4)
    put_literal(struct logline *l, const char *key, const char *format, ...) {
    char text[64];
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (length > 0 && (size_t)length < sizeof text && fits(l, strlen(key) + (size_t)length + 6) &&
        put_key(l, key)) {
        put(l, text, (size_t)length);
    }
}

void logline_u64(struct logline *l, const char *key, uint64_t value) {
    put_literal(l, key, "%" PRIu64, value);
}

void logline_i64(struct logline *l, const char *key, int64_t value) {
    put_literal(l, key, "%" PRId64, value);
}

void logline_bool(struct logline *l, const char *key, bool value) {
    put_literal(l, key, "%s", value ? "true" : "false");
}

void logline_duration(struct logline *l, const char *key, uint64_t ns) {
    put_literal(l, key, "%" PRIu64 ".%06" PRIu64, ns / NS_PER_SECOND,
                ns % NS_PER_SECOND / NS_PER_US);
}

void logline_error(struct logline *l, int code) {
    logline_text(l, "error", error_name(code));
    logline_text(l, "reason", error_text(code));
}

static void put_time(struct logline *l) {
    uint64_t now_ns = clock_real_ns();
    char text[TIME_TEXT_BYTES];
    (void)time_format(now_ns - now_ns % NS_PER_MS, text);
    logline_text(l, "time", text);
}

void logline_begin(struct logline *l, enum logline_level level, const char *event) {
    l->size = 0;
    l->full = false;
    l->wanted = logline_wanted(level);
    if (!l->wanted) {
        return;
    }
    l->format = (enum logline_format)atomic_load_explicit(&chosen_format, memory_order_relaxed);
    if (l->format == LOGLINE_JSON) {
        put_char(l, '{');
    }
    put_time(l);
    logline_text(l, "level", level_names[level]);
    logline_text(l, "event", event);
}

void logline_end(struct logline *l) {
    if (!l->wanted) {
        return;
    }
    if (l->format == LOGLINE_JSON) {
        put_char(l, '}');
    }
    put_char(l, '\n');
    int file = atomic_load_explicit(&output_file, memory_order_relaxed);
    ssize_t written;
    do {
        written = write(file, l->text, l->size);
    } while (written < 0 && errno == EINTR);
    l->wanted = false;
}

void logline_event(enum logline_level level, const char *event) {
    struct logline l;
    logline_begin(&l, level, event);
    logline_end(&l);
}
