/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Memory predicted before a run starts, on recorded runs of coding agents: agents-usage.csv in
 * the folder that AGENTCORE_TRACES names (default: ../shared/traces beside the source tree).
 *
 * Protocol: the runs in the order of the file, each predicted from those before it; the first ten
 * are only learnt from. A run is under-provisioned when its peak is above the prediction; slack
 * is the unused part of the prediction, averaged over runs. Since a hundred runs in one order are
 * few, the same is done over shuffled orders as well.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "policy/predict.h"

#define RUNS_MAX 2000
#define WARM_UP  10
#define SHUFFLES 200
#define MIB      1048576.0

struct run {
    int number;
    char model[32];
    double peak_mib;
    double seconds;
};

struct trace {
    struct run runs[RUNS_MAX];
    size_t count;
};

/* Reads "run,model,task,t_s,cpu_percent,memory_bytes". */
static int read_runs(const char *path, struct trace *trace)
{
    char line[512], model[32];
    int number;
    double seconds, bytes;
    FILE *file = fopen(path, "re");
    if (!file)
        return -errno;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%d,%31[^,],%*[^,],%lf,%*[^,],%lf", &number, model, &seconds, &bytes) != 4)
            continue;
        struct run *run = trace->count > 0 ? &trace->runs[trace->count - 1] : NULL;
        if (!run || run->number != number) {
            if (trace->count == RUNS_MAX)
                break;
            run = &trace->runs[trace->count++];
            *run = (struct run){.number = number};
            snprintf(run->model, sizeof(run->model), "%s", model);
        }
        run->peak_mib = fmax(run->peak_mib, bytes / MIB);
        run->seconds = fmax(run->seconds, seconds);
    }
    fclose(file);
    return 0;
}

/* ---- What predicts: from the runs before number @n */

struct history {
    const struct run *runs;
    size_t n;
    double start[RUNS_MAX]; /* seconds since the first, one run after another */
    struct predict *predict;
};

typedef double (*predictor)(struct history *history);

static double by_agentcore(struct history *history)
{
    struct ac_prediction prediction;
    predict_get(
        history->predict, AC_REACT, NULL, (int64_t)(history->start[history->n] * 1e9), &prediction);
    return prediction.memory_mb;
}

static int ascending(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quantile(const struct history *history, double q)
{
    static double peaks[RUNS_MAX];
    for (size_t i = 0; i < history->n; i++)
        peaks[i] = history->runs[i].peak_mib;
    qsort(peaks, history->n, sizeof(peaks[0]), ascending);
    size_t rank = (size_t)ceil(q * (double)history->n - 1e-9);
    return peaks[rank > 0 ? rank - 1 : 0];
}

static double by_p98(struct history *history)
{
    return quantile(history, 0.98);
}

static double by_maximum(struct history *history)
{
    return quantile(history, 1);
}

static double by_constant(struct history *history)
{
    (void)history;
    return 4096;
}

/* Kubernetes VPA 1.x defaults: P90 of buckets growing 5 % from 10 MB, half-life 24 h, the end of
 * the bucket, plus 15 %. Without its floor of 250 MB for a pod. */
static double by_vpa(struct history *history)
{
    const double first = 1e7 / MIB;
    static double weights[400];
    double total = 0, sum = 0, now = history->start[history->n];
    memset(weights, 0, sizeof(weights));
    for (size_t i = 0; i < history->n; i++) {
        double weight = exp2((history->start[i] - now) / 86400);
        double peak = history->runs[i].peak_mib;
        size_t bucket = peak < first ? 0 : (size_t)(log(peak * 0.05 / first + 1) / log(1.05));
        weights[bucket] += weight;
        total += weight;
    }
    for (size_t i = 0; i < ARRAY_SIZE(weights); i++) {
        sum += weights[i];
        if (sum >= 0.9 * total)
            return first * (pow(1.05, (double)i + 1) - 1) / 0.05 * 1.15;
    }
    return NAN;
}

static const struct {
    const char *name;
    predictor predict;
} predictors[] = {
    {"agentcore", by_agentcore},
    {"VPA defaults", by_vpa},
    {"P98 of history", by_p98},
    {"maximum of history", by_maximum},
    {"static 4 GB", by_constant},
};

struct figures {
    double under_percent;
    double slack_percent;
};

static struct figures evaluate(const struct run *runs, size_t count, predictor predict)
{
    static struct history history;
    struct figures figures = {0, 0};
    history = (struct history){.runs = runs};
    if (predict_new(16, 1, &history.predict) < 0)
        exit(1);
    for (size_t i = 0; i < count; i++) {
        history.n = i;
        history.start[i] = i > 0 ? history.start[i - 1] + runs[i - 1].seconds : 0;
        if (i >= WARM_UP) {
            double given = predict(&history), used = runs[i].peak_mib;
            figures.under_percent += used > given;
            figures.slack_percent += used < given ? 1 - used / given : 0;
        }
        const struct ac_run_usage run = {NAN, runs[i].peak_mib, runs[i].seconds};
        if (predict_record(
                history.predict, AC_REACT, NULL, &run, (int64_t)(history.start[i] * 1e9)) < 0)
            exit(1);
    }
    predict_free(history.predict);
    figures.under_percent *= 100.0 / (double)(count - WARM_UP);
    figures.slack_percent *= 100.0 / (double)(count - WARM_UP);
    return figures;
}

static uint64_t random_state = 1;

static size_t random_below(size_t below)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return (size_t)((random_state * 0x2545f4914f6cdd1dull >> 32) * below >> 32);
}

static void shuffle(struct run *runs, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        size_t j = random_below(i);
        struct run other = runs[i - 1];
        runs[i - 1] = runs[j];
        runs[j] = other;
    }
}

static void print_table(const char *which, const struct trace *trace)
{
    static struct run shuffled[RUNS_MAX];
    if (trace->count <= WARM_UP)
        return;
    printf("%s: %zu runs, %d to warm up\n", which, trace->count, WARM_UP);
    printf("  %-20s %17s %8s   %s\n", "", "under-provisioned", "slack", "in shuffled order");
    for (size_t p = 0; p < ARRAY_SIZE(predictors); p++) {
        struct figures mean = {0, 0};
        struct figures as_is = evaluate(trace->runs, trace->count, predictors[p].predict);
        memcpy(shuffled, trace->runs, sizeof(shuffled));
        random_state = 1;
        for (int i = 0; i < SHUFFLES; i++) {
            shuffle(shuffled, trace->count);
            struct figures one = evaluate(shuffled, trace->count, predictors[p].predict);
            mean.under_percent += one.under_percent / SHUFFLES;
            mean.slack_percent += one.slack_percent / SHUFFLES;
        }
        printf("  %-20s %15.1f %% %6.1f %%   %5.1f %% %6.1f %%\n", predictors[p].name,
            as_is.under_percent, as_is.slack_percent, mean.under_percent, mean.slack_percent);
    }
}

static void select_model(const struct trace *all, const char *model, struct trace *ret_trace)
{
    ret_trace->count = 0;
    for (size_t i = 0; i < all->count; i++) {
        if (strcmp(all->runs[i].model, model) == 0)
            ret_trace->runs[ret_trace->count++] = all->runs[i];
    }
}

int main(void)
{
    static struct trace all, one;
    const char *folder = getenv("AGENTCORE_TRACES");
    char path[4096];
    snprintf(path, sizeof(path), "%s/agents-usage.csv",
        folder && *folder ? folder : SOURCE_ROOT "/../shared/traces");
    int r = read_runs(path, &all);
    if (r < 0 || all.count == 0) {
        printf("skipped: no recorded runs in %s (set AGENTCORE_TRACES)\n", path);
        return 0;
    }
    printf("Memory predicted before the start of a run\n");
    select_model(&all, "local", &one);
    print_table("one model", &one);
    print_table("all models", &all);
    return 0;
}
