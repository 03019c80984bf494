/*
 * app/config/config.h - the configuration file: one YAML document, checked as a whole before anything
 * of it is used.
 *
 *      listeners:
 *        - host: 127.0.0.1                     # default
 *          port: 8080
 *          protocol: http                      # default; amqp: AMQP 0-9-1
 *          tls: {certificate: cert.pem, key: key.pem, clientCa: ca.pem}
 *      dataDirectory: /var/lib/sluice
 *      ioThreads: 1
 *      log: {segmentBytes: 67108864, minFreeBytes: 1073741824, preparedBytes: 268435456, snapshotEveryBytes: 268435456}
 *      limits: {...}                           # model_limits, http_limits, queueMax; lowerCamelCase
 *      amqp: {messageBytes: 16777216, ...}     # amqp_limits
 *      logging: {level: info, format: logfmt}
 *      tokens: [{name: shop, hash: "blake2b:...", scopes: [produce], resources: ["queues/mail"]}]
 *      openLoopback: true                      # without tokens: whoever is on this machine may do all
 *      allowRemoteWithoutTls: false            # an address that is not loopback needs tokens and TLS ...
 *      allowRemoteWithoutTokens: false         # ... unless these say otherwise
 *      destinations: [...]  queues: [...]  stocks: [...]  campaigns: [...]
 *
 * Promise: a file is taken whole or not at all; every error is reported, each with file, line, column,
 *          the path of the field, what was expected and what was found.
 * Shape:   opaque but for the getters; texts borrow from the config until config_free.
 */
#ifndef SLUICE_APP_CONFIG_CONFIG_H
#define SLUICE_APP_CONFIG_CONFIG_H

#include "amqp/connection.h"
#include "api/auth.h"
#include "base/logline.h"
#include "engine/engine.h"
#include "http/server.h"
#include "net/tls.h"

struct config;

/* In the order of its words in config.c. */
enum config_protocol { CONFIG_HTTP, CONFIG_AMQP };

struct config_listener {
    const char *host;
    uint16_t port;
    enum config_protocol protocol;
    bool has_tls;
    struct tls_options tls;
};

/* What the file says about the program itself; defaults where it says nothing. */
struct config_settings {
    const struct config_listener *listeners;
    size_t listener_count;      /* at least 1: 127.0.0.1:8080 without a word in the file */
    const char *data_directory; /* "sluice-data" without a word in the file */
    const char *user;           /* to become; empty: none */
    bool system_call_filter, core_dumps;
    uint32_t io_threads;       /* 0: chosen by the program */
    uint64_t resident_bytes;   /* 0: by the percentage */
    uint32_t resident_percent; /* of the machine's memory; 0: no limit */
    uint64_t segment_bytes, min_free_bytes, prepared_bytes, snapshot_every_bytes;
    struct model_limits model_limits;
    struct http_limits http_limits;
    struct amqp_limits amqp_limits;
    uint32_t requests_per_second,
        requests_burst; /* of one client of the API; 0: no limit, or a second's */
    uint32_t queue_max; /* requests under way in the engine */
    const struct token_def *tokens;
    uint32_t token_count;
    bool open_loopback;
    enum logline_level log_level;
    enum logline_format log_format;
};

/*
 * `errors` gets one line per error ("file:12:5: /queues/0/rateLimits: expected ..., found ..."); init'd
 * by the caller. path NULL: no file, everything at its default. E_INVALID: errors says why; E_IO; E_NOMEM.
 */
MUST_CHECK int config_load(const char *path, struct buffer *errors, struct config **ret_config);
void config_free(struct config *c);
const struct config_settings *config_settings(const struct config *c);

/* Does a listener's host name this machine only: 127.0.0.0/8, ::1, localhost. */
bool config_is_loopback(const char *host);

/*
 * All there is to say about a file, a line each: what cannot be read of it, what an empty server would refuse of the
 * definitions, what is wrong with certificates and keys; and as "warning: ..." what a start only might stumble over.
 * E_INVALID, E_CONFLICT: a server would not start; E_IO, E_NOMEM.
 */
MUST_CHECK int config_check(const char *path, struct buffer *errors);

/*
 * Defines destinations, queues, stocks and campaigns, in this order, a queue behind those that its outcomes go to, as
 * coming from the file: one that is as
 * this file said it the last time is left as it is now (changes at run time win until the file changes).
 * Stops at the first refusal, which is in `errors`. E_CONFLICT; E_IO: the engine is dead.
 */
MUST_CHECK int config_apply(const struct config *c, struct engine *engine, struct buffer *errors);

#endif
