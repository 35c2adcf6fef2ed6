/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the history tells after a restart, and the store does not: since when a threshold has been
 * exceeded, and the peaks of runs that go on or ended meanwhile. Reads the last ticks for the
 * former, and minutes and days for the latter; what cannot be read in time is left out.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "base/mem.h"
#include "daemon_internal.h"

#define REPLAY_MAX_NS (2 * NS_PER_SEC) /* for all agents together, while nobody is answered */
#define MINUTE_NS     ((int64_t)(60 * NS_PER_SEC))
#define DAY_NS        (1440 * MINUTE_NS)
#define TICKS_MAX_NS  (15 * MINUTE_NS) /* of a window that is read tick by tick */

/* ---- Windows ------------------------------------------------------------------------------ */

struct window {
    struct daemon *daemon;
    const char *subject;
    struct moment now;
};

/* The least of a step: what it exceeds was exceeded all the time. */
static int replay_point(void *userdata, const struct history_point *point)
{
    const struct window *window = userdata;
    (void)core_replay(window->daemon->core, window->subject, &point->min, window->now);
    return 0;
}

static void replay_window(struct daemon *daemon, const char *subject, int64_t owner)
{
    struct window window = {.daemon = daemon, .subject = subject, .now = clock_moment()};
    int64_t length = (int64_t)(daemon->config.limits.for_ms * NS_PER_MSEC);
    const struct history_query query = {.subject = subject,
        .owner = owner,
        .from_ns = window.now.wall_ns - length,
        .to_ns = window.now.wall_ns,
        .step_ns = length > TICKS_MAX_NS ? (uint64_t)MINUTE_NS : 0};
    if (length > 0)
        (void)history_range_query(daemon->history, &query, replay_point, &window, NULL, NULL);
}

/* ---- Peaks -------------------------------------------------------------------------------- */

struct peaks {
    struct ac_usage usage;
    int64_t end_ns; /* of the last sample; 0 = there is none */
};

static void raise_to(struct ac_usage *peaks, const struct ac_usage *usage)
{
    uint32_t first = usage->known & ~peaks->known;
    if (usage->known & AC_KNOWN_CPU_PERCENT)
        peaks->cpu_percent = first & AC_KNOWN_CPU_PERCENT
                                 ? usage->cpu_percent
                                 : MAX(peaks->cpu_percent, usage->cpu_percent);
    if (usage->known & AC_KNOWN_MEMORY_MB)
        peaks->memory_mb =
            first & AC_KNOWN_MEMORY_MB ? usage->memory_mb : MAX(peaks->memory_mb, usage->memory_mb);
    if (usage->known & AC_KNOWN_FILE_DESCRIPTORS)
        peaks->file_descriptors = first & AC_KNOWN_FILE_DESCRIPTORS
                                      ? usage->file_descriptors
                                      : MAX(peaks->file_descriptors, usage->file_descriptors);
    peaks->known |=
        usage->known & (AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB | AC_KNOWN_FILE_DESCRIPTORS);
}

static int peak_point(void *userdata, const struct history_point *point)
{
    struct peaks *peaks = userdata;
    raise_to(&peaks->usage, &point->max);
    peaks->end_ns = point->from_ns + (int64_t)point->step_ns;
    return 0;
}

static int64_t round_down(int64_t ns, int64_t step)
{
    return ns - ns % step;
}

/* Ticks of a run of minutes; else minutes up to the first midnight, and days from there on. */
static int read_peaks(
    struct daemon *daemon, const char *id, int64_t added_ns, int64_t now_ns, struct peaks *peaks)
{
    bool shorter = now_ns - added_ns < TICKS_MAX_NS;
    int64_t midnight = round_down(added_ns, DAY_NS) + DAY_NS;
    struct history_query query = {.subject = id,
        .owner = HISTORY_ANYBODY, /* since it was added: its own */
        .from_ns = shorter ? added_ns : round_down(added_ns, MINUTE_NS),
        .to_ns = MIN(now_ns, midnight),
        .step_ns = shorter ? 0 : (uint64_t)MINUTE_NS,
        .metrics = AC_KNOWN_CPU_PERCENT | AC_KNOWN_MEMORY_MB | AC_KNOWN_FILE_DESCRIPTORS};
    ac_usage_init(&peaks->usage);
    peaks->end_ns = 0;
    int r = history_range_query(daemon->history, &query, peak_point, peaks, NULL, NULL);
    query.from_ns = midnight;
    query.to_ns = now_ns;
    if (!shorter)
        query.step_ns = (uint64_t)DAY_NS;
    if (r >= 0 && midnight < now_ns)
        r = history_range_query(daemon->history, &query, peak_point, peaks, NULL, NULL);
    return r;
}

/* ---- After a restart ---------------------------------------------------------------------- */

void replay_machine(struct daemon *daemon)
{
    replay_window(daemon, "", HISTORY_ANYBODY);
}

void replay_agents(struct daemon *daemon)
{
    const struct registry *registry = core_registry(daemon->core);
    struct moment now = clock_moment();
    const struct agent *agent;
    agent_slot slot = 0;
    unsigned left = 0;
    while ((agent = registry_next(registry, &slot))) {
        struct peaks peaks;
        if (mono_since(clock_mono(), now.mono) > REPLAY_MAX_NS) {
            left++;
            continue;
        }
        replay_window(daemon, agent->spec.id, history_owner_of(agent->spec.owner_uid));
        if (read_peaks(daemon, agent->spec.id, agent->added.wall_ns, now.wall_ns, &peaks) >= 0)
            (void)core_replay_peaks(daemon->core, agent->spec.id, &peaks.usage);
    }
    if (left > 0)
        log_event(LOG_LEVEL_WARNING, "not all of the history was read again",
            log_uint("agents_left_out", left),
            log_str("consequence", "of these, peaks and exceeded thresholds count from now on"));
}

void replay_ended(struct daemon *daemon, const struct agent_spec *spec, int64_t added_ns)
{
    struct peaks peaks;
    int64_t now_ns = clock_wall_ns();
    if (mono_since(clock_mono(), daemon->opened) > REPLAY_MAX_NS ||
        read_peaks(daemon, spec->id, added_ns, now_ns, &peaks) < 0 || peaks.end_ns <= added_ns)
        return;
    uint32_t known = peaks.usage.known;
    const struct ac_run_usage run = {
        .cpu_peak_percent = known & AC_KNOWN_CPU_PERCENT ? peaks.usage.cpu_percent : NAN,
        .memory_peak_mb = known & AC_KNOWN_MEMORY_MB ? peaks.usage.memory_mb : NAN,
        .execution_time_seconds =
            (double)(MIN(peaks.end_ns, now_ns) - added_ns) / (double)NS_PER_SEC};
    if (predict_record(core_predictor(daemon->core), spec->philosophy, spec->agent_template, &run,
            peaks.end_ns) == 0)
        daemon->learnt = true;
}
