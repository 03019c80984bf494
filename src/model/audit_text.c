/*
 * The text of an entry:
 *
 *   {"number":17,"time":"2030-01-02T03:04:05.678901234Z","position":123,"actor":"ops#06099d4c",
 *    "address":"127.0.0.1:51234","action":"define","resource":"queues/mail","result":"replaced",
 *    "sha256":"..."}
 *
 * `sha256` is of the definition as it stands in the log, but for the values of a destination's header
 * fields: a hash of a short secret would be as good as the secret. `count` stands where many are concerned,
 * `detail` where the program itself has something to say.
 */
#include <inttypes.h>
#include <sodium.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/utf8.h"
#include "model/audit.h"
#include "model/job.h"

#define DEFINITION_MAX_BYTES ((size_t)4 << 20)
#define WORDS_MAX_BYTES      512u

static const struct {
    enum request_kind kind;
    const char *action, *plural, *result;
} named[] = {
    {REQUEST_QUEUE_DEFINE, "define", "queues", NULL},
    {REQUEST_QUEUE_DELETE, "delete", "queues", "deleted"},
    {REQUEST_QUEUE_PAUSE, "pause", "queues", "paused"},
    {REQUEST_QUEUE_RESUME, "resume", "queues", "resumed"},
    {REQUEST_QUEUE_PURGE, "purge", "queues", "purged"},
    {REQUEST_QUEUE_REDRIVE, "redrive", "queues", "redriven"},
    {REQUEST_MESSAGE_DELETE, "delete", "queues", "deleted"},
    {REQUEST_MESSAGE_EDIT, "edit", "queues", "edited"},
    {REQUEST_MESSAGE_TRANSFER, "move", "queues", "moved"},
    {REQUEST_JOB_START, "start", "queues", "started"},
    {REQUEST_JOB_CANCEL, "cancel", "queues", "cancelled"},
    {REQUEST_JOB_STEP, "finish", "queues", "finished"}, /* the last one */
    {REQUEST_STOCK_DEFINE, "define", "stocks", NULL},
    {REQUEST_STOCK_DELETE, "delete", "stocks", "deleted"},
    {REQUEST_CAMPAIGN_DEFINE, "define", "campaigns", NULL},
    {REQUEST_CAMPAIGN_DELETE, "delete", "campaigns", "deleted"},
    {REQUEST_DESTINATION_DEFINE, "define", "destinations", NULL},
    {REQUEST_DESTINATION_DELETE, "delete", "destinations", "deleted"},
    {REQUEST_DESTINATION_PAUSE, "pause", "destinations", "paused"},
    {REQUEST_DESTINATION_RESUME, "resume", "destinations", "resumed"},
    {REQUEST_DESTINATION_OPEN, "open", "destinations", "opened"},
    {REQUEST_DESTINATION_CLOSE, "close", "destinations", "closed"},
    {REQUEST_DESTINATION_FAILOVER, "failover", "destinations", "failed-over"},
    {REQUEST_DESTINATION_RETURN, "return", "destinations", "returned"},
    {REQUEST_ENDPOINT_EJECT, "eject", "destinations", "ejected"},
    {REQUEST_ENDPOINT_RETURN, "return", "destinations", "returned"},
    {REQUEST_VHOST_DEFINE, "define", "vhosts", "defined"},
    {REQUEST_VHOST_DELETE, "delete", "vhosts", "deleted"},
    {REQUEST_USER_DEFINE, "define", "users", "defined"},
    {REQUEST_USER_DELETE, "delete", "users", "deleted"},
    {REQUEST_PERMISSION_DEFINE, "define", "permissions", "defined"},
    {REQUEST_PERMISSION_DELETE, "delete", "permissions", "deleted"},
    {REQUEST_POLICY_DEFINE, "define", "policies", "defined"},
    {REQUEST_POLICY_DELETE, "delete", "policies", "deleted"},
    {REQUEST_EXCHANGE_DECLARE, "define", "exchanges", "defined"},
    {REQUEST_EXCHANGE_DELETE, "delete", "exchanges", "deleted"},
    {REQUEST_AMQP_QUEUE_DECLARE, "define", "queues", "defined"},
    {REQUEST_AMQP_QUEUE_DELETE, "delete", "queues", "deleted"},
    {REQUEST_AMQP_QUEUE_PURGE, "purge", "queues", "purged"},
    {REQUEST_AMQP_BIND, "define", "bindings", "defined"},
    {REQUEST_AMQP_UNBIND, "delete", "bindings", "deleted"},
    {REQUEST_AUDIT_NOTE, NULL, NULL, "done"},
};

static size_t place_of(enum request_kind kind) {
    size_t i = 0;
    while (i < ARRAY_LENGTH(named) && named[i].kind != kind) {
        i++;
    }
    return i;
}

bool audit_names(enum request_kind kind) {
    return place_of(kind) < ARRAY_LENGTH(named);
}

/* `,"key":"text"`; what would need escaping becomes '_'. */
static int put_text(struct buffer *out, const char *key, struct span text) {
    int rc = buffer_printf(out, ",\"%s\":\"", key);
    size_t from = out->size;
    rc = rc != 0 ? rc : buffer_append_span(out, text);
    for (size_t i = from; rc == 0 && i < out->size; i++) {
        uint8_t c = out->data[i];
        if (c < ' ' || c > '~' || c == '"' || c == '\\') {
            out->data[i] = '_';
        }
    }
    return rc != 0 ? rc : buffer_append_text(out, "\"");
}

/* What people wrote, as they wrote it; cut where it would be longer than WORDS_MAX_BYTES. */
static int put_words(struct buffer *out, const char *key, struct span text) {
    int rc = buffer_printf(out, ",\"%s\":\"", key);
    size_t from = out->size;
    for (size_t i = 0, length = 0; rc == 0 && i < text.size; i += length) {
        const uint8_t *c = text.data + i;
        bool quote = *c == '"' || *c == '\\';
        length = utf8_length(c, text.size - i);
        bool plain = length > 1 || (length == 1 && *c >= ' ' && *c != 0x7f);
        length += length == 0;
        if (out->size - from + quote + length > WORDS_MAX_BYTES) {
            break;
        }
        rc = quote ? buffer_put_u8(out, '\\') : 0;
        rc = rc != 0 ? rc : buffer_append_span(out, plain ? span_of(c, length) : span_text("_"));
    }
    return rc != 0 ? rc : buffer_append_text(out, "\"");
}

/* Day of the Gregorian calendar, counted in years that begin in March: then the leap day is a year's last. */
static void day_of(uint64_t days, unsigned *ret_year, unsigned *ret_month, unsigned *ret_day) {
    const unsigned era_days = 146097, shifted = (unsigned)days + 719468; /* since 0000-03-01 */
    unsigned era = shifted / era_days, in_era = shifted % era_days;
    unsigned year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    unsigned in_year = in_era - (365 * year + year / 4 - year / 100);
    unsigned month = (5 * in_year + 2) / 153;
    *ret_day = in_year - (153 * month + 2) / 5 + 1;
    *ret_month = month < 10 ? month + 3 : month - 9;
    *ret_year = year + era * 400 + (*ret_month <= 2);
}

int audit_put_time(struct buffer *out, uint64_t ns) {
    unsigned year, month, day, second = (unsigned)(ns / NS_PER_SECOND % 86400);
    day_of(ns / NS_PER_SECOND / 86400, &year, &month, &day);
    return buffer_printf(out, ",\"time\":\"%04u-%02u-%02uT%02u:%02u:%02u.%09" PRIu64 "Z\"", year,
                         month, day, second / 3600, second / 60 % 60, second % 60,
                         ns % NS_PER_SECOND);
}

/* "queues/%2F/mail"-like without the escape: vhost and name; of a binding both its ends. */
static int put_amqp_resource(struct buffer *out, const char *plural, const struct request *r) {
    char text[VHOST_MAX_BYTES + 2 * 256 + 64];
    bool binding = r->kind == REQUEST_AMQP_BIND || r->kind == REQUEST_AMQP_UNBIND;
    struct span destination = binding ? r->in.binding.destination : span_text("");
    int size = snprintf(text, sizeof text, "%s/%.*s%s%.*s%s%.*s", plural, SPAN_ARG(r->vhost),
                        r->vhost.size > 0 ? "/" : "", SPAN_ARG(r->name), binding ? "/" : "",
                        SPAN_ARG(destination));
    return put_text(out, "resource",
                    span_of(text, size < (int)sizeof text ? (size_t)size : sizeof text - 1));
}

/* "queues/mail", or "queues/mail/messages/r..." where one message is meant. */
static int put_resource(struct buffer *out, const char *plural, const struct request *r) {
    char text[2 * NAME_MAX_BYTES + 64], id[18];
    bool endpoint = r->kind == REQUEST_ENDPOINT_EJECT || r->kind == REQUEST_ENDPOINT_RETURN;
    bool redriven = r->kind == REQUEST_QUEUE_REDRIVE && r->in.redrive.id != 0;
    bool job = r->kind >> 8 == MODULE_JOB;
    if (!job && (r->kind >> 8 >= MODULE_EXCHANGE || r->vhost.size > 0)) {
        return put_amqp_resource(out, plural, r);
    }
    int size = snprintf(text, sizeof text, "%s/%.*s", plural, SPAN_ARG(r->name));
    if (redriven || r->kind == REQUEST_MESSAGE_DELETE || r->kind == REQUEST_MESSAGE_EDIT ||
        r->kind == REQUEST_MESSAGE_TRANSFER) {
        receipt_format(redriven ? r->in.redrive.id : r->id, id);
        size += snprintf(text + size, sizeof text - (size_t)size, "/messages/%s", id);
    }
    if (job) {
        receipt_format(r->id, id);
        size += snprintf(text + size, sizeof text - (size_t)size, "/jobs/j%s", id + 1);
    }
    if (endpoint) {
        int more = snprintf(text + size, sizeof text - (size_t)size, "/endpoints/%.*s",
                            SPAN_ARG(r->in.endpoint));
        size = size + more < (int)sizeof text ? size + more : (int)sizeof text - 1;
    }
    return put_text(out, "resource", span_of(text, (size_t)size));
}

static int encode_definition(const struct request *r, struct buffer *out) {
    struct destination_def quiet;
    switch (r->kind) {
    case REQUEST_QUEUE_DEFINE:
        return queue_def_encode(r->in.define.queue, out);
    case REQUEST_STOCK_DEFINE:
        return stock_def_encode(r->in.define.stock, out);
    case REQUEST_CAMPAIGN_DEFINE:
        return campaign_def_encode(r->in.define.campaign, out);
    default:
        quiet = *r->in.define.destination; /* texts stay the caller's */
        quiet.headers = (char *)(uintptr_t) "";
        return destination_def_encode(&quiet, out);
    }
}

static int put_definition(struct buffer *out, const struct request *r) {
    struct buffer encoded;
    uint8_t hash[AUDIT_HASH_BYTES];
    char text[2 * AUDIT_HASH_BYTES + 1];
    buffer_init(&encoded, DEFINITION_MAX_BYTES);
    int rc = encode_definition(r, &encoded);
    if (rc == 0) {
        crypto_hash_sha256(hash, encoded.data, encoded.size);
        audit_hash_text(hash, text);
        bool created = r->in.define.how.ret_created;
        rc = put_text(out, "result", span_text(created ? "created" : "replaced"));
        rc = rc != 0 ? rc : put_text(out, "sha256", span_text(text));
    }
    buffer_release(&encoded);
    return rc;
}

/* What, which, why. */
static int put_job(struct buffer *out, const struct job_start *j) {
    int rc = put_text(out, "what", span_text(job_action_name(j->action)));
    rc = rc != 0 ? rc : put_words(out, "filter", j->filter);
    rc = rc != 0 || j->to.size == 0
             ? rc
             : put_text(out, "to", span_of(j->to.data, j->to.size < 256 ? j->to.size : 256));
    return rc != 0 || j->reason.size == 0 ? rc : put_words(out, "reason", j->reason);
}

static int put_result(struct buffer *out, const char *result, const struct request *r) {
    if (result == NULL) {
        return put_definition(out, r);
    }
    int rc = put_text(out, "result", span_text(result));
    if (rc == 0 && r->kind == REQUEST_JOB_START) {
        return put_job(out, &r->in.job_start);
    }
    if (rc == 0 && (r->kind == REQUEST_QUEUE_PURGE || r->kind == REQUEST_QUEUE_REDRIVE ||
                    r->kind == REQUEST_JOB_CANCEL || r->kind == REQUEST_JOB_STEP)) {
        rc = buffer_printf(out, ",\"count\":%" PRIu64, r->count);
    }
    if (rc == 0 && r->kind == REQUEST_AUDIT_NOTE) {
        rc = put_text(out, "detail", r->in.note);
    }
    if (rc == 0 && r->kind == REQUEST_MESSAGE_DELETE && r->in.note.size > 0) {
        rc = put_words(out, "reason", r->in.note);
    }
    if (rc == 0 && r->kind == REQUEST_MESSAGE_TRANSFER) {
        rc = put_text(out, "to", r->in.transfer.to);
    }
    return rc;
}

int audit_text(const struct decision *d, const struct request *r, uint64_t number,
               struct buffer *out) {
    size_t i = place_of(r->kind);
    bool note = r->kind == REQUEST_AUDIT_NOTE;
    int rc = buffer_printf(out, "{\"number\":%" PRIu64, number);
    rc = rc != 0 ? rc : audit_put_time(out, d->now_ns);
    rc = rc != 0 ? rc : buffer_printf(out, ",\"position\":%" PRIu64, d->position);
    rc = rc != 0 ? rc : put_text(out, "actor", r->actor);
    rc = rc != 0 ? rc : put_text(out, "address", r->address);
    rc = rc != 0 ? rc : put_text(out, "action", note ? r->name : span_text(named[i].action));
    rc = rc != 0 || note ? rc : put_resource(out, named[i].plural, r);
    rc = rc != 0 ? rc : put_result(out, named[i].result, r);
    return rc != 0 ? rc : buffer_append_text(out, "}");
}

/* ---- lines of the file ---- */

void audit_hash_text(const uint8_t hash[AUDIT_HASH_BYTES], char out[2 * AUDIT_HASH_BYTES + 1]) {
    sodium_bin2hex(out, 2 * AUDIT_HASH_BYTES + 1, hash, AUDIT_HASH_BYTES);
}

int audit_line_append(const struct audit_entry *e, struct buffer *out) {
    char hash[2 * AUDIT_HASH_BYTES + 1];
    audit_hash_text(e->hash, hash);
    return buffer_printf(out, "%s %.*s\n", hash, SPAN_ARG(e->text));
}

static bool take_hex(const uint8_t *text, uint8_t hash[AUDIT_HASH_BYTES]) {
    for (size_t i = 0; i < 2 * AUDIT_HASH_BYTES; i++) {
        uint8_t c = text[i];
        unsigned digit = c >= '0' && c <= '9'   ? c - (unsigned)'0'
                         : c >= 'a' && c <= 'f' ? c - (unsigned)'a' + 10
                                                : 16; /* capitals too: one hash, one text */
        if (digit > 15) {
            return false;
        }
        hash[i / 2] = (uint8_t)(i % 2 == 0 ? digit << 4 : hash[i / 2] | digit);
    }
    return true;
}

int audit_line_parse(struct span line, struct audit_entry *ret) {
    static const char start[] = "{\"number\":";
    const size_t hash_size = 2 * AUDIT_HASH_BYTES, start_size = sizeof start - 1;
    if (line.size < hash_size + 1 + start_size + 2 || line.data[hash_size] != ' ' ||
        !take_hex(line.data, ret->hash)) {
        return E_CORRUPT;
    }
    ret->text = span_of(line.data + hash_size + 1, line.size - hash_size - 1);
    if (memcmp(ret->text.data, start, start_size) != 0 ||
        ret->text.data[ret->text.size - 1] != '}') {
        return E_CORRUPT;
    }
    ret->number = 0;
    for (size_t i = start_size; ret->text.data[i] >= '0' && ret->text.data[i] <= '9'; i++) {
        ret->number = ret->number * 10 + (ret->text.data[i] - (unsigned)'0');
    }
    return ret->number > 0 ? 0 : E_CORRUPT;
}
