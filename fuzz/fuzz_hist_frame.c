/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of the history: any bytes are refused or leave values that may be. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_frame.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct frame_codec *codec;
    static uint8_t based[FRAME_SLOTS_MAX / FRAME_BLOCK + 1];
    struct frame_state state CLEANUP(frame_state_done) = {0};

    if (codec == NULL && frame_codec_new(&codec) < 0)
        return 0;
    memset(based, size > 0 ? data[size - 1] & 1 : 0, sizeof(based));
    if (frame_decode(codec, data, size, based, &state, NULL) < 0)
        return 0;
    for (unsigned c = 0; c < FRAME_COLUMNS; c++) {
        for (uint32_t i = 0; i < state.n; i++) {
            if (state.values[c][i] > (uint64_t)HIST_VALUE_MAX + 1)
                abort();
        }
    }
    return 0;
}
