/*
 * A small server made of the amqp library and the toy broker, for tests through real clients and raw bytes.
 *
 *   amqp_test_server [limit=value ...]
 *
 * Prints "port N" and serves on 127.0.0.1 until the end of its input, when it winds up. Lines on stdin before:
 * "alarm" and "calm" raise and clear an alarm, "refuse" and "take" are about publishes. Each is
 * answered by "done".
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "amqp/server.h"
#include "toy_broker.h"

struct tester {
    struct net_loop *loop;
    struct amqp_server *server;
    struct toy_broker *broker;
};

struct command {
    struct net_item item;
    char text[16];
};

static struct tester tester;

static void ask(void *context, struct amqp_op *op) {
    struct tester *t = context;
    toy_ask(t->broker, op);
}

static void before_wait(void *context, struct net_loop *loop) {
    struct tester *t = context;
    bool more = true;
    while (more && t->server != NULL) { /* which goes when the last answer was its last */
        amqp_server_before_wait(t->server);
        more = toy_run(t->broker);
    }
}

static void stopped(void *arg) {
    struct tester *t = arg;
    amqp_server_free(t->server);
    t->server = NULL;
    net_loop_stop(t->loop);
}

static void run_command(struct net_item *item) {
    struct command *c = CONTAINER_OF(item, struct command, item);
    struct tester *t = &tester;
    bool alarm = strcmp(c->text, "alarm") == 0;
    if (c->text[0] == '\0')
        amqp_server_stop(t->server, stopped, t);
    else if (alarm || strcmp(c->text, "calm") == 0)
        amqp_server_alarm(t->server, alarm, "low on disk");
    else
        toy_refuse(t->broker, strcmp(c->text, "refuse") == 0);
    free(c);
    puts("done");
    fflush(stdout);
}

/* Empty: stop. */
static void post_command(struct tester *t, const char *text) {
    struct command *c = calloc(1, sizeof *c);
    assert(c != NULL);
    c->item.run = run_command;
    snprintf(c->text, sizeof c->text, "%s", text);
    net_loop_post(t->loop, &c->item);
}

static const struct {
    const char *name;
    size_t offset, size;
} settings[] = {
#define SETTING(member)                                                                            \
    { #member, offsetof(struct amqp_limits, member), sizeof(((struct amqp_limits *)NULL)->member) }
    SETTING(frame_max),
    SETTING(channel_max),
    SETTING(heartbeat_s),
    SETTING(message_bytes),
    SETTING(asked_max),
    SETTING(asked_bytes),
    SETTING(assembled_bytes),
    SETTING(memory_bytes),
    SETTING(partial_timeout_ms),
    SETTING(transaction_ops),
    SETTING(consumers),
    SETTING(close_timeout_ms),
    SETTING(handshake_timeout_ms),
#undef SETTING
};

static void set_limit(struct amqp_limits *l, const char *argument) {
    const char *value = strchr(argument, '=');
    assert(value != NULL);
    for (size_t i = 0; i < ARRAY_LENGTH(settings); i++) {
        if (strlen(settings[i].name) == (size_t)(value - argument) &&
            memcmp(settings[i].name, argument, (size_t)(value - argument)) == 0) {
            uint64_t number = strtoull(value + 1, NULL, 10);
            memcpy((char *)l + settings[i].offset, &number, settings[i].size); /* little-endian */
            return;
        }
    }
    assert(!"a limit that exists");
}

int main(int argc, char **argv) {
    struct tester *t = &tester;
    const struct toy_outlet outlet = {amqp_server_answer, amqp_server_deliver,
                                      amqp_server_cancelled, amqp_server_has_room};
    t->broker = toy_create(&outlet);
    struct amqp_server_options options = {
        .host = "127.0.0.1", .version = "test", .context = t, .ask = ask};
    amqp_limits_default(&options.limits);
    for (int i = 1; i < argc; i++)
        set_limit(&options.limits, argv[i]);
    struct net_loop_options loop = {.name = "amqp", .context = t, .before_wait = before_wait};
    char error[256];
    if (net_loop_create(&loop, &t->loop) != 0 ||
        amqp_server_start(t->loop, &options, error, &t->server) != 0 || net_loop_run(t->loop) != 0)
        return 1;
    printf("port %u\n", amqp_server_port(t->server));
    fflush(stdout);
    char line[16];
    while (fgets(line, sizeof line, stdin) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        post_command(t, line);
    }
    post_command(t, "");
    net_loop_free(t->loop);
    toy_free(t->broker);
    return 0;
}
