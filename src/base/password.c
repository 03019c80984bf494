#include "base/password.h"

#include <sodium.h>
#include <stdio.h>

#include "base/error.h"

#define SALT_BYTES 4u
#define OURS       "$argon2id$"

/* Of no password that anybody has. */
static const char nobody[] = "$argon2id$v=19$m=65536,t=2,p=1$cFhTiOJX1F6bZZxNo5Aw7Q$"
                             "bPwUCz17PudWXRX1+w0w7QYxDxi0h8HSyYtyc8ygREM";

struct foreign {
    const char *prefix, *algorithm;
    size_t hash_bytes;
};

static const struct foreign foreigners[] = {
    {"rabbit-sha256:", "rabbit_password_hashing_sha256", crypto_hash_sha256_BYTES},
    {"rabbit-sha512:", "rabbit_password_hashing_sha512", crypto_hash_sha512_BYTES},
};

static bool starts_with(struct span text, const char *prefix) {
    size_t size = strlen(prefix);
    return text.size >= size && memcmp(text.data, prefix, size) == 0;
}

static const struct foreign *foreign_of(struct span hash) {
    for (size_t i = 0; i < ARRAY_LENGTH(foreigners); i++) {
        if (starts_with(hash, foreigners[i].prefix))
            return &foreigners[i];
    }
    return NULL;
}

int password_hash(struct span password, char ret_hash[PASSWORD_HASH_BYTES]) {
    _Static_assert(PASSWORD_HASH_BYTES >= crypto_pwhash_STRBYTES, "argon2id fits");
    const char *text = password.size > 0 ? (const char *)password.data : "";
    char out[crypto_pwhash_STRBYTES];
    if (crypto_pwhash_str(out, text, password.size, crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0)
        return E_NOMEM;
    memcpy(ret_hash, out, sizeof out);
    return 0;
}

static bool decode(struct span base64, size_t hash_bytes,
                   uint8_t out[SALT_BYTES + crypto_hash_sha512_BYTES]) {
    size_t size;
    return sodium_base642bin(out, SALT_BYTES + crypto_hash_sha512_BYTES, (const char *)base64.data,
                             base64.size, NULL, &size, NULL, sodium_base64_VARIANT_ORIGINAL) == 0 &&
           size == SALT_BYTES + hash_bytes;
}

static void hash_foreign(const struct foreign *f, const uint8_t salt[SALT_BYTES],
                         struct span password, uint8_t *out) {
    union {
        crypto_hash_sha256_state small;
        crypto_hash_sha512_state large;
    } state;
    if (f->hash_bytes == crypto_hash_sha256_BYTES) {
        crypto_hash_sha256_init(&state.small);
        crypto_hash_sha256_update(&state.small, salt, SALT_BYTES);
        crypto_hash_sha256_update(&state.small, password.data, password.size);
        crypto_hash_sha256_final(&state.small, out);
    } else {
        crypto_hash_sha512_init(&state.large);
        crypto_hash_sha512_update(&state.large, salt, SALT_BYTES);
        crypto_hash_sha512_update(&state.large, password.data, password.size);
        crypto_hash_sha512_final(&state.large, out);
    }
    sodium_memzero(&state, sizeof state);
}

static bool matches_foreign(const struct foreign *f, struct span hash, struct span password) {
    size_t prefix = strlen(f->prefix);
    uint8_t kept[SALT_BYTES + crypto_hash_sha512_BYTES], got[crypto_hash_sha512_BYTES];
    if (!decode(span_of(hash.data + prefix, hash.size - prefix), f->hash_bytes, kept))
        return false;
    hash_foreign(f, kept, password, got);
    return sodium_memcmp(kept + SALT_BYTES, got, f->hash_bytes) == 0;
}

bool password_matches(struct span hash, struct span password) {
    const struct foreign *f = foreign_of(hash);
    char text[PASSWORD_HASH_BYTES];
    if (f != NULL)
        return matches_foreign(f, hash, password);
    if (hash.size == 0 || hash.size >= sizeof text)
        return false;
    memcpy(text, hash.data, hash.size);
    text[hash.size] = '\0';
    return crypto_pwhash_str_verify(text, password.size > 0 ? (const char *)password.data : "",
                                    password.size) == 0;
}

bool password_matches_nobody(struct span password) {
    (void)password_matches(span_text(nobody), password);
    return false;
}

int password_import(struct span algorithm, struct span hash, char ret_hash[PASSWORD_HASH_BYTES]) {
    uint8_t room[SALT_BYTES + crypto_hash_sha512_BYTES];
    for (size_t i = 0; i < ARRAY_LENGTH(foreigners); i++) {
        const struct foreign *f = &foreigners[i];
        if (!span_is(algorithm, f->algorithm))
            continue;
        if (!decode(hash, f->hash_bytes, room))
            return E_INVALID;
        snprintf(ret_hash, PASSWORD_HASH_BYTES, "%s%.*s", f->prefix, SPAN_ARG(hash));
        return 0;
    }
    bool ours = span_is(algorithm, "argon2id") && starts_with(hash, OURS) &&
                hash.size < crypto_pwhash_STRBYTES;
    if (!ours)
        return E_INVALID;
    memcpy(ret_hash, hash.data, hash.size);
    ret_hash[hash.size] = '\0';
    return 0;
}

const char *password_export(struct span hash, struct span *ret_hash) {
    const struct foreign *f = foreign_of(hash);
    size_t prefix = f != NULL ? strlen(f->prefix) : 0;
    *ret_hash = span_of(hash.data + prefix, hash.size - prefix);
    return f != NULL ? f->algorithm : "argon2id";
}

bool password_is_foreign(struct span hash) {
    return foreign_of(hash) != NULL;
}
