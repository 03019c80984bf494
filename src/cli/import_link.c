#include "cli/import_link.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FRAME_MAX         131072
#define HEARTBEAT_SECONDS 30
#define SYSTEM_CA         "/etc/ssl/certs/ca-certificates.crt"
#define CHANNEL           1 /* works */
#define CHANNEL_ASK       2 /* counts: what is missing there closes it */

static const struct timeval patience = {.tv_sec = LINK_TIMEOUT_SECONDS};

static int failed(struct link *l, const char *doing, const char *why) {
    snprintf(l->error, sizeof l->error, "%s: %s", doing, why);
    return -1;
}

static int failed_text(struct link *l, const char *doing, amqp_bytes_t text) {
    snprintf(l->error, sizeof l->error, "%s: %.*s", doing, (int)text.len, (const char *)text.bytes);
    return -1;
}

/* The answer of a call; 0 if it is a good one. */
static int judge(struct link *l, const char *doing, amqp_rpc_reply_t reply) {
    switch (reply.reply_type) {
    case AMQP_RESPONSE_NORMAL:
        return 0;
    case AMQP_RESPONSE_LIBRARY_EXCEPTION:
        return failed(l, doing, amqp_error_string2(reply.library_error));
    case AMQP_RESPONSE_SERVER_EXCEPTION:
        if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD)
            return failed_text(l, doing,
                               ((amqp_connection_close_t *)reply.reply.decoded)->reply_text);
        if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD)
            return failed_text(l, doing, ((amqp_channel_close_t *)reply.reply.decoded)->reply_text);
        return failed(l, doing, "the broker ended it");
    default:
        return failed(l, doing, "no answer");
    }
}

/* ---- open ---- */

static const char *path_of(const char *uri) {
    const char *authority = strstr(uri, "://");
    return authority == NULL ? NULL : strchr(authority + 3, '/');
}

bool link_vhost(const char *uri, char *out, size_t size) {
    const char *path = path_of(uri);
    if (path == NULL || path[1] == '\0')
        return false;
    char *copy = strdup(uri);
    struct amqp_connection_info info;
    bool good = copy != NULL && amqp_parse_url(copy, &info) == AMQP_STATUS_OK;
    if (good)
        snprintf(out, size, "%s", info.vhost);
    free(copy);
    return good;
}

static amqp_socket_t *make_socket(struct link *l, const struct link_options *options, bool tls) {
    if (!tls)
        return amqp_tcp_socket_new(l->connection);
    amqp_socket_t *s = amqp_ssl_socket_new(l->connection);
    const char *ca = options->ca != NULL ? options->ca : SYSTEM_CA;
    if (s == NULL)
        return NULL;
    amqp_ssl_socket_set_verify_peer(s, 1);
    amqp_ssl_socket_set_verify_hostname(s, 1);
    bool good = amqp_ssl_socket_set_ssl_versions(s, AMQP_TLSv1_2, AMQP_TLSvLATEST) == 0 &&
                amqp_ssl_socket_set_cacert(s, ca) == 0;
    if (good && options->certificate != NULL && options->key != NULL)
        good = amqp_ssl_socket_set_key(s, options->certificate, options->key) == 0;
    return good ? s : NULL;
}

static int connect_to(struct link *l, const struct link_options *options,
                      const struct amqp_connection_info *info) {
    const struct timeval soon = {.tv_sec = 10};
    l->connection = amqp_new_connection();
    if (l->connection == NULL)
        return failed(l, "connecting", "out of memory");
    amqp_socket_t *s = make_socket(l, options, info->ssl != 0);
    if (s == NULL)
        return failed(l, "connecting", "the certificates cannot be read");
    int status = amqp_socket_open_noblock(s, info->host, info->port, &soon);
    if (status != AMQP_STATUS_OK)
        return failed(l, "connecting", amqp_error_string2(status));
    (void)amqp_set_handshake_timeout(l->connection, &soon);
    (void)amqp_set_rpc_timeout(l->connection, &patience);
    const char *vhost = options->vhost != NULL          ? options->vhost
                        : path_of(options->uri) == NULL ? "/"
                                                        : info->vhost;
    int rc = judge(l, "logging in",
                   amqp_login(l->connection, vhost, 0, FRAME_MAX, HEARTBEAT_SECONDS,
                              AMQP_SASL_METHOD_PLAIN, info->user, info->password));
    if (rc == 0) {
        amqp_channel_open(l->connection, CHANNEL);
        rc = judge(l, "opening a channel", amqp_get_rpc_reply(l->connection));
    }
    return rc;
}

int link_open(struct link *l, const struct link_options *options) {
    *l = (struct link){.connection = NULL};
    char *copy = strdup(options->uri);
    struct amqp_connection_info info;
    if (copy == NULL || amqp_parse_url(copy, &info) != AMQP_STATUS_OK) {
        free(copy);
        return failed(l, "connecting", "amqp://user:password@host:port/vhost is expected");
    }
    int rc = connect_to(l, options, &info);
    free(copy);
    return rc;
}

void link_close(struct link *l) {
    if (l->connection == NULL)
        return;
    /* Answered only when all that was sent before has been done: acknowledgements are. */
    (void)amqp_connection_close(l->connection, AMQP_REPLY_SUCCESS);
    (void)amqp_destroy_connection(l->connection);
    l->connection = NULL;
}

/* ---- the source ---- */

static int consume(struct link *l, const char *queue, bool exclusive) {
    amqp_basic_qos(l->connection, CHANNEL, 0, LINK_WINDOW, 0);
    int rc = judge(l, "prefetch", amqp_get_rpc_reply(l->connection));
    if (rc != 0)
        return rc;
    amqp_basic_consume(l->connection, CHANNEL, amqp_cstring_bytes(queue), amqp_empty_bytes, 0, 0,
                       exclusive, amqp_empty_table);
    l->exclusive = exclusive;
    return judge(l, "consuming", amqp_get_rpc_reply(l->connection));
}

/* An exclusive consumer is refused while there are others: that closed the channel. */
int link_consume(struct link *l, const char *queue) {
    if (consume(l, queue, true) == 0)
        return 0;
    amqp_channel_open(l->connection, CHANNEL);
    int rc = judge(l, "opening a channel", amqp_get_rpc_reply(l->connection));
    return rc != 0 ? rc : consume(l, queue, false);
}

/* Something else than a delivery: only what ends it comes there. */
static int read_other(struct link *l) {
    amqp_frame_t frame;
    int status = amqp_simple_wait_frame_noblock(l->connection, &frame, &patience);
    if (status != AMQP_STATUS_OK)
        return failed(l, "consuming", amqp_error_string2(status));
    if (frame.frame_type != AMQP_FRAME_METHOD)
        return 0;
    switch (frame.payload.method.id) {
    case AMQP_CHANNEL_CLOSE_METHOD:
        return failed_text(l, "consuming",
                           ((amqp_channel_close_t *)frame.payload.method.decoded)->reply_text);
    case AMQP_CONNECTION_CLOSE_METHOD:
        return failed_text(l, "consuming",
                           ((amqp_connection_close_t *)frame.payload.method.decoded)->reply_text);
    case AMQP_BASIC_CANCEL_METHOD:
        return failed(l, "consuming", "the queue is gone");
    default:
        return 0;
    }
}

int link_next(struct link *l, uint32_t wait_ms, amqp_envelope_t *ret) {
    const struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    amqp_rpc_reply_t reply = amqp_consume_message(l->connection, ret, &wait, 0);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        return 1;
    if (reply.reply_type != AMQP_RESPONSE_LIBRARY_EXCEPTION)
        return judge(l, "consuming", reply);
    if (reply.library_error == AMQP_STATUS_TIMEOUT)
        return 0;
    return reply.library_error == AMQP_STATUS_UNEXPECTED_STATE ? read_other(l)
                                                               : judge(l, "consuming", reply);
}

int link_acknowledge(struct link *l, uint64_t tag) {
    int status = amqp_basic_ack(l->connection, CHANNEL, tag, 1);
    amqp_maybe_release_buffers(l->connection);
    return status == AMQP_STATUS_OK ? 0 : failed(l, "acknowledging", amqp_error_string2(status));
}

int64_t link_count(struct link *l, const char *queue) {
    amqp_channel_open(l->connection, CHANNEL_ASK);
    if (judge(l, "opening a channel", amqp_get_rpc_reply(l->connection)) != 0)
        return -1;
    amqp_queue_declare_ok_t *ok = amqp_queue_declare(
        l->connection, CHANNEL_ASK, amqp_cstring_bytes(queue), 1, 0, 0, 0, amqp_empty_table);
    if (judge(l, "looking for the queue", amqp_get_rpc_reply(l->connection)) != 0)
        return -1;
    int64_t count = ok->message_count;
    return judge(l, "closing a channel",
                 amqp_channel_close(l->connection, CHANNEL_ASK, AMQP_REPLY_SUCCESS)) == 0
               ? count
               : -1;
}

/* ---- the target ---- */

int link_confirms(struct link *l) {
    amqp_confirm_select(l->connection, CHANNEL);
    return judge(l, "confirms", amqp_get_rpc_reply(l->connection));
}

int link_publish(struct link *l, const char *queue, const amqp_basic_properties_t *p,
                 amqp_bytes_t body) {
    int status = amqp_basic_publish(l->connection, CHANNEL, amqp_empty_bytes,
                                    amqp_cstring_bytes(queue), 1, 0, p, body);
    return status == AMQP_STATUS_OK ? 0 : failed(l, "publishing", amqp_error_string2(status));
}

static int returned(struct link *l) {
    amqp_message_t message;
    amqp_rpc_reply_t reply = amqp_read_message(l->connection, CHANNEL, &message, 0);
    if (reply.reply_type == AMQP_RESPONSE_NORMAL)
        amqp_destroy_message(&message);
    return failed(l, "publishing", "the queue does not exist there");
}

static int take_answer(struct link *l, const amqp_method_t *method, uint64_t *confirmed) {
    switch (method->id) {
    case AMQP_BASIC_ACK_METHOD: {
        const amqp_basic_ack_t *ack = method->decoded;
        if (ack->multiple || ack->delivery_tag == *confirmed + 1)
            *confirmed = ack->delivery_tag;
        else
            return failed(l, "publishing", "a confirm out of order");
        return 0;
    }
    case AMQP_BASIC_NACK_METHOD:
        return failed(l, "publishing",
                      "refused: the queue or the disk is full, or memory is short");
    case AMQP_BASIC_RETURN_METHOD:
        return returned(l);
    case AMQP_CHANNEL_CLOSE_METHOD:
        return failed_text(l, "publishing", ((amqp_channel_close_t *)method->decoded)->reply_text);
    case AMQP_CONNECTION_CLOSE_METHOD:
        return failed_text(l, "publishing",
                           ((amqp_connection_close_t *)method->decoded)->reply_text);
    default:
        return 0; /* connection.blocked: it waits */
    }
}

int link_confirmed(struct link *l, uint64_t *confirmed, uint64_t upto) {
    while (*confirmed < upto) {
        amqp_frame_t frame;
        int status = amqp_simple_wait_frame_noblock(l->connection, &frame, &patience);
        if (status != AMQP_STATUS_OK)
            return failed(l, "waiting for confirms", amqp_error_string2(status));
        if (frame.frame_type == AMQP_FRAME_METHOD &&
            take_answer(l, &frame.payload.method, confirmed) != 0)
            return -1;
    }
    amqp_maybe_release_buffers(l->connection);
    return 0;
}
