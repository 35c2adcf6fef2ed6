/* SPDX-License-Identifier: GPL-2.0 OR BSD-2-Clause */
/* Maps and small helpers that every program uses. */
#ifndef AC_OS_BPF_COMMON_H
#define AC_OS_BPF_COMMON_H

#include "kernel.bpf.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "shared.h"

#define READ_ONCE(x)     (*(volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define NOINLINE         __attribute__((noinline))

/* Membership by tgid; userland sizes it by pid_max. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u32);
} members SEC(".maps");

/* The accounts; userland sizes it by the largest slot. */
struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(map_flags, BPF_F_MMAPABLE);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, struct bpf_slot);
} slots SEC(".maps");

/* Threads of members between exit and release: what was accounted at exit. */
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16384);
    __type(key, u64);
    __type(value, struct bpf_used);
} dying SEC(".maps");

/* Set by userland before loading. */
const volatile u32 page_shift = 12;
const volatile u32 exact_cpus = 0; /* RSS is summed over this many CPUs; 0: as /proc has it */
const volatile u64 secret = 1;     /* odd */
const volatile u32 known_process;  /* bits of proc_record.known: what every record has, */
const volatile u32 known_memory;   /* with an address space, */
const volatile u32 known_mm;       /* with one that can be named, */
const volatile u32 known_files;    /* with a descriptor table */

/* The pass going on has visited every pid up to here: it goes in ascending order. */
u32 cursor;
struct bpf_health health;

/* A number that is equal for equal pointers. The verifier allows no arithmetic on a pointer but
 * the difference of two; the second is always the same one. Multiplied by a secret, because a
 * kernel address is not for user space to see. */
static __always_inline u64 pointer_id(const void *pointer)
{
    u64 id = (u64)(unsigned long)pointer;

    asm volatile("%0 -= %1" : "+r"(id) : "r"(&health));
    return id * secret;
}

static __always_inline u32 member_check(const struct signal_struct *signal)
{
    return (u32)(pointer_id(signal) >> 32) & ~BPF_SLOT_MASK;
}

static __always_inline u32 member_slot(u32 tgid, const struct signal_struct *signal)
{
    u32 *word = bpf_map_lookup_elem(&members, &tgid);

    if (!word)
        return 0;
    u32 value = READ_ONCE(*word);
    if (!(value & BPF_SLOT_MASK) || (value & ~BPF_SLOT_MASK) != member_check(signal))
        return 0;
    return value & BPF_SLOT_MASK;
}

static __always_inline void member_set(u32 tgid, const struct signal_struct *signal, u32 slot)
{
    u32 *word = bpf_map_lookup_elem(&members, &tgid);

    if (word)
        WRITE_ONCE(*word, slot ? (member_check(signal) | slot) : 0);
    else if (slot)
        __sync_fetch_and_add(&health.pid_range, 1);
}

static __always_inline struct bpf_slot *slot_get(u32 slot)
{
    return bpf_map_lookup_elem(&slots, &slot);
}

static __always_inline void used_add_atomic(struct bpf_used *to, const struct bpf_used *what)
{
    if (what->cpu_ns)
        __sync_fetch_and_add(&to->cpu_ns, what->cpu_ns);
    if (what->read_bytes)
        __sync_fetch_and_add(&to->read_bytes, what->read_bytes);
    if (what->written_bytes)
        __sync_fetch_and_add(&to->written_bytes, what->written_bytes);
}

static __always_inline void used_add(struct bpf_used *to, const struct bpf_used *what)
{
    to->cpu_ns += what->cpu_ns;
    to->read_bytes += what->read_bytes;
    to->written_bytes += what->written_bytes;
}

static __always_inline void used_subtract(struct bpf_used *from, const struct bpf_used *what)
{
    from->cpu_ns -= what->cpu_ns;
    from->read_bytes -= what->read_bytes;
    from->written_bytes -= what->written_bytes;
}

#endif
