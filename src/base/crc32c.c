/*
 * CRC-32C, three ways:
 *
 *   table     one byte at a time; the reference, and for processors without the instruction
 *   one lane  8 bytes per crc32q; its latency of 3 cycles bounds it to about 8 GB/s
 *   3 lanes   three independent crc32q in flight over neighbouring blocks of LANE_BYTES; the three
 *             results are joined by advancing the first two over the bytes behind them. Advancing a
 *             CRC over n zero bytes is linear, so it is four look-ups in a table made at start.
 */
#include "base/crc32c.h"

#include <stdbool.h>
#include <string.h>

#define POLYNOMIAL_REFLECTED 0x82f63b78u
#define LANE_BYTES           512u

static uint32_t byte_table[256];

static uint32_t update_table(uint32_t state, const uint8_t *p, size_t size) {
    for (; size > 0; size--) {
        state = byte_table[(state ^ *p++) & 0xff] ^ (state >> 8);
    }
    return state;
}

static void make_byte_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t state = i;
        for (int bit = 0; bit < 8; bit++) {
            state = (state >> 1) ^ ((state & 1) != 0 ? POLYNOMIAL_REFLECTED : 0);
        }
        byte_table[i] = state;
    }
}

#ifdef __x86_64__

static bool have_instruction;
/* advance_table[k][b]: the state b << 8k, after LANE_BYTES zero bytes. */
static uint32_t advance_table[4][256];

static uint32_t advance(uint32_t state) {
    return advance_table[0][state & 0xff] ^ advance_table[1][state >> 8 & 0xff] ^
           advance_table[2][state >> 16 & 0xff] ^ advance_table[3][state >> 24];
}

static void make_advance_table(void) {
    static const uint8_t zeros[LANE_BYTES];
    uint32_t of_bit[32];
    for (int bit = 0; bit < 32; bit++) {
        of_bit[bit] = update_table(1u << bit, zeros, sizeof zeros);
    }
    for (int k = 0; k < 4; k++) {
        for (uint32_t b = 0; b < 256; b++) {
            uint32_t state = 0;
            for (int bit = 0; bit < 8; bit++) {
                state ^= (b >> bit & 1) != 0 ? of_bit[8 * k + bit] : 0;
            }
            advance_table[k][b] = state;
        }
    }
}

static inline uint64_t load_u64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

__attribute__((target("sse4.2"))) static uint32_t update_three_lanes(uint32_t state,
                                                                     const uint8_t *p) {
    uint64_t a = state, b = 0, c = 0;
    for (size_t i = 0; i < LANE_BYTES; i += 8) {
        a = __builtin_ia32_crc32di(a, load_u64(p + i));
        b = __builtin_ia32_crc32di(b, load_u64(p + LANE_BYTES + i));
        c = __builtin_ia32_crc32di(c, load_u64(p + 2 * LANE_BYTES + i));
    }
    return advance(advance((uint32_t)a) ^ (uint32_t)b) ^ (uint32_t)c;
}

__attribute__((target("sse4.2"))) static uint32_t
update_instruction(uint32_t state, const uint8_t *p, size_t size) {
    for (; size >= 3 * LANE_BYTES; size -= 3 * LANE_BYTES, p += 3 * LANE_BYTES) {
        state = update_three_lanes(state, p);
    }
    uint64_t wide = state;
    for (; size >= 8; size -= 8, p += 8) {
        wide = __builtin_ia32_crc32di(wide, load_u64(p));
    }
    state = (uint32_t)wide;
    for (; size > 0; size--) {
        state = __builtin_ia32_crc32qi(state, *p++);
    }
    return state;
}

#endif

/* Before main, so that no first call races with another thread's. */
__attribute__((constructor)) static void crc32c_prepare(void) {
    make_byte_table();
#ifdef __x86_64__
    __builtin_cpu_init();
    have_instruction = __builtin_cpu_supports("sse4.2");
    make_advance_table();
#endif
}

uint32_t crc32c_update_table(uint32_t crc, const void *data, size_t size) {
    return ~update_table(~crc, data, size);
}

uint32_t crc32c_update(uint32_t crc, const void *data, size_t size) {
#ifdef __x86_64__
    if (have_instruction) {
        return ~update_instruction(~crc, data, size);
    }
#endif
    return crc32c_update_table(crc, data, size);
}
