/* SPDX-License-Identifier: Apache-2.0 */
/* Sketches: what decodes encodes to the same again. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "store/hist_column.h"
#include "store/hist_sketch.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void start(struct sketch_models *models)
{
    struct range_model *m = (struct range_model *)models;
    for (size_t i = 0; i < sizeof(*models) / sizeof(*m); i++)
        m[i] = (struct range_model){32768, 0};
}

static bool read_sketch(const struct sketch *like, const void *data, size_t size, struct sketch *to)
{
    struct sketch_models models;
    struct code c = {.reading = true};
    start(&models);
    sketch_clear(to);
    to->low = like->low;
    to->high = like->high;
    to->count = like->count;
    range_decoder_init(&c.d, data, size);
    sketch_code(&c, &models, to);
    return !c.bad;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sketch sketch;
    static struct sketch again;
    static uint8_t bytes[16384];
    struct sketch like = {0};
    struct byte_reader reader = byte_reader(data, size);
    uint64_t min = get_capped(&reader, HIST_VALUE_MAX);
    uint64_t spread = get_capped(&reader, HIST_VALUE_MAX - min);
    uint64_t count = get_capped(&reader, 1 << 20);
    if (reader.bad || count == 0 || (spread > 0 && count < 2))
        return 0;
    sketch_expect(&like, min, min + spread, count);
    if (!read_sketch(&like, reader.at, reader_left(&reader), &sketch))
        return 0;
    struct sketch_models models;
    struct code c = {0};
    start(&models);
    range_encoder_init(&c.e, bytes, sizeof(bytes));
    sketch_code(&c, &models, &sketch);
    const uint8_t *end = range_finish(&c.e, bytes);
    if (end == NULL || c.bad || !read_sketch(&sketch, bytes, (size_t)(end - bytes), &again) ||
        memcmp(again.counts, sketch.counts, sizeof(sketch.counts)) != 0)
        abort();
    return 0;
}
