/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/scale.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

/* Lets a product such as 3 x 80 / 60 = 4.000000000000001 count as 4. */
#define CEIL_SLACK 1e-9

/* More replicas than this are a mistake in the configuration. */
#define REPLICAS_MAX 1000000u

void scale_options_init(struct scale_options *ret_options)
{
    *ret_options = (struct scale_options){
        .up_threshold = 75,
        .down_threshold = 25,
        .cooldown_ns = 60 * NS_PER_SEC,
        .tolerance_percent = 10,
        .step = 1,
        .minimum = 1,
    };
}

static int check_percents(const struct scale_options *options, struct ac_error *error)
{
    const struct {
        const char *name;
        double value;
        double maximum;
    } percents[] = {
        {"scale_up_threshold", options->up_threshold, 100},
        {"scale_down_threshold", options->down_threshold, 100},
        {"target_percent", options->target_percent, 100},
        {"tolerance_percent", options->tolerance_percent, 100},
    };
    for (size_t i = 0; i < ARRAY_SIZE(percents); i++) {
        double value = percents[i].value;
        if (!isfinite(value) || value < 0 || value > percents[i].maximum)
            return error_set(error, -EINVAL, "%s: %g is outside 0 to %g", percents[i].name, value,
                percents[i].maximum);
    }
    return 0;
}

int scale_options_validate(const struct scale_options *options, struct ac_error *error)
{
    int r = check_percents(options, error);
    if (r < 0)
        return r;
    if (options->up_threshold <= options->down_threshold)
        return error_set(error, -EINVAL,
            "scale_up_threshold: %g is not above scale_down_threshold (%g)", options->up_threshold,
            options->down_threshold);
    if (options->step < 1 || options->step > REPLICAS_MAX)
        return error_set(
            error, -EINVAL, "step: %u is outside 1 to %u", options->step, REPLICAS_MAX);
    if (options->minimum < 1 || options->minimum > REPLICAS_MAX)
        return error_set(
            error, -EINVAL, "minimum: %u is outside 1 to %u", options->minimum, REPLICAS_MAX);
    if (options->maximum != 0 && options->maximum < options->minimum)
        return error_set(error, -EINVAL, "maximum: %u is below minimum (%u)", options->maximum,
            options->minimum);
    return 0;
}

void scale_init(struct scale *ret_scale, const struct scale_options *options)
{
    *ret_scale = (struct scale){.options = *options};
    for (size_t i = 0; i < AC_PHILOSOPHY_COUNT; i++) {
        ret_scale->pools[i].scale = MAX(1u, options->minimum);
        ret_scale->pools[i].last_action_ns = UINT64_MAX;
    }
}

static uint32_t floor_of(const struct scale_options *options)
{
    return MAX(1u, options->minimum);
}

static uint32_t ceiling_of(const struct scale_options *options)
{
    return options->maximum != 0 ? MAX(options->maximum, floor_of(options)) : UINT32_MAX;
}

static uint64_t cooldown_left(
    const struct scale *scale, const struct scale_pool *pool, struct mono now)
{
    if (pool->last_action_ns == UINT64_MAX)
        return 0;
    uint64_t passed = mono_since(now, (struct mono){pool->last_action_ns});
    return passed < scale->options.cooldown_ns ? scale->options.cooldown_ns - passed : 0;
}

bool scale_cooling_down(const struct scale *scale, enum ac_philosophy philosophy, struct mono now)
{
    assert((unsigned)philosophy < AC_PHILOSOPHY_COUNT);
    return cooldown_left(scale, &scale->pools[philosophy], now) > 0;
}

/* The comparisons are false for NaN: an unknown usage holds. */
bool scale_should_up(
    const struct scale *scale, enum ac_philosophy philosophy, double usage_percent, struct mono now)
{
    assert((unsigned)philosophy < AC_PHILOSOPHY_COUNT);
    const struct scale_options *options = &scale->options;
    return usage_percent >= options->up_threshold &&
           scale->pools[philosophy].scale < ceiling_of(options) &&
           !scale_cooling_down(scale, philosophy, now);
}

bool scale_should_down(
    const struct scale *scale, enum ac_philosophy philosophy, double usage_percent, struct mono now)
{
    assert((unsigned)philosophy < AC_PHILOSOPHY_COUNT);
    const struct scale_options *options = &scale->options;
    return usage_percent <= options->down_threshold &&
           scale->pools[philosophy].scale > floor_of(options) &&
           !scale_cooling_down(scale, philosophy, now);
}

/* ---- Wishes: a window whose maximum is wanted, so a wish that a later one equals or exceeds is
 * dropped: what is kept falls from the oldest to the newest. */

static void wish_drop_old(struct scale_pool *pool, uint64_t window_ns, struct mono now)
{
    uint32_t old = 0;
    while (old < pool->n_wishes &&
           mono_since(now, (struct mono){pool->wishes[old].at_ns}) >= window_ns)
        old++;
    if (old == 0)
        return;
    pool->n_wishes -= old;
    memmove(pool->wishes, pool->wishes + old, pool->n_wishes * sizeof(pool->wishes[0]));
}

static void wish_add(struct scale_pool *pool, uint32_t desired, struct mono now)
{
    while (pool->n_wishes > 0 && pool->wishes[pool->n_wishes - 1].desired <= desired)
        pool->n_wishes--;
    if (pool->n_wishes == SCALE_WISHES) {
        /* No room for one more step: its neighbour, which is higher, lives on in its place.
         * Scaling down may come late by that, never early. */
        pool->wishes[SCALE_WISHES - 1].at_ns = now.ns;
        return;
    }
    pool->wishes[pool->n_wishes].at_ns = now.ns;
    pool->wishes[pool->n_wishes].desired = desired;
    pool->n_wishes++;
}

/* Notes a wish and returns the highest of the window. A window that holds nothing (at the start,
 * or after a gap in the data) begins with the present scale: what was not seen is no reason to
 * shrink. */
static uint32_t wish_highest(
    struct scale_pool *pool, uint64_t window_ns, uint32_t desired, struct mono now)
{
    if (window_ns == 0)
        return desired;
    wish_drop_old(pool, window_ns, now);
    if (pool->n_wishes == 0)
        wish_add(pool, pool->scale, now);
    wish_add(pool, desired, now);
    return pool->wishes[0].desired;
}

/* ---- Deciding */

static void decide(struct scale_decision *decision, enum scale_direction direction, uint32_t to,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

static void decide(struct scale_decision *decision, enum scale_direction direction, uint32_t to,
    const char *format, ...)
{
    va_list args;
    decision->direction = direction;
    decision->to = to;
    va_start(args, format);
    vsnprintf(decision->reason, sizeof(decision->reason), format, args);
    va_end(args);
}

static uint32_t clamp_scale(const struct scale_options *options, double desired)
{
    double low = floor_of(options), high = ceiling_of(options);
    return (uint32_t)MIN(MAX(desired, low), high);
}

/* What the pool should be by the usage alone, before limits, and why. */
static double wanted(
    const struct scale_options *options, uint32_t scale, double usage, char *why, size_t why_size)
{
    if (options->target_percent > 0) {
        double target = options->target_percent;
        if (fabs(usage - target) <= target * options->tolerance_percent / 100) {
            snprintf(why, why_size, "utilisation %.1f %% is within %g %% of its target of %g %%",
                usage, options->tolerance_percent, target);
            return scale;
        }
        snprintf(why, why_size, "utilisation %.1f %% is %s its target of %g %%", usage,
            usage > target ? "above" : "below", target);
        return ceil(scale * usage / target - CEIL_SLACK);
    }
    if (usage >= options->up_threshold) {
        snprintf(why, why_size, "utilisation %.1f %% is at or above %g %%", usage,
            options->up_threshold);
        return (double)scale + options->step;
    }
    if (usage <= options->down_threshold) {
        snprintf(why, why_size, "utilisation %.1f %% is at or below %g %%", usage,
            options->down_threshold);
        return (double)scale - options->step;
    }
    snprintf(why, why_size, "utilisation %.1f %% is between %g %% and %g %%", usage,
        options->down_threshold, options->up_threshold);
    return scale;
}

/* Says why a wish to move ends in no move, or returns false. */
static bool decide_bound(const struct scale_options *options, const struct scale_pool *pool,
    double raw, uint32_t to, const char *why, struct scale_decision *decision)
{
    if (raw > pool->scale && to <= pool->scale)
        decide(decision, SCALE_HOLD, pool->scale, "hold at %u: %s, but %u is the maximum",
            pool->scale, why, ceiling_of(options));
    else if (raw < pool->scale && to >= pool->scale)
        decide(decision, SCALE_HOLD, pool->scale, "hold at %u: %s, but %u is the minimum",
            pool->scale, why, floor_of(options));
    else if (to == pool->scale)
        decide(decision, SCALE_HOLD, pool->scale, "hold at %u: %s", pool->scale, why);
    else
        return false;
    return true;
}

static bool decide_unknown(const struct scale_options *options, const struct scale_pool *pool,
    double usage, uint64_t age_ns, struct scale_decision *decision)
{
    if (!isfinite(usage) || usage < 0)
        decide(
            decision, SCALE_HOLD, pool->scale, "hold at %u: utilisation is unknown", pool->scale);
    else if (options->stale_ns != 0 && age_ns > options->stale_ns)
        decide(decision, SCALE_HOLD, pool->scale,
            "hold at %u: utilisation is %.0f s old, more than %.0f s are stale", pool->scale,
            (double)age_ns / NS_PER_SEC, (double)options->stale_ns / NS_PER_SEC);
    else
        return false;
    return true;
}

void scale_decide(struct scale *scale, enum ac_philosophy philosophy, double usage_percent,
    uint64_t usage_age_ns, struct mono now, struct scale_decision *ret_decision)
{
    assert((unsigned)philosophy < AC_PHILOSOPHY_COUNT);
    const struct scale_options *options = &scale->options;
    struct scale_pool *pool = &scale->pools[philosophy];
    char why[100];
    *ret_decision = (struct scale_decision){.from = pool->scale};
    if (decide_unknown(options, pool, usage_percent, usage_age_ns, ret_decision))
        return;
    double raw = wanted(options, pool->scale, usage_percent, why, sizeof(why));
    if (clamp_scale(options, pool->scale) != pool->scale) {
        /* The bounds have moved past the pool (a reload): it follows, whatever the usage. */
        raw = clamp_scale(options, pool->scale);
        snprintf(
            why, sizeof(why), "the %s is %.0f", raw < pool->scale ? "maximum" : "minimum", raw);
    }
    uint32_t wish = clamp_scale(options, raw);
    uint32_t highest = wish_highest(pool, options->stabilization_ns, wish, now);
    highest = MIN(highest, ceiling_of(options));
    if (decide_bound(options, pool, raw, wish, why, ret_decision))
        return;
    uint64_t left = cooldown_left(scale, pool, now);
    if (left > 0) {
        decide(ret_decision, SCALE_HOLD, pool->scale,
            "hold at %u: %s, but the cooldown lasts %.0f s more", pool->scale, why,
            ceil((double)left / NS_PER_SEC));
        return;
    }
    /* The window only slows shrinking; it never makes a pool grow. */
    uint32_t to = wish < pool->scale ? MIN(MAX(wish, highest), pool->scale) : wish;
    if (to == pool->scale)
        decide(ret_decision, SCALE_HOLD, to, "hold at %u: %s, but %u were wanted within %.0f s", to,
            why, highest, (double)options->stabilization_ns / NS_PER_SEC);
    else
        decide(ret_decision, to > pool->scale ? SCALE_UP : SCALE_DOWN, to, "%s from %u to %u: %s",
            to > pool->scale ? "up" : "down", pool->scale, to, why);
}

int scale_record(
    struct scale *scale, enum ac_philosophy philosophy, uint32_t new_scale, struct mono now)
{
    assert((unsigned)philosophy < AC_PHILOSOPHY_COUNT);
    const struct scale_options *options = &scale->options;
    if (new_scale < floor_of(options) || new_scale > ceiling_of(options))
        return -EINVAL;
    struct scale_pool *pool = &scale->pools[philosophy];
    pool->scale = new_scale;
    pool->last_action_ns = now.ns;
    /* What was done was wanted: a scale set by hand is not taken back within the window. */
    if (options->stabilization_ns != 0)
        wish_add(pool, new_scale, now);
    return 0;
}
