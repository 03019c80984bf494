/*
 * app/config/internal.h - what a configuration is made of. Internal to config/.
 */
#ifndef SLUICE_APP_CONFIG_INTERNAL_H
#define SLUICE_APP_CONFIG_INTERNAL_H

#include "api/definitions.h"
#include "app/config/config.h"
#include "app/config/yaml_tree.h"

/* A listener as the file has it; struct config_listener borrows from it. */
struct listener_tls {
    char *certificate, *key, *client_ca; /* own; empty: none */
    uint32_t client_name;                /* client_name_words */
};
struct listener_texts {
    char *host; /* owns */
    uint16_t port;
    enum config_protocol protocol;
    struct listener_tls tls;
    struct yaml_place tls_places[TLS_FILES]; /* of the names of its files */
};

/* The file writes durations; http_limits counts ms. */
struct config_timeouts {
    uint64_t head_ns, body_ns, idle_ns, write_ns;
    uint64_t heartbeat_ns, handshake_ns, partial_ns; /* of AMQP, which counts seconds and ms */
};

struct config_definition {
    struct definition definition; /* owns */
    uint64_t file_hash;           /* of its text in the file, "+10s" unresolved; never 0 */
    char pointer[64];             /* where it stands in the file, for messages */
    struct yaml_place place;
    bool broken;                    /* its fields could not be read: the rest of it says nothing */
    const struct config_part *idle; /* the first that does nothing; NULL: none */
    uint32_t rank, index;           /* behind those that it refers to, else as in the file */
};

/* A part of a destination that does nothing unless one of these members is there. */
struct config_part {
    const char *name, *members[2];
};

struct config {
    char *file;           /* owns; as given, empty without one */
    char *data_directory; /* owns */
    char *user;           /* owns */
    struct config_settings settings;
    struct config_timeouts timeouts;
    bool allow_remote_without_tls, allow_remote_without_tokens;
    struct listener_texts *texts;      /* owns */
    struct config_listener *listeners; /* owns; settings.listeners */
    uint32_t text_count;               /* of both */
    struct token_def *tokens;          /* owns, and the texts in it; settings.tokens */
    uint32_t token_count;
    struct config_definition *definitions; /* owns; by kind, then by rank */
    uint32_t definition_count;
};

/* config_load of a text; `file` stands for it in messages. */
MUST_CHECK int config_parse(const char *file, struct span text, struct buffer *errors,
                            struct config **ret);
/* The same, but also with E_INVALID there is what could be read, to be freed; NULL: nothing could be. */
MUST_CHECK int config_read(const char *file, struct span text, struct buffer *errors,
                           struct config **ret);
/* config_check of a text. */
MUST_CHECK int config_check_text(const char *file, struct span text, struct buffer *errors);
/* The whole of it, to be freed with config_free_text; what is wrong is in `errors`. */
MUST_CHECK int config_load_text(const char *path, struct buffer *errors, struct span *ret);
void config_free_text(struct span text);

/* Where the file says which one. */
#define TLS_POINTER_BYTES 48u
void config_tls_pointer(uint32_t listener, enum tls_file file, char ret[TLS_POINTER_BYTES]);

/* Puts queues behind those that their outcomes go to. E_INVALID: they go in circles. */
MUST_CHECK int config_order(struct config *c, struct field_reader *r);
/* Where the file defines it, or NULL. */
const struct config_definition *config_find(const struct config *c, enum definition_kind kind,
                                            const char *name);
/* The name that stands at `pointer` of a definition, if another one's may stand there; else NULL. */
const char *config_referred(const struct definition *d, const char *pointer,
                            enum definition_kind *ret_kind);

/* Defaults of everything that is not a list. E_NOMEM. */
MUST_CHECK int settings_init(struct config *c);
/* `lists` are the names that the caller reads. E_INVALID: errors were added; E_NOMEM. */
MUST_CHECK int settings_read(struct config *c, const json_t *root, const char *const *lists,
                             struct field_reader *r);
/* Listeners for other machines need TLS and tokens, unless told otherwise. E_INVALID. */
MUST_CHECK int settings_check(const struct config *c, struct field_reader *r);

/* `d` was refused, as `r` says. */
void config_refused(const struct config *c, const struct config_definition *d,
                    const struct request *r, struct buffer *errors);
/* "file:line:column: pointer: detail\n" */
void config_error(struct buffer *errors, const char *file, struct yaml_place place,
                  const char *pointer, const char *detail);

#endif
