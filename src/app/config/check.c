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
#include "dispatch/address.h"
#include "model/model.h"
#include "model/module.h"

#define FACTS_MAX_BYTES (24u << 20)

static void warn(const struct config *c, struct yaml_place place, const char *pointer,
                 const char *text, struct buffer *errors) {
    char detail[512];
    snprintf(detail, sizeof detail, "warning: %s", text);
    config_error(errors, c->file, place, pointer, detail);
}

/* What it refers to is not in the file: that is for the server to have. */
static void warn_of_absent(const struct config *c, const struct config_definition *d,
                           const char *pointer, struct buffer *errors) {
    char whole[sizeof d->pointer + 64], text[384];
    enum definition_kind kind;
    const char *name = config_referred(&d->definition, pointer, &kind);
    if (name == NULL || name[0] == '\0' || config_find(c, kind, name) != NULL) {
        return; /* what is wrong with it is said where it stands */
    }
    snprintf(whole, sizeof whole, "%s%.63s", d->pointer, pointer);
    snprintf(text, sizeof text, "%s \"%s\" is not in this file%s", definition_types[kind].noun,
             name,
             d->definition.kind == DEFINITION_DESTINATION
                 ? ""
                 : ": a server that does not have it already refuses to start");
    warn(c, d->place, whole, text, errors);
}

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
    } else if (error == 0 && refusal == REFUSAL_REFERENCE) {
        warn_of_absent(c, d, r.error_pointer, errors); /* it may be there by then */
    } else if (error == 0) {
        config_refused(c, d, &r, errors);
        error = E_CONFLICT;
    }
    request_release(&r);
    return error;
}

static void say_of_file(const struct config *c, uint32_t listener, enum tls_file file,
                        const char *text, bool refused, struct buffer *errors) {
    char pointer[TLS_POINTER_BYTES];
    struct yaml_place place = c->texts[listener].tls_places[file];
    config_tls_pointer(listener, file, pointer);
    if (refused) {
        config_error(errors, c->file, place, pointer, text);
    } else {
        warn(c, place, pointer, text, errors);
    }
}

/* As a server that starts opens them, with the rights of whoever asks. E_CONFLICT: one cannot be used. */
static int check_listener(const struct config *c, uint32_t listener, struct buffer *errors) {
    const struct tls_options *o = &c->listeners[listener].tls;
    struct tls_findings found;
    struct tls_context *tls = NULL;
    if (o->certificate_file[0] == '\0' || o->key_file[0] == '\0') {
        return 0; /* without TLS, or it was said that one is missing */
    }
    int error = tls_context_create(o, &found, &tls);
    tls_context_free(tls);
    for (int file = 0; file < TLS_FILES; file++) {
        if (found.unusable[file][0] != '\0') {
            say_of_file(c, listener, file, found.unusable[file], true, errors);
        }
    }
    if (found.outdated[0] != '\0') {
        say_of_file(c, listener, TLS_CERTIFICATE, found.outdated, false, errors);
    }
    return error == E_INVALID ? E_CONFLICT : error;
}

static int check_certificates(const struct config *c, struct buffer *errors) {
    int error = 0;
    for (uint32_t i = 0; i < c->text_count && error != E_NOMEM; i++) {
        int one = check_listener(c, i, errors);
        error = one != 0 ? one : error;
    }
    return error;
}

static void warn_of_private(const struct config *c, const struct config_definition *d,
                            const char *pointer, const char *url, struct buffer *errors) {
    char whole[sizeof d->pointer + 32];
    if (url[0] != '\0' && !address_of_url_may_be_public(url)) {
        snprintf(whole, sizeof whole, "%s%s", d->pointer, pointer);
        warn(c, d->place, whole,
             "a private address: nothing is sent there without allowPrivateAddresses: true",
             errors);
    }
}

static void warn_of_idle(const struct config *c, const struct config_definition *d,
                         struct buffer *errors) {
    char pointer[sizeof d->pointer + 32], text[96];
    const char *const *members = d->idle->members;
    bool two = members[0] != members[1];
    snprintf(pointer, sizeof pointer, "%s/%s", d->pointer, d->idle->name);
    snprintf(text, sizeof text, "it does nothing without %s%s%s", members[0], two ? " or " : "",
             two ? members[1] : "");
    warn(c, d->place, pointer, text, errors);
}

/* A server starts with these and has nothing to say: each message would. */
static void check_destination(const struct config *c, const struct config_definition *d,
                              struct buffer *errors) {
    const struct destination_def *def = &d->definition.u.destination;
    warn_of_absent(c, d, "/failover/destination", errors);
    warn_of_absent(c, d, "/failover/queue", errors);
    if (d->idle != NULL) {
        warn_of_idle(c, d, errors);
    }
    if (def->allow_private || def->making.proxy[0] != '\0') {
        return;
    }
    warn_of_private(c, d, "/url", def->url, errors);
    for (uint32_t i = 0; i < def->endpoints.count; i++) {
        char pointer[32];
        snprintf(pointer, sizeof pointer, "/endpoints/%u/url", i);
        warn_of_private(c, d, pointer, def->endpoints.items[i].url, errors);
    }
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
        const struct config_definition *d = &c->definitions[i];
        int one = d->broken ? 0 : decide_one(c, d, m, &decision, errors);
        error = error != 0 ? error : one;
        if (!d->broken && d->definition.kind == DEFINITION_DESTINATION) {
            check_destination(c, d, errors);
        }
        if (one != 0 && one != E_CONFLICT) {
            break;
        }
    }
    buffer_release(&facts);
    model_free(m);
    return error;
}

int config_check_text(const char *file, struct span text, struct buffer *errors) {
    struct config *c = NULL;
    int error = config_read(file, text, errors, &c);
    if (c == NULL) {
        return error;
    }
    int certificates = check_certificates(c, errors), definitions = check_definitions(c, errors);
    config_free(c);
    return error != 0 ? error : definitions != 0 ? definitions : certificates;
}

int config_check(const char *path, struct buffer *errors) {
    struct span text;
    int error = config_load_text(path, errors, &text);
    if (error == 0) {
        error = config_check_text(path, text, errors);
        config_free_text(text);
    }
    return error;
}
