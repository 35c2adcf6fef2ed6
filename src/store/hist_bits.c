/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_bits.h"

#include <errno.h>

#include "base/mem.h"

#define WIDTH_MAX 57 /* so that an offset never spans more than 8 bytes */
#define WIDTH_RAW 64 /* wider blocks are stored as they are */

static void pack_block(const uint64_t *numbers, size_t n, struct buf *out)
{
    uint64_t min = UINT64_MAX;
    uint64_t max = 0;
    for (size_t i = 0; i < n; i++) {
        min = MIN(min, numbers[i]);
        max = MAX(max, numbers[i]);
    }
    unsigned width = bit_length(max - min);
    width = width > WIDTH_MAX ? WIDTH_RAW : width;
    buf_put_varint(out, min);
    buf_put_u8(out, (uint8_t)width);
    uint8_t bytes[BITS_BLOCK * 8 + 8] = {0};
    for (size_t i = 0; i < n; i++) {
        size_t bit = i * width;
        uint64_t word;
        memcpy(&word, &bytes[bit / 8], sizeof(word));
        word |= (numbers[i] - min) << (bit % 8);
        memcpy(&bytes[bit / 8], &word, sizeof(word));
    }
    buf_append(out, bytes, (n * width + 7) / 8);
}

void bits_pack(const uint64_t *numbers, size_t n, struct buf *out)
{
    for (size_t i = 0; i < n; i += BITS_BLOCK)
        pack_block(&numbers[i], MIN(n - i, (size_t)BITS_BLOCK), out);
}

static int unpack_block(struct byte_reader *reader, size_t n, uint64_t *ret_numbers)
{
    uint64_t min = get_varint(reader);
    unsigned width = get_u8(reader);
    if (width > WIDTH_MAX && width != WIDTH_RAW)
        return -EBADMSG;
    size_t size = (n * width + 7) / 8;
    const uint8_t *packed = get_bytes(reader, size);
    if (reader->bad || packed == NULL)
        return -EBADMSG;
    uint8_t bytes[BITS_BLOCK * 8 + 8];
    memcpy(bytes, packed, size);
    memset(&bytes[size], 0, 8);
    uint64_t mask = width == WIDTH_RAW ? UINT64_MAX : ((uint64_t)1 << width) - 1;
    for (size_t i = 0; i < n; i++) {
        uint64_t word;
        memcpy(&word, &bytes[i * width / 8], sizeof(word));
        ret_numbers[i] = min + (word >> (i * width % 8) & mask);
    }
    return 0;
}

int bits_unpack(struct byte_reader *reader, size_t n, uint64_t *ret_numbers)
{
    for (size_t i = 0; i < n; i += BITS_BLOCK) {
        int r = unpack_block(reader, MIN(n - i, (size_t)BITS_BLOCK), &ret_numbers[i]);
        if (r < 0)
            return r;
    }
    return 0;
}
