#include "http/gate.h"

void gate_init(struct gate *g) {
    *g = (struct gate){.state = GATE_METHOD};
}

void gate_init_trailer(struct gate *g) {
    *g = (struct gate){.state = GATE_FIELD};
}

static void refuse(struct gate *g, int status, const char *detail) {
    g->state = GATE_BAD;
    g->status = status;
    g->detail = detail;
}

static void go(struct gate *g, enum gate_state next) {
    g->state = next;
    g->part_bytes = 0;
}

static void take_version_byte(struct gate *g, uint8_t c) {
    static const char form[] = "HTTP/0.0";
    const uint32_t at = g->part_bytes++;
    if (at == sizeof form - 1 && c == '\r')
        go(g, GATE_LINE_LF);
    else if (at >= sizeof form - 1 || (form[at] == '0' ? c < '0' || c > '9' : c != form[at]))
        refuse(g, 400, "malformed protocol version");
}

static void take_line_byte(struct gate *g, uint8_t c) {
    switch (g->state) {
    case GATE_METHOD:
        if (c == ' ' && g->part_bytes > 0)
            go(g, GATE_TARGET);
        else if (gate_is_token(c))
            g->part_bytes++;
        else
            refuse(g, 400, "malformed method");
        break;
    case GATE_TARGET:
        if (c == ' ' && g->part_bytes > 0)
            go(g, GATE_VERSION);
        else if (c > 0x20 && c < 0x7f && c != '#')
            g->part_bytes++;
        else
            refuse(g, 400, "malformed request target");
        break;
    case GATE_VERSION:
        take_version_byte(g, c);
        break;
    default:
        if (c == '\n')
            go(g, GATE_FIELD);
        else
            refuse(g, 400, "carriage return without line feed");
    }
}

static void take_field_start(struct gate *g, const struct http_limits *limits, uint8_t c) {
    if (c == '\r') {
        go(g, GATE_END_LF);
    } else if (gate_is_token(c)) {
        go(g, GATE_NAME);
        if (++g->field_count > limits->header_count)
            refuse(g, 431, "too many header fields");
    } else if (c == ' ' || c == '\t') {
        refuse(g, 400, "folded header line");
    } else {
        refuse(g, 400, "malformed header field name");
    }
}

static void take_field_byte(struct gate *g, const struct http_limits *limits, uint8_t c) {
    switch (g->state) {
    case GATE_FIELD:
        take_field_start(g, limits, c);
        break;
    case GATE_NAME:
        if (c == ':')
            go(g, GATE_VALUE);
        else if (!gate_is_token(c))
            refuse(g, 400, "malformed header field name");
        break;
    case GATE_VALUE:
        if (c == '\r')
            go(g, GATE_FIELD_LF);
        else if (!gate_is_value(c))
            refuse(g, 400, "control character in header field value");
        break;
    default:
        if (c == '\n')
            go(g, g->state == GATE_FIELD_LF ? GATE_FIELD : GATE_DONE);
        else
            refuse(g, 400, "carriage return without line feed");
    }
}

/*
 * The two parts that make up nearly all of a head, taken as a run. Stops at the first byte that is
 * not plainly part of it, and leaves that to the switch.
 */
static size_t run_length(const struct gate *g, const uint8_t *at, size_t size) {
    size_t i = 0;
    if (g->state == GATE_VALUE) {
        while (i < size && at[i] >= 0x20 && at[i] != 0x7f)
            i++;
    } else if (g->state == GATE_NAME) {
        while (i < size && gate_is_token(at[i]))
            i++;
    }
    return i;
}

static size_t take_fields(struct gate *g, const struct http_limits *limits, const uint8_t *at,
                          size_t size) {
    size_t i = 0;
    while (i < size && g->state < GATE_DONE) {
        size_t room = limits->header_bytes - g->field_bytes;
        size_t left = size - i < room ? size - i : room;
        size_t run = run_length(g, at + i, left);
        i += run;
        g->field_bytes += (uint32_t)run;
        if (run == left) {
            if (i < size)
                refuse(g, 431, "header fields too large");
            continue;
        }
        take_field_byte(g, limits, at[i++]);
        g->field_bytes++;
    }
    return i;
}

size_t gate_take(struct gate *g, const struct http_limits *limits, struct span bytes) {
    size_t i = 0;
    while (i < bytes.size && g->state <= GATE_LINE_LF) {
        if (g->line_bytes == limits->request_line_bytes) {
            refuse(g, 414, "request line too long");
            return i;
        }
        take_line_byte(g, bytes.data[i++]);
        g->line_bytes++;
    }
    if (i == bytes.size || g->state == GATE_BAD)
        return i;
    return i + take_fields(g, limits, bytes.data + i, bytes.size - i);
}
