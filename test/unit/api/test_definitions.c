/* The tables: reading, every error at once, writing back what was read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "api/definitions.h"
#include "base/clock.h"
#include "base/error.h"

static struct field_errors *errors;

static int begin(void **state) {
    (void)state;
    errors = calloc(1, sizeof *errors);
    return errors == NULL;
}

static int end(void **state) {
    (void)state;
    free(errors);
    return 0;
}

static int read_text(enum definition_kind kind, const char *text, struct definition *d) {
    json_t *tree = json_loads(text, 0, NULL);
    assert_non_null(tree);
    errors->count = 0;
    struct field_reader r = {.errors = errors};
    assert_int_equal(definition_init(d, kind), 0);
    int error = definition_read(d, tree, span_of(NULL, 0), &r);
    json_decref(tree);
    return error;
}

static void assert_error(const char *pointer, const char *part) {
    for (uint32_t i = 0; i < errors->count; i++) {
        if (strcmp(errors->list[i].pointer, pointer) == 0 &&
            strstr(errors->list[i].detail, part) != NULL) {
            return;
        }
    }
    for (uint32_t i = 0; i < errors->count; i++) {
        print_error("%s: %s\n", errors->list[i].pointer, errors->list[i].detail);
    }
    fail_msg("no error at %s with \"%s\"", pointer, part);
}

static void a_queue_is_read(void **state) {
    (void)state;
    struct definition d;
    assert_int_equal(
        read_text(DEFINITION_QUEUE,
                  "{\"name\":\"q\",\"destination\":\"d\",\"paused\":true,"
                  "\"retryConfig\":{\"maxAttempts\":3,\"minBackoff\":\"2s\"},"
                  "\"rateLimits\":{\"maxDispatchesPerSecond\":2.5,\"mode\":\"strict\"},"
                  "\"messageTtl\":\"1h\"}",
                  &d),
        0);
    const struct queue_def *q = &d.u.queue;
    assert_string_equal(q->name, "q");
    assert_string_equal(q->destination, "d");
    assert_true(q->paused);
    assert_int_equal(q->retry.max_attempts, 3);
    assert_int_equal(q->retry.min_backoff_ns, 2 * NS_PER_SECOND);
    assert_int_equal(q->retry.max_backoff_ns, 3600 * NS_PER_SECOND); /* default */
    assert_int_equal(q->pace.count, 5);
    assert_int_equal(q->pace.period_ns, 2 * NS_PER_SECOND);
    assert_int_equal(q->pace.mode, PACE_STRICT);
    assert_int_equal(q->message_ttl_ns, 3600 * NS_PER_SECOND);
    assert_int_equal(q->max_priority, 9);
    definition_release(&d);
}

static void rates(void **state) {
    (void)state;
    static const struct {
        const char *rate;
        uint32_t count;
        uint64_t period_ns;
        const char *back;
    } rows[] = {
        {"500", 500, NS_PER_SECOND, ":500,"},     {"0", 0, NS_PER_SECOND, ":0,"},
        {"0.5", 1, 2 * NS_PER_SECOND, ":0.5,"},   {"0.1", 1, 10 * NS_PER_SECOND, ":0.1,"},
        {"1.25", 5, 4 * NS_PER_SECOND, ":1.25,"}, {"33.33", 3333, 100 * NS_PER_SECOND, ":33.33,"},
    };
    for (size_t i = 0; i < ARRAY_LENGTH(rows); i++) {
        char text[160];
        struct definition d;
        struct buffer out;
        struct json_out json;
        snprintf(text, sizeof text,
                 "{\"name\":\"q\",\"rateLimits\":{\"maxDispatchesPerSecond\":%s}}", rows[i].rate);
        assert_int_equal(read_text(DEFINITION_QUEUE, text, &d), 0);
        assert_int_equal(d.u.queue.pace.count, rows[i].count);
        assert_int_equal(d.u.queue.pace.period_ns, rows[i].period_ns);
        buffer_init(&out, 1 << 16);
        out_init(&json, &out);
        definition_write(&d, &json);
        assert_non_null(memmem(out.data, out.size, rows[i].back, strlen(rows[i].back)));
        buffer_release(&out);
        definition_release(&d);
    }
}

static void all_errors_at_once(void **state) {
    (void)state;
    struct definition d;
    assert_int_equal(
        read_text(DEFINITION_QUEUE,
                  "{\"name\":\"-x\",\"pausd\":1,\"maxPriority\":256,\"maxMessages\":-1,"
                  "\"maxBytes\":1.5,\"deadLetters\":\"yes\",\"messageTtl\":\"5\",\"destination\":7,"
                  "\"retryConfig\":{\"minBackoff\":\"0s\",\"maxAttempts\":4294967296},"
                  "\"rateLimits\":{\"maxDispatchesPerSecond\":1000001,\"mode\":\"fast\","
                  "\"maxBurstSize\":-1,\"burst\":3},\"completelyDifferent\":null}",
                  &d),
        E_INVALID);
    assert_error("/name", "expected a name");
    assert_error("/pausd", "did you mean \"paused\"?");
    assert_error("/maxPriority", "expected a whole number from 0 to 255, found 256");
    assert_error("/maxMessages", "found -1");
    assert_error("/maxBytes", "found 1.5");
    assert_error("/deadLetters", "expected true or false, found \"yes\"");
    assert_error("/messageTtl", "expected a duration");
    assert_error("/destination", "found 7");
    assert_error("/retryConfig/minBackoff", "at least 0.001s");
    assert_error("/retryConfig/maxAttempts", "to 4294967295, found 4294967296");
    assert_error("/rateLimits/maxDispatchesPerSecond", "found 1000001");
    assert_error("/rateLimits/mode", "expected one of \"smooth\", \"strict\", found \"fast\"");
    assert_error("/rateLimits/maxBurstSize", "from 0 to");
    assert_error("/rateLimits/burst", "unknown field; there are maxDispatchesPerSecond, "
                                      "maxBurstSize, maxConcurrentDispatches, mode");
    assert_error("/completelyDifferent", "unknown field");
    assert_int_equal(errors->count, 15);
    definition_release(&d);
}

static void what_no_field_can_say_alone(void **state) {
    (void)state;
    struct definition d;
    assert_int_equal(read_text(DEFINITION_DESTINATION,
                               "{\"name\":\"d\",\"url\":\"http://x/\",\"rateLimits\":["
                               "{\"maxDispatchesPerSecond\":100},"
                               "{\"maxDispatchesPerSecond\":100,\"maxDispatches\":5},"
                               "{\"maxDispatchesPerSecond\":100,\"per\":\"1h\"}]}",
                               &d),
                     E_INVALID);
    assert_error("/rateLimits/1/maxDispatchesPerSecond", "this, or maxDispatches and per");
    assert_error("/rateLimits/2/maxDispatchesPerSecond", "this, or maxDispatches and per");
    assert_int_equal(errors->count, 2);
    definition_release(&d);
    assert_int_equal(read_text(DEFINITION_QUEUE,
                               "{\"name\":\"q\",\"retryConfig\":{\"minBackoff\":\"10s\","
                               "\"maxBackoff\":\"5s\"}}",
                               &d),
                     E_INVALID);
    assert_error("/retryConfig/maxBackoff", "at least minBackoff");
    definition_release(&d);
    assert_int_equal(read_text(DEFINITION_CAMPAIGN,
                               "{\"name\":\"c\",\"stock\":\"s\",\"memberPointer\":\"/m\","
                               "\"opensAt\":\"2030-01-02T00:00:00Z\","
                               "\"closesAt\":\"2030-01-01T00:00:00Z\"}",
                               &d),
                     E_INVALID);
    assert_error("/closesAt", "after opensAt");
    definition_release(&d);
    assert_int_equal(read_text(DEFINITION_CAMPAIGN, "{\"name\":\"c\"}", &d), E_INVALID);
    assert_error("/stock", "found nothing");
    assert_error("/memberPointer", "found nothing");
    definition_release(&d);
}

static void destinations(void **state) {
    (void)state;
    static const char *const bad_urls[] = {"",           "ftp://x",    "http://",
                                           "https:///x", "http://a b", "http://:80/"};
    static const char *const bad_statuses[] = {"x", "99", "600", "500-", "500-400", "500,", ",500"};
    struct definition d;
    char text[200];
    for (size_t i = 0; i < ARRAY_LENGTH(bad_urls); i++) {
        snprintf(text, sizeof text, "{\"name\":\"d\",\"url\":\"%s\"}", bad_urls[i]);
        assert_int_equal(read_text(DEFINITION_DESTINATION, text, &d), E_INVALID);
        assert_error("/url", "expected a URL");
        definition_release(&d);
    }
    for (size_t i = 0; i < ARRAY_LENGTH(bad_statuses); i++) {
        snprintf(text, sizeof text,
                 "{\"name\":\"d\",\"url\":\"http://h/\",\"retryStatuses\":\"%s\"}",
                 bad_statuses[i]);
        assert_int_equal(read_text(DEFINITION_DESTINATION, text, &d), E_INVALID);
        assert_error("/retryStatuses", "expected statuses");
        definition_release(&d);
    }
}

/* A header cannot smuggle in another one, and its value does not come out again. */
static void header_values_are_secret(void **state) {
    (void)state;
    struct definition d;
    static const char start[] = "{\"name\":\"d\",\"url\":\"https://h/\",\"headers\":{";
    char text[256];
    static const char *const bad[] = {"\"X\":\"a\\nB: c\"", "\"X\\nY\":\"a\"", "\"\":\"a\"",
                                      "\"X\":null", "\"X Y\":\"a\""};
    for (size_t i = 0; i < ARRAY_LENGTH(bad); i++) {
        snprintf(text, sizeof text, "%s%s}}", start, bad[i]);
        assert_int_equal(read_text(DEFINITION_DESTINATION, text, &d), E_INVALID);
        definition_release(&d);
    }
    snprintf(text, sizeof text, "%s\"Authorization\":\"Bearer s3cret\",\"X-A\":\"b:c\"}}", start);
    assert_int_equal(read_text(DEFINITION_DESTINATION, text, &d), 0);
    assert_string_equal(d.u.destination.headers, "Authorization: Bearer s3cret\nX-A: b:c\n");
    struct buffer out;
    struct json_out json;
    buffer_init(&out, 1 << 16);
    out_init(&json, &out);
    definition_write(&d, &json);
    assert_null(memmem(out.data, out.size, "s3cret", 6));
    static const char shown[] = "\"headers\":{\"Authorization\":null,\"X-A\":null}";
    assert_non_null(memmem(out.data, out.size, shown, sizeof shown - 1));
    buffer_release(&out);
    definition_release(&d);
}

/* write(read(x)) read again is the same definition, by its encoding. */
static void writing_is_the_inverse_of_reading(void **state) {
    (void)state;
    static const char *const texts[DEFINITION_KINDS] = {
        [DEFINITION_QUEUE] = "{\"name\":\"q\",\"maxPriority\":3,\"maxMessages\":10,\"maxBytes\":99,"
                             "\"messageTtl\":\"1.5s\",\"deadLetters\":false,\"maxDeadLetters\":5,"
                             "\"dispatchDeadline\":\"3s\",\"rateLimits\":{"
                             "\"maxDispatchesPerSecond\":7,\"maxBurstSize\":3,"
                             "\"maxConcurrentDispatches\":9}}",
        [DEFINITION_STOCK] =
            "{\"name\":\"s\",\"total\":10,\"perMember\":2,\"onSale\":true,\"hold\":\"10m\"}",
        [DEFINITION_CAMPAIGN] = "{\"name\":\"c\",\"stock\":\"s\",\"queue\":\"q\","
                                "\"memberPointer\":\"/a/b\",\"safetyStock\":3,\"priority\":2,"
                                "\"onFailure\":\"releaseAndReenter\","
                                "\"opensAt\":\"2030-01-01T00:00:00.123456789Z\"}",
        [DEFINITION_DESTINATION] = "{\"name\":\"d\",\"url\":\"https://h/x\",\"method\":\"PUT\","
                                   "\"timeout\":\"7s\",\"http2\":true,\"maxResponseBytes\":17}",
    };
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        struct definition first, second;
        struct buffer out;
        struct json_out json;
        assert_int_equal(read_text((enum definition_kind)kind, texts[kind], &first), 0);
        buffer_init(&out, 1 << 16);
        out_init(&json, &out);
        out_open(&json, '{');
        definition_write(&first, &json);
        out_close(&json, '}');
        assert_int_equal(buffer_put_u8(&out, 0), 0);
        assert_int_equal(read_text((enum definition_kind)kind, (char *)out.data, &second), 0);
        struct json_out again;
        struct buffer out_again;
        buffer_init(&out_again, 1 << 16);
        out_init(&again, &out_again);
        out_open(&again, '{');
        definition_write(&second, &again);
        out_close(&again, '}');
        assert_int_equal(out_again.size, out.size - 1);
        assert_memory_equal(out_again.data, out.data, out_again.size);
        buffer_release(&out);
        buffer_release(&out_again);
        definition_release(&first);
        definition_release(&second);
    }
}

static void schemas_are_json(void **state) {
    (void)state;
    for (int kind = 0; kind < DEFINITION_KINDS; kind++) {
        struct buffer out;
        struct json_out json;
        buffer_init(&out, 1 << 16);
        out_init(&json, &out);
        fields_schema(definition_types[kind].fields, &json);
        json_t *tree = json_loadb((char *)out.data, out.size, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(tree);
        const json_t *properties = json_object_get(tree, "properties");
        assert_non_null(json_object_get(properties, "name"));
        json_decref(tree);
        buffer_release(&out);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_queue_is_read, begin, end),
        cmocka_unit_test_setup_teardown(rates, begin, end),
        cmocka_unit_test_setup_teardown(all_errors_at_once, begin, end),
        cmocka_unit_test_setup_teardown(what_no_field_can_say_alone, begin, end),
        cmocka_unit_test_setup_teardown(destinations, begin, end),
        cmocka_unit_test_setup_teardown(header_values_are_secret, begin, end),
        cmocka_unit_test_setup_teardown(writing_is_the_inverse_of_reading, begin, end),
        cmocka_unit_test_setup_teardown(schemas_are_json, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
