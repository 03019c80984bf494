/*
 * api/fields.h - tables that say which JSON members stand for which fields of a C struct.
 *
 *      static const struct field stock_fields[] = {
 *          {"total", FIELD_INTEGER, FIELD_AT(struct stock_def, total), .max = ..., .about = "..."},
 *          FIELD_END};
 *
 * Promise: one table gives the reader (JSON -> struct, with every error found, not only the first),
 *          the writer (struct -> JSON) and the schema (OpenAPI), so the three cannot differ.
 * Shape:   a table ends with FIELD_END. Texts of a struct are owned `char *` (def_set_text).
 * Errors:  collected in a `struct field_errors`; reading goes on after each.
 */
#ifndef SLUICE_API_FIELDS_H
#define SLUICE_API_FIELDS_H

#include <jansson.h>

#include "api/json_out.h"
#include "base/compiler.h"

enum field_type {
    FIELD_NONE, /* ends a table */
    FIELD_TEXT,
    FIELD_BOOL,
    FIELD_INTEGER,   /* u8, u16, u32 or u64 by the member's size */
    FIELD_DURATION,  /* "1.5s", u64 ns */
    FIELD_TIME,      /* RFC 3339, u64 ns; null or absent: 0 */
    FIELD_RATE,      /* starts a second, into a struct pace_def's count and period_ns */
    FIELD_WORD,      /* one of `words`, into an int-sized enum: its index */
    FIELD_LINES,     /* object of texts <-> "Name: value\n" lines; values are never written out */
    FIELD_OBJECT,    /* nested table `members`, into the struct at the offset */
    FIELD_DURATIONS, /* list of durations, into a struct backoff_list */
    FIELD_WORDS, /* list of some of `words`, into a u32: bit n for word n. No bits: all of them */
    FIELD_LIST,  /* of objects of `members`, into a struct field_list; at most `max` */
};

struct field {
    const char *name;
    enum field_type type;
    size_t offset;
    size_t size;
    uint64_t min, max;           /* of an integer, or ns of a duration */
    const char *const *words;    /* FIELD_WORD: NULL-terminated */
    const struct field *members; /* FIELD_OBJECT, FIELD_LIST */
    size_t item_bytes;           /* FIELD_LIST: of an item, and ... */
    int (*init)(void *item);     /* ... what makes one of zeroed memory; E_NOMEM */
    /* FIELD_OBJECT: where a list stands instead, it is read by this; that is written when it has items. */
    const struct field *or_list;
    bool only_read; /* another way to say what other members say: never written */
    /* FIELD_TEXT: more than its length. False: `expects` says what a good text is. */
    bool (*valid)(struct span text);
    const char *expects;
    bool required;
    bool secret;       /* what is found is not quoted in an error */
    const char *about; /* one sentence for the schema */
};
#define FIELD_AT(type, member) .offset = offsetof(type, member), .size = sizeof(((type *)0)->member)
#define FIELD_END                                                                                  \
    { NULL, FIELD_NONE }
#define FIELD_TEXT_MAX_BYTES 8192u

/* What every list of a definition looks like. */
struct field_list {
    void *items; /* owns */
    uint32_t count;
};

#define FIELD_ERRORS_MAX    64u
#define FIELD_POINTER_BYTES 192u
#define FIELD_DETAIL_BYTES  256u

struct field_error {
    char pointer[FIELD_POINTER_BYTES];
    char detail[FIELD_DETAIL_BYTES]; /* "expected ..., found ..." */
};

/* Plain, caller-owned; about 28 KB, so on the heap. */
struct field_errors {
    struct field_error list[FIELD_ERRORS_MAX];
    uint32_t count; /* may be above FIELD_ERRORS_MAX: the rest was not kept */
};

/* Where reading is, and with what. */
struct field_reader {
    struct field_errors *errors;       /* borrows */
    uint64_t now_ns;                   /* not 0: a time may be "+10s" from here */
    char pointer[FIELD_POINTER_BYTES]; /* of the object that is being read */
};

/* Adds "expected <expects>, found <what `found` is>". found NULL: nothing stands there. */
void field_expected(struct field_reader *r, const char *name, const char *expects,
                    const json_t *found);
/* The same about what may be a secret: says only what kind of value it is. */
void field_expected_secret(struct field_reader *r, const char *name, const char *expects,
                           const json_t *found);
void field_fault(struct field_reader *r, const char *name, const char *format, ...)
    PRINTF_LIKE(3, 4);
/* Steps into member `name` (or index) of the present object, and back out to `size`. */
size_t field_enter(struct field_reader *r, const char *name);
size_t field_enter_index(struct field_reader *r, size_t index);
void field_leave(struct field_reader *r, size_t size);

/*
 * Members that are absent leave `into` as it is (defaults). Unknown ones are errors that name the
 * nearest known one; `others` (NULL-terminated, may be NULL) are read by the caller.
 * E_INVALID: errors were added; E_NOMEM.
 */
MUST_CHECK int fields_read(const struct field *table, const json_t *object, void *into,
                           const char *const *others, struct field_reader *r);
/* The members, without braces. */
void fields_write(const struct field *table, const void *from, struct json_out *out);
/* A JSON schema object. */
void fields_schema(const struct field *table, struct json_out *out);

#endif
