#include "model/template.h"

#include <string.h>

#include "base/error.h"

#define PLACE_MAX_BYTES 256u

static const char *const plain_places[] = {"receipt",     "idempotencyKey", "queue",      "attempt",
                                           "orderingKey", "correlationId",  "contentType"};

static bool starts_with(struct span s, const char *prefix) {
    size_t size = strlen(prefix);
    return s.size >= size && memcmp(s.data, prefix, size) == 0;
}

static bool is_name_byte(uint8_t c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

static bool is_header_place(struct span place) {
    if (!starts_with(place, "header.") || place.size == 7) {
        return false;
    }
    for (size_t i = 7; i < place.size; i++) {
        if (!is_name_byte(place.data[i])) {
            return false;
        }
    }
    return true;
}

static bool is_place(struct span place) {
    for (size_t i = 0; i < ARRAY_LENGTH(plain_places); i++) {
        if (span_is(place, plain_places[i])) {
            return true;
        }
    }
    return is_header_place(place) || (starts_with(place, "body:/") && place.size > 6);
}

/*
 * The next stretch of a text: plain bytes, or a place. Moves *text behind it. False: the end, or
 * something that is neither; then *ret_problem is set.
 */
struct stretch {
    struct span bytes;
    bool place;
};

static bool next_stretch(const char **text, struct stretch *ret, const char **ret_problem) {
    const char *at = *text;
    size_t plain = strcspn(at, "{}");
    if (*at == '\0') {
        return false;
    }
    if (plain > 0) {
        *ret = (struct stretch){span_of(at, plain), false};
        *text = at + plain;
        return true;
    }
    if (at[1] == at[0]) {
        *ret = (struct stretch){span_of(at, 1), false};
        *text = at + 2;
        return true;
    }
    size_t size = *at == '{' ? strcspn(at + 1, "{}") : 0;
    if (*at == '}' || at[1 + size] != '}' || size > PLACE_MAX_BYTES) {
        *ret_problem =
            "has a brace that nothing belongs to: write {{ or }} for the character itself";
        return false;
    }
    *ret = (struct stretch){span_of(at + 1, size), true};
    *text = at + 2 + size;
    return true;
}

const char *template_problem(const char *text) {
    const char *problem = NULL;
    struct stretch s;
    while (next_stretch(&text, &s, &problem)) {
        if (s.place && !is_place(s.bytes)) {
            return "has a place that is not known: expected {receipt}, {idempotencyKey}, {queue}, "
                   "{attempt}, {orderingKey}, {correlationId}, {contentType}, {header.NAME} or "
                   "{body:/pointer}";
        }
    }
    return problem;
}

bool template_has_places(const char *text) {
    return strpbrk(text, "{}") != NULL;
}

bool template_url_host_is_fixed(const char *url) {
    const char *host = strstr(url, "://");
    size_t size = host != NULL ? (size_t)(host + 3 - url) + strcspn(host + 3, "/?#") : strlen(url);
    return memchr(url, '{', size) == NULL && memchr(url, '}', size) == NULL;
}

/* ---- values ---- */

static int put_encoded(struct buffer *out, struct span value) {
    static const char hex[] = "0123456789ABCDEF";
    if (span_is(value, ".") || span_is(value, "..")) {
        return E_INVALID; /* a step to another path, encoded or not */
    }
    int rc = 0;
    for (size_t i = 0; i < value.size && rc == 0; i++) {
        uint8_t c = value.data[i];
        const uint8_t encoded[3] = {'%', (uint8_t)hex[c >> 4], (uint8_t)hex[c & 15]};
        bool plain = is_name_byte(c) || c == '.' || c == '~';
        rc = plain ? buffer_put_u8(out, c) : buffer_append(out, encoded, 3);
    }
    return rc;
}

static int put_line(struct buffer *out, struct span value) {
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < ' ' || value.data[i] == 0x7f) {
            return E_INVALID;
        }
    }
    return buffer_append_span(out, value);
}

static int put_word(struct buffer *out, struct span value) {
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < 'A' || value.data[i] > 'Z') {
            return E_INVALID;
        }
    }
    return value.size > 0 ? buffer_append_span(out, value) : E_INVALID;
}

int template_expand(const char *text, enum template_for target, template_lookup *lookup,
                    void *context, struct buffer *out, struct span *ret_place) {
    static int (*const put[])(struct buffer *, struct span) = {
        [TEMPLATE_URL] = put_encoded, [TEMPLATE_LINE] = put_line, [TEMPLATE_WORD] = put_word};
    const char *problem = NULL;
    struct stretch s;
    int rc = 0;
    while (rc == 0 && next_stretch(&text, &s, &problem)) {
        struct span value;
        if (!s.place) {
            rc = buffer_append_span(out, s.bytes);
            continue;
        }
        *ret_place = s.bytes;
        rc = lookup(context, s.bytes, &value);
        rc = rc != 0 ? rc : put[target](out, value);
    }
    return rc == 0 && problem != NULL ? E_INVALID : rc;
}
