#include "cli/table.h"

#include <stdio.h>
#include <string.h>

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

void table_init(struct table *t, const char *columns) {
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

void table_print(const struct table *t, const json_t *items, bool with_titles) {
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
