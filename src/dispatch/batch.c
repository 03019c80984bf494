#include "dispatch/batch.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/error.h"
#include "dispatch/making.h"
#include "model/destination.h"

#define WHOLE_MAX 9007199254740992.0 /* up to there a double has each of them */

struct batch *batch_create(struct dispatch *d, const struct attempt_start *start,
                           struct report *first) {
    struct batch *b = calloc(1, sizeof *b);
    uint32_t count = 1 + start->item_count;
    if (b == NULL || (b->items = calloc(count, sizeof *b->items)) == NULL) {
        free(b);
        return NULL;
    }
    buffer_init(&b->answer, RECORD_MAX_BYTES);
    b->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct batch_item *item = &b->items[i];
        buffer_init(&item->record, RECORD_MAX_BYTES);
        item->start = *start;
        item->start.items = NULL;
        item->start.item_count = 0;
        if (i > 0) {
            item->start.message = start->items[i - 1].message;
            item->start.address = start->items[i - 1].address;
            item->start.attempt = start->items[i - 1].attempt;
        }
        item->report = i == 0 ? first : report_take(&d->reports);
        item->ended = item->report == NULL;
        if (item->ended) {
            atomic_fetch_add(&d->abandoned,
                             1); /* no memory: of unknown outcome at the next start */
        }
    }
    free(start->items);
    return b;
}

void batch_free(struct batch *b) {
    if (b == NULL) {
        return;
    }
    for (uint32_t i = 0; i < b->count; i++) {
        buffer_release(&b->items[i].record);
    }
    buffer_release(&b->answer);
    free(b->items);
    free(b);
}

void batch_end_joined(struct dispatch *d, const struct attempt_start *start,
                      const struct attempt_finish *f) {
    for (uint32_t i = 0; i < start->item_count; i++) {
        struct report *r = report_take(&d->reports);
        struct attempt_start own = *start;
        own.message = start->items[i].message;
        own.attempt = start->items[i].attempt;
        if (r == NULL) {
            atomic_fetch_add(&d->abandoned, 1);
        } else {
            report_end(&d->reports, r, &own, f);
        }
    }
    free(start->items);
}

static void end_item(struct call *c, struct batch_item *item, const struct attempt_finish *f) {
    struct attempt_finish own = *f;
    own.ordering_key = item->stored.envelope.ordering_key;
    own.correlation_id = item->stored.envelope.correlation_id;
    own.retry = item->stored.envelope.retry;
    report_fill(item->report, &item->start, &own);
    item->ended = true;
    if (item != c->batch->items) {
        report_line_up(&c->owner->reports, item->report);
        item->report = NULL;
    }
}

/* The request is over, and with it what the first one holds for all. */
static void end_request(struct call *c, const struct attempt_finish *answer) {
    struct batch_item *first = c->batch->items;
    struct attempt_finish *f = &first->report->request.r.in.finish;
    f->shared = true;
    f->answer_status = answer->status;
    f->answer_error = answer->error;
    f->duration_ns = answer->duration_ns;
    report_line_up(&c->owner->reports, first->report);
    first->report = NULL;
}

/* ---- the way out ---- */

/* NULL: it is no JSON. A number that is too large for us is still one. */
static json_t *body_json(const struct batch_item *item) {
    const size_t flags = JSON_DECODE_ANY | JSON_ALLOW_NUL;
    struct span body = item->stored.envelope.body;
    json_t *json = json_loadb((const char *)body.data, body.size, flags, NULL);
    return json != NULL ? json
                        : json_loadb((const char *)body.data, body.size,
                                     flags | JSON_DECODE_INT_AS_REAL, NULL);
}

static enum attempt_error read_item(struct call *c, struct batch_item *item, const char **why) {
    int rc = call_read_body(c->owner, &item->start, &item->record, &item->stored);
    if (rc == E_CORRUPT || rc == E_NOT_FOUND) {
        return ATTEMPT_BODY_LOST;
    }
    if (rc != 0) {
        return ATTEMPT_UNKNOWN;
    }
    json_t *json = body_json(item);
    if (json == NULL) {
        *why = "the body is no JSON, so it cannot stand in a batch";
        return ATTEMPT_NOT_MADE;
    }
    json_decref(json);
    return ATTEMPT_OK;
}

/* Line ends between its tokens become blanks: inside of texts JSON has none. */
static int put_body(struct buffer *out, struct span body, bool in_line) {
    int rc = buffer_append(out, body.data, body.size);
    for (size_t i = out->size - body.size; rc == 0 && in_line && i < out->size; i++) {
        uint8_t *at = out->data + i;
        *at = *at == '\n' || *at == '\r' ? ' ' : *at;
    }
    return rc;
}

static int put_item(struct call *c, const struct batch_item *item, uint32_t n) {
    bool lines = c->target->def.batch.format == BATCH_NDJSON;
    int rc = lines ? 0 : buffer_append_text(&c->made, n == 0 ? "[" : ",");
    rc = rc != 0 ? rc : put_body(&c->made, item->stored.envelope.body, lines);
    return rc != 0 || !lines ? rc : buffer_append_text(&c->made, "\n");
}

static void make_key(struct call *c, uint64_t folder) {
    crypto_generichash_state state;
    uint8_t print[16];
    crypto_generichash_init(&state, NULL, 0, sizeof print);
    crypto_generichash_update(&state, (const uint8_t *)&folder, sizeof folder);
    for (uint32_t i = 0; i < c->batch->count; i++) {
        const struct batch_item *item = &c->batch->items[i];
        if (!item->ended) {
            crypto_generichash_update(&state, (const uint8_t *)&item->start.message, 8);
        }
    }
    crypto_generichash_final(&state, print, sizeof print);
    c->key[0] = 'b';
    sodium_bin2hex(c->key + 1, sizeof c->key - 1, print, sizeof print);
}

uint32_t batch_make(struct call *c) {
    uint32_t n = 0;
    int rc = 0;
    buffer_clear(&c->made);
    for (uint32_t i = 0; i < c->batch->count; i++) {
        struct batch_item *item = &c->batch->items[i];
        const char *why = "";
        enum attempt_error error = item->ended ? ATTEMPT_OK : read_item(c, item, &why);
        if (!item->ended && error == ATTEMPT_OK) {
            rc = rc != 0 ? rc : put_item(c, item, n++);
        } else if (!item->ended) {
            bool final = error == ATTEMPT_BODY_LOST || error == ATTEMPT_NOT_MADE;
            end_item(c, item,
                     &(struct attempt_finish){
                         .error = (uint8_t)error, .retriable = !final, .excerpt = span_text(why)});
        }
    }
    if (n > 0 && c->target->def.batch.format == BATCH_JSON_ARRAY) {
        rc = rc != 0 ? rc : buffer_append_text(&c->made, "]");
    }
    if (rc != 0 || n == 0) {
        batch_end(c, &(struct attempt_finish){.error = ATTEMPT_UNKNOWN, .retriable = true});
        return 0;
    }
    make_key(c, engine_folder_id(c->owner->engine));
    return n;
}

/* ---- the way back ---- */

static const json_t *at_pointer(const json_t *value, const char *pointer) {
    return making_at_pointer(value, span_text(pointer));
}

/* By which a result is found: a text, or the digits of a whole number. NULL: it is no id. */
static const char *id_text(const json_t *id, char digits[24]) {
    double real = json_real_value(id); /* a whole number beside one that is too large (body_json) */
    bool whole = json_is_real(id) && real >= -WHOLE_MAX && real <= WHOLE_MAX &&
                 real == (double)(int64_t)real;
    if (json_is_integer(id) || whole) {
        json_int_t value = whole ? (json_int_t)real : json_integer_value(id);
        snprintf(digits, 24, "%" JSON_INTEGER_FORMAT, value);
        return digits;
    }
    const char *text = json_string_value(id);
    return text != NULL && strlen(text) == json_string_length(id) ? text : NULL;
}

/* The results by their ids, in their order: an answer may be long, so it is gone through once. NULL: no memory. */
static json_t *index_results(const struct batch_def *def, const json_t *list) {
    json_t *index = json_object();
    for (size_t i = 0; index != NULL && i < json_array_size(list); i++) {
        char digits[24];
        json_t *result = json_array_get(list, i);
        const char *id = id_text(at_pointer(result, def->result_id), digits);
        if (id != NULL && json_object_get(index, id) == NULL) {
            (void)json_object_set_new_nocheck(index, id, json_array()); /* without memory: none */
        }
        if (id != NULL) {
            (void)json_array_append(json_object_get(index, id), result);
        }
    }
    return index;
}

/* The next one of its id: messages may share one, and what became of the first says nothing of the second. Owned; NULL: none. */
static json_t *take_result(const struct batch_def *def, const json_t *index,
                           const struct batch_item *item) {
    char digits[24];
    json_t *own = body_json(item);
    const char *id = id_text(at_pointer(own, def->item_id), digits);
    json_t *results = id != NULL ? json_object_get(index, id) : NULL;
    json_t *found = json_incref(json_array_get(results, 0));
    (void)json_array_remove(results, 0);
    json_decref(own);
    return found;
}

/* What the far side says of this one. None: it may have been done or not, so it is asked again. */
static struct attempt_finish judge_item(struct call *c, struct batch_item *item,
                                        const json_t *result, const struct attempt_finish *f) {
    const struct destination_def *def = &c->target->def;
    const json_t *status = at_pointer(result, def->batch.result_status);
    char *text = result == NULL ? NULL : json_dumps(result, JSON_COMPACT | JSON_ENCODE_ANY);
    struct attempt_finish own = *f;
    json_int_t value = json_integer_value(status);
    own.excerpt = span_text(text != NULL ? text : "the answer has no result for it");
    if (!json_is_integer(status) || value < 100 || value > 599) {
        own.error = ATTEMPT_PROTOCOL;
        own.success = false;
        own.retriable = true;
    } else {
        own.status = (uint16_t)value;
        own.success = value >= 200 && value <= 299;
        own.retriable = status_list_has(def->retry_statuses, own.status);
    }
    end_item(c, item, &own);
    free(text);
    return own;
}

/* Ends each by its result; how the request fared. */
static struct attempt_finish split(struct call *c, const struct attempt_finish *f) {
    const struct batch_def *def = &c->target->def.batch;
    struct batch *b = c->batch;
    json_t *answer = json_loadb((const char *)b->answer.data, b->answer.size, JSON_ALLOW_NUL, NULL);
    const json_t *list = at_pointer(answer, def->results);
    bool by_id = def->match == BATCH_BY_ID;
    json_t *index = by_id ? index_results(def, list) : NULL;
    uint32_t n = 0, again = 0;
    struct attempt_finish first_again = *f;
    for (uint32_t i = 0; i < b->count; i++) {
        struct batch_item *item = &b->items[i];
        if (item->ended) {
            continue;
        }
        json_t *result =
            by_id ? take_result(def, index, item) : json_incref(json_array_get(list, n));
        struct attempt_finish its = judge_item(c, item, result, f);
        json_decref(result);
        if (its.retriable && !its.success && again++ == 0) {
            first_again.status = its.status;
            first_again.error = its.error;
        }
        n++;
    }
    json_decref(index);
    json_decref(answer);
    return again == n ? first_again : *f;
}

void batch_end(struct call *c, const struct attempt_finish *f) {
    struct attempt_finish of_request = *f;
    of_request.shared = true;
    of_request.answer_status = f->status;
    of_request.answer_error = f->error;
    if (f->error == ATTEMPT_OK && f->success && c->target->def.batch.has_results) {
        of_request = split(c, &of_request);
    }
    for (uint32_t i = 0; i < c->batch->count; i++) {
        if (!c->batch->items[i].ended) {
            end_item(c, &c->batch->items[i], &of_request);
        }
    }
    end_request(c, &of_request);
}

void batch_abandon(struct call *c) {
    for (uint32_t i = 0; i < c->batch->count; i++) {
        struct batch_item *item = &c->batch->items[i];
        if (item->report != NULL) {
            report_give_back(&c->owner->reports, item->report);
            item->report = NULL;
        }
    }
}
