/*
 * What a definition may say about how requests are made: templates, CloudEvents, signatures, who we are.
 */
#include "model/destination_state.h"

#include <sodium.h>
#include <string.h>

#include "model/template.h"

#define SECRET_MAX_BYTES  4096u
#define PATH_MAX_BYTES    4096u
#define SIGNING_KEYS_MAX  8u
#define SIGNING_KEY_LEAST 24u
#define SIGNING_KEY_MOST  64u

static bool is_line(const char *text, size_t max) {
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p < ' ' || *p == 0x7f) {
            return false;
        }
    }
    return strlen(text) <= max;
}

/* "whsec_" and 24 to 64 bytes in base64, as Standard Webhooks has it. */
static bool is_signing_key(const char *text, size_t size) {
    uint8_t key[SIGNING_KEY_MOST];
    size_t bytes;
    return size > 6 && memcmp(text, "whsec_", 6) == 0 &&
           sodium_base642bin(key, sizeof key, text + 6, size - 6, NULL, &bytes, NULL,
                             sodium_base64_VARIANT_ORIGINAL) == 0 &&
           bytes >= SIGNING_KEY_LEAST;
}

static bool are_signing_keys(const char *text) {
    unsigned count = 0;
    while (*text != '\0') {
        size_t size = strcspn(text, " ");
        if (++count > SIGNING_KEYS_MAX || !is_signing_key(text, size)) {
            return false;
        }
        text += size + (text[size] == ' ');
    }
    return true;
}

static const char *templates_problem(const struct destination_def *def, const char **ret_pointer) {
    const char *problem = NULL;
    *ret_pointer = "/url";
    if (!template_url_host_is_fixed(def->url)) {
        return "may have places behind the host only: whom to call is not for a message to say";
    }
    problem = template_problem(def->url);
    for (uint32_t i = 0; i < def->endpoints.count && problem == NULL; i++) {
        *ret_pointer = "/endpoints";
        const char *url = def->endpoints.items[i].url;
        problem = template_url_host_is_fixed(url) ? template_problem(url)
                                                  : "may have places behind the host only";
    }
    if (problem == NULL) {
        *ret_pointer = "/headers";
        problem = template_problem(def->headers);
    }
    if (problem == NULL) {
        *ret_pointer = "/cloudEvents";
        problem = template_problem(def->making.event_type);
    }
    return problem != NULL ? problem : template_problem(def->making.event_source);
}

static const char *authorization_problem(const struct making_def *k) {
    bool basic = k->user[0] != '\0' || k->password[0] != '\0';
    bool oauth = k->token_url[0] != '\0';
    if ((k->bearer[0] != '\0') + basic + oauth > 1) {
        return "may have one of bearer, user with password, and oauth2";
    }
    if (!is_line(k->bearer, SECRET_MAX_BYTES) || !is_line(k->user, SECRET_MAX_BYTES) ||
        !is_line(k->password, SECRET_MAX_BYTES)) {
        return "may not hold control characters, nor more than 4096 bytes";
    }
    if (strchr(k->user, ':') != NULL) {
        return "needs a user without a colon";
    }
    if (oauth && (k->client_id[0] == '\0' || k->client_secret[0] == '\0')) {
        return "needs a clientId and a clientSecret for oauth2";
    }
    if (oauth && strncmp(k->token_url, "https://", 8) != 0 &&
        strncmp(k->token_url, "http://", 7) != 0) {
        return "needs a tokenUrl that starts with https:// or http://";
    }
    return NULL;
}

const char *making_problem(const struct destination_def *def, const char **ret_pointer) {
    const struct making_def *k = &def->making;
    const char *problem = templates_problem(def, ret_pointer);
    if (problem != NULL) {
        return problem;
    }
    *ret_pointer = "/cloudEvents";
    if (k->format != FORMAT_AS_RECEIVED && k->event_type[0] == '\0') {
        return "needs a type";
    }
    *ret_pointer = "/signing";
    if (!are_signing_keys(k->signing_keys)) {
        return "needs 1 to 8 keys separated by blanks, each \"whsec_\" and 24 to 64 bytes in "
               "base64";
    }
    *ret_pointer = "/authorization";
    if ((problem = authorization_problem(k)) != NULL) {
        return problem;
    }
    *ret_pointer = "/tls";
    if ((k->client_certificate[0] == '\0') != (k->client_key[0] == '\0')) {
        return "needs both clientCertificate and clientKey";
    }
    if (!is_line(k->client_certificate, PATH_MAX_BYTES) ||
        !is_line(k->client_key, PATH_MAX_BYTES)) {
        return "needs paths of at most 4096 bytes";
    }
    *ret_pointer = "/proxy";
    if (k->proxy[0] != '\0' && strncmp(k->proxy, "http://", 7) != 0) {
        return "must start with http://";
    }
    return NULL;
}
