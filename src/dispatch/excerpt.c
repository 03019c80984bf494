#include "dispatch/excerpt.h"

#include "base/utf8.h"

/* Length that a first byte promises, 0 for one that cannot be first. */
static size_t length_by_first(uint8_t first) {
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        return 2;
    }
    if (first >= 0xe0 && first <= 0xef) {
        return 3;
    }
    return first >= 0xf0 && first <= 0xf4 ? 4 : 0;
}

/* UTF-8, and no C1 control. */
static bool is_sound(const uint8_t *s, size_t length) {
    return utf8_length(s, length) == length && (s[0] != 0xc2 || s[1] >= 0xa0);
}

static uint8_t clean_ascii(uint8_t c) {
    if (c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f') {
        return ' ';
    }
    return c < ' ' || c == 0x7f ? '?' : c;
}

size_t excerpt_clean(struct span raw, uint8_t *out) {
    size_t limit = raw.size < EXCERPT_MAX_BYTES ? raw.size : EXCERPT_MAX_BYTES;
    size_t size = 0;
    size_t at = 0;
    while (at < limit) {
        size_t length = length_by_first(raw.data[at]);
        if (length > 1 && at + length > limit) {
            break;
        }
        if (length == 1) {
            out[size++] = clean_ascii(raw.data[at++]);
        } else if (length > 1 && is_sound(raw.data + at, length)) {
            memcpy(out + size, raw.data + at, length);
            size += length;
            at += length;
        } else {
            out[size++] = '?';
            at++;
        }
    }
    return size;
}
