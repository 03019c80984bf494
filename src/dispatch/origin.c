#include "dispatch/origin.h"

#include <stdio.h>

#include "base/error.h"
#include "base/units.h"
#include "dispatch/plain.h"

/* What curl makes of the URL is what counts, so that both ways lead to the same place. */
static char *part(CURLU *u, CURLUPart what) {
    char *text = NULL;
    return curl_url_get(u, what, &text, 0) == CURLUE_OK ? text : NULL;
}

static bool is_plain_host(const char *host) {
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:[]";
    return host != NULL && host[0] != '\0' && host[strspn(host, allowed)] == '\0';
}

static int take_parts(struct origin *o, const char *host, const char *port, const char *path,
                      const char *query) {
    bool has_port = port != NULL && strcmp(port, "80") != 0;
    int rc = asprintf(&o->host, "%s%s%s", host, has_port ? ":" : "", has_port ? port : "");
    o->host = rc >= 0 ? o->host : NULL;
    rc = asprintf(&o->path, "%s%s%s", path, query != NULL ? "?" : "", query != NULL ? query : "");
    o->path = rc >= 0 ? o->path : NULL;
    o->usable = o->host != NULL && o->path != NULL;
    return o->usable ? 0 : E_NOMEM;
}

int origin_init(struct origin *o, const char *url) {
    *o = (struct origin){.url = url};
    list_init(&o->kept);
    CURLU *u = curl_url();
    if (u == NULL) {
        return E_NOMEM;
    }
    int rc = 0;
    if (curl_url_set(u, CURLUPART_URL, url, CURLU_PATH_AS_IS | CURLU_DISALLOW_USER) == CURLUE_OK) {
        char *scheme = part(u, CURLUPART_SCHEME), *host = part(u, CURLUPART_HOST);
        char *port = part(u, CURLUPART_PORT), *path = part(u, CURLUPART_PATH);
        char *query = part(u, CURLUPART_QUERY), *zone = part(u, CURLUPART_ZONEID);
        if (scheme != NULL && strcmp(scheme, "http") == 0 && is_plain_host(host) && zone == NULL &&
            path != NULL) {
            rc = take_parts(o, host, port, path, query);
        }
        curl_free(scheme);
        curl_free(host);
        curl_free(port);
        curl_free(path);
        curl_free(query);
        curl_free(zone);
    }
    curl_url_cleanup(u);
    return rc;
}

void origin_release(struct origin *o) {
    plains_close_kept(&o->kept);
    free(o->host);
    free(o->path);
}

bool method_has_body(const char *method) {
    return strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0;
}

bool origin_may(const struct origin *o, const char *method) {
    static const char *const methods[] = {"POST", "PUT", "PATCH", "DELETE", "GET", "HEAD"};
    bool known = false;
    for (size_t i = 0; i < ARRAY_LENGTH(methods) && o->usable && !known; i++) {
        known = strcmp(method, methods[i]) == 0;
    }
    return known;
}

static int write_field(const struct origin_request *r, const char *name, struct span value,
                       struct buffer *out) {
    struct span n = span_text(name);
    if (header_list_has(r->headers, n) || header_list_has(r->more, n)) {
        return 0;
    }
    int rc = buffer_append_span(out, n);
    rc = rc != 0 ? rc : buffer_append(out, ": ", 2);
    rc = rc != 0 ? rc : buffer_append_span(out, value);
    return rc != 0 ? rc : buffer_append(out, "\r\n", 2);
}

int origin_write_head(const struct origin *o, const struct origin_request *r, struct buffer *out) {
    char length[20];
    struct span size = span_of(length, u64_format(r->body.size, length));
    int rc = buffer_append_text(out, r->method);
    rc = rc != 0 ? rc : buffer_append(out, " ", 1);
    rc = rc != 0 ? rc : buffer_append_text(out, o->path);
    rc = rc != 0 ? rc : buffer_append_text(out, " HTTP/1.1\r\n");
    rc = rc != 0 ? rc : write_field(r, "Host", span_text(o->host), out);
    rc = rc != 0 ? rc : write_field(r, "User-Agent", span_text(r->user_agent), out);
    rc = rc != 0 ? rc : write_field(r, "Accept", span_text("*/*"), out);
    rc = rc != 0 ? rc : header_list_write(r->headers, out);
    rc = rc != 0 ? rc : header_list_write(r->more, out);
    if (rc == 0 && method_has_body(r->method)) {
        rc = write_field(r, "Content-Length", size, out);
    }
    return rc != 0 ? rc : buffer_append(out, "\r\n", 2);
}
