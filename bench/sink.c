/*
 * A provider that costs nearly nothing: answers every request with an empty 204 and notes when it came.
 *
 *      bench-sink PORT STAMPS-FILE [ANSWER-MS]        one thread, epoll, 127.0.0.1
 *
 * It understands just what sluice sends: HTTP/1.1, Content-Length, keep-alive. At SIGTERM it writes the monotonic
 * arrival times as 64-bit numbers and ends: ns in the lower 56 bits, and above them the number that the path began
 * with (/17/x), so that one sink can stand for many. So what is measured in front of it is the sender.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 8192
#define READ_BYTES      (64u << 10)
#define STAMPS_MAX      (4u << 20)
#define ANSWERS_MAX     (1u << 16) /* under way at a time */
#define WHO_SHIFT       56

struct connection {
    char bytes[READ_BYTES];
    size_t size;
    uint32_t life; /* of this file number: an answer is for the connection that asked */
};

struct late_answer {
    uint64_t due_ns;
    int file;
    uint32_t life;
};

static struct connection *connections[CONNECTIONS_MAX];
static uint64_t *stamps;
static uint32_t stamp_count;
static struct late_answer
    late[ANSWERS_MAX]; /* ring; all wait equally long, so the first is due first */
static uint32_t late_first, late_count, lives;
static uint64_t answer_ns;
static volatile sig_atomic_t stopping;

static void on_signal(int number) {
    (void)number;
    stopping = 1;
}

static uint64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void stamp(const char *request, uint64_t at_ns) {
    const char *slash = strchr(request, '/');
    uint64_t who = slash != NULL ? strtoul(slash + 1, NULL, 10) & 0xff : 0;
    if (stamp_count < STAMPS_MAX)
        stamps[stamp_count++] = who << WHO_SHIFT | at_ns;
}

/* Bytes of the first whole request, 0: it is not all there yet. */
static size_t whole_request(struct connection *c) {
    char *end = memmem(c->bytes, c->size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - c->bytes) + 4, body = 0;
    for (char *line = c->bytes; line < end; line++) {
        if (*line == '\n' && strncasecmp(line + 1, "content-length:", 15) == 0)
            body = strtoul(line + 16, NULL, 10);
    }
    return head + body <= c->size ? head + body : 0;
}

static bool send_answer(int file) {
    static const char reply[] = "HTTP/1.1 204 No Content\r\n\r\n";
    return send(file, reply, sizeof reply - 1, MSG_NOSIGNAL) == (ssize_t)sizeof reply - 1;
}

static bool answer(int file, struct connection *c) {
    for (size_t size; (size = whole_request(c)) > 0;) {
        uint64_t at_ns = now_ns();
        stamp(c->bytes, at_ns);
        memmove(c->bytes, c->bytes + size, c->size - size);
        c->size -= size;
        if (answer_ns == 0 || late_count == ANSWERS_MAX) {
            if (!send_answer(file))
                return false;
            continue;
        }
        late[(late_first + late_count++) % ANSWERS_MAX] =
            (struct late_answer){.due_ns = at_ns + answer_ns, .file = file, .life = c->life};
    }
    return true;
}

/* Sends what is due; how long until the next is, NULL: there is none. */
static const struct timespec *send_late(struct timespec *wait) {
    while (late_count > 0) {
        const struct late_answer *a = &late[late_first];
        uint64_t now = now_ns();
        if (a->due_ns > now) {
            *wait = (struct timespec){.tv_sec = (time_t)((a->due_ns - now) / 1000000000u),
                                      .tv_nsec = (long)((a->due_ns - now) % 1000000000u)};
            return wait;
        }
        const struct connection *c = connections[a->file];
        if (c != NULL && c->life == a->life)
            (void)send_answer(a->file); /* a broken one is seen when it is read */
        late_first = (late_first + 1) % ANSWERS_MAX;
        late_count--;
    }
    return NULL;
}

static void on_ready(int file) {
    struct connection *c = connections[file];
    ssize_t size = recv(file, c->bytes + c->size, sizeof c->bytes - c->size, 0);
    if (size < 0 && errno == EAGAIN)
        return;
    c->size += size > 0 ? (size_t)size : 0;
    if (size <= 0 || !answer(file, c)) {
        free(c);
        connections[file] = NULL;
        close(file);
    }
}

static void on_connection(int poll, int listener) {
    int file = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (file < 0)
        return;
    int yes = 1;
    struct epoll_event e = {.events = EPOLLIN, .data.fd = file};
    if (file >= CONNECTIONS_MAX || (connections[file] = calloc(1, sizeof **connections)) == NULL) {
        close(file);
        return;
    }
    connections[file]->life = ++lives;
    setsockopt(file, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    epoll_ctl(poll, EPOLL_CTL_ADD, file, &e);
}

static int listen_on(unsigned port) {
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 4096) != 0) {
        perror("bench-sink");
        exit(1);
    }
    return listener;
}

int main(int argc, char **argv) {
    if (argc != 3 && argc != 4) {
        fprintf(stderr, "usage: bench-sink PORT STAMPS-FILE [ANSWER-MS]\n");
        return 2;
    }
    answer_ns = argc == 4 ? strtoul(argv[3], NULL, 10) * 1000000u : 0;
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    stamps = calloc(STAMPS_MAX, sizeof *stamps);
    int listener = listen_on((unsigned)atoi(argv[1])), poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event events[256], e = {.events = EPOLLIN, .data.fd = listener};
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &e);
    while (!stopping) {
        struct timespec wait;
        int count = epoll_pwait2(poll, events, 256, send_late(&wait), NULL);
        for (int i = 0; i < count; i++) {
            if (events[i].data.fd == listener)
                on_connection(poll, listener);
            else
                on_ready(events[i].data.fd);
        }
    }
    FILE *out = fopen(argv[2], "wb");
    return out == NULL || fwrite(stamps, sizeof *stamps, stamp_count, out) != stamp_count ||
           fclose(out) != 0;
}
