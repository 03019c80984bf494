#include "amqp/unacked.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define CAPACITY_MIN 16u

void amqp_unacked_init(struct amqp_unacked *u) {
    *u = (struct amqp_unacked){0};
}

void amqp_unacked_release(struct amqp_unacked *u) {
    free(u->entries);
    u->entries = NULL;
    u->first = u->end = u->capacity = u->count = 0;
}

/* Moves what is unsettled to the front. */
static void close_holes(struct amqp_unacked *u) {
    size_t to = 0;
    for (size_t i = u->first; i < u->end; i++) {
        if (u->entries[i].message != 0)
            u->entries[to++] = u->entries[i];
    }
    assert(to == u->count);
    u->first = 0;
    u->end = to;
}

static int make_room(struct amqp_unacked *u) {
    if (u->end < u->capacity)
        return 0;
    if (u->count < u->capacity / 2) {
        close_holes(u);
        return 0;
    }
    size_t capacity = u->capacity > 0 ? 2 * u->capacity : CAPACITY_MIN;
    struct amqp_unacked_entry *entries = realloc(u->entries, capacity * sizeof *entries);
    if (entries == NULL)
        return E_NOMEM;
    u->entries = entries;
    u->capacity = capacity;
    return 0;
}

int amqp_unacked_add(struct amqp_unacked *u, uint64_t message, uint64_t consumer,
                     uint64_t *ret_tag) {
    assert(message != 0);
    int error = make_room(u);
    if (error != 0)
        return error;
    *ret_tag = ++u->last_tag;
    u->entries[u->end++] = (struct amqp_unacked_entry){*ret_tag, message, consumer};
    u->count++;
    return 0;
}

/* Index of the first entry with at least this tag. */
static size_t lower_bound(const struct amqp_unacked *u, uint64_t tag) {
    size_t low = u->first, high = u->end;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (u->entries[middle].tag < tag)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void take_out(struct amqp_unacked *u, size_t index, amqp_unacked_settled *settled,
                     void *context) {
    struct amqp_unacked_entry e = u->entries[index];
    if (e.message == 0)
        return;
    u->entries[index].message = 0;
    u->count--;
    settled(context, &e);
}

static void drop_front(struct amqp_unacked *u) {
    if (u->count == 0) {
        amqp_unacked_release(u);
        return;
    }
    while (u->entries[u->first].message == 0)
        u->first++;
}

int amqp_unacked_settle(struct amqp_unacked *u, uint64_t tag, bool multiple,
                        amqp_unacked_settled *settled, void *context) {
    bool all = multiple && tag == 0;
    size_t index = all ? u->end : lower_bound(u, tag);
    if (!all && (index == u->end || u->entries[index].tag != tag || u->entries[index].message == 0))
        return E_NOT_FOUND;
    if (!multiple) {
        take_out(u, index, settled, context);
    } else {
        for (size_t i = u->first; i < u->end && i <= index; i++)
            take_out(u, i, settled, context);
    }
    drop_front(u);
    return 0;
}

static int by_tag(const void *a, const void *b) {
    const struct amqp_unacked_entry *x = a, *y = b;
    return (x->tag > y->tag) - (x->tag < y->tag);
}

int amqp_unacked_restore(struct amqp_unacked *u, const struct amqp_unacked_entry *entries,
                         size_t count) {
    if (count == 0)
        return 0;
    size_t capacity = u->count + count;
    struct amqp_unacked_entry *all = malloc(capacity * sizeof *all);
    if (all == NULL)
        return E_NOMEM;
    if (u->count > 0) {
        close_holes(u);
        memcpy(all, u->entries, u->count * sizeof *all);
    }
    memcpy(all + u->count, entries, count * sizeof *all);
    qsort(all, capacity, sizeof *all, by_tag);
    free(u->entries);
    u->entries = all;
    u->first = 0;
    u->end = u->count = u->capacity = capacity;
    return 0;
}

void amqp_unacked_check(const struct amqp_unacked *u) {
    size_t count = 0;
    assert(u->first <= u->end && u->end <= u->capacity);
    for (size_t i = u->first; i < u->end; i++) {
        assert(i == u->first || u->entries[i - 1].tag < u->entries[i].tag);
        assert(u->entries[i].tag <= u->last_tag);
        count += u->entries[i].message != 0;
    }
    assert(count == u->count && (count == 0) == (u->entries == NULL));
    assert(count == 0 || u->entries[u->first].message != 0);
}
