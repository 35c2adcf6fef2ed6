/* SPDX-License-Identifier: Apache-2.0 */
/* Texts of /proc: the first byte chooses the parser. Any bytes give a record or an error; a name
 * stays a string, and a text cut short never parses as a smaller one. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "os/machine_internal.h"
#include "os/procfs_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_stat(const char *text, size_t size)
{
    struct proc_record proc, again;
    if (procfs_parse_stat(text, size, &proc) < 0)
        return;
    if (!memchr(proc.name, 0, sizeof(proc.name)) || proc.pid < 0 || proc.ppid < 0)
        abort();
    /* What lies behind the fields that are read changes nothing. */
    const char *close = memrchr(text, ')', size);
    size_t fields = 0, n = (size_t)(close - text) + 2;
    for (; n < size && fields < 22; n++)
        fields += (text[n] == ' ' || text[n] == '\n') && text[n - 1] != ' ';
    if (procfs_parse_stat(text, n, &again) < 0 || memcmp(&proc, &again, sizeof(proc)) != 0)
        abort();
}

static void check_device(const char *text, size_t size)
{
    char name[DEVICE_NAME_MAX];
    uint64_t in, out;
    if (disks_parse_line(text, size, name, &in, &out) == 0 && (!*name || strchr(name, '/')))
        abort();
    if (interfaces_parse_line(text, size, name, &in, &out) == 0 && (!*name || strchr(name, '/')))
        abort();
}

static void check_place(const char *text, size_t size)
{
    static struct cgroup_place place;
    const char *split = memchr(text, 0, size);
    size_t first = split ? (size_t)(split - text) : size;
    const char *mounts = split ? split + 1 : text + size;
    for (int i = 0; i < CGROUP_HIERARCHIES; i++) {
        if (own_cgroup_locate(text, first, mounts, (size_t)(text + size - mounts),
                (enum cgroup_hierarchy)i, &place) &&
            (!memchr(place.point, 0, sizeof(place.point)) ||
                !memchr(place.below, 0, sizeof(place.below)) || strstr(place.below, "/..")))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t a, b;
    uint32_t uid;
    int32_t inner;
    bool nested;
    double percent;
    if (size == 0)
        return 0;
    char *text cleanup_free = mem_alloc(size); /* exact, so that a read past the end is seen */
    if (!text)
        return 0;
    size_t length = size - 1;
    memcpy(text, data + 1, length);
    switch (data[0] % 5) {
    case 0:
        check_stat(text, length);
        break;
    case 1:
        (void)procfs_parse_io(text, length, &a, &b);
        (void)procfs_parse_pss(text, length, &a);
        break;
    case 2:
        (void)procfs_parse_uid(text, length, &uid);
        (void)procfs_parse_inner_pid(text, length, &inner, &nested);
        (void)machine_parse_pressure(text, length, &percent);
        break;
    case 3:
        check_device(text, length);
        break;
    default:
        check_place(text, length);
    }
    return 0;
}
