/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the BPF collector share. Private to src/os/bpf_*.c. */
#ifndef AC_OS_BPF_INTERNAL_H
#define AC_OS_BPF_INTERNAL_H

#include "base/clock.h"
#include "model/sample.h"
#include "os/bpf/shared.h"
#include "os/bpf_collector.h"
#include "os/watch.h"

struct agentcore_bpf;
struct bpf_link;

/* A slot in use: its last record, and what looks between samples saw. */
struct bpf_account {
    struct slot_record last;
    struct watch_gauge rss;
    uint64_t peak; /* the highest that one process, living or not, ever had as a member */
};

struct bpf_collector {
    struct collector_source source;
    struct agentcore_bpf *object;
    struct bpf_slot *slots; /* the map, shared with the kernel; as far as slots are in use */
    size_t slots_size;      /* in bytes, as mapped */
    uint32_t max_slot;
    struct machine_reader *machine;
    struct watch *watch;
    struct bpf_account *accounts; /* of slots in use, in the order of their adoption */
    struct slot_record *records;  /* [n_accounts] */
    uint32_t *positions;          /* slot -> position in accounts + 1; 0 = not in use */
    size_t n_accounts;
    size_t capacity;
    struct proc_record *procs;
    size_t n_procs;
    size_t procs_capacity;
    struct bpf_link **net_links;  /* [2 * (max_slot + 1)] by slot: egress, ingress; or NULL */
    struct bpf_net *net_counters; /* [net_cpus] to read into */
    int net_cpus;
};

/* ---- Passes (bpf_pass.c) */

/* Runs the iterator behind @link to its end, and throws away what it writes. 0 or -errno. */
int bpf_pass_run(struct bpf_link *link);

/* Runs the tasks iterator into collector->procs. Returns 0; -ENOMEM; -errno. */
int bpf_pass_tasks(struct bpf_collector *collector);

/* A process, or all in a cgroup; what is 0 counts for nothing. */
struct bpf_whom {
    int32_t pid;
    uint64_t start_ticks;
    uint64_t cgroup_id;
};

/* Makes them and their descendants members of @slot. Returns 0, -ESRCH, -errno. */
int bpf_pass_adopt(struct bpf_collector *collector, agent_slot slot, const struct bpf_whom *whom);

/* Takes membership from all of @slot's processes. */
int bpf_pass_clear(struct bpf_collector *collector, agent_slot slot);

/* Sums the memory of members of the slots marked by .look into .rss_bytes. */
int bpf_pass_look(struct bpf_collector *collector);

/* ---- Accounts (bpf_accounts.c) */

/* Maps the kernel's accounts up to @slot. Moves .slots. Returns 0 or -errno. */
int bpf_slots_reserve(struct bpf_collector *collector, agent_slot slot);

/* Puts @slot in use with empty accounts. Returns 0 (also where it is), -ERANGE, -ENOMEM. */
int bpf_account_open(struct bpf_collector *collector, agent_slot slot);
void bpf_account_close(struct bpf_collector *collector, agent_slot slot);

/* Before a pass: what the last one found is void. */
void bpf_accounts_begin(struct bpf_collector *collector);

/* After a pass: fills collector->records. Returns whether some slot's memory grows. */
bool bpf_accounts_end(struct bpf_collector *collector);

/* Looks at the memory of slots that grow: a watch_look. */
void bpf_accounts_look(void *collector);

/* ---- Network (bpf_net.c) */

/* Counts the packets of a cgroup for @slot from now on, in place of one before. Returns 0;
 * -EOPNOTSUPP without CAP_NET_ADMIN; -errno. */
int bpf_net_attach(struct bpf_collector *collector, agent_slot slot, int cgroup_dir_fd);
void bpf_net_detach(struct bpf_collector *collector, agent_slot slot);

/* Fills the network fields of a group's record, where they are counted. */
void bpf_net_read(struct bpf_collector *collector, struct group_record *record);

#endif
