/*
 * model/field_table.h - structs as tables of fields: one walk each for init, release, encode and decode. Internal to
 * definition.c, which has the tables.
 *
 * An encoded definition is
 *
 *   offset  size  what
 *        0     2  version of the table that wrote it
 *        2     .  the fields in table order: text as u32 length + bytes, bool as u8, enum as u32,
 *                 list as u32 count + the fields of each item
 *
 * A field of a later version goes to the end of its table with `since` set to that version; decode of
 * an older encoding stops before it and the default stays. Fields are never moved or removed.
 *
 * Shape:  the struct is the caller's; texts, bytes and lists in it are owned by it.
 * Errors: E_NOMEM; of decode E_CORRUPT, and E_VERSION for a table of a newer program.
 */
#ifndef SLUICE_MODEL_FIELD_TABLE_H
#define SLUICE_MODEL_FIELD_TABLE_H

#include <stddef.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/reader.h"

enum field_type {
    FIELD_TEXT,
    FIELD_BYTES,
    FIELD_BOOL,
    FIELD_U8,
    FIELD_U32,
    FIELD_U64,
    FIELD_BURST, /* of a struct pace_def, behind mode and count */
    FIELD_ENUM,
    FIELD_LIST
};

struct field_table;

struct field {
    enum field_type type;
    uint16_t since; /* version of the table in which it came */
    size_t offset;
    const char *text;                /* default of a text; the numbers are set in *_def_init */
    uint32_t max;                    /* of an enum; items of a list */
    const struct field_table *items; /* of a list */
};

struct field_table {
    uint16_t version;
    uint16_t count;
    const struct field *fields;
    size_t item_bytes;       /* of the items of a list, ... */
    int (*init)(void *item); /* ... and what makes one */
};

/* Texts get their defaults; all else is as the caller has set it. Nothing is left on failure. */
MUST_CHECK int field_table_init(const struct field_table *t, void *def);
void field_table_release(const struct field_table *t, void *def);
/* Appends; nothing on failure. */
MUST_CHECK int field_table_encode(const struct field_table *t, const void *def, struct buffer *out);
/* Over one with its defaults; released on failure. */
MUST_CHECK int field_table_decode(const struct field_table *t, struct reader *r, void *def);

#endif
