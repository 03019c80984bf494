#include "http/head.h"

#include <strings.h>

#include "base/error.h"

#define LENGTH_DIGITS_MAX 19u /* 10^19 - 1 fits 64 bits */

struct lengths {
    unsigned hosts, lengths, encodings;
};

static int refuse(struct head_facts *f, int status, const char *detail) {
    f->detail = detail;
    return status;
}

static bool same_word(struct span s, const char *word) {
    return s.size == strlen(word) && strncasecmp((const char *)s.data, word, s.size) == 0;
}

static bool find_method(struct span token, enum http_method *ret_method) {
    static const char *const names[] = {
        [HTTP_GET_] = "GET",         [HTTP_HEAD_] = "HEAD",   [HTTP_POST_] = "POST",
        [HTTP_PUT_] = "PUT",         [HTTP_PATCH_] = "PATCH", [HTTP_DELETE_] = "DELETE",
        [HTTP_OPTIONS_] = "OPTIONS",
    };
    for (size_t i = 0; i < ARRAY_LENGTH(names); i++) {
        if (span_is(token, names[i])) {
            *ret_method = (enum http_method)i;
            return true;
        }
    }
    return false;
}

/* ---- target ---- */

/* "http://host/path" -> "/path": an absolute target says what a relative one and Host say. */
static bool strip_origin(struct span *target) {
    size_t scheme = 0;
    if (target->size >= 7 && strncasecmp((const char *)target->data, "http://", 7) == 0)
        scheme = 7;
    else if (target->size >= 8 && strncasecmp((const char *)target->data, "https://", 8) == 0)
        scheme = 8;
    if (scheme == 0)
        return false;
    size_t i = scheme;
    while (i < target->size && target->data[i] != '/' && target->data[i] != '?')
        i++;
    if (i == scheme) /* no host */
        return false;
    *target = span_of(target->data + i, target->size - i);
    return true;
}

static bool read_target(struct span target, struct head_facts *f) {
    bool absolute = target.size > 0 && target.data[0] != '/' && strip_origin(&target);
    bool asterisk = span_is(target, "*") && f->method == HTTP_OPTIONS_;
    if (!absolute && !asterisk && (target.size == 0 || target.data[0] != '/'))
        return false;
    const uint8_t *mark = target.size == 0 ? NULL : memchr(target.data, '?', target.size);
    size_t path_size = mark == NULL ? target.size : (size_t)(mark - target.data);
    f->path = path_size == 0 ? span_text("/") : span_of(target.data, path_size);
    f->query = mark == NULL ? span_of(target.data + target.size, 0)
                            : span_of(mark + 1, target.size - path_size - 1);
    return true;
}

/* ---- fields ---- */

/* Characters of host names, addresses and ports; no '/', '@', comma or space that would hide another. */
static bool host_valid(struct span host) {
    static const char marks[] = "-._~!$&'()*+;=%[]:";
    for (size_t i = 0; i < host.size; i++) {
        uint8_t c = host.data[i];
        bool alphanumeric = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alphanumeric && (c == '\0' || strchr(marks, c) == NULL))
            return false;
    }
    return true;
}

static bool read_length(struct span value, uint64_t *ret_length) {
    if (value.size == 0 || value.size > LENGTH_DIGITS_MAX)
        return false;
    uint64_t length = 0;
    for (size_t i = 0; i < value.size; i++) {
        if (value.data[i] < '0' || value.data[i] > '9')
            return false;
        length = length * 10 + (uint64_t)(value.data[i] - '0');
    }
    *ret_length = length;
    return true;
}

/* The last coding has to be chunked for the end to be found at all; others before it we do not know. */
static int read_encoding(struct span value, struct head_facts *f) {
    if (same_word(value, "chunked")) {
        f->chunked = true;
        return 0;
    }
    size_t at = value.size;
    while (at > 0 && value.data[at - 1] != ',' && value.data[at - 1] != ' ' &&
           value.data[at - 1] != '\t')
        at--;
    if (at > 0 && same_word(span_of(value.data + at, value.size - at), "chunked"))
        return refuse(f, 501, "transfer coding not supported");
    return refuse(f, 400, "transfer coding does not end in chunked");
}

static int read_field(const struct http_header *h, struct head_facts *f, struct lengths *seen) {
    switch (h->name.size) {
    case 4:
        if (!same_word(h->name, "Host"))
            return 0;
        seen->hosts++;
        return host_valid(h->value) ? 0 : refuse(f, 400, "malformed Host");
    case 6:
        if (!same_word(h->name, "Expect"))
            return 0;
        f->wants_continue = same_word(h->value, "100-continue");
        return f->wants_continue ? 0 : refuse(f, 417, "unknown expectation");
    case 14:
        if (!same_word(h->name, "Content-Length"))
            return 0;
        seen->lengths++;
        return read_length(h->value, &f->length) ? 0 : refuse(f, 400, "malformed Content-Length");
    case 17:
        if (!same_word(h->name, "Transfer-Encoding"))
            return 0;
        seen->encodings++;
        return read_encoding(h->value, f);
    default:
        return 0;
    }
}

static int judge(const struct parsed_head *parsed, struct head_facts *f, struct lengths seen) {
    bool old = parsed->minor == 0;
    if (seen.hosts > 1 || (seen.hosts == 0 && !old))
        return refuse(f, 400, seen.hosts == 0 ? "Host is missing" : "more than one Host");
    if (seen.lengths > 1)
        return refuse(f, 400, "more than one Content-Length");
    if (seen.encodings > 1)
        return refuse(f, 400, "more than one Transfer-Encoding");
    if (seen.encodings > 0 && (seen.lengths > 0 || old))
        return refuse(f, 400,
                      old ? "Transfer-Encoding in HTTP/1.0"
                          : "both Content-Length and Transfer-Encoding");
    if (parsed->chunked != f->chunked || (parsed->has_length && parsed->length != f->length) ||
        parsed->has_length != (seen.lengths == 1))
        return refuse(f, 400, "ambiguous body length");
    if (old)
        f->wants_continue = false;
    return 0;
}

int head_understand(struct span head, struct parsed_head *parsed, struct head_facts *ret_facts) {
    struct head_facts *f = ret_facts;
    *f = (struct head_facts){.detail = NULL};
    const uint8_t *space = memchr(head.data, ' ', head.size);
    if (space == NULL)
        return refuse(f, 400, "malformed request line");
    if (!find_method(span_of(head.data, (size_t)(space - head.data)), &f->method))
        return refuse(f, 405, "method not supported");
    int rc = parser_parse_head(head, parsed, &f->detail);
    if (rc != 0)
        return rc == E_LIMIT ? refuse(f, 431, "too many header fields") : 400;
    if (parsed->major != 1 || parsed->minor > 1)
        return refuse(f, 505, "HTTP version not supported");
    if (!read_target(parsed->target, f))
        return refuse(f, 400, "malformed request target");
    struct lengths seen = {0};
    for (size_t i = 0; i < parsed->header_count; i++) {
        int status = read_field(&parsed->headers[i], f, &seen);
        if (status != 0)
            return status;
    }
    return judge(parsed, f, seen);
}
