/*
 * GET /v1/audit: the latest administrative actions, the newest first. All of them stand in the audit file.
 */
#include "api/info.h"
#include "api/routes.h"
#include "model/audit.h"

static void write_hash(const char *key, const uint8_t hash[AUDIT_HASH_BYTES],
                       struct json_out *out) {
    char text[2 * AUDIT_HASH_BYTES + 1];
    audit_hash_text(hash, text);
    info_text(out, key, text);
}

/* {"hash": "...", "entry": {...}}: the entry as it was hashed. */
static void write_entry(struct reader *r, struct json_out *out) {
    struct span hash = reader_take(r, AUDIT_HASH_BYTES), text = reader_bytes(r);
    if (r->failed) {
        out->failed = true;
        return;
    }
    out_open(out, '{');
    write_hash("hash", hash.data, out);
    out_key(out, "entry");
    out_raw(out, text);
    out_close(out, '}');
}

static void listed(struct call *c) {
    const struct request *answer = &c->request.r;
    if (call_refused(c)) {
        return;
    }
    struct reader r;
    reader_init(&r, buffer_span(&answer->out_bytes));
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_u64(&out, "count", answer->out.audit.count);
    info_u64(&out, "written", answer->out.audit.written);
    write_hash("head", answer->out.audit.head, &out);
    out_key(&out, "entries");
    out_open(&out, '[');
    for (uint64_t i = 0; i < answer->count && !out.failed; i++) {
        write_entry(&r, &out);
    }
    out_close(&out, ']');
    call_page_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void audit_list(struct call *c) {
    call_list(c, REQUEST_AUDIT_LIST, listed);
}
