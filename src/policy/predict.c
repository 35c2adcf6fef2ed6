/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/predict_internal.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"

/*
 * What is predicted from a histogram: the larger of a high quantile and of the median with a
 * margin. The median of a few runs says more than their tail does, and the margin covers the
 * ordinary spread of one kind of run; the quantile covers runs of several kinds. Chosen on
 * recorded runs of coding agents, see docs/prediction.md and bench/bench_predict.c. CPU and time
 * have no margin: having too little of them slows a run down, too little memory ends it.
 */
static const struct {
    double first;    /* width of the first bucket: percent, MiB, seconds */
    double quantile; /* 0-1 */
    double median_margin;
    double cold;
    double maximum; /* of a sample; more is taken for this */
} dimensions[DIMENSION_COUNT] = {
    [DIMENSION_CPU] = {0.5, 0.90, 1.0, 50, 100},
    [DIMENSION_MEMORY] = {10, 0.90, 1.7, 256, 1e9},
    [DIMENSION_TIME] = {1, 0.90, 1.0, 60, 1e9},
};

/* A key with fewer runs than this says too little. */
#define ENOUGH_RUNS 3

/* Confidence is weight / (weight + this): half of all certainty after as many fresh runs. */
#define CONFIDENCE_RUNS 10.0

/* A less specific key tells less about this agent. */
static const double basis_trust[] = {
    [AC_BASIS_DEFAULT] = 0,
    [AC_BASIS_ALL] = 0.6,
    [AC_BASIS_PHILOSOPHY] = 0.8,
    [AC_BASIS_TEMPLATE] = 1,
};

double predict_first_bucket(enum dimension dimension)
{
    return dimensions[dimension].first;
}

static void key_init(struct predict_key *key)
{
    key->runs = 0;
    for (int i = 0; i < DIMENSION_COUNT; i++)
        histogram_init(&key->histograms[i], dimensions[i].first);
}

/* ---- Templates: a map, and a list by last use */

static void template_unlink(struct predict *predict, struct predict_template *template)
{
    *(template->older ? &template->older->newer : &predict->oldest) = template->newer;
    *(template->newer ? &template->newer->older : &predict->newest) = template->older;
}

static void template_link(struct predict *predict, struct predict_template *template)
{
    template->newer = NULL;
    template->older = predict->newest;
    *(predict->newest ? &predict->newest->newer : &predict->oldest) = template;
    predict->newest = template;
}

static struct predict_template *template_use(struct predict *predict, const char *name)
{
    struct predict_template *template = name && *name ? strmap_get(predict->templates, name) : NULL;
    if (template && template != predict->newest) {
        template_unlink(predict, template);
        template_link(predict, template);
    }
    return template;
}

struct predict_template *predict_template_add(struct predict *predict, const char *name)
{
    size_t size = strlen(name) + 1;
    struct predict_template *template cleanup_free = mem_alloc(sizeof(*template) + size);
    if (!template)
        return NULL;
    memcpy(template->name, name, size);
    key_init(&template->key);
    if (strmap_put(predict->templates, template->name, template) < 0)
        return NULL;
    if (strmap_count(predict->templates) > predict->max_templates) {
        struct predict_template *oldest = predict->oldest;
        strmap_remove(predict->templates, oldest->name);
        template_unlink(predict, oldest);
        mem_free(oldest);
    }
    template_link(predict, template);
    return TAKE_PTR(template);
}

static void predict_freep(struct predict **predict)
{
    predict_free(*predict);
}

int predict_new(uint32_t max_templates, uint64_t seed, struct predict **ret_predict)
{
    struct predict *predict CLEANUP(predict_freep) = mem_alloc(sizeof(*predict));
    if (!predict)
        return -ENOMEM;
    predict->max_templates = MAX(max_templates, 1u);
    predict->seed = seed;
    key_init(&predict->all);
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        key_init(&predict->philosophies[i]);
    int r = strmap_new(seed, &predict->templates);
    if (r < 0)
        return r;
    *ret_predict = TAKE_PTR(predict);
    return 0;
}

void predict_free(struct predict *predict)
{
    if (!predict)
        return;
    while (predict->oldest) {
        struct predict_template *template = predict->oldest;
        predict->oldest = template->newer;
        mem_free(template);
    }
    strmap_free(predict->templates);
    mem_free(predict);
}

/* ---- Learning */

static int check_run(const struct ac_run_usage *run, double ret_values[DIMENSION_COUNT])
{
    const double values[DIMENSION_COUNT] = {
        [DIMENSION_CPU] = run->cpu_peak_percent,
        [DIMENSION_MEMORY] = run->memory_peak_mb,
        [DIMENSION_TIME] = run->execution_time_seconds,
    };
    for (int i = 0; i < DIMENSION_COUNT; i++) {
        if (isinf(values[i]) || values[i] < 0)
            return -EINVAL;
    }
    for (int i = 0; i < DIMENSION_COUNT; i++) {
        bool above = values[i] > dimensions[i].maximum; /* false for NaN, which stays */
        ret_values[i] = above ? dimensions[i].maximum : values[i];
    }
    return 0;
}

static void key_learn(
    struct predict_key *key, const double values[DIMENSION_COUNT], int64_t now_wall_ns)
{
    key->runs++;
    for (int i = 0; i < DIMENSION_COUNT; i++) {
        if (!isnan(values[i]))
            histogram_add(&key->histograms[i], values[i], now_wall_ns);
    }
}

int predict_record(struct predict *predict, enum ac_philosophy philosophy,
    const char *agent_template, const struct ac_run_usage *run, int64_t now_wall_ns)
{
    double values[DIMENSION_COUNT];
    if ((unsigned)philosophy >= AC_PHILOSOPHY_COUNT ||
        (agent_template && strlen(agent_template) > AGENT_TEMPLATE_MAX))
        return -EINVAL;
    int r = check_run(run, values);
    if (r < 0)
        return r;
    struct predict_template *template = template_use(predict, agent_template);
    if (!template && agent_template && *agent_template) {
        template = predict_template_add(predict, agent_template);
        if (!template)
            return -ENOMEM;
    }
    if (template)
        key_learn(&template->key, values, now_wall_ns);
    key_learn(&predict->philosophies[philosophy], values, now_wall_ns);
    key_learn(&predict->all, values, now_wall_ns);
    return 0;
}

/* ---- Predicting */

struct choice {
    const struct predict_key *keys[AC_BASIS_TEMPLATE + 1]; /* by basis; NULL = none */
};

/* The most specific key that holds enough fresh runs of a dimension; else the most specific that
 * ever held enough: old knowledge is better than none. */
static enum ac_prediction_basis choose(
    const struct choice *choice, enum dimension dimension, int64_t now_wall_ns)
{
    for (int pass = 0; pass < 2; pass++) {
        for (int basis = AC_BASIS_TEMPLATE; basis > AC_BASIS_DEFAULT; basis--) {
            const struct predict_key *key = choice->keys[basis];
            if (!key)
                continue;
            const struct histogram *histogram = &key->histograms[dimension];
            double held =
                pass == 0 ? histogram_weight(histogram, now_wall_ns) : (double)histogram->samples;
            if (held >= ENOUGH_RUNS - 0.5)
                return (enum ac_prediction_basis)basis;
        }
    }
    return AC_BASIS_DEFAULT;
}

static double predict_one(const struct choice *choice, enum dimension dimension,
    int64_t now_wall_ns, enum ac_prediction_basis *ret_basis)
{
    enum ac_prediction_basis basis = choose(choice, dimension, now_wall_ns);
    *ret_basis = basis;
    if (basis == AC_BASIS_DEFAULT)
        return dimensions[dimension].cold;
    const struct histogram *histogram = &choice->keys[basis]->histograms[dimension];
    double high = histogram_quantile(histogram, dimensions[dimension].quantile);
    double centre = histogram_quantile(histogram, 0.5) * dimensions[dimension].median_margin;
    return MIN(MAX(high, centre), dimensions[dimension].maximum);
}

void predict_get(struct predict *predict, enum ac_philosophy philosophy, const char *agent_template,
    int64_t now_wall_ns, struct ac_prediction *ret_prediction)
{
    const struct predict_template *template = template_use(predict, agent_template);
    const struct choice choice = {{
        [AC_BASIS_ALL] = &predict->all,
        [AC_BASIS_PHILOSOPHY] =
            (unsigned)philosophy < AC_PHILOSOPHY_COUNT ? &predict->philosophies[philosophy] : NULL,
        [AC_BASIS_TEMPLATE] = template ? &template->key : NULL,
    }};
    double values[DIMENSION_COUNT];
    enum ac_prediction_basis bases[DIMENSION_COUNT];
    for (int i = 0; i < DIMENSION_COUNT; i++)
        values[i] = predict_one(&choice, (enum dimension)i, now_wall_ns, &bases[i]);
    /* Memory decides how many agents fit, so its history is the one that is told about. */
    enum dimension told = bases[DIMENSION_MEMORY] != AC_BASIS_DEFAULT ? DIMENSION_MEMORY
                          : bases[DIMENSION_CPU] != AC_BASIS_DEFAULT  ? DIMENSION_CPU
                                                                      : DIMENSION_TIME;
    const struct predict_key *key = choice.keys[bases[told]];
    double weight = key ? histogram_weight(&key->histograms[told], now_wall_ns) : 0;
    *ret_prediction = (struct ac_prediction){
        .cpu_percent = values[DIMENSION_CPU],
        .memory_mb = values[DIMENSION_MEMORY],
        .execution_time_seconds = values[DIMENSION_TIME],
        .confidence = basis_trust[bases[told]] * weight / (weight + CONFIDENCE_RUNS),
        .basis = bases[told],
        .runs = key ? key->runs : 0,
    };
}
