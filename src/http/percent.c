#include "http/percent.h"

#include "base/error.h"

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* RFC 3629: the range of the second byte depends on the first. */
static size_t sequence_size(const uint8_t *at, size_t left) {
    uint8_t c = at[0];
    if (c < 0x80)
        return 1;
    size_t size = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
    if (c < 0xc2 || c > 0xf4 || left < size)
        return 0;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (at[1] < low || at[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    }
    return size;
}

bool percent_utf8_valid(struct span s) {
    for (size_t i = 0; i < s.size;) {
        size_t size = sequence_size(s.data + i, s.size - i);
        if (size == 0)
            return false;
        i += size;
    }
    return true;
}

/* The byte at *at, which moves on; -1 for a broken escape. */
static int next_byte(struct span raw, enum percent_form form, size_t *at) {
    uint8_t c = raw.data[(*at)++];
    if (c == '+' && form == PERCENT_QUERY)
        return ' ';
    if (c != '%')
        return c;
    if (raw.size - *at < 2)
        return -1;
    int high = hex_value(raw.data[*at]);
    int low = hex_value(raw.data[*at + 1]);
    *at += 2;
    return high < 0 || low < 0 ? -1 : high << 4 | low;
}

int percent_decode(struct span raw, enum percent_form form, char *out, size_t size,
                   size_t *ret_size) {
    size_t used = 0;
    for (size_t at = 0; at < raw.size;) {
        int c = next_byte(raw, form, &at);
        if (c < 0x20 || c == 0x7f)
            return E_INVALID;
        if (used == size)
            return E_TOO_LARGE;
        out[used++] = (char)c;
    }
    if (!percent_utf8_valid(span_of(out, used)))
        return E_INVALID;
    *ret_size = used;
    return 0;
}
