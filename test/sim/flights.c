#include "flights.h"

#include <assert.h>

static void ignore_move(void *owner, const struct heap_entry *e, uint32_t index) {
    (void)owner;
    (void)e;
    (void)index;
}

void flights_init(struct flights *f) {
    heap_init(&f->events, f, ignore_move);
    f->used = 1;
    f->free = 0;
}

void flights_release(struct flights *f) {
    heap_release(&f->events);
}

uint32_t flights_take(struct flights *f) {
    uint32_t flight = f->free;
    if (flight != 0)
        f->free = f->next_free[flight];
    else
        flight = f->used++;
    assert(flight < FLIGHTS_MAX);
    return flight;
}

void flights_give(struct flights *f, uint32_t flight) {
    f->next_free[flight] = f->free;
    f->free = flight;
}

void flights_later(struct flights *f, uint32_t flight, enum flight_event event, uint64_t at_ns) {
    int error =
        heap_insert(&f->events, (struct heap_entry){.due_ns = at_ns, .ref = flight, .kind = event});
    assert(error == 0);
}

bool flights_next(struct flights *f, uint64_t now_ns, struct heap_entry *ret) {
    const struct heap_entry *first = heap_first(&f->events);
    if (first == NULL || first->due_ns > now_ns)
        return false;
    *ret = *first;
    heap_remove(&f->events, 1);
    return true;
}

uint64_t flights_due_ns(const struct flights *f) {
    const struct heap_entry *first = heap_first(&f->events);
    return first != NULL ? first->due_ns : UINT64_MAX;
}
