/*
 * cli/import_link.h - a connection to an AMQP broker, by librabbitmq: the one that is moved from, and ours.
 *
 * Promise: what fails leaves a sentence for people in `error`, and -1; the link is then only to be closed.
 * Shape:   caller-owned; one thread; blocks, but never longer than LINK_TIMEOUT_SECONDS without progress.
 */
#ifndef SLUICE_CLI_IMPORT_LINK_H
#define SLUICE_CLI_IMPORT_LINK_H

#include <amqp.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define LINK_TIMEOUT_SECONDS 60
#define LINK_WINDOW          256u /* messages on their way at a time */

struct link_options {
    const char *uri;         /* amqp:// or amqps:// */
    const char *vhost;       /* instead of the URI's; NULL: that */
    const char *ca;          /* PEM file for amqps; NULL: the system's */
    const char *certificate; /* of the client, with its key; NULL: none */
    const char *key;
};

struct link {
    amqp_connection_state_t connection; /* owns */
    char error[320];
    bool exclusive; /* what it consumes */
};

/* With one channel open. */
MUST_CHECK int link_open(struct link *l, const struct link_options *options);
void link_close(struct link *l);
/* The vhost that a URI names; false: it names none. `out` has `size` bytes. */
bool link_vhost(const char *uri, char *out, size_t size);

/* Prefetch and a consumer; alone if the broker lets it. */
MUST_CHECK int link_consume(struct link *l, const char *queue);
/* 1: a message, to be destroyed; 0: none for so long; -1. */
MUST_CHECK int link_next(struct link *l, uint32_t wait_ms, amqp_envelope_t *ret);
/* All up to this one. */
MUST_CHECK int link_acknowledge(struct link *l, uint64_t tag);
/* How many are ready. -1: there is no such queue, or it failed; error says which. */
int64_t link_count(struct link *l, const char *queue);

MUST_CHECK int link_confirms(struct link *l);
MUST_CHECK int link_publish(struct link *l, const char *queue, const amqp_basic_properties_t *p,
                            amqp_bytes_t body);
/* Waits for the confirms of everything up to this one, counted from 1. -1 also when one was refused or returned. */
MUST_CHECK int link_confirmed(struct link *l, uint64_t *confirmed, uint64_t upto);

#endif
