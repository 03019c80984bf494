#include "http/percent.h"

#include "base/error.h"
#include "base/utf8.h"

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
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
    if (!utf8_valid(span_of(out, used)))
        return E_INVALID;
    *ret_size = used;
    return 0;
}
