/*
 * When a transfer is silent: its whole request left, and of the answer nothing came. The far side is a socket of the
 * test's own, so each step of an answer is where the test wants it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "dispatch/transport.h"

struct fixture {
    uv_loop_t loop;
    struct transport transport;
    CURL *easy;
    CURLcode result;   /* that comes */
    int listener, far; /* far: the accepted connection */
    uint32_t done;
};

static void on_done(void *context, CURL *easy, CURLcode result) {
    struct fixture *f = context;
    assert_ptr_equal(easy, f->easy);
    assert_int_equal(result, f->result);
    f->done++;
}

static size_t swallow(char *bytes, size_t one, size_t size, void *context) {
    (void)bytes;
    (void)one;
    (void)context;
    return size;
}

static void set_up(struct fixture *f) {
    *f = (struct fixture){.far = -1};
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof at;
    f->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(f->listener, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(listen(f->listener, 1), 0);
    assert_int_equal(getsockname(f->listener, (struct sockaddr *)&at, &size), 0);
    assert_int_equal(uv_loop_init(&f->loop), 0);
    assert_int_equal(transport_init(&f->transport, &f->loop, 4, on_done, f), 0);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", ntohs(at.sin_port));
    f->easy = curl_easy_init();
    assert_non_null(f->easy);
    curl_easy_setopt(f->easy, CURLOPT_URL, url);
    curl_easy_setopt(f->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(f->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(f->easy, CURLOPT_WRITEFUNCTION, swallow);
}

static void tear_down(struct fixture *f) {
    transport_release(&f->transport);
    curl_easy_cleanup(f->easy);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    close(f->far);
    close(f->listener);
}

static void begin(struct fixture *f) {
    assert_int_equal(transport_add(&f->transport, f->easy), 0);
    transport_kick(&f->transport);
}

/* Until the far side has the whole request. */
static void take_request(struct fixture *f) {
    char bytes[4096];
    size_t size = 0;
    uint64_t until_ns = clock_monotonic_ns() + 30 * NS_PER_SECOND;
    while ((size < 4 || memcmp(bytes + size - 4, "\r\n\r\n", 4) != 0) &&
           clock_monotonic_ns() < until_ns) {
        uv_run(&f->loop, UV_RUN_NOWAIT);
        struct pollfd p = {.fd = f->far >= 0 ? f->far : f->listener, .events = POLLIN};
        if (poll(&p, 1, 1) == 1 && f->far < 0) {
            f->far = accept(f->listener, NULL, NULL);
        } else if (p.revents != 0) {
            ssize_t more = read(f->far, bytes + size, sizeof bytes - size);
            assert_true(more > 0);
            size += (size_t)more;
        }
    }
    assert_true(size > 4);
}

/* Answers with this, and lets the loop read it. */
static void answer(struct fixture *f, const char *text) {
    assert_int_equal(write(f->far, text, strlen(text)), strlen(text));
    uv_run(&f->loop, UV_RUN_ONCE);
}

static void only_who_waits_for_the_first_byte_is_silent(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    assert_true(transport_is_silent(&f.transport)); /* there is nobody */
    begin(&f);
    assert_false(transport_is_silent(&f.transport)); /* connects */
    take_request(&f);
    /* The next message of a handshake would be awaited on it just so. */
    assert_false(transport_is_silent(&f.transport));
    answer(&f, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    assert_int_equal(f.done, 1);
    assert_true(transport_is_silent(&f.transport));

    begin(&f); /* on the same connection: it leaves at once */
    take_request(&f);
    assert_true(transport_is_silent(&f.transport));
    answer(&f, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(f.done, 1);
    assert_false(transport_is_silent(&f.transport)); /* the rest is on its way */
    answer(&f, "Content-Length: 2\r\n\r\no");
    assert_false(transport_is_silent(&f.transport));
    answer(&f, "k");
    assert_int_equal(f.done, 2);
    assert_true(transport_is_silent(&f.transport));
    assert_int_equal(f.transport.silent, 0);
    tear_down(&f);
}

static void taken_back_it_is_not_counted(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    begin(&f);
    take_request(&f);
    answer(&f, "HTTP/1.1 204 No Content\r\n\r\n");
    begin(&f);
    take_request(&f);
    assert_int_equal(f.transport.silent, 1);
    transport_remove(&f.transport, f.easy);
    assert_int_equal(f.transport.silent, 0);
    assert_int_equal(f.transport.transfers, 0);
    tear_down(&f);
}

static void count_active(uv_handle_t *handle, void *count) {
    *(unsigned *)count += handle->type == UV_POLL && uv_is_active(handle);
}

static unsigned watched(struct fixture *f) {
    unsigned count = 0;
    uv_walk(&f->loop, count_active, &count);
    return count;
}

static void exchange(struct fixture *f) {
    uint32_t before = f->done;
    begin(f);
    take_request(f);
    answer(f, "HTTP/1.1 204 No Content\r\n\r\n");
    assert_int_equal(f->done, before + 1);
}

static void far_side_closes(struct fixture *f, bool resets) {
    struct linger at_once = {.l_onoff = 1};
    if (resets) {
        setsockopt(f->far, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    close(f->far);
    f->far = -1;
}

/* It would be reported as readable for ever. */
static void a_kept_connection_is_watched_until_it_breaks(void **state) {
    (void)state;
    for (int resets = 0; resets < 2; resets++) {
        struct fixture f;
        set_up(&f);
        exchange(&f);
        assert_int_equal(watched(&f), 1); /* nobody uses it, and it costs nobody anything */
        assert_int_equal(uv_run(&f.loop, UV_RUN_NOWAIT), 1);
        assert_int_equal(watched(&f), 1);
        exchange(&f);
        assert_int_equal(watched(&f), 1);

        far_side_closes(&f, resets);
        uint64_t until_ns = clock_monotonic_ns() + 30 * NS_PER_SECOND;
        while (watched(&f) > 0 && clock_monotonic_ns() < until_ns) {
            uv_run(&f.loop, UV_RUN_NOWAIT);
        }
        assert_int_equal(watched(&f), 0);
        exchange(&f); /* on a new one, which may have its file number */
        exchange(&f);
        assert_int_equal(watched(&f), 1);
        tear_down(&f);
    }
}

/* The next connection has its file number: what is known of the old one must not stand for it. */
static void a_closed_one_is_forgotten(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    curl_easy_setopt(f.easy, CURLOPT_FORBID_REUSE, 1L);
    for (int i = 0; i < 3; i++) {
        exchange(&f);
        assert_int_equal(watched(&f), 0);
        far_side_closes(&f, false);
    }
    tear_down(&f);
}

/* What curl opens for itself, as here to hear from its resolver, it closes without telling. */
static void what_closes_in_silence_is_not_watched_on(void **state) {
    (void)state;
    struct fixture f;
    set_up(&f);
    char url[100]; /* a label that is too long: no name server is asked */
    snprintf(url, sizeof url, "http://%080d/", 0);
    url[7] = 'a';
    curl_easy_setopt(f.easy, CURLOPT_URL, url);
    f.result = CURLE_COULDNT_RESOLVE_HOST;
    begin(&f);
    uint64_t until_ns = clock_monotonic_ns() + 60 * NS_PER_SECOND;
    while (f.done == 0 && clock_monotonic_ns() < until_ns) {
        uv_run(&f.loop, UV_RUN_ONCE);
    }
    assert_int_equal(f.done, 1);
    assert_int_equal(watched(&f), 0);
    tear_down(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_who_waits_for_the_first_byte_is_silent),
        cmocka_unit_test(taken_back_it_is_not_counted),
        cmocka_unit_test(a_kept_connection_is_watched_until_it_breaks),
        cmocka_unit_test(a_closed_one_is_forgotten),
        cmocka_unit_test(what_closes_in_silence_is_not_watched_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
