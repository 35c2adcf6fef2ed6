/* SPDX-License-Identifier: Apache-2.0 */
#include "os/record.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/io.h"
#include "os/record_format.h"

struct record_writer {
    int fd;
    uint64_t bytes;
    struct buf frame;
};

int record_writer_new(int fd, const char *collector, struct record_writer **ret_writer)
{
    uint8_t header[RECORD_HEADER_SIZE];
    struct record_writer *writer cleanup_free = mem_alloc(sizeof(*writer));

    if (!writer)
        return -ENOMEM;
    record_header_encode(header, collector, clock_wall_ns());
    int r = io_write_all(fd, header, sizeof(header));
    if (r < 0)
        return r;
    writer->fd = fd;
    writer->bytes = sizeof(header);
    *ret_writer = TAKE_PTR(writer);
    return 0;
}

void record_writer_free(struct record_writer *writer)
{
    if (!writer)
        return;
    buf_done(&writer->frame);
    mem_free(writer);
}

uint64_t record_writer_bytes(const struct record_writer *writer)
{
    return writer->bytes;
}

/* Leaves room for the head, which is made when the payload is known. */
static int frame_begin(struct record_writer *writer)
{
    static const char head[RECORD_FRAME_HEAD];

    buf_clear(&writer->frame);
    return buf_append(&writer->frame, head, sizeof(head));
}

static int frame_end(struct record_writer *writer, enum record_frame_kind kind)
{
    struct buf *frame = &writer->frame;

    record_head_encode((uint8_t *)frame->data, kind, frame->data + RECORD_FRAME_HEAD,
        frame->size - RECORD_FRAME_HEAD);
    int r = io_write_all(writer->fd, frame->data, frame->size);
    if (r < 0)
        return r;
    writer->bytes += frame->size;
    return 0;
}

int record_write_sample(struct record_writer *writer, const struct sample *sample)
{
    int r = frame_begin(writer);

    if (r == 0)
        r = record_encode_sample(&writer->frame, sample);
    return r < 0 ? r : frame_end(writer, RECORD_FRAME_SAMPLE);
}

static int write_agent(struct record_writer *writer, enum record_frame_kind kind, agent_slot slot,
    const struct agent_spec *spec)
{
    int r = frame_begin(writer);

    if (r == 0)
        r = record_encode_agent(&writer->frame, slot, spec);
    return r < 0 ? r : frame_end(writer, kind);
}

int record_write_agent_added(
    struct record_writer *writer, agent_slot slot, const struct agent_spec *spec)
{
    return write_agent(writer, RECORD_FRAME_ADDED, slot, spec);
}

int record_write_agent_removed(struct record_writer *writer, agent_slot slot)
{
    return write_agent(writer, RECORD_FRAME_REMOVED, slot, NULL);
}

/* ---- Replay */

struct replay {
    struct collector_source source;
    int fd;
    replay_agent told;
    void *userdata;
    uint8_t *payload;
    size_t capacity;
    bool cut;
    struct record_frame frame;
};

/* Fills @buffer unless the file ends before. Returns bytes or -errno. */
static ssize_t read_up_to(int fd, void *buffer, size_t size)
{
    size_t used = 0;

    while (used < size) {
        if (fault_hit(FAULT_SYSCALL))
            return -EIO;
        ssize_t n = read(fd, (char *)buffer + used, size - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static int replay_end(struct replay *replay, bool cut)
{
    replay->cut |= cut;
    return -ENODATA;
}

/* Memory grows with what is there to read, so that a false length costs nothing. */
static int payload_read(struct replay *replay, size_t length)
{
    size_t used = 0;

    while (used < length) {
        size_t want = MIN(length - used, MAX(used, (size_t)65536));
        if (used + want > replay->capacity) {
            uint8_t *larger = mem_resize_array(replay->payload, used + want, 1);
            if (!larger)
                return -ENOMEM;
            replay->payload = larger;
            replay->capacity = used + want;
        }
        ssize_t n = read_up_to(replay->fd, replay->payload + used, want);
        if (n < 0)
            return (int)n;
        used += (size_t)n;
        if ((size_t)n < want)
            return replay_end(replay, true);
    }
    return 0;
}

/* Reads a frame into replay->payload. */
static int frame_read(struct replay *replay, struct record_head *ret_head)
{
    uint8_t bytes[RECORD_FRAME_HEAD];
    struct record_head head = {0};
    ssize_t n = read_up_to(replay->fd, bytes, sizeof(bytes));

    if (n < 0)
        return (int)n;
    if ((size_t)n < sizeof(bytes))
        return replay_end(replay, n > 0);
    int r = record_head_decode(bytes, &head);
    if (r < 0)
        return r;
    r = payload_read(replay, head.length);
    if (r < 0)
        return r;
    if (!record_checksum_holds(&head, replay->payload))
        return -EBADMSG;
    *ret_head = head;
    return 0;
}

static int replay_read(struct collector_source *source, struct sample *ret_sample)
{
    struct replay *replay = (struct replay *)source;
    struct record_head head = {0};

    for (;;) {
        int r = frame_read(replay, &head);
        if (r < 0)
            return r;
        if (head.kind < RECORD_FRAME_SAMPLE || head.kind > RECORD_FRAME_REMOVED)
            continue;
        r = record_decode(head.kind, replay->payload, head.length, &replay->frame);
        if (r < 0)
            return r;
        if (head.kind == RECORD_FRAME_SAMPLE)
            break;
        if (replay->told)
            replay->told(replay->userdata, replay->frame.slot,
                head.kind == RECORD_FRAME_ADDED ? &replay->frame.spec : NULL);
    }
    *ret_sample = replay->frame.sample;
    return 0;
}

static void replay_free(struct collector_source *source)
{
    struct replay *replay = (struct replay *)source;

    if (!replay)
        return;
    io_closep(&replay->fd);
    record_frame_done(&replay->frame);
    mem_free(replay->payload);
    mem_free(replay);
}

static const struct collector_ops replay_ops = {
    .name = "replay",
    .read = replay_read,
    .free = replay_free,
};

bool replay_was_cut(const struct collector_source *source)
{
    return ((const struct replay *)source)->cut;
}

int replay_open(int fd, replay_agent told, void *userdata, struct collector_source **ret_source,
    struct ac_error *error)
{
    uint8_t header[RECORD_HEADER_SIZE];
    ssize_t n = read_up_to(fd, header, sizeof(header));

    if (n < 0)
        return error_errno(error, (int)n, "cannot read the recording");
    int r = (size_t)n == sizeof(header) ? record_header_decode(header) : -EINVAL;
    if (r == -EPROTONOSUPPORT)
        return error_set(error, -EINVAL, "the recording is of a newer version than this program");
    if (r < 0)
        return error_set(error, r, "this is not a recording of samples");
    struct replay *replay = mem_alloc(sizeof(*replay));
    if (!replay)
        return error_errno(error, -ENOMEM, "cannot read the recording");
    replay->source.ops = &replay_ops;
    replay->fd = fd;
    replay->told = told;
    replay->userdata = userdata;
    *ret_source = &replay->source;
    return 0;
}
