/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The predictor's state as bytes. All numbers little-endian:
 *
 *     "ACPREDIC"  u32 version (1)  u32 reserved (0)  u64 size of body  u64 XXH3 of body
 *     body: u32 number of philosophies, a key for each, a key for all,
 *           u32 number of templates, for each (least recently used first): u8 length, name, key
 *     key: u64 runs, three histograms (CPU, memory, time)
 *     histogram: i64 reference (wall ns), u64 samples, u16 number of buckets in use,
 *                for each (rising): u16 index, f64 weight
 *
 * Bytes from a file may be anything: what is not exactly this form is refused as a whole.
 */
#include "policy/predict_internal.h"

#define XXH_INLINE_ALL
#include <errno.h>
#include <math.h>
#include <string.h>
#include <xxhash.h>

#include "base/mem.h"

#define MAGIC       "ACPREDIC"
#define MAGIC_SIZE  8
#define VERSION     1
#define HEAD_SIZE   32
#define WEIGHT_MAX  1e30
#define SAMPLES_MAX (UINT64_MAX / 2)

/* ---- Writing */

static void put_uint(struct buf *out, uint64_t value, unsigned size)
{
    char bytes[8];
    for (unsigned i = 0; i < size; i++)
        bytes[i] = (char)(value >> (8 * i));
    buf_append(out, bytes, size);
}

static void put_double(struct buf *out, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_uint(out, bits, 8);
}

static void put_key(struct buf *out, const struct predict_key *key)
{
    put_uint(out, key->runs, 8);
    for (int i = 0; i < DIMENSION_COUNT; i++) {
        const struct histogram *histogram = &key->histograms[i];
        unsigned used = 0;
        for (unsigned n = 0; n < HISTOGRAM_BUCKETS; n++)
            used += histogram->weights[n] > 0;
        put_uint(out, (uint64_t)histogram->reference_ns, 8);
        put_uint(out, histogram->samples, 8);
        put_uint(out, used, 2);
        for (unsigned n = 0; n < HISTOGRAM_BUCKETS; n++) {
            if (histogram->weights[n] <= 0)
                continue;
            put_uint(out, n, 2);
            put_double(out, histogram->weights[n]);
        }
    }
}

static void put_body(struct buf *out, const struct predict *predict)
{
    put_uint(out, AC_PHILOSOPHY_COUNT, 4);
    for (int i = 0; i < AC_PHILOSOPHY_COUNT; i++)
        put_key(out, &predict->philosophies[i]);
    put_key(out, &predict->all);
    put_uint(out, strmap_count(predict->templates), 4);
    for (const struct predict_template *t = predict->oldest; t; t = t->newer) {
        put_uint(out, strlen(t->name), 1);
        buf_append_str(out, t->name);
        put_key(out, &t->key);
    }
}

int predict_save(const struct predict *predict, struct buf *out)
{
    struct buf body CLEANUP(buf_done) = {0};
    put_body(&body, predict);
    if (body.failed)
        return -ENOMEM;
    int r = buf_reserve(out, HEAD_SIZE + body.size);
    if (r < 0)
        return r;
    buf_append(out, MAGIC, MAGIC_SIZE);
    put_uint(out, VERSION, 4);
    put_uint(out, 0, 4);
    put_uint(out, body.size, 8);
    put_uint(out, XXH3_64bits(body.data, body.size), 8);
    return buf_append(out, body.data, body.size);
}

/* ---- Reading: a reader that has failed yields zeros, and is looked at once per key */

struct reader {
    const unsigned char *at;
    size_t left;
    bool failed;
};

static const unsigned char *take_bytes(struct reader *reader, size_t size)
{
    if (reader->failed || size > reader->left) {
        reader->failed = true;
        return NULL;
    }
    const unsigned char *bytes = reader->at;
    reader->at += size;
    reader->left -= size;
    return bytes;
}

static uint64_t take_uint(struct reader *reader, unsigned size)
{
    const unsigned char *bytes = take_bytes(reader, size);
    uint64_t value = 0;
    for (unsigned i = 0; bytes && i < size; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static double take_double(struct reader *reader)
{
    uint64_t bits = take_uint(reader, 8);
    double value;
    memcpy(&value, &bits, sizeof(value));
    return value;
}

static void take_histogram(struct reader *reader, struct histogram *histogram)
{
    histogram->reference_ns = (int64_t)take_uint(reader, 8);
    histogram->samples = take_uint(reader, 8);
    uint64_t used = take_uint(reader, 2);
    int previous = -1;
    if (used > HISTOGRAM_BUCKETS || (histogram->samples == 0) != (used == 0))
        reader->failed = true;
    for (uint64_t i = 0; i < used && !reader->failed; i++) {
        int n = (int)take_uint(reader, 2);
        double weight = take_double(reader);
        if (n <= previous || n >= HISTOGRAM_BUCKETS || !(weight > 0) || !(weight <= WEIGHT_MAX)) {
            reader->failed = true;
            return;
        }
        histogram->weights[n] = weight;
        histogram->total += weight;
        previous = n;
    }
}

static int take_key(struct reader *reader, struct predict_key *key)
{
    key->runs = take_uint(reader, 8);
    if (key->runs > SAMPLES_MAX)
        reader->failed = true;
    for (int i = 0; i < DIMENSION_COUNT; i++) {
        histogram_init(&key->histograms[i], predict_first_bucket((enum dimension)i));
        take_histogram(reader, &key->histograms[i]);
        if (key->histograms[i].samples > key->runs)
            reader->failed = true;
    }
    return reader->failed ? -EINVAL : 0;
}

static int take_template(struct reader *reader, struct predict *into)
{
    char name[AGENT_TEMPLATE_MAX + 1] = {0};
    size_t length = (size_t)take_uint(reader, 1);
    const unsigned char *bytes =
        length > 0 && length < sizeof(name) ? take_bytes(reader, length) : NULL;
    if (!bytes || memchr(bytes, 0, length))
        return -EINVAL;
    memcpy(name, bytes, length);
    if (strmap_get(into->templates, name))
        return -EINVAL;
    struct predict_template *template = predict_template_add(into, name);
    if (!template)
        return -ENOMEM;
    return take_key(reader, &template->key);
}

static int take_body(struct reader *reader, struct predict *into)
{
    int r = 0;
    if (take_uint(reader, 4) != AC_PHILOSOPHY_COUNT)
        return -EINVAL;
    for (int i = 0; r == 0 && i < AC_PHILOSOPHY_COUNT; i++)
        r = take_key(reader, &into->philosophies[i]);
    if (r == 0)
        r = take_key(reader, &into->all);
    uint64_t count = take_uint(reader, 4);
    for (uint64_t i = 0; r == 0 && i < count; i++)
        r = take_template(reader, into);
    if (r == 0 && (reader->failed || reader->left != 0))
        r = -EINVAL;
    return r;
}

static int check_head(struct reader *reader)
{
    const unsigned char *magic = take_bytes(reader, MAGIC_SIZE);
    if (!magic || memcmp(magic, MAGIC, MAGIC_SIZE) != 0)
        return -EINVAL;
    uint64_t version = take_uint(reader, 4), reserved = take_uint(reader, 4);
    uint64_t size = take_uint(reader, 8), hash = take_uint(reader, 8);
    if (reader->failed || version != VERSION || reserved != 0 || size != reader->left ||
        XXH3_64bits(reader->at, reader->left) != hash)
        return -EINVAL;
    return 0;
}

static void swap_state(struct predict *a, struct predict *b)
{
    struct predict before = *a;
    *a = *b;
    *b = before;
}

static void predict_freep(struct predict **predict)
{
    predict_free(*predict);
}

int predict_load(struct predict *predict, const void *bytes, size_t size)
{
    struct reader reader = {.at = bytes, .left = size};
    struct predict *loaded CLEANUP(predict_freep) = NULL;
    int r = check_head(&reader);
    if (r == 0)
        r = predict_new(predict->max_templates, predict->seed, &loaded);
    if (r == 0)
        r = take_body(&reader, loaded);
    if (r == 0)
        swap_state(predict, loaded);
    return r;
}
