/*
 * base/utf8.h - what is UTF-8.
 *
 * Promise: no surrogates, no overlong forms, nothing above U+10FFFF.
 */
#ifndef SLUICE_BASE_UTF8_H
#define SLUICE_BASE_UTF8_H

#include "base/span.h"

/* Bytes of the character that begins at p, with `left` >= 1 bytes from there; 0: none does. */
size_t utf8_length(const uint8_t *p, size_t left);
bool utf8_valid(struct span s);

#endif
