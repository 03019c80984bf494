/*
 * model/stock_numbers.h - which unit numbers of a stock are in use, and the smallest that is not.
 *
 * Promise: take, give and first_free cost six word operations at most, however many numbers there are.
 *          The set is a value: nothing of its history shows in the answers.
 * Shape:   caller-owned; memory is one bit a number up to the largest ever taken, and 1/64 on top.
 * Units:   numbers from 1 to 2^32 - 2.
 * Errors:  E_NOMEM; E_EXISTS.
 */
#ifndef SLUICE_MODEL_STOCK_NUMBERS_H
#define SLUICE_MODEL_STOCK_NUMBERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define NUMBER_LEVELS 6u

struct number_level {
    uint64_t *words; /* owns */
    uint32_t count;  /* words at hand; the ones beyond are as if 0 */
};

struct number_set {
    struct number_level levels[NUMBER_LEVELS];
    uint32_t used;
};

void number_set_init(struct number_set *s);
void number_set_release(struct number_set *s);
MUST_CHECK int number_set_take(struct number_set *s, uint32_t number);
/* It must be taken. */
void number_set_give(struct number_set *s, uint32_t number);
bool number_set_has(const struct number_set *s, uint32_t number);
/* The smallest free number above `after`. */
uint32_t number_set_free_after(const struct number_set *s, uint32_t after);
size_t number_set_memory_bytes(const struct number_set *s);

#endif
