#include "fixture.h"

#include "base/rng.h"

#define SEED 0x12345678u

static void encode_one(struct buffer *out, uint64_t position, const char *text) {
    struct buffer facts;
    buffer_init(&facts, 4096);
    assert_int_equal(fact_encode(&facts, 0x0203, 7, span_text(text)), 0);
    struct record r = {.position = position,
                       .time_ns = 99,
                       .epoch = LOG_EPOCH,
                       .batch_index = 2,
                       .fact_count = 1,
                       .facts = buffer_span(&facts)};
    assert_int_equal(record_encode(out, SEED, &r), 0);
    buffer_release(&facts);
}

static void segment_header_round_trip(void **state) {
    (void)state;
    uint8_t bytes[SEGMENT_HEADER_BYTES];
    struct segment_header h = {LOG_FORMAT_VERSION, 7, 1000, 123456789, 0xabcdef}, got;
    segment_header_encode(bytes, &h);
    assert_int_equal(segment_header_decode(span_of(bytes, sizeof bytes), &got), 0);
    assert_memory_equal(&h, &got, sizeof h);
    assert_memory_equal(bytes, "SLUICE\x01L\x01\0\0\0\x07\0\0\0\xe8\x03", 18);
    assert_int_equal(segment_header_decode(span_of(bytes, 63), &got), E_TORN);
    for (unsigned bit = 0; bit < 8 * SEGMENT_HEADER_BYTES; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(segment_header_decode(span_of(bytes, sizeof bytes), &got), E_CORRUPT);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    h.format_version = LOG_FORMAT_VERSION + 1;
    segment_header_encode(bytes, &h);
    assert_int_equal(segment_header_decode(span_of(bytes, sizeof bytes), &got), E_VERSION);
}

static void record_round_trip(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 4096);
    encode_one(&b, 17, "hello");
    assert_int_equal(b.size, 40 + 8 + 5);
    struct record r;
    assert_int_equal(record_decode(buffer_span(&b), SEED, &r), 0);
    assert_true(r.position == 17 && r.time_ns == 99 && r.batch_index == 2 && r.fact_count == 1);
    assert_int_equal(r.size_bytes, b.size);
    struct fact fact;
    assert_int_equal(fact_next(&r.facts, &fact), 0);
    assert_true(fact.kind == 0x0203 && fact.version == 7 && span_is(fact.payload, "hello"));
    assert_int_equal(fact_next(&r.facts, &fact), E_END);
    buffer_release(&b);
}

static void every_flipped_bit_and_every_cut_is_seen(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, 4096);
    encode_one(&b, 17, "hello, world");
    struct record r;
    for (size_t bit = 0; bit < 8 * b.size; bit++) {
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_not_equal(record_decode(buffer_span(&b), SEED, &r), 0);
        b.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    for (size_t size = 0; size < b.size; size++) {
        int rc = record_decode(span_of(b.data, size), SEED, &r);
        assert_int_equal(rc, size < 4 ? E_END : E_TORN);
    }
    buffer_release(&b);
}

static void another_segments_record_does_not_read(void **state) {
    (void)state;
    struct segment_header a = {LOG_FORMAT_VERSION, 1, 1, 0, 42},
                          b = {LOG_FORMAT_VERSION, 2, 1, 0, 42},
                          c = {LOG_FORMAT_VERSION, 1, 1, 0, 43};
    assert_int_not_equal(segment_seed(&a), segment_seed(&b));
    assert_int_not_equal(segment_seed(&a), segment_seed(&c));
    struct buffer bytes;
    buffer_init(&bytes, 4096);
    encode_one(&bytes, 1, "x");
    struct record r;
    assert_int_equal(record_decode(buffer_span(&bytes), SEED + 1, &r), E_CORRUPT);
    buffer_release(&bytes);
}

static void end_and_nonsense(void **state) {
    (void)state;
    struct record r;
    const uint8_t zeros[64] = {0};
    assert_int_equal(record_decode(span_of(NULL, 0), SEED, &r), E_END);
    assert_int_equal(record_decode(span_of(zeros, sizeof zeros), SEED, &r), E_END);
    const uint8_t small[64] = {39}, huge[64] = {1, 0, 0, 2};
    assert_int_equal(record_decode(span_of(small, sizeof small), SEED, &r), E_CORRUPT);
    assert_int_equal(record_decode(span_of(huge, sizeof huge), SEED, &r), E_CORRUPT);
}

static void facts_must_fill_the_record_exactly(void **state) {
    (void)state;
    struct buffer facts, b;
    buffer_init(&facts, 4096);
    buffer_init(&b, 4096);
    assert_int_equal(fact_encode(&facts, 1, 1, span_text("abc")), 0);
    struct record r = {.position = 1, .fact_count = 2, .facts = buffer_span(&facts)}, got;
    assert_int_equal(record_encode(&b, SEED, &r), 0);
    assert_int_equal(record_decode(buffer_span(&b), SEED, &got), E_CORRUPT); /* one, not two */
    buffer_clear(&b);
    r.fact_count = 1;
    r.facts.size--;
    assert_int_equal(record_encode(&b, SEED, &r), 0);
    assert_int_equal(record_decode(buffer_span(&b), SEED, &got), E_CORRUPT); /* cut payload */
    buffer_release(&b);
    buffer_release(&facts);
}

static void lost_record_keeps_its_place_and_holds_nothing(void **state) {
    (void)state;
    uint8_t bytes[100];
    memset(bytes, 0xee, sizeof bytes);
    record_encode_lost(bytes, sizeof bytes, SEED, 33, 5);
    struct record r;
    assert_int_equal(record_decode(span_of(bytes, sizeof bytes), SEED, &r), 0);
    assert_true(r.lost && r.position == 33 && r.fact_count == 0 && r.facts.size == 0);
    assert_int_equal(r.size_bytes, 100);
    assert_int_equal(bytes[40], 0xee);
}

static void too_large_is_refused(void **state) {
    (void)state;
    struct buffer b;
    buffer_init(&b, SIZE_MAX / 2);
    struct record r = {.position = 1, .facts = {NULL, RECORD_MAX_BYTES}};
    assert_int_equal(record_encode(&b, SEED, &r), E_LIMIT);
    assert_int_equal(fact_encode(&b, 1, 1, span_of(NULL, RECORD_MAX_BYTES + 1)), E_LIMIT);
    buffer_release(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(segment_header_round_trip),
        cmocka_unit_test(record_round_trip),
        cmocka_unit_test(every_flipped_bit_and_every_cut_is_seen),
        cmocka_unit_test(another_segments_record_does_not_read),
        cmocka_unit_test(end_and_nonsense),
        cmocka_unit_test(facts_must_fill_the_record_exactly),
        cmocka_unit_test(lost_record_keeps_its_place_and_holds_nothing),
        cmocka_unit_test(too_large_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
