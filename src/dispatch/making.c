#include "dispatch/making.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/event.h"
#include "dispatch/sign.h"
#include "model/destination.h"
#include "model/template.h"

static bool has_places(const char *text) {
    return template_has_places(text) && template_problem(text) == NULL;
}

/* Basic and bearer never change: they go with the destination's own headers. */
static void add_authorization(struct target *t) {
    const struct making_def *m = &t->def.making;
    char text[8400];
    if (m->bearer[0] != '\0') {
        snprintf(text, sizeof text, "Bearer %s", m->bearer);
    } else if (m->user[0] != '\0') {
        char plain[sizeof text / 2];
        int size = snprintf(plain, sizeof plain, "%s:%s", m->user, m->password);
        if (size < 0 || (size_t)size > 6000) {
            t->headers.failed = E_LIMIT;
            return;
        }
        memcpy(text, "Basic ", 6);
        sodium_bin2base64(text + 6, sizeof text - 6, (const uint8_t *)plain, (size_t)size,
                          sodium_base64_VARIANT_ORIGINAL);
        sodium_memzero(plain, sizeof plain);
    } else {
        return;
    }
    header_list_add_text(&t->headers, "Authorization", text);
    sodium_memzero(text, sizeof text);
}

void making_look(struct target *t) {
    t->url_has_places = has_places(t->def.url);
    for (uint32_t i = 0; i < t->def.endpoints.count; i++) {
        t->url_has_places |= has_places(t->def.endpoints.items[i].url);
    }
    t->method_has_places = has_places(t->def.method);
    t->headers_have_places = has_places(t->def.headers);
    if (!t->headers_have_places) {
        header_list_add_lines(&t->headers, span_text(t->def.headers), NULL);
    }
    add_authorization(t);
}

/* ---- what the places stand for ---- */

/* One step of a JSON pointer; `token` has its escapes still. */
static const json_t *step(const json_t *value, const char *token, size_t size) {
    char key[256];
    size_t n = 0;
    for (size_t i = 0; i < size && n < sizeof key - 1; i++, n++) {
        bool escape = token[i] == '~' && i + 1 < size;
        key[n] = !escape ? token[i] : token[++i] == '1' ? '/' : '~';
    }
    key[n] = '\0';
    if (json_is_array(value)) {
        char *end;
        unsigned long index = strtoul(key, &end, 10);
        return key[0] >= '0' && key[0] <= '9' && *end == '\0' ? json_array_get(value, index) : NULL;
    }
    return json_object_get(value, key);
}

static int text_of_value(struct call *c, const json_t *value, struct span *ret) {
    if (json_is_string(value)) {
        *ret = span_of(json_string_value(value), json_string_length(value));
    } else if (json_is_integer(value)) {
        snprintf(c->place_text, sizeof c->place_text, "%" JSON_INTEGER_FORMAT,
                 json_integer_value(value));
        *ret = span_text(c->place_text);
    } else if (json_is_real(value)) {
        snprintf(c->place_text, sizeof c->place_text, "%.17g", json_real_value(value));
        *ret = span_text(c->place_text);
    } else if (json_is_boolean(value)) {
        *ret = span_text(json_is_true(value) ? "true" : "false");
    } else {
        return E_NOT_FOUND;
    }
    return 0;
}

const json_t *making_at_pointer(const json_t *value, struct span pointer) {
    const char *at = (const char *)pointer.data, *end = at + pointer.size;
    while (value != NULL && at < end) {
        const char *next = memchr(at + 1, '/', (size_t)(end - at - 1));
        next = next != NULL ? next : end;
        value = step(value, at + 1, (size_t)(next - at - 1));
        at = next;
    }
    return value;
}

/* The body is read once an attempt, and only when a place asks for it. */
static int body_value(struct call *c, struct span pointer, struct span *ret) {
    struct span body = c->stored.envelope.body;
    if (c->json == NULL) {
        c->json =
            json_loadb((const char *)body.data, body.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    }
    const json_t *value = making_at_pointer(c->json, pointer);
    return value == NULL ? E_NOT_FOUND : text_of_value(c, value, ret);
}

static int lookup(void *context, struct span place, struct span *ret) {
    struct call *c = context;
    const struct envelope *e = &c->stored.envelope;
    if (span_is(place, "receipt")) {
        receipt_format(c->start.message, c->place_text);
        *ret = span_text(c->place_text);
    } else if (span_is(place, "idempotencyKey")) {
        *ret = span_text(c->key);
    } else if (span_is(place, "queue")) {
        *ret = span_text(c->start.queue);
    } else if (span_is(place, "attempt")) {
        snprintf(c->place_text, sizeof c->place_text, "%" PRIu32, c->start.attempt);
        *ret = span_text(c->place_text);
    } else if (span_is(place, "orderingKey")) {
        *ret = e->ordering_key;
    } else if (span_is(place, "correlationId")) {
        *ret = e->correlation_id;
    } else if (span_is(place, "contentType")) {
        *ret = e->content_type;
    } else if (place.size > 7 && memcmp(place.data, "header.", 7) == 0) {
        *ret = header_line_find(e->headers, span_of(place.data + 7, place.size - 7));
        return ret->data != NULL ? 0 : E_NOT_FOUND; /* an empty one is there */
    } else {
        return body_value(c, span_of(place.data + 5, place.size - 5), ret);
    }
    return ret->size > 0 ? 0 : E_NOT_FOUND;
}

/* ---- filling ---- */

/* Into c->line, with a NUL behind. */
static int fill(struct call *c, const char *text, enum template_for target) {
    struct span place = span_of(NULL, 0);
    buffer_clear(&c->line);
    int rc = template_expand(text, target, lookup, c, &c->line, &place);
    rc = rc != 0 ? rc : buffer_put_u8(&c->line, 0);
    if (rc == E_NOT_FOUND || rc == E_INVALID) {
        int size = snprintf((char *)c->excerpt, sizeof c->excerpt, "the message has no %s{%.*s}",
                            rc == E_INVALID ? "usable " : "", SPAN_ARG(place));
        c->excerpt_bytes = (size_t)size < sizeof c->excerpt ? (size_t)size : sizeof c->excerpt - 1;
    }
    return rc;
}

static enum attempt_error error_of(int rc) {
    return rc == 0 ? ATTEMPT_OK : rc == E_NOMEM ? ATTEMPT_UNKNOWN : ATTEMPT_NOT_MADE;
}

static int set_url(struct call *c, const char *url) {
    c->url = url;
    if (!c->target->url_has_places) {
        return 0;
    }
    int rc = fill(c, url, TEMPLATE_URL);
    if (rc == 0 && curl_easy_setopt(c->easy, CURLOPT_URL, (const char *)c->line.data) != CURLE_OK) {
        rc = E_NOMEM;
    }
    return rc;
}

static bool is_method(const char *m) {
    static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "GET"};
    for (size_t i = 0; i < ARRAY_LENGTH(methods); i++) {
        if (strcmp(m, methods[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int set_method(struct call *c) {
    if (!c->target->method_has_places) {
        return 0;
    }
    int rc = fill(c, c->target->def.method, TEMPLATE_WORD);
    if (rc == 0 && !is_method((const char *)c->line.data)) {
        c->excerpt_bytes = (size_t)snprintf((char *)c->excerpt, sizeof c->excerpt,
                                            "the message's method is none that can be sent");
        return E_INVALID;
    }
    snprintf(c->method, sizeof c->method, "%s", rc == 0 ? (const char *)c->line.data : "");
    if (rc == 0 && call_set_method(c->easy, c->method) != CURLE_OK) {
        rc = E_NOMEM;
    }
    return rc;
}

/* The destination's header lines, filled; before the message's own, which may not replace them. */
static int add_target_headers(struct call *c) {
    if (!c->target->headers_have_places) {
        return 0;
    }
    int rc = fill(c, c->target->def.headers, TEMPLATE_LINE);
    if (rc == 0) {
        c->line.size--; /* the NUL */
        header_list_add_lines(&c->headers, buffer_span(&c->line), NULL);
    }
    return rc;
}

/* An event's attribute that may be a template; borrowed from `out`. */
static int attribute(struct call *c, const char *text, struct buffer *out, struct span *ret) {
    int rc = fill(c, text, TEMPLATE_LINE);
    rc = rc != 0 ? rc : buffer_append(out, c->line.data, c->line.size - 1);
    *ret = buffer_span(out);
    return rc;
}

static int add_event(struct call *c) {
    const struct making_def *m = &c->target->def.making;
    struct event e = {.content_type = c->stored.envelope.content_type,
                      .subject = c->stored.envelope.ordering_key};
    struct buffer type, source;
    buffer_init(&type, 4096);
    buffer_init(&source, 4096);
    call_time(c->stored.accepted_ns, e.time);
    e.id = span_text(c->key);
    int rc = attribute(c, m->event_type, &type, &e.type);
    const char *from = m->event_source[0] != '\0' ? m->event_source : "/queues/{queue}";
    rc = rc != 0 ? rc : attribute(c, from, &source, &e.source);
    if (rc == 0 && m->format == FORMAT_EVENT_BINARY) {
        event_headers(&e, &c->headers);
    } else if (rc == 0) {
        buffer_clear(&c->made);
        rc = event_body(&e, c->body, &c->made);
        c->body = buffer_span(&c->made);
    }
    buffer_release(&type);
    buffer_release(&source);
    return rc;
}

/* Of the endpoint that was chosen; NULL: it is gone. */
static const char *url_of(const struct call *c) {
    const struct endpoint_list *list = &c->target->def.endpoints;
    if (c->start.endpoint == 0 && c->target->def.url[0] != '\0') {
        return c->target->def.url;
    }
    for (uint32_t i = 0; i < list->count; i++) {
        if (endpoint_id(span_text(endpoint_def_name(&list->items[i]))) == c->start.endpoint) {
            return list->items[i].url;
        }
    }
    return NULL;
}

enum attempt_error making_make(struct call *c) {
    const struct making_def *m = &c->target->def.making;
    const char *url = url_of(c);
    if (url == NULL) {
        return ATTEMPT_UNKNOWN; /* defined away since it was chosen: another is, next time */
    }
    c->body = c->batch != NULL ? buffer_span(&c->made) : c->stored.envelope.body;
    header_list_clear(&c->headers);
    call_own_headers(c, m->format == FORMAT_EVENT_STRUCTURED);
    int rc = set_url(c, url);
    rc = rc != 0 ? rc : set_method(c);
    rc = rc != 0 ? rc : add_target_headers(c);
    if (rc == 0 && m->format != FORMAT_AS_RECEIVED) {
        rc = add_event(c);
    }
    if (rc != 0) {
        return error_of(rc);
    }
    if (m->token_url[0] != '\0') {
        header_list_add_text(&c->headers, "Authorization", c->target->token.value);
    }
    sign_request(&c->headers, m->signing_keys, c->key, clock_real_ns() / NS_PER_SECOND, c->body);
    if (c->batch == NULL) {
        call_message_headers(c);
    }
    return c->headers.failed == 0 ? ATTEMPT_OK : ATTEMPT_PROTOCOL;
}
