/*
 * api/definition_fields.h - what the tables of definitions have in common. Internal to api/.
 *
 * Shape:   destinations, which have the most fields by far, stand in destination_fields.c, the others in definitions.c.
 */
#ifndef SLUICE_API_DEFINITION_FIELDS_H
#define SLUICE_API_DEFINITION_FIELDS_H

#include "api/definitions.h"

#define NAME_EXPECTS                                                                               \
    "a name of 1 to 128 letters, digits, '.', '_' or '-', starting with a letter or digit"
#define URL_EXPECTS "a URL with http:// or https://"

bool definition_name_or_empty(struct span text);
/* "408,429,500-599" */
bool definition_statuses_valid(struct span text);
/* A JSON pointer to something in a body, not to all of it. */
bool definition_pointer_valid(struct span text);

/* Of a struct pace_def, of a queue or a destination. */
extern const char *const pace_words[];
extern const struct field pace_fields[];
/* Of a struct destination_def. */
extern const struct field destination_fields[];

#endif
