/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Scale: how many agents of a philosophy there should be. The guide's thresholds, cooldown and
 * floor of 1, plus maximum, step, stabilization window, target tracking, and "stale data holds".
 *
 * scale_decide judges and explains, scale_record notes what was done and starts the cooldown.
 * A philosophy out of range is a programmer's mistake. Pure; not safe for concurrent use.
 */
#ifndef AC_POLICY_SCALE_H
#define AC_POLICY_SCALE_H

#include <agentcore.h>

#include "base/clock.h"

struct scale_options {
    double up_threshold;   /* [75] percent */
    double down_threshold; /* [25] */
    uint64_t cooldown_ns;  /* [60 s] */
    double target_percent; /* [0 = thresholds with steps] desired = ceil(scale x usage / target) */
    double tolerance_percent;  /* [10] target tracking does nothing this close to the target */
    uint64_t stabilization_ns; /* [0] down only to the highest wish of this window */
    uint64_t stale_ns;         /* [0 = never] usage older than this holds */
    uint32_t step;             /* [1] replicas per action */
    uint32_t minimum;          /* [1] */
    uint32_t maximum;          /* [0 = none] */
};

void scale_options_init(struct scale_options *ret_options);

/* Returns 0, or -EINVAL with field, value and range in @error (may be NULL). */
int scale_options_validate(const struct scale_options *options, struct ac_error *error);

#define SCALE_WISHES 64

struct scale_pool {
    uint32_t scale;          /* 1 at first */
    uint64_t last_action_ns; /* monotonic; UINT64_MAX = none yet */
    struct {
        uint64_t at_ns;
        uint32_t desired;
    } wishes[SCALE_WISHES]; /* of the stabilization window, from old and high to new and low */
    uint32_t n_wishes;
};

/* One per philosophy; the caller's storage. */
struct scale {
    struct scale_options options;
    struct scale_pool pools[AC_PHILOSOPHY_COUNT];
};

void scale_init(struct scale *ret_scale, const struct scale_options *options);

enum scale_direction { SCALE_HOLD, SCALE_UP, SCALE_DOWN };

struct scale_decision {
    enum scale_direction direction;
    uint32_t from;
    uint32_t to;
    char reason[200];
};

/* The guide's two questions: usage >= up_threshold, or <= down_threshold and scale > 1, and no
 * cooldown; and the pool's minimum and maximum allow it. NaN usage holds. */
bool scale_should_up(const struct scale *scale, enum ac_philosophy philosophy, double usage_percent,
    struct mono now);
bool scale_should_down(const struct scale *scale, enum ac_philosophy philosophy,
    double usage_percent, struct mono now);

/* The whole judgement, with a reason for people. @usage_age_ns: how old the usage is. A usage that
 * is NaN, infinite, negative or stale holds. A window of stabilization begins with the present
 * scale, also after a gap in the data, so that a pool shrinks only by what was seen. */
void scale_decide(struct scale *scale, enum ac_philosophy philosophy, double usage_percent,
    uint64_t usage_age_ns, struct mono now, struct scale_decision *ret_decision);

/* Notes a scale and starts the cooldown. It counts as a wish of the stabilization window: what
 * was set by hand is not taken back before the window has passed. Returns 0, or -EINVAL below the
 * minimum, below 1, or above the maximum. */
int scale_record(
    struct scale *scale, enum ac_philosophy philosophy, uint32_t new_scale, struct mono now);
bool scale_cooling_down(const struct scale *scale, enum ac_philosophy philosophy, struct mono now);

#endif
