#include "net/listener.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/error.h"

enum { CLIENTS = 200, LISTENERS = 3 };

/* Each on a loop of its own, as the threads of the program; the test's thread stands for all of them. */
struct party {
    struct net_loop *loop;
    struct net_listener listener;
    bool open;
    unsigned arrived;
};

static void on_ready(struct net_listener *l) {
    CONTAINER_OF(l, struct party, listener)->arrived++;
    net_listener_reject(l);
}

static void on_closed(struct net_listener *l) {
    CONTAINER_OF(l, struct party, listener)->open = false;
}

static int listen_at(struct party *p, uint16_t port, bool joins) {
    const struct net_listener_options options = {.host = "127.0.0.1",
                                                 .port = port,
                                                 .joins = joins,
                                                 .backlog = CLIENTS,
                                                 .ready = on_ready,
                                                 .closed = on_closed};
    const struct net_loop_options loop_options = {.name = "test"};
    char text[256];
    p->arrived = 0;
    assert_int_equal(net_loop_create(&loop_options, &p->loop), 0);
    int error = net_listener_open(&p->listener, p->loop, &options, text, &p->open);
    if (error == 0)
        p->open = true;
    return error;
}

static void turn(struct party *p) {
    uv_run(net_loop_uv(p->loop), UV_RUN_NOWAIT);
}

static void end(struct party *p) {
    net_listener_close(&p->listener);
    net_loop_free(p->loop); /* asserts that all is closed */
    assert_false(p->open);
}

static int connect_to(uint16_t port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

static void test_loops_of_one_program_share_a_port(void **state) {
    (void)state;
    struct party parties[LISTENERS];
    assert_int_equal(listen_at(&parties[0], 0, false), 0);
    uint16_t port = parties[0].listener.port;
    for (int i = 1; i < LISTENERS; i++)
        assert_int_equal(listen_at(&parties[i], port, true), 0);
    int clients[CLIENTS];
    for (int i = 0; i < CLIENTS; i++)
        clients[i] = connect_to(port);
    unsigned sum = 0;
    while (sum < CLIENTS) { /* all are in a backlog already */
        sum = 0;
        for (int i = 0; i < LISTENERS; i++) {
            turn(&parties[i]);
            sum += parties[i].arrived;
        }
    }
    for (int i = 0; i < LISTENERS; i++) {
        assert_true(parties[i].arrived > 0); /* (2/3)^200: by the hash of the kernel */
        end(&parties[i]);
    }
    for (int i = 0; i < CLIENTS; i++)
        close(clients[i]);
}

static void test_of_two_programs_one_listens(void **state) {
    (void)state;
    struct party mine, another;
    assert_int_equal(listen_at(&mine, 0, false), 0);
    assert_int_equal(listen_at(&another, mine.listener.port, false), E_IO);
    end(&another);
    end(&mine);
    assert_int_equal(listen_at(&another, mine.listener.port, false), 0);
    end(&another);
}

/* Both have looked and found the port free, as two that start at one moment do. */
static void test_a_look_is_no_promise(void **state) {
    (void)state;
    struct party mine, another;
    char text[256];
    assert_int_equal(listen_at(&mine, 0, false), 0);
    uint16_t port = mine.listener.port;
    assert_int_equal(net_listener_probe("127.0.0.1", port, text), E_IO);
    end(&mine);
    assert_int_equal(net_listener_probe("127.0.0.1", port, text), 0);
    assert_int_equal(net_listener_probe("127.0.0.1", port, text), 0);
    assert_int_equal(listen_at(&mine, port, false), 0);
    assert_int_equal(listen_at(&another, port, false), E_IO);
    end(&another);
    end(&mine);
}

static void test_one_that_shares_with_anybody_keeps_the_first_out(void **state) {
    (void)state;
    struct sockaddr_in address = {.sin_family = AF_INET};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on), 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    struct party mine;
    assert_int_equal(listen_at(&mine, ntohs(address.sin_port), false), E_IO);
    end(&mine);
    close(fd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_loops_of_one_program_share_a_port),
        cmocka_unit_test(test_of_two_programs_one_listens),
        cmocka_unit_test(test_a_look_is_no_promise),
        cmocka_unit_test(test_one_that_shares_with_anybody_keeps_the_first_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
