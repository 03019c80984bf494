#include "window.h"

#include <assert.h>
#include <stdlib.h>

#include "base/error.h"

#define CAPACITY_FIRST 1024u

int window_init(struct window *w, uint64_t length_ns) {
    assert(length_ns > 0);
    uint64_t *times = calloc(CAPACITY_FIRST, sizeof(*times));
    if (times == NULL)
        return E_NOMEM;
    *w = (struct window){.times = times, .capacity = CAPACITY_FIRST, .length_ns = length_ns};
    return 0;
}

void window_release(struct window *w) {
    free(w->times);
    *w = (struct window){0};
}

static uint64_t *event_at(const struct window *w, uint32_t index) {
    return &w->times[(w->first + index) & (w->capacity - 1)];
}

/* Doubling moves the ring to the start of the new memory, oldest first. */
static int window_grow(struct window *w) {
    if (w->capacity >= WINDOW_EVENTS_MAX)
        return E_LIMIT;
    uint64_t *times = calloc((size_t)w->capacity * 2, sizeof(*times));
    if (times == NULL)
        return E_NOMEM;
    for (uint32_t i = 0; i < w->count; i++)
        times[i] = *event_at(w, i);
    free(w->times);
    w->times = times;
    w->first = 0;
    w->capacity *= 2;
    return 0;
}

uint32_t window_count(struct window *w, uint64_t now_ns) {
    while (w->count > 0 && now_ns - *event_at(w, 0) >= w->length_ns) {
        w->first = (w->first + 1) & (w->capacity - 1);
        w->count--;
    }
    return w->count;
}

int window_add(struct window *w, uint64_t now_ns) {
    window_count(w, now_ns);
    if (w->count == w->capacity) {
        int rc = window_grow(w);
        if (rc != 0)
            return rc;
    }
    assert(w->count == 0 || now_ns >= *event_at(w, w->count - 1));
    *event_at(w, w->count) = now_ns;
    w->count++;
    if (w->count > w->most)
        w->most = w->count;
    return 0;
}

uint64_t window_wait_ns(struct window *w, uint64_t now_ns) {
    if (window_count(w, now_ns) == 0)
        return 0;
    return *event_at(w, 0) + w->length_ns - now_ns;
}
