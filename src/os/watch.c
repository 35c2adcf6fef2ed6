/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One epoll descriptor with memory.events and PSI triggers of groups (EPOLLPRI), pidfds of first
 * processes, and two timers: of looks, and of samples. An event's data says what it is:
 * kind << 32 | slot.
 *
 * Samples that are asked for come at least 100 ms after the last one: the kernel counts a
 * machine's CPU time in hundredths of a second, and a rate over less time than a few of them says
 * 0 or 100 %. Counters of "high" and "max" may rise thousands of times a second; they ask for a
 * sample at most once a second. OOM kills ask always, and do not wait: who computes rates knows
 * how close samples are. Of many in a row, one in 100 ms does so.
 */
#include "os/watch.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>

#include "base/fault.h"
#include "base/io.h"
#include "os/cgroup_read.h"
#include "os/psi.h"

#define APART_NS       (100 * NS_PER_MSEC)
#define LOOK_NS        (100 * NS_PER_MSEC)
#define LOOK_SHARE     100 /* a look may take 1/100 of the time between two */
#define GROWTH_MIN     (4u << 20)
#define GROWTH_PART    16 /* 1/16 of what is there */
#define CALM_SAMPLES   2
#define LIMIT_PAUSE_NS NS_PER_SEC
#define PSI_STALL_US   100000
#define PSI_WINDOW_US  1000000
#define EVENTS_AT_ONCE 64

/* Agents must not take the descriptors that the daemon itself needs: groups get a quarter of what
 * the process may open, first processes an eighth. */
#define GROUP_PART 4
#define GROUP_FDS  12 /* its files, its directory, a trigger, two links of BPF */
#define ROOT_PART  8

enum kind { KIND_TIMER = 1, KIND_DUE, KIND_EVENTS, KIND_PRESSURE, KIND_ROOT };

struct group {
    agent_slot slot;
    struct cgroup_reader *reader;
    int psi_fd;
    struct cgroup_memory_events events;
    struct watch_gauge memory;
};

struct root {
    agent_slot slot;
    int fd;
};

struct watch {
    int epoll_fd;
    int timer_fd;
    int due_fd; /* a timer: when a sample that was asked for too soon is due */
    struct watch_pace pace;
    uint32_t max_slot;
    size_t groups_max;
    size_t roots_max;
    uint32_t *group_of; /* slot -> position in groups + 1 */
    struct group *groups;
    struct group_record *records;
    size_t n_groups;
    size_t capacity;
    struct root *roots;
    size_t n_roots;
    size_t roots_capacity;
    watch_look look;
    void *look_userdata;
    bool looks_wanted;
    bool ticking;
    struct mono limit_reported;
};

/* ---- Epoll */

static int epoll_member(struct watch *watch, int fd, uint32_t events, enum kind kind, uint32_t slot)
{
    struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | slot};

    if (fault_hit(FAULT_SYSCALL))
        return -ENOSPC;
    return epoll_ctl(watch->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void epoll_leave(struct watch *watch, int fd)
{
    if (fd >= 0)
        (void)epoll_ctl(watch->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

/* ---- Life */

static void group_done(struct watch *watch, struct group *group)
{
    if (group->reader)
        epoll_leave(watch, cgroup_reader_events_fd(group->reader));
    epoll_leave(watch, group->psi_fd);
    io_closep(&group->psi_fd);
    cgroup_reader_free(group->reader);
}

void watch_free(struct watch *watch)
{
    if (!watch)
        return;
    for (size_t i = 0; i < watch->n_groups; i++)
        group_done(watch, &watch->groups[i]);
    for (size_t i = 0; i < watch->n_roots; i++)
        io_closep(&watch->roots[i].fd);
    io_closep(&watch->timer_fd);
    io_closep(&watch->due_fd);
    io_closep(&watch->epoll_fd);
    mem_free(watch->groups);
    mem_free(watch->records);
    mem_free(watch->roots);
    mem_free(watch->group_of);
    mem_free(watch);
}

static void watch_freep(struct watch **watch)
{
    watch_free(*watch);
}

static void limits_set(struct watch *watch)
{
    struct rlimit limit = {.rlim_cur = 1024};
    (void)getrlimit(RLIMIT_NOFILE, &limit);
    watch->groups_max = (size_t)(limit.rlim_cur / GROUP_PART / GROUP_FDS);
    watch->roots_max = (size_t)MIN(limit.rlim_cur / ROOT_PART, (rlim_t)WATCH_ROOTS_MAX);
}

int watch_new(uint32_t max_slot, struct watch **ret_watch)
{
    struct watch *watch CLEANUP(watch_freep) = mem_alloc(sizeof(*watch));

    if (!watch)
        return -ENOMEM;
    watch->epoll_fd = watch->timer_fd = watch->due_fd = -1;
    watch->max_slot = max_slot;
    limits_set(watch);
    watch->group_of = mem_alloc_array((size_t)max_slot + 1, sizeof(uint32_t));
    if (!watch->group_of)
        return -ENOMEM;
    if (fault_hit(FAULT_SYSCALL))
        return -EMFILE;
    watch->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    watch->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    watch->due_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (watch->epoll_fd < 0 || watch->timer_fd < 0 || watch->due_fd < 0)
        return -errno;
    int r = epoll_member(watch, watch->timer_fd, EPOLLIN, KIND_TIMER, 0);
    if (r == 0)
        r = epoll_member(watch, watch->due_fd, EPOLLIN, KIND_DUE, 0);
    if (r < 0)
        return r;
    *ret_watch = TAKE_PTR(watch);
    return 0;
}

int watch_fd(const struct watch *watch)
{
    return watch->epoll_fd;
}

/* ---- Groups */

static struct group *group_find(const struct watch *watch, agent_slot slot)
{
    if (slot > watch->max_slot || !watch->group_of[slot])
        return NULL;
    return &watch->groups[watch->group_of[slot] - 1];
}

int watch_group_dir_fd(const struct watch *watch, agent_slot slot)
{
    const struct group *group = group_find(watch, slot);
    return group ? cgroup_reader_dir_fd(group->reader) : -1;
}

static void group_remove(struct watch *watch, struct group *group)
{
    struct group *last = &watch->groups[--watch->n_groups];

    group_done(watch, group);
    watch->group_of[group->slot] = 0;
    if (group == last)
        return;
    *group = *last;
    watch->group_of[group->slot] = (uint32_t)(group - watch->groups) + 1;
}

static int groups_reserve(struct watch *watch)
{
    if (watch->n_groups < watch->capacity)
        return 0;
    size_t capacity = watch->capacity ? watch->capacity * 2 : 16;
    struct group *groups = mem_resize_array(watch->groups, capacity, sizeof(*groups));
    if (!groups)
        return -ENOMEM;
    watch->groups = groups;
    struct group_record *records = mem_resize_array(watch->records, capacity, sizeof(*records));
    if (!records)
        return -ENOMEM;
    watch->records = records;
    watch->capacity = capacity;
    return 0;
}

/* Events are a help, not a must: without them the tick sees what happened. */
static void group_listen(struct watch *watch, struct group *group)
{
    int fd = cgroup_reader_events_fd(group->reader);

    if (fd >= 0) {
        (void)cgroup_reader_events(group->reader, &group->events);
        (void)epoll_member(watch, fd, EPOLLPRI, KIND_EVENTS, group->slot);
    }
    group->psi_fd = psi_trigger_open(cgroup_reader_dir_fd(group->reader), "memory.pressure",
        PSI_FULL, PSI_STALL_US, PSI_WINDOW_US);
    if (group->psi_fd >= 0)
        (void)epoll_member(watch, group->psi_fd, EPOLLPRI, KIND_PRESSURE, group->slot);
}

int watch_group(struct watch *watch, agent_slot slot, int dir_fd)
{
    struct group group = {.slot = slot, .psi_fd = -1};

    if (slot == 0 || slot > watch->max_slot)
        return -ERANGE;
    if (!group_find(watch, slot) && watch->n_groups >= watch->groups_max)
        return -ENOSPC;
    int r = groups_reserve(watch);
    if (r < 0)
        return r;
    r = cgroup_reader_new(dir_fd, &group.reader);
    if (r < 0)
        return r;
    struct group *before = group_find(watch, slot);
    if (before)
        group_remove(watch, before);
    group_listen(watch, &group);
    watch->groups[watch->n_groups] = group;
    watch->group_of[slot] = (uint32_t)++watch->n_groups;
    return 0;
}

/* @after_ns 0 = never. */
static void timer_set(int fd, uint64_t after_ns)
{
    struct itimerspec when = {.it_value = {.tv_sec = (time_t)(after_ns / NS_PER_SEC),
                                  .tv_nsec = (long)(after_ns % NS_PER_SEC)}};

    (void)timerfd_settime(fd, 0, &when, NULL);
}

static void looks_schedule(struct watch *watch, uint64_t after_ns)
{
    watch->ticking = after_ns > 0;
    timer_set(watch->timer_fd, after_ns);
}

static void group_memory_range(struct group *group, struct group_record *record)
{
    if (!(record->known & GROUP_KNOWN_MEMORY))
        return;
    watch_gauge_sample(&group->memory, record->memory_bytes);
    record->memory_min_bytes = group->memory.minimum;
    record->memory_max_bytes = group->memory.maximum;
    record->memory_mean_bytes = group->memory.sum / group->memory.looks;
    record->known |= GROUP_KNOWN_MEMORY_RANGE;
    watch_gauge_begin(&group->memory);
}

size_t watch_read(struct watch *watch, struct group_record **ret_records)
{
    bool growing = watch->looks_wanted;

    watch->pace.sampled = clock_mono();
    timer_set(watch->due_fd, 0);
    for (size_t i = 0; i < watch->n_groups;) {
        struct group *group = &watch->groups[i];
        int r = cgroup_reader_read(group->reader, &watch->records[i]);
        if (r == CGROUP_GONE) {
            group_remove(watch, group);
            continue;
        }
        if (r < 0)
            watch->records[i] = (struct group_record){0};
        watch->records[i++].slot = group->slot;
        group_memory_range(group, &watch->records[i - 1]);
        growing |= group->memory.growing;
    }
    if (growing != watch->ticking)
        looks_schedule(watch, growing ? LOOK_NS : 0);
    *ret_records = watch->records;
    return watch->n_groups;
}

/* ---- First processes */

static int roots_reserve(struct watch *watch)
{
    if (watch->n_roots >= watch->roots_max)
        return -ENOSPC;
    if (watch->n_roots < watch->roots_capacity)
        return 0;
    size_t capacity = watch->roots_capacity ? watch->roots_capacity * 2 : 16;
    struct root *roots = mem_resize_array(watch->roots, capacity, sizeof(*roots));
    if (!roots)
        return -ENOMEM;
    watch->roots = roots;
    watch->roots_capacity = capacity;
    return 0;
}

static void root_remove(struct watch *watch, agent_slot slot)
{
    for (size_t i = 0; i < watch->n_roots; i++) {
        if (watch->roots[i].slot != slot)
            continue;
        epoll_leave(watch, watch->roots[i].fd);
        io_closep(&watch->roots[i].fd);
        watch->roots[i] = watch->roots[--watch->n_roots];
        return;
    }
}

int watch_root(struct watch *watch, agent_slot slot, int32_t pid)
{
    if (slot == 0 || slot > watch->max_slot)
        return -ERANGE;
    root_remove(watch, slot);
    int r = roots_reserve(watch);
    if (r < 0)
        return r;
    if (fault_hit(FAULT_SYSCALL))
        return -EMFILE;
    int fd cleanup_close = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0)
        return -errno;
    r = epoll_member(watch, fd, EPOLLIN, KIND_ROOT, slot);
    if (r < 0)
        return r;
    watch->roots[watch->n_roots++] = (struct root){slot, fd};
    fd = -1;
    return 0;
}

void watch_release(struct watch *watch, agent_slot slot)
{
    struct group *group = group_find(watch, slot);

    if (group)
        group_remove(watch, group);
    root_remove(watch, slot);
}

/* ---- Looks */

void watch_set_look(struct watch *watch, watch_look look, void *userdata)
{
    watch->look = look;
    watch->look_userdata = userdata;
}

void watch_want_looks(struct watch *watch, bool wanted)
{
    watch->looks_wanted = wanted;
}

static bool grew(uint64_t before, uint64_t now)
{
    return now > before && now - before >= MAX(before / GROWTH_PART, (uint64_t)GROWTH_MIN);
}

static void gauge_add(struct watch_gauge *gauge, uint64_t value)
{
    gauge->minimum = gauge->looks ? MIN(gauge->minimum, value) : value;
    gauge->maximum = MAX(gauge->maximum, value);
    gauge->sum += value;
    gauge->looks++;
    gauge->last = value;
}

void watch_gauge_look(struct watch_gauge *gauge, uint64_t value)
{
    if (grew(gauge->last, value))
        gauge->calm = 0;
    gauge_add(gauge, value);
}

void watch_gauge_sample(struct watch_gauge *gauge, uint64_t value)
{
    bool first = gauge->looks == 0;

    if (!first && grew(gauge->last, value))
        gauge->calm = 0;
    else if (first || gauge->calm < CALM_SAMPLES)
        gauge->calm = first ? CALM_SAMPLES : gauge->calm + 1;
    gauge->growing = gauge->calm < CALM_SAMPLES;
    gauge_add(gauge, value);
}

void watch_gauge_begin(struct watch_gauge *gauge)
{
    gauge->minimum = gauge->maximum = gauge->sum = gauge->last;
    gauge->looks = 1;
}

static void look(struct watch *watch)
{
    struct mono start = clock_mono();
    uint64_t bytes;

    for (size_t i = 0; i < watch->n_groups; i++) {
        struct group *group = &watch->groups[i];
        if (group->memory.growing && cgroup_reader_memory(group->reader, &bytes) == CGROUP_READ)
            watch_gauge_look(&group->memory, bytes);
    }
    if (watch->look && watch->looks_wanted)
        watch->look(watch->look_userdata);
    uint64_t took = mono_since(clock_mono(), start);
    looks_schedule(watch, MAX(LOOK_NS, took * LOOK_SHARE));
}

/* ---- Events */

static bool limit_may_report(struct watch *watch)
{
    struct mono now = clock_mono();

    if (watch->limit_reported.ns && mono_since(now, watch->limit_reported) < LIMIT_PAUSE_NS)
        return false;
    watch->limit_reported = now;
    return true;
}

/* Reads the counters, which also arms the descriptor again. */
static enum watch_urgency on_events(struct watch *watch, struct group *group)
{
    struct cgroup_memory_events before = group->events;

    int r = cgroup_reader_events(group->reader, &group->events);
    if (r != CGROUP_READ) {
        epoll_leave(watch, cgroup_reader_events_fd(group->reader));
        return r == CGROUP_GONE ? WATCH_TURN : WATCH_NONE;
    }
    if (group->events.oom_kill != before.oom_kill)
        return WATCH_NOW;
    if (group->events.oom != before.oom)
        return WATCH_TURN;
    bool limit = group->events.high != before.high || group->events.max != before.max;
    return limit && limit_may_report(watch) ? WATCH_TURN : WATCH_NONE;
}

static enum watch_urgency on_pressure(struct watch *watch, struct group *group, uint32_t events)
{
    if (!(events & EPOLLERR))
        return WATCH_TURN;
    epoll_leave(watch, group->psi_fd);
    io_closep(&group->psi_fd);
    return WATCH_NONE;
}

static enum watch_urgency on_event(struct watch *watch, const struct epoll_event *event)
{
    agent_slot slot = (agent_slot)event->data.u64;
    struct group *group = group_find(watch, slot);
    uint64_t expirations;

    switch ((enum kind)(event->data.u64 >> 32)) {
    case KIND_TIMER:
        if (read(watch->timer_fd, &expirations, sizeof(expirations)) > 0)
            look(watch);
        return WATCH_NONE;
    case KIND_DUE:
        return read(watch->due_fd, &expirations, sizeof(expirations)) > 0 ? WATCH_TURN : WATCH_NONE;
    case KIND_EVENTS:
        return group ? on_events(watch, group) : WATCH_NONE;
    case KIND_PRESSURE:
        return group ? on_pressure(watch, group, event->events) : WATCH_NONE;
    case KIND_ROOT:
        root_remove(watch, slot);
        return WATCH_TURN;
    }
    return WATCH_NONE;
}

bool watch_pace_due(
    struct watch_pace *pace, enum watch_urgency urgency, struct mono now, uint64_t *ret_wait_ns)
{
    uint64_t since = mono_since(now, pace->sampled);

    *ret_wait_ns = 0;
    if (urgency == WATCH_NONE)
        return false;
    if (pace->sampled.ns == 0 || since >= APART_NS)
        return true;
    if (urgency == WATCH_NOW &&
        (pace->hurried.ns == 0 || mono_since(now, pace->hurried) >= APART_NS)) {
        pace->hurried = now;
        return true;
    }
    *ret_wait_ns = APART_NS - since;
    return false;
}

int watch_handle(struct watch *watch)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    enum watch_urgency urgency = WATCH_NONE;
    int n = epoll_wait(watch->epoll_fd, events, EVENTS_AT_ONCE, 0);

    for (int i = 0; i < n; i++) {
        enum watch_urgency of = on_event(watch, &events[i]);
        urgency = MAX(urgency, of);
    }
    uint64_t wait_ns;
    if (watch_pace_due(&watch->pace, urgency, clock_mono(), &wait_ns))
        return 1;
    if (wait_ns > 0)
        timer_set(watch->due_fd, wait_ns);
    return 0;
}
