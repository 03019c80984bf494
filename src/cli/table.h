/*
 * cli/table.h - lists of JSON objects as columns of text.
 *
 * Shape: plain, caller-owned; columns are told as "TITLE=member TITLE=member.of.member".
 */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include <jansson.h>
#include <stdbool.h>

#define COLUMNS_MAX 12

struct table {
    char spec[512];
    const char *titles[COLUMNS_MAX];
    const char *paths[COLUMNS_MAX];
    size_t count;
};

void table_init(struct table *t, const char *columns);
/* As wide as the longest of these. */
void table_print(const struct table *t, const json_t *items, bool with_titles);

#endif
