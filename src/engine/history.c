/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public questions to the history in memory. The samples of one subject are copied under the
 * host's lock; all else works on the copies, so that a long answer holds nobody up.
 */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/export.h"
#include "base/mem.h"
#include "engine/wrappers.h"
#include "store/fold.h"

#define GAP_STEPS    3
#define STEP_SAMPLES 31
#define TOP_MAX      100000
#define MIB          1048576.0

EXPORT void ac_history_query_init(struct ac_history_query *ret_query)
{
    *ret_query =
        (struct ac_history_query){.size = sizeof(*ret_query), .philosophy = -1, .to_ns = INT64_MAX};
}

/* ---- Who */

struct subject {
    char id[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    enum ac_philosophy philosophy;
};

struct subjects {
    struct subject *items;
    size_t n;
};

static void subjects_done(struct subjects *subjects)
{
    mem_free(subjects->items);
}

static bool query_valid(const struct ac_history_query *query)
{
    bool named = true;
    if (!query || query->size < sizeof(*query) || query->from_ns >= query->to_ns ||
        query->philosophy < -1 || query->philosophy >= AC_PHILOSOPHY_COUNT ||
        (query->n_subjects > 0 && !query->subjects))
        return false;
    for (size_t i = 0; i < query->n_subjects; i++)
        named = named && query->subjects[i];
    return named;
}

static bool fits(const struct ac_history_query *query, const struct agent *agent)
{
    return query->philosophy < 0 || (int)agent->spec.philosophy == query->philosophy;
}

static void add_agent(struct subjects *subjects, const struct agent *agent)
{
    struct subject *subject = &subjects->items[subjects->n++];
    memcpy(subject->id, agent->spec.id, sizeof(subject->id));
    subject->philosophy = agent->spec.philosophy;
}

static void add_named(const struct ac_history_query *query, const struct registry *registry,
    struct subjects *subjects)
{
    for (size_t i = 0; i < query->n_subjects; i++) {
        const char *id = query->subjects[i];
        const struct agent *agent = registry_get(registry, id);
        if (strcmp(id, "system") == 0 && query->philosophy < 0)
            subjects->items[subjects->n++] = (struct subject){.philosophy = AC_PHILOSOPHY_COUNT};
        else if (agent && fits(query, agent))
            add_agent(subjects, agent);
    }
}

static int by_id(const void *a, const void *b)
{
    return strcmp(((const struct subject *)a)->id, ((const struct subject *)b)->id);
}

/* Whom the query means. 0 or -ENOMEM. */
static int take_subjects(
    struct host *host, const struct ac_history_query *query, struct subjects *subjects)
{
    const struct registry *registry = core_registry(host_lock(host));
    const struct agent *agent;
    agent_slot slot = 0;
    size_t room = query->n_subjects > 0 ? query->n_subjects : registry_count(registry);
    subjects->items = mem_alloc_array(room + 1, sizeof(*subjects->items));
    if (subjects->items && query->n_subjects > 0)
        add_named(query, registry, subjects);
    while (subjects->items && query->n_subjects == 0 && subjects->n < room &&
           (agent = registry_next(registry, &slot))) {
        if (fits(query, agent))
            add_agent(subjects, agent);
    }
    host_unlock(host);
    if (!subjects->items)
        return -ENOMEM;
    if (query->n_subjects == 0)
        qsort(subjects->items, subjects->n, sizeof(*subjects->items), by_id);
    return 0;
}

/* ---- Samples of one subject */

struct samples {
    struct ac_usage *usages;
    size_t n;
    int64_t usual_ns; /* step between two */
};

static void samples_done(struct samples *samples)
{
    mem_free(samples->usages);
    *samples = (struct samples){0};
}

/* The median of some steps. */
static int64_t usual_step(const struct ac_usage *usages, size_t n, int64_t otherwise)
{
    int64_t steps[STEP_SAMPLES];
    size_t count = 0, stride = MAX(n / STEP_SAMPLES, (size_t)1);
    for (size_t i = 1; i < n && count < STEP_SAMPLES; i += stride) {
        int64_t step = usages[i].timestamp_ns - usages[i - 1].timestamp_ns;
        size_t at = count++;
        for (; at > 0 && steps[at - 1] > step; at--)
            steps[at] = steps[at - 1];
        steps[at] = step;
    }
    return count == 0 ? otherwise : MAX(steps[count / 2], (int64_t)0);
}

static int by_time(const void *a, const void *b)
{
    const struct ac_usage *left = a, *right = b;
    return (left->timestamp_ns > right->timestamp_ns) - (left->timestamp_ns < right->timestamp_ns);
}

/* Of CPU and memory the amount follows from the percentage, and the other way round. */
static void complete(struct ac_usage *usage, double capacity, unsigned amount, unsigned percent,
    double *ret_amount, double *ret_percent)
{
    if (!(capacity > 0) || !(usage->known & (amount | percent)))
        return;
    if (!(usage->known & amount))
        *ret_amount = *ret_percent / 100 * capacity;
    else if (!(usage->known & percent))
        *ret_percent = fmin(*ret_amount / capacity * 100, 100);
    usage->known |= amount | percent;
}

static void complete_all(struct samples *samples, const struct machine_record *machine)
{
    double memory_mb = (double)machine->capacity_memory_bytes / MIB;
    for (size_t i = 0; i < samples->n; i++) {
        struct ac_usage *usage = &samples->usages[i];
        complete(usage, machine->capacity_cores, AC_KNOWN_CPU_CORES, AC_KNOWN_CPU_PERCENT,
            &usage->cpu_cores, &usage->cpu_percent);
        complete(usage, memory_mb, AC_KNOWN_MEMORY_MB, AC_KNOWN_MEMORY_PERCENT, &usage->memory_mb,
            &usage->memory_percent);
    }
}

/* 0 or -ENOMEM. */
static int take_samples(struct ac_monitor *monitor, const char *subject, int64_t from_ns,
    int64_t to_ns, struct samples *ret_samples)
{
    struct host *host = monitor_host(monitor);
    struct ac_usage *usages = NULL;
    struct core *core = host_lock(host);
    int64_t n = core_history(core, subject, from_ns, to_ns - 1, &usages);
    const struct machine_record machine = *registry_machine(core_registry(core));
    host_unlock(host);
    if (n < 0)
        return (int)n;
    for (int64_t i = 1; i < n; i++) {
        if (usages[i].timestamp_ns < usages[i - 1].timestamp_ns) {
            qsort(usages, (size_t)n, sizeof(*usages), by_time);
            break;
        }
    }
    *ret_samples = (struct samples){.usages = usages,
        .n = (size_t)n,
        .usual_ns = usual_step(usages, (size_t)n, monitor_interval_ns(monitor))};
    complete_all(ret_samples, &machine);
    return 0;
}

static bool behind_gap(const struct samples *samples, size_t i, int64_t step_ns)
{
    return i > 0 && step_ns / GAP_STEPS > samples->usual_ns;
}

static int64_t step_before(const struct samples *samples, size_t i)
{
    return i == 0 ? samples->usual_ns
                  : samples->usages[i].timestamp_ns - samples->usages[i - 1].timestamp_ns;
}

/* Seconds that a sample stands for. */
static double weight(const struct samples *samples, size_t i)
{
    int64_t step = step_before(samples, i);
    return (double)(behind_gap(samples, i, step) ? samples->usual_ns : step) / (double)NS_PER_SEC;
}

static void count_samples(const struct samples *samples, struct ac_history_info *info)
{
    info->subjects += samples->n > 0;
    info->samples += samples->n;
    for (size_t i = 1; i < samples->n; i++) {
        int64_t step = step_before(samples, i);
        if (!behind_gap(samples, i, step))
            continue;
        info->gaps++;
        info->gap_ns += step - samples->usual_ns;
    }
}

static void give_info(const struct ac_history_info *info, struct ac_history_info *ret_info)
{
    if (ret_info)
        *ret_info = *info;
}

/* The resource's value, NaN = unknown. */
static double value_of(const struct ac_usage *usage, enum ac_resource resource)
{
    static const uint32_t bits[] = {[AC_CPU] = AC_KNOWN_CPU_CORES,
        [AC_MEMORY] = AC_KNOWN_MEMORY_MB,
        [AC_DISK_IO] = AC_KNOWN_DISK_IO,
        [AC_NETWORK_IO] = AC_KNOWN_NETWORK_IO,
        [AC_FILE_DESCRIPTORS] = AC_KNOWN_FILE_DESCRIPTORS};
    const double values[] = {[AC_CPU] = usage->cpu_cores,
        [AC_MEMORY] = usage->memory_mb,
        [AC_DISK_IO] = usage->disk_io_mbps,
        [AC_NETWORK_IO] = usage->network_io_mbps,
        [AC_FILE_DESCRIPTORS] = (double)usage->file_descriptors};
    return usage->known & bits[resource] ? values[resource] : (double)NAN;
}

/* ---- Range */

struct points {
    struct ac_history_point *items;
    size_t n, room;
};

static int add_point(void *userdata, const struct history_point *point)
{
    struct points *points = userdata;
    if (points->n == points->room) {
        size_t room = MAX(points->room * 2, (size_t)64);
        struct ac_history_point *items = mem_resize_array(points->items, room, sizeof(*items));
        if (!items)
            return -ENOMEM;
        points->items = items;
        points->room = room;
    }
    points->items[points->n++] = (struct ac_history_point){.from_ns = point->from_ns,
        .step_ns = point->step_ns,
        .samples = point->samples,
        .mean = point->mean,
        .min = point->min,
        .max = point->max};
    return 0;
}

EXPORT int64_t ac_monitor_history_range(struct ac_monitor *monitor, const char *subject,
    int64_t from_ns, int64_t to_ns, uint64_t step_ns, struct ac_history_point **ret_points,
    struct ac_history_info *ret_info)
{
    struct ac_history_info info = {0};
    struct points points = {0};
    struct samples samples CLEANUP(samples_done) = {0};
    if (from_ns >= to_ns || step_ns > INT64_MAX)
        return -EINVAL;
    int r = take_samples(monitor, subject, from_ns, to_ns, &samples);
    if (r == 0)
        r = fold_usages(samples.usages, samples.n, step_ns, add_point, &points);
    if (r < 0) {
        mem_free(points.items);
        return r;
    }
    count_samples(&samples, &info);
    give_info(&info, ret_info);
    *ret_points = points.items;
    return (int64_t)points.n;
}

/* ---- The largest */

/* False where no sample knows the resource. */
static bool aggregate_of(const struct samples *samples, enum ac_resource resource,
    enum ac_history_aggregate aggregate, double *ret_value)
{
    double sum = 0, most = 0, integral = 0;
    size_t known = 0;
    for (size_t i = 0; i < samples->n; i++) {
        double value = value_of(&samples->usages[i], resource);
        if (isnan(value))
            continue;
        known++;
        sum += value;
        most = fmax(most, value);
        integral += value * weight(samples, i);
    }
    *ret_value = aggregate == AC_HISTORY_MAX   ? most
                 : aggregate == AC_HISTORY_SUM ? integral
                                               : sum / (double)known;
    return known > 0;
}

static int largest_first(const void *a, const void *b)
{
    const struct ac_history_top *left = a, *right = b;
    if (left->value != right->value)
        return left->value < right->value ? 1 : -1;
    return strcmp(left->agent_id, right->agent_id);
}

EXPORT int64_t ac_monitor_history_top(struct ac_monitor *monitor,
    const struct ac_history_query *query, enum ac_resource resource,
    enum ac_history_aggregate aggregate, uint32_t n, struct ac_history_top **ret_rows,
    struct ac_history_info *ret_info)
{
    struct ac_history_info info = {0};
    struct subjects subjects CLEANUP(subjects_done) = {0};
    if (!query_valid(query) || (unsigned)resource >= AC_RESOURCE_COUNT ||
        (unsigned)aggregate > AC_HISTORY_SUM || n == 0 || n > TOP_MAX)
        return -EINVAL;
    int r = take_subjects(monitor_host(monitor), query, &subjects);
    if (r < 0)
        return r;
    struct ac_history_top *rows cleanup_free = mem_alloc_array(subjects.n + 1, sizeof(*rows));
    size_t found = 0;
    for (size_t i = 0; rows && i < subjects.n; i++) {
        struct samples samples CLEANUP(samples_done) = {0};
        const char *id = subjects.items[i].id;
        r = *id ? take_samples(monitor, id, query->from_ns, query->to_ns, &samples) : 0;
        if (r < 0)
            return r;
        count_samples(&samples, &info);
        if (aggregate_of(&samples, resource, aggregate, &rows[found].value))
            memcpy(rows[found++].agent_id, id, sizeof(rows->agent_id));
    }
    if (!rows)
        return -ENOMEM;
    qsort(rows, found, sizeof(*rows), largest_first);
    give_info(&info, ret_info);
    *ret_rows = TAKE_PTR(rows);
    return (int64_t)MIN(found, (size_t)n);
}

/* ---- Quantiles */

struct values {
    double *items;
    size_t n, room;
};

static void values_done(struct values *values)
{
    mem_free(values->items);
}

static int add_values(
    struct values *values, const struct samples *samples, enum ac_resource resource)
{
    if (values->n + samples->n > values->room) {
        size_t room = MAX(values->room * 2, values->n + samples->n);
        double *items = mem_resize_array(values->items, room, sizeof(*items));
        if (!items)
            return -ENOMEM;
        values->items = items;
        values->room = room;
    }
    for (size_t i = 0; i < samples->n; i++) {
        double value = value_of(&samples->usages[i], resource);
        if (!isnan(value))
            values->items[values->n++] = value;
    }
    return 0;
}

static int by_value(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

EXPORT int ac_monitor_history_quantile(struct ac_monitor *monitor,
    const struct ac_history_query *query, enum ac_resource resource, double q, double *ret_value,
    struct ac_history_info *ret_info)
{
    struct ac_history_info info = {0};
    struct subjects subjects CLEANUP(subjects_done) = {0};
    struct values values CLEANUP(values_done) = {0};
    if (!query_valid(query) || (unsigned)resource >= AC_RESOURCE_COUNT || !(q >= 0 && q <= 1))
        return -EINVAL;
    int r = take_subjects(monitor_host(monitor), query, &subjects);
    for (size_t i = 0; r == 0 && i < subjects.n; i++) {
        struct samples samples CLEANUP(samples_done) = {0};
        r = take_samples(monitor, subjects.items[i].id, query->from_ns, query->to_ns, &samples);
        if (r == 0)
            r = add_values(&values, &samples, resource);
        count_samples(&samples, &info);
    }
    if (r < 0)
        return r;
    double value = NAN;
    if (values.n > 0) {
        qsort(values.items, values.n, sizeof(*values.items), by_value);
        double rank = ceil(q * (double)values.n);
        value = values.items[rank < 1 ? 0 : (size_t)rank - 1];
    }
    give_info(&info, ret_info);
    *ret_value = value;
    return 0;
}

/* ---- Usage */

static double total_of(const struct samples *samples, enum ac_resource resource, double scale)
{
    double total;
    return aggregate_of(samples, resource, AC_HISTORY_SUM, &total) ? total * scale : (double)NAN;
}

EXPORT int64_t ac_monitor_history_usage(struct ac_monitor *monitor,
    const struct ac_history_query *query, struct ac_history_usage **ret_rows,
    struct ac_history_info *ret_info)
{
    struct ac_history_info info = {0};
    struct subjects subjects CLEANUP(subjects_done) = {0};
    if (!query_valid(query))
        return -EINVAL;
    int r = take_subjects(monitor_host(monitor), query, &subjects);
    if (r < 0)
        return r;
    struct ac_history_usage *rows cleanup_free = mem_alloc_array(subjects.n + 1, sizeof(*rows));
    size_t found = 0;
    for (size_t i = 0; rows && i < subjects.n; i++) {
        struct samples samples CLEANUP(samples_done) = {0};
        const struct subject *subject = &subjects.items[i];
        r = take_samples(monitor, subject->id, query->from_ns, query->to_ns, &samples);
        if (r < 0)
            return r;
        count_samples(&samples, &info);
        if (samples.n == 0)
            continue;
        struct ac_history_usage *row = &rows[found++];
        memcpy(row->agent_id, subject->id, sizeof(row->agent_id));
        row->philosophy = subject->philosophy;
        row->samples = samples.n;
        row->cpu_seconds = total_of(&samples, AC_CPU, 1);
        row->memory_gib_hours = total_of(&samples, AC_MEMORY, 1.0 / 1024 / 3600);
        row->disk_bytes = total_of(&samples, AC_DISK_IO, MIB);
        row->network_bytes = total_of(&samples, AC_NETWORK_IO, MIB);
    }
    if (!rows)
        return -ENOMEM;
    give_info(&info, ret_info);
    *ret_rows = TAKE_PTR(rows);
    return (int64_t)found;
}

/* ---- The manager's */

EXPORT int64_t ac_manager_history_range(struct ac_manager *manager, const char *subject,
    int64_t from_ns, int64_t to_ns, uint64_t step_ns, struct ac_history_point **ret_points,
    struct ac_history_info *ret_info)
{
    struct ac_monitor *monitor = ac_manager_monitor(manager);
    if (monitor)
        return ac_monitor_history_range(
            monitor, subject, from_ns, to_ns, step_ns, ret_points, ret_info);
    give_info(&(struct ac_history_info){0}, ret_info);
    *ret_points = NULL;
    return 0;
}

EXPORT int64_t ac_manager_history_top(struct ac_manager *manager,
    const struct ac_history_query *query, enum ac_resource resource,
    enum ac_history_aggregate aggregate, uint32_t n, struct ac_history_top **ret_rows,
    struct ac_history_info *ret_info)
{
    struct ac_monitor *monitor = ac_manager_monitor(manager);
    if (monitor)
        return ac_monitor_history_top(monitor, query, resource, aggregate, n, ret_rows, ret_info);
    give_info(&(struct ac_history_info){0}, ret_info);
    *ret_rows = NULL;
    return 0;
}

EXPORT int ac_manager_history_quantile(struct ac_manager *manager,
    const struct ac_history_query *query, enum ac_resource resource, double q, double *ret_value,
    struct ac_history_info *ret_info)
{
    struct ac_monitor *monitor = ac_manager_monitor(manager);
    if (monitor)
        return ac_monitor_history_quantile(monitor, query, resource, q, ret_value, ret_info);
    give_info(&(struct ac_history_info){0}, ret_info);
    *ret_value = NAN;
    return 0;
}

EXPORT int64_t ac_manager_history_usage(struct ac_manager *manager,
    const struct ac_history_query *query, struct ac_history_usage **ret_rows,
    struct ac_history_info *ret_info)
{
    struct ac_monitor *monitor = ac_manager_monitor(manager);
    if (monitor)
        return ac_monitor_history_usage(monitor, query, ret_rows, ret_info);
    give_info(&(struct ac_history_info){0}, ret_info);
    *ret_rows = NULL;
    return 0;
}
