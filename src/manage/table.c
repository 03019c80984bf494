/*
 * Tables of AMQP as JSON and back. What JSON has no type for is shown by the nearest; a table that came as
 * JSON has l for whole numbers, d for others, S, t, F, A and V, as RabbitMQ makes it.
 */
#include <math.h>
#include <sodium.h>
#include <stdlib.h>

#include "base/error.h"
#include "manage/calls.h"

#define TABLE_MAX_BYTES ((size_t)1 << 20)

static json_t *array_to_json(struct span entries);

static json_t *base64_to_json(struct span bytes) {
    size_t size = sodium_base64_encoded_len(bytes.size, sodium_base64_VARIANT_ORIGINAL);
    char *text = malloc(size);
    if (text == NULL)
        return NULL;
    sodium_bin2base64(text, size, bytes.data, bytes.size, sodium_base64_VARIANT_ORIGINAL);
    json_t *value = json_string(text);
    free(text);
    return value;
}

json_t *text_to_json(struct span text) {
    const char *data = text.size > 0 ? (const char *)text.data : "";
    json_t *value = json_stringn(data, text.size);
    return value != NULL ? value : base64_to_json(text);
}

static json_t *real_to_json(double v) {
    return isfinite(v) ? json_real(v) : json_null();
}

static json_t *field_to_json(const struct amqp_field *f) {
    int64_t n;
    switch (f->type) {
    case 't':
        return json_boolean(f->as.boolean);
    case 'd':
    case 'f':
        return real_to_json(f->as.real);
    case 'D':
        return real_to_json(f->as.decimal.value / pow(10, f->as.decimal.scale));
    case 'S':
    case 'x':
        return text_to_json(f->as.bytes);
    case 'F':
        return table_to_json(f->as.bytes);
    case 'A':
        return array_to_json(f->as.bytes);
    default:
        return amqp_field_integer(f, &n) ? json_integer(n) : json_null();
    }
}

static json_t *array_to_json(struct span entries) {
    json_t *array = json_array();
    struct amqp_field f;
    while (array != NULL && amqp_array_next(&entries, &f))
        json_array_append_new(array, field_to_json(&f));
    return array;
}

json_t *table_to_json(struct span entries) {
    json_t *object = json_object();
    struct amqp_field f;
    while (object != NULL && amqp_table_next(&entries, &f)) {
        char name[256];
        memcpy(name, f.name.data, f.name.size);
        name[f.name.size] = '\0';
        if (json_object_get(object, name) == NULL)
            json_object_set_new(object, name, field_to_json(&f)); /* no UTF-8: left out */
    }
    return object;
}

/* ---- from JSON ---- */

static void put_object(struct amqp_table_out *t, const json_t *object, unsigned depth);

static void put_value(struct amqp_table_out *t, const char *name, const json_t *v, unsigned depth) {
    size_t opened, i;
    const json_t *item;
    if (depth >= AMQP_TABLE_DEPTH || (name != NULL && strlen(name) > UINT8_MAX)) {
        t->failed = t->failed != 0 ? t->failed : E_INVALID;
        return;
    }
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        opened = amqp_put_open(t, name, 'F');
        put_object(t, v, depth + 1);
        amqp_put_close(t, opened);
        break;
    case JSON_ARRAY:
        opened = amqp_put_open(t, name, 'A');
        json_array_foreach(v, i, item) put_value(t, NULL, item, depth + 1);
        amqp_put_close(t, opened);
        break;
    case JSON_STRING:
        amqp_put_text(t, name, span_of(json_string_value(v), json_string_length(v)));
        break;
    case JSON_INTEGER:
        amqp_put_i64(t, name, json_integer_value(v));
        break;
    case JSON_REAL:
        amqp_put_f64(t, name, json_real_value(v));
        break;
    case JSON_NULL:
        amqp_put_void(t, name);
        break;
    default:
        amqp_put_bool(t, name, json_is_true(v));
    }
}

static void put_object(struct amqp_table_out *t, const json_t *object, unsigned depth) {
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, name, value) put_value(t, name, value, depth);
}

int table_from_json(const json_t *object, struct buffer *out, struct span *ret_entries) {
    struct amqp_table_out t;
    buffer_clear(out);
    *ret_entries = span_of(NULL, 0);
    /* RabbitMQ itself writes [] for an empty table. */
    if (object == NULL || json_is_null(object) ||
        (json_is_array(object) && json_array_size(object) == 0))
        return 0;
    if (!json_is_object(object))
        return E_INVALID;
    amqp_table_begin(&t, out);
    put_object(&t, object, 0);
    int error = amqp_table_end(&t);
    if (error != 0)
        return error;
    *ret_entries = span_of(out->data + 4, out->size - 4);
    return amqp_table_valid(*ret_entries) && ret_entries->size <= TABLE_MAX_BYTES ? 0 : E_INVALID;
}
