#include "http/chunk.h"

#include "http/gate.h"

#define SIZE_DIGITS 8u

void chunk_init(struct chunk *c) {
    *c = (struct chunk){.state = CHUNK_SIZE};
}

static int hex_value(uint8_t c) {
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static enum chunk_state take_size_byte(struct chunk *c, uint8_t byte) {
    int value = hex_value(byte);
    if (value >= 0 && c->digits < SIZE_DIGITS) {
        c->left = c->left << 4 | (uint32_t)value;
        c->digits++;
        return CHUNK_SIZE;
    }
    if (c->digits == 0)
        return CHUNK_BAD;
    if (byte == '\r')
        return CHUNK_SIZE_LF;
    c->extension = EXTENSION_BEFORE_NAME;
    return byte == ';' ? CHUNK_EXTENSION : CHUNK_BAD;
}

static enum chunk_extension after_name(uint8_t byte, bool blank) {
    return blank         ? EXTENSION_AFTER_NAME
           : byte == '=' ? EXTENSION_BEFORE_VALUE
           : byte == ';' ? EXTENSION_BEFORE_NAME
                         : EXTENSION_BAD;
}

static enum chunk_extension after_value(uint8_t byte, bool blank) {
    return blank ? EXTENSION_AFTER_VALUE : byte == ';' ? EXTENSION_BEFORE_NAME : EXTENSION_BAD;
}

static enum chunk_extension next_extension(enum chunk_extension now, uint8_t byte) {
    const bool blank = byte == ' ' || byte == '\t', token = gate_is_token(byte);
    switch (now) {
    case EXTENSION_BEFORE_NAME:
        return blank ? now : token ? EXTENSION_NAME : EXTENSION_BAD;
    case EXTENSION_NAME:
        return token ? now : after_name(byte, blank);
    case EXTENSION_AFTER_NAME:
        return after_name(byte, blank);
    case EXTENSION_BEFORE_VALUE:
        return blank         ? now
               : token       ? EXTENSION_VALUE
               : byte == '"' ? EXTENSION_QUOTED
                             : EXTENSION_BAD;
    case EXTENSION_VALUE:
        return token ? now : after_value(byte, blank);
    case EXTENSION_QUOTED:
        return byte == '"' ? EXTENSION_AFTER_VALUE : byte == '\\' ? EXTENSION_ESCAPED : now;
    case EXTENSION_ESCAPED:
        return EXTENSION_QUOTED;
    case EXTENSION_AFTER_VALUE:
        return after_value(byte, blank);
    default:
        return EXTENSION_BAD;
    }
}

static bool may_end(enum chunk_extension e) {
    return e == EXTENSION_NAME || e == EXTENSION_AFTER_NAME || e == EXTENSION_VALUE ||
           e == EXTENSION_AFTER_VALUE;
}

static enum chunk_state take_extension_byte(struct chunk *c, uint8_t byte) {
    if (byte == '\r')
        return may_end(c->extension) ? CHUNK_SIZE_LF : CHUNK_BAD;
    if (!gate_is_value(byte) || ++c->extension_bytes > CHUNK_EXTENSION_BYTES)
        return CHUNK_BAD;
    c->extension = next_extension(c->extension, byte);
    return c->extension != EXTENSION_BAD ? CHUNK_EXTENSION : CHUNK_BAD;
}

static enum chunk_state take_framing_byte(struct chunk *c, uint8_t byte) {
    switch (c->state) {
    case CHUNK_SIZE:
        return take_size_byte(c, byte);
    case CHUNK_EXTENSION:
        return take_extension_byte(c, byte);
    case CHUNK_SIZE_LF:
        c->digits = 0;
        if (byte != '\n')
            return CHUNK_BAD;
        return c->left == 0 ? CHUNK_LAST : CHUNK_DATA;
    case CHUNK_DATA_CR:
        return byte == '\r' ? CHUNK_DATA_LF : CHUNK_BAD;
    default:
        return byte == '\n' ? CHUNK_SIZE : CHUNK_BAD;
    }
}

size_t chunk_take(struct chunk *c, struct span bytes, struct span *ret_data) {
    *ret_data = span_of(bytes.data, 0);
    for (size_t i = 0; i < bytes.size;) {
        if (c->state == CHUNK_DATA) {
            size_t size = bytes.size - i < c->left ? bytes.size - i : c->left;
            c->left -= (uint32_t)size;
            if (c->left == 0)
                c->state = CHUNK_DATA_CR;
            *ret_data = span_of(bytes.data + i, size);
            return i + size;
        }
        c->state = take_framing_byte(c, bytes.data[i++]);
        if (c->state >= CHUNK_LAST)
            return i;
    }
    return bytes.size;
}
