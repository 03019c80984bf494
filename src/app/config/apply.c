#include <stdio.h>

#include "app/config/internal.h"
#include "base/error.h"

void config_refused(const struct config *c, const struct config_definition *d,
                    const struct request *r, struct buffer *errors) {
    char pointer[sizeof d->pointer + sizeof r->error_pointer], detail[256];
    snprintf(pointer, sizeof pointer, "%s%s", d->pointer, r->error_pointer);
    snprintf(detail, sizeof detail, "%s \"%s\" was refused (%s)%s%s",
             definition_types[d->definition.kind].noun, definition_name(&d->definition),
             refusal_name(r->refusal), r->error_detail != NULL ? ": " : "",
             r->error_detail != NULL ? r->error_detail : "");
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
