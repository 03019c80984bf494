#include "base/pages.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/huge.h"

#define FIRST_BLOCK_BYTES ((size_t)64 << 10)
#define SMALL_BLOCKS      5u /* 64 KiB to 1 MiB */

void pages_init(struct pages *p, uint32_t page_bytes) {
    assert(page_bytes >= 64 && page_bytes <= FIRST_BLOCK_BYTES);
    assert((page_bytes & (page_bytes - 1)) == 0);
    *p = (struct pages){
        .page_bytes = page_bytes,
        .block_bits = (uint32_t)__builtin_ctzl(HUGE_BYTES / page_bytes),
        .free_head = PAGE_NONE,
    };
}

/* Each but the huge ones twice as large as the one before: what is small takes at most twice what it needs. */
static size_t block_bytes(uint32_t block) {
    return block < SMALL_BLOCKS ? FIRST_BLOCK_BYTES << block : HUGE_BYTES;
}

static void block_free(uint32_t block, uint8_t *memory) {
    if (block < SMALL_BLOCKS) {
        free(memory);
    } else if (memory != NULL) {
        huge_give(memory, HUGE_BYTES);
    }
}

void pages_release(struct pages *p) {
    for (uint32_t i = 0; i < p->block_count; i++) {
        block_free(i, p->blocks[i]);
    }
    free(p->blocks);
    *p = (struct pages){
        .page_bytes = p->page_bytes, .block_bits = p->block_bits, .free_head = PAGE_NONE};
}

/* A block has as many numbers as a huge one, so that a page is found by a shift: small ones leave a gap. */
static uint32_t first_number(const struct pages *p, uint32_t block) {
    return block << p->block_bits;
}

static uint64_t numbers_end(const struct pages *p) {
    uint32_t last = p->block_count - 1;
    return p->block_count == 0 ? 0 : first_number(p, last) + block_bytes(last) / p->page_bytes;
}

static int block_add(struct pages *p) {
    uint8_t **blocks = realloc(p->blocks, (p->block_count + 1) * sizeof *blocks);
    if (blocks == NULL) {
        return E_NOMEM;
    }
    p->blocks = blocks;
    size_t bytes = block_bytes(p->block_count);
    uint8_t *block = bytes == HUGE_BYTES ? huge_take(bytes) : aligned_alloc(p->page_bytes, bytes);
    if (block == NULL || p->block_count + 1 >= PAGE_NONE >> p->block_bits) {
        block_free(p->block_count, block);
        return E_NOMEM;
    }
    p->next = first_number(p, p->block_count);
    blocks[p->block_count++] = block;
    return 0;
}

int pages_take(struct pages *p, uint32_t *ret_number) {
    uint32_t number = p->free_head;
    if (number != PAGE_NONE) {
        memcpy(&p->free_head, pages_at(p, number), sizeof p->free_head);
    } else {
        int rc = p->next == numbers_end(p) ? block_add(p) : 0;
        if (rc != 0) {
            return rc;
        }
        number = p->next++;
    }
    p->live++;
    *ret_number = number;
    return 0;
}

void pages_give(struct pages *p, uint32_t number) {
    assert(p->live > 0);
    memcpy(pages_at(p, number), &p->free_head, sizeof p->free_head);
    p->free_head = number;
    p->live--;
}

/* Of a small block what was ever touched: many owners have little. */
static size_t held_bytes(const struct pages *p) {
    size_t bytes = 0;
    for (uint32_t i = 0; i < p->block_count; i++) {
        bool filling = i + 1 == p->block_count && block_bytes(i) < HUGE_BYTES;
        bytes += filling ? (size_t)(p->next - first_number(p, i)) * p->page_bytes : block_bytes(i);
    }
    return bytes;
}

size_t pages_memory_bytes(const struct pages *p) {
    return held_bytes(p) + p->block_count * sizeof *p->blocks;
}

size_t pages_reusable_bytes(const struct pages *p) {
    return held_bytes(p) - (size_t)p->live * p->page_bytes;
}
