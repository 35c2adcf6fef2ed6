/* SPDX-License-Identifier: Apache-2.0 */
#include "store/fold.h"

#include <math.h>

#include "base/mem.h"

/* The field of a usage by its bit, as a number. */
static double field_get(const struct ac_usage *usage, unsigned bit)
{
    const double *fields[] = {&usage->cpu_percent, &usage->cpu_cores, &usage->memory_mb,
        &usage->memory_percent, &usage->disk_io_mbps, &usage->network_io_mbps};
    return bit < ARRAY_SIZE(fields) ? *fields[bit] : (double)usage->file_descriptors;
}

static void field_set(struct ac_usage *usage, unsigned bit, double value)
{
    double *fields[] = {&usage->cpu_percent, &usage->cpu_cores, &usage->memory_mb,
        &usage->memory_percent, &usage->disk_io_mbps, &usage->network_io_mbps};
    if (bit < ARRAY_SIZE(fields))
        *fields[bit] = value;
    else
        usage->file_descriptors = (uint64_t)llround(value);
    usage->known |= 1u << bit;
}

void fold_begin(struct fold *fold, int64_t from_ns, uint64_t step_ns)
{
    *fold = (struct fold){.point = {.from_ns = from_ns, .step_ns = step_ns}};
    fold->point.cpu_seconds = fold->point.disk_bytes = fold->point.network_bytes = NAN;
    ac_usage_init(&fold->point.mean);
    fold->point.mean.timestamp_ns = from_ns;
    fold->point.min = fold->point.max = fold->point.mean;
}

void fold_put(struct fold *fold, const struct ac_usage *usage)
{
    struct history_point *point = &fold->point;
    point->samples++;
    for (unsigned bit = 0; bit < ARRAY_SIZE(fold->sums); bit++) {
        if (!(usage->known & (1u << bit)))
            continue;
        double value = field_get(usage, bit);
        if (fold->counts[bit] == 0 || value < field_get(&point->min, bit))
            field_set(&point->min, bit, value);
        if (fold->counts[bit] == 0 || value > field_get(&point->max, bit))
            field_set(&point->max, bit, value);
        fold->sums[bit] += value;
        fold->counts[bit]++;
    }
}

const struct history_point *fold_end(struct fold *fold)
{
    for (unsigned bit = 0; bit < ARRAY_SIZE(fold->sums); bit++) {
        if (fold->counts[bit] > 0)
            field_set(&fold->point.mean, bit, fold->sums[bit] / fold->counts[bit]);
    }
    return &fold->point;
}

int64_t fold_align(int64_t time_ns, uint64_t step_ns)
{
    if (step_ns == 0 || step_ns > INT64_MAX)
        return time_ns;
    int64_t step = (int64_t)step_ns, rest = time_ns % step;
    return time_ns - (rest < 0 ? rest + step : rest);
}

int fold_usages(
    const struct ac_usage *usages, size_t n, uint64_t step_ns, history_fn each, void *userdata)
{
    struct fold fold = {0};
    for (size_t i = 0; i < n; i++) {
        int64_t from = fold_align(usages[i].timestamp_ns, step_ns);
        if (fold.point.samples > 0 && (step_ns == 0 || from != fold.point.from_ns)) {
            int r = each(userdata, fold_end(&fold));
            if (r != 0)
                return r;
            fold.point.samples = 0;
        }
        if (fold.point.samples == 0)
            fold_begin(&fold, from, step_ns);
        fold_put(&fold, &usages[i]);
    }
    return fold.point.samples > 0 ? each(userdata, fold_end(&fold)) : 0;
}
