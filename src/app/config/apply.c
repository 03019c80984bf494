#include <stdio.h>

#include "app/config/internal.h"
#include "base/error.h"

/* What `pointer` of a definition refers to, or NULL. */
static const char *referred(const struct definition *d, const char *pointer) {
    const struct queue_def *q = d->kind == DEFINITION_QUEUE ? &d->u.queue : NULL;
    const struct campaign_def *a = d->kind == DEFINITION_CAMPAIGN ? &d->u.campaign : NULL;
    const struct {
        const char *pointer, *name;
    } fields[] = {
        {"/destination", q != NULL ? q->destination : NULL},
        {"/onSuccess/queue", q != NULL ? q->on_success.queue : NULL},
        {"/onFailure/queue", q != NULL ? q->on_failure.queue : NULL},
        {"/stock", a != NULL ? a->stock : NULL},
        {"/queue", a != NULL ? a->queue : NULL},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(fields); i++) {
        if (strcmp(pointer, fields[i].pointer) == 0) {
            return fields[i].name;
        }
    }
    return NULL;
}

void config_refused(const struct config *c, const struct config_definition *d,
                    const struct request *r, struct buffer *errors) {
    char pointer[sizeof d->pointer + sizeof r->error_pointer], detail[512];
    const char *name =
        r->refusal == REFUSAL_REFERENCE ? referred(&d->definition, r->error_pointer) : NULL;
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
