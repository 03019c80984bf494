#include "app/config/config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "app/config/internal.h"
#include "base/clock.h"
#include "base/error.h"

/* ---- lists: read an item at a time into a grown array ---- */

typedef int read_list_item(struct config *c, const json_t *item, void *at, struct field_reader *r);

/* `*items` of `*count` so far; each item is counted before it is read, so that a half-read one is freed. */
static int read_list(struct config *c, const json_t *root, const char *name, size_t item_bytes,
                     void **items, uint32_t *count, read_list_item *read, struct field_reader *r) {
    const json_t *list = json_object_get(root, name);
    if (list == NULL || json_is_null(list)) {
        return 0;
    }
    if (!json_is_array(list)) {
        field_expected(r, name, "a list", list);
        return E_INVALID;
    }
    size_t more = json_array_size(list);
    char *grown = realloc(*items, (*count + more + 1) * item_bytes);
    if (grown == NULL) {
        return E_NOMEM;
    }
    *items = grown;
    memset(grown + *count * item_bytes, 0, (more + 1) * item_bytes);
    int error = 0;
    size_t outer = field_enter(r, name);
    for (size_t i = 0; i < more && error != E_NOMEM; i++) {
        size_t inner = field_enter_index(r, i);
        int one = read(c, json_array_get(list, i), grown + (*count)++ * item_bytes, r);
        error = one != 0 ? one : error;
        field_leave(r, inner);
    }
    field_leave(r, outer);
    return error;
}

/* ---- listeners ---- */

static const char *const client_name_words[] = {"commonName", "distinguishedName", NULL};

static bool is_filled(struct span text) {
    return text.size > 0;
}

/* An empty name would switch off without a word what it stands for. */
static const struct field tls_fields[] = {
    {"certificate", FIELD_TEXT, FIELD_AT(struct listener_tls, certificate), .required = true,
     .valid = is_filled, .expects = "a file with the certificate chain (PEM)"},
    {"key", FIELD_TEXT, FIELD_AT(struct listener_tls, key), .required = true, .valid = is_filled,
     .expects = "a file with the private key (PEM)"},
    {"clientCa", FIELD_TEXT, FIELD_AT(struct listener_tls, client_ca), .valid = is_filled,
     .expects = "a file with the authorities of client certificates (PEM)"},
    {"clientName", FIELD_WORD, FIELD_AT(struct listener_tls, client_name),
     .words = client_name_words},
    FIELD_END};

static const char *const protocol_words[] = {"http", "amqp", NULL};

static const struct field listener_fields[] = {
    {"host", FIELD_TEXT, FIELD_AT(struct listener_texts, host), .valid = is_filled,
     .expects = "an address to listen on, such as 127.0.0.1"},
    {"port", FIELD_INTEGER, FIELD_AT(struct listener_texts, port), .max = 65535, .required = true,
     .expects = "a port number"},
    {"protocol", FIELD_WORD, FIELD_AT(struct listener_texts, protocol), .words = protocol_words},
    {"tls", FIELD_OBJECT, FIELD_AT(struct listener_texts, tls), .members = tls_fields},
    FIELD_END};

static int init_listener(struct listener_texts *l) {
    int error = def_set_text(&l->host, span_text("127.0.0.1"));
    l->port = 8080;
    char **texts[] = {&l->tls.certificate, &l->tls.key, &l->tls.client_ca};
    for (size_t i = 0; i < ARRAY_LENGTH(texts) && error == 0; i++) {
        error = def_set_text(texts[i], span_of(NULL, 0));
    }
    return error;
}

static int read_listener(struct config *c, const json_t *item, void *at, struct field_reader *r) {
    (void)c;
    int error = init_listener(at);
    return error != 0 ? error : fields_read(listener_fields, item, at, NULL, r);
}

/* ---- tokens ---- */

struct token_input {
    char *name, *hash;
};

static const struct field token_fields[] = {
    {"name", FIELD_TEXT, FIELD_AT(struct token_input, name), .valid = is_filled, .required = true,
     .expects = "a name for the token"},
    {"hash", FIELD_TEXT, FIELD_AT(struct token_input, hash), .valid = token_hash_valid,
     .required = true, .secret = true, .expects = "a hash as printed by `sluice token new`"},
    FIELD_END};
static const char *const token_lists[] = {"scopes", "resources", NULL};

static int read_scopes(const json_t *list, struct token_def *t, struct field_reader *r) {
    int error = json_array_size(list) == 0 ? E_INVALID : 0;
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *name = json_array_get(list, i);
        enum scope scope =
            json_is_string(name) ? scope_parse(span_text(json_string_value(name))) : SCOPE_NONE;
        error = scope == SCOPE_NONE ? E_INVALID : error;
        t->scopes |= scope;
    }
    if (error != 0) {
        field_fault(r, "scopes", "expected a list of read, publish, consume, operate and admin");
    }
    return error;
}

#define RESOURCES_EXPECTED "a list of patterns such as \"queues/mail-*\" or \"shop-a.*\""

static int read_resources(const json_t *list, struct token_def *t, struct field_reader *r) {
    size_t count = json_array_size(list);
    char **patterns = calloc(count + 1, sizeof *patterns);
    if (patterns == NULL) {
        return E_NOMEM;
    }
    t->resources = (const char *const *)patterns;
    for (size_t i = 0; i < count; i++) {
        const json_t *pattern = json_array_get(list, i);
        if (!json_is_string(pattern) ||
            !resource_pattern_valid(span_text(json_string_value(pattern)))) {
            field_expected(r, "resources", RESOURCES_EXPECTED, pattern);
            return E_INVALID;
        }
        patterns[i] = strdup(json_string_value(pattern));
        if (patterns[i] == NULL) {
            return E_NOMEM;
        }
        t->resource_count++;
    }
    if (list != NULL && count == 0) {
        field_expected(r, "resources", RESOURCES_EXPECTED, list);
        return E_INVALID;
    }
    return 0;
}

static int read_token(struct config *c, const json_t *item, void *at, struct field_reader *r) {
    (void)c;
    struct token_def *t = at;
    struct token_input in = {NULL, NULL};
    int error = fields_read(token_fields, item, &in, token_lists, r);
    t->name = in.name;
    t->hash = in.hash;
    if (error == E_NOMEM || !json_is_object(item)) {
        return error;
    }
    int scopes = read_scopes(json_object_get(item, "scopes"), t, r);
    int resources = read_resources(json_object_get(item, "resources"), t, r);
    return resources == E_NOMEM ? E_NOMEM : error != 0 ? error : scopes != 0 ? scopes : resources;
}

/* ---- definitions ---- */

/* Of the text, not of what it comes to: "+10s" is the same text at every start. */
static uint64_t hash_item(const json_t *item) {
    const struct hash_key key = {0x636f6e6669677572, 0x6174696f6e2d3031}; /* stands in the log */
    char *text = json_dumps(item, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    uint64_t hash = text != NULL ? hash_bytes(key, span_text(text)) : 0;
    free(text);
    return hash != 0 ? hash : 1;
}

static const struct config_part parts[] = {
    {"circuitBreaker", {"windowCalls", "window"}}, {"healthCheck", {"path", "path"}},
    {"adaptiveConcurrency", {"max", "max"}},       {"rampUp", {"duration", "duration"}},
    {"batch", {"maxMessages", "maxMessages"}},
};

/* Somebody who writes half of it believes to have it. */
static const struct config_part *idle_part(const json_t *item) {
    for (size_t i = 0; i < ARRAY_LENGTH(parts); i++) {
        const json_t *part = json_object_get(item, parts[i].name);
        if (json_object_size(part) > 0 && json_object_get(part, parts[i].members[0]) == NULL &&
            json_object_get(part, parts[i].members[1]) == NULL) {
            return &parts[i];
        }
    }
    return NULL;
}

static int read_definition(enum definition_kind kind, const json_t *item,
                           struct config_definition *at, struct field_reader *r) {
    int error = definition_init(&at->definition, kind);
    if (error == 0) {
        error = definition_read(&at->definition, item, span_of(NULL, 0), r);
    }
    at->broken = error != 0;
    at->idle = kind == DEFINITION_DESTINATION ? idle_part(item) : NULL;
    at->file_hash = hash_item(item);
    snprintf(at->pointer, sizeof at->pointer, "%.63s", r->pointer);
    return error;
}

static int read_destination(struct config *c, const json_t *item, void *at,
                            struct field_reader *r) {
    (void)c;
    return read_definition(DEFINITION_DESTINATION, item, at, r);
}
static int read_queue(struct config *c, const json_t *item, void *at, struct field_reader *r) {
    (void)c;
    return read_definition(DEFINITION_QUEUE, item, at, r);
}
static int read_stock(struct config *c, const json_t *item, void *at, struct field_reader *r) {
    (void)c;
    return read_definition(DEFINITION_STOCK, item, at, r);
}
static int read_campaign(struct config *c, const json_t *item, void *at, struct field_reader *r) {
    (void)c;
    return read_definition(DEFINITION_CAMPAIGN, item, at, r);
}

/* ---- all of it ---- */

static const char *const lists[] = {"listeners", "tokens", "destinations", "queues", "stocks",
                                    "campaigns", NULL};

/* Each kind by itself may use a name only once. */
static int check_unique(const struct config *c, struct field_reader *r) {
    int error = 0;
    for (uint32_t i = 0; i < c->definition_count; i++) {
        const struct definition *d = &c->definitions[i].definition;
        for (uint32_t k = 0; k < i; k++) {
            const struct definition *other = &c->definitions[k].definition;
            if (other->kind == d->kind && strcmp(definition_name(other), definition_name(d)) == 0) {
                snprintf(r->pointer, sizeof r->pointer, "%s", c->definitions[i].pointer);
                field_fault(r, "name", "\"%s\" is defined twice", definition_name(d));
                error = E_INVALID;
                break;
            }
        }
    }
    r->pointer[0] = '\0';
    return error;
}

static int read_definitions(struct config *c, const json_t *root, struct field_reader *r) {
    static read_list_item *const readers[DEFINITION_KINDS] = {
        [DEFINITION_DESTINATION] = read_destination,
        [DEFINITION_QUEUE] = read_queue,
        [DEFINITION_STOCK] = read_stock,
        [DEFINITION_CAMPAIGN] = read_campaign,
    };
    int error = 0;
    for (int kind = 0; kind < DEFINITION_KINDS && error != E_NOMEM; kind++) {
        void *items = c->definitions;
        int one = read_list(c, root, definition_types[kind].plural, sizeof *c->definitions, &items,
                            &c->definition_count, readers[kind], r);
        c->definitions = items;
        error = one != 0 ? one : error;
    }
    if (error == E_NOMEM) {
        return error;
    }
    int unique = check_unique(c, r), order = config_order(c, r);
    return error != 0 ? error : unique != 0 ? unique : order;
}

static int read_lists(struct config *c, const json_t *root, struct field_reader *r) {
    void *items = c->texts;
    int listeners =
        read_list(c, root, "listeners", sizeof *c->texts, &items, &c->text_count, read_listener, r);
    c->texts = items;
    items = c->tokens;
    int tokens =
        read_list(c, root, "tokens", sizeof *c->tokens, &items, &c->token_count, read_token, r);
    c->tokens = items;
    int definitions = read_definitions(c, root, r);
    bool memory = listeners == E_NOMEM || tokens == E_NOMEM || definitions == E_NOMEM;
    return memory ? E_NOMEM : listeners != 0 ? listeners : tokens != 0 ? tokens : definitions;
}

static int add_default_listener(struct config *c) {
    if (c->text_count > 0) {
        return 0;
    }
    struct listener_texts *one = realloc(c->texts, sizeof *one);
    if (one == NULL) {
        return E_NOMEM;
    }
    memset(one, 0, sizeof *one);
    c->texts = one;
    c->text_count = 1;
    return init_listener(one);
}

/* What others see, borrowed from what was read. */
static int finish(struct config *c, const json_t *root) {
    struct config_settings *s = &c->settings;
    c->listeners = calloc(c->text_count, sizeof *c->listeners);
    if (c->listeners == NULL) {
        return E_NOMEM;
    }
    for (uint32_t i = 0; i < c->text_count; i++) {
        const struct listener_texts *t = &c->texts[i];
        c->listeners[i] = (struct config_listener){
            .host = t->host,
            .port = t->port,
            .protocol = t->protocol,
            .has_tls = t->tls.certificate[0] != '\0',
            .tls = {.certificate_file = t->tls.certificate,
                    .key_file = t->tls.key,
                    .client_ca_file = t->tls.client_ca[0] != '\0' ? t->tls.client_ca : NULL,
                    .whole_subject = t->tls.client_name == 1},
        };
    }
    s->listeners = c->listeners;
    s->listener_count = c->text_count;
    s->data_directory = c->data_directory;
    s->user = c->user;
    s->tokens = c->tokens;
    s->token_count = c->token_count;
    if (json_object_get(root, "openLoopback") == NULL) {
        s->open_loopback = c->token_count == 0;
    }
    return 0;
}

static int read_root(struct config *c, const json_t *root, struct field_reader *r) {
    int settings = settings_read(c, root, lists, r);
    int items = settings == E_NOMEM ? E_NOMEM : read_lists(c, root, r);
    int listener = items == E_NOMEM ? E_NOMEM : add_default_listener(c);
    if (listener != 0) {
        return listener;
    }
    int safe = settings_check(c, r);
    int error = settings != 0 ? settings : items != 0 ? items : safe;
    int finished = error != E_NOMEM ? finish(c, root) : 0;
    return finished != 0 ? finished : error;
}

/* ---- a file ---- */

void config_error(struct buffer *errors, const char *file, struct yaml_place place,
                  const char *pointer, const char *detail) {
    int error = buffer_printf(errors, "%s:%u:%u: %s%s%s\n", file, place.line, place.column, pointer,
                              pointer[0] != '\0' ? ": " : "", detail);
    (void)error; /* no room for more messages: those before stand */
}

static void report_errors(const char *file, const struct yaml_tree *y, const struct field_errors *e,
                          struct buffer *errors) {
    for (uint32_t i = 0; i < e->count && i < FIELD_ERRORS_MAX; i++) {
        const char *pointer = e->list[i].pointer;
        config_error(errors, file, yaml_tree_find(y, pointer), pointer, e->list[i].detail);
    }
    if (e->count > FIELD_ERRORS_MAX) {
        int error = buffer_printf(errors, "%s: and %u more\n", file, e->count - FIELD_ERRORS_MAX);
        (void)error; /* as above */
    }
}

void config_tls_pointer(uint32_t listener, enum tls_file file, char ret[TLS_POINTER_BYTES]) {
    static const char *const names[TLS_FILES] = {"certificate", "key", "clientCa"};
    snprintf(ret, TLS_POINTER_BYTES, "/listeners/%u/tls/%s", listener, names[file]);
}

static void place_files(struct config *c, const struct yaml_tree *y) {
    char pointer[TLS_POINTER_BYTES];
    for (uint32_t i = 0; i < c->text_count; i++) {
        for (int file = 0; file < TLS_FILES; file++) {
            config_tls_pointer(i, (enum tls_file)file, pointer);
            c->texts[i].tls_places[file] = yaml_tree_find(y, pointer);
        }
    }
}

static int read_tree(struct config *c, const struct yaml_tree *y, struct buffer *errors) {
    struct field_errors *found = calloc(1, sizeof *found);
    if (found == NULL) {
        return E_NOMEM;
    }
    struct field_reader r = {.errors = found, .now_ns = clock_real_ns()};
    int error = read_root(c, y->tree, &r);
    report_errors(c->file, y, found, errors);
    place_files(c, y);
    for (uint32_t i = 0; i < c->definition_count; i++) {
        c->definitions[i].place = yaml_tree_find(y, c->definitions[i].pointer);
    }
    free(found);
    return error;
}

int config_read(const char *file, struct span text, struct buffer *errors, struct config **ret) {
    struct yaml_tree y;
    struct yaml_fault fault;
    int error = yaml_tree_read(text, &y, &fault);
    if (error == E_INVALID) {
        config_error(errors, file, fault.place, "", fault.reason);
    }
    if (error != 0) {
        return error;
    }
    struct config *c = calloc(1, sizeof *c);
    error = c != NULL ? settings_init(c) : E_NOMEM;
    if (error == 0) {
        error = def_set_text(&c->file, span_text(file));
    }
    if (error == 0) {
        error = read_tree(c, &y, errors);
    }
    yaml_tree_release(&y);
    if (error != 0 && error != E_INVALID) {
        config_free(c);
        return error;
    }
    *ret = c;
    return error;
}

int config_parse(const char *file, struct span text, struct buffer *errors, struct config **ret) {
    struct config *c = NULL;
    int error = config_read(file, text, errors, &c);
    if (error != 0) {
        config_free(c);
        return error;
    }
    *ret = c;
    return 0;
}

int config_load_text(const char *path, struct buffer *errors, struct span *ret) {
    char *text = NULL;
    size_t size = 0;
    int error = yaml_tree_load_file(path, &text, &size);
    if (error != 0) {
        int said = buffer_printf(errors, "%s: cannot be read: %s\n", path,
                                 error == E_IO ? strerror(errno) : error_text(error));
        (void)said; /* the error code says it too */
        return error == E_NOMEM ? E_NOMEM : E_IO;
    }
    *ret = span_of(text, size);
    return 0;
}

void config_free_text(struct span text) {
    char *bytes = (char *)(uintptr_t)text.data;
    explicit_bzero(bytes, text.size); /* secrets of destinations */
    free(bytes);
}

int config_load(const char *path, struct buffer *errors, struct config **ret) {
    struct span text;
    if (path == NULL) {
        return config_parse("", span_of("", 0), errors, ret);
    }
    int error = config_load_text(path, errors, &text);
    if (error == 0) {
        error = config_parse(path, text, errors, ret);
        config_free_text(text);
    }
    return error;
}

const struct config_settings *config_settings(const struct config *c) {
    return &c->settings;
}

static void free_token(struct token_def *t) {
    for (uint32_t i = 0; i < t->resource_count; i++) {
        free((char *)(uintptr_t)t->resources[i]);
    }
    free((void *)(uintptr_t)t->resources);
    free((char *)(uintptr_t)t->name);
    free((char *)(uintptr_t)t->hash);
}

void config_free(struct config *c) {
    if (c == NULL) {
        return;
    }
    for (uint32_t i = 0; i < c->text_count; i++) {
        struct listener_texts *l = &c->texts[i];
        free(l->host);
        free(l->tls.certificate);
        free(l->tls.key);
        free(l->tls.client_ca);
    }
    for (uint32_t i = 0; i < c->token_count; i++) {
        free_token(&c->tokens[i]);
    }
    for (uint32_t i = 0; i < c->definition_count; i++) {
        definition_release(&c->definitions[i].definition);
    }
    free(c->listeners);
    free(c->texts);
    free(c->tokens);
    free(c->definitions);
    free(c->data_directory);
    free(c->user);
    free(c->file);
    free(c);
}
