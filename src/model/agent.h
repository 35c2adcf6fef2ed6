/* SPDX-License-Identifier: Apache-2.0 */
/* An agent as plain data: what it is (spec), and what it used (totals). */
#ifndef AC_MODEL_AGENT_H
#define AC_MODEL_AGENT_H

#include <agentcore.h>

#include "model/sample.h"

#define AGENT_LABELS_MAX_BYTES 512 /* keys and values with their NULs */
#define AGENT_LABEL_KEY_MAX    63
#define AGENT_COMMAND_MAX      255
#define AGENT_TEMPLATE_MAX     127

/* 0 = no limit. */
struct agent_limits {
    double max_cpu_cores;
    double max_memory_mb;
    double max_execution_time_seconds;
    uint64_t max_file_descriptors;
};

/* A fixed-size value, so that it can be copied and stored whole. */
struct agent_spec {
    char id[AC_AGENT_ID_MAX + 1];
    char agent_template[AGENT_TEMPLATE_MAX + 1]; /* "" = none */
    char command[AGENT_COMMAND_MAX + 1];         /* for people; "" = unknown */
    enum ac_philosophy philosophy;
    struct agent_limits limits;
    uint32_t owner_uid; /* who started it */
    int32_t root_pid;   /* 0 = reported only */
    uint64_t root_start_ticks;
    bool announced_itself; /* the root process registered itself: it may be moved to a cgroup */
    uint32_t labels_size;
    char labels[AGENT_LABELS_MAX_BYTES]; /* key NUL value NUL ..., see agent_spec_next_label */
};

/* Checks and copies a public config (labels and owner stay empty). Returns 0 or -EINVAL. */
int agent_spec_from_config(
    const struct ac_agent_config *config, struct agent_spec *ret_spec, struct ac_error *error);

/* Adds a label, or replaces the value of the same key. Keys are [A-Za-z_][A-Za-z0-9_.-]{0,62}.
 * Returns 0; -EINVAL for a bad key; -ENOSPC past AGENT_LABELS_MAX_BYTES in all. */
int agent_spec_set_label(
    struct agent_spec *spec, const char *key, const char *value, struct ac_error *error);

/* Walks the labels: start with *cursor = 0; returns the key, NULL at the end. Borrowed. */
const char *agent_spec_next_label(
    const struct agent_spec *spec, size_t *cursor, const char **ret_value);

/* The same for labels that lie elsewhere; @size must be that of whole labels, see
 * agent_labels_sound. */
const char *agent_labels_next(
    const char *labels, size_t size, size_t *cursor, const char **ret_value);

/* Whether bytes from outside are keys and values in turn, each with its NUL. */
bool agent_labels_sound(const char *labels, size_t size);

enum agent_state {
    AGENT_RUNNING, /* has processes, or reports */
    AGENT_EXITED,  /* its processes are gone, or it stopped reporting */
    AGENT_ORPHANS, /* its root process is gone but others live */
    AGENT_STATE_COUNT
};
const char *agent_state_name(enum agent_state state); /* "running", "exited", "orphans" */

/* What an agent used since it was added. Unknown values: the bit is missing in .known. */
enum totals_known {
    TOTALS_KNOWN_CPU = 1u << 0,
    TOTALS_KNOWN_DISK = 1u << 1,
    TOTALS_KNOWN_NETWORK = 1u << 2,
    TOTALS_KNOWN_MEMORY = 1u << 3,
    TOTALS_KNOWN_FDS = 1u << 4,
    TOTALS_KNOWN_PROCESSES = 1u << 5,
};

struct agent_totals {
    uint32_t known;
    uint64_t cpu_ns;
    uint64_t disk_read_bytes;
    uint64_t disk_written_bytes;
    uint64_t net_received_bytes;
    uint64_t net_sent_bytes;
    uint64_t memory_peak_bytes;
    uint64_t fds_peak;
    uint64_t processes_total; /* ever seen */
    double cpu_peak_percent;
};

#endif
