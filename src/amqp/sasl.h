/*
 * amqp/sasl.h - what a client says about itself in connection.start-ok: PLAIN, AMQPLAIN, EXTERNAL.
 *
 * Errors:  E_UNSUPPORTED: no mechanism of ours; E_INVALID: malformed response.
 */
#ifndef SLUICE_AMQP_SASL_H
#define SLUICE_AMQP_SASL_H

#include "base/compiler.h"
#include "base/span.h"

#define AMQP_MECHANISMS          "AMQPLAIN PLAIN"
#define AMQP_MECHANISMS_EXTERNAL "AMQPLAIN PLAIN EXTERNAL"

struct amqp_login {
    struct span user;     /* of EXTERNAL: empty, the certificate says it */
    struct span password; /* of EXTERNAL: empty */
    bool external;
};

/* Spans borrow from `response`. */
MUST_CHECK int amqp_login_read(struct span mechanism, struct span response, struct amqp_login *ret);

#endif
