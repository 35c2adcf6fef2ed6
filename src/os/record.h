/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recorded samples: a writer, and a collector that reads them back (docs/record-format.md is the
 * format). Between samples a recording tells which agents came and went, so that a replay feeds
 * the same pipeline with the same input.
 *
 * A file that was cut is read up to its last whole frame. A newer writer may have added fields
 * and kinds of frames: they are passed over. Missing fields are 0, which is "unknown" in every
 * mask of known fields.
 */
#ifndef AC_OS_RECORD_H
#define AC_OS_RECORD_H

#include "model/agent.h"
#include "os/collector_ops.h"

struct record_writer;

/* Begins a recording on @fd (borrowed): writes the header. @collector names the source, for
 * people. Returns 0, -ENOMEM, -errno. */
int record_writer_new(int fd, const char *collector, struct record_writer **ret_writer);
void record_writer_free(struct record_writer *writer);

/* Each appends one frame with one write(2), so that a crash leaves whole frames. Return 0,
 * -ENOMEM, -E2BIG, -errno (the file may then end in half a frame, which readers accept as its
 * end). */
int record_write_sample(struct record_writer *writer, const struct sample *sample);
int record_write_agent_added(
    struct record_writer *writer, agent_slot slot, const struct agent_spec *spec);
int record_write_agent_removed(struct record_writer *writer, agent_slot slot);

/* Bytes written. */
uint64_t record_writer_bytes(const struct record_writer *writer);

/* Told while replaying, before the sample behind it is returned. @spec NULL = removed. */
typedef void (*replay_agent)(void *userdata, agent_slot slot, const struct agent_spec *spec);

/* Opens a recording on @fd (owned on success). read() returns its samples in order, -ENODATA at
 * the end (see replay_was_cut), -EBADMSG where a frame is damaged. @told may be NULL. Returns 0;
 * -EINVAL: no recording, or of a newer major version; -errno. */
int replay_open(int fd, replay_agent told, void *userdata, struct collector_source **ret_source,
    struct ac_error *error);

/* Whether the file ended inside a frame. */
bool replay_was_cut(const struct collector_source *source);

#endif
