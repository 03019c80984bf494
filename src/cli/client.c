#include "cli/client.h"

#include <ctype.h>
#include <curl/curl.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define DEFAULT_URL      "http://127.0.0.1:8080"
#define TIMEOUT_SECONDS  30L
#define ANSWER_MAX_BYTES (64u << 20)
#define URL_BYTES        4096

static const char *given_or_set(const char *given, const char *variable) {
    return given != NULL ? given : getenv(variable);
}

void client_init(struct client *c, const struct client *given) {
    c->url = given_or_set(given->url, "SLUICE_URL");
    if (c->url == NULL)
        c->url = DEFAULT_URL;
    c->token = given_or_set(given->token, "SLUICE_TOKEN");
    c->ca = given_or_set(given->ca, "SLUICE_CA_FILE");
    c->headers = given->headers;
    c->as_json = given->as_json;
}

bool client_take_option(struct client *c, int option, const char *value) {
    switch (option) {
    case CLIENT_URL:
        c->url = value;
        return true;
    case CLIENT_TOKEN:
        c->token = value;
        return true;
    case CLIENT_CA:
        c->ca = value;
        return true;
    case CLIENT_JSON:
        c->as_json = true;
        return true;
    default:
        return false;
    }
}

static size_t keep(char *data, size_t size, size_t count, void *arg) {
    struct buffer *answer = arg;
    return buffer_append(answer, data, size * count) == 0 ? size * count : 0;
}

static const char *text_of(const json_t *o, const char *key) {
    const json_t *value = json_object_get(o, key);
    return json_is_string(value) ? json_string_value(value) : NULL;
}

/* What /readyz says when it says no. */
static bool explain_reasons(const json_t *answer) {
    const json_t *reasons = json_object_get(answer, "reasons"), *reason;
    size_t index;
    json_array_foreach(reasons, index, reason) {
        fprintf(stderr, "sluice: not accepting: %s\n", json_string_value(reason));
    }
    return json_array_size(reasons) > 0;
}

static void explain_token(const struct client *c) {
    fputs(c->token == NULL ? "  none was given: set SLUICE_TOKEN, or use --token\n"
                           : "  the server does not know the one that was given\n",
          stderr);
}

/* RFC 9457: title, detail, and the field errors if any. */
static void explain(const struct client *c, long status, const json_t *problem,
                    const struct buffer *raw) {
    const char *title = text_of(problem, "title");
    const char *detail = text_of(problem, "detail");
    if (title == NULL && explain_reasons(problem))
        return;
    if (title == NULL) {
        fprintf(stderr, "sluice: the server answered %ld: %.*s\n", status,
                (int)(raw->size < 300 ? raw->size : 300), (const char *)raw->data);
        return;
    }
    fprintf(stderr, "sluice: %s%s%s\n", title, detail != NULL ? ": " : "",
            detail != NULL ? detail : "");
    size_t index;
    const json_t *error;
    json_array_foreach(json_object_get(problem, "errors"), index, error) {
        const char *pointer = text_of(error, "pointer");
        const char *text = text_of(error, "detail");
        fprintf(stderr, "  %s: %s\n", pointer != NULL ? pointer : "", text != NULL ? text : "");
    }
    if (status == 401)
        explain_token(c);
}

static int error_of_status(long status) {
    switch (status) {
    case 401:
    case 403:
        return E_DENIED;
    case 404:
        return E_NOT_FOUND;
    case 409:
        return E_CONFLICT;
    default:
        return E_INVALID;
    }
}

static struct curl_slist *make_headers(const struct client *c) {
    char line[1024];
    static const char *const json[] = {"Content-Type: application/json", NULL};
    struct curl_slist *headers = NULL;
    for (const char *const *at = c->headers != NULL ? c->headers : json; *at != NULL; at++)
        headers = curl_slist_append(headers, *at);
    if (c->token == NULL)
        return headers;
    snprintf(line, sizeof(line), "Authorization: Bearer %s", c->token);
    return curl_slist_append(headers, line);
}

static void explain_silence(const struct client *c, CURLcode code) {
    bool untrusted = code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE;
    bool other = code == CURLE_GOT_NOTHING || code == CURLE_SSL_CONNECT_ERROR;
    const char *hint =
        untrusted ? "--ca or SLUICE_CA_FILE names the file of a private authority."
        : other   ? "Something is there: is the other one of http:// and https:// meant?"
                  : "Is `sluice serve` running? --url or SLUICE_URL names another address.";
    fprintf(stderr, "sluice: %s does not answer (%s). %s\n", c->url, curl_easy_strerror(code),
            hint);
}

static int answer_of(CURL *curl, CURLcode code, const struct client *c, struct buffer *raw,
                     json_t **ret_answer) {
    if (code != CURLE_OK) {
        explain_silence(c, code);
        return E_IO;
    }
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    json_error_t error;
    json_t *answer = raw->size == 0
                         ? NULL
                         : json_loadb((const char *)raw->data, raw->size, JSON_DECODE_ANY, &error);
    if (status >= 200 && status < 300) {
        *ret_answer = answer;
        return 0;
    }
    explain(c, status, answer, raw);
    json_decref(answer);
    return error_of_status(status);
}

int client_call(const struct client *c, const char *method, const char *path, struct span body,
                json_t **ret_answer) {
    char url[URL_BYTES];
    snprintf(url, sizeof(url), "%s%s", c->url, path);
    CURL *curl = curl_easy_init();
    if (curl == NULL)
        return E_NOMEM;
    struct buffer raw;
    buffer_init(&raw, ANSWER_MAX_BYTES);
    struct curl_slist *headers = make_headers(c);
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &raw);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, TIMEOUT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    if (c->ca != NULL)
        curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca);
    if (body.size > 0 || strcmp(method, "POST") == 0 || strcmp(method, "PUT") == 0) {
        curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.size);
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body.size > 0 ? (const char *)body.data : "");
    }
    int error = answer_of(curl, curl_easy_perform(curl), c, &raw, ret_answer);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    buffer_release(&raw);
    return error;
}

static int read_all(FILE *file, struct buffer *ret) {
    uint8_t block[16384];
    size_t size;
    while ((size = fread(block, 1, sizeof(block), file)) > 0) {
        int error = buffer_append(ret, block, size);
        if (error != 0)
            return error;
    }
    return ferror(file) ? E_IO : 0;
}

int client_read_body(const char *name, struct buffer *ret) {
    FILE *file = strcmp(name, "-") == 0 ? stdin : fopen(name, "rb");
    if (file == NULL) {
        fprintf(stderr, "sluice: %s: %s\n", name, strerror(errno));
        return E_IO;
    }
    int error = read_all(file, ret);
    if (error != 0)
        fprintf(stderr, "sluice: %s %s\n", name,
                error == E_IO ? "cannot be read" : "is larger than 16 MiB");
    if (file != stdin)
        fclose(file);
    return error;
}

void client_path_add(char *path, size_t size, const char *text) {
    size_t n = strlen(path);
    for (; *text != '\0' && n + 4 < size; text++) {
        if (isalnum((unsigned char)*text) || strchr("-._~", *text) != NULL)
            path[n++] = *text;
        else
            n += (size_t)snprintf(path + n, 4, "%%%02X", (unsigned char)*text);
    }
    path[n] = '\0';
}
