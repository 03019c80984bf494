/*
 * What a start would say of the certificates, and what the definitions of a file would be answered by an empty
 * server: each is decided by a model of its own, as at the start, and takes effect there for those behind it. What is
 * said here is therefore said by the code that will judge them; only what depends on what a server has already (a
 * total below what was sold, a destination that was defined at run time) stays open.
 */
#include <stdio.h>

#include "app/config/internal.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/rng.h"
#include "model/model.h"
#include "model/module.h"

#define FACTS_MAX_BYTES (24u << 20)

/* E_CONFLICT: refused, and `errors` says why. */
static int decide_one(const struct config *c, const struct config_definition *d, struct model *m,
                      struct decision *decision, struct buffer *errors) {
    struct request r;
    definition_request(&d->definition, &r);
    buffer_clear(decision->facts);
    decision->fact_count = 0;
    decision->operation = 0;
    decision->position++;
    enum refusal refusal = model_decide(m, decision, &r);
    int error = decision->failed ? E_NOMEM : 0;
    if (error == 0 && refusal == REFUSAL_NONE) {
        struct applied where = {.time_ns = decision->now_ns, .position = decision->position};
        error = model_apply(m, &where, buffer_span(decision->facts));
    } else if (error == 0 && refusal != REFUSAL_REFERENCE) { /* it may be there by then */
        config_refused(c, d, &r, errors);
        error = E_CONFLICT;
    }
    request_release(&r);
    return error;
}

/* As a server that starts opens them, with the rights of whoever asks. E_CONFLICT: one cannot be used. */
static int check_certificates(const struct config *c, struct buffer *errors) {
    int error = 0;
    for (uint32_t i = 0; i < c->text_count; i++) {
        struct tls_context *tls = NULL;
        char reason[256], pointer[40];
        if (c->listeners[i].has_tls &&
            tls_context_create(&c->listeners[i].tls, reason, &tls) != 0) {
            snprintf(pointer, sizeof pointer, LISTENER_POINTER, i);
            config_error(errors, c->file, c->texts[i].place, pointer, reason);
            error = E_CONFLICT;
        }
        tls_context_free(tls);
    }
    return error;
}

static int check_definitions(const struct config *c, struct buffer *errors) {
    struct model *m;
    struct rng random;
    struct buffer facts;
    int error = model_create(&c->settings.model_limits, (struct hash_key){0}, &m);
    if (error != 0) {
        return error;
    }
    rng_init(&random, 1);
    buffer_init(&facts, FACTS_MAX_BYTES);
    struct decision decision = {
        .now_ns = clock_real_ns(), .random = &random, .may_grow = true, .facts = &facts};
    for (uint32_t i = 0; i < c->definition_count; i++) {
        int one = decide_one(c, &c->definitions[i], m, &decision, errors);
        error = error != 0 ? error : one;
        if (one != 0 && one != E_CONFLICT) {
            break;
        }
    }
    buffer_release(&facts);
    model_free(m);
    return error;
}

int config_check(const struct config *c, struct buffer *errors) {
    int certificates = check_certificates(c, errors), error = check_definitions(c, errors);
    return error != 0 ? error : certificates;
}
