/*
 * Lists as tools ask for them: filtered by name, sorted, in pages, with some columns only.
 *
 * Items are rendered to text as they come, so that a list of very many costs its text and little more; only
 * what is sorted is kept apart until the end. Of tables (connections, channels) only name and key are looked at until
 * it is known which are on the page; these are rendered STEP_ROWS at a time, with others' work of the loop in between.
 */
#include <math.h>
#include <stdlib.h>

#include "http/query.h"
#include "manage/calls.h"
#include "net/loop.h"

#define ROWS_MAX      1000000u
#define PAGE_SIZE_MAX 500u
#define STEP_ROWS     50u

struct row {
    char *text;        /* owns: the item; NULL: not rendered yet */
    struct span table; /* borrows: what it is of, when it is one */
    char *key;         /* owns: what it is sorted by, when that is a text */
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
    /* Of tables, while they are rendered. */
    struct net_item step;
    struct call *call; /* borrows: it waits */
    uint64_t next;
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

static bool matches(const struct pages *p, struct span name) {
    if (!p->filtered)
        return true;
    return p->regex
               ? pattern_matches(p->compiled, name)
               : name.size > 0 && memmem(name.data, name.size, p->name, strlen(p->name)) != NULL;
}

static bool item_matches(const struct pages *p, const json_t *item) {
    const char *name = json_string_value(json_object_get(item, "name"));
    return matches(p, span_text(name != NULL ? name : ""));
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

static char *render(const struct pages *p, json_t *item) {
    json_t *shown = p->has_columns ? columns_of(p, item) : json_incref(item);
    char *text = json_dumps(shown, JSON_COMPACT);
    json_decref(shown);
    return text;
}

void pages_add(struct pages *p, json_t *item) {
    p->total++;
    if (item == NULL) {
        p->failed = true;
        return;
    }
    if (!p->failed && item_matches(p, item)) {
        struct row row = {.number = 0};
        sort_key(p, item, &row);
        row.text = render(p, item);
        if (row.text == NULL || !add_row(p, &row)) {
            free(row.text);
            free(row.key);
            p->failed = true;
        }
    }
    json_decref(item);
}

/* ---- tables ---- */

/* "client_properties.product" leads into a table. */
static bool field_at(struct span table, const char *path, struct amqp_field *ret) {
    const char *dot = strchr(path, '.');
    char head[64];
    if (amqp_table_find(table, path, ret))
        return true;
    if (dot == NULL || (size_t)(dot - path) >= sizeof head)
        return false;
    memcpy(head, path, (size_t)(dot - path));
    head[dot - path] = '\0';
    return amqp_table_find(table, head, ret) && ret->type == 'F' &&
           field_at(ret->as.bytes, dot + 1, ret);
}

static void table_key(const struct pages *p, struct span table, struct row *row) {
    struct amqp_field f;
    struct span text;
    int64_t number;
    if (!p->sorted || !field_at(table, p->sort, &f))
        return;
    if (amqp_field_text(&f, &text))
        row->key = span_dup(text);
    else if (amqp_field_integer(&f, &number))
        row->number = (double)number;
    else
        row->number = f.type == 't' && f.as.boolean;
}

void pages_add_table(struct pages *p, struct span table) {
    struct amqp_field f;
    struct span name = span_text("");
    p->total++;
    if (amqp_table_find(table, "name", &f))
        (void)amqp_field_text(&f, &name);
    if (p->failed || !matches(p, name))
        return;
    struct row row = {.table = table};
    table_key(p, table, &row);
    if (!add_row(p, &row)) {
        free(row.key);
        p->failed = true;
    }
}

static char *render_table(const struct pages *p, struct span table) {
    json_t *item = manage_peer_json(table);
    char *text = item != NULL ? render(p, item) : NULL;
    json_decref(item);
    return text;
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

static struct row *row_at(const struct pages *p, uint64_t i) {
    return &p->rows[p->reverse ? p->count - 1 - i : i];
}

static void write_rows(const struct pages *p, struct json_out *out, uint64_t from, uint64_t to) {
    out_open(out, '[');
    for (uint64_t i = from; i < to && i < p->count; i++)
        out_raw(out, span_text(row_at(p, i)->text));
    out_close(out, ']');
}

/* What of the rows is shown. */
static uint64_t first_shown(const struct pages *p) {
    return p->paged ? (p->page - 1) * p->page_size : 0;
}

static uint64_t end_shown(const struct pages *p) {
    uint64_t end = first_shown(p) + p->page_size;
    return p->paged && end < p->count ? end : p->count;
}

static void number(struct json_out *out, const char *key, uint64_t value) {
    out_key(out, key);
    out_u64(out, value);
}

static void write_page(const struct pages *p, struct json_out *out) {
    uint64_t from = first_shown(p), to = end_shown(p);
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

static void answer(struct call *c, struct pages *p) {
    if (p->failed) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
    } else {
        struct json_out out = call_json_begin(c);
        if (p->paged)
            write_page(p, &out);
        else
            write_rows(p, &out, 0, p->count);
        call_json_end(c, 200, &out);
    }
    release(p);
}

static void render_some(struct net_item *step) {
    struct pages *p = CONTAINER_OF(step, struct pages, step);
    uint64_t end = end_shown(p);
    uint64_t stop = p->next + STEP_ROWS < end ? p->next + STEP_ROWS : end;
    for (; p->next < stop && !p->failed; p->next++) {
        struct row *row = row_at(p, p->next);
        if (row->text == NULL)
            row->text = render_table(p, row->table);
        p->failed = row->text == NULL;
    }
    if (p->next < end && !p->failed)
        net_loop_post(p->call->loop->loop, &p->step);
    else
        answer(p->call, p);
}

void pages_end(struct call *c, struct pages *p) {
    bool beyond =
        p->paged && p->page > 1 && (p->page > p->count || (p->page - 1) * p->page_size >= p->count);
    if (beyond && !p->failed) {
        call_invalid(c, "", "page out of range");
        release(p);
        return;
    }
    if (p->sorted && p->count > 0)
        qsort(p->rows, p->count, sizeof *p->rows, compare);
    p->call = c;
    p->next = first_shown(p);
    p->step.run = render_some;
    if (p->count > 0 && p->rows[0].table.data != NULL)
        render_some(&p->step);
    else
        answer(c, p);
}
