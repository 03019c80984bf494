#include "dispatch/token.h"

#include <ctype.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/error.h"
#include "dispatch/internal.h"

#define RESPONSE_MAX_BYTES (64u << 10)
#define ASK_TIMEOUT_MS     10000L
#define LIFE_DEFAULT_S     300u /* when the answer does not say */
#define LIFE_MAX_S         (7u * 86400u)
#define RETRY_FIRST_NS     NS_PER_SECOND
#define RETRY_MAX_NS       (60 * NS_PER_SECOND)

void token_init(struct token *k, struct target *t) {
    *k = (struct token){.kind = HANDLE_TOKEN, .target = t};
    buffer_init(&k->response, RESPONSE_MAX_BYTES);
}

static void forget(struct token *k) {
    if (k->value != NULL) {
        sodium_memzero(k->value, strlen(k->value));
        free(k->value);
        k->value = NULL;
    }
}

void token_release(struct token *k) {
    forget(k);
    buffer_release(&k->response);
    if (k->easy != NULL) {
        curl_easy_cleanup(k->easy);
        k->easy = NULL;
    }
}

/* ---- asking ---- */

static size_t on_response_bytes(char *bytes, size_t one, size_t size, void *context) {
    struct token *k = context;
    return buffer_append(&k->response, bytes, size) == 0 ? size : 0;
}

/* &name=value, if there is one. */
static int put_field(CURL *h, struct buffer *out, const char *name, const char *value) {
    if (*value == '\0') {
        return 0;
    }
    char *encoded = curl_easy_escape(h, value, 0);
    int rc = encoded == NULL ? E_NOMEM : buffer_printf(out, "&%s=%s", name, encoded);
    curl_free(encoded);
    return rc;
}

/* Both are form-encoded before they are joined (RFC 6749, 2.3.1); curl does the rest. */
static CURLcode set_client(CURL *h, const struct making_def *m) {
    char *id = curl_easy_escape(h, m->client_id, 0);
    char *secret = curl_easy_escape(h, m->client_secret, 0);
    CURLcode rc = id == NULL || secret == NULL ? CURLE_OUT_OF_MEMORY
                                               : curl_easy_setopt(h, CURLOPT_USERNAME, id);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_PASSWORD, secret);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_HTTPAUTH, (long)CURLAUTH_BASIC);
    curl_free(id);
    curl_free(secret);
    return rc;
}

static CURLcode set_form(CURL *h, const struct making_def *m) {
    struct buffer form;
    buffer_init(&form, 32u << 10);
    int rc = buffer_append_text(&form, "grant_type=client_credentials");
    rc = rc != 0 ? rc : put_field(h, &form, "scope", m->scope);
    rc = rc != 0 ? rc : put_field(h, &form, "audience", m->audience);
    rc = rc != 0 ? rc : buffer_put_u8(&form, 0);
    CURLcode code = rc != 0 ? CURLE_OUT_OF_MEMORY
                            : curl_easy_setopt(h, CURLOPT_COPYPOSTFIELDS, (const char *)form.data);
    buffer_release(&form);
    return code;
}

static CURLcode set_handle(struct token *k) {
    const struct destination_def *def = &k->target->def;
    CURL *h = k->easy;
    k->guard.allow_private = def->allow_private;
    CURLcode rc = curl_easy_setopt(h, CURLOPT_PRIVATE, k);
    rc = rc != CURLE_OK ? rc : guard_set(h, &k->guard);
    k->lookup = (struct lookup){.all = &k->target->owner->lookups, .name = &k->name};
    rc = rc != CURLE_OK ? rc : lookup_set(h, &k->lookup);
    rc = rc != CURLE_OK ? rc : call_set_safety(h, def);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_response_bytes);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_WRITEDATA, k);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_ERRORBUFFER, k->curl_said);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_URL, def->making.token_url);
    rc = rc != CURLE_OK ? rc : curl_easy_setopt(h, CURLOPT_TIMEOUT_MS, ASK_TIMEOUT_MS);
    rc = rc != CURLE_OK ? rc : set_client(h, &def->making);
    return rc != CURLE_OK ? rc : set_form(h, &def->making);
}

static void fail(struct token *k, const char *why) {
    uint64_t now_ns = clock_monotonic_ns();
    unsigned doublings = k->failures < 6 ? k->failures : 6;
    uint64_t pause_ns = RETRY_FIRST_NS << doublings;
    k->failures++;
    k->retry_ns = now_ns + (pause_ns < RETRY_MAX_NS ? pause_ns : RETRY_MAX_NS);
    snprintf(k->why, sizeof k->why, "no token: %.140s", why);
}

static bool ask(struct token *k) {
    struct dispatch *d = k->target->owner;
    if (k->easy == NULL) {
        k->easy = curl_easy_init();
        if (k->easy == NULL || set_handle(k) != CURLE_OK) {
            fail(k, "the request for one could not be made");
            return false;
        }
    }
    buffer_clear(&k->response);
    k->guard.refused = false;
    if (transport_add(&d->transport, k->easy) != 0) {
        fail(k, "the request for one could not be sent");
        return false;
    }
    k->target->refs++;
    list_append(&d->asking, &k->asking);
    return true;
}

enum token_state token_get(struct token *k, uint64_t now_ns) {
    bool good = k->value != NULL && now_ns < k->end_ns;
    bool wanted = !good || now_ns >= k->renew_ns;
    if (wanted && !list_linked(&k->asking) && now_ns >= k->retry_ns) {
        ask(k);
    }
    if (good) {
        return TOKEN_GOOD;
    }
    return list_linked(&k->asking) ? TOKEN_AWAITED : TOKEN_REFUSED;
}

/* One that was asked for after the request left stays: it was not the one that was refused. */
void token_reject(struct token *k) {
    if (!list_linked(&k->asking) && k->value != NULL) {
        forget(k);
    }
}

/* ---- the answer ---- */

static bool is_token_text(const char *text) {
    for (const char *p = text; *p != '\0'; p++) {
        if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f) {
            return false;
        }
    }
    return *text != '\0';
}

/* A number, however large; some servers put it in quotes. */
static uint64_t life_seconds(const json_t *said) {
    double life = json_is_number(said) ? json_number_value(said) : LIFE_DEFAULT_S;
    const char *text = json_string_value(said);
    if (text != NULL && isdigit((unsigned char)*text)) {
        life = strtod(text, NULL);
    }
    return !(life >= 1) ? 1 : life > LIFE_MAX_S ? LIFE_MAX_S : (uint64_t)life;
}

static void learn(struct token *k, const json_t *answer) {
    const char *text = json_string_value(json_object_get(answer, "access_token"));
    const char *type = json_string_value(json_object_get(answer, "token_type"));
    if (text == NULL || !is_token_text(text)) {
        fail(k, "the answer holds no access_token");
        return;
    }
    if (type != NULL && strcasecmp(type, "bearer") != 0) {
        fail(k, "the token is not of type bearer");
        return;
    }
    size_t size = strlen(text) + sizeof "Bearer ";
    char *value = malloc(size);
    if (value == NULL) {
        fail(k, "out of memory");
        return;
    }
    snprintf(value, size, "Bearer %s", text);
    forget(k);
    k->value = value;
    uint64_t life_s = life_seconds(json_object_get(answer, "expires_in"));
    uint64_t now_ns = clock_monotonic_ns();
    k->end_ns = now_ns + life_s * NS_PER_SECOND;
    k->renew_ns = now_ns + life_s * NS_PER_SECOND / 5 * 4;
    k->failures = 0;
}

static void read_answer(struct token *k, CURLcode result) {
    long status = 0;
    curl_easy_getinfo(k->easy, CURLINFO_RESPONSE_CODE, &status);
    if (k->guard.refused) {
        fail(k, "the address of tokenUrl is private");
    } else if (result != CURLE_OK) {
        fail(k, k->curl_said[0] != '\0' ? k->curl_said : curl_easy_strerror(result));
    } else if (status != 200) {
        char why[48];
        snprintf(why, sizeof why, "tokenUrl answered %ld", status);
        fail(k, why);
    } else {
        json_t *answer = json_loadb((const char *)k->response.data, k->response.size,
                                    JSON_DECODE_INT_AS_REAL, NULL);
        learn(k, answer);
        json_decref(answer);
    }
    if (k->response.size > 0) {
        sodium_memzero(k->response.data, k->response.size);
    }
    buffer_clear(&k->response);
}

void token_done(struct token *k, CURLcode result) {
    struct target *t = k->target;
    lookup_done(&k->lookup, k->easy, result);
    read_answer(k, result);
    list_remove(&k->asking);
    call_token_known(t);
    target_unref(t);
}

void token_abandon(struct token *k) {
    struct target *t = k->target;
    transport_remove(&t->owner->transport, k->easy);
    list_remove(&k->asking);
    target_unref(t);
}
