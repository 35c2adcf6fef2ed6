/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row of all slots: samples, sum and maximum of one metric in a minute or an hour.
 *
 *     crc         CRC-32C of what follows
 *     version     byte: 2 (1 was never released)
 *     slots       varint
 *     form        byte: of the samples
 *     samples     form 0: pairs of varints, so many slots and the samples of each; form 1: packed
 *                 numbers (hist_bits.h) of all slots
 *     sums        packed numbers of all slots, by their tags: 0: the maximum is the number, the
 *                 sum is samples * maximum; 1: both are the number; 2: the sum is
 *     varying     varint: slots of tag 2
 *     maxima      packed numbers of these: the maximum less
 *                 floor(sum * floor((2^64 - 1) / samples) / 2^64), the mean or just below
 *
 * All arithmetic is modulo 2^64. Most slots do nothing or always the same, and cost a few bits.
 * The maxima are last, as most questions do without: sixty rows of ten thousand slots are read
 * for one.
 */
#include "store/hist_top_row.h"

#include <errno.h>

#include "base/mem.h"
#include "store/crc32c.h"

#define TOP_VERSION   2
#define SLOTS_PER_RUN 64 /* samples that change more often are packed */
#define RARE          64 /* one in so many slots is not worth a class of its own */

enum form { FORM_RUNS, FORM_PACKED };
enum tag { TAG_FLAT, TAG_ONCE, TAG_VARYING, TAGS };

static uint64_t inverse(uint64_t samples)
{
    return samples == 0 ? 0 : UINT64_MAX / samples;
}

static inline uint64_t mean_below(uint64_t sum, uint64_t inverse)
{
    return (uint64_t)((unsigned __int128)sum * inverse >> 64);
}

/* ---- Writing ------------------------------------------------------------------------------ */

static void put_samples(const uint64_t *known, uint32_t n, struct buf *out)
{
    uint32_t runs = 0;
    for (uint32_t i = 0; i < n; i++)
        runs += i == 0 || known[i] != known[i - 1];
    bool packed = runs > 1 + n / SLOTS_PER_RUN;
    buf_put_u8(out, packed ? FORM_PACKED : FORM_RUNS);
    if (packed) {
        bits_pack(known, NULL, n, out);
        return;
    }
    for (uint32_t i = 0, next; i < n; i = next) {
        for (next = i + 1; next < n && known[next] == known[i];)
            next++;
        buf_put_varint(out, next - i);
        buf_put_varint(out, known[i]);
    }
}

static void find_tags(const struct top_sums *s, uint32_t n, uint8_t *tags)
{
    uint32_t varying = 0;
    uint32_t once = 0;
    for (uint32_t i = 0; i < n; i++) {
        bool varies = s->sum[i] != s->known[i] * s->max[i];
        bool is_once = varies && s->sum[i] == s->max[i];
        tags[i] = is_once ? TAG_ONCE : varies ? TAG_VARYING : TAG_FLAT;
        varying += varies;
        once += is_once;
    }
    if (once >= varying / RARE)
        return;
    for (uint32_t i = 0; i < n; i++)
        tags[i] = tags[i] == TAG_ONCE ? TAG_VARYING : tags[i];
}

int top_row_encode(const struct top_sums *s, uint32_t n, struct buf *out)
{
    cleanup_free uint64_t *numbers = mem_alloc_array((size_t)n + 1, 2 * sizeof(uint64_t) + 1);
    if (numbers == NULL)
        return -ENOMEM;
    uint64_t *maxima = numbers + n;
    uint8_t *tags = (uint8_t *)(maxima + n);
    size_t varying = 0;
    find_tags(s, n, tags);
    for (uint32_t i = 0; i < n; i++) {
        numbers[i] = tags[i] == TAG_VARYING ? s->sum[i] : s->max[i];
        if (tags[i] == TAG_VARYING)
            maxima[varying++] = s->max[i] - mean_below(s->sum[i], inverse(s->known[i]));
    }
    buf_put_u32(out, 0);
    buf_put_u8(out, TOP_VERSION);
    buf_put_varint(out, n);
    put_samples(s->known, n, out);
    bits_pack(numbers, tags, n, out);
    buf_put_varint(out, varying);
    bits_pack(maxima, NULL, varying, out);
    if (out->failed)
        return -ENOMEM;
    uint32_t crc = crc32c(0, out->data + 4, out->size - 4);
    for (unsigned i = 0; i < 4; i++)
        out->data[i] = (char)(crc >> 8 * i);
    return 0;
}

/* ---- Reading ------------------------------------------------------------------------------ */

#define GROUP BITS_GROUP

/* Samples, a group at a time. */
struct samples {
    bool packed;
    struct byte_reader runs;
    struct bits_reader bits;
    uint64_t left; /* of the run */
    uint64_t run;
    bool all_same; /* in the group */
    uint64_t known[GROUP];
};

/* What the class of a number means for its slot. */
struct effect {
    struct bits_class class;
    uint64_t factor;  /* the sum is so many times the number */
    uint64_t keep;    /* the maximum is the number & this */
    uint64_t inverse; /* + number * this / 2^64 */
    uint64_t varies;  /* + the next of the maxima & -this */
};

struct row {
    uint32_t n;
    struct samples samples;
    struct bits_reader sums;
    struct bits_reader maxima;
    uint64_t effects_known; /* samples that the effects are for */
    struct effect effects[BITS_CLASSES];
    unsigned n_next; /* maxima that were read ahead */
    const uint64_t *next;
    uint64_t ahead[2 * GROUP];
};

static int open_samples(struct byte_reader *r, uint32_t n, struct samples *s)
{
    uint64_t there = 0;
    unsigned form = get_u8(r);
    s->packed = form == FORM_PACKED;
    if (form > FORM_PACKED)
        return -EBADMSG;
    if (s->packed)
        return bits_open(r, n, &s->bits);
    s->runs = *r;
    while (there < n && !r->bad) {
        uint64_t run = get_capped(r, n - there);
        r->bad = r->bad || run == 0;
        there += run;
        get_varint(r);
    }
    return r->bad ? -EBADMSG : 0;
}

static int take_samples(struct samples *s, unsigned n)
{
    if (s->packed)
        return bits_take(&s->bits, n, s->known);
    if (s->all_same && s->left >= n) { /* as in the group before */
        s->left -= n;
        return 0;
    }
    for (unsigned i = 0, more; i < n; i += more) {
        if (s->left == 0) {
            s->left = get_varint(&s->runs);
            s->run = get_varint(&s->runs);
        }
        more = (unsigned)MIN(s->left, (uint64_t)(n - i));
        for (unsigned k = i; k < i + more; k++)
            s->known[k] = s->run;
        s->left -= more;
        s->all_same = more == n;
    }
    return 0;
}

static int open_row(struct byte_reader r, unsigned wanted, uint32_t room, struct row *row)
{
    row->n = (uint32_t)get_capped(&r, room);
    if (r.bad || open_samples(&r, row->n, &row->samples) < 0 ||
        bits_open(&r, row->n, &row->sums) < 0)
        return -EBADMSG;
    for (unsigned k = 0; k < BITS_CLASSES; k++) {
        if (row->sums.classes[k].tag >= TAGS)
            return -EBADMSG;
    }
    row->next = row->ahead;
    if (!(wanted & TOP_MAXIMA))
        return 0;
    uint64_t varying = get_capped(&r, row->n);
    return r.bad || bits_open(&r, varying, &row->maxima) < 0 || r.at != r.end ? -EBADMSG : 0;
}

static void make_effects(struct row *row, uint64_t known)
{
    uint64_t inv = inverse(known);
    row->effects_known = known;
    for (unsigned k = 0; k < BITS_CLASSES; k++) {
        const struct bits_class *c = &row->sums.classes[k];
        bool varies = c->tag == TAG_VARYING;
        row->effects[k] = (struct effect){.class = *c,
            .factor = c->tag == TAG_FLAT ? known : 1,
            .keep = varies ? 0 : UINT64_MAX,
            .inverse = varies ? inv : 0,
            .varies = varies};
    }
}

/* Makes sure of a maximum for each slot of a group. */
static int read_ahead(struct row *row)
{
    size_t more = MIN(row->maxima.left, (size_t)GROUP);
    if (row->n_next >= GROUP || more == 0)
        return 0;
    memmove(row->ahead, row->next, row->n_next * sizeof(uint64_t));
    row->next = row->ahead;
    row->n_next += more;
    return bits_take(&row->maxima, more, row->ahead + row->n_next - more);
}

static inline uint64_t max_of(uint64_t number, const struct effect *effect, uint64_t next)
{
    return (number & effect->keep) + mean_below(number, effect->inverse) +
           (next & (0 - effect->varies));
}

/* A whole group of the same samples, away from the end: without a branch per slot. */
static inline __attribute__((always_inline)) void add_fast(
    struct row *row, bool maxima, uint64_t *to)
{
    struct bits_reader *b = &row->sums;
    const struct effect *effects = row->effects;
    const unsigned class_bits = b->class_bits;
    const unsigned mask = (1u << class_bits) - 1;
    const uint64_t *next = row->next;
    const uint8_t *rest = b->rest;
    size_t at = b->rest_at;
    for (unsigned run = 0; run < GROUP; run += BITS_RUN) {
        uint64_t which = bits_classes(b, run);
        for (unsigned i = run; i < run + BITS_RUN; i++) {
            const struct effect *effect = &effects[which & mask];
            uint64_t word;
            memcpy(&word, rest + at / 8, sizeof(word));
            uint64_t number = (word >> at % 8 & effect->class.mask) + effect->class.least;
            if (maxima) {
                to[i] = MAX(to[i], max_of(number, effect, *next));
                next += effect->varies;
            } else {
                to[i] += number * effect->factor;
            }
            at += effect->class.width;
            which >>= class_bits;
        }
    }
    b->rest_at = at;
    b->left -= GROUP;
    b->which_at += (size_t)GROUP * class_bits;
    row->n_next -= (unsigned)(next - row->next);
    row->next = next;
}

static int add_group(struct row *row, unsigned n, unsigned wanted, uint64_t *sum, uint64_t *max)
{
    uint64_t numbers[GROUP];
    uint8_t classes[GROUP];
    const unsigned mask = (1u << row->sums.class_bits) - 1;
    for (unsigned i = 0; i < n; i++)
        classes[i] = bits_classes(&row->sums, i) & mask;
    if (bits_take(&row->sums, n, numbers) < 0)
        return -EBADMSG;
    for (unsigned i = 0; i < n; i++) {
        if (row->effects_known != row->samples.known[i])
            make_effects(row, row->samples.known[i]);
        const struct effect *effect = &row->effects[classes[i]];
        if (wanted & TOP_SUMS)
            sum[i] += numbers[i] * effect->factor;
        if (!(wanted & TOP_MAXIMA))
            continue;
        if (row->n_next < effect->varies)
            return -EBADMSG;
        max[i] = MAX(max[i], max_of(numbers[i], effect, *row->next));
        row->next += effect->varies;
        row->n_next -= effect->varies;
    }
    return 0;
}

static void add_samples(const uint64_t *known, unsigned n, uint64_t *restrict to)
{
    for (unsigned i = 0; n == GROUP && i < GROUP; i++) /* as many as the compiler knows */
        to[i] += known[i];
    for (unsigned i = 0; n < GROUP && i < n; i++)
        to[i] += known[i];
}

static int add_row(struct row *row, unsigned wanted, const struct top_sums *to)
{
    struct samples *s = &row->samples;
    for (uint32_t i = 0; i < row->n; i += GROUP) {
        unsigned n = MIN(row->n - i, (unsigned)GROUP);
        if (take_samples(s, n) < 0 || read_ahead(row) < 0)
            return -EBADMSG;
        add_samples(s->known, n, &to->known[i]);
        if (s->all_same && s->run != row->effects_known)
            make_effects(row, s->run);
        bool fast = n == GROUP && s->all_same && bits_are_inside(&row->sums);
        if (fast && wanted == TOP_SUMS)
            add_fast(row, false, &to->sum[i]);
        else if (fast && wanted == TOP_MAXIMA && row->n_next >= GROUP)
            add_fast(row, true, &to->max[i]);
        else if (add_group(row, n, wanted, &to->sum[i], &to->max[i]) < 0)
            return -EBADMSG;
    }
    return (int)row->n;
}

int top_row_add(
    const void *bytes, size_t size, unsigned wanted, uint32_t room, const struct top_sums *to)
{
    struct byte_reader r = byte_reader(bytes, size);
    struct row row = {0};
    uint32_t crc = get_u32(&r);
    if (r.bad || crc != crc32c(0, r.at, reader_left(&r)) || get_u8(&r) != TOP_VERSION ||
        open_row(r, wanted, room, &row) < 0)
        return -EBADMSG;
    make_effects(&row, 0);
    return add_row(&row, wanted, to);
}
