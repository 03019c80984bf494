/* Queues as requests see them: definitions, limits, publishing, time to live. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "mail.h"

static void test_publish(void **state) {
    mail_queue("orders");
    struct receipt receipt;
    assert_int_equal(mail_try((struct letter){.queue = "orders", .body = "hello"}, &receipt),
                     REFUSAL_NONE);
    assert_int_equal(receipt.id, id_make(mail.position - 1, 0));
    assert_int_equal(receipt.accepted_ns, mail.now_ns);
    struct message_info info = mail_get(receipt.id);
    assert_int_equal(info.state, MESSAGE_READY);
    assert_int_equal(info.address, mail.position - 1);
    assert_int_equal(info.body_bytes, 5);
    struct queue_info queue = mail_info("orders");
    assert_int_equal(queue.ready, 1);
    assert_int_equal(queue.bytes, 5);
    assert_int_equal(queue.published, 1);
    assert_int_equal(queue.oldest_ns, mail.now_ns);
}

static void test_publish_refused(void **state) {
    struct receipt receipt;
    assert_int_equal(mail_try((struct letter){.queue = "nowhere"}, &receipt), REFUSAL_NOT_FOUND);
    mail_queue("orders");
    assert_int_equal(mail_try((struct letter){.queue = "orders", .priority = 10}, &receipt),
                     REFUSAL_INVALID);
    char key[KEY_MAX_BYTES + 2];
    memset(key, 'k', sizeof key);
    key[KEY_MAX_BYTES + 1] = '\0';
    assert_int_equal(mail_try((struct letter){.queue = "orders", .key = key}, &receipt),
                     REFUSAL_INVALID);
    key[KEY_MAX_BYTES] = '\0';
    mail_put((struct letter){.queue = "orders", .key = key});
    mail.disk_is_full = true;
    assert_int_equal(mail_try((struct letter){.queue = "orders"}, &receipt), REFUSAL_DISK_FULL);
    assert_int_equal(mail_info("orders").published, 1);
}

static void test_queue_limits(void **state) {
    struct queue_def def = mail_def("few", "");
    def.max_messages = 2;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    def = mail_def("small", "");
    def.max_bytes = 10;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    struct receipt receipt;
    uint64_t first = mail_put((struct letter){.queue = "few"});
    mail_put((struct letter){.queue = "few"});
    assert_int_equal(mail_try((struct letter){.queue = "few"}, &receipt), REFUSAL_QUEUE_FULL);
    assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "few", first), REFUSAL_NONE);
    mail_put((struct letter){.queue = "few"});
    mail_put((struct letter){.queue = "small", .body = "123456"});
    assert_int_equal(mail_try((struct letter){.queue = "small", .body = "12345"}, &receipt),
                     REFUSAL_QUEUE_FULL);
    mail_put((struct letter){.queue = "small", .body = "1234"});
}

static void test_model_limits(void **state) {
    world_release(&mail);
    struct model_limits limits = {.queues = 1, .messages = 2};
    world_init(&mail, &limits);
    mail_queue("one");
    struct queue_def def = mail_def("two", "");
    assert_int_equal(mail_define(&def), REFUSAL_LIMIT);
    def = mail_def("one", "");
    assert_int_equal(mail_define(&def), REFUSAL_NONE); /* it is there already */
    mail_put((struct letter){.queue = "one"});
    mail_put((struct letter){.queue = "one"});
    struct receipt receipt;
    assert_int_equal(mail_try((struct letter){.queue = "one"}, &receipt), REFUSAL_LIMIT);
}

static void test_definition_refused(void **state) {
    struct queue_def def = mail_def("bad name", "");
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
    def = mail_def("orders", "nowhere");
    assert_int_equal(mail_define(&def), REFUSAL_REFERENCE);
    def = mail_def("orders", "");
    def.retry.min_backoff_ns = def.retry.max_backoff_ns + 1;
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
    def = mail_def("orders", "");
    def.pace = (struct pace_def){.count = 5, .period_ns = 0, .burst = 1};
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
    def = mail_def("orders", "");
    def.pace = (struct pace_def){.count = 1, .period_ns = UINT64_MAX, .burst = 1};
    assert_int_equal(mail_define(&def), REFUSAL_INVALID);
    assert_int_equal(queue_find(mail.model, span_text("orders")), 0);
}

static struct define define_how(struct define how, uint64_t max_messages, enum refusal expected) {
    struct queue_def def = mail_def("orders", "");
    def.max_messages = max_messages;
    struct request r;
    request_init(&r, REQUEST_QUEUE_DEFINE);
    r.in.define.how = how;
    r.in.define.queue = &def;
    assert_int_equal(world_ask(&mail, &r), expected);
    how = r.in.define.how;
    request_release(&r);
    queue_def_release(&def);
    return how;
}

static uint64_t max_messages(void) {
    uint32_t queue = queue_find(mail.model, span_text("orders"));
    return queue_definition(mail.model, queue)->max_messages;
}

static void test_file_and_run_time_definitions(void **state) {
    struct define file = {.from_file = true, .file_hash = 11}, api = {0};
    assert_true(define_how(file, 5, REFUSAL_NONE).ret_created);
    define_how(api, 6, REFUSAL_NONE);
    world_reload(&mail); /* the hash of the file is part of the state */
    uint64_t position = mail.position;
    assert_true(define_how(file, 5, REFUSAL_NONE).ret_unchanged);
    assert_int_equal(mail.position, position); /* nothing was emitted */
    assert_int_equal(max_messages(), 6);
    file.file_hash = 12;
    define_how(file, 7, REFUSAL_NONE);
    assert_int_equal(max_messages(), 7);
    api.create_only = true;
    define_how(api, 8, REFUSAL_CONFLICT);
}

static void test_time_to_live(void **state) {
    struct queue_def def = mail_def("brief", "");
    def.message_ttl_ns = 1000;
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    uint64_t own = mail_put((struct letter){.queue = "brief", .ttl_ns = 10});
    uint64_t queues = mail_put((struct letter){.queue = "brief", .ttl_ns = 2000});
    assert_int_equal(mail_get(own).expires_ns, mail.now_ns + 10);
    assert_int_equal(mail_get(queues).expires_ns, mail.now_ns + 1000);
    mail.now_ns += 10;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(own).state, MESSAGE_DEAD);
    assert_int_equal(mail_get(own).dead_reason, DEAD_EXPIRED);
    assert_int_equal(mail_get(queues).state, MESSAGE_READY);
    mail.now_ns += 990;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_info("brief").expired, 2);
    mail_queue("endless");
    assert_int_equal(
        mail_get(mail_put((struct letter){.queue = "endless", .ttl_ns = UINT64_MAX})).expires_ns,
        0);
}

static void test_scheduled(void **state) {
    mail_queue("orders");
    uint64_t later = mail_put((struct letter){.queue = "orders", .schedule_ns = mail.now_ns + 50});
    uint64_t past = mail_put((struct letter){.queue = "orders", .schedule_ns = mail.now_ns - 50});
    assert_int_equal(mail_get(later).state, MESSAGE_DELAYED);
    assert_int_equal(mail_get(later).due_ns, mail.now_ns + 50);
    assert_int_equal(mail_get(past).state, MESSAGE_READY);
    assert_int_equal(model_next_due_ns(mail.model), mail.now_ns + 50);
    mail.now_ns += 49;
    assert_int_equal(world_run_timers(&mail), 0);
    mail.now_ns += 1;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(later).state, MESSAGE_READY);
    assert_true(model_next_due_ns(mail.model) == UINT64_MAX);
    /* One that ends before it is due expires without having been ready. */
    uint64_t never =
        mail_put((struct letter){.queue = "orders", .schedule_ns = mail.now_ns + 50, .ttl_ns = 20});
    mail.now_ns += 100;
    assert_int_equal(world_run_timers(&mail), 1);
    assert_int_equal(mail_get(never).dead_reason, DEAD_EXPIRED);
}

/* Whoever was first stays first, also over a restart, and whatever cell of memory it came to lie in. */
static void test_scheduled_for_one_moment(void **state) {
    mail_queue("orders");
    uint64_t at_ns = mail.now_ns + NS_PER_SECOND, ids[8];
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        ids[i] = mail_put((struct letter){.queue = "orders", .schedule_ns = at_ns});
        if (i == 1) {
            uint64_t gone = mail_put((struct letter){.queue = "orders", .schedule_ns = at_ns});
            uint64_t other = mail_put((struct letter){.queue = "orders", .schedule_ns = at_ns});
            assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", gone), REFUSAL_NONE);
            assert_int_equal(mail_ask_id(REQUEST_MESSAGE_DELETE, "orders", other), REFUSAL_NONE);
        }
    }
    world_reload(&mail);
    mail.now_ns = at_ns;
    assert_int_equal(world_run_timers(&mail), ARRAY_LENGTH(ids));
    struct request r;
    request_init(&r, REQUEST_QUEUE_MESSAGES);
    r.name = span_text("orders");
    r.in.list.max = ARRAY_LENGTH(ids);
    assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
    struct message_info page[ARRAY_LENGTH(ids)];
    assert_int_equal(r.out_bytes.size, sizeof page);
    memcpy(page, r.out_bytes.data, sizeof page);
    for (unsigned i = 0; i < ARRAY_LENGTH(ids); i++) {
        assert_int_equal(page[i].id, ids[i]);
    }
    request_release(&r);
}

static void test_delete_queue(void **state) {
    mail_queue("orders");
    uint64_t id = mail_put((struct letter){.queue = "orders", .ttl_ns = 10});
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_DELETE, "orders"), REFUSAL_CONFLICT);
    mail.now_ns += 10;
    world_run_timers(&mail);
    assert_int_equal(mail_get(id).state, MESSAGE_DEAD); /* the dead do not hinder */
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_DELETE, "orders"), REFUSAL_NONE);
    assert_int_equal(push_ask_name(&mail, REQUEST_QUEUE_DELETE, "orders"), REFUSAL_NOT_FOUND);
    assert_int_equal(mail_receipt(id).state, MESSAGE_DROPPED);
    assert_string_equal(mail_receipt_queue(id), "");
    mail_queue("orders");
    assert_int_equal(mail_info("orders").published, 0);
}

static void test_list_queues(void **state) {
    char name[8];
    for (unsigned i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "q%u", i);
        mail_queue(name);
    }
    uint64_t after = 0;
    for (unsigned i = 0; i < 3; i++) {
        struct request r;
        request_init(&r, REQUEST_QUEUE_LIST);
        r.in.list.max = 2;
        r.in.list.after = after;
        assert_int_equal(world_ask(&mail, &r), REFUSAL_NONE);
        assert_int_equal(r.count, i < 2 ? 2 : 1);
        struct reader in;
        reader_init(&in, buffer_span(&r.out_bytes));
        for (uint64_t k = 0; k < r.count; k++) {
            struct reader item;
            struct queue_def def;
            reader_init(&item, reader_bytes(&in));
            assert_int_equal(queue_def_decode(&item, &def), 0);
            snprintf(name, sizeof name, "q%u", i * 2 + (unsigned)k);
            assert_string_equal(def.name, name);
            assert_int_equal(reader_bytes(&in).size, sizeof(struct queue_info));
            queue_def_release(&def);
        }
        assert_true(reader_done(&in));
        after = r.next;
        request_release(&r);
    }
    assert_int_equal(after, 0);
}

static void test_eta(void **state) {
    assert_int_equal(push_define_destination(&mail, "out", push_pace(10, 1)), REFUSAL_NONE);
    struct queue_def def = mail_def("orders", "out");
    assert_int_equal(mail_define(&def), REFUSAL_NONE);
    struct receipt first, second, later;
    mail_try((struct letter){.queue = "orders"}, &first);
    for (unsigned i = 0; i < 19; i++) {
        mail_put((struct letter){.queue = "orders"});
    }
    mail_try((struct letter){.queue = "orders"}, &second);
    assert_true(first.eta_ns >= mail.now_ns);
    assert_true(second.eta_ns >=
                mail.now_ns + 19 * NS_PER_SECOND / 10); /* 20 before it, 10 a second */
    mail_try((struct letter){.queue = "orders", .schedule_ns = mail.now_ns + 3600 * NS_PER_SECOND},
             &later);
    assert_true(later.eta_ns >= mail.now_ns + 3600 * NS_PER_SECOND);
    push_ask_name(&mail, REQUEST_QUEUE_PAUSE, "orders");
    mail_try((struct letter){.queue = "orders"}, &later);
    assert_int_equal(later.eta_ns, 0); /* who knows */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_publish, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_publish_refused, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_queue_limits, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_model_limits, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_definition_refused, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_file_and_run_time_definitions, mail_setup,
                                        mail_teardown),
        cmocka_unit_test_setup_teardown(test_time_to_live, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_scheduled, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_scheduled_for_one_moment, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_delete_queue, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_list_queues, mail_setup, mail_teardown),
        cmocka_unit_test_setup_teardown(test_eta, mail_setup, mail_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
