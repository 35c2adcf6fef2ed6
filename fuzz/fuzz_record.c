/* SPDX-License-Identifier: Apache-2.0 */
/* Payloads of recordings: any bytes decode to a sample that encodes and decodes to itself, or to
 * an agent whose labels can be walked, or to an error. The first byte is the kind of the frame. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "os/record_format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_sample(const struct sample *sample)
{
    struct record_frame again = {0};
    struct buf first CLEANUP(buf_done) = {0};
    struct buf second CLEANUP(buf_done) = {0};

    if (record_encode_sample(&first, sample) < 0)
        return;
    if (record_decode(RECORD_FRAME_SAMPLE, first.data, first.size, &again) < 0 ||
        record_encode_sample(&second, &again.sample) < 0 || first.size != second.size ||
        memcmp(first.data, second.data, first.size) != 0)
        abort();
    record_frame_done(&again);
}

static void check_agent(const struct record_frame *frame)
{
    const struct agent_spec *spec = &frame->spec;
    size_t cursor = 0, labels = 0;
    const char *value;

    if (memchr(spec->id, 0, sizeof(spec->id)) == NULL)
        abort();
    /* A block of their own, so that a step past their end is seen. */
    char *alone = malloc(MAX(spec->labels_size, 1u));
    if (!alone)
        return;
    memcpy(alone, spec->labels, spec->labels_size);
    while (agent_labels_next(alone, spec->labels_size, &cursor, &value) && labels <= cursor)
        labels++;
    if (cursor != spec->labels_size || labels > cursor)
        abort();
    free(alone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct record_frame frame = {0};

    if (size == 0)
        return 0;
    uint32_t kind = data[0] % 3 + 1;
    if (record_decode(kind, data + 1, size - 1, &frame) == 0) {
        if (kind == RECORD_FRAME_SAMPLE)
            check_sample(&frame.sample);
        else
            check_agent(&frame);
    }
    record_frame_done(&frame);
    return 0;
}
