#include "dispatch/sign.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"

#define KEYS_MAX      8u
#define KEY_MAX_BYTES 64u
#define MAC_TEXT      (crypto_auth_hmacsha256_BYTES * 2) /* more than its base64 */

static void mac(const uint8_t *key, size_t key_size, const char *prefix, struct span body,
                uint8_t out[crypto_auth_hmacsha256_BYTES]) {
    crypto_auth_hmacsha256_state state;
    crypto_auth_hmacsha256_init(&state, key, key_size);
    crypto_auth_hmacsha256_update(&state, (const uint8_t *)prefix, strlen(prefix));
    if (body.size > 0) {
        crypto_auth_hmacsha256_update(&state, body.data, body.size);
    }
    crypto_auth_hmacsha256_final(&state, out);
    sodium_memzero(&state, sizeof state);
}

/* "v1,<base64>" of one key at `out`; false: the key does not read. */
static bool sign_with(const char *text, size_t size, const char *prefix, struct span body,
                      char *out) {
    uint8_t key[KEY_MAX_BYTES], value[crypto_auth_hmacsha256_BYTES];
    size_t key_size;
    if (size <= 6 || sodium_base642bin(key, sizeof key, text + 6, size - 6, NULL, &key_size, NULL,
                                       sodium_base64_VARIANT_ORIGINAL) != 0) {
        return false;
    }
    mac(key, key_size, prefix, body, value);
    sodium_memzero(key, sizeof key);
    memcpy(out, "v1,", 3);
    sodium_bin2base64(out + 3, MAC_TEXT, value, sizeof value, sodium_base64_VARIANT_ORIGINAL);
    return true;
}

void sign_request(struct header_list *l, const char *keys, const char *id, uint64_t now_s,
                  struct span body) {
    char prefix[128], signatures[KEYS_MAX * (4 + MAC_TEXT)] = "", one[4 + MAC_TEXT], seconds[24];
    if (*keys == '\0') {
        return;
    }
    snprintf(seconds, sizeof seconds, "%" PRIu64, now_s);
    int size = snprintf(prefix, sizeof prefix, "%s.%s.", id, seconds);
    if (size < 0 || (size_t)size >= sizeof prefix) {
        l->failed = l->failed != 0 ? l->failed : E_LIMIT;
        return;
    }
    for (unsigned n = 0; *keys != '\0' && n < KEYS_MAX; n++) {
        size_t length = strcspn(keys, " ");
        if (sign_with(keys, length, prefix, body, one)) {
            size_t used = strlen(signatures);
            snprintf(signatures + used, sizeof signatures - used, "%s%s", used > 0 ? " " : "", one);
        }
        keys += length + (keys[length] == ' ');
    }
    header_list_add_text(l, "webhook-id", id);
    header_list_add_text(l, "webhook-timestamp", seconds);
    header_list_add_text(l, "webhook-signature", signatures);
}
