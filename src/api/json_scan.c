/*
 * A recursive descent over the grammar of RFC 8259, one function a rule. Depth is bounded, so is the
 * stack. Every function advances s->next past what it accepted, or records the fault and says false.
 *
 * Finding the pointer: `level` is how many tokens of the pointer have been matched by the names and
 * indexes on the way to the present value, OFF_PATH when one of them differed. The value at
 * level == count is the one looked for.
 */
#include "api/json_scan.h"

#include "base/error.h"
#include "base/utf8.h"

#define OFF_PATH UINT32_MAX

struct scan {
    const uint8_t *start;
    const uint8_t *next;
    const uint8_t *end;
    const struct json_pointer *pointer;
    struct json_found found;
    uint32_t depth;
    int error;
    const char *reason;
};

static bool scan_value(struct scan *s, uint32_t level);

static bool fault(struct scan *s, int error, const char *reason) {
    s->error = error;
    s->reason = reason;
    return false;
}

static void skip_space(struct scan *s) {
    while (s->next < s->end &&
           (*s->next == ' ' || *s->next == '\n' || *s->next == '\r' || *s->next == '\t')) {
        s->next++;
    }
}

static bool at_char(const struct scan *s, char c) {
    return s->next < s->end && *s->next == (uint8_t)c;
}

static bool is_digit(const struct scan *s) {
    return s->next < s->end && *s->next >= '0' && *s->next <= '9';
}

/* ---- strings ---- */

/* Bytes of eight that end a plain run: controls, quote, backslash, non-ASCII. 0: none of them. */
static uint64_t special_bytes(uint64_t word) {
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quote = word ^ (ones * '"'), slash = word ^ (ones * '\\');
    return (word | (word - ones * 0x20) | ((quote - ones) & ~quote) | ((slash - ones) & ~slash)) &
           highs;
}

static void skip_plain(struct scan *s) {
    uint64_t word;
    while (s->end - s->next >= 8) {
        memcpy(&word, s->next, 8);
        if (special_bytes(word) != 0) {
            break;
        }
        s->next += 8;
    }
    while (s->next < s->end && *s->next >= 0x20 && *s->next < 0x80 && *s->next != '"' &&
           *s->next != '\\') {
        s->next++;
    }
}

static bool scan_utf8(struct scan *s) {
    const uint8_t *p = s->next;
    size_t length = utf8_length(p, (size_t)(s->end - p));
    if (length < 2) {
        return fault(s, E_INVALID, "not UTF-8");
    }
    s->next += length;
    return true;
}

static int hex_value(uint8_t c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* Four hex digits at p; -1 when they are not there. */
static int32_t hex4(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) {
        return -1;
    }
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_value(p[i]);
        if (digit < 0) {
            return -1;
        }
        value = value << 4 | digit;
    }
    return value;
}

/* Behind "\u". A high surrogate must be followed by an escaped low one. */
static bool scan_unicode_escape(struct scan *s) {
    int32_t unit = hex4(s->next, s->end);
    if (unit < 0) {
        return fault(s, E_INVALID, "\\u needs four hex digits");
    }
    s->next += 4;
    if (unit >= 0xdc00 && unit <= 0xdfff) {
        return fault(s, E_INVALID, "half of a surrogate pair");
    }
    if (unit < 0xd800 || unit > 0xdbff) {
        return true;
    }
    bool follows = s->end - s->next >= 6 && s->next[0] == '\\' && s->next[1] == 'u';
    int32_t low = follows ? hex4(s->next + 2, s->end) : -1;
    if (low < 0xdc00 || low > 0xdfff) {
        return fault(s, E_INVALID, "half of a surrogate pair");
    }
    s->next += 6;
    return true;
}

static bool scan_escape(struct scan *s) {
    s->next++;
    if (s->next == s->end) {
        return fault(s, E_INVALID, "the string has no end");
    }
    uint8_t c = *s->next;
    if (c == 'u') {
        s->next++;
        return scan_unicode_escape(s);
    }
    if (memchr("\"\\/bfnrt", c, 8) == NULL) {
        return fault(s, E_INVALID, "unknown escape");
    }
    s->next++;
    return true;
}

/* At the opening quote. */
static bool scan_string(struct scan *s) {
    s->next++;
    for (;;) {
        skip_plain(s);
        if (s->next == s->end) {
            return fault(s, E_INVALID, "the string has no end");
        }
        uint8_t c = *s->next;
        if (c == '"') {
            s->next++;
            return true;
        }
        if (c < 0x20) {
            return fault(s, E_INVALID, "control character in a string");
        }
        if (!(c == '\\' ? scan_escape(s) : scan_utf8(s))) {
            return false;
        }
    }
}

/* ---- numbers and words ---- */

static bool scan_digits(struct scan *s) {
    if (!is_digit(s)) {
        return fault(s, E_INVALID, "expected a digit");
    }
    while (is_digit(s)) {
        s->next++;
    }
    return true;
}

static bool scan_number(struct scan *s, enum json_kind *kind) {
    *kind = JSON_KIND_INTEGER;
    if (at_char(s, '-')) {
        s->next++;
    }
    if (at_char(s, '0')) {
        s->next++;
    } else if (!scan_digits(s)) {
        return false;
    }
    if (at_char(s, '.')) {
        *kind = JSON_KIND_REAL;
        s->next++;
        if (!scan_digits(s)) {
            return false;
        }
    }
    if (at_char(s, 'e') || at_char(s, 'E')) {
        *kind = JSON_KIND_REAL;
        s->next++;
        if (at_char(s, '+') || at_char(s, '-')) {
            s->next++;
        }
        return scan_digits(s);
    }
    return true;
}

static bool scan_word(struct scan *s, const char *word) {
    size_t size = strlen(word);
    if ((size_t)(s->end - s->next) < size || memcmp(s->next, word, size) != 0) {
        return fault(s, E_INVALID, "expected a value");
    }
    s->next += size;
    return true;
}

/* ---- arrays and objects ---- */

static struct span pointer_token(const struct json_pointer *p, uint32_t i) {
    return span_of(p->text + p->start[i], (size_t)(p->start[i + 1] - p->start[i]));
}

static bool on_path(const struct scan *s, uint32_t level) {
    return level != OFF_PATH && s->pointer != NULL && level < s->pointer->count;
}

static bool name_matches(const struct scan *s, struct span raw, uint32_t level) {
    /* An escape makes a character longer by at most six times. */
    uint8_t decoded[JSON_POINTER_MAX_BYTES * 6 + 2];
    if (!on_path(s, level) || raw.size > sizeof decoded) {
        return false;
    }
    struct span name;
    size_t size = json_string_decode(raw, decoded, &name);
    if (name.data == NULL) {
        name = span_of(decoded, size);
    }
    return span_equal(name, pointer_token(s->pointer, level));
}

static bool index_matches(const struct scan *s, uint64_t index, uint32_t level) {
    if (!on_path(s, level)) {
        return false;
    }
    struct span token = pointer_token(s->pointer, level);
    uint64_t wanted = 0;
    if (token.size == 0 || token.size > 9 || (token.size > 1 && token.data[0] == '0')) {
        return false;
    }
    for (size_t i = 0; i < token.size; i++) {
        if (token.data[i] < '0' || token.data[i] > '9') {
            return false;
        }
        wanted = wanted * 10 + (uint64_t)(token.data[i] - '0');
    }
    return wanted == index;
}

/* "name" : value. */
static bool scan_member(struct scan *s, uint32_t level, bool *seen) {
    skip_space(s);
    if (!at_char(s, '"')) {
        return fault(s, E_INVALID, "expected a member name in quotes");
    }
    const uint8_t *name = s->next;
    if (!scan_string(s)) {
        return false;
    }
    bool matches = name_matches(s, span_of(name, (size_t)(s->next - name)), level);
    if (matches && *seen) {
        s->next = name;
        return fault(s, E_INVALID, "this member name stands twice");
    }
    *seen = *seen || matches;
    skip_space(s);
    if (!at_char(s, ':')) {
        return fault(s, E_INVALID, "expected ':'");
    }
    s->next++;
    return scan_value(s, matches ? level + 1 : OFF_PATH);
}

static bool scan_object(struct scan *s, uint32_t level) {
    bool seen = false;
    s->next++;
    skip_space(s);
    if (at_char(s, '}')) {
        s->next++;
        return true;
    }
    for (;;) {
        if (!scan_member(s, level, &seen)) {
            return false;
        }
        skip_space(s);
        if (at_char(s, '}')) {
            s->next++;
            return true;
        }
        if (!at_char(s, ',')) {
            return fault(s, E_INVALID, "expected ',' or '}'");
        }
        s->next++;
    }
}

static bool scan_array(struct scan *s, uint32_t level) {
    s->next++;
    skip_space(s);
    if (at_char(s, ']')) {
        s->next++;
        return true;
    }
    for (uint64_t index = 0;; index++) {
        if (!scan_value(s, index_matches(s, index, level) ? level + 1 : OFF_PATH)) {
            return false;
        }
        skip_space(s);
        if (at_char(s, ']')) {
            s->next++;
            return true;
        }
        if (!at_char(s, ',')) {
            return fault(s, E_INVALID, "expected ',' or ']'");
        }
        s->next++;
    }
}

static bool scan_nested(struct scan *s, uint32_t level, bool object) {
    if (++s->depth > JSON_DEPTH_MAX) {
        return fault(s, E_LIMIT, "nested too deep");
    }
    bool good = object ? scan_object(s, level) : scan_array(s, level);
    s->depth--;
    return good;
}

static bool scan_by_first(struct scan *s, uint32_t level, enum json_kind *kind) {
    switch (*s->next) {
    case '{':
        *kind = JSON_KIND_OBJECT;
        return scan_nested(s, level, true);
    case '[':
        *kind = JSON_KIND_ARRAY;
        return scan_nested(s, level, false);
    case '"':
        *kind = JSON_KIND_STRING;
        return scan_string(s);
    case 't':
        *kind = JSON_KIND_BOOL;
        return scan_word(s, "true");
    case 'f':
        *kind = JSON_KIND_BOOL;
        return scan_word(s, "false");
    case 'n':
        *kind = JSON_KIND_NULL;
        return scan_word(s, "null");
    default:
        if (*s->next != '-' && !is_digit(s)) {
            return fault(s, E_INVALID, "expected a value");
        }
        return scan_number(s, kind);
    }
}

static bool scan_value(struct scan *s, uint32_t level) {
    skip_space(s);
    if (s->next == s->end) {
        return fault(s, E_INVALID, "the text ends where a value was expected");
    }
    const uint8_t *first = s->next;
    enum json_kind kind = JSON_KIND_NONE;
    if (!scan_by_first(s, level, &kind)) {
        return false;
    }
    if (s->pointer != NULL && level == s->pointer->count) {
        s->found = (struct json_found){kind, span_of(first, (size_t)(s->next - first))};
    }
    return true;
}

int json_scan(struct span text, const struct json_pointer *pointer, struct json_found *ret_found,
              struct json_fault *ret_fault) {
    const uint8_t *start = text.size > 0 ? text.data : (const uint8_t *)"";
    struct scan s = {.start = start, .next = start, .end = start + text.size, .pointer = pointer};
    bool good = scan_value(&s, 0);
    if (good) {
        skip_space(&s);
        good = s.next == s.end || fault(&s, E_INVALID, "something follows the value");
    }
    if (!good) {
        *ret_fault = (struct json_fault){(size_t)(s.next - s.start), s.reason};
        return s.error;
    }
    if (ret_found != NULL) {
        *ret_found = s.found;
    }
    return 0;
}

/* ---- taking values apart ---- */

static size_t put_utf8(uint32_t c, uint8_t *out) {
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* One escape at p (behind the backslash); *ret_size bytes written. Returns the bytes read. */
static size_t decode_escape(const uint8_t *p, const uint8_t *end, uint8_t *out, size_t *ret_size) {
    static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
    if (p[0] != 'u') {
        const char *at = memchr(from, p[0], 5);
        out[0] = at != NULL ? (uint8_t)to[at - from] : p[0];
        *ret_size = 1;
        return 1;
    }
    uint32_t unit = (uint32_t)hex4(p + 1, end);
    if (unit < 0xd800 || unit > 0xdbff) {
        *ret_size = put_utf8(unit, out);
        return 5;
    }
    uint32_t low = (uint32_t)hex4(p + 7, end);
    *ret_size = put_utf8(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out);
    return 11;
}

size_t json_string_decode(struct span raw, uint8_t *out, struct span *ret_plain) {
    const uint8_t *p = raw.data + 1, *end = raw.data + raw.size - 1;
    if (memchr(p, '\\', (size_t)(end - p)) == NULL) {
        *ret_plain = span_of(p, (size_t)(end - p));
        return (size_t)(end - p);
    }
    *ret_plain = span_of(NULL, 0);
    size_t size = 0;
    while (p < end) {
        if (*p != '\\') {
            out[size++] = *p++;
            continue;
        }
        size_t written;
        p += 1 + decode_escape(p + 1, end, out + size, &written);
        size += written;
    }
    return size;
}

int json_pointer_parse(struct span text, struct json_pointer *ret) {
    struct json_pointer p = {.count = 0};
    size_t size = 0;
    if (text.size > sizeof p.text) {
        return E_LIMIT;
    }
    if (text.size > 0 && text.data[0] != '/') {
        return E_INVALID;
    }
    for (size_t i = 0; i < text.size; i++) {
        char c = (char)text.data[i];
        if (c == '/') {
            if (p.count == JSON_POINTER_TOKENS) {
                return E_LIMIT;
            }
            p.start[p.count++] = (uint16_t)size;
            continue;
        }
        if (c == '~') {
            char escaped = i + 1 < text.size ? (char)text.data[++i] : '\0';
            if (escaped != '0' && escaped != '1') {
                return E_INVALID;
            }
            c = escaped == '0' ? '~' : '/';
        }
        p.text[size++] = c;
    }
    p.start[p.count] = (uint16_t)size;
    *ret = p;
    return 0;
}
