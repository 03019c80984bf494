#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "cli/top_events.h"

struct heard {
    char text[512]; /* "name=data;" of each event */
};

static void note(void *context, const char *name, struct span data) {
    struct heard *h = context;
    size_t size = strlen(h->text);
    snprintf(h->text + size, sizeof(h->text) - size, "%s=%.*s;", name, SPAN_ARG(data));
}

static const char STREAM[] = ": hello\n\n"
                             "event: counters\r\ndata: {\"a\":1}\r\nid: 7\r\n\r\n"
                             "data:one\ndata: two\n\n"
                             "event: empty\n\n"
                             "event: counters\ndata: last\n\n"
                             "data: cut off";

static void events_are_the_same_in_any_pieces(void **state) {
    (void)state;
    for (size_t piece = 1; piece < sizeof(STREAM); piece++) {
        struct heard h = {""};
        struct top_events e;
        top_events_init(&e, note, &h);
        for (size_t at = 0; at < sizeof(STREAM) - 1; at += piece) {
            size_t left = sizeof(STREAM) - 1 - at;
            top_events_feed(&e, span_of(STREAM + at, left < piece ? left : piece));
        }
        assert_string_equal(h.text, "counters={\"a\":1};message=one\ntwo;counters=last;");
        top_events_release(&e);
    }
}

static void a_new_connection_forgets_the_half_of_the_old_one(void **state) {
    (void)state;
    struct heard h = {""};
    struct top_events e;
    top_events_init(&e, note, &h);
    top_events_feed(&e, span_text("event: old\ndata: half"));
    top_events_clear(&e);
    top_events_feed(&e, span_text("data: new\n\n"));
    assert_string_equal(h.text, "message=new;");
    top_events_release(&e);
}

static void an_event_above_the_limit_is_dropped_and_the_next_one_heard(void **state) {
    (void)state;
    struct heard h = {""};
    struct top_events e;
    char *large = test_malloc(TOP_EVENT_MAX);
    memset(large, 'x', TOP_EVENT_MAX);
    top_events_init(&e, note, &h);
    top_events_feed(&e, span_text("data: "));
    top_events_feed(&e, span_of(large, TOP_EVENT_MAX));
    top_events_feed(&e, span_text("\n\ndata: next\n\n"));
    assert_string_equal(h.text, "message=next;");
    top_events_release(&e);
    test_free(large);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(events_are_the_same_in_any_pieces),
        cmocka_unit_test(a_new_connection_forgets_the_half_of_the_old_one),
        cmocka_unit_test(an_event_above_the_limit_is_dropped_and_the_next_one_heard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
