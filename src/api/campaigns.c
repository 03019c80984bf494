#include "api/campaigns.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/info.h"
#include "api/routes.h"
#include "base/error.h"

#define HINTS_MAX   16384u /* more campaigns than this start over */
#define BUCKETS     1024u
#define TRIES_MAX   8u
#define INTEGER_MAX 40u /* digits of a member */

/* ---- hints ---- */

struct hint_cell {
    struct hint_cell *next; /* owns: chain of a bucket */
    struct campaign_hint hint;
};

struct campaign_hints {
    struct hint_cell *buckets[BUCKETS];
    uint32_t count;
};

int campaign_hints_create(struct campaign_hints **ret) {
    *ret = calloc(1, sizeof **ret);
    return *ret != NULL ? 0 : E_NOMEM;
}

static void forget_all(struct campaign_hints *h) {
    for (uint32_t i = 0; i < BUCKETS; i++) {
        while (h->buckets[i] != NULL) {
            struct hint_cell *cell = h->buckets[i];
            h->buckets[i] = cell->next;
            free(cell);
        }
    }
    h->count = 0;
}

void campaign_hints_free(struct campaign_hints *h) {
    if (h != NULL) {
        forget_all(h);
        free(h);
    }
}

struct campaign_hint *campaign_hints_find(const struct campaign_hints *h, struct hash_key key,
                                          struct span name) {
    struct hint_cell *cell = h->buckets[hash_bytes(key, name) % BUCKETS];
    while (cell != NULL && !span_is(name, cell->hint.name)) {
        cell = cell->next;
    }
    return cell != NULL ? &cell->hint : NULL;
}

/* ---- refusals ---- */

static struct campaign_refusals *find_refusals(struct api *api, struct span name) {
    struct campaign_refusals *r = api->refusals;
    while (r != NULL && !span_is(name, r->name)) {
        r = r->next;
    }
    return r;
}

struct campaign_refusals *campaign_refusals_find(struct api *api, struct span name) {
    pthread_mutex_lock(&api->lock);
    struct campaign_refusals *r = find_refusals(api, name);
    pthread_mutex_unlock(&api->lock);
    return r;
}

static struct campaign_refusals *make_refusals(struct api *api, struct span name) {
    pthread_mutex_lock(&api->lock);
    struct campaign_refusals *r = find_refusals(api, name);
    if (r == NULL && (r = calloc(1, sizeof *r)) != NULL) {
        memcpy(r->name, name.data, name.size);
        r->next = api->refusals;
        api->refusals = r;
    }
    pthread_mutex_unlock(&api->lock);
    return r;
}

void campaign_refusals_free(struct campaign_refusals *first) {
    while (first != NULL) {
        struct campaign_refusals *next = first->next;
        free(first);
        first = next;
    }
}

/*
 * The campaign exists: the engine named its pointer. When the table is full it starts over; calls keep
 * no hints, so none is left pointing at what is freed.
 */
static struct campaign_hint *learn(struct call *c, struct span name) {
    struct campaign_hints *h = c->loop->hints;
    struct campaign_refusals *refusals = make_refusals(c->loop->api, name);
    struct hint_cell *cell = refusals != NULL ? calloc(1, sizeof *cell) : NULL;
    if (cell == NULL) {
        return NULL;
    }
    if (h->count >= HINTS_MAX) {
        forget_all(h);
    }
    struct hint_cell **bucket = &h->buckets[hash_bytes(c->loop->api->hash, name) % BUCKETS];
    memcpy(cell->hint.name, name.data, name.size);
    cell->hint.refusals = refusals;
    cell->next = *bucket;
    *bucket = cell;
    h->count++;
    return &cell->hint;
}

/* ---- entering ---- */

/* NULL: taken; else what is wrong. */
static const char *take_member(struct call *c, const struct json_found *found, struct span *ret) {
    if (found->kind == JSON_KIND_INTEGER && found->raw.size <= INTEGER_MAX) {
        *ret = found->raw;
        return NULL;
    }
    if (found->kind != JSON_KIND_STRING) {
        return "expected the member: a string or an integer";
    }
    const size_t longest = KEY_MAX_BYTES * 6 + 2; /* each byte as an escape */
    uint8_t *room = found->raw.size <= longest ? call_alloc(c, found->raw.size) : NULL;
    if (room == NULL) {
        return "expected a member of at most 255 bytes";
    }
    size_t size = json_string_decode(found->raw, room, ret);
    if (ret->data == NULL) {
        *ret = span_of(room, size);
    }
    return ret->size >= 1 && ret->size <= KEY_MAX_BYTES ? NULL
                                                        : "expected a member of 1 to 255 bytes";
}

static void invalid_body(struct call *c, const struct json_fault *fault) {
    char detail[160];
    snprintf(detail, sizeof detail, "not JSON: %s at byte %zu", fault->reason, fault->offset);
    call_invalid(c, "", detail);
}

/* The member by the pointer of the definition that is known. False: answered. */
static bool read_member(struct call *c, const struct campaign_hint *hint) {
    struct json_found found;
    struct json_fault fault;
    if (json_scan(http_body(c->x), &hint->pointer, &found, &fault) != 0) {
        invalid_body(c, &fault);
        return false;
    }
    const char *wrong = take_member(c, &found, &c->request.r.in.enter.member);
    if (wrong != NULL) {
        call_invalid(c, hint->pointer_text, wrong);
        return false;
    }
    c->request.r.in.enter.generation = hint->generation;
    return true;
}

static void send_entry(struct call *c) {
    char id[18], link[NAME_MAX_BYTES + 64];
    receipt_format(c->request.r.receipt.id, id);
    call_receipt_headers(c);
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    call_receipt_members(c, &out);
    out_key(&out, "links");
    out_open(&out, '{');
    memcpy(link, "/v1/receipts/", 13);
    memcpy(link + 13, id, sizeof id);
    info_text(&out, "receipt", link);
    out_close(&out, '}');
    out_close(&out, '}');
    call_json_end(c, 202, &out);
}

/* The definition is another one than we knew: reads the body again by the pointer that came. */
static void reread(struct call *c) {
    struct request *r = &c->request.r;
    struct span name = call_capture(c, 0);
    struct campaign_hint *hint = campaign_hints_find(c->loop->hints, c->loop->api->hash, name);
    struct json_pointer pointer;
    if (json_pointer_parse(buffer_span(&r->out_bytes), &pointer) != 0) {
        call_problem(c, PROBLEM_INTERNAL, "the campaign's member pointer is not usable");
        return;
    }
    if (hint == NULL && (hint = learn(c, name)) == NULL) {
        call_problem(c, PROBLEM_INTERNAL, NULL);
        return;
    }
    hint->pointer = pointer;
    snprintf(hint->pointer_text, sizeof hint->pointer_text, "%.*s",
             SPAN_ARG(buffer_span(&r->out_bytes)));
    hint->generation = r->generation;
    if (read_member(c, hint)) {
        call_resubmit(c);
    }
}

static void count_refusal(struct call *c) {
    struct campaign_hint *hint =
        campaign_hints_find(c->loop->hints, c->loop->api->hash, call_capture(c, 0));
    if (hint != NULL) {
        atomic_fetch_add_explicit(&hint->refusals->by[c->request.r.refusal], 1,
                                  memory_order_relaxed);
    }
}

static void entered(struct call *c) {
    const struct request *r = &c->request.r;
    if (r->refusal == REFUSAL_STALE && c->tries++ < TRIES_MAX) {
        reread(c);
        return;
    }
    if (r->refusal == REFUSAL_NONE) {
        if (!r->replayed) {
            atomic_fetch_add_explicit(&c->loop->api->counts.entries, 1, memory_order_relaxed);
        }
        send_entry(c);
        return;
    }
    count_refusal(c);
    bool refused = call_refused(c);
    assert(refused);
}

void campaign_enter(struct call *c) {
    struct request *r = &c->request.r;
    r->kind = REQUEST_CAMPAIGN_ENTER;
    r->name = call_capture(c, 0);
    call_envelope(c, &r->in.enter.envelope);
    const struct campaign_hint *hint =
        campaign_hints_find(c->loop->hints, c->loop->api->hash, r->name);
    /* Generation 0 is never the present one: the engine says what the present one is. */
    if (publish_no_options(c) && (hint == NULL || read_member(c, hint))) {
        call_submit(c, entered);
    }
}

/* ---- looking at entries ---- */

static void write_entry(const struct entry_info *e, struct json_out *out) {
    info_receipt(out, "receipt", e->id);
    info_u64(out, "number", e->number);
    info_text(out, "state", entry_state_name(e->state));
    info_time(out, "acceptedAt", e->accepted_ns);
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
    out_key(&out, "entries");
    out_open(&out, '[');
    while (r.left > 0 && !r.failed) {
        struct entry_info e;
        struct span info = reader_bytes(&r), member = reader_bytes(&r);
        if (info.size != sizeof e) {
            out.failed = true;
            break;
        }
        memcpy(&e, info.data, sizeof e);
        out_open(&out, '{');
        info_span(&out, "member", member);
        write_entry(&e, &out);
        out_close(&out, '}');
    }
    out_close(&out, ']');
    call_page_token(c, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void campaign_entries(struct call *c) {
    call_list(c, REQUEST_CAMPAIGN_ENTRIES, listed);
}

static void found(struct call *c) {
    if (call_refused(c)) {
        return;
    }
    struct json_out out = call_json_begin(c);
    out_open(&out, '{');
    info_span(&out, "member", call_capture(c, 1));
    write_entry(&c->request.r.out.entry, &out);
    out_close(&out, '}');
    call_json_end(c, 200, &out);
}

void campaign_entry(struct call *c) {
    c->request.r.kind = REQUEST_CAMPAIGN_ENTRY_GET;
    c->request.r.name = call_capture(c, 0);
    c->request.r.in.enter.member = call_capture(c, 1);
    call_submit(c, found);
}
