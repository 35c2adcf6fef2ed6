/* SPDX-License-Identifier: Apache-2.0 */
#include "os/proc_facts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/io.h"

#define ENVIRONMENT_MAX  (2u << 20)
#define CGROUP_TEXT_SIZE 8192

static const char variable[] = "AGENTCORE_AGENT_ID=";

void environment_scan_feed(struct environment_scan *scan, const char *bytes, size_t size)
{
    const size_t length = sizeof(variable) - 1;
    for (size_t i = 0; i < size && !scan->ended; i++) {
        char c = bytes[i];
        if (c == 0) {
            scan->ended = scan->found;
            scan->at = 0;
            scan->skipping = false;
        } else if (scan->found) {
            if (scan->size < sizeof(scan->value) - 1)
                scan->value[scan->size] = c;
            scan->size++;
        } else if (!scan->skipping) {
            scan->skipping = c != variable[scan->at];
            scan->at++;
            scan->found = !scan->skipping && scan->at == length;
        } else {
            const char *nul = memchr(bytes + i, 0, size - i);
            if (!nul)
                return;
            i = (size_t)(nul - bytes) - 1;
        }
    }
}

static bool is_gone(ssize_t r)
{
    return r == -ENOENT || r == -ESRCH;
}

/* Returns 0 (the environment is known), -ESRCH, or -errno (it is not). */
static int read_environment(int proc_fd, int32_t pid, struct process_facts *facts)
{
    char path[32], chunk[4096];
    struct environment_scan scan = {0};
    snprintf(path, sizeof(path), "%d/environ", pid);
    int fd cleanup_close = io_openat(proc_fd, path, O_RDONLY, 0);
    if (fd < 0)
        return fd;
    size_t total = 0;
    while (!scan.ended) {
        ssize_t n = fault_hit(FAULT_SYSCALL) ? -1 : read(fd, chunk, sizeof(chunk));
        if (n < 0)
            return errno == ESRCH ? -ESRCH : -EIO;
        if (n == 0)
            break;
        total += (size_t)n;
        if (total > ENVIRONMENT_MAX)
            return -EFBIG;
        environment_scan_feed(&scan, chunk, (size_t)n);
    }
    memcpy(facts->agent_id, scan.value, sizeof(facts->agent_id));
    facts->known |= FACTS_ENVIRONMENT;
    return 0;
}

static int read_command(int proc_fd, int32_t pid, struct process_facts *facts)
{
    char path[32];
    snprintf(path, sizeof(path), "%d/cmdline", pid);
    ssize_t n = io_read_file(proc_fd, path, facts->command, sizeof(facts->command));
    if (n < 0)
        return (int)n;
    facts->command_size = (uint32_t)n;
    facts->known |= FACTS_COMMAND;
    return 0;
}

/* The path of one line "ID:CONTROLLERS:PATH", and whether it is the unified hierarchy's. */
static bool parse_line(
    const char *line, size_t length, const char **ret_path, size_t *ret_length, bool *ret_unified)
{
    const char *first = memchr(line, ':', length);
    if (!first)
        return false;
    size_t rest = length - (size_t)(first + 1 - line);
    const char *second = memchr(first + 1, ':', rest);
    if (!second || second + 1 >= line + length || second[1] != '/')
        return false;
    *ret_unified = second == first + 1 && first == line + 1 && line[0] == '0';
    *ret_path = second + 1;
    *ret_length = length - (size_t)(second + 1 - line);
    return true;
}

int proc_facts_parse_cgroup(const char *text, size_t length, struct process_facts *facts)
{
    const char *path, *best = NULL;
    size_t size, best_size = 0;
    bool unified, best_unified = false;
    for (size_t at = 0; at < length;) {
        const char *newline = memchr(text + at, '\n', length - at);
        size_t line = newline ? (size_t)(newline - text) - at : length - at;
        if (parse_line(text + at, line, &path, &size, &unified) && size < sizeof(facts->cgroup) &&
            !memchr(path, 0, size)) {
            bool better = !best || (size > 1 && (best_size <= 1 || unified));
            if (better) {
                best = path;
                best_size = size;
                best_unified = unified;
            }
        }
        at += line + 1;
    }
    if (!best)
        return -EINVAL;
    memcpy(facts->cgroup, best, best_size);
    facts->cgroup[best_size] = 0;
    facts->cgroup_v2 = best_unified && best_size > 1;
    facts->known |= FACTS_CGROUP;
    return 0;
}

static int read_cgroup(int proc_fd, int32_t pid, struct process_facts *facts)
{
    char path[32], text[CGROUP_TEXT_SIZE];
    snprintf(path, sizeof(path), "%d/cgroup", pid);
    ssize_t n = io_read_file(proc_fd, path, text, sizeof(text));
    return n < 0 ? (int)n : proc_facts_parse_cgroup(text, (size_t)n, facts);
}

int proc_facts_read(int proc_fd, int32_t pid, uint32_t wanted, struct process_facts *facts)
{
    facts->known = 0;
    facts->command_size = 0;
    facts->cgroup[0] = facts->agent_id[0] = 0;
    facts->cgroup_v2 = false;
    int r = wanted & FACTS_COMMAND ? read_command(proc_fd, pid, facts) : 0;
    if (!is_gone(r) && (wanted & FACTS_CGROUP))
        r = read_cgroup(proc_fd, pid, facts);
    if (!is_gone(r) && (wanted & FACTS_ENVIRONMENT))
        r = read_environment(proc_fd, pid, facts);
    return is_gone(r) ? -ESRCH : 0;
}
