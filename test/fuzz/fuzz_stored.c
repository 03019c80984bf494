/*
 * What facts carry: definitions and messages. The first byte chooses the kind; the rest is its encoding.
 *
 * What decodes, encodes, and decodes as the same again; what a message shows lies within its bytes.
 */
#include <assert.h>

#include "base/error.h"
#include "log/format.h"
#include "model/fact.h"
#include "model/message_payload.h"

#define ENCODED_MAX ((size_t)1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One for each kind of definition: the functions differ in name only. */
#define DEFINE_CHECK(kind)                                                                         \
    static void check_##kind(struct span in) {                                                     \
        struct kind##_def def, same;                                                               \
        struct buffer once, twice;                                                                 \
        struct reader r;                                                                           \
        reader_init(&r, in);                                                                       \
        int rc = kind##_def_decode(&r, &def);                                                      \
        assert(rc == 0 || rc == E_CORRUPT || rc == E_VERSION);                                     \
        if (rc != 0) {                                                                             \
            return;                                                                                \
        }                                                                                          \
        buffer_init(&once, ENCODED_MAX);                                                           \
        buffer_init(&twice, ENCODED_MAX);                                                          \
        rc = kind##_def_encode(&def, &once);                                                       \
        assert(rc == 0);                                                                           \
        reader_init(&r, buffer_span(&once));                                                       \
        rc = kind##_def_decode(&r, &same);                                                         \
        assert(rc == 0 && reader_done(&r));                                                        \
        rc = kind##_def_encode(&same, &twice);                                                     \
        assert(rc == 0 && span_equal(buffer_span(&once), buffer_span(&twice)));                    \
        kind##_def_release(&def);                                                                  \
        kind##_def_release(&same);                                                                 \
        buffer_release(&once);                                                                     \
        buffer_release(&twice);                                                                    \
    }
DEFINE_CHECK(queue)
DEFINE_CHECK(stock)
DEFINE_CHECK(campaign)
DEFINE_CHECK(destination)

static void check_within(struct span part, struct span whole) {
    assert(part.size == 0 ||
           (part.data >= whole.data && part.data + part.size <= whole.data + whole.size));
}

static void check_stored(const struct stored_message *s, struct span whole) {
    const struct envelope *e = &s->envelope;
    const struct span parts[] = {s->queue,       e->content_type, e->ordering_key,
                                 e->traceparent, e->tracestate,   e->correlation_id,
                                 e->headers,     e->body,         s->payload};
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        check_within(parts[i], whole);
    }
}

static void check_payload(struct span in) {
    struct message_payload p, same;
    struct buffer out;
    int rc = message_payload_decode(in, &p);
    assert(rc == 0 || rc == E_CORRUPT);
    if (rc != 0) {
        return;
    }
    check_stored(&p.stored, in);
    buffer_init(&out, ENCODED_MAX);
    rc = message_payload_encode(&p, &out);
    assert(rc == 0);
    rc = message_payload_decode(buffer_span(&out), &same);
    assert(rc == 0 && same.stored.id == p.stored.id && same.queue == p.queue);
    assert(span_equal(same.stored.envelope.body, p.stored.envelope.body));
    assert(span_equal(same.stored.envelope.headers, p.stored.envelope.headers));
    buffer_release(&out);
}

/* A record's facts: every message that is in them is found, and no other. */
static void check_find(struct span facts) {
    struct span left = facts;
    struct fact fact;
    struct stored_message s;
    while (fact_next(&left, &fact) == 0) {
        uint64_t id = 0;
        memcpy(&id, fact.payload.data, fact.payload.size < 8 ? 0 : sizeof id);
        int rc = stored_message_find(facts, id, &s);
        assert(rc == 0 || rc == E_NOT_FOUND || rc == E_CORRUPT);
        if (rc == 0) {
            assert(s.id == id);
            check_stored(&s, facts);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static void (*const checks[])(struct span) = {check_queue,       check_stock,   check_campaign,
                                                  check_destination, check_payload, check_find};
    if (size > 0 && size < ENCODED_MAX / 4) {
        checks[data[0] % ARRAY_LENGTH(checks)](span_of(data + 1, size - 1));
    }
    return 0;
}
