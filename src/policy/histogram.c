/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/histogram.h"

#include <math.h>

#define GROWTH 1.05

/* The reference moves before weights outgrow a double's precision beside each other. */
#define HALF_LIVES_MAX 50.0

void histogram_init(struct histogram *ret_histogram, double first)
{
    *ret_histogram = (struct histogram){.first = first};
}

static unsigned bucket_of(const struct histogram *histogram, double value)
{
    double n = floor(log1p(value * (GROWTH - 1) / histogram->first) / log(GROWTH));
    return n < HISTOGRAM_BUCKETS - 1 ? (unsigned)n : HISTOGRAM_BUCKETS - 1;
}

static double bucket_end(const struct histogram *histogram, unsigned n)
{
    return histogram->first * (pow(GROWTH, n + 1) - 1) / (GROWTH - 1);
}

static double half_lives(int64_t since_ns, int64_t now_ns)
{
    if (now_ns <= since_ns)
        return 0;
    return ((double)now_ns - (double)since_ns) / (double)HISTOGRAM_HALF_LIFE_NS;
}

static void move_reference(struct histogram *histogram, int64_t now_ns)
{
    double factor = exp2(-half_lives(histogram->reference_ns, now_ns));
    histogram->total = 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        histogram->weights[i] *= factor;
        histogram->total += histogram->weights[i];
    }
    histogram->reference_ns = now_ns;
}

void histogram_add(struct histogram *histogram, double value, int64_t now_ns)
{
    if (histogram->samples == 0)
        histogram->reference_ns = now_ns;
    else if (half_lives(histogram->reference_ns, now_ns) > HALF_LIVES_MAX)
        move_reference(histogram, now_ns);
    double weight = exp2(half_lives(histogram->reference_ns, now_ns));
    histogram->weights[bucket_of(histogram, value)] += weight;
    histogram->total += weight;
    histogram->samples++;
}

double histogram_quantile(const struct histogram *histogram, double q)
{
    double sum = 0, wanted = q * histogram->total * (1 - 1e-12);
    unsigned last = 0;
    if (!(histogram->total > 0))
        return 0;
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        if (histogram->weights[i] <= 0)
            continue;
        last = i;
        sum += histogram->weights[i];
        if (sum >= wanted)
            break;
    }
    return bucket_end(histogram, last);
}

double histogram_weight(const struct histogram *histogram, int64_t now_ns)
{
    return histogram->total * exp2(-half_lives(histogram->reference_ns, now_ns));
}
