/*
 * http/percent.h - percent-decoding, strict.
 *
 * Promise: the result is valid UTF-8 without control characters. Never writes beyond `size`.
 * Errors:  E_INVALID: a '%' without two hex digits, a control character, bad UTF-8; E_TOO_LARGE: more
 *          than `size` bytes.
 */
#ifndef SLUICE_HTTP_PERCENT_H
#define SLUICE_HTTP_PERCENT_H

#include "base/compiler.h"
#include "base/span.h"

enum percent_form {
    PERCENT_PATH,  /* '+' is a plus */
    PERCENT_QUERY, /* '+' is a space */
};

MUST_CHECK int percent_decode(struct span raw, enum percent_form form, char *out, size_t size,
                              size_t *ret_size);

#endif
