#include <stdio.h>
#include <stdlib.h>

#include "app/config/internal.h"
#include "base/error.h"
#include "model/outcome.h"

const char *config_referred(const struct definition *d, const char *pointer,
                            enum definition_kind *ret_kind) {
    const struct destination_def *t = d->kind == DEFINITION_DESTINATION ? &d->u.destination : NULL;
    const struct queue_def *q = d->kind == DEFINITION_QUEUE ? &d->u.queue : NULL;
    const struct campaign_def *a = d->kind == DEFINITION_CAMPAIGN ? &d->u.campaign : NULL;
    const struct {
        const char *pointer;
        enum definition_kind kind;
        const char *name;
    } fields[] = {
        {"/failover/destination", DEFINITION_DESTINATION,
         t != NULL ? t->failover.destination : NULL},
        {"/failover/queue", DEFINITION_QUEUE, t != NULL ? t->failover.queue : NULL},
        {"/destination", DEFINITION_DESTINATION, q != NULL ? q->destination : NULL},
        {"/onSuccess/queue", DEFINITION_QUEUE, q != NULL ? q->on_success.queue : NULL},
        {"/onFailure/queue", DEFINITION_QUEUE, q != NULL ? q->on_failure.queue : NULL},
        {"/stock", DEFINITION_STOCK, a != NULL ? a->stock : NULL},
        {"/queue", DEFINITION_QUEUE, a != NULL ? a->queue : NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        if (fields[i].name != NULL && strcmp(pointer, fields[i].pointer) == 0) {
            *ret_kind = fields[i].kind;
            return fields[i].name;
        }
    }
    return NULL;
}

static struct config_definition *find(const struct config *c, enum definition_kind kind,
                                      const char *name) {
    for (uint32_t i = 0; i < c->definition_count; i++) {
        const struct definition *d = &c->definitions[i].definition;
        if (d->kind == kind && strcmp(definition_name(d), name) == 0) {
            return &c->definitions[i];
        }
    }
    return NULL;
}

const struct config_definition *config_find(const struct config *c, enum definition_kind kind,
                                            const char *name) {
    return find(c, kind, name);
}

static bool goes_behind(const struct config *c, struct config_definition *d, const char *target) {
    const struct config_definition *other =
        target[0] != '\0' ? find(c, DEFINITION_QUEUE, target) : NULL;
    if (other == NULL || other->rank < d->rank) {
        return false;
    }
    d->rank = other->rank + 1;
    return true;
}

static int by_rank(const void *a, const void *b) {
    const struct config_definition *x = a, *y = b;
    int kind =
        (x->definition.kind > y->definition.kind) - (x->definition.kind < y->definition.kind);
    int rank = (x->rank > y->rank) - (x->rank < y->rank);
    int place = (x->index > y->index) - (x->index < y->index);
    return kind != 0 ? kind : rank != 0 ? rank : place;
}

/* Refused by any server: the last one would be told that the first is not there. */
static int goes_in_circles(const struct config_definition *d, const char *member,
                           struct field_reader *r) {
    snprintf(r->pointer, sizeof r->pointer, "%s/%s", d->pointer, member);
    field_fault(r, "queue",
                "outcomes of its outcomes would come to it, or through more than %u queues",
                OUTCOME_CHAIN_MAX + 2);
    r->pointer[0] = '\0';
    return E_INVALID;
}

/* Ranks go up until they fit; no rank of a file that a server takes needs more steps. */
int config_order(struct config *c, struct field_reader *r) {
    bool changed = true;
    int error = 0;
    for (uint32_t step = 0; step <= OUTCOME_CHAIN_MAX + 1 && changed; step++) {
        changed = false;
        for (uint32_t i = 0; i < c->definition_count; i++) {
            struct config_definition *d = &c->definitions[i];
            const struct queue_def *q = &d->definition.u.queue;
            d->index = i;
            bool success =
                d->definition.kind == DEFINITION_QUEUE && goes_behind(c, d, q->on_success.queue);
            bool failure =
                d->definition.kind == DEFINITION_QUEUE && goes_behind(c, d, q->on_failure.queue);
            changed |= success || failure;
            if (step == OUTCOME_CHAIN_MAX + 1 && (success || failure)) {
                error = goes_in_circles(d, success ? "onSuccess" : "onFailure", r);
            }
        }
    }
    if (c->definition_count > 0) {
        qsort(c->definitions, c->definition_count, sizeof *c->definitions, by_rank);
    }
    return error;
}

void config_refused(const struct config *c, const struct config_definition *d,
                    const struct request *r, struct buffer *errors) {
    char pointer[sizeof d->pointer + sizeof r->error_pointer], detail[512];
    enum definition_kind kind;
    const char *name = r->refusal == REFUSAL_REFERENCE
                           ? config_referred(&d->definition, r->error_pointer, &kind)
                           : NULL;
    snprintf(pointer, sizeof pointer, "%s%s", d->pointer, r->error_pointer);
    snprintf(detail, sizeof detail, "%s \"%s\" was refused (%s)%s%s%s%s",
             definition_types[d->definition.kind].noun, definition_name(&d->definition),
             refusal_name(r->refusal), r->error_detail != NULL ? ": " : "",
             r->error_detail != NULL ? r->error_detail : "", name != NULL ? ": " : "",
             name != NULL ? name : "");
    config_error(errors, c->file, d->place, pointer, detail);
}

static int apply_one(const struct config *c, const struct config_definition *d,
                     struct engine *engine, struct buffer *errors) {
    struct request r;
    definition_request(&d->definition, &r);
    r.actor = span_text("configuration");
    r.address = span_text("file");
    r.in.define.how.from_file = true;
    r.in.define.how.file_hash = d->file_hash;
    int error = engine_call(engine, &r);
    if (error == 0 && r.refusal != REFUSAL_NONE) {
        config_refused(c, d, &r, errors);
        error = E_CONFLICT;
    }
    request_release(&r);
    return error;
}

int config_apply(const struct config *c, struct engine *engine, struct buffer *errors) {
    int error = 0;
    for (uint32_t i = 0; i < c->definition_count && error == 0; i++) {
        error = apply_one(c, &c->definitions[i], engine, errors);
    }
    return error;
}
