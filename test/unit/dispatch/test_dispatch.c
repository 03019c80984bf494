/*
 * Dispatch with an engine that is a stand-in: it is busy, refuses, and says that bodies are lost or moved, when a
 * test wants it to. The far side is a port where nobody listens; test/proto/dispatch has real ones.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/internal.h"
#include "model/roster.h"

#define ATTEMPTS_MAX 5000u

/* The stand-in. Only the dispatch thread calls it, so a test looks after dispatch_stop. */
struct engine {
    uint16_t port;
    uint32_t busy;      /* so many submits are E_BUSY first */
    uint32_t refuse;    /* so many requests are refused first */
    int read_result[2]; /* of the first and the second read */
    uint64_t read_addresses[2];
    uint32_t reads, calls, fetches;
    uint32_t generation; /* of the destinations; 0: 1 */
    uint64_t moved_to;
    uint32_t seen[ATTEMPTS_MAX]; /* ends, by message */
    struct attempt_finish last;
    _Atomic uint32_t ended;
};

int engine_submit(struct engine *e, struct engine_request *first, struct engine_request *last,
                  uint32_t count) {
    if (e->busy > 0) {
        e->busy--;
        return E_BUSY;
    }
    uint32_t counted = 1;
    for (struct engine_request *r = first; r != last; r = r->next) {
        counted++;
    }
    assert_int_equal(counted, count);
    for (struct engine_request *r = first;; r = r->next) {
        assert_int_equal(r->r.kind, REQUEST_ATTEMPT_FINISH);
        r->r.refusal = e->refuse > 0 ? REFUSAL_LIMIT : REFUSAL_NONE;
        if (e->refuse > 0) {
            e->refuse--;
        } else {
            e->seen[r->r.in.finish.message]++;
            e->last = r->r.in.finish;
            e->ended++;
        }
        if (r == last) {
            break;
        }
    }
    struct engine_port *port = first->port;
    last->next = NULL;
    port->deliver(port, first, last);
    return 0;
}

uint64_t engine_folder_id(const struct engine *e) {
    (void)e;
    return 0x1234;
}

int engine_call(struct engine *e, struct request *r) {
    assert_int_equal(r->kind, REQUEST_MESSAGE_GET);
    e->calls++;
    r->refusal = e->moved_to != 0 ? REFUSAL_NONE : REFUSAL_NOT_FOUND;
    r->out.message.address = e->moved_to;
    return 0;
}

int engine_copy_message_ahead(struct engine *e, uint64_t id, uint64_t address,
                              struct log_ahead *ahead, struct buffer *bytes,
                              struct stored_message *ret) {
    (void)ahead;
    (void)bytes;
    uint32_t nth = e->reads++;
    if (nth < 2) {
        e->read_addresses[nth] = address;
        if (e->read_result[nth] != 0) {
            return e->read_result[nth];
        }
    }
    *ret = (struct stored_message){.id = id, .envelope = {.body = span_text("body")}};
    return 0;
}

bool engine_checked_destinations(struct engine *e, uint32_t *version, struct buffer *ret) {
    return false;
}

int engine_destination(struct engine *e, uint32_t destination, uint32_t *ret_generation,
                       struct buffer *ret_definition) {
    e->fetches++;
    if (destination == 99) {
        return E_NOT_FOUND;
    }
    struct destination_def def;
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", e->port);
    assert_int_equal(destination_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("out")), 0);
    assert_int_equal(def_set_text(&def.url, span_text(url)), 0);
    def.allow_private = true;
    int rc = destination_def_encode(&def, ret_definition);
    destination_def_release(&def);
    *ret_generation = e->generation != 0 ? e->generation : 1;
    return rc;
}

struct fixture {
    struct engine engine;
    struct dispatch *dispatch;
    int listener; /* bound, not listening: the port refuses */
};

static void set_up(struct fixture *f) {
    *f = (struct fixture){0};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &size), 0);
    f->engine.port = ntohs(at.sin_port);
    struct dispatch_options options = {.user_agent = "test"};
    assert_int_equal(dispatch_create(&options, &f->dispatch), 0);
}

static struct attempt_start start_of(uint64_t message, uint32_t destination) {
    return (struct attempt_start){.message = message,
                                  .address = 1000 + message,
                                  .attempt = 1,
                                  .destination = destination,
                                  .destination_generation = 1,
                                  .timeout_ns = NS_PER_SECOND,
                                  .queue = "q"};
}

static void start(struct fixture *f, uint64_t message, uint32_t destination) {
    struct attempt_start s = start_of(message, destination);
    dispatch_start(f->dispatch, &s, 1);
}

static void wait_ended(struct fixture *f, uint32_t count) {
    uint64_t until_ns = clock_monotonic_ns() + 60 * NS_PER_SECOND;
    while (f->engine.ended < count && clock_monotonic_ns() < until_ns) {
        usleep(1000);
    }
}

static void tear_down(struct fixture *f) {
    dispatch_stop(f->dispatch, 1000);
    dispatch_free(f->dispatch);
    close(f->listener);
}

static void run_one(struct fixture *f, uint32_t destination) {
    start(f, 1, destination);
    assert_int_equal(dispatch_run(f->dispatch, &f->engine), 0);
    wait_ended(f, 1);
    tear_down(f);
    assert_int_equal(f->engine.ended, 1);
    assert_int_equal(f->engine.seen[1], 1);
}

static void starts_may_come_before_the_engine(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    run_one(&f, 1);
    assert_int_equal(f.engine.last.error, ATTEMPT_CONNECT);
    assert_true(f.engine.last.retriable);
    assert_int_equal(f.engine.last.status, 0);
}

/* Handed over together, in any order; none leaves before its turn. */
static void none_leaves_before_its_turn(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    uint64_t begun_ns = clock_monotonic_ns();
    static const uint64_t ahead_ms[] = {120, 40, 80, 0};
    for (uint64_t i = 0; i < 4; i++) {
        struct attempt_start s = start_of(i, 1);
        s.decided_ns = begun_ns;
        s.ahead_ns = ahead_ms[i] * NS_PER_MS;
        dispatch_start(f.dispatch, &s, 1);
    }
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    for (uint32_t ended = 1; ended <= 4; ended++) {
        wait_ended(&f, ended);
        assert_true(clock_monotonic_ns() >= begun_ns + (ended - 1) * 40 * NS_PER_MS);
    }
    tear_down(&f);
    for (uint32_t i = 0; i < 4; i++) {
        assert_int_equal(f.engine.seen[i], 1);
    }
}

/* The thread stood still, as it were: their turns have all passed, and still they leave by their gaps. */
static void late_ones_are_no_burst(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    uint64_t begun_ns = clock_monotonic_ns();
    for (uint64_t i = 0; i < 20; i++) {
        struct attempt_start s = start_of(i, 1);
        s.decided_ns = begun_ns - NS_PER_SECOND;
        s.ahead_ns = i * 3 * NS_PER_MS;
        s.gap_ns = 3 * NS_PER_MS;
        dispatch_start(f.dispatch, &s, 1);
    }
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    wait_ended(&f, 20);
    assert_true(clock_monotonic_ns() >= begun_ns + 40 * NS_PER_MS);
    tear_down(&f);
    for (uint32_t i = 0; i < 20; i++) {
        assert_int_equal(f.engine.seen[i], 1);
    }
}

/* Defined again while they were on their way: asked once, whatever they were decided under. */
static void what_is_newer_is_not_asked_for_again(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.generation = 7;
    struct attempt_start s[20];
    for (uint32_t i = 0; i < 20; i++) {
        s[i] = start_of(i + 1, 1);
        s[i].destination_generation = i % 2 == 0 ? 7 : 1 + i % 6;
    }
    dispatch_start(f.dispatch, s, 20);
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    wait_ended(&f, 20);
    tear_down(&f);
    assert_int_equal(f.engine.ended, 20);
    assert_int_equal(f.engine.fetches, 1);
}

/* Deleted and made again under another index: what was kept for the one before goes. */
static void of_a_destination_that_was_deleted_nothing_is_kept(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    for (uint32_t made = 0; made < 50; made++) {
        struct attempt_start s = start_of(made, made << ROSTER_SLOT_BITS | 1);
        dispatch_start(f.dispatch, &s, 1);
        wait_ended(&f, made + 1);
    }
    assert_int_equal(f.engine.ended, 50);
    assert_int_equal(f.engine.fetches, 50);
    assert_in_range(f.dispatch->targets.count, 2, 16);
    assert_int_equal(f.dispatch->idle_count, 1);
    tear_down(&f);
}

/* 256 are under way at once (LAUNCHES_A_TURN), of four destinations each time. */
static void idle_calls_are_so_many_in_all(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    for (uint32_t i = 0; i < 2 * IDLE_CALLS_ALL_MAX; i++) {
        start(&f, i, 1 + i / IDLE_CALLS_MAX);
    }
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    wait_ended(&f, 2 * IDLE_CALLS_ALL_MAX);
    assert_int_equal(f.engine.ended, 2 * IDLE_CALLS_ALL_MAX);
    assert_int_equal(f.dispatch->idle_count, IDLE_CALLS_ALL_MAX);
    tear_down(&f);
}

static void what_was_decided_ahead_still_leaves_at_a_stop(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct attempt_start s[20];
    for (uint32_t i = 0; i < 20; i++) {
        s[i] = start_of(i + 1, 1);
        s[i].decided_ns = clock_monotonic_ns();
        s[i].ahead_ns = (i + 1) * 2 * NS_PER_MS;
    }
    dispatch_start(f.dispatch, s, 20);
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    uint64_t begun_ns = clock_monotonic_ns();
    dispatch_stop(f.dispatch, 60000);
    assert_true(clock_monotonic_ns() >= begun_ns + 20 * NS_PER_MS); /* none before its turn */
    struct dispatch_stats stats;
    dispatch_stats(f.dispatch, &stats);
    assert_int_equal(stats.abandoned, 0);
    assert_int_equal(stats.started, 20);
    assert_int_equal(f.engine.ended, 20);
    dispatch_start(f.dispatch, s, 1); /* too late */
    dispatch_stats(f.dispatch, &stats);
    assert_int_equal(stats.abandoned, 1);
    dispatch_free(f.dispatch);
    close(f.listener);
}

static void stopped_before_its_turn_it_is_abandoned(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    struct attempt_start s = start_of(1, 1);
    s.decided_ns = clock_monotonic_ns();
    s.ahead_ns = 60 * NS_PER_SECOND;
    dispatch_start(f.dispatch, &s, 1);
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    dispatch_stop(f.dispatch, 10);
    struct dispatch_stats stats;
    dispatch_stats(f.dispatch, &stats);
    assert_int_equal(stats.abandoned, 1);
    assert_int_equal(f.engine.ended, 0);
    dispatch_free(f.dispatch);
    close(f.listener);
}

static void each_ends_once_however_busy_the_engine(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.busy = 30;
    f.engine.refuse = 100;
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    for (uint32_t i = 0; i < ATTEMPTS_MAX; i++) {
        start(&f, i, 1);
    }
    wait_ended(&f, ATTEMPTS_MAX);
    struct dispatch_stats stats;
    dispatch_stats(f.dispatch, &stats);
    tear_down(&f);
    for (uint32_t i = 0; i < ATTEMPTS_MAX; i++) {
        assert_int_equal(f.engine.seen[i], 1);
    }
    assert_int_equal(stats.started, ATTEMPTS_MAX);
    assert_int_equal(stats.failed, ATTEMPTS_MAX);
    assert_int_equal(f.engine.fetches, 1);
}

static void a_corrupt_body_is_lost(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.read_result[0] = E_CORRUPT;
    run_one(&f, 1);
    assert_int_equal(f.engine.last.error, ATTEMPT_BODY_LOST);
    assert_false(f.engine.last.retriable);
    assert_int_equal(f.engine.calls, 1);
}

static void a_moved_body_is_found(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.read_result[0] = E_NOT_FOUND;
    f.engine.moved_to = 5555;
    run_one(&f, 1);
    assert_int_equal(f.engine.last.error, ATTEMPT_CONNECT);
    assert_int_equal(f.engine.read_addresses[0], 1001);
    assert_int_equal(f.engine.read_addresses[1], 5555);
}

static void a_body_that_is_nowhere_is_lost(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.read_result[0] = E_NOT_FOUND;
    f.engine.moved_to = 1001; /* where it was not */
    run_one(&f, 1);
    assert_int_equal(f.engine.last.error, ATTEMPT_BODY_LOST);
    assert_int_equal(f.engine.reads, 1);
}

static void an_engine_in_trouble_is_not_the_end(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    f.engine.read_result[0] = E_NOMEM;
    run_one(&f, 1);
    assert_int_equal(f.engine.last.error, ATTEMPT_UNKNOWN);
    assert_true(f.engine.last.retriable);
    set_up(&f);
    run_one(&f, 99);
    assert_true(f.engine.last.retriable);
}

/* ---- a far side that answers, and counts who is connected ---- */

#define FAR_MAX 16u

struct far {
    int listener;
    atomic_bool stopping;
    atomic_uint accepted, open, open_max;
    struct pollfd files[FAR_MAX]; /* first the listener */
    pthread_t thread;
};

/* False: it has ended. */
static bool far_answer(int file) {
    static const char answer[] = "HTTP/1.1 204 No Content\r\n\r\n";
    char request[4096];
    return recv(file, request, sizeof request, 0) > 0 &&
           send(file, answer, sizeof answer - 1, MSG_NOSIGNAL) > 0;
}

/* Who ended is seen before who came: what is closed to make room was closed before. */
static void *far_run(void *context) {
    struct far *far = context;
    far->files[0] = (struct pollfd){.fd = far->listener, .events = POLLIN};
    while (!far->stopping) {
        (void)poll(far->files, 1 + far->open, 5);
        for (unsigned i = far->open; i > 0; i--) {
            if (far->files[i].revents != 0 && !far_answer(far->files[i].fd)) {
                close(far->files[i].fd);
                far->files[i] = far->files[far->open--];
            }
        }
        if (far->files[0].revents != 0) {
            far->files[1 + far->open] =
                (struct pollfd){.fd = accept(far->listener, NULL, NULL), .events = POLLIN};
            far->open++;
            far->accepted++;
            far->open_max = far->open > far->open_max ? far->open : far->open_max;
        }
    }
    for (unsigned i = 1; i <= far->open; i++) {
        close(far->files[i].fd);
    }
    return NULL;
}

/* One message to this destination, to its good end. */
static void exchange(struct fixture *f, uint32_t destination) {
    static uint64_t message;
    uint32_t ended = f->engine.ended;
    start(f, ++message, destination);
    wait_ended(f, ended + 1);
    assert_int_equal(f->engine.ended, ended + 1);
}

/* Each destination keeps its connections for itself; what is idle goes for what is not, the idlest first. */
static void kept_connections_make_room_for_others(void **state) {
    (void)state;
    struct fixture f = {0};
    set_up(&f);
    dispatch_free(f.dispatch);
    struct dispatch_options two = {.user_agent = "test", .connections_max = 2};
    assert_int_equal(dispatch_create(&two, &f.dispatch), 0);
    struct far far = {.listener = f.listener};
    assert_int_equal(listen(f.listener, FAR_MAX), 0);
    assert_int_equal(pthread_create(&far.thread, NULL, far_run, &far), 0);
    assert_int_equal(dispatch_run(f.dispatch, &f.engine), 0);
    for (uint32_t destination = 1; destination <= 6; destination++) {
        exchange(&f, destination);
    }
    assert_int_equal(far.accepted, 6);
    exchange(&f, 5);
    exchange(&f, 6);
    assert_int_equal(far.accepted, 6);
    exchange(&f, 1); /* 5 is the idlest */
    exchange(&f, 6);
    assert_int_equal(far.accepted, 7);
    struct dispatch_stats stats;
    dispatch_stats(f.dispatch, &stats);
    assert_int_equal(stats.succeeded, 10);
    assert_int_equal(far.open_max, 2);
    tear_down(&f);
    far.stopping = true;
    pthread_join(far.thread, NULL);
}

static void never_run_it_goes_quietly(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    start(&f, 1, 1);
    tear_down(&f);
    assert_int_equal(f.engine.ended, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(starts_may_come_before_the_engine),
        cmocka_unit_test(none_leaves_before_its_turn),
        cmocka_unit_test(late_ones_are_no_burst),
        cmocka_unit_test(what_is_newer_is_not_asked_for_again),
        cmocka_unit_test(of_a_destination_that_was_deleted_nothing_is_kept),
        cmocka_unit_test(idle_calls_are_so_many_in_all),
        cmocka_unit_test(what_was_decided_ahead_still_leaves_at_a_stop),
        cmocka_unit_test(stopped_before_its_turn_it_is_abandoned),
        cmocka_unit_test(each_ends_once_however_busy_the_engine),
        cmocka_unit_test(a_corrupt_body_is_lost),
        cmocka_unit_test(a_moved_body_is_found),
        cmocka_unit_test(a_body_that_is_nowhere_is_lost),
        cmocka_unit_test(an_engine_in_trouble_is_not_the_end),
        cmocka_unit_test(kept_connections_make_room_for_others),
        cmocka_unit_test(never_run_it_goes_quietly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
