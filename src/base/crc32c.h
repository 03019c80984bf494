/*
 * base/crc32c.h - CRC-32C (Castagnoli), the checksum of every record and snapshot block.
 *
 * Promise: crc32c_update(crc32c_update(0, a), b) == crc32c of a followed by b. Uses the SSE4.2
 *          instruction where the processor has it, else a table.
 * Source:  RFC 3720 B.4 (test vectors).
 */
#ifndef SLUICE_BASE_CRC32C_H
#define SLUICE_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c_update(uint32_t crc, const void *data, size_t size);
/* The same without the instruction; for tests, which compare the two. */
uint32_t crc32c_update_table(uint32_t crc, const void *data, size_t size);

#endif
