/* SPDX-License-Identifier: Apache-2.0 */
#include "apps/cli/run_forks.h"

#include <errno.h>
#include <linux/perf_event.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/io.h"
#include "base/mem.h"

#define RING_PAGES 16  /* a power of two; the user's share of locked memory is 516 KiB per CPU */
#define CPUS_MAX   128 /* every new process inherits one event per CPU: beyond this it costs */

struct ring {
    int fd;
    struct perf_event_mmap_page *page; /* followed by the data */
};

struct forks {
    size_t page_size;
    size_t n_rings;
    uint64_t count;
    struct ring rings[CPUS_MAX];
};

/* The kernel's records that we look at. */
struct task_record {
    uint32_t pid, ppid, tid, ptid;
};

static void ring_close(struct ring *ring, size_t page_size)
{
    if (ring->page)
        munmap(ring->page, (1 + RING_PAGES) * page_size);
    io_closep(&ring->fd);
}

static int ring_open(int cpu, size_t page_size, struct ring *ret_ring)
{
    struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE,
        .size = sizeof(attr),
        .config = PERF_COUNT_SW_DUMMY,
        .inherit = 1,
        .task = 1,
        .exclude_kernel = 1,
        .exclude_hv = 1};
    long fd = syscall(SYS_perf_event_open, &attr, 0, cpu, -1, PERF_FLAG_FD_CLOEXEC);
    if (fd < 0)
        return -errno;
    void *page =
        mmap(NULL, (1 + RING_PAGES) * page_size, PROT_READ | PROT_WRITE, MAP_SHARED, (int)fd, 0);
    if (page == MAP_FAILED) {
        int r = -errno;
        close((int)fd);
        return r;
    }
    *ret_ring = (struct ring){(int)fd, page};
    return 0;
}

int forks_open(struct forks **ret_forks)
{
    long cpus = sysconf(_SC_NPROCESSORS_CONF);
    struct forks *forks = mem_alloc(sizeof(*forks));
    int r = cpus < 1 || cpus > CPUS_MAX ? -EOPNOTSUPP : 0;
    if (!forks)
        return -ENOMEM;
    forks->page_size = (size_t)sysconf(_SC_PAGESIZE);
    for (int cpu = 0; r == 0 && cpu < cpus; cpu++) {
        r = ring_open(cpu, forks->page_size, &forks->rings[forks->n_rings]);
        if (r == 0)
            forks->n_rings++;
        else if (r == -ENODEV) /* this CPU is off */
            r = 0;
    }
    if (r < 0 || forks->n_rings == 0) {
        forks_free(forks);
        return r < 0 ? r : -ENODEV;
    }
    *ret_forks = forks;
    return 0;
}

void forks_free(struct forks *forks)
{
    if (!forks)
        return;
    for (size_t i = 0; i < forks->n_rings; i++)
        ring_close(&forks->rings[i], forks->page_size);
    mem_free(forks);
}

/* Copies from the ring, around its end where it has to. */
static void ring_copy(
    const unsigned char *data, size_t size, uint64_t from, void *ret_bytes, size_t n)
{
    size_t start = (size_t)(from % size), first = MIN(n, size - start);
    memcpy(ret_bytes, data + start, first);
    memcpy((unsigned char *)ret_bytes + first, data, n - first);
}

/* Returns how many processes were started according to the ring's new records. */
static uint64_t ring_read(struct ring *ring, size_t page_size)
{
    const unsigned char *data = (const unsigned char *)ring->page + page_size;
    size_t size = RING_PAGES * page_size;
    uint64_t head = __atomic_load_n(&ring->page->data_head, __ATOMIC_ACQUIRE);
    uint64_t tail = ring->page->data_tail, count = 0;
    while (tail < head) {
        struct perf_event_header header;
        struct task_record task;
        ring_copy(data, size, tail, &header, sizeof(header));
        if (header.type == PERF_RECORD_FORK) {
            ring_copy(data, size, tail + sizeof(header), &task, sizeof(task));
            count += task.pid == task.tid; /* else it is a thread */
        }
        if (header.size < sizeof(header))
            break;
        tail += header.size;
    }
    __atomic_store_n(&ring->page->data_tail, head, __ATOMIC_RELEASE);
    return count;
}

void forks_read(struct forks *forks)
{
    for (size_t i = 0; i < forks->n_rings; i++)
        forks->count += ring_read(&forks->rings[i], forks->page_size);
}

uint64_t forks_count(const struct forks *forks)
{
    return forks->count;
}
