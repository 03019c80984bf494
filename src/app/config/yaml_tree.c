/*
 * A recursive descent over libyaml's events: one function for each kind of node. Depth is bounded.
 * The pointer of the present node is kept in one buffer, which grows and shrinks on the way.
 */
#include "app/config/yaml_tree.h"

#include <stdio.h>
#include <stdlib.h>
#include <yaml.h>

#include "base/error.h"

#define POINTER_BYTES 512u

struct yaml_mark {
    char *pointer; /* owns */
    struct yaml_place place;
};

struct walk {
    yaml_parser_t parser;
    struct yaml_tree *y;
    struct yaml_fault *fault;
    char pointer[POINTER_BYTES];
    size_t pointer_size;
    uint32_t depth;
};

static int read_node(struct walk *w, const yaml_event_t *event, json_t **ret);

static struct yaml_place place_of(yaml_mark_t mark) {
    return (struct yaml_place){(uint32_t)mark.line + 1, (uint32_t)mark.column + 1};
}

static int fault_at(struct walk *w, yaml_mark_t mark, const char *reason) {
    w->fault->place = place_of(mark);
    snprintf(w->fault->reason, sizeof w->fault->reason, "%s", reason);
    return E_INVALID;
}

/* The next event; the caller deletes it. */
static int next_event(struct walk *w, yaml_event_t *event) {
    if (yaml_parser_parse(&w->parser, event)) {
        return 0;
    }
    if (w->parser.error == YAML_MEMORY_ERROR) {
        return E_NOMEM;
    }
    int error = fault_at(w, w->parser.problem_mark,
                         w->parser.problem != NULL ? w->parser.problem : "not YAML");
    if (w->parser.context != NULL) {
        size_t size = strlen(w->fault->reason);
        snprintf(w->fault->reason + size, sizeof w->fault->reason - size, " %s", w->parser.context);
    }
    return error;
}

/* ---- places ---- */

static int note_place(struct walk *w, yaml_mark_t mark) {
    struct yaml_tree *y = w->y;
    if (y->mark_count == y->mark_capacity) {
        size_t capacity = y->mark_capacity == 0 ? 64 : y->mark_capacity * 2;
        struct yaml_mark *marks = realloc(y->marks, capacity * sizeof *marks);
        if (marks == NULL) {
            return E_NOMEM;
        }
        y->marks = marks;
        y->mark_capacity = capacity;
    }
    char *pointer = strndup(w->pointer, w->pointer_size);
    if (pointer == NULL) {
        return E_NOMEM;
    }
    y->marks[y->mark_count++] = (struct yaml_mark){pointer, place_of(mark)};
    return 0;
}

/* Steps into a member; a name too long for the buffer is cut, which only blurs the place. */
static size_t enter(struct walk *w, const char *name) {
    size_t outer = w->pointer_size;
    int size = snprintf(w->pointer + outer, POINTER_BYTES - outer, "/%s", name);
    size_t room = POINTER_BYTES - 1 - outer;
    w->pointer_size = outer + ((size_t)size < room ? (size_t)size : room);
    return outer;
}

static int compare_marks(const void *a, const void *b) {
    return strcmp(((const struct yaml_mark *)a)->pointer, ((const struct yaml_mark *)b)->pointer);
}

struct yaml_place yaml_tree_find(const struct yaml_tree *y, const char *pointer) {
    char around[POINTER_BYTES];
    snprintf(around, sizeof around, "%s", pointer);
    while (y->mark_count > 0 && around[0] != '\0') {
        const struct yaml_mark wanted = {.pointer = around};
        const struct yaml_mark *m =
            bsearch(&wanted, y->marks, y->mark_count, sizeof *y->marks, compare_marks);
        if (m != NULL) {
            return m->place;
        }
        char *slash = strrchr(around, '/');
        around[slash != NULL ? slash - around : 0] = '\0';
    }
    return (struct yaml_place){1, 1};
}

/* ---- scalars ---- */

static bool is_integer(const char *text) {
    size_t i = text[0] == '-' || text[0] == '+' ? 1 : 0;
    size_t digits = strspn(text + i, "0123456789");
    return digits > 0 && text[i + digits] == '\0' && digits <= 18;
}

/* [-+]? ( . digits | digits [ . digits* ] ) [ e [-+] digits ], as the core schema has it. */
static bool is_real(const char *text) {
    size_t i = text[0] == '-' || text[0] == '+' ? 1 : 0;
    size_t whole = strspn(text + i, "0123456789");
    i += whole;
    size_t fraction = 0;
    if (text[i] == '.') {
        fraction = strspn(text + ++i, "0123456789");
        i += fraction;
    }
    if (whole + fraction == 0) {
        return false;
    }
    if (text[i] == 'e' || text[i] == 'E') {
        i++;
        i += text[i] == '-' || text[i] == '+' ? 1 : 0;
        size_t digits = strspn(text + i, "0123456789");
        if (digits == 0) {
            return false;
        }
        i += digits;
    }
    return text[i] == '\0';
}

static bool is_one_of(const char *text, const char *const words[3]) {
    return strcmp(text, words[0]) == 0 || strcmp(text, words[1]) == 0 ||
           strcmp(text, words[2]) == 0;
}

static json_t *plain_value(const char *text) {
    static const char *const nulls[] = {"null", "Null", "NULL"};
    static const char *const trues[] = {"true", "True", "TRUE"};
    static const char *const falses[] = {"false", "False", "FALSE"};
    if (text[0] == '\0' || strcmp(text, "~") == 0 || is_one_of(text, nulls)) {
        return json_null();
    }
    if (is_one_of(text, trues) || is_one_of(text, falses)) {
        return json_boolean(is_one_of(text, trues));
    }
    if (is_integer(text)) {
        return json_integer(strtoll(text, NULL, 10));
    }
    double real = is_real(text) ? strtod(text, NULL) : 0;
    return is_real(text) && real - real == 0 ? json_real(real) : json_string(text);
}

static int read_scalar(struct walk *w, const yaml_event_t *event, json_t **ret) {
    const char *text = (const char *)event->data.scalar.value;
    size_t size = event->data.scalar.length;
    if (event->data.scalar.tag != NULL) {
        return fault_at(w, event->start_mark, "tags are not supported");
    }
    if (memchr(text, '\0', size) != NULL) {
        return fault_at(w, event->start_mark, "a text with a NUL character");
    }
    bool plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    *ret = plain ? plain_value(text) : json_stringn(text, size);
    return *ret != NULL ? 0 : E_NOMEM;
}

/* ---- lists and objects ---- */

static int read_item(struct walk *w, const yaml_event_t *event, json_t *list) {
    char index[24];
    json_t *value = NULL;
    snprintf(index, sizeof index, "%zu", json_array_size(list));
    size_t outer = enter(w, index);
    int error = note_place(w, event->start_mark);
    if (error == 0) {
        error = read_node(w, event, &value);
    }
    w->pointer_size = outer;
    if (error == 0 && json_array_append_new(list, value) != 0) {
        error = E_NOMEM;
    }
    return error;
}

static int read_list(struct walk *w, json_t *list) {
    for (;;) {
        yaml_event_t event;
        int error = next_event(w, &event);
        if (error != 0) {
            return error;
        }
        bool end = event.type == YAML_SEQUENCE_END_EVENT;
        if (!end) {
            error = read_item(w, &event, list);
        }
        yaml_event_delete(&event);
        if (end || error != 0) {
            return error;
        }
    }
}

static int read_member_value(struct walk *w, const yaml_event_t *key, json_t *object) {
    const char *name = (const char *)key->data.scalar.value;
    yaml_event_t event;
    json_t *value = NULL;
    int error = next_event(w, &event);
    if (error != 0) {
        return error;
    }
    size_t outer = enter(w, name);
    error = note_place(w, key->start_mark);
    if (error == 0) {
        error = read_node(w, &event, &value);
    }
    w->pointer_size = outer;
    yaml_event_delete(&event);
    if (error == 0 && json_object_set_new(object, name, value) != 0) {
        /* jansson takes UTF-8 only, which libyaml has checked. */
        error = E_NOMEM;
    }
    return error;
}

static int read_member(struct walk *w, const yaml_event_t *key, json_t *object) {
    if (key->type != YAML_SCALAR_EVENT || key->data.scalar.tag != NULL ||
        strlen((const char *)key->data.scalar.value) != key->data.scalar.length) {
        return fault_at(w, key->start_mark, "expected a name");
    }
    const char *name = (const char *)key->data.scalar.value;
    if (strcmp(name, "<<") == 0) {
        return fault_at(w, key->start_mark, "merge keys are not supported");
    }
    if (json_object_get(object, name) != NULL) {
        char reason[160];
        snprintf(reason, sizeof reason, "\"%.100s\" stands here twice", name);
        return fault_at(w, key->start_mark, reason);
    }
    return read_member_value(w, key, object);
}

static int read_object(struct walk *w, json_t *object) {
    for (;;) {
        yaml_event_t key;
        int error = next_event(w, &key);
        if (error != 0) {
            return error;
        }
        bool end = key.type == YAML_MAPPING_END_EVENT;
        if (!end) {
            error = read_member(w, &key, object);
        }
        yaml_event_delete(&key);
        if (end || error != 0) {
            return error;
        }
    }
}

static int read_nested(struct walk *w, const yaml_event_t *event, json_t **ret) {
    bool list = event->type == YAML_SEQUENCE_START_EVENT;
    const yaml_char_t *tag = list ? event->data.sequence_start.tag : event->data.mapping_start.tag;
    if (tag != NULL) {
        return fault_at(w, event->start_mark, "tags are not supported");
    }
    if (++w->depth > YAML_DEPTH_MAX) {
        return fault_at(w, event->start_mark, "nested too deep");
    }
    json_t *value = list ? json_array() : json_object();
    int error = value == NULL ? E_NOMEM : list ? read_list(w, value) : read_object(w, value);
    w->depth--;
    if (error != 0) {
        json_decref(value);
        return error;
    }
    *ret = value;
    return 0;
}

static int read_node(struct walk *w, const yaml_event_t *event, json_t **ret) {
    if (event->type == YAML_SCALAR_EVENT) {
        return read_scalar(w, event, ret);
    }
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT) {
        return read_nested(w, event, ret);
    }
    return fault_at(w, event->start_mark,
                    event->type == YAML_ALIAS_EVENT ? "aliases are not supported"
                                                    : "expected a value");
}

/* ---- the document ---- */

static int root_of(struct walk *w, const yaml_event_t *event) {
    int error = read_node(w, event, &w->y->tree);
    if (error != 0) {
        return error;
    }
    if (json_is_null(w->y->tree)) {
        w->y->tree = json_object();
    }
    return json_is_object(w->y->tree) ? 0
                                      : fault_at(w, event->start_mark, "expected names and values");
}

static int read_document(struct walk *w) {
    bool seen = false;
    for (;;) {
        yaml_event_t event;
        int error = next_event(w, &event);
        if (error != 0) {
            return error;
        }
        yaml_event_type_t type = event.type;
        bool frame = type == YAML_STREAM_START_EVENT || type == YAML_DOCUMENT_START_EVENT ||
                     type == YAML_DOCUMENT_END_EVENT || type == YAML_STREAM_END_EVENT;
        if (!frame) {
            error = root_of(w, &event);
        } else if (type == YAML_DOCUMENT_START_EVENT && seen) {
            error = fault_at(w, event.start_mark, "expected one document, found another");
        }
        seen = seen || type == YAML_DOCUMENT_START_EVENT;
        yaml_event_delete(&event);
        if (error != 0 || type == YAML_STREAM_END_EVENT) {
            return error;
        }
    }
}

int yaml_tree_read(struct span text, struct yaml_tree *ret, struct yaml_fault *ret_fault) {
    struct walk *w = calloc(1, sizeof *w);
    memset(ret, 0, sizeof *ret);
    if (w == NULL || !yaml_parser_initialize(&w->parser)) {
        free(w);
        return E_NOMEM;
    }
    w->y = ret;
    w->fault = ret_fault;
    yaml_parser_set_encoding(&w->parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&w->parser, text.data, text.size);
    int error = read_document(w);
    yaml_parser_delete(&w->parser);
    free(w);
    if (error == 0 && ret->tree == NULL && (ret->tree = json_object()) == NULL) {
        error = E_NOMEM;
    }
    if (error != 0) {
        yaml_tree_release(ret);
        return error;
    }
    if (ret->mark_count > 0) {
        qsort(ret->marks, ret->mark_count, sizeof *ret->marks, compare_marks);
    }
    return 0;
}

void yaml_tree_release(struct yaml_tree *y) {
    for (size_t i = 0; i < y->mark_count; i++) {
        free(y->marks[i].pointer);
    }
    free(y->marks);
    json_decref(y->tree);
    memset(y, 0, sizeof *y);
}

int yaml_tree_load_file(const char *path, char **ret_text, size_t *ret_size) {
    FILE *file = fopen(path, "rbe");
    if (file == NULL) {
        return E_IO;
    }
    char *text = malloc(YAML_MAX_BYTES + 1);
    size_t size = text != NULL ? fread(text, 1, YAML_MAX_BYTES + 1, file) : 0;
    int error = text == NULL            ? E_NOMEM
                : ferror(file)          ? E_IO
                : size > YAML_MAX_BYTES ? E_TOO_LARGE
                                        : 0;
    fclose(file);
    if (error != 0) {
        free(text);
        return error;
    }
    *ret_text = text;
    *ret_size = size;
    return 0;
}
