/*
 * base/password.h - what is kept of a password, and whether one is the password.
 *
 *      $argon2id$v=19$m=65536,t=2,p=1$...          ours: 64 MiB and about a tenth of a second each
 *      rabbit-sha256:<base64>, rabbit-sha512:...   as RabbitMQ exports it: 4 bytes of salt and the hash of
 *                                                  salt and password, in one base64 text
 *
 * Promise: comparing takes the same time whatever differs. RabbitMQ's are taken because nobody knows the
 *          passwords behind them; whoever sees one used may replace it (password_is_foreign).
 * Errors:  E_NOMEM, E_INVALID.
 */
#ifndef SLUICE_BASE_PASSWORD_H
#define SLUICE_BASE_PASSWORD_H

#include "base/compiler.h"
#include "base/span.h"

#define PASSWORD_HASH_BYTES 160u /* with NUL */

MUST_CHECK int password_hash(struct span password, char ret_hash[PASSWORD_HASH_BYTES]);
/* False also for an empty hash, and for what is none. */
bool password_matches(struct span hash, struct span password);
/* Takes as long as a wrong password of ours: for names that nobody has. Always false. */
bool password_matches_nobody(struct span password);

/*
 * From a definitions file: `hash` by "rabbit_password_hashing_sha256", "..._sha512" or "argon2id". E_INVALID:
 * another algorithm, or not such a hash.
 */
MUST_CHECK int password_import(struct span algorithm, struct span hash,
                               char ret_hash[PASSWORD_HASH_BYTES]);
/* The inverse: the algorithm's name, static; *ret_hash borrows. */
const char *password_export(struct span hash, struct span *ret_hash);
bool password_is_foreign(struct span hash);

#endif
