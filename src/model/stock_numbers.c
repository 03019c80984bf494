/*
 * A bitmap with summaries.
 *
 *      levels[0]   bit n set: number n + 1 is in use
 *      levels[1]   bit w set: word w of level 0 is full
 *      levels[k]   bit w set: word w of level k-1 is full        6 levels of 64 reach 2^36
 *
 * N1  a bit of level k is set exactly when its word of level k-1 is all ones.
 *
 * The first free number is found upwards from its word, as long as words are full, and down again
 * by the first zero bit. Growing doubles a level: 2.5 MB at 20 million numbers.
 */
#include "model/stock_numbers.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"

#define WORD_BITS 64u
#define WORD_FULL UINT64_MAX
#ifndef NUMBER_MAX /* fuzzing has less: memory for so many takes time */
#define NUMBER_MAX (UINT32_MAX - 1)
#endif

void number_set_init(struct number_set *s) {
    *s = (struct number_set){.used = 0};
}

void number_set_release(struct number_set *s) {
    for (unsigned k = 0; k < NUMBER_LEVELS; k++) {
        free(s->levels[k].words);
    }
    number_set_init(s);
}

static uint64_t word_at(const struct number_level *l, uint64_t index) {
    return index < l->count ? l->words[index] : 0;
}

static int level_reserve(struct number_level *l, uint32_t index) {
    if (index < l->count) {
        return 0;
    }
    uint32_t count = l->count == 0 ? 1 : l->count;
    while (count <= index) {
        count *= 2; /* index < 2^26, so it ends */
    }
    uint64_t *words = calloc(count, sizeof *words); /* untouched pages cost nothing */
    if (words == NULL) {
        return E_NOMEM;
    }
    if (l->count > 0) {
        memcpy(words, l->words, l->count * sizeof *words);
    }
    free(l->words);
    l->words = words;
    l->count = count;
    return 0;
}

bool number_set_has(const struct number_set *s, uint32_t number) {
    assert(number >= 1);
    uint32_t bit = number - 1;
    return word_at(&s->levels[0], bit / WORD_BITS) >> (bit % WORD_BITS) & 1;
}

int number_set_take(struct number_set *s, uint32_t number) {
    if (number < 1 || number > NUMBER_MAX || number_set_has(s, number)) {
        return E_EXISTS;
    }
    uint32_t bit = number - 1;
    for (uint32_t k = 0, word = bit / WORD_BITS; k < NUMBER_LEVELS; k++, word /= WORD_BITS) {
        int rc = level_reserve(&s->levels[k], word);
        if (rc != 0) {
            return rc; /* words of zeros change nothing */
        }
    }
    for (uint32_t k = 0; k < NUMBER_LEVELS; k++, bit /= WORD_BITS) {
        uint64_t *word = &s->levels[k].words[bit / WORD_BITS];
        *word |= UINT64_C(1) << (bit % WORD_BITS);
        if (*word != WORD_FULL) {
            break;
        }
    }
    s->used++;
    return 0;
}

void number_set_give(struct number_set *s, uint32_t number) {
    assert(number_set_has(s, number));
    uint32_t bit = number - 1;
    for (uint32_t k = 0; k < NUMBER_LEVELS; k++, bit /= WORD_BITS) {
        uint64_t *word = &s->levels[k].words[bit / WORD_BITS];
        bool was_full = *word == WORD_FULL;
        *word &= ~(UINT64_C(1) << (bit % WORD_BITS));
        if (!was_full) {
            break;
        }
    }
    s->used--;
}

uint32_t number_set_free_after(const struct number_set *s, uint32_t after) {
    uint64_t bit = after; /* number after + 1 */
    unsigned k = 0;
    for (;; k++, bit = bit / WORD_BITS + 1) {
        assert(k < NUMBER_LEVELS);
        uint64_t below = (UINT64_C(1) << (bit % WORD_BITS)) - 1;
        uint64_t free_bits = ~(word_at(&s->levels[k], bit / WORD_BITS) | below);
        if (free_bits != 0) {
            bit = bit / WORD_BITS * WORD_BITS + (unsigned)__builtin_ctzll(free_bits);
            break;
        }
    }
    for (; k > 0; k--) {
        uint64_t word = word_at(&s->levels[k - 1], bit);
        assert(word != WORD_FULL); /* N1 */
        bit = bit * WORD_BITS + (unsigned)__builtin_ctzll(~word);
    }
    assert(bit < NUMBER_MAX);
    return (uint32_t)bit + 1;
}

size_t number_set_memory_bytes(const struct number_set *s) {
    size_t bytes = 0;
    for (unsigned k = 0; k < NUMBER_LEVELS; k++) {
        bytes += s->levels[k].count * sizeof(uint64_t);
    }
    return bytes;
}
