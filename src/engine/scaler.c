/* SPDX-License-Identifier: Apache-2.0 */
/* The public scaler: policy/scale behind a mutex and a clock. */
#include <agentcore.h>

#include <errno.h>
#include <math.h>
#include <pthread.h>

#include "base/error.h"
#include "base/export.h"
#include "base/mem.h"
#include "engine/wrappers.h"

struct ac_scaler {
    pthread_mutex_t lock;
    struct ac_scaler_options options;
    struct scale scale;
};

EXPORT void ac_scaler_options_init(struct ac_scaler_options *ret_options)
{
    *ret_options = (struct ac_scaler_options){
        .size = sizeof(*ret_options),
        .scale_up_threshold = 75,
        .scale_down_threshold = 25,
        .cooldown_seconds = 60,
    };
}

static int scaler_translate(const struct ac_scaler_options *options,
    struct scale_options *ret_options, struct ac_error *error)
{
    if (!options || options->size < sizeof(*options))
        return error_set(error, -EINVAL, "options: not initialised with ac_scaler_options_init");
    if (!isfinite(options->cooldown_seconds) || options->cooldown_seconds < 0 ||
        options->cooldown_seconds > 1e9)
        return error_set(
            error, -EINVAL, "cooldown_seconds: %g is outside 0 to 1e9", options->cooldown_seconds);
    scale_options_init(ret_options);
    ret_options->up_threshold = options->scale_up_threshold;
    ret_options->down_threshold = options->scale_down_threshold;
    ret_options->cooldown_ns = (uint64_t)(options->cooldown_seconds * NS_PER_SEC);
    return scale_options_validate(ret_options, error);
}

EXPORT int ac_scaler_new(
    const struct ac_scaler_options *options, struct ac_scaler **ret_scaler, struct ac_error *error)
{
    struct ac_scaler_options defaults;
    struct scale_options translated;
    ac_scaler_options_init(&defaults);
    int r = scaler_translate(options ? options : &defaults, &translated, error);
    if (r < 0)
        return r;
    struct ac_scaler *scaler = mem_alloc(sizeof(*scaler));
    if (!scaler)
        return error_errno(error, -ENOMEM, "scaler");
    pthread_mutex_init(&scaler->lock, NULL);
    scaler->options = options ? *options : defaults;
    scale_init(&scaler->scale, &translated);
    *ret_scaler = scaler;
    return 0;
}

EXPORT void ac_scaler_free(struct ac_scaler *scaler)
{
    if (!scaler)
        return;
    pthread_mutex_destroy(&scaler->lock);
    mem_free(scaler);
}

static struct mono scaler_now(const struct ac_scaler *scaler)
{
    if (scaler->options.clock)
        return (struct mono){scaler->options.clock(scaler->options.clock_userdata)};
    return clock_mono();
}

static bool philosophy_valid(enum ac_philosophy philosophy)
{
    return (unsigned)philosophy < AC_PHILOSOPHY_COUNT;
}

EXPORT bool ac_scaler_should_scale_up(
    struct ac_scaler *scaler, enum ac_philosophy philosophy, double current_usage_percent)
{
    if (!philosophy_valid(philosophy))
        return false;
    pthread_mutex_lock(&scaler->lock);
    bool up =
        scale_should_up(&scaler->scale, philosophy, current_usage_percent, scaler_now(scaler));
    pthread_mutex_unlock(&scaler->lock);
    return up;
}

EXPORT bool ac_scaler_should_scale_down(
    struct ac_scaler *scaler, enum ac_philosophy philosophy, double current_usage_percent)
{
    if (!philosophy_valid(philosophy))
        return false;
    pthread_mutex_lock(&scaler->lock);
    bool down =
        scale_should_down(&scaler->scale, philosophy, current_usage_percent, scaler_now(scaler));
    pthread_mutex_unlock(&scaler->lock);
    return down;
}

EXPORT int ac_scaler_record(
    struct ac_scaler *scaler, enum ac_philosophy philosophy, uint32_t new_scale)
{
    if (!philosophy_valid(philosophy))
        return -EINVAL;
    pthread_mutex_lock(&scaler->lock);
    int r = scale_record(&scaler->scale, philosophy, new_scale, scaler_now(scaler));
    pthread_mutex_unlock(&scaler->lock);
    return r;
}

EXPORT uint32_t ac_scaler_current(struct ac_scaler *scaler, enum ac_philosophy philosophy)
{
    if (!philosophy_valid(philosophy))
        return 0;
    pthread_mutex_lock(&scaler->lock);
    uint32_t scale = scaler->scale.pools[philosophy].scale;
    pthread_mutex_unlock(&scaler->lock);
    return scale;
}

EXPORT bool ac_scaler_cooling_down(struct ac_scaler *scaler, enum ac_philosophy philosophy)
{
    if (!philosophy_valid(philosophy))
        return false;
    pthread_mutex_lock(&scaler->lock);
    bool cooling = scale_cooling_down(&scaler->scale, philosophy, scaler_now(scaler));
    pthread_mutex_unlock(&scaler->lock);
    return cooling;
}

EXPORT uint64_t ac_scaler_last_action_ns(struct ac_scaler *scaler, enum ac_philosophy philosophy)
{
    if (!philosophy_valid(philosophy))
        return UINT64_MAX;
    pthread_mutex_lock(&scaler->lock);
    uint64_t last = scaler->scale.pools[philosophy].last_action_ns;
    pthread_mutex_unlock(&scaler->lock);
    return last;
}

EXPORT int ac_scaler_set_state(struct ac_scaler *scaler, enum ac_philosophy philosophy,
    uint32_t scale, uint64_t last_action_ns)
{
    if (!philosophy_valid(philosophy) || scale < 1)
        return -EINVAL;
    pthread_mutex_lock(&scaler->lock);
    scaler->scale.pools[philosophy].scale = scale;
    scaler->scale.pools[philosophy].last_action_ns = last_action_ns;
    pthread_mutex_unlock(&scaler->lock);
    return 0;
}

EXPORT void ac_scaler_get_options(struct ac_scaler *scaler, struct ac_scaler_options *ret_options)
{
    pthread_mutex_lock(&scaler->lock);
    *ret_options = scaler->options;
    pthread_mutex_unlock(&scaler->lock);
}

EXPORT int ac_scaler_set_options(
    struct ac_scaler *scaler, const struct ac_scaler_options *options, struct ac_error *error)
{
    struct scale_options translated;
    int r = scaler_translate(options, &translated, error);
    if (r < 0)
        return r;
    pthread_mutex_lock(&scaler->lock);
    scaler->options = *options;
    scaler->scale.options = translated;
    pthread_mutex_unlock(&scaler->lock);
    return 0;
}
