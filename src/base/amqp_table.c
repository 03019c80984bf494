#include "base/amqp_table.h"

#include "base/error.h"
#include "base/wire.h"

/* ---- reading ---- */

/* In place of a depth: what is nested was checked with the whole, and is stepped over. */
#define CHECKED UINT32_MAX

static bool read_entries(struct reader *r, bool named, uint32_t depth);

/* The bytes of a nested table or array, checked. */
static struct span read_nested(struct reader *r, bool named, uint32_t depth) {
    struct span entries = wire_get_longstr(r);
    if (depth == CHECKED)
        return entries;
    struct reader inner;
    reader_init(&inner, entries);
    if (depth == 0 || !read_entries(&inner, named, depth - 1))
        r->failed = true;
    return entries;
}

static int64_t read_integer(struct reader *r, char type) {
    switch (type) {
    case 'b':
        return (int8_t)wire_get_u8(r);
    case 'B':
        return wire_get_u8(r);
    case 's':
        return (int16_t)wire_get_u16(r);
    case 'u':
        return wire_get_u16(r);
    case 'I':
        return (int32_t)wire_get_u32(r);
    case 'i':
        return wire_get_u32(r);
    default:
        return (int64_t)wire_get_u64(r);
    }
}

static double read_real(struct reader *r, char type) {
    if (type == 'f') {
        uint32_t bits = wire_get_u32(r);
        float v;
        memcpy(&v, &bits, sizeof v);
        return (double)v;
    }
    uint64_t bits = wire_get_u64(r);
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static void read_value(struct reader *r, uint32_t depth, struct amqp_field *f) {
    switch (f->type) {
    case 't':
        f->as.boolean = wire_get_u8(r) != 0;
        break;
    case 'b':
    case 'B':
    case 's':
    case 'u':
    case 'I':
    case 'i':
    case 'l':
        f->as.integer = read_integer(r, f->type);
        break;
    case 'L':
    case 'T':
        f->as.natural = wire_get_u64(r);
        break;
    case 'f':
    case 'd':
        f->as.real = read_real(r, f->type);
        break;
    case 'D':
        f->as.decimal.scale = wire_get_u8(r);
        f->as.decimal.value = wire_get_u32(r);
        break;
    case 'S':
    case 'x':
        f->as.bytes = wire_get_longstr(r);
        break;
    case 'F':
    case 'A':
        f->as.bytes = read_nested(r, f->type == 'F', depth);
        break;
    case 'V':
        break;
    default:
        r->failed = true;
    }
}

static bool read_entry(struct reader *r, bool named, uint32_t depth, struct amqp_field *ret) {
    *ret = (struct amqp_field){0};
    if (named)
        ret->name = wire_get_shortstr(r);
    const uint8_t *start = r->next;
    ret->type = (char)wire_get_u8(r);
    if (!r->failed)
        read_value(r, depth, ret);
    if (r->failed)
        return false;
    ret->encoded = span_of(start, (size_t)(r->next - start));
    return true;
}

static bool read_entries(struct reader *r, bool named, uint32_t depth) {
    struct amqp_field f;
    while (!r->failed && r->left > 0)
        read_entry(r, named, depth, &f);
    return !r->failed;
}

static bool valid(struct span entries, bool named) {
    struct reader r;
    reader_init(&r, entries);
    return read_entries(&r, named, AMQP_TABLE_DEPTH - 1);
}

bool amqp_table_valid(struct span entries) {
    return valid(entries, true);
}

bool amqp_array_valid(struct span entries) {
    return valid(entries, false);
}

struct span amqp_table_get(struct reader *r) {
    struct span entries = wire_get_longstr(r);
    if (r->failed || amqp_table_valid(entries))
        return entries;
    r->failed = true;
    return span_of(NULL, 0);
}

static bool next(struct span *entries, bool named, struct amqp_field *ret) {
    struct reader r;
    reader_init(&r, *entries);
    if (r.left == 0 || !read_entry(&r, named, CHECKED, ret))
        return false;
    *entries = span_of(r.next, r.left);
    return true;
}

bool amqp_table_next(struct span *entries, struct amqp_field *ret) {
    return next(entries, true, ret);
}

bool amqp_array_next(struct span *entries, struct amqp_field *ret) {
    return next(entries, false, ret);
}

static bool find(struct span entries, struct span name, struct amqp_field *ret) {
    while (amqp_table_next(&entries, ret)) {
        if (span_equal(ret->name, name))
            return true;
    }
    return false;
}

bool amqp_table_find(struct span entries, const char *name, struct amqp_field *ret) {
    return find(entries, span_text(name), ret);
}

/* ---- comparing ---- */

bool amqp_field_integer(const struct amqp_field *f, int64_t *ret) {
    if (strchr("bBsuIil", f->type) != NULL) {
        *ret = f->as.integer;
        return true;
    }
    if ((f->type == 'L' || f->type == 'T') && f->as.natural <= INT64_MAX) {
        *ret = (int64_t)f->as.natural;
        return true;
    }
    return false;
}

bool amqp_field_text(const struct amqp_field *f, struct span *ret) {
    if (f->type == 'S')
        *ret = f->as.bytes;
    return f->type == 'S';
}

static bool array_equal(struct span a, struct span b) {
    struct amqp_field x, y;
    while (amqp_array_next(&a, &x)) {
        if (!amqp_array_next(&b, &y) || !amqp_field_equal(&x, &y))
            return false;
    }
    return b.size == 0;
}

bool amqp_field_equal(const struct amqp_field *a, const struct amqp_field *b) {
    int64_t x, y;
    if (amqp_field_integer(a, &x) && amqp_field_integer(b, &y))
        return x == y && (a->type == 'T') == (b->type == 'T');
    bool real_a = a->type == 'f' || a->type == 'd', real_b = b->type == 'f' || b->type == 'd';
    if (real_a && real_b)
        return a->as.real == b->as.real;
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case 't':
        return a->as.boolean == b->as.boolean;
    case 'F':
        return amqp_table_equal(a->as.bytes, b->as.bytes);
    case 'A':
        return array_equal(a->as.bytes, b->as.bytes);
    default:
        return span_equal(a->encoded, b->encoded);
    }
}

static bool contains(struct span all, struct span some) {
    struct amqp_field x, y;
    while (amqp_table_next(&some, &x)) {
        if (!find(all, x.name, &y) || !amqp_field_equal(&x, &y))
            return false;
    }
    return true;
}

bool amqp_table_equal(struct span a, struct span b) {
    return contains(a, b) && contains(b, a);
}

/* ---- writing ---- */

static void put_bytes(struct amqp_table_out *t, const void *data, size_t size) {
    if (t->failed == 0)
        t->failed = buffer_append(t->out, data, size);
}

/* Room for the length of what follows. */
static size_t put_length(struct amqp_table_out *t) {
    size_t at = t->out->size;
    put_bytes(t, (const uint8_t[4]){0}, 4);
    return at;
}

static void fill_length(struct amqp_table_out *t, size_t at) {
    if (t->failed == 0)
        wire_put_u32(t->out->data + at, (uint32_t)(t->out->size - at - 4));
}

void amqp_table_begin(struct amqp_table_out *t, struct buffer *out) {
    *t = (struct amqp_table_out){.out = out, .begun = out->size};
    put_length(t);
}

int amqp_table_end(struct amqp_table_out *t) {
    fill_length(t, t->begun);
    if (t->failed != 0)
        t->out->size = t->begun;
    return t->failed;
}

static void put_name(struct amqp_table_out *t, const char *name, char type) {
    if (name != NULL) {
        size_t size = strlen(name);
        if (size > UINT8_MAX && t->failed == 0)
            t->failed = E_INVALID;
        put_bytes(t, &(uint8_t){(uint8_t)size}, 1);
        put_bytes(t, name, size);
    }
    put_bytes(t, &type, 1);
}

void amqp_put_bool(struct amqp_table_out *t, const char *name, bool v) {
    put_name(t, name, 't');
    put_bytes(t, &(uint8_t){v}, 1);
}

static void put_u32(struct amqp_table_out *t, uint32_t v) {
    uint8_t bytes[4];
    wire_put_u32(bytes, v);
    put_bytes(t, bytes, sizeof bytes);
}

static void put_u64(struct amqp_table_out *t, uint64_t v) {
    uint8_t bytes[8];
    wire_put_u64(bytes, v);
    put_bytes(t, bytes, sizeof bytes);
}

void amqp_put_i32(struct amqp_table_out *t, const char *name, int32_t v) {
    put_name(t, name, 'I');
    put_u32(t, (uint32_t)v);
}

void amqp_put_i64(struct amqp_table_out *t, const char *name, int64_t v) {
    put_name(t, name, 'l');
    put_u64(t, (uint64_t)v);
}

void amqp_put_time(struct amqp_table_out *t, const char *name, uint64_t seconds) {
    put_name(t, name, 'T');
    put_u64(t, seconds);
}

void amqp_put_f64(struct amqp_table_out *t, const char *name, double v) {
    uint64_t bits;
    _Static_assert(sizeof bits == sizeof v, "IEEE 754");
    memcpy(&bits, &v, sizeof bits);
    put_name(t, name, 'd');
    put_u64(t, bits);
}

void amqp_put_void(struct amqp_table_out *t, const char *name) {
    put_name(t, name, 'V');
}

void amqp_put_text(struct amqp_table_out *t, const char *name, struct span v) {
    if (v.size > UINT32_MAX && t->failed == 0)
        t->failed = E_INVALID;
    put_name(t, name, 'S');
    put_u32(t, (uint32_t)v.size);
    put_bytes(t, v.data, v.size);
}

size_t amqp_put_open(struct amqp_table_out *t, const char *name, char type) {
    put_name(t, name, type);
    return put_length(t);
}

void amqp_put_close(struct amqp_table_out *t, size_t opened) {
    fill_length(t, opened);
}

void amqp_put_value(struct amqp_table_out *t, const struct amqp_field *f) {
    put_bytes(t, f->encoded.data, f->encoded.size);
}

void amqp_put_field(struct amqp_table_out *t, const struct amqp_field *f) {
    put_bytes(t, &(uint8_t){(uint8_t)f->name.size}, 1);
    put_bytes(t, f->name.data, f->name.size);
    put_bytes(t, f->encoded.data, f->encoded.size);
}
