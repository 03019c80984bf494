#include "base/utf8.h"

size_t utf8_length(const uint8_t *p, size_t left) {
    if (p[0] < 0x80) {
        return 1;
    }
    size_t length = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    for (size_t i = 1; i < length; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool overlong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xf0 && p[1] < 0x90);
    bool outside = (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf4 && p[1] > 0x8f);
    return overlong || outside ? 0 : length;
}

bool utf8_valid(struct span s) {
    size_t length = 1;
    for (size_t i = 0; i < s.size && length > 0; i += length) {
        length = utf8_length(s.data + i, s.size - i);
    }
    return length > 0;
}
