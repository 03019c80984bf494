#include "dispatch/header_list.h"

#include <stdlib.h>
#include <strings.h>

#include "base/error.h"

#define TEXT_MAX_BYTES (128u << 10)
#define FIRST_CAPACITY 16u

/* Of the connection, or made by dispatch: nobody else may set them. */
static const char *const reserved_names[] = {
    "Connection",
    "Content-Length",
    "Content-Type",
    "Expect",
    "Host",
    "Idempotency-Key",
    "Keep-Alive",
    "Proxy-Connection",
    "Sluice-Attempt",
    "Sluice-Message",
    "Sluice-Queue",
    "Sluice-Scheduled-For",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "traceparent",
    "tracestate",
};

static bool is_token(struct span s) {
    for (size_t i = 0; i < s.size; i++) {
        uint8_t c = s.data[i];
        bool common =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-';
        if (!common && (c == 0 || strchr("!#$%&'*+.^_`|~", c) == NULL)) {
            return false;
        }
    }
    return s.size > 0;
}

static bool is_value(struct span s) {
    for (size_t i = 0; i < s.size; i++) {
        if ((s.data[i] < ' ' && s.data[i] != '\t') || s.data[i] == 0x7f) {
            return false;
        }
    }
    return true;
}

static bool is_space(uint8_t c) {
    return c == ' ' || c == '\t';
}

static struct span trim(struct span s) {
    while (s.size > 0 && is_space(s.data[0])) {
        s = span_of(s.data + 1, s.size - 1);
    }
    while (s.size > 0 && (is_space(s.data[s.size - 1]) || s.data[s.size - 1] == '\r')) {
        s.size--;
    }
    return s;
}

static bool same_name(struct span a, const char *b, size_t size) {
    return a.size == size && strncasecmp((const char *)a.data, b, size) == 0;
}

void header_list_init(struct header_list *l) {
    *l = (struct header_list){.lines = NULL};
    buffer_init(&l->text, TEXT_MAX_BYTES);
}

void header_list_release(struct header_list *l) {
    buffer_release(&l->text);
    free(l->lines);
    l->lines = NULL;
    l->count = l->capacity = 0;
}

void header_list_clear(struct header_list *l) {
    buffer_clear(&l->text);
    l->count = 0;
    l->failed = 0;
}

static int reserve_line(struct header_list *l, size_t size) {
    if (l->count == l->capacity) {
        uint32_t capacity = l->capacity == 0 ? FIRST_CAPACITY : l->capacity * 2;
        struct header_line *lines = realloc(l->lines, capacity * sizeof *lines);
        if (lines == NULL) {
            return E_NOMEM;
        }
        l->lines = lines;
        l->capacity = capacity;
    }
    return buffer_reserve(&l->text, size + 1);
}

static void put(struct header_list *l, struct span s) {
    if (s.size > 0) {
        memcpy(l->text.data + l->text.size, s.data, s.size);
        l->text.size += s.size;
    }
}

/* curl's notation: "Name: value"; "Name;" for an empty value; "Name:" for none at all. */
static int add_line(struct header_list *l, struct span name, const char *separator,
                    struct span value) {
    struct span between = span_text(separator);
    size_t size = name.size + between.size + value.size;
    int rc = reserve_line(l, size);
    if (rc == 0) {
        put(l, name);
        put(l, between);
        put(l, value);
        l->text.data[l->text.size++] = 0;
        struct header_line *line = &l->lines[l->count++];
        line->size = (uint32_t)size;
        line->name_size = (uint32_t)name.size;
    }
    return rc;
}

static void add(struct header_list *l, struct span name, struct span value) {
    if (l->failed != 0 || !is_token(name) || !is_value(value)) {
        return;
    }
    l->failed = add_line(l, name, value.size > 0 ? ": " : ";", value);
}

void header_list_add(struct header_list *l, const char *name, struct span value) {
    add(l, span_text(name), trim(value));
}

void header_list_add_text(struct header_list *l, const char *name, const char *value) {
    header_list_add(l, name, span_text(value));
}

void header_list_suppress(struct header_list *l, const char *name) {
    if (l->failed == 0) {
        l->failed = add_line(l, span_text(name), ":", span_of(NULL, 0));
    }
}

/* Among the first `count` lines. */
static bool has_among(const struct header_list *l, uint32_t count, struct span name) {
    const char *line = (const char *)l->text.data;
    for (uint32_t i = 0; i < count; i++) {
        if (same_name(name, line, l->lines[i].name_size)) {
            return true;
        }
        line += l->lines[i].size + 1;
    }
    return false;
}

bool header_list_has(const struct header_list *l, struct span name) {
    return has_among(l, l->count, name);
}

static bool is_reserved(struct span name) {
    for (size_t i = 0; i < ARRAY_LENGTH(reserved_names); i++) {
        if (same_name(name, reserved_names[i], strlen(reserved_names[i]))) {
            return true;
        }
    }
    return false;
}

void header_list_add_lines(struct header_list *l, struct span lines,
                           const struct header_list *reserved) {
    uint32_t before = l->count;
    while (lines.size > 0) {
        const uint8_t *end = memchr(lines.data, '\n', lines.size);
        size_t size = end != NULL ? (size_t)(end - lines.data) : lines.size;
        const uint8_t *colon = memchr(lines.data, ':', size);
        if (colon != NULL) {
            struct span name = span_of(lines.data, (size_t)(colon - lines.data));
            struct span value = span_of(colon + 1, size - name.size - 1);
            if (!is_reserved(name) && !has_among(l, before, name) &&
                (reserved == NULL || !header_list_has(reserved, name))) {
                add(l, name, trim(value));
            }
        }
        size_t used = size + (end != NULL);
        lines = span_of(lines.data + used, lines.size - used);
    }
}

static struct curl_slist *link_nodes(struct header_list *l, struct curl_slist *after) {
    char *line = (char *)l->text.data;
    for (uint32_t i = 0; i < l->count; i++) {
        l->lines[i].node.data = line;
        l->lines[i].node.next = i + 1 < l->count ? &l->lines[i + 1].node : after;
        line += l->lines[i].size + 1;
    }
    return l->count > 0 ? &l->lines->node : after;
}

struct curl_slist *header_list_curl(struct header_list *l, struct header_list *more) {
    return link_nodes(l, more->count > 0 ? link_nodes(more, NULL) : NULL);
}

/* See add_line for the notation. */
int header_list_write(const struct header_list *l, struct buffer *out) {
    const char *line = (const char *)l->text.data;
    int rc = 0;
    for (uint32_t i = 0; i < l->count && rc == 0; i++) {
        size_t size = l->lines[i].size, name = l->lines[i].name_size;
        if (line[name] == ';') {
            rc = buffer_append(out, line, name);
            rc = rc != 0 ? rc : buffer_append(out, ":\r\n", 3);
        } else if (name + 1 < size) {
            rc = buffer_append(out, line, size);
            rc = rc != 0 ? rc : buffer_append(out, "\r\n", 2);
        }
        line += size + 1;
    }
    return rc;
}
