/*
 * base/span.h - a borrowed run of bytes.
 *
 * Shape: pointer and length, no terminator, no ownership; passed by value. An empty span may have a
 *        NULL pointer.
 */
#ifndef SLUICE_BASE_SPAN_H
#define SLUICE_BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct span {
    const uint8_t *data; /* borrows: as long as the maker says */
    size_t size;
};

/* For printf("%.*s", SPAN_ARG(s)). */
#define SPAN_ARG(s) (int)(s).size, (const char *)(s).data

static inline struct span span_of(const void *data, size_t size) {
    return (struct span){.data = data, .size = size};
}

static inline struct span span_text(const char *text) {
    return span_of(text, strlen(text));
}

static inline bool span_equal(struct span a, struct span b) {
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}

static inline bool span_is(struct span a, const char *text) {
    return span_equal(a, span_text(text));
}

/* All of it, also what stands behind a NUL in it, and a NUL at the end; to be freed. NULL: no memory. */
static inline char *span_dup(struct span s) {
    char *text = malloc(s.size + 1);
    if (text != NULL) {
        if (s.size > 0)
            memcpy(text, s.data, s.size);
        text[s.size] = '\0';
    }
    return text;
}

#endif
