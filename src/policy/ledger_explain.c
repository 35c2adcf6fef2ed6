/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/ledger_explain.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

/* Appends to the explanation; what does not fit is cut. */
static void say(struct ac_allocation *allocation, size_t *length, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void say(struct ac_allocation *allocation, size_t *length, const char *format, ...)
{
    va_list args;
    size_t room = sizeof(allocation->explanation) - *length;
    va_start(args, format);
    int n = vsnprintf(allocation->explanation + *length, room, format, args);
    va_end(args);
    if (n > 0)
        *length += (size_t)n < room ? (size_t)n : room - 1;
}

/* "memory 410 MiB is 80 % of the 512 MiB that are free (predicted: 900)" */
static void say_share(struct ac_allocation *allocation, size_t *length, const char *name,
    const char *unit, double given, double wanted, double predicted, enum ledger_bound bound,
    double available, double headroom)
{
    static const char *const bounds[] = {
        [LEDGER_OWN_MAXIMUM] = "the agent's own maximum",
        [LEDGER_MOST_WAITED_FOR] = "the most that has to be free",
    };
    if (given < wanted)
        say(allocation, length, "%s %.1f %s is %g %% of the %.1f %s that are free (%s %.1f)", name,
            given, unit, headroom * 100, available, unit,
            bound == LEDGER_OWN_MAXIMUM ? "its own maximum is" : "predicted:", wanted);
    else if (bound != LEDGER_UNBOUND)
        say(allocation, length, "%s %.1f %s is %s (predicted: %.1f)", name, given, unit,
            bounds[bound], predicted);
    else
        say(allocation, length, "%s %.1f %s is as predicted", name, given, unit);
}

static void say_granted(
    const struct ledger_case *of, struct ac_allocation *allocation, size_t *length)
{
    /* Half a unit of the ledger: what was rounded is not taken for cut. */
    double cpu_wanted = of->want_cpu_percent - 0.001, memory_wanted = of->want_memory_mb - 1e-6;
    say_share(allocation, length, "CPU", "%", allocation->cpu_percent, cpu_wanted,
        of->predicted.cpu_percent, of->cpu_bound, allocation->available_cpu_percent, of->headroom);
    say(allocation, length, "; ");
    say_share(allocation, length, "memory", "MiB", allocation->memory_mb, memory_wanted,
        of->predicted.memory_mb, of->memory_bound, allocation->available_memory_mb, of->headroom);
    say(allocation, length, ".");
}

static void say_need(const struct ledger_case *of, struct ac_allocation *allocation, size_t *length)
{
    if (of->never)
        say(allocation, length,
            "Needs memory %.1f MiB, but this machine never gives one agent more than %.1f MiB "
            "(%g %% of its capacity).",
            of->want_memory_mb, of->most_memory_mb, of->headroom * 100);
    else
        say(allocation, length,
            "needs CPU %.1f %% and memory %.1f MiB; %g %% of what is free is CPU %.1f %% and "
            "memory %.1f MiB.",
            of->want_cpu_percent, of->want_memory_mb, of->headroom * 100,
            allocation->available_cpu_percent * of->headroom,
            allocation->available_memory_mb * of->headroom);
}

static void say_basis(
    const struct ledger_case *of, struct ac_allocation *allocation, size_t *length)
{
    static const char *const whose[] = {"", "all agents", "its philosophy", "its template"};
    bool whose_unknown = of->predicted.basis == AC_BASIS_DEFAULT ||
                         (unsigned)of->predicted.basis > AC_BASIS_TEMPLATE;
    if (whose_unknown && of->predicted.confidence > 0) /* restored: only this was stored */
        say(allocation, length, " Predicted with confidence %.2f.", of->predicted.confidence);
    else if (whose_unknown)
        say(allocation, length, " Predicted without history.");
    else
        say(allocation, length, " Predicted from %" PRIu64 " run%s of %s, confidence %.2f.",
            of->predicted.runs, of->predicted.runs == 1 ? "" : "s", whose[of->predicted.basis],
            of->predicted.confidence);
}

void ledger_explain(const struct ledger_case *of, struct ac_allocation *allocation)
{
    size_t length = 0;
    allocation->explanation[0] = 0;
    if (allocation->status == AC_ALLOCATION_GRANTED) {
        say_granted(of, allocation, &length);
    } else {
        if (allocation->status == AC_ALLOCATION_QUEUED)
            say(allocation, &length, "Waits in the queue: ");
        else if (!of->never)
            say(allocation, &length, "Refused: ");
        say_need(of, allocation, &length);
    }
    say_basis(of, allocation, &length);
    if (of->cpu_unknown)
        say(allocation, &length, " The machine's CPU use is unknown and counted as none.");
    if (of->memory_unknown && allocation->status == AC_ALLOCATION_GRANTED)
        say(allocation, &length, " The machine's memory use is unknown and counted as none.");
    else if (of->memory_unknown && !of->never)
        say(allocation, &length, " Nothing is promised while the machine's memory use is unknown.");
}

void ledger_explain_expired(struct ac_allocation *allocation, double ttl_seconds)
{
    size_t length = 0;
    say(allocation, &length, "The reservation ran out: the agent did not appear within %.0f s.",
        ttl_seconds);
}
