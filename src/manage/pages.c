/*
 * Lists as tools ask for them: filtered by name, sorted, in pages, with some columns only.
 *
 * Items are rendered to text as they come, so that a list of very many costs its text and little more; only
 * what is sorted is kept apart until the end.
 */
#include <math.h>
#include <stdlib.h>

#include "http/query.h"
#include "manage/calls.h"

#define ROWS_MAX      1000000u
#define PAGE_SIZE_MAX 500u

struct row {
    char *text; /* owns: the item */
    char *key;  /* owns: what it is sorted by, when that is a text */
    double number;
    uint32_t place;
};

struct pages {
    char name[512], columns[QUERY_VALUE_BYTES], sort[64];
    bool filtered, regex, has_columns, sorted, reverse, paged, failed;
    struct pattern *compiled; /* owns */
    uint64_t page, page_size;
    uint32_t total, count, capacity;
    struct row *rows; /* owns */
};

static bool read_text(const struct call *c, const char *name, char *out, size_t size) {
    struct span value;
    if (query_find(http_query(c->x), name, out, size - 1, &value) != 0)
        return false;
    memmove(out, value.data, value.size);
    out[value.size] = '\0';
    return value.size > 0;
}

static uint64_t read_number(const struct call *c, const char *name, uint64_t otherwise) {
    char text[24];
    return read_text(c, name, text, sizeof text) ? strtoull(text, NULL, 10) : otherwise;
}

struct pages *pages_begin(struct call *c) {
    struct pages *p = calloc(1, sizeof *p);
    if (p == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return NULL;
    }
    p->filtered = read_text(c, "name", p->name, sizeof p->name);
    p->regex = p->filtered && manage_flag(c, "use_regex");
    p->has_columns = read_text(c, "columns", p->columns, sizeof p->columns);
    p->sorted = read_text(c, "sort", p->sort, sizeof p->sort);
    p->reverse = manage_flag(c, "sort_reverse");
    p->page = read_number(c, "page", 0);
    p->paged = p->page > 0;
    p->page_size = read_number(c, "page_size", 100);
    if (p->page_size == 0 || p->page_size > PAGE_SIZE_MAX)
        p->page_size = PAGE_SIZE_MAX;
    if (p->regex && pattern_compile(span_text(p->name), &p->compiled) != 0) {
        free(p);
        call_invalid(c, "", "name: not a regular expression");
        return NULL;
    }
    return p;
}

static bool matches(const struct pages *p, const json_t *item) {
    const char *name = json_string_value(json_object_get(item, "name"));
    if (!p->filtered)
        return true;
    if (name == NULL)
        name = "";
    return p->regex ? pattern_matches(p->compiled, span_text(name)) : strstr(name, p->name) != NULL;
}

/* "message_stats.publish" leads into an object. */
static json_t *at_path(const json_t *item, const char *path, size_t size) {
    json_t *value = json_object_getn(item, path, size);
    const char *dot = value == NULL ? memchr(path, '.', size) : NULL;
    if (dot == NULL)
        return value;
    size_t head = (size_t)(dot - path);
    return at_path(json_object_getn(item, path, head), dot + 1, size - head - 1);
}

/* The columns of it, nested ones in their objects. */
static json_t *columns_of(const struct pages *p, const json_t *item) {
    json_t *out = json_object();
    for (const char *at = p->columns; *at != '\0';) {
        size_t size = strcspn(at, ",");
        const char *dot = memchr(at, '.', size);
        json_t *value = at_path(item, at, size);
        if (value != NULL && dot == NULL) {
            json_object_setn(out, at, size, value);
        } else if (value != NULL) {
            size_t head = (size_t)(dot - at);
            json_t *inner = json_object_getn(out, at, head);
            if (inner == NULL) {
                inner = json_object();
                json_object_setn_new(out, at, head, inner);
            }
            json_object_setn(inner, dot + 1, size - head - 1, value);
        }
        at += size + (at[size] == ',');
    }
    return out;
}

static bool add_row(struct pages *p, struct row *row) {
    if (p->count == p->capacity) {
        uint32_t capacity = p->capacity == 0 ? 64 : p->capacity * 2;
        struct row *grown =
            capacity <= 2 * ROWS_MAX ? realloc(p->rows, capacity * sizeof *grown) : NULL;
        if (grown == NULL)
            return false;
        p->rows = grown;
        p->capacity = capacity;
    }
    row->place = p->count;
    p->rows[p->count++] = *row;
    return true;
}

static void sort_key(const struct pages *p, const json_t *item, struct row *row) {
    const json_t *value = p->sorted ? at_path(item, p->sort, strlen(p->sort)) : NULL;
    if (json_is_string(value))
        row->key = strdup(json_string_value(value));
    else
        row->number = json_is_number(value) ? json_number_value(value) : json_is_true(value);
}

void pages_add(struct pages *p, json_t *item) {
    p->total++;
    if (item == NULL) {
        p->failed = true;
        return;
    }
    if (!p->failed && matches(p, item)) {
        struct row row = {.number = 0};
        json_t *shown = p->has_columns ? columns_of(p, item) : json_incref(item);
        sort_key(p, item, &row);
        row.text = json_dumps(shown, JSON_COMPACT);
        json_decref(shown);
        if (row.text == NULL || !add_row(p, &row)) {
            free(row.text);
            free(row.key);
            p->failed = true;
        }
    }
    json_decref(item);
}

static int compare(const void *a, const void *b) {
    const struct row *x = a, *y = b;
    int order = 0;
    if (x->key != NULL && y->key != NULL)
        order = strcmp(x->key, y->key);
    else
        order = x->number < y->number ? -1 : x->number > y->number;
    return order != 0 ? order : x->place < y->place ? -1 : 1;
}

static void write_rows(const struct pages *p, struct json_out *out, uint64_t from, uint64_t to) {
    out_open(out, '[');
    for (uint64_t i = from; i < to && i < p->count; i++)
        out_raw(out, span_text(p->rows[p->reverse ? p->count - 1 - i : i].text));
    out_close(out, ']');
}

static void number(struct json_out *out, const char *key, uint64_t value) {
    out_key(out, key);
    out_u64(out, value);
}

static void write_page(const struct pages *p, struct json_out *out) {
    uint64_t from = (p->page - 1) * p->page_size;
    uint64_t to = from + p->page_size < p->count ? from + p->page_size : p->count;
    out_open(out, '{');
    number(out, "filtered_count", p->count);
    number(out, "item_count", to - from);
    out_key(out, "items");
    write_rows(p, out, from, to);
    number(out, "page", p->page);
    number(out, "page_count", (p->count + p->page_size - 1) / p->page_size);
    number(out, "page_size", p->page_size);
    number(out, "total_count", p->total);
    out_close(out, '}');
}

static void release(struct pages *p) {
    for (uint32_t i = 0; i < p->count; i++) {
        free(p->rows[i].text);
        free(p->rows[i].key);
    }
    free(p->rows);
    if (p->regex)
        pattern_free(p->compiled);
    free(p);
}

void pages_end(struct call *c, struct pages *p) {
    bool beyond =
        p->paged && p->page > 1 && (p->page > p->count || (p->page - 1) * p->page_size >= p->count);
    if (p->failed) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else if (beyond) {
        call_invalid(c, "", "page out of range");
    } else {
        if (p->sorted)
            qsort(p->rows, p->count, sizeof *p->rows, compare);
        struct json_out out = call_json_begin(c);
        if (p->paged)
            write_page(p, &out);
        else
            write_rows(p, &out, 0, p->count);
        call_json_end(c, 200, &out);
    }
    release(p);
}
