#include "cli/table.h"

#include <stdio.h>
#include <string.h>

#define COLUMNS_MAX 12
#define PAGES_MAX   100000
#define PATH_BYTES  (8192 + 512)

struct table {
    char spec[512];
    const char *titles[COLUMNS_MAX];
    const char *paths[COLUMNS_MAX];
    size_t count;
};

static const json_t *at_path(const json_t *item, const char *path) {
    char copy[128];
    snprintf(copy, sizeof(copy), "%s", path);
    char *rest = NULL;
    for (char *word = strtok_r(copy, ".", &rest); word != NULL; word = strtok_r(NULL, ".", &rest))
        item = json_object_get(item, word);
    return item;
}

static void cell_text(const json_t *value, char *out, size_t size) {
    if (json_is_string(value))
        snprintf(out, size, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, size, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        snprintf(out, size, "%s", json_is_true(value) ? "yes" : "no");
    else
        snprintf(out, size, "-");
}

static void table_init(struct table *t, const char *columns) {
    snprintf(t->spec, sizeof(t->spec), "%s", columns);
    t->count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(t->spec, " ", &rest); word != NULL && t->count < COLUMNS_MAX;
         word = strtok_r(NULL, " ", &rest)) {
        char *equals = strchr(word, '=');
        *equals = '\0';
        t->titles[t->count] = word;
        t->paths[t->count++] = equals + 1;
    }
}

/* As wide as the longest of these. */
static void table_print(const struct table *t, const json_t *items, bool with_titles) {
    int widths[COLUMNS_MAX];
    char text[256];
    size_t index;
    const json_t *item;
    for (size_t c = 0; c < t->count; c++) {
        widths[c] = (int)strlen(t->titles[c]);
        json_array_foreach(items, index, item) {
            cell_text(at_path(item, t->paths[c]), text, sizeof(text));
            if ((int)strlen(text) > widths[c])
                widths[c] = (int)strlen(text);
        }
    }
    for (size_t c = 0; with_titles && c < t->count; c++)
        printf("%-*s%s", widths[c], t->titles[c], c + 1 == t->count ? "\n" : "  ");
    json_array_foreach(items, index, item) {
        for (size_t c = 0; c < t->count; c++) {
            cell_text(at_path(item, t->paths[c]), text, sizeof(text));
            printf("%-*s%s", widths[c], text, c + 1 == t->count ? "\n" : "  ");
        }
    }
}

/* A list answer has one array among its members. */
static const json_t *list_of(json_t *answer, const char **ret_name) {
    json_t *value;
    json_object_foreach(answer, *ret_name, value) {
        if (json_is_array(value))
            return value;
    }
    return NULL;
}

int table_list(const struct client *c, const char *path, const char *columns) {
    struct table table;
    char page[PATH_BYTES];
    table_init(&table, columns);
    snprintf(page, sizeof(page), "%s", path);
    bool more = true;
    size_t found = 0;
    for (int n = 0; more && n < PAGES_MAX; n++) {
        json_t *answer = NULL;
        const char *name;
        if (client_call(c, "GET", page, span_of(NULL, 0), &answer) != 0)
            return 1;
        const json_t *items = list_of(answer, &name);
        const char *token = json_string_value(json_object_get(answer, "nextPageToken"));
        more = token != NULL && token[0] != '\0';
        snprintf(page, sizeof(page), "%s&page_token=%s", path, more ? token : "");
        if (c->as_json) {
            json_dumpf(answer, stdout, JSON_INDENT(2));
            putchar('\n');
        } else if (json_array_size(items) > 0) {
            table_print(&table, items, found == 0);
        }
        found += json_array_size(items);
        if (!c->as_json && found == 0 && !more && name != NULL)
            fprintf(stderr, "no %s\n", name);
        json_decref(answer);
    }
    return 0;
}
