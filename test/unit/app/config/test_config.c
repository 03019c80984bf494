#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "app/config/internal.h"
#include "base/clock.h"
#include "base/error.h"
#include "model/outcome.h"

static struct buffer errors;
static char folder[64];

static int begin(void **state) {
    (void)state;
    buffer_init(&errors, 1 << 20);
    strcpy(folder, "/tmp/sluice-config-XXXXXX");
    return mkdtemp(folder) == NULL;
}

static int end(void **state) {
    (void)state;
    char command[128];
    buffer_release(&errors);
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static struct config *good(const char *text) {
    struct config *c = NULL;
    int error = config_parse("x.yaml", span_text(text), &errors, &c);
    if (error != 0) {
        fail_msg("%.*s", SPAN_ARG(buffer_span(&errors)));
    }
    return c;
}

static void bad(const char *text) {
    struct config *c = NULL;
    buffer_clear(&errors);
    assert_int_equal(config_parse("x.yaml", span_text(text), &errors, &c), E_INVALID);
    assert_int_equal(buffer_put_u8(&errors, 0), 0);
}

static void assert_line(const char *line) {
    if (strstr((const char *)errors.data, line) == NULL) {
        fail_msg("no \"%s\" in:\n%s", line, errors.data);
    }
}

static void nothing_is_a_good_file(void **state) {
    (void)state;
    struct config *c;
    assert_int_equal(config_load(NULL, &errors, &c), 0);
    const struct config_settings *s = config_settings(c);
    assert_int_equal(s->listener_count, 1);
    assert_true(s->system_call_filter && !s->core_dumps && s->user[0] == '\0');
    assert_string_equal(s->listeners[0].host, "127.0.0.1");
    assert_int_equal(s->listeners[0].port, 8080);
    assert_false(s->listeners[0].has_tls);
    assert_true(s->open_loopback);
    assert_string_equal(s->data_directory, "sluice-data");
    assert_int_equal(s->http_limits.idle_timeout_ms, 60000);
    assert_int_equal(s->log_level, LOGLINE_INFO);
    config_free(c);
}

static void everything_is_read(void **state) {
    (void)state;
    struct config *c = good(
        "listeners:\n"
        "  - {host: 127.0.0.1, port: 0}\n"
        "  - {host: 0.0.0.0, port: 8443, tls: {certificate: c.pem, key: k.pem, clientCa: a.pem}}\n"
        "dataDirectory: /var/lib/sluice\n"
        "user: sluice\n"
        "systemCallFilter: false\n"
        "coreDumps: true\n"
        "ioThreads: 3\n"
        "log: {segmentBytes: 65536, minFreeBytes: 7, snapshotEveryBytes: 2097152}\n"
        "amqp: {messageBytes: 2048, heartbeat: 20s, channels: 7}\n"
        "limits: {queues: 5, dedupTtl: 1h, bodyBytes: 2048, idleTimeout: 1.5s, queueMax: 9, "
        "connectionsPerAddress: 7}\n"
        "logging: {level: debug, format: json}\n"
        "allowRemoteWithoutTokens: true\n");
    const struct config_settings *s = config_settings(c);
    assert_int_equal(s->listener_count, 2);
    assert_int_equal(s->listeners[0].port, 0);
    assert_true(s->listeners[1].has_tls);
    assert_string_equal(s->listeners[1].tls.client_ca_file, "a.pem");
    assert_string_equal(s->data_directory, "/var/lib/sluice");
    assert_int_equal(s->io_threads, 3);
    assert_int_equal(s->segment_bytes, 65536);
    assert_int_equal(s->min_free_bytes, 7);
    assert_int_equal(s->amqp_limits.message_bytes, 2048);
    assert_int_equal(s->amqp_limits.heartbeat_s, 20);
    assert_int_equal(s->amqp_limits.channel_max, 7);
    assert_int_equal(s->amqp_limits.frame_max, 131072);
    assert_int_equal(s->model_limits.queues, 5);
    assert_int_equal(s->model_limits.dedup_ttl_ns, 3600 * NS_PER_SECOND);
    assert_int_equal(s->http_limits.body_bytes, 2048);
    assert_int_equal(s->http_limits.idle_timeout_ms, 1500);
    assert_int_equal(s->queue_max, 9);
    assert_int_equal(s->http_limits.connections_per_address, 7);
    assert_string_equal(s->user, "sluice");
    assert_true(s->core_dumps && !s->system_call_filter);
    assert_int_equal(s->log_level, LOGLINE_DEBUG);
    assert_int_equal(s->log_format, LOGLINE_JSON);
    config_free(c);
}

static void all_errors_with_their_places(void **state) {
    (void)state;
    bad("listeners:\n"
        "  - host: 127.0.0.1\n"
        "    prot: 80\n"
        "ioThread: 1\n"
        "queues:\n"
        "  - name: q\n"
        "    rateLimits:\n"
        "      maxBurstSize: many\n"
        "  - nam: r\n"
        "stocks:\n"
        "  s: 1\n"
        "logging: {level: loud}\n");
    assert_line("x.yaml:3:5: /listeners/0/prot: unknown field; did you mean \"port\"?");
    assert_line("x.yaml:2:5: /listeners/0/port: expected a port number, found nothing");
    assert_line("x.yaml:4:1: /ioThread: unknown field; did you mean \"ioThreads\"?");
    assert_line("x.yaml:8:7: /queues/0/rateLimits/maxBurstSize: expected a whole number from 0 to "
                "1000000, found \"many\"");
    assert_line("x.yaml:9:5: /queues/1/nam: unknown field; did you mean \"name\"?");
    assert_line("x.yaml:10:1: /stocks: expected a list, found an object");
    assert_line("x.yaml:12:11: /logging/level: expected one of");
    bad("dataDir: here\n"); /* short for it: too many letters from it to be a slip */
    assert_line("x.yaml:1:1: /dataDir: unknown field; did you mean \"dataDirectory\"?");
    bad("queues:\n  - name: q\n  - name: q\n");
    assert_line("x.yaml:3:5: /queues/1/name: \"q\" is defined twice");
    bad("a: [\n");
    assert_line("x.yaml:2:1: ");
}

static void an_empty_name_switches_nothing_off(void **state) {
    (void)state;
    bad("listeners:\n  - {port: 0, tls: {certificate: \"\", key: \"\"}}\n");
    assert_line("/listeners/0/tls/certificate: expected a file with the certificate chain (PEM)");
    assert_line("/listeners/0/tls/key: expected a file with the private key (PEM)");
    bad("listeners:\n  - {port: 0, tls: {certificate: c, key: k, clientCa: \"\"}}\n");
    assert_line("/listeners/0/tls/clientCa: expected a file with the authorities of client");
}

static void other_machines_need_tls_and_tokens(void **state) {
    (void)state;
    char token[TOKEN_TEXT_BYTES], hash[TOKEN_HASH_BYTES], text[512];
    token_make(token, hash);
    static const char open[] = "listeners:\n  - {host: 0.0.0.0, port: 80}\n";
    bad(open);
    assert_line("expected tls, or allowRemoteWithoutTls: true");
    assert_line("expected tokens, or allowRemoteWithoutTokens: true");
    bad("listeners: [{host: 127.0.0.1.example.com, port: 80}]\n");
    assert_line("expected tls");
    snprintf(text, sizeof text,
             "%sallowRemoteWithoutTls: true\ntokens:\n  - name: shop\n    hash: \"%s\"\n"
             "    scopes: [produce, consume]\n    resources: [\"queues/*\"]\n",
             open, hash);
    struct config *c = good(text);
    const struct config_settings *s = config_settings(c);
    assert_int_equal(s->token_count, 1);
    assert_int_equal(s->tokens[0].scopes, SCOPE_PUBLISH | SCOPE_CONSUME);
    assert_string_equal(s->tokens[0].resources[0], "queues/*");
    assert_false(s->open_loopback); /* once there are tokens */
    config_free(c);
    bad("tokens:\n  - {name: a, hash: b, scopes: [x]}\n  - {name: c}\n");
    assert_line("x.yaml:2:15: /tokens/0/hash: expected a hash");
    assert_line("/tokens/0/scopes: expected a list of read, publish, consume, operate and admin");
    assert_line("/tokens/1/hash: expected a hash");
}

/* "+10s" counts from now, and is the same text at every start. */
static void relative_times(void **state) {
    (void)state;
    static const char text[] = "campaigns:\n"
                               "  - {name: c, stock: s, memberPointer: /m, opensAt: \"+1h\"}\n";
    uint64_t before = clock_real_ns();
    struct config *first = good(text), *second = good(text);
    uint64_t opens = first->definitions[0].definition.u.campaign.opens_ns;
    assert_in_range(opens, before + 3600 * NS_PER_SECOND, clock_real_ns() + 3600 * NS_PER_SECOND);
    assert_int_equal(first->definitions[0].file_hash, second->definitions[0].file_hash);
    config_free(second);
    second = good("campaigns:\n  - {name: c, stock: s, memberPointer: /m, opensAt: +2h}\n");
    assert_int_not_equal(first->definitions[0].file_hash, second->definitions[0].file_hash);
    config_free(first);
    config_free(second);
}

/* ---- on a real engine ---- */

static void failed(void *context, const char *message) {
    (void)context;
    fail_msg("%s", message);
}

static struct engine *open_engine(void) {
    char text[512];
    struct engine *e;
    struct engine_recovery recovery;
    struct engine_options options = {
        .directory = folder, .segment_bytes = 1 << 20, .failed = failed};
    assert_int_equal(engine_open(&options, &recovery, text, &e), 0);
    return e;
}

static uint64_t total_of(struct engine *e) {
    struct request r;
    request_init(&r, REQUEST_STOCK_GET);
    r.name = span_text("s");
    assert_int_equal(engine_call(e, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    uint64_t total = r.out.stock.total;
    request_release(&r);
    return total;
}

static void set_total(struct engine *e, uint64_t total) {
    struct stock_def def;
    struct request r;
    assert_int_equal(stock_def_init(&def), 0);
    assert_int_equal(def_set_text(&def.name, span_text("s")), 0);
    def.total = total;
    request_init(&r, REQUEST_STOCK_DEFINE);
    r.name = span_text("s");
    r.in.define.stock = &def;
    assert_int_equal(engine_call(e, &r), 0);
    assert_int_equal(r.refusal, REFUSAL_NONE);
    request_release(&r);
    stock_def_release(&def);
}

static const char world[] = "campaigns: [{name: c, stock: s, queue: q, memberPointer: /m}]\n"
                            "queues: [{name: q, destination: d}]\n"
                            "destinations: [{name: d, url: \"http://example.com/\"}]\n"
                            "stocks: [{name: s, total: %d}]\n";

static void apply(struct engine *e, int total) {
    char text[512];
    snprintf(text, sizeof text, world, total);
    struct config *c = good(text);
    if (config_apply(c, e, &errors) != 0) {
        fail_msg("%.*s", SPAN_ARG(buffer_span(&errors)));
    }
    config_free(c);
}

/* Whatever the order in the file; run-time changes win until the file says something new. */
static void definitions_are_applied_once(void **state) {
    (void)state;
    struct engine *e = open_engine();
    apply(e, 5);
    assert_int_equal(total_of(e), 5);
    set_total(e, 8);
    apply(e, 5);
    assert_int_equal(total_of(e), 8);
    apply(e, 6);
    assert_int_equal(total_of(e), 6);
    engine_close(e, false);
}

static void a_refusal_names_its_place(void **state) {
    (void)state;
    struct engine *e = open_engine();
    struct config *c = good("queues:\n  - name: q\n    destination: nowhere\n");
    assert_int_equal(config_apply(c, e, &errors), E_CONFLICT);
    assert_int_equal(buffer_put_u8(&errors, 0), 0);
    assert_line("x.yaml:2:5: /queues/0");
    assert_line("queue \"q\" was refused");
    assert_line("there is no destination by this name: nowhere");
    config_free(c);
    engine_close(e, false);
}

static void a_file_that_is_not_there(void **state) {
    (void)state;
    struct config *c;
    assert_int_equal(config_load("/nonexistent/x.yaml", &errors, &c), E_IO);
    assert_int_equal(buffer_put_u8(&errors, 0), 0);
    assert_line("/nonexistent/x.yaml: cannot be read: No such file");
}

#define CONFIG_TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

/* E_INVALID, E_CONFLICT or 0; what was said is in `errors`. */
static int check(const char *text) {
    buffer_clear(&errors);
    int error = config_check_text("x.yaml", span_text(text), &errors);
    assert_int_equal(buffer_put_u8(&errors, 0), 0);
    return error;
}

static void assert_no_line(const char *part) {
    if (strstr((const char *)errors.data, part) != NULL) {
        fail_msg("\"%s\" in:\n%s", part, errors.data);
    }
}

/* Each field may be, together they may not; what only a server's data can tell is left to it. */
static void definitions_are_judged_as_a_server_would(void **state) {
    (void)state;
    assert_int_equal(check("destinations:\n"
                           "  - name: out\n"
                           "    url: http://127.0.0.1:1/\n"
                           "    allowPrivateAddresses: true\n"
                           "    circuitBreaker: {windowCalls: 10, minimumCalls: 20}\n"
                           "  - name: fine\n"
                           "    url: http://provider.example/\n"
                           "  - name: also\n"
                           "    url: http://provider.example/\n"
                           "    circuitBreaker: {windowCalls: 10, window: 10s}\n"),
                     E_CONFLICT);
    assert_line("x.yaml:2:5: /destinations/0");
    assert_line("x.yaml:8:5: /destinations/2");
    assert_no_line("/destinations/1");
    assert_int_equal(check("destinations:\n  - {name: out, url: 'http://provider.example/'}\n"
                           "queues:\n  - {name: q, destination: out}\n"),
                     0);
    assert_string_equal((const char *)errors.data, "");
}

/* It may have been defined at run time: then a server starts, and only the person knows. */
static void names_that_the_file_does_not_define_are_pointed_out(void **state) {
    (void)state;
    assert_int_equal(check("queues:\n  - {name: q, destination: nowhere}\n"
                           "  - {name: told, onFailure: {queue: q}}\n"
                           "campaigns:\n  - {name: c, stock: s, memberPointer: /m}\n"),
                     0);
    assert_line(
        "x.yaml:2:5: /queues/0/destination: warning: destination \"nowhere\" is not in this "
        "file: a server that does not have it already refuses to start");
    assert_line("/campaigns/0/stock: warning: stock \"s\" is not in this file");
    assert_no_line("/queues/1");
    assert_int_equal(check("destinations:\n  - name: first\n    url: 'http://provider.example/'\n"
                           "    failover: {destination: second, failures: 3, queue: told}\n"),
                     0);
    assert_line("/destinations/0/failover/destination: warning: destination \"second\" is not in "
                "this file\n");
    assert_line("/destinations/0/failover/queue: warning: queue \"told\" is not in this file\n");
}

/* Else the first message says so. */
static void addresses_that_nothing_is_sent_to_are_pointed_out(void **state) {
    (void)state;
    assert_int_equal(
        check("destinations:\n"
              "  - {name: a, url: 'http://127.0.0.1:8090/'}\n"
              "  - {name: b, url: 'http://localhost/', allowPrivateAddresses: true}\n"
              "  - {name: c, endpoints: [{url: 'http://8.8.8.8/'}, {url: 'http://10.0.0.7/'}]}\n"
              "  - {name: d, url: 'http://10.0.0.7/', proxy: 'http://proxy.example/'}\n"),
        0);
    assert_line(
        "x.yaml:2:5: /destinations/0/url: warning: a private address: nothing is sent there "
        "without allowPrivateAddresses: true\n");
    assert_line("/destinations/2/endpoints/1/url: warning: a private address");
    assert_no_line("/destinations/1");
    assert_no_line("endpoints/0");
    assert_no_line("/destinations/3");
}

static void half_of_a_part_is_pointed_out(void **state) {
    (void)state;
    assert_int_equal(
        check("destinations:\n"
              "  - {name: a, url: 'http://provider.example/', circuitBreaker: {minimumCalls: 9}}\n"
              "  - {name: b, url: 'http://provider.example/', circuitBreaker: {window: 9s}}\n"
              "  - {name: c, url: 'http://provider.example/', rampUp: {afterIdle: 5m}}\n"
              "  - {name: d, url: 'http://provider.example/', batch: {}}\n"),
        0);
    assert_line("x.yaml:2:5: /destinations/0/circuitBreaker: warning: it does nothing without "
                "windowCalls or window\n");
    assert_line("/destinations/2/rampUp: warning: it does nothing without duration\n");
    assert_no_line("/destinations/1");
    assert_no_line("/destinations/3");
}

/* Once is enough: a field that cannot be read, a definition that is refused, a key that is not there. */
static void everything_wrong_is_said_at_once(void **state) {
    (void)state;
    assert_int_equal(
        check("listeners:\n"
              "  - port: 0\n"
              "    tls:\n"
              "      certificate: /nonexistent/c.pem\n"
              "      key: /nonexistent/k.pem\n"
              "      clientCa: /nonexistent/a.pem\n"
              "destinations:\n"
              "  - {name: out, url: 'http://provider.example/', circuitBreaker: {windowCalls: "
              "10, minimumCalls: 20}}\n"
              "queues:\n"
              "  - {name: a, maxMessages: many}\n"
              "  - {name: b, onFailure: {queue: a}}\n"),
        E_INVALID);
    assert_line("x.yaml:4:7: /listeners/0/tls/certificate: /nonexistent/c.pem: No such file");
    assert_line("x.yaml:5:7: /listeners/0/tls/key: /nonexistent/k.pem: No such file");
    assert_line("x.yaml:6:7: /listeners/0/tls/clientCa: /nonexistent/a.pem: No such file");
    assert_line("x.yaml:8:5: /destinations/0");
    assert_line("/queues/0/maxMessages: expected");
    assert_no_line("/queues/1");
}

static const char chain[] = "queues:\n"
                            "  - {name: a, onFailure: {queue: b}, onSuccess: {queue: d}}\n"
                            "  - {name: b, onFailure: {queue: c}}\n"
                            "  - {name: c}\n"
                            "  - {name: d, onSuccess: {queue: c}}\n";

/* As a server takes it, so does the check; and a circle neither. */
static void queues_may_stand_in_any_order(void **state) {
    (void)state;
    assert_int_equal(check(chain), 0);
    assert_string_equal((const char *)errors.data, "");
    buffer_clear(&errors);
    struct engine *e = open_engine();
    struct config *c = good(chain);
    if (config_apply(c, e, &errors) != 0) {
        fail_msg("%.*s", SPAN_ARG(buffer_span(&errors)));
    }
    config_free(c);
    engine_close(e, false);
    bad("queues:\n  - {name: a, onFailure: {queue: b}}\n"
        "  - {name: b, onFailure: {queue: c}}\n"
        "  - {name: c, onFailure: {queue: a}}\n");
    assert_line("/queues/0/onFailure/queue: outcomes of its outcomes would come to it");
}

/* `count` queues, each told of the next one's ends; the first stands first in the file. */
static void long_chain(char *text, size_t size, uint32_t count) {
    size_t used = (size_t)snprintf(text, size, "queues:\n");
    for (uint32_t i = 1; i < count; i++) {
        used += (size_t)snprintf(text + used, size - used,
                                 "  - {name: q%u, onFailure: {queue: q%u}}\n", i, i + 1);
    }
    snprintf(text + used, size - used, "  - {name: q%u}\n", count);
}

/* As many as a server takes, which is asked; one more is refused by the file itself. */
static void the_longest_chain_is_the_servers(void **state) {
    (void)state;
    char text[1024];
    long_chain(text, sizeof text, OUTCOME_CHAIN_MAX + 2);
    assert_int_equal(check(text), 0);
    long_chain(text, sizeof text, OUTCOME_CHAIN_MAX + 3);
    bad(text);
    assert_line("/queues/0/onFailure/queue: outcomes of its outcomes would come to it, or through "
                "more than 10 "
                "queues");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        CONFIG_TEST(definitions_are_judged_as_a_server_would),
        CONFIG_TEST(names_that_the_file_does_not_define_are_pointed_out),
        CONFIG_TEST(addresses_that_nothing_is_sent_to_are_pointed_out),
        CONFIG_TEST(half_of_a_part_is_pointed_out),
        CONFIG_TEST(everything_wrong_is_said_at_once),
        CONFIG_TEST(queues_may_stand_in_any_order),
        CONFIG_TEST(the_longest_chain_is_the_servers),
        CONFIG_TEST(nothing_is_a_good_file),
        CONFIG_TEST(everything_is_read),
        CONFIG_TEST(all_errors_with_their_places),
        CONFIG_TEST(an_empty_name_switches_nothing_off),
        CONFIG_TEST(other_machines_need_tls_and_tokens),
        CONFIG_TEST(relative_times),
        CONFIG_TEST(definitions_are_applied_once),
        CONFIG_TEST(a_refusal_names_its_place),
        CONFIG_TEST(a_file_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
