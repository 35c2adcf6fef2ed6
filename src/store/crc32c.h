/* SPDX-License-Identifier: Apache-2.0 */
/* CRC-32C (Castagnoli), by the SSE 4.2 instruction where the machine has it. */
#ifndef AC_STORE_CRC32C_H
#define AC_STORE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* Continues @crc (0 at the start) over @size bytes. Any thread. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t size);

/* The portable one, for tests. */
uint32_t crc32c_table(uint32_t crc, const void *bytes, size_t size);

#endif
