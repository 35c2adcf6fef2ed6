/* SPDX-License-Identifier: Apache-2.0 */
/* Sketches and packed numbers: what decodes encodes to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_bits.h"
#include "store/hist_sketch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sketch sketch;
    static struct sketch again;
    static uint64_t numbers[512];
    struct byte_reader packed = byte_reader(data, size);
    bits_unpack(&packed, ARRAY_SIZE(numbers), numbers);

    struct byte_reader reader = byte_reader(data, size);
    sketch_clear(&sketch);
    sketch_clear(&again);
    if (sketch_merge(&sketch, &reader) < 0)
        return 0;
    struct buf bytes CLEANUP(buf_done) = {0};
    sketch_encode(&sketch, &bytes);
    reader = byte_reader(bytes.data, bytes.size);
    if (bytes.failed)
        return 0;
    if (sketch_merge(&again, &reader) < 0 || again.count != sketch.count ||
        memcmp(again.counts, sketch.counts, sizeof(sketch.counts)) != 0)
        abort();
    return 0;
}
