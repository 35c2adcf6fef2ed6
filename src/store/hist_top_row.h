/* SPDX-License-Identifier: Apache-2.0 */
/* A row of all slots: samples, sum and maximum of one metric in a minute or an hour. Pure
 * functions; any thread. */
#ifndef AC_STORE_HIST_TOP_ROW_H
#define AC_STORE_HIST_TOP_ROW_H

#include "store/hist_bits.h"

/* Of each slot. */
struct top_sums {
    uint64_t *known;
    uint64_t *sum;
    uint64_t *max;
};

/* Appends a row of the first @n slots to @out, which is empty. Returns 0 or -ENOMEM. */
int top_row_encode(const struct top_sums *sums, uint32_t n, struct buf *out);

enum top_wanted { TOP_SUMS = 1, TOP_MAXIMA = 2 };

/* Adds a row to @to: samples and what is wanted of sums and maxima; the others are not looked at.
 * Returns the number of slots, at most @room;
 * -EBADMSG, and nothing was added if the checksum tells. */
int top_row_add(
    const void *bytes, size_t size, unsigned wanted, uint32_t room, const struct top_sums *to);

#endif
