/* SPDX-License-Identifier: Apache-2.0 */
#include "os/machine_internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/mem.h"
#include "base/parse.h"

#define SECTOR_BYTES 512 /* of /proc/diskstats, whatever the device's own */
#define SYS_PATH_MAX (DEVICE_NAME_MAX + 48)

struct device_kind {
    int (*parse)(const char *line, size_t length, char ret_name[DEVICE_NAME_MAX], uint64_t *ret_in,
        uint64_t *ret_out);
    void (*judge)(int sys_fd, struct device *device); /* sets .counted and .hardware */
};

void devices_done(struct devices *devices)
{
    mem_free(devices->array);
    *devices = (struct devices){0};
}

static uint64_t grown(uint64_t now, uint64_t before)
{
    return now >= before ? now - before : now;
}

static struct device *device_find(struct devices *devices, const char *name, size_t hint)
{
    /* The files list devices in the same order each time. */
    if (hint < devices->count && strcmp(devices->array[hint].name, name) == 0)
        return &devices->array[hint];
    for (size_t i = 0; i < devices->count; i++) {
        if (strcmp(devices->array[i].name, name) == 0)
            return &devices->array[i];
    }
    return NULL;
}

static int device_add(struct devices *devices, const char *name, struct device **ret_device)
{
    if (devices->count >= DEVICES_MAX)
        return -ENOSPC;
    if (devices->count == devices->capacity) {
        size_t capacity = MAX(devices->capacity * 2, (size_t)16);
        struct device *array = mem_resize_array(devices->array, capacity, sizeof(*array));
        if (!array)
            return -ENOMEM;
        devices->array = array;
        devices->capacity = capacity;
    }
    struct device *device = &devices->array[devices->count++];
    *device = (struct device){0};
    snprintf(device->name, sizeof(device->name), "%s", name);
    *ret_device = device;
    return 0;
}

static int device_update(struct devices *devices, const struct device_kind *kind, int sys_fd,
    const char *line, size_t length, size_t hint)
{
    char name[DEVICE_NAME_MAX];
    uint64_t in, out;
    if (kind->parse(line, length, name, &in, &out) < 0)
        return 0;
    struct device *device = device_find(devices, name, hint);
    if (!device) {
        int r = device_add(devices, name, &device);
        if (r < 0)
            return r == -ENOSPC ? 0 : r;
        kind->judge(sys_fd, device);
        if (devices->started) {
            device->in = in;
            device->out = out;
        }
    }
    device->in_growth = grown(in, device->in);
    device->out_growth = grown(out, device->out);
    device->in = in;
    device->out = out;
    device->seen = true;
    return 0;
}

/* Adds up, and forgets devices that went away: one of the same name may be another one. */
static void devices_sum(struct devices *devices)
{
    size_t kept = 0;
    bool any_hardware = false;
    for (size_t i = 0; i < devices->count; i++)
        any_hardware |= devices->array[i].seen && devices->array[i].hardware;
    for (size_t i = 0; i < devices->count; i++) {
        struct device *device = &devices->array[i];
        if (!device->seen)
            continue;
        if (any_hardware ? device->hardware : device->counted) {
            devices->in_total += device->in_growth;
            devices->out_total += device->out_growth;
        }
        devices->array[kept++] = *device;
    }
    devices->count = kept;
    devices->started = true;
}

static int devices_update(struct devices *devices, const struct device_kind *kind, int sys_fd,
    const char *text, size_t length)
{
    size_t number = 0;
    const char *end = text + length;
    for (size_t i = 0; i < devices->count; i++)
        devices->array[i].seen = false;
    for (const char *line = text; line < end; number++) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            break; /* a line that was cut */
        int r = device_update(devices, kind, sys_fd, line, (size_t)(stop - line), number);
        if (r < 0)
            return r;
        line = stop + 1;
    }
    devices_sum(devices);
    return 0;
}

static bool sys_exists(int sys_fd, const char *directory, const char *name, const char *file)
{
    char path[SYS_PATH_MAX];
    struct stat status;
    snprintf(path, sizeof(path), "%s/%s%s%s", directory, name, file ? "/" : "", file ? file : "");
    return fstatat(sys_fd, path, &status, 0) == 0;
}

/* ---- Disks */

static int next_word(
    const char **cursor, const char *end, const char **ret_word, size_t *ret_length)
{
    const char *c = *cursor;
    while (c < end && (*c == ' ' || *c == '\t'))
        c++;
    const char *word = c;
    while (c < end && *c != ' ' && *c != '\t')
        c++;
    if (c == word)
        return -EINVAL;
    *cursor = c;
    *ret_word = word;
    *ret_length = (size_t)(c - word);
    return 0;
}

/* Moves past @count words and reads the number behind them. */
static int number_after(const char **cursor, const char *end, int count, uint64_t *ret_value)
{
    const char *word;
    size_t length;
    for (int i = 0; i <= count; i++) {
        if (next_word(cursor, end, &word, &length) < 0)
            return -EINVAL;
    }
    return parse_u64(word, length, ret_value) < 0 ? -EINVAL : 0;
}

/* Names become parts of paths below /sys, where '!' stands for '/'. */
static int copy_name(const char *name, size_t length, char ret_name[DEVICE_NAME_MAX])
{
    if (length == 0 || length >= DEVICE_NAME_MAX || name[0] == '.')
        return -EINVAL;
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)name[i] <= ' ')
            return -EINVAL;
        ret_name[i] = name[i] == '/' ? '!' : name[i];
    }
    ret_name[length] = 0;
    return 0;
}

/* "   8       0 sda READS MERGED SECTORS MS WRITES MERGED SECTORS ..." */
int disks_parse_line(const char *line, size_t length, char ret_name[DEVICE_NAME_MAX],
    uint64_t *ret_read, uint64_t *ret_written)
{
    const char *c = line, *end = line + length, *name;
    size_t name_length;
    uint64_t minor, sectors_read, sectors_written;
    if (number_after(&c, end, 1, &minor) < 0 || next_word(&c, end, &name, &name_length) < 0 ||
        number_after(&c, end, 2, &sectors_read) < 0 ||
        number_after(&c, end, 3, &sectors_written) < 0 ||
        copy_name(name, name_length, ret_name) < 0)
        return -EINVAL;
    if (__builtin_mul_overflow(sectors_read, SECTOR_BYTES, ret_read))
        *ret_read = UINT64_MAX;
    if (__builtin_mul_overflow(sectors_written, SECTOR_BYTES, ret_written))
        *ret_written = UINT64_MAX;
    return 0;
}

/* Whether a directory of a block device has entries: its slaves are the devices below it. */
static bool block_has_slaves(int sys_fd, const char *name)
{
    char path[SYS_PATH_MAX], buffer[1024] __attribute__((aligned(16)));
    snprintf(path, sizeof(path), "block/%s/slaves", name);
    int fd cleanup_close = io_openat(sys_fd, path, O_RDONLY | O_DIRECTORY, 0);
    if (fd < 0)
        return false;
    ssize_t n = getdents64(fd, buffer, sizeof(buffer));
    for (ssize_t at = 0; at < n;) {
        const struct dirent64 *entry = (const struct dirent64 *)(buffer + at);
        if (entry->d_name[0] != '.')
            return true;
        at += entry->d_reclen;
    }
    return false;
}

static void disk_judge(int sys_fd, struct device *device)
{
    static const char *const not_a_disk[] = {"loop", "ram", "zram"};
    const char *name = device->name;
    for (size_t i = 0; i < ARRAY_SIZE(not_a_disk); i++) {
        if (strncmp(name, not_a_disk[i], strlen(not_a_disk[i])) == 0)
            return;
    }
    /* Partitions have no entry of their own in /sys/block. */
    device->counted = sys_exists(sys_fd, "block", name, NULL) &&
                      !sys_exists(sys_fd, "block", name, "partition") &&
                      !block_has_slaves(sys_fd, name);
}

static const struct device_kind disk_kind = {disks_parse_line, disk_judge};

/* ---- Interfaces */

/* "  eth0: BYTES PACKETS ERRS DROP FIFO FRAME COMPRESSED MULTICAST BYTES ..." */
int interfaces_parse_line(const char *line, size_t length, char ret_name[DEVICE_NAME_MAX],
    uint64_t *ret_received, uint64_t *ret_sent)
{
    const char *name = line, *end = line + length;
    while (name < end && *name == ' ')
        name++;
    const char *colon = memrchr(name, ':', (size_t)(end - name)); /* an alias has one in its name */
    uint64_t received, sent;
    if (!colon)
        return -EINVAL;
    const char *c = colon + 1;
    if (number_after(&c, end, 0, &received) < 0 || number_after(&c, end, 7, &sent) < 0 ||
        copy_name(name, (size_t)(colon - name), ret_name) < 0)
        return -EINVAL;
    *ret_received = received;
    *ret_sent = sent;
    return 0;
}

static void interface_judge(int sys_fd, struct device *device)
{
    const char *name = device->name;
    if (strcmp(name, "lo") == 0)
        return;
    device->hardware = sys_exists(sys_fd, "class/net", name, "device");
    device->counted =
        !sys_exists(sys_fd, "class/net", name, "bridge") &&
        !sys_exists(sys_fd, "class/net", name, "bonding") &&
        !(strncmp(name, "veth", 4) == 0 && sys_exists(sys_fd, "class/net", name, "brport"));
}

static const struct device_kind interface_kind = {interfaces_parse_line, interface_judge};

/* ---- Both */

static int devices_read(struct devices *devices, const struct device_kind *kind, int proc_fd,
    int sys_fd, const char *path, char *buffer, size_t capacity)
{
    ssize_t n = io_read_file(proc_fd, path, buffer, capacity);
    if (n < 0)
        return (int)n;
    return devices_update(devices, kind, sys_fd, buffer, (size_t)n);
}

int disks_read(struct devices *disks, int proc_fd, int sys_fd, char *buffer, size_t capacity)
{
    if (!sys_exists(sys_fd, "block", "", NULL))
        return -ENOENT; /* whole devices cannot be told from partitions */
    return devices_read(disks, &disk_kind, proc_fd, sys_fd, "diskstats", buffer, capacity);
}

int interfaces_read(
    struct devices *interfaces, int proc_fd, int sys_fd, char *buffer, size_t capacity)
{
    return devices_read(
        interfaces, &interface_kind, proc_fd, sys_fd, "self/net/dev", buffer, capacity);
}
