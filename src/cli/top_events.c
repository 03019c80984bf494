#include "cli/top_events.h"

#include <stdio.h>

void top_events_init(struct top_events *e,
                     void (*event)(void *context, const char *name, struct span data),
                     void *context) {
    *e = (struct top_events){.event = event, .context = context};
    buffer_init(&e->line, TOP_EVENT_MAX);
    buffer_init(&e->data, TOP_EVENT_MAX);
}

void top_events_release(struct top_events *e) {
    buffer_release(&e->line);
    buffer_release(&e->data);
}

static void event_clear(struct top_events *e) {
    buffer_clear(&e->data);
    e->name[0] = '\0';
    e->overflow = false;
}

void top_events_clear(struct top_events *e) {
    buffer_clear(&e->line);
    event_clear(e);
}

static void event_end(struct top_events *e) {
    if (e->data.size > 0 && !e->overflow)
        e->event(e->context, e->name[0] == '\0' ? "message" : e->name, buffer_span(&e->data));
    event_clear(e);
}

/* "field: value": the value without one leading space, if the field is this one. */
static bool field_is(struct span line, const char *field, struct span *ret_value) {
    size_t size = strlen(field);
    if (line.size <= size || memcmp(line.data, field, size) != 0 || line.data[size] != ':')
        return false;
    size_t skip = size + 1 < line.size && line.data[size + 1] == ' ' ? size + 2 : size + 1;
    *ret_value = span_of(line.data + skip, line.size - skip);
    return true;
}

static void line_end(struct top_events *e) {
    struct span line = buffer_span(&e->line), value;
    if (line.size > 0 && line.data[line.size - 1] == '\r')
        line.size--;
    if (line.size == 0) {
        event_end(e);
    } else if (field_is(line, "event", &value)) {
        snprintf(e->name, sizeof(e->name), "%.*s", SPAN_ARG(value));
    } else if (field_is(line, "data", &value)) {
        if ((e->data.size > 0 && buffer_put_u8(&e->data, '\n') != 0) ||
            buffer_append_span(&e->data, value) != 0)
            e->overflow = true;
    }
    buffer_clear(&e->line);
}

void top_events_feed(struct top_events *e, struct span bytes) {
    while (bytes.size > 0) {
        const uint8_t *end = memchr(bytes.data, '\n', bytes.size);
        size_t size = end == NULL ? bytes.size : (size_t)(end - bytes.data);
        if (buffer_append(&e->line, bytes.data, size) != 0)
            e->overflow = true;
        if (end == NULL)
            return;
        line_end(e);
        bytes = span_of(end + 1, bytes.size - size - 1);
    }
}
