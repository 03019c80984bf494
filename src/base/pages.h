/*
 * base/pages.h - pages of a few KiB cut out of huge ones, named by 32-bit numbers.
 *
 * Promise: pages never move. Memory grows by 64 KiB, then by twice that and so on, up to a huge page (2 MiB) at a
 *          time: what lies in them misses the TLB less, and a fork copies one entry where it copied 512. A page that was given back is
 *          handed out again first. Aligned to its size; its content is whatever it was.
 * Errors:  E_NOMEM, and nothing has changed.
 */
#ifndef SLUICE_BASE_PAGES_H
#define SLUICE_BASE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct pages {
    uint8_t **blocks; /* owns the array and what it points into */
    uint32_t block_count;
    uint32_t page_bytes; /* power of two, 64 .. 65,536 */
    uint32_t block_bits; /* a huge page has 1 << block_bits of them */
    uint32_t next;       /* the number that was never handed out, unless its block is full */
    uint32_t free_head;  /* PAGE_NONE: none; chained through the first 4 bytes */
    uint32_t live;
};

#define PAGE_NONE UINT32_MAX

void pages_init(struct pages *p, uint32_t page_bytes);
/* Usable again. */
void pages_release(struct pages *p);
MUST_CHECK int pages_take(struct pages *p, uint32_t *ret_number);
void pages_give(struct pages *p, uint32_t number);
static inline void *pages_at(const struct pages *p, uint32_t number) {
    uint32_t in_block = number & ((1u << p->block_bits) - 1);
    return p->blocks[number >> p->block_bits] + (size_t)in_block * p->page_bytes;
}
size_t pages_memory_bytes(const struct pages *p);
/* Of them, those that are nobody's now. */
size_t pages_reusable_bytes(const struct pages *p);

#endif
