/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of recordings as bytes. Private to src/os/record*.c, their tests and fuzz target. */
#ifndef AC_OS_RECORD_FORMAT_H
#define AC_OS_RECORD_FORMAT_H

#include "base/buf.h"
#include "model/agent.h"
#include "model/sample.h"

#define RECORD_MAGIC       "AgentRec"
#define RECORD_VERSION     1u
#define RECORD_HEADER_SIZE 64u
#define RECORD_FRAME_HEAD  16u         /* mark, length, checksum, kind */
#define RECORD_FRAME_MARK  0x4b434954u /* "TICK" */
#define RECORD_FRAME_MAX   (1u << 30)  /* longest payload */

enum record_frame_kind { RECORD_FRAME_SAMPLE = 1, RECORD_FRAME_ADDED, RECORD_FRAME_REMOVED };

/* A decoded frame; arrays grow and are reused. */
struct record_frame {
    struct sample sample;
    struct agent_spec spec;
    agent_slot slot;
    struct proc_record *procs;
    struct exit_record *exits;
    struct slot_record *slots;
    struct group_record *groups;
    struct gpu_process *gpus;
    struct pss_record *pss;
    size_t capacity[6];
};
void record_frame_done(struct record_frame *frame);

/* Appends the payload. Return 0 or -ENOMEM. */
int record_encode_sample(struct buf *out, const struct sample *sample);
int record_encode_agent(struct buf *out, agent_slot slot, const struct agent_spec *spec);

/* Decodes a payload of @kind. Returns 0; -EBADMSG; -ENOMEM. Strings in it are NUL-terminated
 * whatever the bytes were. */
int record_decode(
    uint32_t kind, const void *payload, size_t length, struct record_frame *ret_frame);

struct record_head {
    uint32_t length;
    uint32_t checksum;
    uint32_t kind;
};
void record_head_encode(
    uint8_t head[RECORD_FRAME_HEAD], uint32_t kind, const void *payload, size_t length);
/* Returns 0 or -EBADMSG. */
int record_head_decode(const uint8_t head[RECORD_FRAME_HEAD], struct record_head *ret_head);
bool record_checksum_holds(const struct record_head *head, const void *payload);

void record_header_encode(uint8_t header[RECORD_HEADER_SIZE], const char *collector, int64_t now);
/* Returns 0; -EINVAL: no recording; -EPROTONOSUPPORT: of a newer version. */
int record_header_decode(const uint8_t header[RECORD_HEADER_SIZE]);

#endif
