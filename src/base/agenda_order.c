/* Quicksort, and its half that looks for one place. */
#include "base/agenda_order.h"

#define SORT_FEW 12u /* so few are sorted by insertion */

static inline void swap(struct agenda_entry *a, struct agenda_entry *b) {
    struct agenda_entry kept = *a;
    *a = *b;
    *b = kept;
}

/* Of n > 2 entries: the first so many are not behind the others; at least one, and not all. */
static uint32_t partition(struct agenda_entry *e, uint32_t n) {
    struct agenda_entry *middle = &e[n / 2], *last = &e[n - 1];
    if (agenda_before(*last, e[0])) {
        swap(last, &e[0]);
    }
    if (agenda_before(*middle, e[0])) {
        swap(middle, &e[0]);
    } else if (agenda_before(*last, *middle)) {
        swap(middle, last);
    }
    struct agenda_entry pivot = *middle;
    uint32_t low = 0, high = n - 1;
    for (;;) {
        while (agenda_before(e[low], pivot)) {
            low++;
        }
        while (agenda_before(pivot, e[high])) {
            high--;
        }
        if (low >= high) {
            return low;
        }
        swap(&e[low++], &e[high--]);
    }
}

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

void agenda_sort(struct agenda_entry *e, uint32_t n) {
    while (n > SORT_FEW) {
        uint32_t low = partition(e, n);
        if (low < n - low) {
            agenda_sort(e, low);
            e += low;
            n -= low;
        } else {
            agenda_sort(e + low, n - low);
            n = low;
        }
    }
    sort_few(e, n);
}

void agenda_put_in_place(struct agenda_entry *e, uint32_t n, uint32_t k) {
    while (n > SORT_FEW) {
        uint32_t low = partition(e, n);
        if (k < low) {
            n = low;
        } else {
            e += low;
            n -= low;
            k -= low;
        }
    }
    sort_few(e, n);
}
