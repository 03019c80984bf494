#include "http/sse.h"

#include "base/error.h"

static bool one_line(struct span s) {
    for (size_t i = 0; i < s.size; i++) {
        if (s.data[i] == '\r' || s.data[i] == '\n' || s.data[i] == '\0')
            return false;
    }
    return true;
}

static int append_line(struct buffer *out, const char *field, struct span value) {
    int rc = buffer_append_text(out, field);
    if (rc == 0)
        rc = buffer_append_span(out, value);
    return rc != 0 ? rc : buffer_append_text(out, "\n");
}

/* A line ends with LF, CR or CRLF. */
static struct span next_line(struct span *left) {
    size_t i = 0;
    while (i < left->size && left->data[i] != '\n' && left->data[i] != '\r')
        i++;
    struct span line = span_of(left->data, i);
    if (i < left->size) {
        bool pair = left->data[i] == '\r' && i + 1 < left->size && left->data[i + 1] == '\n';
        i += pair ? 2 : 1;
    }
    *left = span_of(left->data + i, left->size - i);
    return line;
}

static int append_event(struct buffer *out, struct span id, struct span event, struct span data) {
    int rc = 0;
    if (id.size > 0)
        rc = append_line(out, "id: ", id);
    if (rc == 0 && event.size > 0)
        rc = append_line(out, "event: ", event);
    bool ended =
        data.size > 0 && (data.data[data.size - 1] == '\n' || data.data[data.size - 1] == '\r');
    do {
        if (rc == 0)
            rc = append_line(out, "data: ", next_line(&data));
    } while (rc == 0 && data.size > 0);
    if (rc == 0 && ended) /* the empty line after the last line end is data too */
        rc = append_line(out, "data: ", data);
    return rc != 0 ? rc : buffer_append_text(out, "\n");
}

int sse_append(struct buffer *out, struct span id, struct span event, struct span data) {
    if (!one_line(id) || !one_line(event))
        return E_INVALID;
    size_t before = out->size;
    int rc = append_event(out, id, event, data);
    if (rc != 0)
        out->size = before;
    return rc;
}
