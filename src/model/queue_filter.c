/*
 * Encoded: 1 reason   1 error   2 status   4 attempts   8 x 4 times (accepted from, to, changed from, to)   1 which of
 * those that may be empty are asked for (1 pointer, 2 what it equals, 4 value of the header), then
 * ordering key, header, its value, pointer, what it equals, what the body contains: each u16 length, bytes.
 */
#include "model/queue_filter.h"

#include "base/error.h"
#include "model/history.h"
#include "model/put.h"
#include "model/queue_state.h"

#define TEXTS 6u

bool message_filter_needs_body(const struct message_filter *f) {
    return f->header.size > 0 || f->pointer.data != NULL || f->contains.size > 0;
}

static bool within(uint64_t t, uint64_t from, uint64_t to) {
    return t >= from && (to == 0 || t < to);
}

uint64_t message_changed_ns(const struct model *m, const struct message *g) {
    uint64_t changed_ns = g->storied ? history_changed_ns(m, g->id) : 0;
    return changed_ns != 0 ? changed_ns : g->accepted_ns;
}

bool queue_filter_takes(const struct model *m, const struct message_filter *f, uint64_t hash,
                        const struct message *g) {
    bool plain = (f->reason == DEAD_NONE || f->reason == (enum dead_reason)g->dead_reason) &&
                 (f->status == 0 || f->status == message_status(g)) &&
                 (f->error == 0 || f->error == message_error(g)) &&
                 g->attempts >= f->attempts_min &&
                 within(g->accepted_ns, f->accepted_from_ns, f->accepted_to_ns);
    if (!plain || (hash != 0 && (g->key == 0 || key_at(m->queues, g->key)->hash != hash))) {
        return false;
    }
    return (f->changed_from_ns == 0 && f->changed_to_ns == 0) ||
           within(message_changed_ns(m, g), f->changed_from_ns, f->changed_to_ns);
}

uint64_t queue_filter_hash(const struct message_filter *f, uint32_t queue) {
    return f->ordering_key.size == 0 ? 0 : key_hash(queue, f->ordering_key);
}

/* ---- encoded ---- */

/* Of those that may be empty and asked for all the same. */
enum { SAID_POINTER = 1, SAID_EQUALS = 2, SAID_VALUE = 4 };

static unsigned said_of(const struct message_filter *f) {
    return (f->pointer.data != NULL ? SAID_POINTER : 0u) |
           (f->equals.data != NULL ? SAID_EQUALS : 0u) |
           (f->header_value.data != NULL ? SAID_VALUE : 0u);
}

static void forget_unsaid(struct span *text, unsigned said) {
    *text = said != 0 ? span_of(text->size > 0 ? (const void *)text->data : "", text->size)
                      : span_of(NULL, 0);
}

int message_filter_encode(const struct message_filter *f, struct buffer *out) {
    const struct span texts[TEXTS] = {f->ordering_key, f->header, f->header_value,
                                      f->pointer,      f->equals, f->contains};
    struct saver s = {.chunk = out};
    save_u8(&s, (uint8_t)f->reason);
    save_u8(&s, f->error);
    save_u16(&s, f->status);
    save_u32(&s, f->attempts_min);
    save_u64(&s, f->accepted_from_ns);
    save_u64(&s, f->accepted_to_ns);
    save_u64(&s, f->changed_from_ns);
    save_u64(&s, f->changed_to_ns);
    save_u8(&s, (uint8_t)said_of(f));
    for (size_t i = 0; i < TEXTS; i++) {
        save_u16(&s, (uint16_t)texts[i].size);
        s.rc = s.rc != 0 ? s.rc : buffer_append_span(out, texts[i]);
    }
    return s.rc;
}

int message_filter_decode(struct reader *in, struct message_filter *ret) {
    struct message_filter f = {.reason = (enum dead_reason)reader_u8(in)};
    struct span *const texts[TEXTS] = {&f.ordering_key, &f.header, &f.header_value,
                                       &f.pointer,      &f.equals, &f.contains};
    f.error = reader_u8(in);
    f.status = reader_u16(in);
    f.attempts_min = reader_u32(in);
    f.accepted_from_ns = reader_u64(in);
    f.accepted_to_ns = reader_u64(in);
    f.changed_from_ns = reader_u64(in);
    f.changed_to_ns = reader_u64(in);
    uint8_t said = reader_u8(in);
    for (size_t i = 0; i < TEXTS; i++) {
        *texts[i] = reader_take(in, reader_u16(in));
        if (texts[i]->size > FILTER_TEXT_MAX) {
            return E_CORRUPT;
        }
    }
    forget_unsaid(&f.header_value, said & SAID_VALUE);
    forget_unsaid(&f.pointer, said & SAID_POINTER);
    forget_unsaid(&f.equals, said & SAID_EQUALS);
    if (in->failed || f.reason > DEAD_REASON_MAX) {
        return E_CORRUPT;
    }
    *ret = f;
    return 0;
}
