#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/error.h"

static int resolve(const char *host, uint16_t port, char error_text[256],
                   struct sockaddr_storage *ret_address) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char service[8];
    snprintf(service, sizeof service, "%u", port);
    struct addrinfo *found = NULL;
    int rc = getaddrinfo(host, service, &hints, &found);
    if (rc != 0) {
        snprintf(error_text, 256, "address %.100s: %.100s", host, gai_strerror(rc));
        return E_INVALID;
    }
    memset(ret_address, 0, sizeof *ret_address);
    memcpy(ret_address, found->ai_addr, found->ai_addrlen);
    freeaddrinfo(found);
    return 0;
}

static int try_bind(const struct sockaddr_storage *address) {
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    const int on =
        1; /* connections of a server that ended may linger; a listening one still refuses */
    int rc = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (rc == 0)
        rc = bind(fd, (const struct sockaddr *)address, sizeof *address);
    if (rc != 0)
        rc = -errno;
    close(fd);
    return rc;
}

int net_listener_probe(const char *host, uint16_t port, char error_text[256]) {
    struct sockaddr_storage address;
    int rc = port == 0 ? 0 : resolve(host, port, error_text, &address);
    if (rc != 0 || port == 0)
        return rc;
    rc = try_bind(&address);
    if (rc == 0)
        return 0;
    snprintf(error_text, 256, "listen on %.100s port %u: %.100s", host, port, strerror(-rc));
    return E_IO;
}

static void on_connection(uv_stream_t *stream, int status) {
    struct net_listener *l = stream->data;
    if (status == 0)
        l->ready(l);
}

static uint16_t bound_port(const uv_tcp_t *tcp) {
    struct sockaddr_storage address;
    int size = sizeof address;
    int rc = uv_tcp_getsockname(tcp, (struct sockaddr *)&address, &size);
    assert(rc == 0);
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

static int share_port(struct net_listener *l) {
    const int on = 1;
    uv_os_fd_t fd;
    int rc = uv_fileno((uv_handle_t *)&l->tcp, &fd);
    if (rc == 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0)
        rc = UV_EINVAL;
    return rc;
}

/*
 * The first one shares only when it listens: until then the kernel refuses it where anybody else does, sharing or
 * not, and of two programs that come here at one time it lets one listen.
 */
static int bind_and_listen(struct net_listener *l, const struct sockaddr_storage *address,
                           const struct net_listener_options *options) {
    int rc = options->joins ? share_port(l) : 0;
    if (rc == 0)
        rc = uv_tcp_bind(&l->tcp, (const struct sockaddr *)address, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&l->tcp, options->backlog, on_connection);
    if (rc == 0 && !options->joins)
        rc = share_port(l);
    return rc;
}

int net_listener_open(struct net_listener *l, struct net_loop *loop,
                      const struct net_listener_options *options, char error_text[256],
                      bool *ret_closing) {
    struct sockaddr_storage address;
    *ret_closing = false;
    int rc = resolve(options->host, options->port, error_text, &address);
    if (rc != 0)
        return rc;
    l->ready = options->ready;
    l->closed = options->closed;
    l->tcp.data = l;
    l->rejecting = l->waiting = l->tcp_closed = false;
    rc = uv_tcp_init_ex(net_loop_uv(loop), &l->tcp, address.ss_family);
    if (rc == 0) {
        rc = bind_and_listen(l, &address, options);
        if (rc == 0) {
            l->port = bound_port(&l->tcp);
            return 0;
        }
        net_listener_close(l);
        *ret_closing = true;
    }
    snprintf(error_text, 256, "listen on %.100s port %u: %.100s", options->host, options->port,
             uv_strerror(rc));
    return E_IO;
}

static void on_closed(uv_handle_t *handle) {
    struct net_listener *l = handle->data;
    l->tcp_closed = true;
    if (!l->rejecting)
        l->closed(l);
}

static void on_rejected(uv_handle_t *handle) {
    struct net_listener *l = handle->data;
    l->rejecting = false;
    if (l->tcp_closed) {
        l->closed(l);
    } else if (l->waiting && !uv_is_closing((uv_handle_t *)&l->tcp)) {
        l->waiting = false;
        l->ready(l);
    }
}

void net_listener_reject(struct net_listener *l) {
    if (l->rejecting) {
        l->waiting = true;
        return;
    }
    int rc = uv_tcp_init(l->tcp.loop, &l->rejected);
    assert(rc == 0); /* without a family it makes no socket */
    l->rejecting = true;
    l->rejected.data = l;
    (void)uv_accept((uv_stream_t *)&l->tcp, (uv_stream_t *)&l->rejected);
    uv_close((uv_handle_t *)&l->rejected, on_rejected);
}

void net_listener_close(struct net_listener *l) {
    if (!uv_is_closing((uv_handle_t *)&l->tcp))
        uv_close((uv_handle_t *)&l->tcp, on_closed);
}
