/* SPDX-License-Identifier: Apache-2.0 */
/* Rows of all slots: any bytes are refused, or decode within their bounds to what encodes to the
 * same again. Checksum and version are taken as right, so that what lies behind them is reached:
 * the first byte says what is wanted. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/crc32c.h"
#include "store/hist_top_row.h"

#define ROOM 400

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct slots {
    uint64_t known[ROOM];
    uint64_t sum[ROOM];
    uint64_t max[ROOM];
};

static int add(const void *row, size_t size, unsigned wanted, struct slots *to)
{
    memset(to, 0, sizeof(*to));
    return top_row_add(row, size, wanted, ROOM, &(struct top_sums){to->known, to->sum, to->max});
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct slots slots;
    static struct slots again;
    struct buf row CLEANUP(buf_done) = {0};
    if (size == 0)
        return 0;
    unsigned wanted = data[0] & (TOP_SUMS | TOP_MAXIMA);
    size_t full = size - 1 + 5;
    cleanup_free uint8_t *bytes = mem_alloc(full);
    if (bytes == NULL)
        return 0;
    bytes[4] = 2;
    memcpy(bytes + 5, data + 1, size - 1);
    uint32_t crc = crc32c(0, bytes + 4, full - 4);
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(crc >> 8 * i);
    int n = add(bytes, full, wanted, &slots);
    if (n < 0)
        return 0;
    if (n > ROOM)
        abort();
    const struct top_sums sums = {slots.known, slots.sum, slots.max};
    if (top_row_encode(&sums, (uint32_t)n, &row) < 0)
        return 0;
    if (add(row.data, row.size, TOP_SUMS | TOP_MAXIMA, &again) != n ||
        memcmp(&again, &slots, sizeof(slots)) != 0)
        abort();
    for (unsigned part = TOP_SUMS; part <= TOP_MAXIMA; part++) {
        if (add(row.data, row.size, part, &again) != n ||
            memcmp(part == TOP_SUMS ? again.sum : again.max,
                part == TOP_SUMS ? slots.sum : slots.max, sizeof(slots.sum)) != 0)
            abort();
    }
    return 0;
}
