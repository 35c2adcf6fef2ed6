/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counts what the codec of minute, hour and day rows codes and prints
 * src/store/hist_roll_priors.h: how likely a 1 is in each of its models, in 1/256; 128 where
 * too little was seen. The table is part of the format: a new one needs a new version.
 *
 *     train_roll_priors FILE.csv ...
 *
 * Files as of record-trees.py: time, series, then whole numbers.
 */
#define RANGE_TRAIN
#include <stdio.h>
#include <stdlib.h>

#include "data.h"
#include "store/hist_roll_hours.c"
#include "store/hist_roll_minutes.c"
#include "store/hist_roll_models.h"
#include "store/hist_sketch.c"

#define AGENTS      200
#define HOURS       2
#define HOUR_TICKS  3600
#define SEEN_ENOUGH 8

#define MODELS(type) (sizeof(struct type) / sizeof(struct range_model))
#define MODELS_MAX   4096

struct tally {
    const struct range_model *first;
    size_t n;
    uint64_t (*seen)[2];
};

static uint64_t section_seen[MODELS_MAX][2];
static uint64_t cells_seen[ROLL_KINDS][MODELS_MAX][2];
static uint64_t hours_seen[ROLL_KINDS][MODELS_MAX][2];
static struct tally section;
static struct tally metric;

static void load(struct tally *tally, void *models, size_t n, uint64_t (*seen)[2])
{
    struct range_model *m = models;
    for (size_t i = 0; i < n; i++)
        m[i] = (struct range_model){32768, 0};
    *tally = (struct tally){m, n, seen};
}

void section_models_load(struct section_models *ret_models)
{
    load(&section, ret_models, MODELS(section_models), section_seen);
}

void cell_models_load(unsigned m, struct cell_models *ret_models)
{
    load(&metric, ret_models, MODELS(cell_models), cells_seen[roll_kind(m)]);
}

void hour_models_load(unsigned m, struct hour_models *ret_models)
{
    section.n = 0;
    load(&metric, ret_models, MODELS(hour_models), hours_seen[roll_kind(m)]);
}

void range_train(const struct range_model *model, bool bit)
{
    uintptr_t at = (uintptr_t)model;
    const struct tally *tally =
        at - (uintptr_t)section.first < section.n * sizeof(*model) ? &section : &metric;
    tally->seen[model - tally->first][bit]++;
}

/* ---- Agents ------------------------------------------------------------------------------- */

static int64_t present[HOUR_TICKS];
static int64_t values[HIST_METRICS][HOUR_TICKS];
static int64_t times_ms[HOUR_TICKS];
static int64_t capacity[HOUR_TICKS];

/* One agent of two is measured at exact seconds, the other one nearly so. */
static void fill(const struct data *data, int agent, int hour)
{
    static const unsigned metrics[DATA_COLUMNS] = {HIST_CPU, HIST_MEMORY, HIST_DISK_IO,
        HIST_NETWORK_IO, HIST_FILE_DESCRIPTORS, HIST_PROCESSES};
    for (int i = 0; i < HOUR_TICKS; i++) {
        const int32_t *v = data_at(data, agent, hour * HOUR_TICKS + i);
        present[i] = 1;
        times_ms[i] = (hour * HOUR_TICKS + i + agent % 60) * INT64_C(1000);
        times_ms[i] += agent % 2 ? rand() % 5 : 0;
        for (int c = 0; c < data_columns(data); c++)
            values[metrics[c]][i] = v[c];
    }
}

static void count_minutes(const struct row_section *s)
{
    struct roll_minutes minutes CLEANUP(roll_minutes_done) = {0};
    struct buf out CLEANUP(buf_done) = {0};
    uint32_t n = (uint32_t)((times_ms[s->n - 1] + 59999) / 60000 - times_ms[0] / 60000 + 1);
    if (roll_minutes_init(&minutes, n) < 0)
        return;
    for (uint32_t i = 0; i < s->n; i++) {
        uint32_t minute = (uint32_t)(times_ms[i] / 60000 - times_ms[0] / 60000);
        minutes.samples[minute]++;
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            struct roll_cell *cell = &minutes.cells[m * n + minute];
            if (s->metrics[m] == NULL)
                continue;
            int64_t value = s->metrics[m][i];
            cell->min = cell->known == 0 ? value : MIN(cell->min, value);
            cell->max = cell->known == 0 ? value : MAX(cell->max, value);
            cell->sum += value;
            cell->known++;
        }
    }
    while (minutes.samples[minutes.n - 1] == 0)
        minutes.n--;
    for (unsigned m = 1; m < HIST_METRICS; m++)
        memmove(&minutes.cells[m * minutes.n], &minutes.cells[m * n],
            minutes.n * sizeof(*minutes.cells));
    roll_minutes_encode(&minutes, &out);
}

static void count_hour(const struct row_section *s, int agent, struct row_totals *totals)
{
    static struct roll_record record;
    const struct row_axis axis = {s->n, times_ms, capacity, capacity};
    struct buf out CLEANUP(buf_done) = {0};
    roll_clear(&record);
    roll_add(&record, &axis, s);
    for (unsigned m = 0; m < HIST_METRICS; m++) {
        const struct hist_metric_info *info = hist_metric_info(m);
        struct roll_stats *stats = &record.metrics[m];
        if (info->counter < 0 || stats->known == 0)
            continue;
        stats->has_totals = true;
        stats->total_start = totals->end[info->counter];
        stats->total_end = stats->total_start +
                           (uint64_t)((double)stats->integral * info->counter_rate / 1000) +
                           (agent % 2 ? (uint64_t)rand() % (1 << 21) : 0);
        totals->end[info->counter] = stats->total_end;
    }
    roll_encode(&record, &out);
}

static void count(const struct data *data)
{
    for (int agent = 0; agent < AGENTS; agent++) {
        struct row_totals totals = {0};
        struct row_section s = {.n = HOUR_TICKS, .present = present};
        for (unsigned m = 0; m < HIST_METRICS; m++) {
            bool there = m < HIST_CPU_PERCENT && (m != HIST_PROCESSES || data_columns(data) > 2);
            s.metrics[m] = there ? values[m] : NULL;
        }
        for (int hour = 0; hour < HOURS; hour++) {
            fill(data, agent, hour);
            count_minutes(&s);
            count_hour(&s, agent, &totals);
        }
    }
}

/* ---- The table ---------------------------------------------------------------------------- */

static size_t used(uint64_t (*seen)[2])
{
    size_t n = 1;
    for (size_t i = 0; i < MODELS_MAX; i++) {
        if (seen[i][0] + seen[i][1] >= SEEN_ENOUGH)
            n = i + 1;
    }
    return n;
}

static void print_set(uint64_t (*seen)[2], size_t n, const char *margin)
{
    for (size_t i = 0; i < n; i++) {
        double ones = (double)seen[i][1];
        double all = ones + (double)seen[i][0];
        int p = (int)((ones + 0.5) / (all + 1) * 256 + 0.5);
        printf("%s%s%d,", i % 22 == 0 ? "\n" : " ", i % 22 == 0 ? margin : "",
            all < SEEN_ENOUGH ? 128 : MIN(MAX(p, 1), 255));
    }
}

static void print_kinds(const char *name, uint64_t (*seen)[MODELS_MAX][2])
{
    size_t n = 0;
    for (unsigned kind = 0; kind < ROLL_KINDS; kind++)
        n = MAX(n, used(seen[kind]));
    printf("static const uint8_t %s[ROLL_KINDS][%zu] = {\n", name, n);
    for (unsigned kind = 0; kind < ROLL_KINDS; kind++) {
        printf("    {");
        print_set(seen[kind], n, "        ");
        printf("\n    },\n");
    }
    printf("};\n");
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        struct data *data;
        memset(values, 0, sizeof(values));
        if (data_load(argv[i], &data) < 0) {
            fprintf(stderr, "train_roll_priors: cannot read %s\n", argv[i]);
            return 1;
        }
        count(data);
        data_free(data);
    }
    printf("/* SPDX-License-Identifier: Apache-2.0 */\n/* clang-format off */\n"
           "/* Made by bench/history/train_roll_priors.c: how likely a 1 is in 1/256. */\n"
           "#include <stdint.h>\n\n#include \"store/hist_roll_models.h\"\n\n"
           "static const uint8_t section_priors[] = {");
    print_set(section_seen, used(section_seen), "    ");
    printf("\n};\n");
    print_kinds("cell_priors", cells_seen);
    print_kinds("hour_priors", hours_seen);
    return 0;
}
