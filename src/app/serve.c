#include "app/serve.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "app/config/config.h"
#include "app/harden.h"
#include "app/server.h"
#include "base/error.h"
#include "engine/memory.h"
#include "version.h"

#define EXIT_WRONG_USE   2
#define ERRORS_MAX_BYTES (1u << 20)

struct serve_arguments {
    const char *config;
    const char *data;
    const char *listen;
    bool paranoid;
    bool salvage;
};

enum { OPTION_CONFIG = 256, OPTION_DATA, OPTION_LISTEN, OPTION_PARANOID, OPTION_SALVAGE };

static int parse(int argc, char **argv, struct serve_arguments *ret) {
    static const struct option options[] = {
        {"config", required_argument, NULL, OPTION_CONFIG},
        {"data", required_argument, NULL, OPTION_DATA},
        {"listen", required_argument, NULL, OPTION_LISTEN},
        {"paranoid", no_argument, NULL, OPTION_PARANOID},
        {"salvage", no_argument, NULL, OPTION_SALVAGE},
        {NULL, 0, NULL, 0},
    };
    int option;
    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == OPTION_CONFIG)
            ret->config = optarg;
        else if (option == OPTION_DATA)
            ret->data = optarg;
        else if (option == OPTION_LISTEN)
            ret->listen = optarg;
        else if (option == OPTION_PARANOID)
            ret->paranoid = true;
        else if (option == OPTION_SALVAGE)
            ret->salvage = true;
        else
            return E_INVALID;
    }
    return optind == argc ? 0 : E_INVALID;
}

/* "127.0.0.1:8080", "[::1]:8080"; cut in place. */
static int parse_listen(char *text, struct server_listener *ret) {
    char *colon = strrchr(text, ':');
    if (colon == NULL || colon == text)
        return E_INVALID;
    char *end;
    unsigned long port = strtoul(colon + 1, &end, 10);
    if (end == colon + 1 || *end != '\0' || port > 65535)
        return E_INVALID;
    *colon = '\0';
    if (text[0] == '[' && colon[-1] == ']') {
        colon[-1] = '\0';
        text++;
    }
    *ret = (struct server_listener){.host = text, .port = (uint16_t)port};
    return 0;
}

/* An address given by hand is for trying things out: this machine only, the file says more. */
static int wrong_listen(const char *text) {
    fprintf(
        stderr,
        "sluice: --listen %s: expected HOST:PORT on this machine, such as 127.0.0.1:8080; other "
        "addresses are configured in the file, with TLS and tokens\n",
        text);
    return EXIT_WRONG_USE;
}

static int define(void *context, struct engine *engine) {
    const struct config *config = context;
    struct buffer errors;
    buffer_init(&errors, ERRORS_MAX_BYTES);
    int error = config_apply(config, engine, &errors);
    if (error != 0)
        fprintf(stderr, "%.*s", (int)errors.size, (const char *)errors.data);
    buffer_release(&errors);
    return error;
}

static size_t fill_listeners(const struct config_settings *settings,
                             struct server_listener listeners[API_SERVERS_MAX]) {
    size_t count = 0;
    for (; count < settings->listener_count && count < API_SERVERS_MAX; count++) {
        const struct config_listener *from = &settings->listeners[count];
        listeners[count] = (struct server_listener){.host = from->host,
                                                    .port = from->port,
                                                    .amqp = from->protocol == CONFIG_AMQP,
                                                    .tls = from->has_tls ? &from->tls : NULL};
    }
    return count;
}

static uint64_t memory_max(const struct config_settings *settings) {
    return settings->resident_bytes != 0
               ? settings->resident_bytes
               : memory_available_bytes() / 100 * settings->resident_percent;
}

static int harden(const struct config_settings *settings, const char *directory) {
    const struct harden_options options = {
        .user = settings->user,
        .data_directory = directory,
        .core_dumps = settings->core_dumps,
    };
    char text[256];
    int error = harden_process(&options, text);
    if (error != 0)
        fprintf(stderr, "sluice: %s\n", text);
    else if (harden_folder(directory))
        logline_event(LOGLINE_WARN, "the data folder was open to others: its mode is 0700 now");
    if (error == 0 && geteuid() == 0)
        logline_event(LOGLINE_WARN, "running as root, which is not needed: set user");
    return error;
}

static int run(const struct serve_arguments *arguments, struct config *config,
               const struct server_listener *listener) {
    const struct config_settings *settings = config_settings(config);
    struct server_listener listeners[API_SERVERS_MAX] = {0};
    size_t count = fill_listeners(settings, listeners);
    if (listener != NULL) {
        listeners[0] = *listener;
        count = 1;
    }
    logline_set_level(settings->log_level);
    logline_set_format(settings->log_format);
    const char *directory = arguments->data != NULL ? arguments->data : settings->data_directory;
    if (harden(settings, directory) != 0)
        return EXIT_START_FAILED;
    struct server_options options = {
        .engine =
            {
                .directory = directory,
                .segment_bytes = settings->segment_bytes,
                .prepared_bytes = settings->prepared_bytes,
                .min_free_bytes = settings->min_free_bytes,
                .memory_max_bytes = memory_max(settings),
                .keep_snapshot_room = true,
                .snapshot_every_bytes = settings->snapshot_every_bytes,
                .limits = settings->model_limits,
                .queue_max = settings->queue_max,
                .salvage = arguments->salvage,
                .paranoid = arguments->paranoid,
                .in_place = true,
            },
        .listeners = listeners,
        .listener_count = count,
        .http_limits = settings->http_limits,
        .amqp_limits = settings->amqp_limits,
        .io_threads = settings->io_threads,
        .tokens = settings->tokens,
        .token_count = settings->token_count,
        .requests_per_second = settings->requests_per_second,
        .requests_burst = settings->requests_burst,
        .open_loopback = settings->open_loopback,
        .system_call_filter = settings->system_call_filter,
        .version = SLUICE_VERSION,
        .define = define,
        .context = config,
    };
    return server_run(&options);
}

/* NULL: what is wrong was printed. */
static struct config *load(const char *path) {
    struct buffer errors;
    buffer_init(&errors, ERRORS_MAX_BYTES);
    struct config *config = NULL;
    int error = config_load(path, &errors, &config);
    if (error != 0 && errors.size > 0)
        fprintf(stderr, "%.*s", (int)errors.size, (const char *)errors.data);
    else if (error != 0)
        fprintf(stderr, "sluice: %s: %s\n", path, error_text(error));
    buffer_release(&errors);
    return error == 0 ? config : NULL;
}

void serve_usage(FILE *out) {
    fputs("usage: sluice serve [--config FILE] [--data FOLDER] [--listen HOST:PORT] [--paranoid] "
          "[--salvage]\n"
          "  --config FILE       what to serve and how; without, 127.0.0.1:8080 with nothing "
          "defined\n"
          "  --data FOLDER       where everything is kept, made if need be; wins over the file\n"
          "  --listen HOST:PORT  a loopback address; wins over those of the file\n"
          "  --paranoid          checks all invariants after each record, which is slow\n"
          "  --salvage           starts from a damaged log and reports what it had to drop\n",
          out);
}

void serve_config_usage(FILE *out) {
    fputs("usage: sluice config check FILE\n", out);
}

int serve_main(int argc, char **argv) {
    struct serve_arguments arguments = {0};
    if (parse(argc, argv, &arguments) != 0) {
        serve_usage(stderr);
        return EXIT_WRONG_USE;
    }
    struct server_listener listener = {0};
    char *listen = arguments.listen != NULL ? strdup(arguments.listen) : NULL;
    if (listen != NULL &&
        (parse_listen(listen, &listener) != 0 || !config_is_loopback(listener.host))) {
        free(listen);
        return wrong_listen(arguments.listen);
    }
    struct config *config = load(arguments.config);
    int code = EXIT_WRONG_USE;
    if (config != NULL)
        code = run(&arguments, config, listen != NULL ? &listener : NULL);
    config_free(config);
    free(listen);
    return code;
}

int serve_config_main(int argc, char **argv) {
    if (argc != 3 || strcmp(argv[1], "check") != 0) {
        serve_config_usage(stderr);
        return EXIT_WRONG_USE;
    }
    struct buffer errors;
    buffer_init(&errors, ERRORS_MAX_BYTES);
    int error = config_check(argv[2], &errors);
    fprintf(stderr, "%.*s", (int)errors.size, (const char *)errors.data);
    if (error == 0)
        printf("%s: ok\n", argv[2]);
    else if (errors.size == 0)
        fprintf(stderr, "sluice: %s: %s\n", argv[2], error_text(error));
    buffer_release(&errors);
    return error == 0 ? 0 : EXIT_WRONG_USE;
}
