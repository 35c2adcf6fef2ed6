/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/replay_usage.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "model/usage.h"

enum column {
    CPU,
    MEMORY,
    READ,
    WRITTEN,
    NETWORK,
    DESCRIPTORS,
    PROCESSES,
    THREADS,
    COLUMN_COUNT,
};

static const struct {
    const char *name;
    int decimals;
} columns[COLUMN_COUNT] = {
    [CPU] = {"cpu_core_percent", 2},
    [MEMORY] = {"memory_bytes", 0},
    [READ] = {"disk_read_bytes_per_second", 0},
    [WRITTEN] = {"disk_write_bytes_per_second", 0},
    [NETWORK] = {"network_bytes_per_second", 0},
    [DESCRIPTORS] = {"file_descriptors", 0},
    [PROCESSES] = {"processes", 0},
    [THREADS] = {"threads", 0},
};

/* An agent's counters at the sample before, by slot. */
struct last {
    struct moment added; /* tells who had the slot */
    struct mono at;
    bool disk_known;
    uint64_t read_bytes;
    uint64_t written_bytes;
};

struct replay_usage {
    bool json;
    struct last *last;
    size_t n_last;
};

int replay_usage_new(bool json, struct replay_usage **ret_usage)
{
    struct replay_usage *usage = mem_alloc(sizeof(*usage));
    if (!usage)
        return -ENOMEM;
    usage->json = json;
    if (!json) {
        fputs("time,agent_id", stdout);
        for (size_t i = 0; i < COLUMN_COUNT; i++)
            printf(",%s", columns[i].name);
        putchar('\n');
    }
    *ret_usage = usage;
    return 0;
}

void replay_usage_free(struct replay_usage *usage)
{
    if (!usage)
        return;
    mem_free(usage->last);
    mem_free(usage);
}

static struct last *last_of(struct replay_usage *usage, agent_slot slot)
{
    if (slot >= usage->n_last) {
        size_t n = MAX((size_t)slot + 1, usage->n_last * 2);
        struct last *last = mem_resize_array(usage->last, n, sizeof(*last));
        if (!last)
            return NULL;
        memset(last + usage->n_last, 0, (n - usage->n_last) * sizeof(*last));
        usage->last = last;
        usage->n_last = n;
    }
    return &usage->last[slot];
}

static void take_disk(
    const struct agent *agent, struct moment now, struct last *last, double values[COLUMN_COUNT])
{
    const struct agent_totals *totals = &agent->totals;
    bool known = totals->known & TOTALS_KNOWN_DISK;
    double seconds = (double)mono_since(now.mono, last->at) / NS_PER_SEC;
    bool same =
        last->added.mono.ns == agent->added.mono.ns && last->added.wall_ns == agent->added.wall_ns;
    if (known && same && last->disk_known && seconds > 0) {
        values[READ] = (double)(totals->disk_read_bytes - last->read_bytes) / seconds;
        values[WRITTEN] = (double)(totals->disk_written_bytes - last->written_bytes) / seconds;
    }
    *last = (struct last){.added = agent->added,
        .at = now.mono,
        .disk_known = known,
        .read_bytes = totals->disk_read_bytes,
        .written_bytes = totals->disk_written_bytes};
}

static void take_values(
    const struct agent *agent, struct moment now, struct last *last, double values[COLUMN_COUNT])
{
    const struct ac_usage *usage = &agent->usage;
    for (size_t i = 0; i < COLUMN_COUNT; i++)
        values[i] = NAN;
    take_disk(agent, now, last, values);
    if (usage->known & AC_KNOWN_CPU_CORES)
        values[CPU] = usage->cpu_cores * 100;
    if (usage->known & AC_KNOWN_MEMORY_MB)
        values[MEMORY] = usage->memory_mb * USAGE_MIB;
    if (usage->known & AC_KNOWN_NETWORK_IO)
        values[NETWORK] = usage->network_io_mbps * USAGE_MIB;
    if (usage->known & AC_KNOWN_FILE_DESCRIPTORS)
        values[DESCRIPTORS] = (double)usage->file_descriptors;
    if (agent->spec.root_pid == 0)
        return; /* it only reports */
    values[PROCESSES] = agent->processes;
    if (agent->threads > 0 || agent->processes == 0)
        values[THREADS] = agent->threads;
}

static json_t *number_json(double value, int decimals)
{
    if (!isfinite(value))
        return json_null();
    if (decimals == 0)
        return json_integer((json_int_t)llround(value));
    double scale = pow(10, decimals);
    return json_real(round(value * scale) / scale);
}

static int print_json(const char *when, const char *id, const double values[COLUMN_COUNT])
{
    json_t *line cleanup_json = json_pack("{s:s, s:s}", "time", when, "agent_id", id);
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (json_object_set_new(line, columns[i].name, number_json(values[i], columns[i].decimals)))
            return -ENOMEM;
    }
    if (json_dumpf(line, stdout, JSON_COMPACT | JSON_REAL_PRECISION(15)) < 0)
        return -EIO;
    putchar('\n');
    return 0;
}

static void print_csv(const char *when, const char *id, const double values[COLUMN_COUNT])
{
    printf("%s,%s", when, id);
    for (size_t i = 0; i < COLUMN_COUNT; i++) {
        if (isfinite(values[i]))
            printf(",%.*f", columns[i].decimals, values[i]);
        else
            putchar(',');
    }
    putchar('\n');
}

int replay_usage_print(
    struct replay_usage *usage, const struct registry *registry, struct moment now)
{
    char when[TEXT_SHORT];
    const struct agent *agent;
    agent_slot slot = 0;
    text_rfc3339(when, now.wall_ns);
    while ((agent = registry_next(registry, &slot))) {
        double values[COLUMN_COUNT];
        struct last *last = last_of(usage, agent->slot);
        if (!last)
            return -ENOMEM;
        take_values(agent, now, last, values);
        if (!usage->json) {
            print_csv(when, agent->spec.id, values);
            continue;
        }
        int r = print_json(when, agent->spec.id, values);
        if (r < 0)
            return r;
    }
    return ferror(stdout) ? -EIO : 0;
}
