#include "api/place.h"

#include <stdio.h>

#include "base/crc32c.h"
#include "base/error.h"
#include "model/queue.h"

#define CHECKED_DIGITS (PLACE_DIGITS - 8)

static int add(const char *text, size_t size, void *crc) {
    *(uint32_t *)crc = crc32c_update(*(uint32_t *)crc, text, size);
    return 0;
}

/* In whatever order a query names its parameters. Without memory for that the check is of no list. */
uint32_t place_list(struct span queue, enum message_state state, const json_t *filter) {
    const uint8_t ends[2] = {0, (uint8_t)state};
    uint32_t crc = crc32c_update(0, queue.data, queue.size);
    crc = crc32c_update(crc, ends, sizeof ends);
    if (filter != NULL) {
        (void)json_dump_callback(filter, add, &crc, JSON_COMPACT | JSON_SORT_KEYS);
    }
    return crc;
}

void place_write(const struct place *p, uint32_t list, uint32_t process,
                 char out[PLACE_DIGITS + 1]) {
    snprintf(out, PLACE_DIGITS + 1, "%016llx%016llx%08x", (unsigned long long)p->after,
             (unsigned long long)p->bound, process);
    snprintf(out + CHECKED_DIGITS, 9, "%08x", crc32c_update(list, out, CHECKED_DIGITS));
}

/* False: not all are digits. */
static bool read_digits(const uint8_t *at, size_t count, uint64_t *ret) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        uint8_t c = at[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) {
            return false;
        }
        value = value << 4 | (uint64_t)digit;
    }
    *ret = value;
    return true;
}

int place_read(struct span token, uint32_t list, uint32_t process, struct place *ret) {
    struct place p;
    uint64_t of, check;
    if (token.size != PLACE_DIGITS || !read_digits(token.data, 16, &p.after) ||
        !read_digits(token.data + 16, 16, &p.bound) || !read_digits(token.data + 32, 8, &of) ||
        !read_digits(token.data + CHECKED_DIGITS, 8, &check) ||
        check != crc32c_update(list, token.data, CHECKED_DIGITS)) {
        return E_INVALID;
    }
    if (of != process && !queue_place_lasts(p.after)) {
        return E_CLOSED;
    }
    *ret = p;
    return 0;
}
