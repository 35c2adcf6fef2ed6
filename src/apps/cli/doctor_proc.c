/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apps/cli/doctor.h"
#include "base/io.h"

#define LEAST_FILES 4096
#define LOOK_MAX    500

void doctor_proc(struct doctor *doctor, struct doctor_result *ret_result)
{
    char text[4096];
    struct proc_record self;
    ssize_t n = io_read_file(doctor->proc_fd, "self/stat", text, sizeof(text));
    bool machine = io_read_file(doctor->proc_fd, "stat", (char[64]){0}, 64) > 0;
    if (n > 0 && machine && procfs_parse_stat(text, (size_t)n, &self) == 0)
        doctor_say(ret_result, DOCTOR_OK, NULL, "/proc can be read");
    else
        doctor_say(ret_result, DOCTOR_MISSING,
            "Mount proc on /proc: nothing can be measured without it.", "/proc cannot be read");
}

/* The options of the mount on /proc, or of its file system: "...hidepid=2..." . */
static bool hides_processes(const char *mountinfo)
{
    for (const char *line = mountinfo; *line;) {
        size_t n = strcspn(line, "\n");
        const char *proc = memmem(line, n, " /proc ", 7);
        const char *option = proc ? memmem(line, n, "hidepid=", 8) : NULL;
        if (option && option[8] != '0' && strncmp(option + 8, "off", 3) != 0)
            return true;
        line += n + (line[n] != 0);
    }
    return false;
}

void doctor_hidepid(struct doctor *doctor, struct doctor_result *ret_result)
{
    char *text cleanup_free = mem_alloc(1 << 20);
    if (!text || io_read_file(doctor->proc_fd, "self/mountinfo", text, 1 << 20) < 0) {
        doctor_say(ret_result, DOCTOR_LIMITED, "Mount proc on /proc.", "cannot be read");
        return;
    }
    bool hidden = hides_processes(text),
         sees_init = faccessat(doctor->proc_fd, "1/stat", R_OK, 0) == 0;
    if (!hidden || sees_init)
        doctor_say(ret_result, DOCTOR_OK, NULL, "%s",
            hidden ? "hidepid is set, and this user sees all processes" : "all processes are seen");
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Run agentcored as root, or in the group named by the mount option gid=: processes of "
            "other users are hidden (hidepid).",
            "/proc hides other users' processes");
}

/* How many processes (of at most LOOK_MAX) there are, and whose disk accounts we may read. */
static void count_readable(const struct doctor *doctor, unsigned *ret_seen, unsigned *ret_readable)
{
    char path[300], text[512];
    int fd = openat(doctor->proc_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *directory = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;
    *ret_seen = *ret_readable = 0;
    if (!directory && fd >= 0)
        close(fd);
    while (directory && *ret_seen < LOOK_MAX && (entry = readdir(directory))) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9')
            continue;
        snprintf(path, sizeof(path), "%s/io", entry->d_name);
        ssize_t n = io_read_file(doctor->proc_fd, path, text, sizeof(text));
        if (n < 0 && n != -EACCES && n != -EPERM)
            continue; /* ended meanwhile, or has no such thing */
        (*ret_seen)++;
        *ret_readable += n >= 0;
    }
    if (directory)
        closedir(directory);
}

void doctor_io(struct doctor *doctor, struct doctor_result *ret_result)
{
    char text[512];
    unsigned seen, readable;
    static const char no_root[] =
        "Run agentcored as root: disk use and open files of other users' agents stay unknown.";
    static const char no_ptrace[] =
        "Give agentcored CAP_SYS_PTRACE: disk use and open files of processes that have more "
        "privileges than it stay unknown.";
    if (io_read_file(doctor->proc_fd, "self/io", text, sizeof(text)) < 0) {
        doctor_say(ret_result, DOCTOR_MISSING,
            "Use a kernel with CONFIG_TASK_IO_ACCOUNTING: disk use of agents stays unknown.",
            "no disk accounts per process");
        return;
    }
    count_readable(doctor, &seen, &readable);
    if (seen == readable)
        doctor_say(ret_result, DOCTOR_OK, NULL, "of all %u processes", seen);
    else if (doctor_holds(doctor, CAP_SYS_PTRACE))
        doctor_say(ret_result, DOCTOR_OK, NULL,
            "of %u of %u processes; the kernel keeps the rest to itself", readable, seen);
    else
        doctor_say(ret_result, DOCTOR_LIMITED, geteuid() == 0 ? no_ptrace : no_root,
            "of %u of %u processes", readable, seen);
}

void doctor_pss(struct doctor *doctor, struct doctor_result *ret_result)
{
    char text[2048];
    if (io_read_file(doctor->proc_fd, "self/smaps_rollup", text, sizeof(text)) <= 0)
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Linux 4.14 or newer with CONFIG_PROC_PAGE_MONITOR tells it; PSS stays unknown.",
            "no /proc/PID/smaps_rollup");
    else
        doctor_say(ret_result, DOCTOR_OK, NULL, "/proc/PID/smaps_rollup");
}

void doctor_descriptors(struct doctor *doctor, struct doctor_result *ret_result)
{
    struct stat info;
    if (fstatat(doctor->proc_fd, "self/fd", &info, 0) == 0 && info.st_size > 0)
        doctor_say(ret_result, DOCTOR_OK, NULL, "counted by the kernel");
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Linux 6.2 or newer counts open files five times cheaper.",
            "counted by listing /proc/PID/fd");
}

void doctor_open_files(struct doctor *doctor, struct doctor_result *ret_result)
{
    struct rlimit limit = {0};
    (void)doctor;
    getrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_max >= LEAST_FILES)
        doctor_say(ret_result, DOCTOR_OK, NULL, "up to %llu (RLIMIT_NOFILE)",
            (unsigned long long)limit.rlim_max);
    else
        doctor_say(ret_result, DOCTOR_LIMITED,
            "Raise the hard limit to 4096 or more (ulimit -Hn, systemd: LimitNOFILE=), so that "
            "files of /proc stay open between samples.",
            "only %llu (RLIMIT_NOFILE)", (unsigned long long)limit.rlim_max);
}

void doctor_ptrace(struct doctor *doctor, struct doctor_result *ret_result)
{
    char text[16] = "";
    if (io_read_file(doctor->proc_fd, "sys/kernel/yama/ptrace_scope", text, sizeof(text)) <= 0) {
        doctor_say(ret_result, DOCTOR_OK, NULL, "not restricted");
        return;
    }
    text[strcspn(text, "\n")] = 0;
    bool strict = text[0] == '2' || text[0] == '3';
    doctor_say(ret_result, strict && geteuid() != 0 ? DOCTOR_LIMITED : DOCTOR_OK,
        strict && geteuid() != 0
            ? "Set kernel.yama.ptrace_scope to 0 or 1, or run agentcored as root."
            : NULL,
        "kernel.yama.ptrace_scope is %s", text);
}

void doctor_devices(struct doctor *doctor, struct doctor_result *ret_result)
{
    if (!doctor->have_machine) {
        doctor_say(ret_result, DOCTOR_MISSING, "Mount /proc and /sys.", "cannot be measured");
        return;
    }
    bool disk = doctor->machine.known & MACHINE_KNOWN_DISK;
    bool network = doctor->machine.known & MACHINE_KNOWN_NETWORK;
    doctor_say(ret_result, disk && network ? DOCTOR_OK : DOCTOR_LIMITED,
        disk && network ? NULL : "Mount /sys, and give this namespace a network device.",
        "disk %s, network %s", disk ? "yes" : "unknown", network ? "yes" : "unknown");
}
