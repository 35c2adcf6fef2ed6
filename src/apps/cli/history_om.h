/* SPDX-License-Identifier: Apache-2.0 */
/*
 * History as OpenMetrics text with timestamps: one family per field of usage, in base units, then
 * one per counter, the samples of a subject together and oldest first. The machine's have no label.
 *
 *     # TYPE agentcore_history_cpu_cores gauge
 *     agentcore_history_cpu_cores{agent="tests"} 1.25 1700000000.000
 *     # TYPE agentcore_history_cpu_seconds counter
 *     agentcore_history_cpu_seconds_total{agent="tests"} 1.25 1700000000.000
 *     # EOF
 */
#ifndef AC_CLI_HISTORY_OM_H
#define AC_CLI_HISTORY_OM_H

#include <agentcore.h>
#include <stdio.h>

struct om_family {
    const char *name;
    const char *help;
    const char *resource; /* of /v1/history/range */
    const char *field;    /* of the API's usage; of a counter, of "used" */
    uint32_t bit;         /* enum ac_usage_field: what it is, or what it comes from */
    double scale;         /* value in the text = value of the field * scale */
    uint32_t counter;     /* bit in history_totals.known; 0 = a gauge */
};

#define OM_GAUGES   7
#define OM_FAMILIES 10 /* gauges, then counters */
#define OM_PREFIX   "agentcore_history_"
extern const struct om_family om_families[OM_FAMILIES];

/* The gauge of a field of usage, and the one that a resource's unit is of. NULL where there is
 * none. */
const struct om_family *om_family_of_field(const char *field);
const struct om_family *om_family_of_resource(const char *resource);

void om_write_head(FILE *out, const struct om_family *family);
void om_write_sample(
    FILE *out, const struct om_family *family, const char *subject, int64_t wall_ns, double value);
void om_write_end(FILE *out);

/* A sample with labels of any kind. @name without braces. */
struct om_label {
    const char *key;
    const char *value; /* NULL = left out */
};
void om_write_labelled(FILE *out, const char *name, const struct om_label *labels, size_t n,
    int64_t wall_ns, double value);

/* The gauge's field of a usage, NaN = unknown; and the reverse. */
double om_usage_get(const struct ac_usage *usage, const struct om_family *family);
void om_usage_set(struct ac_usage *usage, const struct om_family *family, double value);

/* A line that was read. */
enum om_kind { OM_NOTHING, OM_SAMPLE, OM_OTHER, OM_EOF };
struct om_sample {
    const struct om_family *family;
    char subject[AC_AGENT_ID_MAX + 1]; /* "" = the machine */
    int64_t wall_ms;
    double value; /* in the field's unit */
};

/* Reads a line without its newline: OM_SAMPLE fills @ret_sample, OM_OTHER is a sample of a family
 * that is none of ours. Returns enum om_kind, or -EINVAL with the reason in @error. */
int om_read_line(const char *line, struct om_sample *ret_sample, struct ac_error *error);

#endif
