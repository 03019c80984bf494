#include "log/segment.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"

#define SPARE_NAME_DIGITS 8

void segment_name(char out[SEGMENT_NAME_BYTES], uint64_t first_position) {
    snprintf(out, SEGMENT_NAME_BYTES, "%016" PRIx64 ".seg", first_position);
}

void spare_name(char out[SEGMENT_NAME_BYTES], uint32_t serial) {
    snprintf(out, SEGMENT_NAME_BYTES, "%08" PRIx32 ".spare", serial);
}

static bool parse_hex(const char *name, size_t digits, const char *suffix, uint64_t *ret) {
    uint64_t value = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = name[i];
        bool digit = c >= '0' && c <= '9', letter = c >= 'a' && c <= 'f';
        if (!digit && !letter) {
            return false;
        }
        value = value << 4 | (uint64_t)(digit ? c - '0' : c - 'a' + 10);
    }
    if (strcmp(name + digits, suffix) != 0) {
        return false;
    }
    *ret = value;
    return true;
}

bool segment_name_parse(const char *name, uint64_t *ret_first_position) {
    return parse_hex(name, SEGMENT_NAME_DIGITS, ".seg", ret_first_position);
}

bool spare_name_parse(const char *name, uint32_t *ret_serial) {
    uint64_t serial;
    if (!parse_hex(name, SPARE_NAME_DIGITS, ".spare", &serial)) {
        return false;
    }
    *ret_serial = (uint32_t)serial;
    return true;
}

int segment_names_add(struct segment_names *n, const char *name) {
    uint64_t position;
    if (!segment_name_parse(name, &position)) {
        return 0;
    }
    if (n->count == n->capacity) {
        size_t capacity = n->capacity == 0 ? 64 : 2 * n->capacity;
        uint64_t *positions = realloc(n->positions, capacity * sizeof *positions);
        if (positions == NULL) {
            return E_NOMEM;
        }
        n->positions = positions;
        n->capacity = capacity;
    }
    n->positions[n->count++] = position;
    return 0;
}

static int compare_positions(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void segment_names_sort(struct segment_names *n) {
    if (n->count > 1) {
        qsort(n->positions, n->count, sizeof *n->positions, compare_positions);
    }
}

void segment_names_release(struct segment_names *n) {
    free(n->positions);
    *n = (struct segment_names){0};
}

struct segment *segment_create(const struct segment_header *h, int file, const char *name) {
    struct segment *s = calloc(1, sizeof *s);
    if (s == NULL) {
        return NULL;
    }
    s->number = h->number;
    s->seed = segment_seed(h);
    s->first_position = h->first_position;
    s->last_position = h->first_position - 1;
    s->file = file;
    snprintf(s->name, sizeof s->name, "%s", name);
    return s;
}

void segment_free(struct segment *s, const struct file_ops *files) {
    if (s == NULL) {
        return;
    }
    if (s->file >= 0) {
        files->close(files->context, s->file);
    }
    free(s);
}

void segment_table_release(struct segment_table *t, const struct file_ops *files) {
    for (size_t i = 0; i < t->count; i++) {
        segment_free(t->items[i], files);
    }
    free(t->items);
    *t = (struct segment_table){0};
}

int segment_table_add(struct segment_table *t, struct segment *s) {
    assert(t->count == 0 || t->items[t->count - 1]->number < s->number);
    if (t->count == t->capacity) {
        size_t capacity = t->capacity == 0 ? 16 : t->capacity * 2;
        struct segment **items = realloc(t->items, capacity * sizeof *items);
        if (items == NULL) {
            return E_NOMEM;
        }
        t->items = items;
        t->capacity = capacity;
    }
    t->items[t->count++] = s;
    return 0;
}

/* Index of the first segment with a number above. */
static size_t index_after(const struct segment_table *t, uint32_t number) {
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->items[middle]->number > number) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return low;
}

struct segment *segment_table_find(const struct segment_table *t, uint32_t number) {
    size_t i = index_after(t, number);
    return i > 0 && t->items[i - 1]->number == number ? t->items[i - 1] : NULL;
}

struct segment *segment_table_after(const struct segment_table *t, uint32_t number) {
    size_t i = index_after(t, number);
    return i < t->count ? t->items[i] : NULL;
}

struct segment *segment_table_at(const struct segment_table *t, uint64_t position) {
    size_t low = 0, high = t->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->items[middle]->first_position > position) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return t->count == 0 ? NULL : t->items[low > 0 ? low - 1 : 0];
}

void segment_table_remove(struct segment_table *t, struct segment *s) {
    size_t i = index_after(t, s->number);
    assert(i > 0 && t->items[i - 1] == s);
    memmove(&t->items[i - 1], &t->items[i], (t->count - i) * sizeof *t->items);
    t->count--;
}
