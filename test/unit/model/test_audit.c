/* Entries stand beside what they are about, are chained, and wait for the file. */
#include "model/audit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/error.h"
#include "base/reader.h"
#include "model/module.h"
#include "world.h"

static struct world w;

static int set_up(void **state) {
    (void)state;
    world_init(&w, &(struct model_limits){.queues = 0});
    w.now_ns = 1;
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    model_check(w.model);
    world_check_replay(&w);
    world_reload(&w);
    world_release(&w);
    return 0;
}

static enum refusal ask(enum request_kind kind, const char *name, const char *actor) {
    struct request r;
    request_init(&r, kind);
    r.name = span_text(name);
    r.actor = span_text(actor);
    r.address = span_text("127.0.0.1:9");
    if (kind == REQUEST_AUDIT_NOTE) {
        r.in.note = span_text("why");
    }
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

static enum refusal written(uint64_t number) {
    struct request r;
    request_init(&r, REQUEST_AUDIT_WRITTEN);
    r.id = number;
    enum refusal refusal = world_ask(&w, &r);
    request_release(&r);
    return refusal;
}

/* The same text behind another entry has another hash. */
static void a_hash_covers_what_was_before(void **state) {
    (void)state;
    uint8_t nothing[AUDIT_HASH_BYTES] = {0}, one[AUDIT_HASH_BYTES];
    uint8_t after_nothing[AUDIT_HASH_BYTES], after_one[AUDIT_HASH_BYTES];
    audit_chain(nothing, span_text("one"), one);
    audit_chain(nothing, span_text("two"), after_nothing);
    audit_chain(one, span_text("two"), after_one);
    assert_memory_not_equal(after_nothing, after_one, AUDIT_HASH_BYTES);
}

static void an_action_leaves_one_entry(void **state) {
    (void)state;
    assert_int_equal(world_define_queue(&w, "mail", 0), REFUSAL_NONE);
    assert_int_equal(audit_state(w.model).count, 0); /* nobody who has to answer for it */
    assert_int_equal(ask(REQUEST_QUEUE_PAUSE, "mail", "ops#1"), REFUSAL_NONE);
    struct audit_entry e;
    assert_true(audit_after(w.model, 0, &e));
    assert_int_equal(e.number, 1);
    assert_non_null(memmem(e.text.data, e.text.size, "\"action\":\"pause\"", 16));
    assert_int_equal(ask(REQUEST_QUEUE_PAUSE, "mail", "ops#1"), REFUSAL_NONE); /* is already */
    assert_int_equal(ask(REQUEST_QUEUE_PAUSE, "none", "ops#1"), REFUSAL_NOT_FOUND);
    assert_int_equal(audit_state(w.model).count, 1);
    assert_int_equal(ask(REQUEST_QUEUE_DELETE, "mail", "ops#1"), REFUSAL_NONE);
    assert_true(audit_after(w.model, 1, &e) && e.number == 2);
    assert_false(audit_after(w.model, 2, &e));
}

static void the_chain_is_over_all_texts(void **state) {
    (void)state;
    uint8_t head[AUDIT_HASH_BYTES] = {0};
    for (int i = 0; i < 200; i++) {
        assert_int_equal(ask(REQUEST_AUDIT_NOTE, "start", "program"), REFUSAL_NONE);
    }
    struct audit_entry e;
    uint64_t number = 0;
    while (audit_after(w.model, number, &e)) {
        audit_chain(head, e.text, head);
        assert_memory_equal(head, e.hash, sizeof head);
        assert_int_equal(e.number, ++number);
    }
    assert_int_equal(number, 200);
    assert_memory_equal(head, audit_state(w.model).head, sizeof head);
}

/* What the file does not have yet stays, whatever comes after it; what it has goes at last. */
static void entries_wait_for_the_file(void **state) {
    (void)state;
    const uint64_t many = AUDIT_RECENT * 2;
    for (uint64_t i = 0; i < many; i++) {
        assert_int_equal(ask(REQUEST_AUDIT_NOTE, "start", "program"), REFUSAL_NONE);
    }
    struct audit_entry e;
    assert_true(audit_after(w.model, 0, &e) && e.number == 1);
    world_reload(&w);
    assert_true(audit_after(w.model, 0, &e) && e.number == 1);
    assert_int_equal(written(many - 1), REFUSAL_NONE);
    assert_true(audit_after(w.model, 0, &e) && e.number == many - AUDIT_RECENT + 1);
    assert_int_equal(written(many + 1), REFUSAL_NONE); /* nothing like that: passed over */
    assert_int_equal(written(3), REFUSAL_NONE);
    assert_int_equal(audit_state(w.model).written, many - 1);
}

static void without_room_it_does_not_happen(void **state) {
    (void)state;
    for (uint64_t i = 0; i < AUDIT_WAITING_MAX; i++) {
        assert_int_equal(ask(REQUEST_AUDIT_NOTE, "start", "program"), REFUSAL_NONE);
    }
    assert_int_equal(world_define_queue(&w, "mail", 0), REFUSAL_NONE);
    assert_int_equal(ask(REQUEST_QUEUE_PAUSE, "mail", "ops#1"), REFUSAL_LIMIT);
    assert_int_equal(written(1), REFUSAL_NONE);
    assert_int_equal(ask(REQUEST_QUEUE_PAUSE, "mail", "ops#1"), REFUSAL_NONE);
}

static void lists_go_from_the_latest_back(void **state) {
    (void)state;
    for (int i = 0; i < 5; i++) {
        assert_int_equal(ask(REQUEST_AUDIT_NOTE, "start", "program"), REFUSAL_NONE);
    }
    static const struct {
        uint64_t after, count, next;
    } pages[] = {{0, 2, 4}, {4, 2, 2}, {2, 1, 0}};
    for (size_t i = 0; i < ARRAY_LENGTH(pages); i++) {
        struct request r;
        request_init(&r, REQUEST_AUDIT_LIST);
        r.in.list.max = 2;
        r.in.list.after = pages[i].after;
        assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
        assert_int_equal(r.count, pages[i].count);
        assert_int_equal(r.next, pages[i].next);
        assert_int_equal(r.out.audit.count, 5);
        request_release(&r);
    }
}

static int load(uint64_t count, uint64_t written, uint32_t entries, uint64_t number) {
    const uint32_t size = 0;
    struct buffer section;
    buffer_init(&section, 4096);
    uint8_t hash[AUDIT_HASH_BYTES] = {0};
    assert_int_equal(buffer_append(&section, &count, sizeof count), 0);
    assert_int_equal(buffer_append(&section, &written, sizeof written), 0);
    assert_int_equal(buffer_append(&section, hash, sizeof hash), 0);
    assert_int_equal(buffer_append(&section, &entries, sizeof entries), 0);
    if (entries > 0) {
        assert_int_equal(buffer_append(&section, &number, sizeof number), 0);
        assert_int_equal(buffer_append(&section, hash, sizeof hash), 0);
        assert_int_equal(buffer_append(&section, &size, sizeof size), 0);
    }
    struct model *m;
    struct reader reader;
    reader_init(&reader, buffer_span(&section));
    assert_int_equal(model_create(&(struct model_limits){0}, (struct hash_key){3, 4}, &m), 0);
    int rc = modules[MODULE_AUDIT]->load(m, &reader);
    if (rc == 0) {
        model_check(m);
    }
    model_free(m);
    buffer_release(&section);
    return rc;
}

/* The newest entries are those kept, and all that the file has not yet. */
static void a_section_without_its_last_entries_is_refused(void **state) {
    (void)state;
    assert_int_equal(load(7, 5, 1, 7), 0);
    assert_int_equal(load(7, 7, 0, 0), 0);
    assert_int_equal(load(7, 5, 0, 0), E_CORRUPT);
    assert_int_equal(load(7, 5, 1, 6), E_CORRUPT);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_hash_covers_what_was_before),
        TEST(an_action_leaves_one_entry),
        TEST(the_chain_is_over_all_texts),
        TEST(entries_wait_for_the_file),
        TEST(without_room_it_does_not_happen),
        TEST(lists_go_from_the_latest_back),
        TEST(a_section_without_its_last_entries_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
