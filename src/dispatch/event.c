#include "dispatch/event.h"

#include <jansson.h>
#include <sodium.h>
#include <string.h>

#include "base/error.h"

/* An attribute in a header: what is not printable ASCII, and '"' and '%', as %XX. */
static void put_header(struct header_list *l, const char *name, struct span value) {
    static const char hex[] = "0123456789ABCDEF";
    struct buffer text;
    buffer_init(&text, 4096);
    int rc = 0;
    for (size_t i = 0; i < value.size && rc == 0; i++) {
        uint8_t c = value.data[i];
        const uint8_t encoded[3] = {'%', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
        bool plain = c > ' ' && c < 0x7f && c != '"' && c != '%';
        rc = plain ? buffer_put_u8(&text, c) : buffer_append(&text, encoded, 3);
    }
    if (rc == 0) {
        header_list_add(l, name, buffer_span(&text));
    } else {
        l->failed = l->failed != 0 ? l->failed : rc;
    }
    buffer_release(&text);
}

void event_headers(const struct event *e, struct header_list *l) {
    header_list_add_text(l, "ce-specversion", "1.0");
    put_header(l, "ce-id", e->id);
    put_header(l, "ce-source", e->source);
    put_header(l, "ce-type", e->type);
    if (e->subject.size > 0) {
        put_header(l, "ce-subject", e->subject);
    }
    header_list_add_text(l, "ce-time", e->time);
}

static bool says_json(struct span type) {
    const uint8_t *end = memchr(type.data, ';', type.size);
    size_t size = end != NULL ? (size_t)(end - type.data) : type.size;
    return (size == 16 && strncasecmp((const char *)type.data, "application/json", 16) == 0) ||
           (size > 5 && strncasecmp((const char *)type.data + size - 5, "+json", 5) == 0);
}

static bool is_json(struct span body) {
    json_t *value = json_loadb((const char *)body.data, body.size,
                               JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    bool good = value != NULL;
    json_decref(value);
    return good;
}

/* ,"name":"value" with what JSON wants escaped. */
static int put_member(struct buffer *out, const char *name, struct span value) {
    json_t *text = json_stringn_nocheck((const char *)value.data, value.size);
    char *quoted = text != NULL ? json_dumps(text, JSON_ENCODE_ANY) : NULL;
    int rc = quoted == NULL ? E_NOMEM : buffer_printf(out, ",\"%s\":%s", name, quoted);
    free(quoted);
    json_decref(text);
    return rc;
}

static int put_base64(struct buffer *out, struct span body) {
    size_t size = sodium_base64_ENCODED_LEN(body.size, sodium_base64_VARIANT_ORIGINAL);
    int rc = buffer_append_text(out, ",\"data_base64\":\"");
    rc = rc != 0 ? rc : buffer_reserve(out, size);
    if (rc != 0) {
        return rc;
    }
    sodium_bin2base64((char *)out->data + out->size, size, body.data, body.size,
                      sodium_base64_VARIANT_ORIGINAL);
    out->size += size - 1;
    return buffer_put_u8(out, '"');
}

int event_body(const struct event *e, struct span body, struct buffer *out) {
    int rc = buffer_append_text(out, "{\"specversion\":\"1.0\"");
    rc = rc != 0 ? rc : put_member(out, "id", e->id);
    rc = rc != 0 ? rc : put_member(out, "source", e->source);
    rc = rc != 0 ? rc : put_member(out, "type", e->type);
    rc = rc != 0 ? rc : put_member(out, "time", span_text(e->time));
    if (e->subject.size > 0) {
        rc = rc != 0 ? rc : put_member(out, "subject", e->subject);
    }
    if (e->content_type.size > 0) {
        rc = rc != 0 ? rc : put_member(out, "datacontenttype", e->content_type);
    }
    if (rc == 0 && body.size > 0 && (e->content_type.size == 0 || says_json(e->content_type)) &&
        is_json(body)) {
        rc = buffer_append_text(out, ",\"data\":");
        rc = rc != 0 ? rc : buffer_append_span(out, body);
    } else if (rc == 0 && body.size > 0) {
        rc = put_base64(out, body);
    }
    return rc != 0 ? rc : buffer_put_u8(out, '}');
}
