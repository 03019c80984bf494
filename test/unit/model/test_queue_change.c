/* What people do to messages: edited, moved, sent again; the receipt goes along. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"
#include "model/history.h"
#include "rabbit.h"

/* As stored, but for what the model never looks at. */
static struct stored_message stored(const char *key, const char *body, uint16_t version) {
    return (struct stored_message){
        .version = version,
        .envelope = {.ordering_key = span_text(key), .body = span_text(body)},
    };
}

static struct message_seen seen(uint64_t id) {
    struct message_info m = mail_get(id);
    return (struct message_seen){m.address, m.attempts, m.state};
}

static enum refusal edit(uint64_t id, const char *body, uint8_t priority,
                         struct message_seen as_seen) {
    struct stored_message content = stored("", body, 1);
    content.priority = priority;
    struct request r;
    request_init(&r, REQUEST_MESSAGE_EDIT);
    r.name = span_text("q");
    r.id = id;
    r.in.edit.seen = as_seen;
    r.in.edit.content = &content;
    enum refusal refusal = world_ask(&mail, &r);
    request_release(&r);
    return refusal;
}

static enum refusal move_keyed(uint64_t id, const char *from, const char *to, const char *key) {
    struct stored_message content = stored(key, "", 0);
    struct request r;
    request_init(&r, REQUEST_MESSAGE_TRANSFER);
    r.name = span_text(from);
    r.id = id;
    r.in.transfer.seen = seen(id);
    r.in.transfer.stored = &content;
    r.in.transfer.to = span_text(to);
    enum refusal refusal = world_ask(&mail, &r);
    request_release(&r);
    return refusal;
}

static enum refusal move(uint64_t id, const char *to) {
    return move_keyed(id, "q", to, "");
}

static void test_edit(void **state) {
    mail_queue("q");
    uint64_t a = mail_put((struct letter){.queue = "q", .body = "short"});
    uint64_t b = mail_put((struct letter){.queue = "q", .body = "second"});
    assert_int_equal(edit(a, "a much longer body", 0, seen(a)), REFUSAL_NONE);
    struct message_info m = mail_get(a);
    assert_true(m.body_bytes == 18 && m.state == MESSAGE_READY && m.stored_id == a);
    assert_int_equal(mail_info("q").bytes, 18 + 6);
    assert_int_equal(edit(b, "", 7, seen(b)), REFUSAL_NONE);
    assert_true(mail_get(b).priority == 7 && mail_info("q").bytes == 18);
    assert_int_equal(edit(b, "x", 10, seen(b)), REFUSAL_INVALID); /* above maxPriority */
    assert_int_equal(edit(77, "x", 0, seen(b)), REFUSAL_NOT_FOUND);
    struct receipt_info r = mail_receipt(a);
    assert_true(r.state == MESSAGE_READY && r.address == mail_get(a).address);
}

/* Two people look at the same message: the second one to change it is told. */
static void test_edit_of_what_was_changed(void **state) {
    mail_queue("q");
    uint64_t id = mail_put((struct letter){.queue = "q", .body = "one"});
    struct message_seen before = seen(id);
    assert_int_equal(edit(id, "two", 0, before), REFUSAL_NONE);
    assert_int_equal(edit(id, "three", 0, before), REFUSAL_STALE);
    assert_int_equal(mail_get(id).body_bytes, 3);
    struct message_seen wrong = seen(id);
    wrong.attempts++;
    assert_int_equal(edit(id, "three", 0, wrong), REFUSAL_STALE);
    wrong = seen(id);
    wrong.state = MESSAGE_DEAD;
    assert_int_equal(edit(id, "three", 0, wrong), REFUSAL_STALE);
}

/* The payload of the latest record, as compaction reads it; *ret owns. */
static void read_back(uint64_t id, size_t before, struct buffer *ret) {
    struct reader log;
    struct stored_message found;
    reader_init(&log, span_of(mail.log.data + before + 16, mail.log.size - before - 16));
    assert_int_equal(stored_message_find(reader_bytes(&log), id, &found), 0);
    buffer_init(ret, 1u << 20);
    assert_int_equal(buffer_append_span(ret, found.payload), 0);
}

static uint32_t copy_forward(uint64_t id, uint64_t address, const struct buffer *payload) {
    struct span bytes = buffer_span(payload);
    struct request r;
    request_init(&r, REQUEST_MESSAGE_MOVE);
    r.in.move.ids = &id;
    r.in.move.addresses = &address;
    r.in.move.payloads = &bytes;
    r.in.move.count = 1;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    uint32_t copied = r.count;
    request_release(&r);
    return copied;
}

/* Compaction read a body, then it was edited into one that is exactly as long: the edit stays. */
static void test_edit_beside_compaction(void **state) {
    mail_queue("q");
    uint64_t id = mail_put((struct letter){.queue = "q", .body = "zero"});
    mail.position = 40;
    size_t before = mail.log.size;
    assert_int_equal(edit(id, "one", 0, seen(id)), REFUSAL_NONE);
    struct buffer first, second;
    read_back(id, before, &first);
    mail.position = 50;
    before = mail.log.size;
    assert_int_equal(edit(id, "two", 0, seen(id)), REFUSAL_NONE);
    uint64_t address = mail_get(id).address;
    read_back(id, before, &second);
    assert_int_equal(first.size, second.size);
    mail.position = 60;
    assert_int_equal(copy_forward(id, 40, &first), 0);
    assert_int_equal(mail_get(id).address, address);
    assert_int_equal(copy_forward(id, address, &second), 1);
    assert_int_equal(mail_get(id).address, 60);
    buffer_release(&first);
    buffer_release(&second);
}

static void test_room_for_an_edit(void **state) {
    struct queue_def def = mail_def("q", "");
    def.max_bytes = 10;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t id = mail_put((struct letter){.queue = "q", .body = "12345678"});
    assert_int_equal(edit(id, "12345678901", 0, seen(id)), REFUSAL_QUEUE_FULL);
    assert_int_equal(edit(id, "1234567890", 0, seen(id)), REFUSAL_NONE);
    def = mail_def("q", "");
    def.max_bytes = 4; /* less than there is by now */
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    assert_int_equal(edit(id, "12345678901", 0, seen(id)), REFUSAL_QUEUE_FULL);
    assert_int_equal(edit(id, "123456789", 0, seen(id)), REFUSAL_NONE); /* smaller is always fine */
    mail.disk_is_full = true;
    assert_int_equal(edit(id, "1", 0, seen(id)), REFUSAL_DISK_FULL);
    mail.disk_is_full = false;
}

static void test_in_flight_stays_as_it_is(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", push_pace(0, 1)), REFUSAL_NONE);
    assert_int_equal(push_define_queue(&mail, "q", "out", push_pace(0, 1), NULL), REFUSAL_NONE);
    mail_queue("other");
    uint64_t id = push_publish(&mail, "q");
    struct attempt_start start;
    assert_true(push_start(&mail, &start));
    assert_int_equal(edit(id, "x", 0, seen(id)), REFUSAL_CONFLICT);
    assert_int_equal(move(id, "other"), REFUSAL_CONFLICT);
    push_finish(&mail, &start, 404, 0);
    assert_int_equal(mail_get(id).state, MESSAGE_DEAD);
    assert_int_equal(edit(id, "mended", 0, seen(id)), REFUSAL_NONE);
    assert_true(mail_get(id).state == MESSAGE_DEAD && mail_info("q").bytes == 0);
    assert_int_equal(move(id, "other"), REFUSAL_NONE);
    struct message_info m = mail_get(id);
    assert_true(m.state == MESSAGE_READY && m.attempts == 0 && m.dead_reason == DEAD_NONE);
    assert_true(mail_info("other").ready == 1 && mail_info("q").dead == 0);
    assert_string_equal(mail_receipt_queue(id), "other");
    assert_int_equal(mail_info("other").bytes, 6);
}

static void test_move(void **state) {
    mail_queue("q");
    mail_queue("other");
    uint64_t due = mail.now_ns + 1000;
    uint64_t later = mail_put((struct letter){.queue = "q", .schedule_ns = due});
    assert_int_equal(move(later, "other"), REFUSAL_NONE);
    assert_true(mail_get(later).state == MESSAGE_DELAYED && mail_get(later).due_ns == due);
    assert_int_equal(move_keyed(later, "q", "other", ""), REFUSAL_NOT_FOUND);
    assert_int_equal(move_keyed(later, "other", "other", ""), REFUSAL_INVALID);
    assert_int_equal(move_keyed(later, "other", "none", ""), REFUSAL_REFERENCE);
    mail.now_ns = due;
    world_run_timers(&mail);
    assert_int_equal(mail_info("other").ready, 1);
}

/* The order of a key holds in the other queue, too, and in the one that is left. */
static void test_move_with_a_key(void **state) {
    mail_queue("q");
    mail_queue("other");
    uint64_t a1 = mail_put((struct letter){.queue = "q", .key = "a"});
    uint64_t a2 = mail_put((struct letter){.queue = "q", .key = "a"});
    uint64_t a3 = mail_put((struct letter){.queue = "q", .key = "a"});
    assert_int_equal(move_keyed(a1, "q", "other", "a"), REFUSAL_NONE);
    assert_int_equal(mail_get(a2).state, MESSAGE_READY);
    assert_int_equal(move_keyed(a3, "q", "other", "a"),
                     REFUSAL_NONE); /* was blocked, and is again */
    assert_int_equal(mail_get(a3).state, MESSAGE_BLOCKED);
    mail_ask_id(REQUEST_MESSAGE_DELETE, "other", a1);
    assert_int_equal(mail_get(a3).state, MESSAGE_READY);
    assert_int_equal(mail_get(a2).state, MESSAGE_READY);
}

static void test_room_in_the_other_queue(void **state) {
    mail_queue("q");
    struct queue_def def = mail_def("other", "");
    def.max_messages = 1;
    def.max_priority = 2;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t a = mail_put((struct letter){.queue = "q", .priority = 9});
    uint64_t b = mail_put((struct letter){.queue = "q"});
    assert_int_equal(move(a, "other"), REFUSAL_NONE);
    assert_int_equal(mail_get(a).priority, 2);
    assert_int_equal(move(b, "other"), REFUSAL_QUEUE_FULL);
    rabbit_declare(&mail, "mine", (struct rabbit_queue){.exclusive = true, .session = 5}, NULL);
    assert_int_equal(move(b, "mine"), REFUSAL_CONFLICT);
    assert_int_equal(mail_get(b).state, MESSAGE_READY);
}

/* Whose turn it is is the other queue's business. */
static void test_move_between_tenants(void **state) {
    struct queue_def def = mail_def("q", "");
    assert_int_equal(def_set_text(&def.tenant_header, span_text("X-Tenant")), 0);
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    mail_queue("other");
    uint64_t id = mail_put((struct letter){.queue = "other"});
    struct stored_message content = stored("", "", 0);
    content.envelope.headers = span_text("X-Tenant: a\n");
    struct request r;
    request_init(&r, REQUEST_MESSAGE_TRANSFER);
    r.name = span_text("other");
    r.id = id;
    r.in.transfer.seen = seen(id);
    r.in.transfer.stored = &content;
    r.in.transfer.to = span_text("q");
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    request_release(&r);
    assert_int_equal(mail_info("q").tenants, 1);
    assert_int_equal(move(id, "other"), REFUSAL_NONE);
    assert_int_equal(mail_info("q").tenants, 0);
    assert_int_equal(mail_get(id).state, MESSAGE_READY);
}

static void test_story(void **state) {
    mail_queue("q");
    mail_queue("other");
    uint64_t id = mail_put((struct letter){.queue = "q", .ttl_ns = 5});
    mail.now_ns += 5;
    world_run_timers(&mail);
    edit(id, "x", 0, seen(id));
    mail.now_ns++;
    move(id, "other");
    struct request r;
    request_init(&r, REQUEST_MESSAGE_GET);
    r.id = id;
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    struct reader told;
    reader_init(&told, buffer_span(&r.out_bytes));
    assert_int_equal(reader_u32(&told), 0);
    struct history_entry e[3];
    for (unsigned i = 0; i < 3; i++) {
        assert_true(history_next(&told, &e[i]));
    }
    assert_true(e[0].kind == HISTORY_DIED && e[0].reason == DEAD_EXPIRED);
    assert_true(e[1].kind == HISTORY_EDITED && e[2].kind == HISTORY_MOVED);
    assert_true(span_is(e[2].queue_name, "q") && r.out.message.changed_ns == mail.now_ns);
    request_release(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_edit, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_edit_of_what_was_changed, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_edit_beside_compaction, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_room_for_an_edit, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_in_flight_stays_as_it_is, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_move, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_move_with_a_key, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_room_in_the_other_queue, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_move_between_tenants, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_story, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
