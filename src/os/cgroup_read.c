/* SPDX-License-Identifier: Apache-2.0 */
#include "os/cgroup_read.h"

#include <errno.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/parse.h"
#include "os/procfs_internal.h"

#define TEXT_MAX 16384 /* io.stat has a line per device; others are below 4 KiB */

enum file {
    FILE_CPU,
    FILE_MEMORY,
    FILE_MEMORY_PEAK,
    FILE_MEMORY_STAT,
    FILE_MEMORY_EVENTS,
    FILE_MEMORY_PRESSURE,
    FILE_IO,
    FILE_PIDS,
    FILE_COUNT
};

static const char *const file_names[FILE_COUNT] = {"cpu.stat", "memory.current", "memory.peak",
    "memory.stat", "memory.events", "memory.pressure", "io.stat", "pids.current"};

struct cgroup_reader {
    int dir_fd;
    int fds[FILE_COUNT];
    bool peak_resets;
    uint64_t peak; /* as last read, where it cannot be reset */
    uint64_t id;
    uint64_t inactive_file;      /* as last read */
    uint64_t inactive_file_most; /* since the last full read */
    char text[TEXT_MAX];
};

void cgroup_reader_free(struct cgroup_reader *reader)
{
    if (!reader)
        return;
    for (size_t i = 0; i < FILE_COUNT; i++)
        io_closep(&reader->fds[i]);
    io_closep(&reader->dir_fd);
    mem_free(reader);
}

static void reader_freep(struct cgroup_reader **reader)
{
    cgroup_reader_free(*reader);
}

static bool is_cgroupfs(int fd)
{
    struct statfs status;
    return fstatfs(fd, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC;
}

/* Any write through a descriptor that was opened for both resets what it reads: 6.12. */
static void open_peak(struct cgroup_reader *reader)
{
    int *fd = &reader->fds[FILE_MEMORY_PEAK];

    *fd = io_openat(reader->dir_fd, file_names[FILE_MEMORY_PEAK], O_RDWR, 0);
    reader->peak_resets = *fd >= 0 && is_cgroupfs(*fd) && write(*fd, "r", 1) == 1;
    if (*fd < 0)
        *fd = io_openat(reader->dir_fd, file_names[FILE_MEMORY_PEAK], O_RDONLY, 0);
}

/* A missing file is a missing field; no descriptor left is an error. */
static int open_files(struct cgroup_reader *reader)
{
    for (size_t i = 0; i < FILE_COUNT; i++) {
        if (i == FILE_MEMORY_PEAK)
            open_peak(reader);
        else
            reader->fds[i] = io_openat(reader->dir_fd, file_names[i], O_RDONLY, 0);
        if (reader->fds[i] == -EMFILE || reader->fds[i] == -ENFILE)
            return reader->fds[i];
    }
    return 0;
}

static void memory_begin(struct cgroup_reader *reader);

int cgroup_reader_new(int dir_fd, struct cgroup_reader **ret_reader)
{
    struct stat status;
    int events cleanup_close = io_openat(dir_fd, "cgroup.events", O_RDONLY, 0);
    if (events < 0)
        return events;
    struct cgroup_reader *reader CLEANUP(reader_freep) = mem_alloc(sizeof(*reader));
    if (!reader)
        return -ENOMEM;
    for (size_t i = 0; i < FILE_COUNT; i++)
        reader->fds[i] = -1;
    reader->dir_fd = io_openat(dir_fd, ".", O_RDONLY | O_DIRECTORY, 0);
    if (reader->dir_fd < 0)
        return reader->dir_fd;
    if (fstat(reader->dir_fd, &status) < 0)
        return -errno;
    reader->id = status.st_ino;
    int r = open_files(reader);
    if (r < 0)
        return r;
    memory_begin(reader);
    *ret_reader = TAKE_PTR(reader);
    return 0;
}

int cgroup_reader_events_fd(const struct cgroup_reader *reader)
{
    return MAX(reader->fds[FILE_MEMORY_EVENTS], -1);
}

int cgroup_reader_dir_fd(const struct cgroup_reader *reader)
{
    return reader->dir_fd;
}

uint64_t cgroup_reader_id(const struct cgroup_reader *reader)
{
    return reader->id;
}

/* ---- Parsing */

static void add_value(const char *word, const char *end, const char *key, uint64_t *sum)
{
    size_t length = strlen(key);
    uint64_t value;

    if ((size_t)(end - word) > length && memcmp(word, key, length) == 0 &&
        parse_u64(word + length, (size_t)(end - word) - length, &value) == 0)
        *sum += value;
}

int cgroup_parse_io_stat(const char *text, size_t length, uint64_t *ret_read, uint64_t *ret_written)
{
    const char *end = text + length;
    uint64_t read_bytes = 0, written_bytes = 0;

    if (length > 0 && end[-1] != '\n')
        return -EINVAL; /* cut: a number may lack digits */
    for (const char *word = text; word < end;) {
        const char *stop = word;
        while (stop < end && *stop != ' ' && *stop != '\n')
            stop++;
        add_value(word, stop, "rbytes=", &read_bytes);
        add_value(word, stop, "wbytes=", &written_bytes);
        word = stop + 1;
    }
    *ret_read = read_bytes;
    *ret_written = written_bytes;
    return 0;
}

int cgroup_parse_pressure(const char *text, size_t length, double *ret_full_percent)
{
    static const char key[] = "full avg10=";
    const char *found = memmem(text, length, key, sizeof(key) - 1);

    if (!found)
        return -EINVAL;
    const char *number = found + sizeof(key) - 1;
    const char *stop = memchr(number, ' ', length - (size_t)(number - text));
    if (!stop)
        return -EINVAL;
    return parse_double(number, (size_t)(stop - number), ret_full_percent);
}

/* ---- Reading */

/* Returns bytes; -ENODEV of a group that is gone; -errno. */
static ssize_t read_text(struct cgroup_reader *reader, enum file file)
{
    if (reader->fds[file] < 0)
        return -EOPNOTSUPP;
    return procfs_read_once(reader->fds[file], reader->text, sizeof(reader->text));
}

static int read_number(struct cgroup_reader *reader, enum file file, uint64_t *ret_value)
{
    ssize_t n = read_text(reader, file);

    if (n < 0)
        return (int)n;
    if (n > 0 && reader->text[n - 1] == '\n')
        n--;
    return parse_u64(reader->text, (size_t)n, ret_value);
}

static int read_key(
    struct cgroup_reader *reader, enum file file, const char *key, uint64_t *ret_value)
{
    ssize_t n = read_text(reader, file);
    return n < 0 ? (int)n : procfs_parse_key(reader->text, (size_t)n, key, ret_value);
}

static int read_cpu(struct cgroup_reader *reader, struct group_record *record)
{
    uint64_t usec;
    int r = read_key(reader, FILE_CPU, "usage_usec", &usec);

    if (r == 0) {
        record->cpu_ns = usec * NS_PER_USEC;
        record->known |= GROUP_KNOWN_CPU;
    }
    return r;
}

static uint64_t working_set(uint64_t current, uint64_t inactive_file)
{
    return current > inactive_file ? current - inactive_file : 0;
}

static void read_inactive_file(struct cgroup_reader *reader)
{
    if (read_key(reader, FILE_MEMORY_STAT, "inactive_file", &reader->inactive_file) < 0)
        reader->inactive_file = 0;
    reader->inactive_file_most = MAX(reader->inactive_file_most, reader->inactive_file);
}

/* What was there before is not of the first interval. */
static void memory_begin(struct cgroup_reader *reader)
{
    read_inactive_file(reader);
    if (!reader->peak_resets)
        (void)read_number(reader, FILE_MEMORY_PEAK, &reader->peak);
}

static void read_peak(struct cgroup_reader *reader, struct group_record *record)
{
    uint64_t peak;

    if (read_number(reader, FILE_MEMORY_PEAK, &peak) < 0)
        return;
    record->memory_peak_bytes = record->memory_bytes;
    record->known |= GROUP_KNOWN_MEMORY_PEAK;
    if (reader->peak_resets || peak > reader->peak)
        record->memory_peak_bytes =
            MAX(record->memory_bytes, working_set(peak, reader->inactive_file_most));
    reader->peak = peak;
    if (reader->peak_resets)
        (void)!write(reader->fds[FILE_MEMORY_PEAK], "r", 1);
}

static void read_memory(struct cgroup_reader *reader, struct group_record *record)
{
    uint64_t current;

    if (read_number(reader, FILE_MEMORY, &current) < 0)
        return;
    read_inactive_file(reader);
    record->memory_bytes = working_set(current, reader->inactive_file);
    record->known |= GROUP_KNOWN_MEMORY;
    read_peak(reader, record);
    reader->inactive_file_most = reader->inactive_file;
}

static void read_pressure(struct cgroup_reader *reader, struct group_record *record)
{
    ssize_t n = read_text(reader, FILE_MEMORY_PRESSURE);

    if (n > 0 && cgroup_parse_pressure(reader->text, (size_t)n, &record->memory_full_percent) == 0)
        record->known |= GROUP_KNOWN_PRESSURE;
}

static void read_rest(struct cgroup_reader *reader, struct group_record *record)
{
    struct cgroup_memory_events events;
    ssize_t n = read_text(reader, FILE_IO);

    if (n >= 0 && cgroup_parse_io_stat(
                      reader->text, (size_t)n, &record->read_bytes, &record->written_bytes) == 0)
        record->known |= GROUP_KNOWN_IO;
    if (read_number(reader, FILE_PIDS, &record->pids) == 0)
        record->known |= GROUP_KNOWN_PIDS;
    if (cgroup_reader_events(reader, &events) == CGROUP_READ) {
        record->memory_high_events = events.high;
        record->memory_max_events = events.max;
        record->oom_kills = events.oom_kill;
        record->known |= GROUP_KNOWN_EVENTS;
    }
    read_pressure(reader, record);
}

int cgroup_reader_read(struct cgroup_reader *reader, struct group_record *ret_record)
{
    struct group_record record = {.cgroup_id = reader->id};

    /* cpu.stat is in every group, so that it tells whether the group is there. */
    int r = read_cpu(reader, &record);
    if (r == -ENODEV)
        return CGROUP_GONE;
    if (r < 0)
        return r;
    read_memory(reader, &record);
    read_rest(reader, &record);
    *ret_record = record;
    return CGROUP_READ;
}

int cgroup_reader_memory(struct cgroup_reader *reader, uint64_t *ret_bytes)
{
    uint64_t current;
    int r = read_number(reader, FILE_MEMORY, &current);

    if (r == -ENODEV)
        return CGROUP_GONE;
    if (r < 0)
        return r;
    read_inactive_file(reader);
    *ret_bytes = working_set(current, reader->inactive_file);
    return CGROUP_READ;
}

int cgroup_reader_events(struct cgroup_reader *reader, struct cgroup_memory_events *ret_events)
{
    struct cgroup_memory_events events = {0};
    ssize_t n = read_text(reader, FILE_MEMORY_EVENTS);

    if (n == -ENODEV)
        return CGROUP_GONE;
    if (n < 0)
        return (int)n;
    size_t length = (size_t)n;
    int r = procfs_parse_key(reader->text, length, "high", &events.high);
    if (r == 0)
        r = procfs_parse_key(reader->text, length, "max", &events.max);
    if (r == 0)
        r = procfs_parse_key(reader->text, length, "oom", &events.oom);
    if (r == 0)
        r = procfs_parse_key(reader->text, length, "oom_kill", &events.oom_kill);
    if (r < 0)
        return r;
    *ret_events = events;
    return CGROUP_READ;
}
