#include "model/window.h"

#include <string.h>

static uint64_t bucket_of(const struct window *w, uint64_t now_ns) {
    uint64_t bucket_ns = w->width_ns / WINDOW_BUCKETS;
    return now_ns / (bucket_ns != 0 ? bucket_ns : 1);
}

void window_clear(struct window *w) {
    *w = (struct window){.width_ns = w->width_ns};
}

void window_define(struct window *w, uint64_t width_ns) {
    if (w->width_ns != width_ns) {
        *w = (struct window){.width_ns = width_ns};
    }
}

static void add_up(uint32_t *to, uint32_t more) {
    *to = *to > UINT32_MAX - more ? UINT32_MAX : *to + more;
}

static void count_add(struct call_count *to, struct call_count more) {
    add_up(&to->total, more.total);
    add_up(&to->bad, more.bad);
    add_up(&to->slow, more.slow);
}

void window_add(struct window *w, uint64_t now_ns, struct call_count more) {
    uint64_t now = bucket_of(w, now_ns);
    if (now > w->newest) {
        uint64_t gone = now - w->newest < WINDOW_BUCKETS ? now - w->newest : WINDOW_BUCKETS;
        for (uint64_t i = 0; i < gone; i++) {
            w->buckets[(now - i) % WINDOW_BUCKETS] = (struct call_count){0};
        }
        w->newest = now;
    }
    count_add(&w->buckets[w->newest % WINDOW_BUCKETS], more);
}

struct call_count window_sum(const struct window *w, uint64_t now_ns) {
    uint64_t now = bucket_of(w, now_ns);
    struct call_count sum = {0};
    for (uint64_t age = 0; age < WINDOW_BUCKETS && age <= w->newest; age++) {
        if (w->newest - age + WINDOW_BUCKETS > now) {
            count_add(&sum, w->buckets[(w->newest - age) % WINDOW_BUCKETS]);
        }
    }
    return sum;
}

int window_save(const struct window *w, struct buffer *out) {
    int rc = buffer_put_u64(out, w->width_ns);
    rc = rc != 0 ? rc : buffer_put_u64(out, w->newest);
    for (unsigned i = 0; i < WINDOW_BUCKETS && rc == 0; i++) {
        rc = buffer_put_u32(out, w->buckets[i].total);
        rc = rc != 0 ? rc : buffer_put_u32(out, w->buckets[i].bad);
        rc = rc != 0 ? rc : buffer_put_u32(out, w->buckets[i].slow);
    }
    return rc;
}

void window_load(struct window *w, struct reader *in) {
    w->width_ns = reader_u64(in);
    w->newest = reader_u64(in);
    for (unsigned i = 0; i < WINDOW_BUCKETS; i++) {
        w->buckets[i].total = reader_u32(in);
        w->buckets[i].bad = reader_u32(in);
        w->buckets[i].slow = reader_u32(in);
    }
}
