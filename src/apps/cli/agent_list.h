/* SPDX-License-Identifier: Apache-2.0 */
/* The list of agents that ps and top show: fetched, filtered, sorted, as rows of a table. */
#ifndef AC_CLI_AGENT_LIST_H
#define AC_CLI_AGENT_LIST_H

#include "apps/cli/cli.h"

#define AGENT_STATE_WORDS "running|exited|orphans"

enum agent_sort {
    SORT_ID,
    SORT_PHILOSOPHY,
    SORT_STATE,
    SORT_CPU,
    SORT_MEMORY,
    SORT_DISK,
    SORT_NETWORK,
    SORT_FILES,
    SORT_PROCESSES,
    SORT_AGE,
    SORT_COUNT
};
#define AGENT_SORT_WORDS "id|philosophy|state|cpu|memory|disk|network|files|processes|age"

/* Zero is: everything. */
struct agent_filter {
    const char *state;
    const char *philosophy;
    const struct opt_list *labels; /* KEY=VALUE or KEY; all of them */
    const char *text;              /* within id, philosophy, template or command */
};

struct agent_list {
    json_t *answer;        /* {"agents": [...]}, owned */
    const json_t **agents; /* borrowed from it, in order */
    size_t n_agents;
};

/* The request's path for a filter's part that the daemon applies. */
void agent_list_path(const struct agent_filter *filter, struct buf *path);

/* Takes over @answer: filters by text, and sorts: numbers from the largest, words from
 * A; unknown numbers last; equal ones by id. Returns 0 or -ENOMEM. */
int agent_list_make(json_t *answer, const struct agent_filter *filter, enum agent_sort sort,
    bool reverse, struct agent_list *ret_list);
void agent_list_done(struct agent_list *list);

/* A table with one row per agent. Returns 0 or -ENOMEM. */
int agent_list_table(const struct agent_list *list, bool wide, struct table **ret_table);

#endif
