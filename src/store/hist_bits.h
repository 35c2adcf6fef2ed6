/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Packed numbers: each in one of up to eight classes that fit these numbers best. A class has a
 * least number, a width of what its numbers have above that, and a tag of the caller's. They are
 * read without a branch per number, as questions about all agents read many.
 *
 *     head        byte: bits 0-1: bits of a class (0 to 3), bits 2-4: classes less 1
 *     classes     each a byte (bits 0-5: width 0 to 57, or 63 for 64; bits 6-7: tag) and the
 *                 least number as a varint
 *     which       the class of each number, from the lowest bit on, in whole bytes
 *     size        varint
 *     rest        of each number what it has above the least of its class, from the lowest bit on
 *
 * No numbers are no bytes at all.
 */
#ifndef AC_STORE_HIST_BITS_H
#define AC_STORE_HIST_BITS_H

#include "base/buf.h"
#include "store/hist_bytes.h"

#define BITS_CLASSES 8
#define BITS_TAGS    4
#define BITS_GROUP   64 /* numbers that are taken at once */
#define BITS_RUN     16 /* numbers whose classes are in one word */

struct bits_class {
    uint64_t mask;
    uint64_t least;
    size_t width;
    size_t tag;
};

struct bits_reader {
    struct bits_class classes[BITS_CLASSES]; /* those that are not there: all zeros */
    unsigned class_bits;
    unsigned widest;
    size_t left; /* numbers */
    const uint8_t *which;
    size_t which_size;
    size_t which_at; /* bit */
    const uint8_t *rest;
    size_t rest_size;
    size_t rest_at; /* bit */
};

/* Appends @n numbers with a tag below BITS_TAGS each (@tags may be NULL: all 0). A failure is
 * marked in @out. */
void bits_pack(const uint64_t *numbers, const uint8_t *tags, size_t n, struct buf *out);

/* Prepares to read @n numbers, in place. Returns 0 or -EBADMSG. */
int bits_open(struct byte_reader *reader, size_t n, struct bits_reader *ret_bits);

/* The next @n numbers, at most BITS_GROUP. Returns 0 or -EBADMSG. */
int bits_take(struct bits_reader *bits, size_t n, uint64_t *ret_numbers);

/* Whether the next BITS_GROUP numbers, as far as they are there, can each be read as a word. */
static inline bool bits_are_inside(const struct bits_reader *bits)
{
    return bits->widest <= 57 &&
           bits->rest_at / 8 + BITS_GROUP / 8 * (size_t)bits->widest + 9 <= bits->rest_size;
}

/* 8 bytes from @at on; 0 for those that are not there. */
static inline uint64_t bits_load(const uint8_t *bytes, size_t size, size_t at)
{
    uint64_t word = 0;
    if (at + sizeof(word) <= size)
        memcpy(&word, bytes + at, sizeof(word));
    else if (at < size)
        memcpy(&word, bytes + at, size - at);
    return word;
}

/* The classes of BITS_RUN numbers from the @i-th that comes on, from the lowest bit on. */
static inline uint64_t bits_classes(const struct bits_reader *bits, size_t i)
{
    size_t at = bits->which_at + i * bits->class_bits;
    return bits_load(bits->which, bits->which_size, at / 8) >> at % 8;
}

#endif
