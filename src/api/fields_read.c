#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/fields.h"
#include "base/units.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/definition.h"

/* ---- errors ---- */

static void add_error(struct field_reader *r, const char *name, const char *detail) {
    struct field_errors *all = r->errors;
    if (all->count++ >= FIELD_ERRORS_MAX) {
        return;
    }
    struct field_error *e = &all->list[all->count - 1];
    const char *slash = name[0] != '\0' ? "/" : "";
    snprintf(e->pointer, sizeof e->pointer, "%.120s%s%.64s", r->pointer, slash, name);
    snprintf(e->detail, sizeof e->detail, "%s", detail);
}

void field_fault(struct field_reader *r, const char *name, const char *format, ...) {
    char detail[FIELD_DETAIL_BYTES];
    va_list args;
    va_start(args, format);
    vsnprintf(detail, sizeof detail, format, args);
    va_end(args);
    add_error(r, name, detail);
}

static void describe(const json_t *found, char out[96]) {
    switch (found != NULL ? (int)json_typeof(found) : -1) {
    case JSON_STRING:
        snprintf(out, 96, "\"%.64s\"", json_string_value(found));
        return;
    case JSON_INTEGER:
        snprintf(out, 96, "%" JSON_INTEGER_FORMAT, json_integer_value(found));
        return;
    case JSON_REAL:
        snprintf(out, 96, "%.9g", json_real_value(found));
        return;
    case JSON_TRUE:
    case JSON_FALSE:
        snprintf(out, 96, "%s", json_is_true(found) ? "true" : "false");
        return;
    case JSON_NULL:
        snprintf(out, 96, "null");
        return;
    case JSON_ARRAY:
        snprintf(out, 96, "a list");
        return;
    case JSON_OBJECT:
        snprintf(out, 96, "an object");
        return;
    default:
        snprintf(out, 96, "nothing");
    }
}

void field_expected(struct field_reader *r, const char *name, const char *expects,
                    const json_t *found) {
    char what[96];
    describe(found, what);
    field_fault(r, name, "expected %s, found %s", expects, what);
}

void field_expected_secret(struct field_reader *r, const char *name, const char *expects,
                           const json_t *found) {
    static const char *const kinds[] = {
        [JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",  [JSON_STRING] = "another text",
        [JSON_INTEGER] = "a number", [JSON_REAL] = "a number", [JSON_TRUE] = "true",
        [JSON_FALSE] = "false",      [JSON_NULL] = "null"};
    field_fault(r, name, "expected %s, found %s", expects,
                found == NULL ? "nothing" : kinds[json_typeof(found)]);
}

size_t field_enter(struct field_reader *r, const char *name) {
    size_t size = strlen(r->pointer);
    snprintf(r->pointer + size, sizeof r->pointer - size, "/%s", name);
    return size;
}

size_t field_enter_index(struct field_reader *r, size_t index) {
    size_t size = strlen(r->pointer);
    snprintf(r->pointer + size, sizeof r->pointer - size, "/%zu", index);
    return size;
}

void field_leave(struct field_reader *r, size_t size) {
    r->pointer[size] = '\0';
}

/* ---- one value by type: 0, or E_INVALID and the error was added, or E_NOMEM ---- */

static struct span text_of(const json_t *value) {
    return span_of(json_string_value(value), json_string_length(value));
}

static int read_text(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    const char *expects = f->expects != NULL ? f->expects : "a text";
    struct span text = json_is_string(value) ? text_of(value) : span_of(NULL, 0);
    if (text.data == NULL || text.size > FIELD_TEXT_MAX_BYTES ||
        memchr(text.data, '\0', text.size) != NULL || (f->valid != NULL && !f->valid(text))) {
        (f->secret ? field_expected_secret : field_expected)(r, f->name, expects, value);
        return E_INVALID;
    }
    return def_set_text(at, text);
}

static void store_integer(void *at, size_t size, uint64_t value) {
    switch (size) {
    case 1:
        *(uint8_t *)at = (uint8_t)value;
        return;
    case 2:
        *(uint16_t *)at = (uint16_t)value;
        return;
    case 4:
        *(uint32_t *)at = (uint32_t)value;
        return;
    default:
        *(uint64_t *)at = value;
    }
}

static int read_integer(const struct field *f, const json_t *value, void *at,
                        struct field_reader *r) {
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number < f->min ||
        (uint64_t)number > f->max) {
        char expects[80];
        snprintf(expects, sizeof expects, "a whole number from %llu to %llu",
                 (unsigned long long)f->min, (unsigned long long)f->max);
        field_expected(r, f->name, expects, value);
        return E_INVALID;
    }
    store_integer(at, f->size, (uint64_t)number);
    return 0;
}

static int read_duration(const struct field *f, const json_t *value, void *at,
                         struct field_reader *r) {
    uint64_t ns;
    if (!json_is_string(value) || duration_parse(text_of(value), &ns) != 0) {
        field_expected(r, f->name, "a duration such as \"1.5s\", \"250ms\" or \"2h\"", value);
        return E_INVALID;
    }
    if (ns < f->min || (f->max != 0 && ns > f->max)) {
        char low[DURATION_TEXT_BYTES], high[DURATION_TEXT_BYTES], expects[112];
        duration_format(f->min, low);
        duration_format(f->max, high);
        snprintf(expects, sizeof expects, "a duration of at least %s%s%s", low,
                 f->max != 0 ? " and at most " : "", f->max != 0 ? high : "");
        field_expected(r, f->name, expects, value);
        return E_INVALID;
    }
    *(uint64_t *)at = ns;
    return 0;
}

/* "+10s" from the reader's now, where that is wanted. */
static bool relative_time(const struct field_reader *r, struct span text, uint64_t *ret_ns) {
    uint64_t ns;
    if (r->now_ns == 0 || text.size < 2 || text.data[0] != '+' ||
        duration_parse(span_of(text.data + 1, text.size - 1), &ns) != 0) {
        return false;
    }
    *ret_ns = r->now_ns + ns;
    return true;
}

static int read_time(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    uint64_t ns = 0;
    if (!json_is_null(value) &&
        (!json_is_string(value) ||
         (!relative_time(r, text_of(value), &ns) && time_parse(text_of(value), &ns) != 0))) {
        field_expected(r, f->name,
                       r->now_ns != 0 ? "a time such as \"2030-01-31T09:00:00+09:00\", or \"+10s\""
                                      : "a time such as \"2030-01-31T09:00:00+09:00\"",
                       value);
        return E_INVALID;
    }
    *(uint64_t *)at = ns;
    return 0;
}

/*
 * A rate is kept as count in period. Whole numbers count in one second; below one the period is
 * the time for one; between, the smallest number of seconds that holds a whole number of them.
 */
static bool rate_to_pace(double rate, struct pace_def *pace) {
    if (!(rate >= 0) || rate > PACE_COUNT_MAX || (rate > 0 && rate < 0.00001)) {
        return false;
    }
    if (rate > 0 && rate < 1) {
        pace->count = 1;
        pace->period_ns = (uint64_t)llround(1e9 / rate);
        return true;
    }
    for (uint32_t seconds = 1; seconds <= 100; seconds++) {
        double count = rate * seconds;
        if (fabs(count - round(count)) < 1e-9 * count + 1e-12 && count <= PACE_COUNT_MAX) {
            pace->count = (uint32_t)llround(count);
            pace->period_ns = seconds * NS_PER_SECOND;
            return true;
        }
    }
    return false;
}

static int read_rate(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    if (!json_is_number(value) || !rate_to_pace(json_number_value(value), at)) {
        field_expected(r, f->name,
                       "a number from 0 (no limit) to 1000000 with at most two decimals", value);
        return E_INVALID;
    }
    return 0;
}

static int read_word(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    char expects[160] = "one of";
    for (int i = 0; f->words[i] != NULL; i++) {
        if (json_is_string(value) && span_is(text_of(value), f->words[i])) {
            *(int *)at = i;
            return 0;
        }
        size_t size = strlen(expects);
        snprintf(expects + size, sizeof expects - size, "%s \"%s\"", i > 0 ? "," : "", f->words[i]);
    }
    field_expected(r, f->name, expects, value);
    return E_INVALID;
}

static bool is_token_text(const char *text) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (const char *p = text; *p != '\0'; p++) {
        bool letter = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        if (!letter && !(*p >= '0' && *p <= '9') && strchr(others, *p) == NULL) {
            return false;
        }
    }
    return text[0] != '\0';
}

static bool is_line_text(const json_t *value) {
    struct span text = text_of(value);
    for (size_t i = 0; i < text.size; i++) {
        if ((text.data[i] < 0x20 && text.data[i] != '\t') || text.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static int read_lines(const struct field *f, const json_t *value, void *at,
                      struct field_reader *r) {
    if (!json_is_object(value)) {
        field_expected_secret(r, f->name, "an object of header names and texts", value);
        return E_INVALID;
    }
    struct buffer lines;
    buffer_init(&lines, FIELD_TEXT_MAX_BYTES);
    int error = 0;
    const char *name;
    json_t *text;
    size_t outer = field_enter(r, f->name);
    json_object_foreach((json_t *)value, name, text) {
        if (!is_token_text(name)) {
            field_fault(r, name, "expected the name of a header");
            error = E_INVALID;
        } else if (!json_is_string(text) || !is_line_text(text)) {
            /* What GET shows is null: refused here, so that a secret is not lost by a PUT of it. */
            field_expected_secret(r, name, "the text of the header (it is not shown by GET)", text);
            error = E_INVALID;
        } else if (buffer_printf(&lines, "%s: %s\n", name, json_string_value(text)) != 0) {
            field_fault(r, name, "expected at most %u bytes of headers", FIELD_TEXT_MAX_BYTES);
            error = E_INVALID;
            break;
        }
    }
    field_leave(r, outer);
    if (error == 0) {
        error = def_set_text(at, buffer_span(&lines));
    }
    buffer_release(&lines);
    return error;
}

static int read_object(const struct field *f, const json_t *value, void *at,
                       struct field_reader *r) {
    size_t outer = field_enter(r, f->name);
    int error = fields_read(f->members, value, at, NULL, r);
    field_leave(r, outer);
    return error;
}

/* Each item is counted before it is read, so that a half-read one is released. */
static int read_list(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    struct field_list *list = at;
    size_t count = json_array_size(value);
    if (!json_is_array(value) || count > f->max) {
        char expects[64];
        snprintf(expects, sizeof expects, "a list of at most %llu objects",
                 (unsigned long long)f->max);
        field_expected(r, f->name, expects, value);
        return E_INVALID;
    }
    if (list->count > 0 || count == 0) {
        return list->count > 0 ? E_INVALID : 0; /* a name that stands there twice */
    }
    if ((list->items = calloc(count, f->item_bytes)) == NULL) {
        return E_NOMEM;
    }
    int error = 0;
    size_t outer = field_enter(r, f->name);
    for (size_t i = 0; i < count && error != E_NOMEM; i++) {
        void *item = (char *)list->items + i * f->item_bytes;
        size_t inner = field_enter_index(r, i);
        int one = f->init(item);
        if (one == 0) {
            list->count++;
            one = fields_read(f->members, json_array_get(value, i), item, NULL, r);
        }
        error = one != 0 ? one : error;
        field_leave(r, inner);
    }
    field_leave(r, outer);
    return error;
}

static int read_bool(const struct field *f, const json_t *value, void *at, struct field_reader *r) {
    if (!json_is_boolean(value)) {
        field_expected(r, f->name, "true or false", value);
        return E_INVALID;
    }
    *(bool *)at = json_is_true(value);
    return 0;
}

static int read_durations(const struct field *f, const json_t *value, void *at,
                          struct field_reader *r) {
    struct backoff_list list = {.count = (uint32_t)json_array_size(value)};
    bool good = json_is_array(value) && json_array_size(value) <= RETRY_BACKOFFS_MAX;
    for (uint32_t i = 0; good && i < list.count; i++) {
        const json_t *item = json_array_get(value, i);
        uint64_t ns = 0;
        good = json_is_string(item) && duration_parse(text_of(item), &ns) == 0 && ns >= f->min &&
               ns <= f->max && ns / NS_PER_MS <= UINT32_MAX;
        list.ms[i] = (uint32_t)(ns / NS_PER_MS);
    }
    if (!good) {
        field_expected(r, f->name, "a list of at most 6 durations of at least 1ms, such as \"1s\"",
                       value);
        return E_INVALID;
    }
    *(struct backoff_list *)at = list;
    return 0;
}

static int read_words(const struct field *f, const json_t *value, void *at,
                      struct field_reader *r) {
    uint32_t bits = 0;
    bool good = json_is_array(value);
    for (size_t i = 0; good && i < json_array_size(value); i++) {
        const json_t *item = json_array_get(value, i);
        int word = 0;
        while (f->words[word] != NULL &&
               !(json_is_string(item) && span_is(text_of(item), f->words[word]))) {
            word++;
        }
        good = f->words[word] != NULL;
        bits |= good ? 1u << word : 0;
    }
    if (!good) {
        field_expected(r, f->name, f->expects, value);
        return E_INVALID;
    }
    *(uint32_t *)at = bits;
    return 0;
}

typedef int read_field(const struct field *f, const json_t *value, void *at,
                       struct field_reader *r);

static read_field *const readers[] = {
    [FIELD_TEXT] = read_text,           [FIELD_BOOL] = read_bool,
    [FIELD_INTEGER] = read_integer,     [FIELD_DURATION] = read_duration,
    [FIELD_TIME] = read_time,           [FIELD_RATE] = read_rate,
    [FIELD_WORD] = read_word,           [FIELD_LINES] = read_lines,
    [FIELD_OBJECT] = read_object,       [FIELD_LIST] = read_list,
    [FIELD_DURATIONS] = read_durations, [FIELD_WORDS] = read_words,
};

/* ---- whole objects ---- */

static const struct field *find_field(const struct field *table, const char *name) {
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        if (strcmp(f->name, name) == 0) {
            return f;
        }
    }
    return NULL;
}

/* Levenshtein, case ignored for ASCII letters; texts longer than the row are far from everything. */
static size_t edit_distance(const char *a, const char *b) {
    size_t row[48];
    size_t columns = strlen(b);
    if (columns + 1 > ARRAY_LENGTH(row)) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= columns; j++) {
        row[j] = j;
    }
    for (size_t i = 0; a[i] != '\0'; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < columns; j++) {
            size_t same = diagonal + ((a[i] | 0x20) == (b[j] | 0x20) ? 0 : 1);
            diagonal = row[j + 1];
            size_t other = (row[j] < diagonal ? row[j] : diagonal) + 1;
            row[j + 1] = same < other ? same : other;
        }
    }
    return row[columns];
}

#define KNOWN_NAMES_BYTES 230u

/* The known name that is nearest to `name`, if it is near. */
struct nearest {
    const char *name;
    size_t distance;
};

/* Abbreviated, or longer than needed. Short beginnings say too little: "prot" is rather a slip for "port". */
static bool begins_alike(const char *a, const char *b) {
    size_t shorter = strlen(a) < strlen(b) ? strlen(a) : strlen(b);
    return shorter >= 5 && strncasecmp(a, b, shorter) == 0;
}

static void consider(struct nearest *n, const char *name, const char *known) {
    size_t distance = begins_alike(name, known) ? 1 : edit_distance(name, known);
    if (distance < n->distance) {
        *n = (struct nearest){known, distance};
    }
}

static bool add_name(const char *name, char names[KNOWN_NAMES_BYTES]) {
    size_t size = strlen(names);
    int more = snprintf(names + size, KNOWN_NAMES_BYTES - size, "%s%s", size > 0 ? ", " : "", name);
    return size + (size_t)more < KNOWN_NAMES_BYTES;
}

/* False: they are more than anybody wants to read in one line. */
static bool list_names(const struct field *table, const char *const *others,
                       char names[KNOWN_NAMES_BYTES]) {
    bool fits = true;
    for (const struct field *f = table; fits && f->type != FIELD_NONE; f++) {
        fits = add_name(f->name, names);
    }
    for (; fits && others != NULL && *others != NULL; others++) {
        fits = add_name(*others, names);
    }
    return fits;
}

static void unknown_field(const struct field *table, const char *const *others, const char *name,
                          struct field_reader *r) {
    struct nearest nearest = {NULL, strlen(name) / 2 + 1};
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        consider(&nearest, name, f->name);
    }
    for (const char *const *other = others; other != NULL && *other != NULL; other++) {
        consider(&nearest, name, *other);
    }
    char names[KNOWN_NAMES_BYTES] = "";
    if (strcmp(name, "stats") == 0) {
        field_fault(r, name, "GET tells it besides the definition: leave it out");
    } else if (nearest.name != NULL) {
        field_fault(r, name, "unknown field; did you mean \"%s\"?", nearest.name);
    } else if (list_names(table, others, names)) {
        field_fault(r, name, "unknown field; there are %s", names);
    } else {
        field_fault(r, name, "unknown field");
    }
}

static bool is_one_of(const char *const *names, const char *name) {
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Keeps the first error that is worse than an invalid field. */
static int worse(int error, int other) {
    return error == 0 || (error == E_INVALID && other != 0) ? other : error;
}

int fields_read(const struct field *table, const json_t *object, void *into,
                const char *const *others, struct field_reader *r) {
    if (!json_is_object(object)) {
        field_expected(r, "", "an object", object);
        return E_INVALID;
    }
    int error = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)object, name, value) {
        const struct field *f = find_field(table, name);
        if (f != NULL && f->or_list != NULL && json_is_array(value)) {
            f = f->or_list;
        }
        if (f != NULL) {
            error = worse(error, readers[f->type](f, value, (char *)into + f->offset, r));
        } else if (!is_one_of(others, name)) {
            unknown_field(table, others, name, r);
            error = worse(error, E_INVALID);
        }
    }
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        if (f->required && json_object_get(object, f->name) == NULL) {
            field_expected(r, f->name, f->expects != NULL ? f->expects : "a value", NULL);
            error = worse(error, E_INVALID);
        }
    }
    return error;
}
