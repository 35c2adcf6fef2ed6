/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/history_om.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "apps/cli/text.h"
#include "base/error.h"
#include "base/mem.h"
#include "base/parse.h"

#define MIB        1048576.0
#define LATEST     9.2e9 /* seconds: what fits into nanoseconds */
#define MS_PER_SEC 1000

#define CPU_TOTAL     1u
#define DISK_TOTAL    2u
#define NETWORK_TOTAL 4u

const struct om_family om_families[OM_FAMILIES] = {
    {"agentcore_history_cpu_cores", "CPU cores in use.", "cpu", "cpu_cores", AC_KNOWN_CPU_CORES, 1},
    {"agentcore_history_cpu_ratio", "CPU in use, of the machine's capacity.", "cpu", "cpu_percent",
        AC_KNOWN_CPU_PERCENT, 0.01},
    {"agentcore_history_memory_bytes", "Memory in use.", "memory", "memory_mb", AC_KNOWN_MEMORY_MB,
        MIB},
    {"agentcore_history_memory_ratio", "Memory in use, of the machine's capacity.", "memory",
        "memory_percent", AC_KNOWN_MEMORY_PERCENT, 0.01},
    {"agentcore_history_disk_bytes_per_second", "Read and written.", "disk_io", "disk_io_mbps",
        AC_KNOWN_DISK_IO, MIB},
    {"agentcore_history_network_bytes_per_second", "Received and sent.", "network_io",
        "network_io_mbps", AC_KNOWN_NETWORK_IO, MIB},
    {"agentcore_history_open_files", "Open file descriptors.", "file_descriptors",
        "file_descriptors", AC_KNOWN_FILE_DESCRIPTORS, 1},
    {"agentcore_history_cpu_seconds", "CPU time since the first sample.", "cpu", "cpu_seconds",
        AC_KNOWN_CPU_CORES, 1, CPU_TOTAL},
    {"agentcore_history_disk_bytes", "Read and written since the first sample.", "disk_io",
        "disk_bytes", AC_KNOWN_DISK_IO, 1, DISK_TOTAL},
    {"agentcore_history_network_bytes", "Received and sent since the first sample.", "network_io",
        "network_bytes", AC_KNOWN_NETWORK_IO, 1, NETWORK_TOTAL},
};

const struct om_family *om_family_of_field(const char *field)
{
    for (size_t i = 0; i < OM_GAUGES; i++) {
        if (strcmp(om_families[i].field, field) == 0)
            return &om_families[i];
    }
    return NULL;
}

const struct om_family *om_family_of_resource(const char *resource)
{
    for (size_t i = 0; i < OM_GAUGES; i++) {
        if (strcmp(om_families[i].resource, resource) == 0)
            return &om_families[i];
    }
    return NULL;
}

double om_usage_get(const struct ac_usage *usage, const struct om_family *family)
{
    const double values[] = {usage->cpu_cores, usage->cpu_percent, usage->memory_mb,
        usage->memory_percent, usage->disk_io_mbps, usage->network_io_mbps,
        (double)usage->file_descriptors};
    return usage->known & family->bit ? values[family - om_families] : (double)NAN;
}

void om_usage_set(struct ac_usage *usage, const struct om_family *family, double value)
{
    double *const fields[] = {&usage->cpu_cores, &usage->cpu_percent, &usage->memory_mb,
        &usage->memory_percent, &usage->disk_io_mbps, &usage->network_io_mbps};
    if (family->bit == AC_KNOWN_FILE_DESCRIPTORS)
        usage->file_descriptors = (uint64_t)llround(fmin(value, 1e15));
    else
        *fields[family - om_families] = value;
    usage->known |= (uint32_t)family->bit;
}

/* ---- Writing */

void om_write_head(FILE *out, const struct om_family *family)
{
    fprintf(out, "# TYPE %s %s\n# HELP %s %s\n", family->name,
        family->counter ? "counter" : "gauge", family->name, family->help);
}

void om_write_sample(
    FILE *out, const struct om_family *family, const char *subject, int64_t wall_ns, double value)
{
    const struct om_label label = {"agent", *subject ? subject : NULL};
    char name[80];
    snprintf(name, sizeof(name), "%s%s", family->name, family->counter ? "_total" : "");
    om_write_labelled(out, name, &label, 1, wall_ns, value * family->scale);
}

static void write_label(FILE *out, const struct om_label *label)
{
    struct buf safe CLEANUP(buf_done) = {0};
    fprintf(out, "%s=\"", label->key);
    for (const char *c = text_for(out, label->value, &safe); *c; c++) {
        if (*c == '"' || *c == '\\')
            fputc('\\', out);
        if (*c == '\n')
            fputs("\\n", out);
        else
            fputc(*c, out);
    }
    fputc('"', out);
}

void om_write_labelled(FILE *out, const char *name, const struct om_label *labels, size_t n,
    int64_t wall_ns, double value)
{
    int64_t ms = wall_ns / 1000000;
    bool open = false;
    if (!isfinite(value))
        return;
    fputs(name, out);
    for (size_t i = 0; i < n; i++) {
        if (!labels[i].value)
            continue;
        fputc(open ? ',' : '{', out);
        write_label(out, &labels[i]);
        open = true;
    }
    fprintf(out, "%s %.15g %" PRId64 ".%03d\n", open ? "}" : "", value, ms / MS_PER_SEC,
        (int)(ms % MS_PER_SEC));
}

void om_write_end(FILE *out)
{
    fputs("# EOF\n", out);
}

/* ---- Reading */

static bool name_char(char c, bool first)
{
    return isalpha((unsigned char)c) || c == '_' || c == ':' ||
           (!first && isdigit((unsigned char)c));
}

static size_t name_length(const char *text)
{
    size_t n = 0;
    while (name_char(text[n], n == 0))
        n++;
    return n;
}

/* A quoted value of a label, of which as much as fits is copied. Returns what is behind it, NULL
 * where it is broken or too long. */
static const char *read_quoted(const char *c, char *out, size_t capacity)
{
    size_t used = 0;
    if (*c++ != '"')
        return NULL;
    while (*c && *c != '"') {
        char plain = *c++;
        if (plain == '\\') {
            plain = *c == 'n' ? '\n' : *c;
            if (*c != 'n' && *c != '"' && *c != '\\')
                return NULL;
            c++;
        }
        if (used + 1 >= capacity)
            return NULL;
        out[used++] = plain;
    }
    out[used] = 0;
    return *c == '"' ? c + 1 : NULL;
}

/* {a="b",...}: only the agent matters. */
static const char *read_labels(const char *c, char subject[AC_AGENT_ID_MAX + 1])
{
    static const char wanted[] = "agent";
    if (*c != '{')
        return c;
    c++;
    while (*c != '}') {
        char value[1024];
        size_t n = name_length(c);
        bool agent = n == sizeof(wanted) - 1 && memcmp(c, wanted, n) == 0;
        if (n == 0 || c[n] != '=')
            return NULL;
        c = read_quoted(c + n + 1, value, sizeof(value));
        if (!c || (*c != ',' && *c != '}'))
            return NULL;
        if (agent && !ac_agent_id_valid(value))
            return NULL;
        if (agent)
            snprintf(subject, AC_AGENT_ID_MAX + 1, "%s", value);
        c += *c == ',';
    }
    return c + 1;
}

static const struct om_family *find_family(const char *name, size_t length)
{
    static const char total[] = "_total";
    size_t tail = sizeof(total) - 1;
    bool counter = length > tail && memcmp(name + length - tail, total, tail) == 0;
    length -= counter ? tail : 0;
    for (size_t i = 0; i < OM_FAMILIES; i++) {
        const struct om_family *family = &om_families[i];
        if (strlen(family->name) == length && memcmp(family->name, name, length) == 0 &&
            (family->counter != 0) == counter)
            return family;
    }
    return NULL;
}

static int read_comment(const char *line)
{
    return strcmp(line, "# EOF") == 0 ? OM_EOF : OM_NOTHING;
}

int om_read_line(const char *line, struct om_sample *ret_sample, struct ac_error *error)
{
    struct om_sample sample = {0};
    size_t length = name_length(line);
    double seconds;
    if (*line == '#')
        return read_comment(line);
    if (length == 0)
        return error_set(error, -EINVAL, "no name of a metric");
    sample.family = find_family(line, length);
    const char *c = read_labels(line + length, sample.subject);
    if (!c || *c != ' ')
        return error_set(error, -EINVAL, "labels that cannot be read");
    if (!sample.family)
        return OM_OTHER;
    size_t n = strcspn(++c, " ");
    if (parse_double(c, n, &sample.value) < 0 || !isfinite(sample.value) || sample.value < 0)
        return error_set(error, -EINVAL, "no value from 0 up");
    c += n;
    n = strcspn(c + (*c == ' '), " ");
    if (*c != ' ' || parse_double(c + 1, n, &seconds) < 0 || seconds < 0 || seconds > LATEST)
        return error_set(error, -EINVAL, "no timestamp");
    c += 1 + n;
    if (*c != 0 && strncmp(c, " #", 2) != 0)
        return error_set(error, -EINVAL, "something behind the timestamp");
    sample.value /= sample.family->scale;
    sample.wall_ms = llround(seconds * MS_PER_SEC);
    *ret_sample = sample;
    return OM_SAMPLE;
}
