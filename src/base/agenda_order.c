/* Merge sort: a quicksort would be faster, and slow for whoever knows which order it likes least. */
#include "base/agenda_order.h"

#include <string.h>

#define SORT_FEW 16u /* so few are sorted by insertion */

static void sort_few(struct agenda_entry *e, uint32_t n) {
    for (uint32_t i = 1; i < n; i++) {
        struct agenda_entry moving = e[i];
        uint32_t at = i;
        for (; at > 0 && agenda_before(moving, e[at - 1]); at--) {
            e[at] = e[at - 1];
        }
        e[at] = moving;
    }
}

/* Two sorted ones, one behind the other. No branch that would be guessed wrong, but for the end of one. */
static void merge(const struct agenda_entry *from, uint32_t n_low, uint32_t n,
                  struct agenda_entry *to) {
    uint32_t low = 0, high = n_low;
    while (low < n_low && high < n) {
        bool is_high = agenda_before(from[high], from[low]);
        *to++ = from[is_high ? high : low];
        high += is_high;
        low += !is_high;
    }
    memcpy(to, from + low, (n_low - low) * sizeof *to);
    memcpy(to + (n_low - low), from + high, (n - high) * sizeof *to);
}

void agenda_sort(struct agenda_entry *e, struct agenda_entry *room, uint32_t n) {
    for (uint32_t at = 0; at < n; at += SORT_FEW) {
        sort_few(e + at, n - at < SORT_FEW ? n - at : SORT_FEW);
    }
    struct agenda_entry *from = e, *to = room;
    for (uint32_t half = SORT_FEW; half < n; half *= 2) {
        for (uint32_t at = 0; at < n; at += 2 * half) {
            uint32_t left = n - at;
            merge(from + at, left < half ? left : half, left < 2 * half ? left : 2 * half, to + at);
        }
        struct agenda_entry *kept = from;
        from = to;
        to = kept;
    }
    if (from != e) {
        memcpy(e, from, n * sizeof *e);
    }
}
