/* The frame of a snapshot: whole or refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "mail.h"

static int load(struct span bytes) {
    struct model *fresh;
    struct model_limits limits = {0};
    assert_int_equal(model_create(&limits, (struct hash_key){3, 4}, &fresh), 0);
    int rc = model_load(fresh, bytes);
    model_free(fresh);
    return rc;
}

static void fill(void) {
    mail_queue("orders");
    for (unsigned i = 0; i < 20; i++) {
        mail_put((struct letter){.queue = "orders", .body = "some body"});
    }
}

static void test_any_flipped_bit_is_found(void **state) {
    fill();
    struct buffer bytes;
    buffer_init(&bytes, 64u << 20);
    world_save(&mail, &bytes);
    assert_int_equal(load(buffer_span(&bytes)), 0);
    for (size_t at = 0; at < bytes.size; at++) {
        bytes.data[at] ^= (uint8_t)(1u << at % 8);
        int rc = load(buffer_span(&bytes));
        assert_true(rc == E_CORRUPT || rc == E_VERSION);
        bytes.data[at] ^= (uint8_t)(1u << at % 8);
    }
    buffer_release(&bytes);
}

static void test_any_cut_is_found(void **state) {
    fill();
    struct buffer bytes;
    buffer_init(&bytes, 64u << 20);
    world_save(&mail, &bytes);
    for (size_t size = 0; size < bytes.size; size++) {
        assert_int_equal(load(span_of(bytes.data, size)), E_CORRUPT);
    }
    buffer_release(&bytes);
}

static int refuse_after(void *sink, struct span bytes) {
    unsigned *left = sink;
    return (*left)-- == 0 ? E_FULL : 0;
}

static void test_a_failing_writer_is_heard(void **state) {
    fill();
    unsigned writes = 0;
    for (;; writes++) {
        unsigned left = writes;
        int rc = model_save(mail.model, refuse_after, &left);
        if (rc == 0) {
            break;
        }
        assert_int_equal(rc, E_FULL);
    }
    assert_true(writes >= 4);
}

/* More than one chunk: the section is still one piece to whoever loads it. */
static void test_many_chunks(void **state) {
    mail_queue("orders");
    for (unsigned i = 0; i < 20000; i++) {
        mail_put((struct letter){.queue = "orders"});
    }
    world_reload(&mail);
    assert_int_equal(mail_info("orders").ready, 20000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_any_flipped_bit_is_found, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_any_cut_is_found, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_a_failing_writer_is_heard, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_many_chunks, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
