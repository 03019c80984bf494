#include "dispatch/answer.h"

#include <assert.h>
#include <curl/curl.h>
#include <strings.h>

#define RETRY_AFTER "retry-after"

static struct answer *of(http_parser *p) {
    return p->data;
}

static int on_begin(http_parser *p) {
    struct answer *a = of(p);
    a->name_size = 0;
    a->in_value = false;
    a->retry_after_size = 0;
    return 0;
}

/* Names and values come in pieces, wherever a read ended. */
static int on_name(http_parser *p, const char *at, size_t size) {
    struct answer *a = of(p);
    if (a->in_value) {
        a->in_value = false;
        a->name_size = 0;
    }
    size_t room = sizeof a->name - a->name_size;
    size_t kept = size < room ? size : room;
    memcpy(a->name + a->name_size, at, kept);
    a->name_size += (uint32_t)kept;
    return 0;
}

static int on_value(http_parser *p, const char *at, size_t size) {
    struct answer *a = of(p);
    if (memchr(at, 0, size) != NULL) {
        return 1;
    }
    bool wanted = !a->has_head && a->name_size == sizeof RETRY_AFTER - 1 &&
                  strncasecmp(a->name, RETRY_AFTER, sizeof RETRY_AFTER - 1) == 0;
    if (wanted && !a->in_value) {
        a->retry_after_size = 0; /* of several the last */
    }
    a->in_value = true;
    if (wanted) {
        size_t room = sizeof a->retry_after - a->retry_after_size;
        size_t kept = size < room ? size : room;
        memcpy(a->retry_after + a->retry_after_size, at, kept);
        a->retry_after_size += (uint8_t)kept;
    }
    return 0;
}

/* 1: no body follows, whatever its head says. */
static int on_head_end(http_parser *p) {
    struct answer *a = of(p);
    if (p->http_major != 1 || p->status_code < 100 || p->status_code == 101) {
        return -1;
    }
    if (p->status_code / 100 == 1) {
        return 1;
    }
    bool chunked = (p->flags & F_CHUNKED) != 0;
    a->two_lengths = chunked && (p->flags & F_CONTENTLENGTH) != 0;
    a->has_head = true;
    a->status = (uint16_t)p->status_code;
    return a->to_head || a->status == 204 || a->status == 304 ? 1 : 0;
}

static int on_body(http_parser *p, const char *at, size_t size) {
    struct answer *a = of(p);
    if (a->body(a->context, span_of(at, size))) {
        return 0;
    }
    a->state = ANSWER_ENOUGH;
    return 1;
}

static int on_whole(http_parser *p) {
    struct answer *a = of(p);
    if (a->has_head) {
        a->lives = !a->two_lengths && http_should_keep_alive(p) != 0;
        a->state = ANSWER_WHOLE;
        http_parser_pause(p, 1); /* so that it does not look at what follows */
    }
    return 0;
}

static const http_parser_settings SETTINGS = {
    .on_message_begin = on_begin,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head_end,
    .on_body = on_body,
    .on_message_complete = on_whole,
};

void answer_init(struct answer *a, bool to_head, answer_body *body, void *context) {
    *a = (struct answer){.body = body, .context = context, .to_head = to_head};
    http_parser_init(&a->parser, HTTP_RESPONSE);
    a->parser.data = a;
    a->parser.lenient_http_headers =
        1; /* it looks at the first byte of a piece only: see on_value */
    a->parser.allow_chunked_length = 1; /* the chunks count; the connection ends with them */
}

enum answer_state answer_take(struct answer *a, struct span bytes) {
    assert(a->state == ANSWER_AWAITED);
    a->begun = a->begun || bytes.size > 0;
    size_t used = http_parser_execute(&a->parser, &SETTINGS, (const char *)bytes.data, bytes.size);
    a->head_bytes += a->has_head ? 0 : (uint32_t)bytes.size;
    a->not_understood = a->state == ANSWER_AWAITED && (HTTP_PARSER_ERRNO(&a->parser) != HPE_OK ||
                                                       a->head_bytes > ANSWER_HEADS_MAX_BYTES);
    a->state = a->not_understood ? ANSWER_BAD : a->state;
    a->lives = a->lives && used == bytes.size;
    return a->state;
}

enum answer_state answer_end(struct answer *a) {
    assert(a->state == ANSWER_AWAITED);
    if (a->has_head) {
        (void)http_parser_execute(&a->parser, &SETTINGS, NULL, 0);
    }
    a->lives = false;
    a->state = a->state == ANSWER_WHOLE ? ANSWER_WHOLE : ANSWER_BAD;
    return a->state;
}

/* A date begins with its day: what curl_getdate makes of eight digits and some junk would close a destination until then. */
uint64_t answer_retry_after_s(const struct answer *a, uint64_t now_s) {
    char text[sizeof a->retry_after + 1];
    memcpy(text, a->retry_after, a->retry_after_size);
    text[a->retry_after_size] = '\0';
    if (a->retry_after_size == sizeof a->retry_after) {
        return 0; /* longer than any that means something */
    }
    size_t digits = strspn(text, "0123456789");
    if (digits > 0 && text[digits + strspn(text + digits, " \t")] == '\0') {
        return strtoull(text, NULL, 10); /* the largest there is, when it is larger */
    }
    time_t date = digits <= 2 ? curl_getdate(text, NULL) : -1;
    return date > 0 && (uint64_t)date > now_s ? (uint64_t)date - now_s : 0;
}
