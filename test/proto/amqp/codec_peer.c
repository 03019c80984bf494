/*
 * Reads frames as a client made them, prints what they say, and makes them anew: for test_codec.py, which compares
 * with a public client's codec.
 *
 *      in    u32 size, that many bytes: one frame
 *      out   a line of JSON: {"error": n} or
 *            {"channel": n, "fields": {...}, "again": "hex of the frame as we write it", "tables": ["hex", ...]}
 *
 * Texts are hex, tables [[name, letter, value], ...]. `tables` are those of the frame, built anew field by field by our writer.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "amqp/codec.h"
#include "base/amqp_table.h"
#include "base/wire.h"

#define FRAME_BYTES_MAX (1u << 20)

static struct buffer rebuilt; /* tables as hex, comma before each but the first */
static bool comma;

static void print_hex(struct span s) {
    putchar('"');
    for (size_t i = 0; i < s.size; i++) {
        printf("%02x", s.data[i]);
    }
    putchar('"');
}

static void put_key(const char *name) {
    printf("%s\"%s\":", comma ? "," : "", name);
    comma = true;
}

static void put_bool(const char *name, bool v) {
    put_key(name);
    printf("%s", v ? "true" : "false");
}

static void put_number(const char *name, uint64_t v) {
    put_key(name);
    printf("%" PRIu64, v);
}

static void put_bytes(const char *name, struct span v) {
    put_key(name);
    print_hex(v);
}

static void print_entries(struct span entries, bool named);

static void print_value(const struct amqp_field *f) {
    switch (f->type) {
    case 't':
        printf("%s", f->as.boolean ? "true" : "false");
        break;
    case 'L':
    case 'T':
        printf("%" PRIu64, f->as.natural);
        break;
    case 'f':
    case 'd':
        printf("%.17g", f->as.real);
        break;
    case 'D':
        printf("[%u,%u]", f->as.decimal.scale, f->as.decimal.value);
        break;
    case 'S':
    case 'x':
        print_hex(f->as.bytes);
        break;
    case 'F':
    case 'A':
        print_entries(f->as.bytes, f->type == 'F');
        break;
    case 'V':
        printf("null");
        break;
    default:
        printf("%" PRId64, f->as.integer);
    }
}

static void print_entries(struct span entries, bool named) {
    struct amqp_field f;
    const char *between = "";
    putchar('[');
    while (named ? amqp_table_next(&entries, &f) : amqp_array_next(&entries, &f)) {
        printf("%s[", between);
        print_hex(f.name);
        printf(",\"%c\",", f.type);
        print_value(&f);
        putchar(']');
        between = ",";
    }
    putchar(']');
}

/* ---- building anew ---- */

static void rebuild_entries(struct amqp_table_out *t, struct span entries, bool named) {
    struct amqp_field f;
    while (named ? amqp_table_next(&entries, &f) : amqp_array_next(&entries, &f)) {
        char text[256];
        if (f.name.size > 0)
            memcpy(text, f.name.data, f.name.size);
        text[f.name.size] = '\0';
        const char *name = named ? text : NULL;
        if (f.type == 't') {
            amqp_put_bool(t, name, f.as.boolean);
        } else if (f.type == 'I') {
            amqp_put_i32(t, name, (int32_t)f.as.integer);
        } else if (f.type == 'l') {
            amqp_put_i64(t, name, f.as.integer);
        } else if (f.type == 'T') {
            amqp_put_time(t, name, f.as.natural);
        } else if (f.type == 'd') {
            amqp_put_f64(t, name, f.as.real);
        } else if (f.type == 'V') {
            amqp_put_void(t, name);
        } else if (f.type == 'S') {
            amqp_put_text(t, name, f.as.bytes);
        } else if (f.type == 'F' || f.type == 'A') {
            size_t inner = amqp_put_open(t, name, f.type);
            rebuild_entries(t, f.as.bytes, f.type == 'F');
            amqp_put_close(t, inner);
        } else if (named) {
            amqp_put_field(t, &f);
        } else {
            t->failed |= buffer_append_span(t->out, f.encoded);
        }
    }
}

static void put_table(const char *name, struct span entries) {
    put_key(name);
    print_entries(entries, true);
    struct buffer bytes;
    struct amqp_table_out t;
    buffer_init(&bytes, FRAME_BYTES_MAX);
    amqp_table_begin(&t, &bytes);
    rebuild_entries(&t, entries, true);
    int error = amqp_table_end(&t);
    assert(error == 0);
    error = buffer_printf(&rebuilt, "%s\"", rebuilt.size > 0 ? "," : "");
    for (size_t i = 0; i < bytes.size && error == 0; i++) {
        error = buffer_printf(&rebuilt, "%02x", bytes.data[i]);
    }
    error = error != 0 ? error : buffer_append_text(&rebuilt, "\"");
    assert(error == 0);
    buffer_release(&bytes);
}

#include "codec_dump.h"

/* ---- one frame ---- */

static int say_method(const struct amqp_frame *frame, struct buffer *again) {
    struct amqp_method m;
    int error = amqp_method_read(frame->payload, &m);
    if (error != 0) {
        return error;
    }
    printf("{\"method\":\"%s\",\"fields\":{", amqp_method_text(m.id));
    dump_method(&m);
    return amqp_method_write(again, frame->channel, &m);
}

static int say_header(const struct amqp_frame *frame, struct buffer *again) {
    struct amqp_content_header h;
    int error = amqp_content_header_read(frame->payload, &h);
    if (error != 0) {
        return error;
    }
    printf("{\"size\":%" PRIu64 ",\"fields\":{", h.body_size);
    dump_properties(&h.properties);
    struct buffer properties;
    buffer_init(&properties, FRAME_BYTES_MAX);
    error = amqp_properties_write(&properties, &h.properties);
    error = error != 0 ? error
                       : amqp_content_header_write(again, frame->channel, h.body_size,
                                                   buffer_span(&properties));
    buffer_release(&properties);
    return error;
}

/* A body is cut anew, into frames of the least size that may be agreed on. */
static int say_body(const struct amqp_frame *frame, struct buffer *again) {
    printf("{\"fields\":{");
    put_bytes("body", frame->payload);
    return amqp_body_write(again, frame->channel, frame->payload, AMQP_FRAME_MIN);
}

static int say_heartbeat(struct buffer *again) {
    printf("{\"fields\":{");
    return amqp_heartbeat_write(again);
}

static void say(struct span bytes) {
    struct amqp_frame frame;
    struct buffer again;
    buffer_init(&again, 2 * FRAME_BYTES_MAX);
    buffer_clear(&rebuilt);
    comma = false;
    int64_t size = amqp_frame_read(bytes, FRAME_BYTES_MAX, &frame);
    if (size != (int64_t)bytes.size) {
        printf("{\"error\":%" PRId64 "}\n", size);
        return;
    }
    int error = frame.type == AMQP_FRAME_METHOD    ? say_method(&frame, &again)
                : frame.type == AMQP_FRAME_HEADER_ ? say_header(&frame, &again)
                : frame.type == AMQP_FRAME_BODY    ? say_body(&frame, &again)
                                                   : say_heartbeat(&again);
    if (error == 0) {
        printf("},\"channel\":%u,\"tables\":[%.*s],\"again\":", frame.channel,
               SPAN_ARG(buffer_span(&rebuilt)));
        print_hex(buffer_span(&again));
        printf("}\n");
    } else {
        printf("{\"error\":%d}\n", error);
    }
    buffer_release(&again);
}

int main(void) {
    static uint8_t bytes[FRAME_BYTES_MAX];
    uint8_t head[4];
    buffer_init(&rebuilt, 2 * FRAME_BYTES_MAX);
    while (fread(head, 1, sizeof head, stdin) == sizeof head) {
        uint32_t size = wire_load_u32(head);
        if (size > sizeof bytes || fread(bytes, 1, size, stdin) != size) {
            return 2;
        }
        uint8_t *exact = malloc(size); /* so that a sanitizer sees a byte too far */
        assert(exact != NULL);
        memcpy(exact, bytes, size);
        say(span_of(exact, size));
        free(exact);
    }
    buffer_release(&rebuilt);
    return 0;
}
