/* SPDX-License-Identifier: Apache-2.0 */
#include "store/hist_bits.h"

#include <errno.h>

#include "base/mem.h"

#define LENGTHS      65 /* a number has 0 to 64 bits */
#define WIDTH_NARROW 57 /* so many bits from any bit on are within 8 bytes */
#define WIDTH_FULL   63 /* stands for 64 */
#define IMPOSSIBLE   (SIZE_MAX / 4)

/* ---- Writing ------------------------------------------------------------------------------ */

/* Numbers of one tag, of one bit length or some that follow each other. */
struct range {
    size_t n;
    uint64_t least;
    uint64_t largest;
    unsigned length; /* the largest one */
};

struct ranges {
    unsigned n;
    struct range list[LENGTHS];
};

struct class
{
    uint64_t least;
    unsigned width;
    unsigned tag;
};

struct plan {
    unsigned n;
    struct class classes[BITS_CLASSES];
    uint8_t class_of[BITS_TAGS][LENGTHS];
};

static unsigned bits_of(unsigned classes)
{
    return classes <= 1 ? 0 : bit_length(classes - 1);
}

static unsigned width_of(const struct range *range)
{
    unsigned width = bit_length(range->largest - range->least);
    return width > WIDTH_NARROW ? 64 : width;
}

static void find_ranges(const uint64_t *numbers, const uint8_t *tags, size_t n, struct ranges *ret)
{
    struct range all[BITS_TAGS][LENGTHS] = {0};
    for (size_t i = 0; i < n; i++) {
        struct range *range = &all[tags == NULL ? 0 : tags[i]][bit_length(numbers[i])];
        range->least = range->n == 0 ? numbers[i] : MIN(range->least, numbers[i]);
        range->largest = MAX(range->largest, numbers[i]);
        range->n++;
    }
    for (unsigned tag = 0; tag < BITS_TAGS; tag++) {
        for (unsigned length = 0; length < LENGTHS; length++) {
            if (all[tag][length].n == 0)
                continue;
            struct range *to = &ret[tag].list[ret[tag].n++];
            *to = all[tag][length];
            to->length = length;
        }
    }
}

/* costs[k][j]: bits of the first j ranges in k classes, of which the last starts at first[k][j]. */
struct split {
    size_t costs[BITS_CLASSES + 1][LENGTHS + 1];
    uint8_t first[BITS_CLASSES + 1][LENGTHS + 1];
};

static void split_ranges(const struct ranges *ranges, struct split *split)
{
    for (unsigned k = 0; k <= BITS_CLASSES; k++) {
        for (unsigned j = 0; j <= ranges->n; j++)
            split->costs[k][j] = k == 0 && j == 0 ? 0 : IMPOSSIBLE;
    }
    for (unsigned j = 1; j <= ranges->n; j++) {
        struct range one = ranges->list[j - 1];
        for (unsigned i = j; i-- > 0;) {
            if (i < j - 1) {
                one.least = ranges->list[i].least;
                one.n += ranges->list[i].n;
            }
            size_t head = 1 + MAX(1u, (bit_length(one.least) + 6) / 7);
            size_t cost = one.n * width_of(&one) + 8 * head;
            for (unsigned k = 1; k <= BITS_CLASSES; k++) {
                if (split->costs[k - 1][i] + cost >= split->costs[k][j])
                    continue;
                split->costs[k][j] = split->costs[k - 1][i] + cost;
                split->first[k][j] = (uint8_t)i;
            }
        }
    }
}

/* Appends the @k classes of a tag. */
static void add_classes(const struct ranges *ranges, const struct split *split, unsigned tag,
    unsigned k, struct plan *plan)
{
    unsigned to = ranges->n;
    plan->n += k;
    for (unsigned at = plan->n; k > 0; k--) {
        unsigned from = split->first[k][to];
        struct range one = ranges->list[to - 1];
        one.least = ranges->list[from].least;
        plan->classes[--at] = (struct class){one.least, width_of(&one), tag};
        for (; to > from; to--)
            plan->class_of[tag][ranges->list[to - 1].length] = (uint8_t)at;
    }
}

/* The cheapest classes. */
static void find_plan(const uint64_t *numbers, const uint8_t *tags, size_t n, struct plan *plan)
{
    struct ranges ranges[BITS_TAGS] = {0};
    struct split splits[BITS_TAGS];
    size_t costs[BITS_TAGS + 1][BITS_CLASSES + 1]; /* of the tags before in so many classes */
    uint8_t own[BITS_TAGS][BITS_CLASSES + 1];      /* how many of them are the last tag's */
    find_ranges(numbers, tags, n, ranges);
    for (unsigned k = 0; k <= BITS_CLASSES; k++)
        costs[0][k] = k == 0 ? 0 : IMPOSSIBLE;
    for (unsigned tag = 0; tag < BITS_TAGS; tag++) {
        split_ranges(&ranges[tag], &splits[tag]);
        for (unsigned all = 0; all <= BITS_CLASSES; all++) {
            costs[tag + 1][all] = IMPOSSIBLE;
            for (unsigned k = 0; k <= all; k++) {
                size_t cost = costs[tag][all - k] + splits[tag].costs[k][ranges[tag].n];
                if (cost >= costs[tag + 1][all])
                    continue;
                costs[tag + 1][all] = cost;
                own[tag][all] = (uint8_t)k;
            }
        }
    }
    unsigned best = 1;
    for (unsigned k = 2; k <= BITS_CLASSES; k++) {
        const size_t *cost = costs[BITS_TAGS];
        if (cost[k] + n * bits_of(k) < cost[best] + n * bits_of(best))
            best = k;
    }
    unsigned kept[BITS_TAGS];
    for (unsigned tag = BITS_TAGS; tag-- > 0;) {
        kept[tag] = own[tag][best];
        best -= kept[tag];
    }
    for (unsigned tag = 0; tag < BITS_TAGS; tag++)
        add_classes(&ranges[tag], &splits[tag], tag, kept[tag], plan);
}

/* Bits one behind the other, appended in words. */
struct bit_writer {
    struct buf *out;
    uint64_t word;
    unsigned used;
};

static void put_bits(struct bit_writer *w, uint64_t bits, unsigned width)
{
    w->word |= bits << w->used;
    w->used += width;
    if (w->used < 64)
        return;
    buf_append(w->out, &w->word, sizeof(w->word));
    w->used -= 64;
    w->word = w->used == 0 ? 0 : bits >> (width - w->used);
}

static void put_last(struct bit_writer *w)
{
    buf_append(w->out, &w->word, (w->used + 7) / 8);
}

void bits_pack(const uint64_t *numbers, const uint8_t *tags, size_t n, struct buf *out)
{
    struct plan plan = {0};
    struct bit_writer w = {.out = out};
    size_t bits = 0;
    if (n == 0)
        return;
    find_plan(numbers, tags, n, &plan);
    unsigned each = bits_of(plan.n);
    buf_put_u8(out, (uint8_t)(each | (plan.n - 1) << 2));
    for (unsigned i = 0; i < plan.n; i++) {
        const struct class *c = &plan.classes[i];
        buf_put_u8(out, (uint8_t)((c->width == 64 ? WIDTH_FULL : c->width) | c->tag << 6));
        buf_put_varint(out, c->least);
    }
    for (size_t i = 0; i < n; i++) {
        unsigned k = plan.class_of[tags == NULL ? 0 : tags[i]][bit_length(numbers[i])];
        bits += plan.classes[k].width;
        put_bits(&w, k, each);
    }
    put_last(&w);
    buf_put_varint(out, (bits + 7) / 8);
    w = (struct bit_writer){.out = out};
    for (size_t i = 0; i < n; i++) {
        unsigned k = plan.class_of[tags == NULL ? 0 : tags[i]][bit_length(numbers[i])];
        put_bits(&w, numbers[i] - plan.classes[k].least, plan.classes[k].width);
    }
    put_last(&w);
}

/* ---- Reading ------------------------------------------------------------------------------ */

int bits_open(struct byte_reader *r, size_t n, struct bits_reader *ret_bits)
{
    struct bits_reader bits = {.left = n};
    if (n == 0) {
        *ret_bits = bits;
        return 0;
    }
    unsigned head = get_u8(r);
    bits.class_bits = head & 3;
    unsigned classes = (head >> 2) + 1;
    if (classes > BITS_CLASSES || bits_of(classes) != bits.class_bits)
        return -EBADMSG;
    for (unsigned k = 0; k < classes; k++) {
        unsigned byte = get_u8(r);
        unsigned width = byte % 64 == WIDTH_FULL ? 64 : byte % 64;
        uint64_t mask = width == 0 ? 0 : UINT64_MAX >> (64 - width);
        bits.classes[k] = (struct bits_class){mask, get_varint(r), width, byte / 64};
        bits.widest = MAX(bits.widest, width);
        if (width > WIDTH_NARROW && width < 64)
            return -EBADMSG;
    }
    bits.which_size = (n * bits.class_bits + 7) / 8;
    bits.which = get_bytes(r, bits.which_size);
    bits.rest_size = get_capped(r, reader_left(r));
    bits.rest = get_bytes(r, bits.rest_size);
    if (r->bad)
        return -EBADMSG;
    *ret_bits = bits;
    return 0;
}

/* Any width, up to the last byte. */
static void take_near_end(struct bits_reader *b, size_t n, uint64_t *ret_numbers)
{
    const unsigned class_mask = (1u << b->class_bits) - 1;
    for (size_t i = 0; i < n; i++) {
        const struct bits_class *c = &b->classes[bits_classes(b, i) & class_mask];
        uint64_t word = bits_load(b->rest, b->rest_size, b->rest_at / 8) >> b->rest_at % 8;
        if (c->width > WIDTH_NARROW && b->rest_at % 8 > 0)
            word |= bits_load(b->rest, b->rest_size, b->rest_at / 8 + 8) << (64 - b->rest_at % 8);
        ret_numbers[i] = c->least + (word & c->mask);
        b->rest_at += c->width;
    }
}

static void take_inside(struct bits_reader *b, size_t n, uint64_t *ret_numbers)
{
    const struct bits_class *classes = b->classes;
    const unsigned class_bits = b->class_bits;
    const unsigned class_mask = (1u << class_bits) - 1;
    const uint8_t *rest = b->rest;
    size_t at = b->rest_at;
    for (size_t i = 0; i < n; i += BITS_RUN) {
        uint64_t which = bits_classes(b, i);
        for (size_t k = i; k < MIN(n, i + BITS_RUN); k++) {
            const struct bits_class *c = &classes[which & class_mask];
            uint64_t word;
            memcpy(&word, rest + at / 8, sizeof(word));
            ret_numbers[k] = c->least + (word >> at % 8 & c->mask);
            at += c->width;
            which >>= class_bits;
        }
    }
    b->rest_at = at;
}

int bits_take(struct bits_reader *b, size_t n, uint64_t *ret_numbers)
{
    if (n > b->left)
        return -EBADMSG;
    if (bits_are_inside(b))
        take_inside(b, n, ret_numbers);
    else
        take_near_end(b, n, ret_numbers);
    b->left -= n;
    b->which_at += n * b->class_bits;
    return b->rest_at <= b->rest_size * 8 ? 0 : -EBADMSG;
}
