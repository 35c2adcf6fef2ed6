/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the history: any bytes are refused or leave values that may be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is told to have changed did change, in a slot that there is. */
static int check_changes(
    void *userdata, unsigned column, const uint32_t *slots, const uint64_t *before, uint32_t n)
{
    const struct frame_state *state = userdata;
    for (uint32_t k = 0; k < n; k++) {
        if (slots[k] >= state->n || state->values[column][slots[k]] == before[k] ||
            (k > 0 && slots[k] <= slots[k - 1]))
            abort();
    }
    return 0;
}

static void check_counters(void *userdata, uint32_t first, uint32_t n)
{
    const struct frame_state *state = userdata;
    if (first >= state->n || n > state->n - first)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frame_codec *codec;
    static uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    struct frame_state state CLEANUP(frame_state_done) = {0};

    if (codec == NULL && frame_codec_new(&codec) < 0)
        return 0;
    const struct frame_watch watch = {&state, check_changes, check_counters};
    struct frame_head head;
    memset(based, size > 0 ? data[size - 1] & 1 : 0, sizeof(based));
    if (frame_decode(codec, data, size, based, &state, &watch) < 0)
        return 0;
    if (frame_check(data, size, &head) != 0 || head.n != state.n || head.when_ms != state.when_ms)
        abort();
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        for (uint32_t i = 0; i < state.n; i++) {
            if (state.values[c][i] > (uint64_t)HIST_VALUE_MAX + 1)
                abort();
        }
    }
    return 0;
}
