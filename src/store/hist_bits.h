/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bit packing: numbers in blocks of 128, each block as its minimum (varint), a width byte and
 * 128 offsets of that width. Decodes at memory speed; used where many numbers are read at once
 * (a minute of all agents).
 */
#ifndef AC_STORE_HIST_BITS_H
#define AC_STORE_HIST_BITS_H

#include "base/buf.h"
#include "store/hist_bytes.h"

#define BITS_BLOCK 128

/* Appends @n numbers. A failure is marked in @out. */
void bits_pack(const uint64_t *numbers, size_t n, struct buf *out);

/* Reads @n numbers. Returns 0 or -EBADMSG. */
int bits_unpack(struct byte_reader *reader, size_t n, uint64_t *ret_numbers);

#endif
