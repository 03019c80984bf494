/*
 * A response, read at once and in pieces that the input chooses: the same must come out, as http-parser's callbacks
 * may come wherever a piece ends.
 *
 * The first byte is the size of the pieces, its highest bit says that it answers a HEAD.
 */
#include <assert.h>

#include "base/buffer.h"
#include "dispatch/answer.h"

#define BODY_MAX_BYTES 1000u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool keep(void *context, struct span bytes) {
    struct buffer *body = context;
    size_t room = BODY_MAX_BYTES - body->size;
    int rc = buffer_append(body, bytes.data, bytes.size < room ? bytes.size : room);
    assert(rc == 0);
    return bytes.size <= room;
}

struct outcome {
    struct answer answer;
    struct buffer body;
    bool over; /* bytes were left for another piece */
};

static void read_all(struct outcome *o, struct span left, size_t piece, bool to_head) {
    buffer_init(&o->body, BODY_MAX_BYTES);
    answer_init(&o->answer, to_head, keep, &o->body);
    while (left.size > 0 && o->answer.state == ANSWER_AWAITED) {
        size_t size = left.size < piece ? left.size : piece;
        (void)answer_take(&o->answer, span_of(left.data, size));
        left = span_of(left.data + size, left.size - size);
    }
    o->over = left.size > 0;
    if (o->answer.state == ANSWER_AWAITED) {
        (void)answer_end(&o->answer);
    }
}

static void check(const struct answer *a) {
    assert(a->state != ANSWER_AWAITED);
    assert(!a->lives || (a->state == ANSWER_WHOLE && !a->two_lengths));
    assert(a->state != ANSWER_WHOLE || (a->status >= 100 && a->status / 100 != 1));
    assert(!a->not_understood || a->state == ANSWER_BAD);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct outcome whole, pieces;
    if (size == 0) {
        return 0;
    }
    struct span bytes = span_of(data + 1, size - 1);
    read_all(&whole, bytes, size, data[0] >> 7);
    read_all(&pieces, bytes, (data[0] & 0x7f) + 1, data[0] >> 7);
    check(&whole.answer);
    check(&pieces.answer);
    assert(whole.answer.state == pieces.answer.state);
    assert(whole.answer.status == pieces.answer.status);
    assert(whole.answer.lives == (pieces.answer.lives && !pieces.over));
    assert(span_equal(buffer_span(&whole.body), buffer_span(&pieces.body)));
    assert(whole.answer.state != ANSWER_WHOLE ||
           answer_retry_after_s(&whole.answer, 1) == answer_retry_after_s(&pieces.answer, 1));
    buffer_release(&whole.body);
    buffer_release(&pieces.body);
    return 0;
}
