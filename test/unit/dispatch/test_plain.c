/*
 * Plain connections over socket pairs: the far side is the test, so each byte comes when the test wants it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "dispatch/plain.h"

#define OK_ANSWER "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
#define BIG_BYTES (8u << 20) /* more than the sockets hold */

struct fixture {
    uv_loop_t loop;
    struct transport transport;
    struct plains plains;
    struct list kept;
    int far;
    uint32_t ends;
    struct plain_end last;
    size_t body_bytes, body_max;
};

static void on_curl_done(void *context, CURL *easy, CURLcode result) {
    (void)context;
    (void)easy;
    (void)result;
    fail();
}

static bool take(void *context, struct span bytes) {
    struct fixture *f = context;
    f->body_bytes += bytes.size;
    return f->body_bytes <= f->body_max;
}

static void on_done(void *context, const struct plain_end *end) {
    struct fixture *f = context;
    f->last = *end;
    f->ends++;
}

static void set_up(struct fixture *f) {
    *f = (struct fixture){.far = -1, .body_max = 1000};
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(transport_init(&f->transport, &f->loop, 4, on_curl_done, f), 0);
    assert_int_equal(plains_init(&f->plains, &f->transport), 0);
    list_init(&f->kept);
}

static void tear_down(struct fixture *f) {
    plains_close_kept(&f->kept);
    assert_int_equal(f->transport.sockets, 0);
    assert_int_equal(f->plains.silent, 0);
    plains_release(&f->plains);
    transport_release(&f->transport);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    close(f->far);
}

/* As if curl had connected it. */
static struct plain *connect_one(struct fixture *f) {
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    if (f->far >= 0) {
        close(f->far);
    }
    f->far = pair[1];
    f->transport.handed = pair[0];
    struct plain *p = plain_open(&f->plains, &f->kept);
    assert_non_null(p);
    return p;
}

static void ask_within(struct fixture *f, struct plain *p, struct span body, uint64_t timeout_ns) {
    f->body_bytes = 0;
    assert_int_equal(buffer_append_text(plain_head(p), "POST / HTTP/1.1\r\n\r\n"), 0);
    plain_ask(p, &(struct plain_request){.body = body,
                                         .deadline_ns = clock_monotonic_ns() + timeout_ns,
                                         .take = take,
                                         .done = on_done,
                                         .context = f});
}

static void ask(struct fixture *f, struct plain *p) {
    ask_within(f, p, span_text("body"), 90 * NS_PER_SECOND);
}

static bool is_kept(const struct fixture *f) {
    return !list_empty(&f->kept);
}

static void turn(struct fixture *f) {
    uv_run(&f->loop, UV_RUN_NOWAIT);
}

static void say(struct fixture *f, const char *text) {
    assert_int_equal(write(f->far, text, strlen(text)), strlen(text));
    turn(f);
}

static void assert_heard(struct fixture *f, const char *text) {
    char bytes[1000];
    ssize_t size = read(f->far, bytes, sizeof bytes);
    assert_int_equal(size, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

/* A request and its answer, after which the connection stays. */
static void exchange(struct fixture *f, struct plain *p) {
    uint32_t before = f->ends;
    ask(f, p);
    assert_heard(f, "POST / HTTP/1.1\r\n\r\nbody");
    say(f, OK_ANSWER);
    assert_int_equal(f->ends, before + 1);
    assert_int_equal(f->last.error, ATTEMPT_OK);
    assert_true(is_kept(f));
}

/* One that has had its first good exchange already: what follows is an attack on the kept path. */
static struct plain *kept_one(struct fixture *f) {
    exchange(f, connect_one(f));
    struct plain *p = plain_take(&f->kept, clock_monotonic_ns());
    assert_non_null(p);
    return p;
}

static void it_is_used_again(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *p = kept_one(&f);
    for (int i = 0; i < 5; i++) {
        exchange(&f, p);
        assert_ptr_equal(plain_take(&f.kept, clock_monotonic_ns()), p);
    }
    assert_int_equal(f.transport.sockets, 1);
    plain_close(p);
    tear_down(&f);
}

static void only_who_waits_for_the_first_byte_is_silent(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_true(plains_are_silent(&f.plains));
    struct plain *p = kept_one(&f);
    ask(&f, p);
    assert_int_equal(f.plains.silent, 1);
    say(&f, "HTTP/1.1 200 OK\r\nContent-");
    assert_int_equal(f.plains.silent, 0);
    assert_false(plains_are_silent(&f.plains));
    say(&f, "Length: 2\r\n\r\nok");
    assert_int_equal(f.ends, 2);
    assert_true(plains_are_silent(&f.plains));
    tear_down(&f);
}

static void assert_ends(const char *answer, bool closes, enum attempt_error error,
                        unsigned status) {
    struct fixture f;
    set_up(&f);
    ask(&f, kept_one(&f));
    assert_heard(&f, "POST / HTTP/1.1\r\n\r\nbody");
    assert_int_equal(write(f.far, answer, strlen(answer)), strlen(answer));
    if (closes) {
        close(f.far);
        f.far = -1;
    }
    turn(&f);
    turn(&f);
    if (f.ends != 2 || f.last.error != error || f.last.status != status) {
        fail_msg("%s: %u ends, error %d, status %u", answer, f.ends, f.last.error, f.last.status);
    }
    assert_false(is_kept(&f));
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

static void what_ends_a_connection(void **state) {
    (void)state;
    assert_ends("", true, ATTEMPT_BROKEN,
                0); /* it was stale: the far side may have seen the request */
    assert_ends("HTTP/1.1 200", true, ATTEMPT_PROTOCOL, 0);
    assert_ends("HTTP/1.1 100 Continue\r\n\r\n", true, ATTEMPT_PROTOCOL, 0);
    assert_ends("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nok", true, ATTEMPT_PROTOCOL, 200);
    assert_ends("HTTP/1.1 200 OK\r\n\r\nok", true, ATTEMPT_OK, 200);
    assert_ends("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false,
                ATTEMPT_OK, 200);
    assert_ends(OK_ANSWER OK_ANSWER, false, ATTEMPT_OK, 200);
    assert_ends(OK_ANSWER "\n", false, ATTEMPT_OK, 200);
    assert_ends("what?\r\n\r\n", false, ATTEMPT_PROTOCOL, 0);
}

static void too_much_is_enough(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask(&f, kept_one(&f));
    char head[] = "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\n", flood[1001];
    memset(flood, 'f', sizeof flood);
    say(&f, head);
    assert_int_equal(f.ends, 1);
    assert_int_equal(write(f.far, flood, sizeof flood), sizeof flood);
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_true(f.last.enough);
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

/* It has not read the request, so it does not end but breaks. */
static void a_stale_one_that_breaks(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask(&f, kept_one(&f));
    close(f.far);
    f.far = -1;
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_BROKEN);
    assert_false(f.last.not_understood);
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

/* Nobody would be told of its end any more. */
static void one_that_breaks_behind_its_answer_is_not_kept(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask(&f, kept_one(&f));
    assert_int_equal(write(f.far, OK_ANSWER, strlen(OK_ANSWER)), strlen(OK_ANSWER));
    close(f.far);
    f.far = -1;
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_false(is_kept(&f));
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

/* The far side ends, or says what nobody asked for, on a connection that was answered; the loop may come round then. */
static void assert_not_used_again(bool closes, bool turns) {
    struct fixture f;
    set_up(&f);
    exchange(&f, connect_one(&f));
    if (closes) {
        close(f.far);
        f.far = -1;
    } else {
        assert_int_equal(write(f.far, OK_ANSWER, strlen(OK_ANSWER)), strlen(OK_ANSWER));
    }
    if (turns) {
        turn(&f);
    }
    assert_null(plain_take(&f.kept, clock_monotonic_ns()));
    assert_int_equal(f.transport.sockets, 0);
    assert_int_equal(f.ends, 1);
    tear_down(&f);
}

/* Bytes that nobody asked for would be taken for the next answer. */
static void an_idle_one_that_speaks_or_ends_is_closed(void **state) {
    (void)state;
    assert_not_used_again(false, true);
    assert_not_used_again(true, true);
}

/* The same when nobody has looked since: the next request leaves before the loop does. */
static void what_came_since_the_answer_is_seen(void **state) {
    (void)state;
    assert_not_used_again(false, false);
    assert_not_used_again(true, false);
}

/* Where the loop looks anyway nobody looks again: so it must act on what it sees, and for a moment only. */
static void a_look_of_the_loop_finds_what_came(void **state) {
    (void)state;
    for (int turns = 0; turns < 2; turns++) {
        struct fixture f;
        set_up(&f);
        exchange(&f, connect_one(&f));
        uint64_t now_ns = clock_monotonic_ns();
        plains_look_follows(&f.plains, now_ns);
        assert_int_equal(write(f.far, OK_ANSWER, strlen(OK_ANSWER)), strlen(OK_ANSWER));
        if (turns == 1) {
            turn(&f);
        } else {
            now_ns += PLAIN_LOOKED_NS;
        }
        assert_null(plain_take(&f.kept, now_ns));
        assert_int_equal(f.transport.sockets, 0);
        tear_down(&f);
    }
}

/* What lies behind an answer that fills a read to its last byte was not read with it. */
static void behind_a_full_read_something_may_lie(void **state) {
    (void)state;
    enum { READ = 64 << 10 };
    static char bytes[READ + sizeof OK_ANSWER];
    struct fixture f;
    set_up(&f);
    f.body_max = READ;
    struct plain *p = kept_one(&f);
    int head = snprintf(bytes, sizeof bytes, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", READ);
    head =
        snprintf(bytes, sizeof bytes, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", READ - head);
    memset(bytes + head, 'x', (size_t)(READ - head));
    memcpy(bytes + READ, OK_ANSWER, sizeof OK_ANSWER);
    ask(&f, p);
    assert_int_equal(write(f.far, bytes, sizeof bytes - 1), sizeof bytes - 1);
    uint64_t now_ns = clock_monotonic_ns();
    plains_look_follows(&f.plains, now_ns);
    turn(&f);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_null(plain_take(&f.kept, now_ns));
    tear_down(&f);
}

static void time_ends_it(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), span_text(""), 20 * NS_PER_MS);
    say(&f, "HTTP/1.1 200 OK\r\n\r\n");
    while (f.ends == 1) {
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_int_equal(f.last.error, ATTEMPT_TIMEOUT);
    assert_int_equal(f.last.status, 200);
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

static void so_does_an_answer_that_does_not_begin(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *p = connect_one(&f);
    assert_int_equal(buffer_append_text(plain_head(p), "GET / HTTP/1.1\r\n\r\n"), 0);
    plain_ask(p, &(struct plain_request){.deadline_ns = clock_monotonic_ns() + 90 * NS_PER_SECOND,
                                         .first_byte_within_ns = 20 * NS_PER_MS,
                                         .take = take,
                                         .done = on_done,
                                         .context = &f});
    while (f.ends == 0) {
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_int_equal(f.last.error, ATTEMPT_TIMEOUT);
    assert_int_equal(f.last.status, 0);
    tear_down(&f);
}

/* The timer was set for another request's time, which is over long before this one's. */
static void another_ones_time_does_not(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *p = connect_one(&f);
    ask_within(&f, p, span_text("body"), 20 * NS_PER_MS);
    assert_heard(&f, "POST / HTTP/1.1\r\n\r\nbody");
    say(&f, OK_ANSWER);
    uint64_t until_ns = clock_monotonic_ns() + 60 * NS_PER_MS;
    p = plain_take(&f.kept, clock_monotonic_ns());
    assert_non_null(p);
    ask(&f, p);
    while (clock_monotonic_ns() < until_ns) {
        turn(&f);
    }
    assert_int_equal(f.ends, 1);
    say(&f, OK_ANSWER);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    tear_down(&f);
}

static void old_ones_are_not_used_again(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    exchange(&f, connect_one(&f));
    assert_null(plain_take(&f.kept, clock_monotonic_ns() + PLAIN_LIFE_NS));
    assert_int_equal(f.transport.sockets, 0);
    tear_down(&f);
}

static void the_idlest_is_closed_first(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *first = connect_one(&f);
    exchange(&f, first);
    int first_far = f.far;
    f.far = -1;
    struct plain *second = connect_one(&f);
    exchange(&f, second);
    assert_true(plains_close_idlest(&f.plains));
    assert_ptr_equal(plain_take(&f.kept, clock_monotonic_ns()), second);
    assert_false(plains_close_idlest(&f.plains)); /* it is not idle */
    plain_close(second);
    close(first_far);
    tear_down(&f);
}

static void curl_has_what_these_leave(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *p = connect_one(&f);
    assert_int_equal(f.transport.taken, 1);
    plain_close(p);
    assert_int_equal(f.transport.taken, 0);
    tear_down(&f);
}

/* ---- a body that does not leave at once ---- */

static struct span big_body(void) {
    static uint8_t body[BIG_BYTES];
    return span_of(body, sizeof body);
}

static size_t drain(struct fixture *f) {
    static uint8_t bytes[1u << 16];
    size_t all = 0;
    struct pollfd p = {.fd = f->far, .events = POLLIN};
    while (poll(&p, 1, 0) == 1) {
        ssize_t size = read(f->far, bytes, sizeof bytes);
        if (size <= 0) {
            break;
        }
        all += (size_t)size;
        turn(f);
    }
    return all;
}

static void a_big_body_leaves_as_there_is_room(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), big_body(), 90 * NS_PER_SECOND);
    assert_int_equal(f.plains.silent, 0);
    assert_int_equal(drain(&f), BIG_BYTES + strlen("POST / HTTP/1.1\r\n\r\n"));
    assert_int_equal(f.plains.silent, 1);
    say(&f, OK_ANSWER);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_true(is_kept(&f));
    tear_down(&f);
}

static void a_refusal_before_all_has_left_is_the_end(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), big_body(), 90 * NS_PER_SECOND);
    say(&f, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_int_equal(f.last.status, 413);
    assert_false(is_kept(&f));
    tear_down(&f);
}

static void a_success_before_all_has_left_waits_for_the_rest(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), big_body(), 90 * NS_PER_SECOND);
    say(&f, OK_ANSWER);
    assert_int_equal(f.ends, 1);
    assert_int_equal(drain(&f), BIG_BYTES + strlen("POST / HTTP/1.1\r\n\r\n"));
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_OK);
    assert_false(is_kept(&f)); /* who knows what it answered */
    tear_down(&f);
}

static void a_success_to_a_request_that_never_left_is_none(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), big_body(), 90 * NS_PER_SECOND);
    say(&f, OK_ANSWER);
    close(f.far);
    f.far = -1;
    turn(&f);
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_BROKEN);
    tear_down(&f);
}

static void what_never_left_was_not_done(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *kept = kept_one(&f);
    close(f.far);
    f.far = -1;
    ask(&f, kept);
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_CONNECT);
    tear_down(&f);
}

static void a_far_side_that_hangs_up_while_it_is_sent(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    ask_within(&f, kept_one(&f), big_body(), 90 * NS_PER_SECOND);
    close(f.far);
    f.far = -1;
    turn(&f);
    turn(&f);
    assert_int_equal(f.ends, 2);
    assert_int_equal(f.last.error, ATTEMPT_BROKEN);
    tear_down(&f);
}

static void taken_back_it_tells_nothing(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct plain *p = kept_one(&f);
    ask(&f, p);
    plain_close(p);
    turn(&f);
    assert_int_equal(f.ends, 1);
    assert_int_equal(f.plains.asked, 0);
    assert_true(plains_are_silent(&f.plains));
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_used_again),
        cmocka_unit_test(only_who_waits_for_the_first_byte_is_silent),
        cmocka_unit_test(what_ends_a_connection),
        cmocka_unit_test(a_stale_one_that_breaks),
        cmocka_unit_test(too_much_is_enough),
        cmocka_unit_test(an_idle_one_that_speaks_or_ends_is_closed),
        cmocka_unit_test(one_that_breaks_behind_its_answer_is_not_kept),
        cmocka_unit_test(what_came_since_the_answer_is_seen),
        cmocka_unit_test(a_look_of_the_loop_finds_what_came),
        cmocka_unit_test(behind_a_full_read_something_may_lie),
        cmocka_unit_test(time_ends_it),
        cmocka_unit_test(so_does_an_answer_that_does_not_begin),
        cmocka_unit_test(another_ones_time_does_not),
        cmocka_unit_test(old_ones_are_not_used_again),
        cmocka_unit_test(the_idlest_is_closed_first),
        cmocka_unit_test(curl_has_what_these_leave),
        cmocka_unit_test(a_big_body_leaves_as_there_is_room),
        cmocka_unit_test(a_refusal_before_all_has_left_is_the_end),
        cmocka_unit_test(a_success_before_all_has_left_waits_for_the_rest),
        cmocka_unit_test(a_success_to_a_request_that_never_left_is_none),
        cmocka_unit_test(what_never_left_was_not_done),
        cmocka_unit_test(a_far_side_that_hangs_up_while_it_is_sent),
        cmocka_unit_test(taken_back_it_tells_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
