/* SPDX-License-Identifier: Apache-2.0 */
#include "store/history_fold.h"

#include <math.h>

/*
 * In the order of the known bits. A stored value is the usage's times .scale, rounded: CPU and
 * memory percent in thousandths, cores in ten thousandths, memory in KiB, rates in bytes per
 * second, descriptors as they are. Small integers take one to four bytes in SQLite, reals eight.
 */
static const struct {
    size_t offset;
    double scale;
} fields[FOLD_FIELDS] = {
    {offsetof(struct ac_usage, cpu_percent), 1000},
    {offsetof(struct ac_usage, cpu_cores), 10000},
    {offsetof(struct ac_usage, memory_mb), 1024},
    {offsetof(struct ac_usage, memory_percent), 1000},
    {offsetof(struct ac_usage, disk_io_mbps), 1048576},
    {offsetof(struct ac_usage, network_io_mbps), 1048576},
    {offsetof(struct ac_usage, file_descriptors), 1},
};

_Static_assert(AC_KNOWN_CPU_PERCENT == 1 && AC_KNOWN_FILE_DESCRIPTORS == 1 << 6 &&
                   AC_KNOWN_ALL == (1 << FOLD_FIELDS) - 1,
    "a field's index is its bit");

static bool is_count(size_t field)
{
    return 1u << field == AC_KNOWN_FILE_DESCRIPTORS;
}

static double get(const struct ac_usage *usage, size_t field)
{
    const void *member = (const char *)usage + fields[field].offset;
    return is_count(field) ? (double)*(const uint64_t *)member : *(const double *)member;
}

static void set(struct ac_usage *usage, size_t field, double value)
{
    void *member = (char *)usage + fields[field].offset;
    usage->known |= 1u << field;
    if (!is_count(field))
        *(double *)member = value;
    else
        *(uint64_t *)member = value < 18446744073709549568.0 ? (uint64_t)(value + 0.5) : UINT64_MAX;
}

void fold_add(struct fold *fold, const struct ac_usage *usage)
{
    fold->samples++;
    for (size_t i = 0; i < FOLD_FIELDS; i++) {
        double value = usage->known & 1u << i ? get(usage, i) : NAN;
        if (!isfinite(value))
            continue;
        bool first = fold->n[i] == 0;
        fold->sum[i] = first ? value : fold->sum[i] + value;
        fold->min[i] = first ? value : fmin(fold->min[i], value);
        fold->max[i] = first ? value : fmax(fold->max[i], value);
        fold->n[i]++;
    }
}

void fold_merge(struct fold *fold, const struct fold *other)
{
    fold->samples += other->samples;
    for (size_t i = 0; i < FOLD_FIELDS; i++) {
        if (other->n[i] == 0)
            continue;
        bool first = fold->n[i] == 0;
        fold->sum[i] = first ? other->sum[i] : fold->sum[i] + other->sum[i];
        fold->min[i] = first ? other->min[i] : fmin(fold->min[i], other->min[i]);
        fold->max[i] = first ? other->max[i] : fmax(fold->max[i], other->max[i]);
        fold->n[i] += other->n[i];
    }
}

void fold_point(const struct fold *fold, struct history_point *ret_point)
{
    ret_point->samples = fold->samples;
    ac_usage_init(&ret_point->mean);
    ac_usage_init(&ret_point->min);
    ac_usage_init(&ret_point->max);
    for (size_t i = 0; i < FOLD_FIELDS; i++) {
        if (fold->n[i] == 0)
            continue;
        set(&ret_point->mean, i, fold->sum[i] / fold->n[i]);
        set(&ret_point->min, i, fold->min[i]);
        set(&ret_point->max, i, fold->max[i]);
    }
    ret_point->mean.timestamp_ns = ret_point->from_ns;
    ret_point->min.timestamp_ns = ret_point->from_ns;
    ret_point->max.timestamp_ns = ret_point->from_ns;
}

static void bind_scaled(struct binder *binder, size_t field, double value)
{
    double scaled = rint(value * fields[field].scale);
    bind_int(binder, (int64_t)fmax(fmin(scaled, 9e18), -9e18));
}

void fold_bind(const struct fold *fold, struct binder *binder)
{
    bind_int(binder, fold->samples);
    for (size_t i = 0; i < FOLD_FIELDS; i++) {
        if (fold->n[i] == fold->samples)
            bind_null(binder);
        else
            bind_int(binder, fold->n[i]);
        if (fold->n[i] == 0) {
            bind_null(binder);
            bind_null(binder);
            bind_null(binder);
            continue;
        }
        bind_scaled(binder, i, fold->sum[i] / fold->n[i]);
        bind_scaled(binder, i, fold->min[i]);
        bind_scaled(binder, i, fold->max[i]);
    }
}

void fold_read(struct reader *reader, struct fold *ret_fold)
{
    *ret_fold = (struct fold){.samples = read_u32(reader)};
    for (size_t i = 0; i < FOLD_FIELDS; i++) {
        double n = read_real(reader), mean = read_real(reader);
        double min = read_real(reader), max = read_real(reader);
        n = isnan(n) ? ret_fold->samples : n;
        if (n == 0)
            continue;
        if (!(n > 0 && n <= ret_fold->samples) || isnan(mean) || isnan(min) || isnan(max)) {
            reader->damaged = true;
            continue;
        }
        ret_fold->n[i] = (uint32_t)n;
        ret_fold->sum[i] = mean / fields[i].scale * n;
        ret_fold->min[i] = min / fields[i].scale;
        ret_fold->max[i] = max / fields[i].scale;
    }
}
