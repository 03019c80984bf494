#include "http/parser.h"

/* The one name that http-parser and our contract share. */
#define http_method foreign_http_method
#include <http_parser.h>
#undef http_method

#include "base/error.h"

static int on_url(http_parser *p, const char *at, size_t size) {
    struct parsed_head *head = p->data;
    head->target = span_of(at, size);
    return 0;
}

static int on_name(http_parser *p, const char *at, size_t size) {
    struct parsed_head *head = p->data;
    if (head->header_count == head->header_room)
        return 1;
    head->headers[head->header_count].name = span_of(at, size);
    return 0;
}

static struct span trim_end(const char *at, size_t size) {
    while (size > 0 && (at[size - 1] == ' ' || at[size - 1] == '\t'))
        size--;
    return span_of(at, size);
}

static int on_value(http_parser *p, const char *at, size_t size) {
    struct parsed_head *head = p->data;
    head->headers[head->header_count++].value = trim_end(at, size);
    return 0;
}

/* 1: there is no body, so that the parser stops at the end of the head. */
static int on_head_end(http_parser *p) {
    struct parsed_head *head = p->data;
    head->major = p->http_major;
    head->minor = p->http_minor;
    head->keep_alive = http_should_keep_alive(p) != 0;
    head->chunked = (p->flags & F_CHUNKED) != 0;
    head->has_length = (p->flags & F_CONTENTLENGTH) != 0;
    head->length = head->has_length ? p->content_length : 0;
    return 1;
}

static const http_parser_settings SETTINGS = {
    .on_url = on_url,
    .on_header_field = on_name,
    .on_header_value = on_value,
    .on_headers_complete = on_head_end,
};

int parser_parse_head(struct span head, struct parsed_head *ret_head, const char **ret_detail) {
    http_parser p;
    http_parser_init(&p, HTTP_REQUEST);
    p.data = ret_head;
    ret_head->header_count = 0;
    ret_head->target = span_of(head.data, 0);
    size_t used = http_parser_execute(&p, &SETTINGS, (const char *)head.data, head.size);
    enum http_errno error = HTTP_PARSER_ERRNO(&p);
    if (error == HPE_CB_header_field)
        return E_LIMIT;
    if (error != HPE_OK || used != head.size) {
        *ret_detail = error == HPE_OK ? "malformed head" : http_errno_description(error);
        return E_INVALID;
    }
    const uint8_t *method_end = memchr(head.data, ' ', head.size);
    ret_head->method = span_of(head.data, (size_t)(method_end - head.data));
    return 0;
}
