/* SPDX-License-Identifier: Apache-2.0 */
/* Chunk rows and their sections: any bytes decode or are refused; decoded values stay within what
 * the header promises. Checksums are taken as right, so that what lies behind them is reached:
 * the first byte says whether the input is a row, a column, a section of minutes or an hour. What
 * decodes as one of the latter two encodes to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_roll.h"
#include "store/hist_row.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_column(struct byte_reader r)
{
    static int64_t values[HIST_COLUMN_MAX];
    size_t n = get_varint(&r) % HIST_COLUMN_MAX + 1;
    struct column_view view;

    if (column_read(&r, n, 1 << 20, &view) < 0 || column_decode(&view, values) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        if (values[i] != HIST_UNKNOWN && (values[i] < view.stats.min || values[i] > view.stats.max))
            abort();
    }
}

static int take_entry(void *userdata, const struct row_entry *entry)
{
    struct row_view view;
    row_section_read(entry, userdata, &view);
    return 0;
}

static void fuzz_row(const uint8_t *data, size_t size)
{
    struct row_axis axis CLEANUP(row_axis_done) = {0};
    if (row_read(data, size, &axis, NULL, NULL) == 0)
        row_read(data, size, NULL, take_entry, &axis);
}

static void fuzz_minutes(struct byte_reader r)
{
    struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
    struct roll_minutes again CLEANUP(roll_minutes_done) = {0};
    struct buf bytes CLEANUP(buf_done) = {0};
    uint32_t n = 1 + get_u8(&r);
    if (roll_minutes_init(&minutes, n) < 0 || roll_minutes_init(&again, n) < 0 ||
        roll_minutes_decode(&r, &minutes) < 0)
        return;
    roll_minutes_encode(&minutes, &bytes);
    r = byte_reader(bytes.data, bytes.size);
    if (!bytes.failed &&
        (roll_minutes_decode(&r, &again) < 0 ||
            memcmp(again.samples, minutes.samples, n * sizeof(*again.samples)) != 0 ||
            memcmp(again.cells, minutes.cells, n * HIST_METRICS * sizeof(*again.cells)) != 0))
        abort();
}

static void fuzz_record(struct byte_reader r)
{
    static struct roll_record record;
    static struct roll_record again;
    struct buf bytes CLEANUP(buf_done) = {0};
    struct byte_reader twice = r;
    roll_clear(&record);
    roll_clear(&again);
    if (roll_merge(&record, &r, -1) < 0)
        return;
    roll_encode(&record, &bytes);
    r = byte_reader(bytes.data, bytes.size);
    if (bytes.failed)
        return;
    if (roll_merge(&again, &r, -1) < 0)
        abort();
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct roll_stats *a = &again.metrics[m];
        const struct roll_stats *b = &record.metrics[m];
        if (a->known != b->known || a->sum != b->sum || a->integral != b->integral ||
            memcmp(a->sketch.counts, b->sketch.counts, sizeof(a->sketch.counts)) != 0)
            abort();
    }
    roll_merge(&record, &twice, -1);
    roll_encode(&record, &bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct byte_reader rest = byte_reader(data + 1, size - 1);
    switch (data[0] % 4) {
    case 0:
        fuzz_column(rest);
        break;
    case 1:
        fuzz_row(data + 1, size - 1);
        break;
    case 2:
        fuzz_minutes(rest);
        break;
    default:
        fuzz_record(rest);
    }
    return 0;
}
