/*
 * Destinations through the model: definitions, pausing, deleting, lists, times of arrival.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>

#include "model/destination_state.h"
#include "push.h"

static void release(struct world *w) {
    model_check(w->model);
    world_check_replay(w);
    world_reload(w);
    world_release(w);
}

static struct destination_def decode_get(struct world *w, const char *name, uint32_t *generation) {
    struct request r;
    request_init(&r, REQUEST_DESTINATION_GET);
    r.name = span_text(name);
    assert_int_equal(world_ask(w, &r), REFUSAL_NONE);
    struct reader in;
    reader_init(&in, buffer_span(&r.out_bytes));
    struct destination_def def;
    assert_int_equal(destination_def_decode(&in, &def), 0);
    assert_int_equal(in.left, r.count); /* what it is like now */
    *generation = r.generation;
    request_release(&r);
    return def;
}

static void defined_again_it_changes(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    assert_int_equal(push_define_destination(&w, "out", push_pace(500, 0)), REFUSAL_NONE);
    uint32_t first, second;
    struct destination_def def = decode_get(&w, "out", &first);
    assert_int_equal(pace_burst(&def.pace), 8); /* by default what 16 ms let pass */
    destination_def_release(&def);
    uint64_t position = w.position;
    assert_int_equal(push_define_destination(&w, "out", push_pace(500, 0)), REFUSAL_NONE);
    assert_true(w.position == position); /* nothing new was said */
    assert_int_equal(push_define_destination(&w, "out", push_pace(100, 2)), REFUSAL_NONE);
    def = decode_get(&w, "out", &second);
    assert_int_equal(def.pace.count, 100);
    assert_int_not_equal(first, second);
    destination_def_release(&def);
    struct buffer bytes;
    uint32_t generation;
    buffer_init(&bytes, 4096);
    assert_true(destination_snapshot(w.model, destination_find(w.model, span_text("out")),
                                     &generation, &bytes));
    assert_int_equal(generation, second);
    assert_false(destination_snapshot(w.model, 77, &generation, &bytes));
    buffer_release(&bytes);
    release(&w);
}

static void a_bad_definition_is_refused_with_a_pointer(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("out")), 0);
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.in.define.destination = &def;
    assert_int_equal(world_ask(&w, &r), REFUSAL_INVALID);
    assert_string_equal(r.error_pointer, "/url");
    r.name = span_text("other");
    assert_int_equal(world_ask(&w, &r), REFUSAL_INVALID);
    assert_string_equal(r.error_pointer, "/name");
    assert_int_equal(def_set_text(&def.url, span_text("http://h/")), 0);
    r.name = span_text("out");
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_true(r.in.define.how.ret_created);
    r.in.define.how = (struct define){.create_only = true};
    assert_int_equal(world_ask(&w, &r), REFUSAL_CONFLICT);
    request_release(&r);
    destination_def_release(&def);
    release(&w);
}

static void a_file_wins_only_when_it_changes(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    struct destination_def def;
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("out")), 0);
    assert_int_equal(def_set_text(&def.url, span_text("http://h/")), 0);
    struct request r;
    request_init(&r, REQUEST_DESTINATION_DEFINE);
    r.in.define.destination = &def;
    r.in.define.how = (struct define){.from_file = true, .file_hash = 1};
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(push_define_destination(&w, "out", push_pace(7, 1)), REFUSAL_NONE);
    world_reload(&w);
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE); /* a restart with the same file */
    assert_true(r.in.define.how.ret_unchanged);
    uint32_t index = destination_find(w.model, span_text("out"));
    assert_int_equal(destination_definition(w.model, index)->pace.count, 7);
    r.in.define.how = (struct define){.from_file = true, .file_hash = 2};
    assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
    assert_int_equal(destination_definition(w.model, index)->pace.count, 0);
    request_release(&r);
    destination_def_release(&def);
    release(&w);
}

static void over_to_second(struct destination_def *def, void *context) {
    (void)context;
    assert_int_equal(def_set_text(&def->failover.destination, span_text("second")), 0);
    assert_int_equal(def_set_text(&def->failover.queue, span_text("told")), 0);
}

/* Else the failover would go to nobody, which is seen on the day when it is needed. */
static void what_a_failover_names_stays(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "second", push_pace(0, 1));
    push_define_queue(&w, "told", "second", push_pace(0, 1), NULL);
    push_define_more(&w, "first", push_pace(0, 1), over_to_second, NULL);
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_DELETE, "told"), REFUSAL_CONFLICT);
    push_define_queue(&w, "told", "", push_pace(0, 1), NULL);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "second"), REFUSAL_CONFLICT);
    push_define_destination(&w, "first", push_pace(0, 1));
    assert_int_equal(push_ask_name(&w, REQUEST_QUEUE_DELETE, "told"), REFUSAL_NONE);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "second"), REFUSAL_NONE);
    release(&w);
}

static void deleting_waits_for_queues_and_attempts(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "out"), REFUSAL_NOT_FOUND);
    push_define_destination(&w, "out", push_pace(0, 1));
    push_define_destination(&w, "other", push_pace(0, 1));
    push_define_queue(&w, "q", "out", push_pace(0, 1), NULL);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "out"), REFUSAL_CONFLICT);
    uint64_t id = push_publish(&w, "q");
    struct attempt_start start, none;
    assert_true(push_start(&w, &start));
    /* The queue turns elsewhere while an attempt is under way: it still ends where it started. */
    push_define_queue(&w, "q", "other", push_pace(0, 1), NULL);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "out"), REFUSAL_CONFLICT);
    model_check(w.model);
    world_reload(&w);
    push_finish(&w, &start, 503, 0);
    assert_int_equal(push_info(&w, "out").failed, 1);
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_DELETE, "out"), REFUSAL_NONE);
    assert_int_equal(destination_find(w.model, span_text("out")), 0);
    w.now_ns += NS_PER_SECOND;
    assert_true(push_start(&w, &start));
    assert_true(start.message == id);
    assert_int_equal(start.destination, destination_find(w.model, span_text("other")));
    assert_false(push_start(&w, &none));
    /* A new one of the old name has another index: nothing of the old one meets it. */
    push_define_destination(&w, "out", push_pace(0, 1));
    release(&w);
}

static void paused_nothing_starts(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(0, 1));
    push_define_queue(&w, "q", "out", push_pace(0, 1), NULL);
    push_publish(&w, "q");
    struct attempt_start start;
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out"), REFUSAL_NONE);
    assert_false(push_start(&w, &start));
    assert_true(model_next_start_ns(w.model, w.now_ns) == UINT64_MAX);
    struct destination_info info = push_info(&w, "out");
    assert_true(info.paused);
    assert_int_equal(info.waiting, 1);
    world_reload(&w);
    assert_false(push_start(&w, &start));
    assert_int_equal(push_ask_name(&w, REQUEST_DESTINATION_RESUME, "out"), REFUSAL_NONE);
    assert_true(model_next_start_ns(w.model, w.now_ns) == w.now_ns);
    assert_true(push_start(&w, &start));
    release(&w);
}

static void a_list_comes_in_pages(void **state) {
    (void)state;
    struct world w;
    struct model_limits limits = {.destinations = 25};
    world_init(&w, &limits);
    char name[16];
    for (int i = 0; i < 25; i++) {
        snprintf(name, sizeof name, "d%02d", i);
        assert_int_equal(push_define_destination(&w, name, push_pace(0, 1)), REFUSAL_NONE);
    }
    assert_int_equal(push_define_destination(&w, "more", push_pace(0, 1)), REFUSAL_LIMIT);
    uint64_t after = 0;
    int seen = 0;
    do {
        struct request r;
        request_init(&r, REQUEST_DESTINATION_LIST);
        r.in.list.after = after;
        r.in.list.max = 10;
        assert_int_equal(world_ask(&w, &r), REFUSAL_NONE);
        struct reader in;
        reader_init(&in, buffer_span(&r.out_bytes));
        for (uint64_t i = 0; i < r.count; i++) {
            struct reader one;
            struct destination_def def;
            reader_init(&one, reader_bytes(&in));
            assert_int_equal(destination_def_decode(&one, &def), 0);
            assert_int_equal(reader_bytes(&in).size,
                             offsetof(struct destination_detail, endpoints));
            snprintf(name, sizeof name, "d%02d", seen++);
            assert_string_equal(def.name, name);
            destination_def_release(&def);
        }
        assert_true(reader_done(&in));
        after = r.next;
        request_release(&r);
    } while (after != 0);
    assert_int_equal(seen, 25);
    release(&w);
}

static void times_of_arrival(void **state) {
    (void)state;
    struct world w;
    world_init(&w, NULL);
    push_define_destination(&w, "out", push_pace(500, 4));
    push_define_destination(&w, "fast", push_pace(0, 1));
    uint32_t out = destination_find(w.model, span_text("out"));
    uint32_t fast = destination_find(w.model, span_text("fast"));
    assert_true(destination_eta(w.model, out, 0, w.now_ns, 0).at_ns == w.now_ns);
    assert_true(destination_eta(w.model, out, 0, w.now_ns, 10003).at_ns ==
                w.now_ns + 20 * NS_PER_SECOND);
    assert_true(destination_eta(w.model, out, 0, w.now_ns, UINT64_MAX).at_ns > w.now_ns);
    assert_true(destination_eta(w.model, fast, 0, w.now_ns, 10000).at_ns == w.now_ns);
    assert_true(destination_eta(w.model, 0, 0, w.now_ns, 0).at_ns == 0);
    push_ask_name(&w, REQUEST_DESTINATION_PAUSE, "out");
    assert_true(destination_eta(w.model, out, 0, w.now_ns, 0).at_ns == 0);
    release(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defined_again_it_changes),
        cmocka_unit_test(a_bad_definition_is_refused_with_a_pointer),
        cmocka_unit_test(a_file_wins_only_when_it_changes),
        cmocka_unit_test(deleting_waits_for_queues_and_attempts),
        cmocka_unit_test(what_a_failover_names_stays),
        cmocka_unit_test(paused_nothing_starts),
        cmocka_unit_test(a_list_comes_in_pages),
        cmocka_unit_test(times_of_arrival),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
