/*
 * The scanner of entry bodies against jansson: accepts what it accepts, and finds the same value.
 * The first line of the input is a pointer, the rest is the text.
 */
#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

#include "api/json_scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What jansson refuses although it is JSON: numbers out of range, names with NUL; and what we refuse. */
static bool not_comparable(const json_t *tree, const json_error_t *error, int mine,
                           const struct json_fault *fault, struct span text) {
    enum json_error_code code = tree == NULL ? json_error_code(error) : json_error_unknown;
    bool ours = mine != 0 &&
                (strstr(fault->reason, "twice") != NULL || strstr(fault->reason, "deep") != NULL);
    /* It overlooks a NUL behind a number. */
    bool nul = text.size > 0 && memchr(text.data, '\0', text.size) != NULL;
    return ours || nul || code == json_error_numeric_overflow ||
           code == json_error_null_byte_in_key || code == json_error_stack_overflow;
}

static void check_string(struct span raw) {
    uint8_t *room = malloc(raw.size);
    struct span plain;
    size_t size = json_string_decode(raw, room, &plain);
    json_t *same =
        json_loadb((const char *)raw.data, raw.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    assert(same != NULL && json_string_length(same) == size);
    assert(memcmp(json_string_value(same), plain.data != NULL ? plain.data : room, size) == 0);
    json_decref(same);
    free(room);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct json_pointer pointer;
    struct json_found found;
    struct json_fault fault;
    const uint8_t *line = size > 0 ? memchr(data, '\n', size) : NULL;
    if (line == NULL || json_pointer_parse(span_of(data, (size_t)(line - data)), &pointer) != 0) {
        return 0;
    }
    struct span text = span_of(line + 1, (size_t)(data + size - line - 1));
    json_error_t error;
    json_t *tree =
        json_loadb((const char *)text.data, text.size, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    int mine = json_scan(text, &pointer, &found, &fault);
    if (!not_comparable(tree, &error, mine, &fault, text)) {
        assert((mine == 0) == (tree != NULL));
    }
    if (mine == 0 && found.kind == JSON_KIND_STRING) {
        check_string(found.raw);
    }
    json_decref(tree);
    return 0;
}
