/*
 * base/amqp_table.h - AMQP field tables and arrays: read in place, written into a buffer.
 *
 * Shape:   a table is a span of its entries as they stand on the wire, without the length before them;
 *          what amqp_table_get returned has been checked whole, so walking it cannot fail.
 *
 *              entry   name (shortstr, not in arrays), type (one letter), value
 *
 *          letter  value                                letter  value
 *            t     bool, an octet                         d     double, 8 octets
 *            b B   int8, uint8                            D     decimal: octet of scale, uint32
 *            s u   int16, uint16                          S     longstr
 *            I i   int32, uint32                          x     byte array, as a longstr
 *            l L   int64, uint64                          T     timestamp, uint64, in seconds
 *            f     float, 4 octets                        F A   table, array: u32 size, entries
 *                                                         V     nothing
 *
 * Promise: nested at most AMQP_TABLE_DEPTH deep. A name may stand in a table twice: the first counts.
 * Errors:  of the writer: kept in `failed`, so that one look at the end is enough.
 */
#ifndef SLUICE_BASE_AMQP_TABLE_H
#define SLUICE_BASE_AMQP_TABLE_H

#include "base/buffer.h"
#include "base/reader.h"

#define AMQP_TABLE_DEPTH 32u

struct amqp_field {
    struct span name; /* empty in arrays */
    char type;        /* the letter */
    union {
        bool boolean;      /* t */
        int64_t integer;   /* b s I l, and B u i */
        uint64_t natural;  /* L T */
        double real;       /* f d */
        struct span bytes; /* S x; F A: their entries */
        struct {
            uint8_t scale;
            uint32_t value;
        } decimal;
    } as;
    struct span encoded; /* type and value as they stand, to copy or compare */
};

/* A table with the length before it. The reader fails unless it is well formed all the way down. */
struct span amqp_table_get(struct reader *r);
/* Are these well-formed entries? */
bool amqp_table_valid(struct span entries);
bool amqp_array_valid(struct span entries);

/* The next entry and the rest; false at the end. `entries` must be valid. */
bool amqp_table_next(struct span *entries, struct amqp_field *ret);
bool amqp_array_next(struct span *entries, struct amqp_field *ret);
bool amqp_table_find(struct span entries, const char *name, struct amqp_field *ret);

/* Any of b B s u I i l L T as a number; false: none, or beyond int64. */
bool amqp_field_integer(const struct amqp_field *f, int64_t *ret);
/* The text of an S; false for other types. */
bool amqp_field_text(const struct amqp_field *f, struct span *ret);
/* Same number or same text, whatever the width it was sent with; tables and arrays entry by entry. */
bool amqp_field_equal(const struct amqp_field *a, const struct amqp_field *b);
/* Same names with equal values, in any order. */
bool amqp_table_equal(struct span a, struct span b);

/*
 *      struct amqp_table_out t;
 *      amqp_table_begin(&t, out);                      the length, to be filled in
 *      amqp_put_text(&t, "product", span_text("x"));
 *      size_t inner = amqp_put_open(&t, "capabilities", 'F');
 *      amqp_put_bool(&t, "basic.nack", true);
 *      amqp_put_close(&t, inner);
 *      rc = amqp_table_end(&t);                        E_NOMEM, E_LIMIT: `out` is as it was
 *
 * In an array the name is NULL.
 */
struct amqp_table_out {
    struct buffer *out; /* borrows */
    size_t begun;
    int failed;
};
void amqp_table_begin(struct amqp_table_out *t, struct buffer *out);
MUST_CHECK int amqp_table_end(struct amqp_table_out *t);
void amqp_put_bool(struct amqp_table_out *t, const char *name, bool v);
void amqp_put_i32(struct amqp_table_out *t, const char *name, int32_t v);
void amqp_put_i64(struct amqp_table_out *t, const char *name, int64_t v);
void amqp_put_time(struct amqp_table_out *t, const char *name, uint64_t seconds);
void amqp_put_f64(struct amqp_table_out *t, const char *name, double v);
void amqp_put_void(struct amqp_table_out *t, const char *name);
void amqp_put_text(struct amqp_table_out *t, const char *name, struct span v);
/* Type 'F' or 'A'. */
size_t amqp_put_open(struct amqp_table_out *t, const char *name, char type);
void amqp_put_close(struct amqp_table_out *t, size_t opened);
/* The same without its name: into an array. */
void amqp_put_value(struct amqp_table_out *t, const struct amqp_field *f);
/* A field of another table as it stands, name included. */
void amqp_put_field(struct amqp_table_out *t, const struct amqp_field *f);

#endif
