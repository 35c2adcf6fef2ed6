/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_row.h"

#include <errno.h>

#include "base/mem.h"
#include "store/crc32c.h"

#define CAPACITY_MAX HIST_VALUE_MAX

int row_axis_init(struct row_axis *ret_axis, uint32_t n)
{
    struct row_axis axis = {.n = n};
    axis.times_ms = mem_alloc_array(n, 3 * sizeof(int64_t));
    if (axis.times_ms == NULL)
        return -ENOMEM;
    axis.cpu_capacity = axis.times_ms + n;
    axis.memory_capacity = axis.cpu_capacity + n;
    *ret_axis = axis;
    return 0;
}

void row_axis_done(struct row_axis *axis)
{
    mem_free(axis->times_ms);
    *axis = (struct row_axis){0};
}

static uint64_t mean_step_ms(const struct row_axis *axis)
{
    if (axis->n < 2)
        return 1000;
    int64_t span = wrap_sub(axis->times_ms[axis->n - 1], axis->times_ms[0]);
    return span > 0 ? (uint64_t)span / (axis->n - 1) : 1000;
}

#define STEP_SAMPLES 31
#define GAP_STEPS    3

int64_t row_usual_step(const struct row_axis *axis)
{
    int64_t steps[STEP_SAMPLES];
    uint32_t count = 0;
    uint32_t stride = MAX(axis->n / STEP_SAMPLES, 1u);
    for (uint32_t i = 1; i < axis->n && count < STEP_SAMPLES; i += stride) {
        int64_t step = wrap_sub(axis->times_ms[i], axis->times_ms[i - 1]);
        uint32_t at = count++;
        for (; at > 0 && steps[at - 1] > step; at--)
            steps[at] = steps[at - 1];
        steps[at] = step;
    }
    return count == 0 ? 1000 : MAX(steps[count / 2], (int64_t)1);
}

int64_t row_step(const struct row_axis *axis, uint32_t i, int64_t usual_ms)
{
    if (i == 0)
        return usual_ms;
    int64_t step = wrap_sub(axis->times_ms[i], axis->times_ms[i - 1]);
    if (step < 0)
        return 0;
    return step / GAP_STEPS > usual_ms ? usual_ms : step;
}

uint64_t row_growth(const struct row_axis *axis, unsigned metric)
{
    double rate = hist_metric_info(metric)->counter_rate;
    return (uint64_t)(rate * (double)MIN(mean_step_ms(axis), 86400000u) * 1024.0 / 1000.0);
}

void row_builder_done(struct row_builder *builder)
{
    buf_done(&builder->directory);
    buf_done(&builder->sections);
}

static void section_encode(
    const struct row_axis *axis, const struct row_section *section, struct buf *out)
{
    struct column_stats stats = {0};
    column_encode(section->present, section->n, &stats, 0, out);
    uint32_t mask = 0;
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        int counter = hist_metric_info(m)->counter;
        bool totals = counter >= 0 && section->totals.known >> counter & 1;
        for (uint32_t i = 0; section->metrics[m] != NULL && i < section->n; i++) {
            if (section->metrics[m][i] != HIST_UNKNOWN || totals) {
                mask |= 1u << m;
                break;
            }
        }
    }
    buf_put_varint(out, mask);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        if (!(mask >> m & 1))
            continue;
        int counter = hist_metric_info(m)->counter;
        stats = (struct column_stats){0};
        if (counter >= 0 && section->totals.known >> counter & 1) {
            stats.has_totals = true;
            stats.total_start = section->totals.start[counter];
            stats.total_end = section->totals.end[counter];
        }
        if (column_encode(section->metrics[m], section->n, &stats, row_growth(axis, m), out) < 0)
            out->failed = true;
    }
}

static int finish_section(
    struct row_builder *builder, const struct row_section *section, size_t start)
{
    if (builder->sections.failed)
        return -ENOMEM;
    uint8_t *bytes = (uint8_t *)builder->sections.data + start;
    size_t size = builder->sections.size - start;
    uint32_t crc = crc32c(0, bytes + 4, size - 4);
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(crc >> 8 * i);
    buf_put_varint(&builder->directory, section->subject);
    buf_put_varint(&builder->directory, section->slot);
    buf_put_varint(&builder->directory, section->first);
    buf_put_varint(&builder->directory, section->n);
    buf_put_varint(&builder->directory, size);
    builder->count++;
    return builder->directory.failed ? -ENOMEM : 0;
}

int row_add(
    struct row_builder *builder, const struct row_axis *axis, const struct row_section *section)
{
    size_t start = builder->sections.size;
    buf_put_u32(&builder->sections, 0);
    section_encode(axis, section, &builder->sections);
    return finish_section(builder, section, start);
}

int row_add_body(
    struct row_builder *builder, const struct row_section *section, const void *body, size_t size)
{
    size_t start = builder->sections.size;
    buf_put_u32(&builder->sections, 0);
    buf_append(&builder->sections, body, size);
    return finish_section(builder, section, start);
}

static void put_times(const struct row_axis *axis, struct buf *out)
{
    int64_t steps[HIST_COLUMN_MAX];
    buf_put_signed(out, axis->times_ms[0]);
    if (axis->n < 2)
        return;
    int64_t least = INT64_MAX;
    for (uint32_t i = 1; i < axis->n; i++) {
        steps[i - 1] = wrap_sub(axis->times_ms[i], axis->times_ms[i - 1]);
        least = MIN(least, steps[i - 1]);
    }
    for (uint32_t i = 0; i + 1 < axis->n; i++)
        steps[i] = MIN(wrap_sub(steps[i], least), HIST_VALUE_MAX);
    struct column_stats stats = {0};
    buf_put_signed(out, least);
    column_encode(steps, axis->n - 1, &stats, 0, out);
}

int row_finish(struct row_builder *builder, const struct row_axis *axis, struct buf *out)
{
    size_t start = out->size;
    struct column_stats stats = {0};
    buf_put_u8(out, ROW_VERSION);
    buf_put_u8(out, HIST_REGISTRY_VERSION);
    buf_put_varint(out, axis->n);
    put_times(axis, out);
    column_encode(axis->cpu_capacity, axis->n, &stats, 0, out);
    stats = (struct column_stats){0};
    column_encode(axis->memory_capacity, axis->n, &stats, 0, out);
    buf_put_varint(out, builder->count);
    buf_append(out, builder->directory.data, builder->directory.size);
    if (out->failed)
        return -ENOMEM;
    buf_put_u32(out, crc32c(0, out->data + start, out->size - start));
    buf_append(out, builder->sections.data, builder->sections.size);
    return out->failed ? -ENOMEM : 0;
}

/* ---- Reading ------------------------------------------------------------------------------ */

/* A column of the head; decodes into @ret_values where not NULL. */
static int read_head_column(struct byte_reader *r, size_t n, int64_t *ret_values)
{
    struct column_view view;
    int result = column_read(r, n, 0, &view);
    if (result < 0 || ret_values == NULL)
        return result;
    return column_decode(&view, ret_values);
}

static int read_times(struct byte_reader *r, uint32_t n, int64_t *times)
{
    int64_t start = get_signed(r);
    if (times != NULL)
        times[0] = start;
    if (n < 2)
        return 0;
    int64_t least = get_signed(r);
    int result = read_head_column(r, n - 1, times == NULL ? NULL : times + 1);
    for (uint32_t i = 1; result == 0 && times != NULL && i < n; i++) {
        if (times[i] == HIST_UNKNOWN)
            return -EBADMSG;
        times[i] = wrap_add(times[i - 1], wrap_add(times[i], least));
    }
    return result;
}

static int read_capacity(struct byte_reader *r, uint32_t n, int64_t *values)
{
    int result = read_head_column(r, n, values);
    for (uint32_t i = 0; result == 0 && values != NULL && i < n; i++)
        values[i] = values[i] == HIST_UNKNOWN ? 0 : values[i];
    return result;
}

static int read_axis(struct byte_reader *r, uint32_t n, struct row_axis *axis)
{
    if (axis != NULL) {
        int result = row_axis_init(axis, n);
        if (result < 0)
            return result;
    }
    int result = read_times(r, n, axis == NULL ? NULL : axis->times_ms);
    if (result == 0)
        result = read_capacity(r, n, axis == NULL ? NULL : axis->cpu_capacity);
    if (result == 0)
        result = read_capacity(r, n, axis == NULL ? NULL : axis->memory_capacity);
    return result;
}

static void read_entry(struct byte_reader *r, uint32_t n, struct row_entry *ret_entry)
{
    struct row_entry entry = {.subject = get_varint(r)};
    entry.slot = (uint32_t)get_capped(r, UINT32_MAX);
    entry.first = (uint32_t)get_capped(r, n);
    entry.n = (uint32_t)get_capped(r, n - entry.first);
    entry.size = get_capped(r, UINT32_MAX);
    if (entry.n == 0)
        r->bad = true;
    *ret_entry = entry;
}

int row_read(
    const void *bytes, size_t size, struct row_axis *axis, row_entry_fn each, void *userdata)
{
    struct byte_reader r = byte_reader(bytes, size);
    unsigned version = get_u8(&r);
    unsigned registry = get_u8(&r);
    if (version > ROW_VERSION || registry > HIST_REGISTRY_VERSION)
        return -EPROTO;
    uint32_t n = (uint32_t)get_capped(&r, HIST_COLUMN_MAX);
    if (r.bad || version < ROW_VERSION || n == 0)
        return -EBADMSG;
    int result = read_axis(&r, n, axis);
    if (result < 0)
        return result;
    uint32_t count = (uint32_t)get_capped(&r, ROW_SECTIONS_MAX);
    struct byte_reader directory = r;
    struct row_entry entry;
    for (uint32_t i = 0; i < count && !r.bad; i++)
        read_entry(&r, n, &entry);
    size_t head = (size_t)(r.at - (const uint8_t *)bytes);
    if (get_u32(&r) != crc32c(0, bytes, head) || r.bad)
        return -EBADMSG;
    for (uint32_t i = 0; i < count; i++) {
        read_entry(&directory, n, &entry);
        entry.bytes = get_bytes(&r, entry.size);
        if (entry.bytes == NULL)
            return -EBADMSG;
        result = each == NULL ? 0 : each(userdata, &entry);
        if (result != 0)
            return result;
    }
    return r.at == r.end ? 0 : -EBADMSG;
}

int row_body(const struct row_entry *entry, struct byte_reader *ret_reader)
{
    struct byte_reader r = byte_reader(entry->bytes, entry->size);
    uint32_t crc = get_u32(&r);
    if (r.bad || crc != crc32c(0, r.at, reader_left(&r)))
        return -EBADMSG;
    *ret_reader = r;
    return 0;
}

int row_section_read(
    const struct row_entry *entry, const struct row_axis *axis, struct row_view *ret_view)
{
    struct byte_reader r;
    int result = row_body(entry, &r);
    if (result < 0)
        return result;
    ret_view->n = entry->n;
    ret_view->mask = 0;
    result = column_read(&r, entry->n, 0, &ret_view->present);
    if (result < 0)
        return result;
    uint32_t mask = (uint32_t)get_capped(&r, (1u << HIST_METRICS) - 1);
    for (unsigned m = 0; m < HIST_METRICS && result == 0; m++) {
        if (mask >> m & 1)
            result = column_read(&r, entry->n, row_growth(axis, m), &ret_view->metrics[m]);
    }
    ret_view->mask = mask;
    return result < 0 || r.bad || r.at != r.end ? -EBADMSG : 0;
}
