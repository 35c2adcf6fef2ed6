/* SPDX-License-Identifier: Apache-2.0 */
#include "os/netlink_proc.h"

#include <errno.h>
#include <linux/acct.h>
#include <linux/cn_proc.h>
#include <linux/connector.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/taskstats.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"

#define QUEUE_BYTES  (8 << 20) /* about 20,000 exits between two samples */
#define MESSAGE_MAX  16384
#define ANSWER_TRIES 8
#define DRAIN_MAX                                                                                  \
    262144 /* messages: forks that come faster than they are read must not hold us                 \
            */
#define SHORT_NS     (100 * NS_PER_MSEC)
#define TGID_VERSION 12 /* taskstats tells the process since then */

struct netlink_proc {
    int connector_fd;
    int taskstats_fd;
    uint64_t overruns;
    struct mono forks_drained; /* all that forked before has been told */
    char buffer[MESSAGE_MAX] __attribute__((aligned(8)));
};

void netlink_proc_free(struct netlink_proc *netlink)
{
    if (!netlink)
        return;
    io_closep(&netlink->connector_fd);
    io_closep(&netlink->taskstats_fd);
    mem_free(netlink);
}

static void netlink_freep(struct netlink_proc **netlink)
{
    netlink_proc_free(*netlink);
}

uint64_t netlink_proc_overruns(const struct netlink_proc *netlink)
{
    return netlink->overruns;
}

/* ---- Decoding. Attributes and events are copied out: their places need not be aligned. */

void netlink_parse_connector(
    const void *bytes, size_t length, const struct netlink_handlers *handlers)
{
    const struct nlmsghdr *header = bytes;
    struct proc_event event;
    size_t at = NLMSG_HDRLEN + sizeof(struct cn_msg);
    /* Older and newer kernels' events differ in size behind what is read here. */
    size_t need = offsetof(struct proc_event, event_data) + sizeof(event.event_data.fork);

    if (length < at + need || header->nlmsg_type != NLMSG_DONE)
        return;
    memset(&event, 0, sizeof(event));
    memcpy(&event, (const char *)bytes + at, MIN(sizeof(event), length - at));
    if (event.what != PROC_EVENT_FORK ||
        event.event_data.fork.child_pid != event.event_data.fork.child_tgid)
        return;
    handlers->forked(
        handlers->userdata, event.event_data.fork.parent_tgid, event.event_data.fork.child_tgid);
}

/* Finds attribute @type in a row of them. Returns its content and length, or NULL. */
static const char *attribute_find(
    const char *bytes, size_t length, unsigned type, size_t *ret_length)
{
    struct nlattr attribute;

    while (length >= NLA_HDRLEN) {
        memcpy(&attribute, bytes, sizeof(attribute));
        if (attribute.nla_len < NLA_HDRLEN || attribute.nla_len > length)
            return NULL;
        if ((attribute.nla_type & NLA_TYPE_MASK) == type) {
            *ret_length = attribute.nla_len - NLA_HDRLEN;
            return bytes + NLA_HDRLEN;
        }
        size_t step = MIN((size_t)NLA_ALIGN(attribute.nla_len), length);
        bytes += step;
        length -= step;
    }
    return NULL;
}

/*
 * The run time lacks what a thread did since it was last accounted, up to a tick of the clock, and
 * never tells too much; the sampled times are right on average, but not for one thread, and on a
 * busy machine they are too low: a tick takes the processor away and is then another's. So the
 * short get the larger of the two, the long are exact.
 */
static uint64_t cpu_from_stats(const struct taskstats *stats)
{
    uint64_t sampled = (stats->ac_utime + stats->ac_stime) * NS_PER_USEC;
    uint64_t run = stats->cpu_run_virtual_total;
    return run < SHORT_NS ? MAX(run, sampled) : run;
}

static void exit_from_stats(const struct taskstats *stats, const struct netlink_handlers *handlers)
{
    struct netlink_exit exited = {
        .pid = (int32_t)stats->ac_pid,
        .tgid = (int32_t)stats->ac_tgid,
        .cpu_ns = cpu_from_stats(stats),
        .read_bytes = stats->read_bytes,
        .written_bytes = stats->write_bytes,
        .rss_peak_bytes = stats->hiwater_rss * 1024,
        .lifetime_us = stats->ac_tgetime,
        .last = stats->ac_flag & AGROUP,
    };

    if (stats->version >= TGID_VERSION && exited.tgid > 0)
        handlers->exited(handlers->userdata, &exited);
}

void netlink_parse_taskstats(
    const void *bytes, size_t length, const struct netlink_handlers *handlers)
{
    const size_t head = NLMSG_HDRLEN + GENL_HDRLEN;
    const struct nlmsghdr *header = bytes;
    struct taskstats stats;
    size_t inner, size;

    if (length < head || header->nlmsg_type < NLMSG_MIN_TYPE)
        return;
    const char *thread =
        attribute_find((const char *)bytes + head, length - head, TASKSTATS_TYPE_AGGR_PID, &inner);
    if (!thread)
        return;
    const char *content = attribute_find(thread, inner, TASKSTATS_TYPE_STATS, &size);
    if (!content)
        return;
    memset(&stats, 0, sizeof(stats));
    memcpy(&stats, content, MIN(size, sizeof(stats)));
    exit_from_stats(&stats, handlers);
}

/* ---- Sockets */

static int socket_open(int protocol, uint32_t groups)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = groups};
    int size = QUEUE_BYTES;

    if (fault_hit(FAULT_SYSCALL))
        return -EMFILE;
    int fd cleanup_close = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (fd < 0)
        return errno == EPROTONOSUPPORT ? -EOPNOTSUPP : -errno;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return -errno;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
    int opened = fd;
    fd = -1;
    return opened;
}

static int connector_listen(struct netlink_proc *netlink)
{
    struct {
        struct nlmsghdr header;
        struct cn_msg message;
        uint32_t operation;
    } __attribute__((packed)) request = {
        .header = {.nlmsg_len = sizeof(request), .nlmsg_type = NLMSG_DONE},
        .message = {.id = {CN_IDX_PROC, CN_VAL_PROC}, .len = sizeof(uint32_t)},
        .operation = PROC_CN_MCAST_LISTEN,
    };

    netlink->connector_fd = socket_open(NETLINK_CONNECTOR, CN_IDX_PROC);
    if (netlink->connector_fd < 0)
        return netlink->connector_fd;
    return send(netlink->connector_fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

struct generic_request {
    struct nlmsghdr header;
    struct genlmsghdr generic;
    struct nlattr attribute;
    char text[64];
};

static int generic_send(
    int fd, uint16_t family, uint8_t command, uint16_t attribute, const char *text)
{
    struct generic_request request = {0};
    size_t length = strlen(text) + 1;

    if (length > sizeof(request.text))
        return -EINVAL;
    memcpy(request.text, text, length);
    request.attribute.nla_type = attribute;
    request.attribute.nla_len = (uint16_t)(NLA_HDRLEN + length);
    request.generic.cmd = command;
    request.generic.version = 1;
    request.header.nlmsg_type = family;
    request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
    request.header.nlmsg_len =
        (uint32_t)(NLMSG_HDRLEN + GENL_HDRLEN + NLA_ALIGN(request.attribute.nla_len));
    return send(fd, &request, request.header.nlmsg_len, 0) < 0 ? -errno : 0;
}

/* Waits for the answer to a request: the kernel answers before send returns. Returns its length;
 * 0 for a bare acknowledgement; -errno. */
static ssize_t generic_answer(struct netlink_proc *netlink)
{
    const struct nlmsghdr *header = (const struct nlmsghdr *)netlink->buffer;
    int code;

    for (int i = 0; i < ANSWER_TRIES; i++) {
        ssize_t n = recv(netlink->taskstats_fd, netlink->buffer, sizeof(netlink->buffer), 0);
        if (n < 0)
            return -errno;
        if ((size_t)n < sizeof(*header))
            continue;
        if (header->nlmsg_type != NLMSG_ERROR)
            return n;
        memcpy(&code, netlink->buffer + NLMSG_HDRLEN, sizeof(code));
        return code;
    }
    return -EPROTO;
}

static int taskstats_family(struct netlink_proc *netlink)
{
    const size_t head = NLMSG_HDRLEN + GENL_HDRLEN;
    uint16_t family;
    size_t length;
    int r = generic_send(netlink->taskstats_fd, GENL_ID_CTRL, CTRL_CMD_GETFAMILY,
        CTRL_ATTR_FAMILY_NAME, TASKSTATS_GENL_NAME);

    if (r < 0)
        return r;
    ssize_t n = generic_answer(netlink);
    if (n < 0)
        return n == -ENOENT ? -EOPNOTSUPP : (int)n;
    if ((size_t)n < head)
        return -EPROTO;
    const char *id =
        attribute_find(netlink->buffer + head, (size_t)n - head, CTRL_ATTR_FAMILY_ID, &length);
    if (!id || length < sizeof(family))
        return -EPROTO;
    memcpy(&family, id, sizeof(family));
    (void)generic_answer(netlink); /* the acknowledgement behind it */
    return family;
}

static int taskstats_listen(struct netlink_proc *netlink)
{
    char cpus[32];

    netlink->taskstats_fd = socket_open(NETLINK_GENERIC, 0);
    if (netlink->taskstats_fd < 0)
        return netlink->taskstats_fd;
    int family = taskstats_family(netlink);
    if (family < 0)
        return family;
    snprintf(cpus, sizeof(cpus), "0-%ld", MAX(sysconf(_SC_NPROCESSORS_CONF), 1L) - 1);
    int r = generic_send(netlink->taskstats_fd, (uint16_t)family, TASKSTATS_CMD_GET,
        TASKSTATS_CMD_ATTR_REGISTER_CPUMASK, cpus);
    return r < 0 ? r : (int)generic_answer(netlink);
}

int netlink_proc_new(struct netlink_proc **ret_netlink, struct ac_error *error)
{
    struct netlink_proc *netlink CLEANUP(netlink_freep) = mem_alloc(sizeof(*netlink));

    if (!netlink)
        return error_errno(error, -ENOMEM, "cannot listen to process events");
    netlink->connector_fd = netlink->taskstats_fd = -1;
    int r = connector_listen(netlink);
    if (r < 0)
        return error_errno(error, r, "no process events from the kernel (CAP_NET_ADMIN)");
    r = taskstats_listen(netlink);
    if (r < 0)
        return error_errno(error, r, "no taskstats from the kernel (CAP_NET_ADMIN)");
    *ret_netlink = TAKE_PTR(netlink);
    return 0;
}

typedef void (*parser)(const void *bytes, size_t length, const struct netlink_handlers *handlers);

static int drain(
    struct netlink_proc *netlink, int fd, parser parse, const struct netlink_handlers *handlers)
{
    struct sockaddr_nl from;

    for (int i = 0; i < DRAIN_MAX; i++) {
        socklen_t from_length = sizeof(from);
        if (fault_hit(FAULT_SYSCALL))
            return -EIO;
        ssize_t n = recvfrom(fd, netlink->buffer, sizeof(netlink->buffer), 0,
            (struct sockaddr *)&from, &from_length);
        if (n < 0 && errno == EAGAIN)
            return 0;
        if (n < 0 && errno == ENOBUFS)
            netlink->overruns++;
        else if (n < 0 && errno != EINTR)
            return -errno;
        else if (n > 0 && from.nl_pid == 0) /* the kernel, and nobody else */
            parse(netlink->buffer, (size_t)n, handlers);
    }
    return 0; /* the rest at the next sample */
}

static int drain_forks(struct netlink_proc *netlink, const struct netlink_handlers *handlers)
{
    netlink->forks_drained = clock_mono();
    return drain(netlink, netlink->connector_fd, netlink_parse_connector, handlers);
}

struct exits_drain {
    struct netlink_proc *netlink;
    const struct netlink_handlers *handlers;
};

/* Of one that was born after the forks were drained, the fork is to be told first. The message is
 * not needed any more. */
static void on_exited(void *userdata, const struct netlink_exit *exited)
{
    const struct exits_drain *exits = userdata;
    uint64_t since = mono_since(clock_mono(), exits->netlink->forks_drained);

    if (exited->lifetime_us <= since / NS_PER_USEC)
        (void)drain_forks(exits->netlink, exits->handlers);
    exits->handlers->exited(exits->handlers->userdata, exited);
}

int netlink_proc_drain(struct netlink_proc *netlink, const struct netlink_handlers *handlers)
{
    struct exits_drain exits = {netlink, handlers};
    struct netlink_handlers of_exits = {handlers->forked, on_exited, &exits};
    int r = drain_forks(netlink, handlers);
    return r < 0 ? r : drain(netlink, netlink->taskstats_fd, netlink_parse_taskstats, &of_exits);
}
