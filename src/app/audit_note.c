#include "app/audit_note.h"

#include <stdio.h>

#include "base/logline.h"
#include "model/audit.h"

#define TOKENS_TEXT_BYTES 1500u

/* "ops#06099d4c[admin] ..."; what does not fit is counted. */
static void describe_tokens(const struct server_options *o, char *text, size_t size) {
    size_t at = (size_t)snprintf(text, size, "version %s, tokens: %u", o->version, o->token_count);
    for (uint32_t i = 0; i < o->token_count && at < size; i++) {
        const struct token_def *t = &o->tokens[i];
        size_t before = at;
        at += (size_t)snprintf(text + at, size - at, " %s#%.8s[", t->name, token_hash_id(t->hash));
        for (unsigned scope = SCOPE_READ; scope <= SCOPE_ADMIN && at < size; scope <<= 1)
            if ((t->scopes & scope) != 0)
                at += (size_t)snprintf(text + at, size - at, "%s,", scope_name((enum scope)scope));
        if (at < size)
            at += (size_t)snprintf(text + at, size - at, "%u patterns]", t->resource_count);
        if (at >= size)
            text[before] = '\0';
    }
}

static void note(struct engine *e, const char *action, const char *text) {
    struct request r;
    request_init(&r, REQUEST_AUDIT_NOTE);
    r.name = span_text(action);
    r.actor = span_text("program");
    r.address = span_text("-");
    r.in.note = span_text(text);
    if (engine_call(e, &r) != 0 || r.refusal != REFUSAL_NONE) {
        struct logline line;
        logline_begin(&line, LOGLINE_WARN, "not in the audit");
        logline_text(&line, "action", action);
        logline_text(&line, "reason", refusal_name(r.refusal));
        logline_end(&line);
    }
    request_release(&r);
}

void audit_note_head(struct engine *e) {
    struct request r;
    char head[2 * AUDIT_HASH_BYTES + 1];
    request_init(&r, REQUEST_AUDIT_LIST);
    r.in.list.max = 1;
    if (engine_call(e, &r) == 0) {
        audit_hash_text(r.out.audit.head, head);
        struct logline line;
        logline_begin(&line, LOGLINE_INFO, "audit");
        logline_u64(&line, "entries", r.out.audit.count);
        logline_text(&line, "head", head);
        logline_end(&line);
    }
    request_release(&r);
}

void audit_note_start(struct engine *e, const struct server_options *o, const char *report) {
    char tokens[TOKENS_TEXT_BYTES];
    if (o->engine.salvage)
        note(e, "salvage", report[0] != '\0' ? report : "nothing given up");
    describe_tokens(o, tokens, sizeof(tokens));
    note(e, "start", tokens);
}
