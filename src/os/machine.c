/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The machine, or the part of it that is ours.
 *
 * CPU: /proc/stat; busy is all but idle and iowait (guest time is inside user time already).
 * Where our affinity leaves CPUs out, only ours are added up; where a cgroup's quota is tighter
 * than the CPUs, busy is what that cgroup used, and there is no total. Memory: MemTotal less
 * MemAvailable, or the limiting cgroup's. Disk, network and open files are the whole machine's.
 */
#include "os/machine_internal.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <sched.h>
#include <string.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"
#include "os/procfs_internal.h"

#define TEXT_SIZE (64 * 1024) /* the cpu lines of some 500 CPUs, all of what else is read */

struct machine_reader {
    int proc_fd;
    int sys_fd; /* -1 = none */
    bool real;  /* a real procfs: our affinity speaks of its CPUs */
    struct own_cgroup *cgroup;
    struct devices disks;
    struct devices interfaces;
    char text[TEXT_SIZE];
};

void machine_reader_free(struct machine_reader *reader)
{
    if (!reader)
        return;
    io_closep(&reader->proc_fd);
    io_closep(&reader->sys_fd);
    own_cgroup_free(reader->cgroup);
    devices_done(&reader->disks);
    devices_done(&reader->interfaces);
    mem_free(reader);
}

static void machine_reader_freep(struct machine_reader **reader)
{
    machine_reader_free(*reader);
}

int machine_reader_new(const struct procfs_options *options, struct machine_reader **ret_reader,
    struct ac_error *error)
{
    const char *proc = options->proc_path ? options->proc_path : "/proc";
    const char *sys = options->sys_path ? options->sys_path : "/sys";
    struct machine_reader *reader CLEANUP(machine_reader_freep) = mem_alloc(sizeof(*reader));
    if (!reader)
        return error_set(error, -ENOMEM, "no memory for the machine's reader");
    reader->sys_fd = -1;
    reader->proc_fd = io_openat(AT_FDCWD, proc, O_RDONLY | O_DIRECTORY, 0);
    if (reader->proc_fd < 0)
        return error_errno(error, reader->proc_fd, "cannot open %s", proc);
    reader->real = procfs_is_real(reader->proc_fd);
    reader->sys_fd = io_openat(AT_FDCWD, sys, O_RDONLY | O_DIRECTORY, 0);
    if (reader->sys_fd == -EMFILE || reader->sys_fd == -ENFILE)
        return error_errno(error, reader->sys_fd, "cannot open %s", sys);
    int r = own_cgroup_new(reader->proc_fd, options->cgroup_path, &reader->cgroup);
    if (r < 0)
        return error_errno(error, r, "cannot read our own cgroup");
    *ret_reader = TAKE_PTR(reader);
    return 0;
}

/* ---- CPU */

struct cpu_times {
    uint64_t busy_ns;
    uint64_t total_ns;
};

/* The numbers behind "cpu" or "cpuN": user nice system idle iowait irq softirq steal guest
 * guest_nice. Old kernels end earlier. */
static int cpu_line(const char *c, const char *end, struct cpu_times *ret_times)
{
    uint64_t busy = 0, idle = 0, value;
    int fields = 0;
    for (; fields < 8; fields++) {
        while (c < end && *c == ' ')
            c++;
        if (parse_digits(&c, end, &value) < 0)
            break;
        if (fields == 3 || fields == 4)
            idle += value;
        else
            busy += value;
    }
    if (fields < 4)
        return -EINVAL;
    *ret_times = (struct cpu_times){busy * PROC_TICK_NS, (busy + idle) * PROC_TICK_NS};
    return 0;
}

struct cpu_lines {
    struct cpu_times all;  /* of the "cpu" line */
    struct cpu_times ours; /* summed over the CPUs that we may use */
    bool all_known;
    uint32_t online;
    uint32_t usable;
};

/* @mask NULL = all. */
static void cpu_lines_parse(
    const char *text, size_t length, const cpu_set_t *mask, struct cpu_lines *lines)
{
    const char *end = text + length;
    for (const char *line = text; line + 4 < end && memcmp(line, "cpu", 3) == 0;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line)), *c = line + 3;
        struct cpu_times times;
        uint64_t number;
        if (!stop)
            return;
        if (*c == ' ') {
            lines->all_known = cpu_line(c, stop, &lines->all) == 0;
        } else if (parse_digits(&c, stop, &number) == 0 && cpu_line(c, stop, &times) == 0) {
            lines->online++;
            if (!mask || (number < CPU_SETSIZE && CPU_ISSET(number, mask))) {
                lines->usable++;
                lines->ours.busy_ns += times.busy_ns;
                lines->ours.total_ns += times.total_ns;
            }
        }
        line = stop + 1;
    }
}

static double percent_of(uint64_t part, uint64_t whole)
{
    return whole > 0 ? (double)part / (double)whole * 100 : NAN;
}

static void read_cpu(struct machine_reader *reader, const struct cgroup_limits *limits,
    struct machine_record *machine)
{
    struct cpu_lines lines = {0};
    cpu_set_t mask;
    bool masked = reader->real && sched_getaffinity(0, sizeof(mask), &mask) == 0;
    ssize_t n = io_read_file(reader->proc_fd, "stat", reader->text, sizeof(reader->text));
    machine->cpu_boot_percent = NAN;
    if (n < 0)
        return;
    cpu_lines_parse(reader->text, (size_t)n, masked ? &mask : NULL, &lines);
    if (!lines.all_known || lines.usable == 0)
        return;
    machine->capacity_cores = lines.usable;
    if (limits->cpu_cores < machine->capacity_cores) {
        machine->capacity_cores = limits->cpu_cores;
        machine->cpu_busy_ns = limits->cpu_usage_ns;
        if (limits->cpu_usage_known)
            machine->known |= MACHINE_KNOWN_CPU;
        return;
    }
    const struct cpu_times *times = lines.usable < lines.online ? &lines.ours : &lines.all;
    machine->cpu_busy_ns = times->busy_ns;
    machine->cpu_total_ns = times->total_ns;
    machine->cpu_boot_percent = percent_of(times->busy_ns, times->total_ns);
    machine->known |= MACHINE_KNOWN_CPU;
}

/* ---- Memory and the rest */

static void read_memory(struct machine_reader *reader, const struct cgroup_limits *limits,
    struct machine_record *machine)
{
    uint64_t total_kib, available_kib;
    ssize_t n = io_read_file(reader->proc_fd, "meminfo", reader->text, sizeof(reader->text));
    if (n < 0 || procfs_parse_key(reader->text, (size_t)n, "MemTotal:", &total_kib) < 0 ||
        total_kib > UINT64_MAX / 1024)
        return;
    machine->capacity_memory_bytes = total_kib * 1024;
    if (limits->memory_bytes < machine->capacity_memory_bytes) {
        machine->capacity_memory_bytes = limits->memory_bytes;
        machine->memory_used_bytes = limits->memory_used_bytes;
        if (limits->memory_used_known)
            machine->known |= MACHINE_KNOWN_MEMORY;
        return;
    }
    if (procfs_parse_key(reader->text, (size_t)n, "MemAvailable:", &available_kib) < 0 ||
        available_kib > total_kib)
        return;
    machine->memory_used_bytes = (total_kib - available_kib) * 1024;
    machine->known |= MACHINE_KNOWN_MEMORY;
}

int machine_parse_pressure(const char *text, size_t length, double *ret_full_percent)
{
    static const char key[] = "full avg10=";
    const char *found = memmem(text, length, key, sizeof(key) - 1), *end = text + length;
    if (!found)
        return -EINVAL;
    found += sizeof(key) - 1;
    size_t n = 0;
    while (found + n < end && (isdigit((unsigned char)found[n]) || found[n] == '.'))
        n++;
    return parse_double(found, n, ret_full_percent) < 0 ? -EINVAL : 0;
}

static void read_pressure(struct machine_reader *reader, const struct cgroup_limits *limits,
    struct machine_record *machine)
{
    char text[256];
    if (limits->pressure_known && limits->memory_bytes == machine->capacity_memory_bytes) {
        machine->memory_full_percent = limits->memory_full_percent;
        machine->known |= MACHINE_KNOWN_PRESSURE;
        return;
    }
    ssize_t n = io_read_file(reader->proc_fd, "pressure/memory", text, sizeof(text));
    if (n > 0 && machine_parse_pressure(text, (size_t)n, &machine->memory_full_percent) == 0)
        machine->known |= MACHINE_KNOWN_PRESSURE;
}

/* "ALLOCATED 0 MAXIMUM" */
static void read_open_files(struct machine_reader *reader, struct machine_record *machine)
{
    char text[128];
    uint64_t numbers[3];
    ssize_t n = io_read_file(reader->proc_fd, "sys/fs/file-nr", text, sizeof(text));
    const char *c = text;
    for (size_t i = 0; i < ARRAY_SIZE(numbers); i++) {
        while (n > 0 && c < text + n && (*c == ' ' || *c == '\t'))
            c++;
        if (n < 0 || parse_digits(&c, text + n, &numbers[i]) < 0)
            return;
    }
    machine->fds = numbers[0];
    machine->fds_max = numbers[2] < UINT64_MAX / 4 ? numbers[2] : 0; /* systemd lifts the limit */
    machine->known |= MACHINE_KNOWN_FDS;
}

/* FNV-1a over the text of the id. */
static void read_boot_id(struct machine_reader *reader, struct machine_record *machine)
{
    char text[64];
    ssize_t n = io_read_file(reader->proc_fd, "sys/kernel/random/boot_id", text, sizeof(text));
    uint64_t hash = 0xcbf29ce484222325ull;
    for (ssize_t i = 0; i < n && text[i] != '\n'; i++)
        hash = (hash ^ (uint8_t)text[i]) * 0x100000001b3ull;
    machine->boot_id = n > 0 ? hash : 0;
}

int machine_reader_read(struct machine_reader *reader, struct machine_record *ret_machine)
{
    struct machine_record machine = {0};
    struct cgroup_limits limits;
    own_cgroup_read(reader->cgroup, &limits);
    read_cpu(reader, &limits, &machine);
    read_memory(reader, &limits, &machine);
    read_pressure(reader, &limits, &machine);
    read_open_files(reader, &machine);
    read_boot_id(reader, &machine);
    if (disks_read(&reader->disks, reader->proc_fd, reader->sys_fd, reader->text,
            sizeof(reader->text)) == 0) {
        machine.disk_read_bytes = reader->disks.in_total;
        machine.disk_written_bytes = reader->disks.out_total;
        machine.known |= MACHINE_KNOWN_DISK;
    }
    if (interfaces_read(&reader->interfaces, reader->proc_fd, reader->sys_fd, reader->text,
            sizeof(reader->text)) == 0) {
        machine.net_received_bytes = reader->interfaces.in_total;
        machine.net_sent_bytes = reader->interfaces.out_total;
        machine.known |= MACHINE_KNOWN_NETWORK;
    }
    if (machine.known == 0)
        return -ENOENT;
    *ret_machine = machine;
    return 0;
}
