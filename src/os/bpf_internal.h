/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the BPF collector share. Private to src/os/bpf_*.c. */
#ifndef AC_OS_BPF_INTERNAL_H
#define AC_OS_BPF_INTERNAL_H

#include "base/clock.h"
#include "model/sample.h"
#include "os/bpf/shared.h"
#include "os/bpf_collector.h"

struct agentcore_bpf;
struct bpf_link;

/* A slot in use: its last record, and what looks between samples saw. */
struct bpf_account {
    struct slot_record last;
    uint64_t rss_seen; /* at the last look or sample: grows? */
    uint64_t rss_sum;
    uint64_t rss_min;
    uint64_t rss_max;
    uint32_t looks;
    bool growing;
};

struct bpf_collector {
    struct collector_source source;
    struct agentcore_bpf *object;
    struct bpf_slot *slots; /* the map, shared with the kernel; [0, max_slot] */
    size_t slots_size;      /* in bytes, as mapped */
    uint32_t max_slot;
    struct machine_reader *machine;
    struct bpf_account *accounts; /* of slots in use, in the order of their adoption */
    struct slot_record *records;  /* [n_accounts] */
    uint32_t *positions;          /* slot -> position in accounts + 1; 0 = not in use */
    size_t n_accounts;
    size_t capacity;
    struct proc_record *procs;
    size_t n_procs;
    size_t procs_capacity;
    bool looking; /* some slot grows: the timer runs */
};

/* ---- Passes (bpf_pass.c) */

/* Runs the iterator behind @link to its end, and throws away what it writes. 0 or -errno. */
int bpf_pass_run(struct bpf_link *link);

/* Runs the tasks iterator into collector->procs. Returns 0; -ENOMEM; -errno. */
int bpf_pass_tasks(struct bpf_collector *collector);

/* Makes the process and its descendants members of @slot. Returns 0, -ESRCH, -errno. */
int bpf_pass_adopt(
    struct bpf_collector *collector, agent_slot slot, int32_t pid, uint64_t start_ticks);

/* Takes membership from all of @slot's processes. */
int bpf_pass_clear(struct bpf_collector *collector, agent_slot slot);

/* Sums the memory of members of the slots marked by .look into .rss_bytes. */
int bpf_pass_look(struct bpf_collector *collector);

/* ---- Accounts (bpf_accounts.c) */

/* Puts @slot in use with empty accounts. Returns 0 (also where it is), -ERANGE, -ENOMEM. */
int bpf_account_open(struct bpf_collector *collector, agent_slot slot);
void bpf_account_close(struct bpf_collector *collector, agent_slot slot);

/* Before a pass: what the last one found is void. */
void bpf_accounts_begin(struct bpf_collector *collector);

/* After a pass: fills collector->records. */
void bpf_accounts_end(struct bpf_collector *collector);

/* ---- Looks between samples (bpf_look.c) */

/* One look at every slot that grows. Returns 0 or -errno. */
int bpf_look(struct bpf_collector *collector);

/* At a sample: puts what the looks saw into @record and begins anew with the memory that the
 * sample shows. Sets account->growing. */
void bpf_look_close(struct bpf_account *account, struct slot_record *record, uint64_t rss_now);

#endif
