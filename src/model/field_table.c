#include "model/field_table.h"

#include <stdlib.h>

#include "base/error.h"
#include "model/definition.h"

#define BURST_AS_ASKED 3u /* since this version of the tables of queues and destinations */

/* All lists look like this. */
struct any_list {
    void *items;
    uint32_t count;
};

static inline void *field_at(void *def, const struct field *f) {
    return (char *)def + f->offset;
}

static void list_release(const struct field_table *t, struct any_list *list) {
    for (uint32_t i = 0; i < list->count; i++) {
        field_table_release(t, (char *)list->items + i * t->item_bytes);
    }
    free(list->items);
    *list = (struct any_list){0};
}

void field_table_release(const struct field_table *t, void *def) {
    for (unsigned i = 0; i < t->count; i++) {
        const struct field *f = &t->fields[i];
        if (f->type == FIELD_TEXT) {
            char **text = field_at(def, f);
            def_free_text(*text);
            *text = NULL;
        } else if (f->type == FIELD_BYTES) {
            struct def_bytes *bytes = field_at(def, f);
            free(bytes->data);
            *bytes = (struct def_bytes){.size = 0};
        } else if (f->type == FIELD_LIST) {
            list_release(f->items, field_at(def, f));
        }
    }
}

int field_table_init(const struct field_table *t, void *def) {
    int rc = 0;
    for (unsigned i = 0; i < t->count && rc == 0; i++) {
        if (t->fields[i].type == FIELD_TEXT) {
            rc = def_share_text(field_at(def, &t->fields[i]), span_text(t->fields[i].text));
        }
    }
    if (rc != 0) {
        field_table_release(t, def);
    }
    return rc;
}

static int field_encode(const struct field *f, const void *def, struct buffer *out);

static int fields_encode(const struct field_table *t, const void *def, struct buffer *out) {
    int rc = 0;
    for (unsigned i = 0; i < t->count && rc == 0; i++) {
        rc = field_encode(&t->fields[i], def, out);
    }
    return rc;
}

static int list_encode(const struct field_table *t, const struct any_list *list,
                       struct buffer *out) {
    int rc = buffer_put_u32(out, list->count);
    for (uint32_t i = 0; i < list->count && rc == 0; i++) {
        rc = fields_encode(t, (const char *)list->items + i * t->item_bytes, out);
    }
    return rc;
}

static int field_encode(const struct field *f, const void *def, struct buffer *out) {
    const char *at = (const char *)def + f->offset;
    switch (f->type) {
    case FIELD_TEXT:
        return buffer_put_bytes(out, span_text(*(char *const *)(const void *)at));
    case FIELD_BYTES: {
        const struct def_bytes *bytes = (const void *)at;
        return buffer_put_bytes(out, span_of(bytes->data, bytes->size));
    }
    case FIELD_BOOL:
        return buffer_put_u8(out, *(const bool *)at);
    case FIELD_U8:
        return buffer_put_u8(out, *(const uint8_t *)at);
    case FIELD_ENUM:
    case FIELD_BURST:
    case FIELD_U32:
        return buffer_put_u32(out, *(const uint32_t *)(const void *)at);
    case FIELD_U64:
        return buffer_put_u64(out, *(const uint64_t *)(const void *)at);
    case FIELD_LIST:
        return list_encode(f->items, (const void *)at, out);
    }
    return E_INVALID;
}

int field_table_encode(const struct field_table *t, const void *def, struct buffer *out) {
    size_t before = out->size;
    int rc = buffer_put_u16(out, t->version);
    rc = rc != 0 ? rc : fields_encode(t, def, out);
    if (rc != 0) {
        out->size = before;
    }
    return rc;
}

static int field_decode_text(struct reader *r, char **text) {
    struct span value = reader_bytes(r);
    if (r->failed || (value.size > 0 && memchr(value.data, '\0', value.size) != NULL)) {
        return E_CORRUPT;
    }
    return def_share_text(text, value);
}

static int field_decode(const struct field *f, struct reader *r, uint16_t version, void *def);

static int fields_decode(const struct field_table *t, struct reader *r, uint16_t version,
                         void *def) {
    int rc = 0;
    for (unsigned i = 0; i < t->count && rc == 0; i++) {
        if (t->fields[i].since <= version) {
            rc = field_decode(&t->fields[i], r, version, def);
        }
    }
    return rc;
}

/* Counted one by one, so that whoever releases it after a failure finds what is there. */
static int list_decode(const struct field *f, struct reader *r, uint16_t version,
                       struct any_list *list) {
    uint32_t count = reader_u32(r);
    if (r->failed || count > f->max) {
        return E_CORRUPT;
    }
    list_release(f->items, list);
    if (count == 0) {
        return 0;
    }
    list->items = calloc(count, f->items->item_bytes);
    int rc = list->items == NULL ? E_NOMEM : 0;
    while (rc == 0 && list->count < count) {
        void *item = (char *)list->items + list->count * f->items->item_bytes;
        rc = f->items->init(item);
        if (rc == 0) {
            list->count++;
            rc = fields_decode(f->items, r, version, item);
        }
    }
    return rc;
}

static int field_decode(const struct field *f, struct reader *r, uint16_t version, void *def) {
    void *at = field_at(def, f);
    uint64_t value = 0, max = UINT64_MAX;
    switch (f->type) {
    case FIELD_TEXT:
        return field_decode_text(r, at);
    case FIELD_BYTES: {
        struct span bytes = reader_bytes(r);
        return r->failed ? E_CORRUPT : def_set_bytes(at, bytes);
    }
    case FIELD_LIST:
        return list_decode(f, r, version, at);
    case FIELD_BOOL:
        value = reader_u8(r);
        max = 1;
        *(bool *)at = value == 1;
        break;
    case FIELD_U8:
        *(uint8_t *)at = reader_u8(r);
        break;
    case FIELD_ENUM:
        max = f->max;
        value = reader_u32(r);
        *(uint32_t *)at = (uint32_t)value;
        break;
    case FIELD_U32:
        *(uint32_t *)at = reader_u32(r);
        break;
    case FIELD_BURST:
        *(uint32_t *)at = reader_u32(r);
        if (version < BURST_AS_ASKED) {
            pace_forget_chosen(CONTAINER_OF(at, struct pace_def, burst));
        }
        break;
    case FIELD_U64:
        *(uint64_t *)at = reader_u64(r);
        break;
    }
    return r->failed || value > max ? E_CORRUPT : 0;
}

int field_table_decode(const struct field_table *t, struct reader *r, void *def) {
    uint16_t version = reader_u16(r);
    int rc = r->failed || version == 0 ? E_CORRUPT : version > t->version ? E_VERSION : 0;
    rc = rc != 0 ? rc : fields_decode(t, r, version, def);
    if (rc != 0) {
        field_table_release(t, def);
    }
    return rc;
}
