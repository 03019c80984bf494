/*
 * api/definitions.h - the four kinds of definition as JSON: the tables behind API, configuration
 * and OpenAPI.
 *
 * Promise: read and write are inverse (but for header values, which are never written out).
 * Shape:   `struct definition` is a tagged union; init with defaults, release when done.
 */
#ifndef SLUICE_API_DEFINITIONS_H
#define SLUICE_API_DEFINITIONS_H

#include "api/fields.h"
#include "model/definition.h"
#include "model/request.h"

enum definition_kind {
    DEFINITION_DESTINATION, /* in the order in which a configuration applies them */
    DEFINITION_QUEUE,
    DEFINITION_STOCK,
    DEFINITION_CAMPAIGN,
    DEFINITION_KINDS
};

struct definition {
    enum definition_kind kind;
    union {
        struct destination_def destination;
        struct queue_def queue;
        struct stock_def stock;
        struct campaign_def campaign;
    } u;
};

/* What differs between the kinds, by kind. */
struct definition_type {
    const char *noun;   /* "queue" */
    const char *plural; /* "queues": collection in paths and configuration */
    const char *schema; /* "Queue": name in OpenAPI */
    const struct field *fields;
    enum request_kind define, delete, get, list;
};
/* Of a struct retry_def, also what a message says instead of its queue. */
extern const struct field retry_fields[];
extern const struct definition_type definition_types[DEFINITION_KINDS];

MUST_CHECK int definition_init(struct definition *d, enum definition_kind kind);
void definition_release(struct definition *d);
const char *definition_name(const struct definition *d);

/*
 * Into an initialised one. `name` is what the path says; empty: the object must have one. E_INVALID:
 * r->errors has them all; E_NOMEM.
 */
MUST_CHECK int definition_read(struct definition *d, const json_t *object, struct span name,
                               struct field_reader *r);
/* The members, without braces. */
void definition_write(const struct definition *d, struct json_out *out);
/* From a GET or LIST answer of the engine. Into an uninitialised one. E_CORRUPT, E_NOMEM. */
MUST_CHECK int definition_decode(enum definition_kind kind, struct span encoded,
                                 struct definition *ret);
/* Makes the request one that defines `d` (which it borrows). */
void definition_request(const struct definition *d, struct request *r);

#endif
