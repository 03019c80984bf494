/*
 * A hashed wheel that is lazy about moving timers.
 *
 * A timer stands in the slot at which it will next be looked at, which is at or before its due time:
 *
 *   I1  linked and due_ms != NEVER  =>  seen_ms <= due_ms rounded up to a tick
 *   I2  a slot within one turn of the wheel holds it: seen_ms < (tick + WHEEL_SLOTS) * WHEEL_TICK_MS
 *   I3  linked  =>  seen_ms >= next_tick * WHEEL_TICK_MS, so that whoever waits may sleep until then
 *
 * So moving a timer later (each request of a busy connection does that several times) and cancelling
 * it are a store; when its slot comes round it is put where it belongs by then. Only moving it before
 * seen_ms relinks. Cost of the laziness: one look a timer and turn of the wheel (32 s).
 */
#include "net/wheel.h"

#include <assert.h>
#include <stddef.h>

#include "base/compiler.h"

static uint64_t tick_of(uint64_t ms) {
    return ms / WHEEL_TICK_MS + (ms % WHEEL_TICK_MS != 0);
}

void wheel_init(struct wheel *w, uint64_t now_ms) {
    for (uint32_t i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
    w->tick = now_ms / WHEEL_TICK_MS;
    w->next_tick = WHEEL_NEVER;
    w->linked = 0;
}

void wheel_timer_init(struct wheel_timer *t, void (*fire)(struct wheel_timer *t)) {
    t->node = (struct list_node){NULL, NULL};
    t->due_ms = WHEEL_NEVER;
    t->seen_ms = WHEEL_NEVER;
    t->fire = fire;
}

static void link_timer(struct wheel *w, struct wheel_timer *t) {
    uint64_t tick = tick_of(t->due_ms);
    if (tick <= w->tick)
        tick = w->tick + 1;
    if (tick >= w->tick + WHEEL_SLOTS)
        tick = w->tick + WHEEL_SLOTS - 1;
    t->seen_ms = tick * WHEEL_TICK_MS;
    w->next_tick = tick < w->next_tick ? tick : w->next_tick;
    list_append(&w->slots[tick % WHEEL_SLOTS], &t->node);
    w->linked++;
}

static void unlink_timer(struct wheel *w, struct wheel_timer *t) {
    assert(w->linked > 0);
    list_remove(&t->node);
    w->linked--;
}

void wheel_set(struct wheel *w, struct wheel_timer *t, uint64_t due_ms) {
    t->due_ms = due_ms;
    if (list_linked(&t->node)) {
        if (due_ms >= t->seen_ms)
            return; /* I1 holds */
        unlink_timer(w, t);
    } else if (due_ms == WHEEL_NEVER) {
        return;
    }
    link_timer(w, t);
}

void wheel_cancel(struct wheel *w, struct wheel_timer *t) {
    t->due_ms = WHEEL_NEVER;
    if (list_linked(&t->node))
        unlink_timer(w, t);
}

/*
 * `fire` may set, cancel or free any timer, so nothing but the list head is held across it. A timer
 * that is put back always goes to a slot of a later tick, so the loop ends.
 */
static void handle_slot(struct wheel *w, struct list *slot) {
    struct list_node *node;
    while ((node = list_first(slot)) != NULL) {
        struct wheel_timer *t = CONTAINER_OF(node, struct wheel_timer, node);
        unlink_timer(w, t);
        if (t->due_ms == WHEEL_NEVER)
            continue;
        if (tick_of(t->due_ms) > w->tick) {
            link_timer(w, t);
            continue;
        }
        t->due_ms = WHEEL_NEVER;
        t->fire(t);
    }
}

/* By I2 one turn is all there is to look at. */
static uint64_t find_next(struct wheel *w) {
    uint64_t tick = w->tick + 1;
    while (w->linked > 0 && list_empty(&w->slots[tick % WHEEL_SLOTS]))
        tick++;
    return w->linked > 0 ? tick : WHEEL_NEVER;
}

void wheel_advance(struct wheel *w, uint64_t now_ms) {
    uint64_t now = now_ms / WHEEL_TICK_MS;
    while (w->next_tick <= now) {
        w->tick = w->next_tick;
        handle_slot(w, &w->slots[w->tick % WHEEL_SLOTS]);
        w->next_tick = find_next(w);
    }
    w->tick = now > w->tick ? now : w->tick;
}

uint64_t wheel_next_ms(const struct wheel *w) {
    return w->next_tick != WHEEL_NEVER ? w->next_tick * WHEEL_TICK_MS : WHEEL_NEVER;
}
