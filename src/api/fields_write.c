#include "api/fields.h"
#include "base/units.h"
#include "base/clock.h"
#include "model/definition.h"

static uint64_t load_integer(const void *at, size_t size) {
    switch (size) {
    case 1:
        return *(const uint8_t *)at;
    case 2:
        return *(const uint16_t *)at;
    case 4:
        return *(const uint32_t *)at;
    default:
        return *(const uint64_t *)at;
    }
}

static void write_rate(const struct pace_def *pace, struct json_out *out) {
    if (pace->period_ns == NS_PER_SECOND || pace->count == 0) {
        out_u64(out, pace->count);
    } else {
        out_double(out, (double)pace->count * 1e9 / (double)pace->period_ns);
    }
}

static void write_durations(const struct backoff_list *l, struct json_out *out) {
    out_open(out, '[');
    for (uint32_t i = 0; i < l->count; i++) {
        out_duration(out, l->ms[i] * NS_PER_MS);
    }
    out_close(out, ']');
}

static void write_words(const struct field *f, uint32_t bits, struct json_out *out) {
    out_open(out, '[');
    for (int i = 0; f->words[i] != NULL; i++) {
        if (bits == 0 || (bits >> i & 1)) {
            out_text(out, f->words[i]);
        }
    }
    out_close(out, ']');
}

/* Names only: the values may be secrets. */
static void write_lines(const char *lines, struct json_out *out) {
    out_open(out, '{');
    for (const char *line = lines; *line != '\0';) {
        size_t size = strcspn(line, "\n");
        out_key_span(out, span_of(line, strcspn(line, ":\n")));
        out_null(out);
        line += size + (line[size] == '\n' ? 1 : 0);
    }
    out_close(out, '}');
}

static void write_list(const struct field *f, const struct field_list *list, struct json_out *out) {
    out_open(out, '[');
    for (uint32_t i = 0; i < list->count; i++) {
        out_open(out, '{');
        fields_write(f->members, (const char *)list->items + i * f->item_bytes, out);
        out_close(out, '}');
    }
    out_close(out, ']');
}

static void write_value(const struct field *f, const void *at, struct json_out *out) {
    switch (f->type) {
    case FIELD_TEXT:
        if (f->secret && **(char *const *)at != '\0') {
            out_null(out);
        } else {
            out_text(out, *(char *const *)at);
        }
        return;
    case FIELD_BOOL:
        out_bool(out, *(const bool *)at);
        return;
    case FIELD_INTEGER:
        out_u64(out, load_integer(at, f->size));
        return;
    case FIELD_DURATION:
        out_duration(out, *(const uint64_t *)at);
        return;
    case FIELD_TIME:
        out_time(out, *(const uint64_t *)at);
        return;
    case FIELD_RATE:
        write_rate(at, out);
        return;
    case FIELD_WORD:
        out_text(out, f->words[*(const int *)at]);
        return;
    case FIELD_DURATIONS:
        write_durations(at, out);
        return;
    case FIELD_WORDS:
        write_words(f, *(const uint32_t *)at, out);
        return;
    case FIELD_LINES:
        write_lines(*(char *const *)at, out);
        return;
    case FIELD_OBJECT:
        out_open(out, '{');
        fields_write(f->members, at, out);
        out_close(out, '}');
        return;
    case FIELD_LIST:
        write_list(f, at, out);
        return;
    case FIELD_NONE:
        return;
    }
}

/* The form that is in use. */
static const struct field *form_of(const struct field *f, const void *from) {
    if (f->or_list == NULL) {
        return f;
    }
    const struct field_list *list = (const void *)((const char *)from + f->or_list->offset);
    return list->count > 0 ? f->or_list : f;
}

void fields_write(const struct field *table, const void *from, struct json_out *out) {
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        const struct field *form = form_of(f, from);
        const void *at = (const char *)from + form->offset;
        if (f->only_read || (f->type == FIELD_TIME && *(const uint64_t *)at == 0)) {
            continue; /* said by others, or no such time */
        }
        out_key(out, f->name);
        write_value(form, at, out);
    }
}

/* ---- schema ---- */

static void schema_pair(struct json_out *out, const char *key, const char *text) {
    out_key(out, key);
    out_text(out, text);
}

static void schema_words(const char *const *words, struct json_out *out) {
    schema_pair(out, "type", "string");
    out_key(out, "enum");
    out_open(out, '[');
    for (; *words != NULL; words++) {
        out_text(out, *words);
    }
    out_close(out, ']');
}

static void schema_type(const struct field *f, struct json_out *out) {
    switch (f->type) {
    case FIELD_TEXT:
        if (f->secret) {
            out_key(out, "type");
            out_raw(out, span_text("[\"string\",\"null\"]"));
            return;
        }
        schema_pair(out, "type", "string");
        return;
    case FIELD_BOOL:
        schema_pair(out, "type", "boolean");
        return;
    case FIELD_INTEGER:
        schema_pair(out, "type", "integer");
        out_key(out, "minimum");
        out_u64(out, f->min);
        out_key(out, "maximum");
        out_u64(out, f->max);
        return;
    case FIELD_DURATION:
        schema_pair(out, "type", "string");
        schema_pair(out, "pattern", "^[0-9]+([.][0-9]{1,9})?(s|ms|m|h|d)$");
        return;
    case FIELD_TIME:
        schema_pair(out, "type", "string");
        schema_pair(out, "format", "date-time");
        return;
    case FIELD_RATE:
        schema_pair(out, "type", "number");
        out_key(out, "minimum");
        out_u64(out, 0);
        out_key(out, "maximum");
        out_u64(out, PACE_COUNT_MAX);
        return;
    case FIELD_WORD:
        schema_words(f->words, out);
        return;
    case FIELD_DURATIONS:
    case FIELD_WORDS:
        schema_pair(out, "type", "array");
        out_key(out, "items");
        out_raw(out, span_text("{\"type\":\"string\"}"));
        return;
    case FIELD_LINES:
        schema_pair(out, "type", "object");
        out_key(out, "additionalProperties");
        out_raw(out, span_text("{\"type\":[\"string\",\"null\"]}"));
        return;
    case FIELD_LIST:
        schema_pair(out, "type", "array");
        out_key(out, "maxItems");
        out_u64(out, f->max);
        out_key(out, "items");
        fields_schema(f->members, out);
        return;
    case FIELD_OBJECT:
    case FIELD_NONE:
        return;
    }
}

/* Either form. */
static void schema_either(const struct field *f, struct json_out *out) {
    out_open(out, '{');
    out_key(out, "oneOf");
    out_open(out, '[');
    fields_schema(f->members, out);
    out_open(out, '{');
    schema_type(f->or_list, out);
    out_close(out, '}');
    out_close(out, ']');
    out_close(out, '}');
}

static void schema_required(const struct field *table, struct json_out *out) {
    out_key(out, "required");
    out_open(out, '[');
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        if (f->required) {
            out_text(out, f->name);
        }
    }
    out_close(out, ']');
}

void fields_schema(const struct field *table, struct json_out *out) {
    out_open(out, '{');
    schema_pair(out, "type", "object");
    out_key(out, "properties");
    out_open(out, '{');
    for (const struct field *f = table; f->type != FIELD_NONE; f++) {
        out_key(out, f->name);
        if (f->or_list != NULL) {
            schema_either(f, out);
            continue;
        }
        if (f->type == FIELD_OBJECT) {
            fields_schema(f->members, out);
            continue;
        }
        out_open(out, '{');
        schema_type(f, out);
        if (f->about != NULL) {
            schema_pair(out, "description", f->about);
        }
        out_close(out, '}');
    }
    out_close(out, '}');
    schema_required(table, out);
    out_close(out, '}');
}
