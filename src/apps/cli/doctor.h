/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What this machine lets us measure and enforce. A check looks at one thing and finds it ok,
 * limited or missing; cmd_doctor.c has the table of them, doctor_*.c how they look.
 */
#ifndef AC_CLI_DOCTOR_H
#define AC_CLI_DOCTOR_H

#include "apps/cli/cli.h"
#include "os/procfs.h"

enum doctor_state { DOCTOR_OK, DOCTOR_LIMITED, DOCTOR_MISSING };

struct doctor_result {
    enum doctor_state state;
    char found[200];    /* what there is */
    const char *advice; /* what to do about it; NULL where nothing is to be done */
};

/* What checks look at. Directories are descriptors, so that a test can point them elsewhere. */
struct doctor {
    struct cli *cli;
    int proc_fd;
    int sys_fd;
    char cgroup_path[512]; /* our own group's directory in cgroup v2; "" = none */
    bool have_machine;
    struct machine_record machine;
};

typedef void (*doctor_look)(struct doctor *doctor, struct doctor_result *ret_result);

/* Fills in a result; the text is made safe. */
void doctor_say(struct doctor_result *result, enum doctor_state state, const char *advice,
    const char *format, ...) __attribute__((format(printf, 4, 5)));

/* Finds our own cgroup v2 directory. */
void doctor_find_cgroup(struct doctor *doctor);

/* Whether this user has the capability (CAP_...) in effect. */
bool doctor_holds(const struct doctor *doctor, unsigned capability);

/* doctor_kernel.c: what the kernel offers */
void doctor_kernel(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_btf(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_capabilities(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_psi(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_cgroup(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_controllers(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_delegation(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_capacity(struct doctor *doctor, struct doctor_result *ret_result);

/* doctor_proc.c: what /proc shows this user */
void doctor_proc(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_hidepid(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_io(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_descriptors(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_open_files(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_pss(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_ptrace(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_devices(struct doctor *doctor, struct doctor_result *ret_result);

/* doctor_daemon.c: the daemon and its state */
void doctor_gpu(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_collector(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_daemon(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_state_directory(struct doctor *doctor, struct doctor_result *ret_result);
void doctor_disk_space(struct doctor *doctor, struct doctor_result *ret_result);

#endif
