#include "harness.h"

#include <arpa/inet.h>
#include <assert.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/logline.h"

#define ANSWER_MAX     (8u << 20)
#define ANSWER_WAIT_MS 60000

struct harness {
    char directory[64];
    struct engine *engine;
    struct api *api;
    struct api_loop *al;
    struct net_loop *loop;
    struct http_server *server;
    uint16_t port;
    int socket; /* -1: not connected */
};

/* ---- server ---- */

struct stop_item {
    struct net_item item;
    struct harness *h;
};

static void stopped(void *arg) {
    struct harness *h = arg;
    http_server_free(h->server);
    net_loop_stop(h->loop);
}

static void run_stop(struct net_item *item) {
    struct stop_item *s = (struct stop_item *)(void *)item;
    http_server_stop(s->h->server, stopped, s->h);
}

static void failed(void *context, const char *message) {
    (void)context;
    fprintf(stderr, "the log failed: %s\n", message);
    abort();
}

static void start_engine(struct harness *h) {
    char error[512];
    struct engine_recovery recovery;
    struct engine_options options = {.directory = h->directory,
                                     .segment_bytes = 1 << 20,
                                     .limits = {.list_looks = HARNESS_LIST_LOOKS},
                                     .in_place = true,
                                     .paranoid = true,
                                     .context = h,
                                     .failed = failed};
    if (engine_open(&options, &recovery, error, &h->engine) != 0) {
        fprintf(stderr, "%s\n", error);
        abort();
    }
}

static void start_server(struct harness *h) {
    char error[256];
    struct net_loop_options loop_options = {
        .name = "api-test", .context = h->al, .before_wait = api_before_wait};
    struct http_server_options options = {
        .host = "127.0.0.1", .context = h->al, .handle = api_handle, .problem = api_problem};
    http_limits_default(&options.limits);
    int rc = net_loop_create(&loop_options, &h->loop);
    assert(rc == 0);
    api_loop_attach(h->al, h->loop);
    rc = http_server_start(h->loop, &options, error, &h->server);
    assert(rc == 0);
    rc = api_loop_watch(h->al, h->server);
    assert(rc == 0);
    h->port = http_server_port(h->server);
    rc = net_loop_run(h->loop);
    assert(rc == 0);
}

struct harness *harness_start(const struct api_options *changes) {
    struct harness *h = calloc(1, sizeof *h);
    assert(h != NULL);
    logline_set_level(LOGLINE_WARN);
    strcpy(h->directory, "/tmp/sluice-api-XXXXXX");
    if (mkdtemp(h->directory) == NULL) {
        abort();
    }
    h->socket = -1;
    start_engine(h);
    struct api_options options = {.open_loopback = true};
    if (changes != NULL) {
        options = *changes;
    }
    options.engine = h->engine;
    options.version = "0.0.0-test";
    int rc = api_create(&options, &h->api);
    assert(rc == 0);
    rc = api_loop_create(h->api, &h->al);
    assert(rc == 0);
    rc = api_work(h->api);
    assert(rc == 0);
    start_server(h);
    return h;
}

void harness_stop(struct harness *h) {
    if (h->socket >= 0) {
        close(h->socket);
    }
    struct stop_item item = {{NULL, run_stop}, h};
    api_stop(h->api);
    net_loop_post(h->loop, &item.item);
    net_loop_free(h->loop);
    engine_close(h->engine, false);
    api_loop_free(h->al);
    api_free(h->api);
    char command[128];
    snprintf(command, sizeof command, "rm -r %s", h->directory);
    int rc = system(command);
    assert(rc == 0);
    free(h);
}

struct engine *harness_engine(struct harness *h) {
    return h->engine;
}

uint16_t harness_port(const struct harness *h) {
    return h->port;
}

/* ---- client ---- */

static void connect_if_needed(struct harness *h) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons(h->port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (h->socket >= 0) {
        return;
    }
    h->socket = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(h->socket, (struct sockaddr *)&address, sizeof address) != 0) {
        perror("connect");
        abort();
    }
}

static void send_all(struct harness *h, const char *text, size_t size) {
    while (size > 0) {
        ssize_t n = write(h->socket, text, size);
        if (n <= 0) {
            perror("write");
            abort();
        }
        text += n;
        size -= (size_t)n;
    }
}

/* Reads until head and body are whole. Returns the size of the head. */
static size_t receive(struct harness *h, char *room, bool no_body, size_t *ret_size) {
    size_t size = 0, head = 0, wanted = SIZE_MAX;
    while (size < wanted) {
        ssize_t n = read(h->socket, room + size, ANSWER_MAX - size - 1);
        if (n <= 0) {
            perror("read");
            abort();
        }
        size += (size_t)n;
        room[size] = '\0';
        char *end = head == 0 ? strstr(room, "\r\n\r\n") : NULL;
        if (end != NULL) {
            const char *length = strcasestr(room, "\r\nContent-Length:");
            head = (size_t)(end - room) + 4;
            wanted =
                head +
                (length != NULL && length < end && !no_body ? strtoull(length + 17, NULL, 10) : 0);
        }
    }
    *ret_size = size;
    return head;
}

void ask(struct harness *h, struct answer *a, const char *method, const char *path,
         const char *headers, const char *body) {
    size_t body_size = body != NULL ? strlen(body) : 0;
    char *request = malloc(strlen(path) + strlen(headers) + body_size + 256);
    char *room = malloc(ANSWER_MAX);
    assert(request != NULL && room != NULL);
    char length[48] = "";
    if (body != NULL) {
        snprintf(length, sizeof length, "Content-Length: %zu\r\n", body_size);
    }
    const char *host = strcasestr(headers, "Host:") == NULL ? "Host: 127.0.0.1\r\n" : "";
    int size = sprintf(request, "%s %s HTTP/1.1\r\n%s%s%s\r\n%s", method, path, host, length,
                       headers, body != NULL ? body : "");
    connect_if_needed(h);
    send_all(h, request, (size_t)size);
    size_t got, head = receive(h, room, strcmp(method, "HEAD") == 0, &got);
    a->status = atoi(room + 9);
    a->head = strndup(room, head);
    a->size = got - head;
    a->body = strndup(room + head, a->size);
    a->json = json_loadb(a->body, a->size, JSON_REJECT_DUPLICATES, NULL);
    free(request);
    free(room);
}

int ask_status(struct harness *h, const char *method, const char *path, const char *headers,
               const char *body) {
    struct answer a;
    ask(h, &a, method, path, headers, body);
    int status = a.status;
    answer_release(&a);
    return status;
}

size_t ask_raw(struct harness *h, const char *request, char *out, size_t size, const char *last) {
    size_t got = 0;
    out[0] = '\0';
    connect_if_needed(h);
    send_all(h, request, strlen(request));
    struct pollfd p = {.fd = h->socket, .events = POLLIN};
    while (got + 1 < size && strstr(out, last) == NULL && poll(&p, 1, ANSWER_WAIT_MS) > 0) {
        ssize_t n = read(h->socket, out + got, size - got - 1);
        if (n <= 0) {
            break;
        }
        got += (size_t)n;
        out[got] = '\0';
    }
    close(h->socket);
    h->socket = -1;
    return got;
}

void answer_release(struct answer *a) {
    json_decref(a->json);
    free(a->head);
    free(a->body);
}

const char *answer_field(const struct answer *a, const char *name) {
    static char value[512];
    char wanted[80];
    snprintf(wanted, sizeof wanted, "\r\n%s:", name);
    const char *at = strcasestr(a->head, wanted);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(wanted);
    at += strspn(at, " ");
    snprintf(value, sizeof value, "%.*s", (int)strcspn(at, "\r"), at);
    return value;
}

const json_t *json_at(const json_t *object, const char *path) {
    char name[64];
    while (*path != '\0' && object != NULL) {
        size_t size = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)size, path);
        object = json_is_array(object) ? json_array_get(object, (size_t)atoi(name))
                                       : json_object_get(object, name);
        path += size + (path[size] == '.');
    }
    return object;
}

const char *json_text(const json_t *object, const char *path) {
    const char *text = json_string_value(json_at(object, path));
    return text != NULL ? text : "";
}

long long json_number(const json_t *object, const char *path) {
    const json_t *value = json_at(object, path);
    return json_is_integer(value) ? json_integer_value(value) : -1;
}
