/* SPDX-License-Identifier: Apache-2.0 */
#include "policy/registry_internal.h"

#include <errno.h>

#include "base/mem.h"

#define TABLE_MIN 64

void itable_done(struct itable *table)
{
    mem_free(table->entries);
    *table = (struct itable){0};
}

/* Fibonacci hashing: keys are pids and kernel addresses, which nobody can choose to collide. */
static uint32_t itable_home(const struct itable *table, uint64_t key)
{
    return (uint32_t)((key * 0x9e3779b97f4a7c15ull) >> 32) & table->mask;
}

static bool itable_full(const struct itable *table, uint32_t i)
{
    return table->entries[i].age == table->age;
}

/* Where @key is, or the empty place where it would go. */
static uint32_t itable_find(const struct itable *table, uint64_t key)
{
    uint32_t i = itable_home(table, key);
    while (itable_full(table, i) && table->entries[i].key != key)
        i = (i + 1) & table->mask;
    return i;
}

int itable_reserve(struct itable *table, size_t count)
{
    size_t size = table->entries ? (size_t)table->mask + 1 : TABLE_MIN;
    if (table->entries && count * 2 <= size)
        return 0;
    while (count * 2 > size)
        size *= 2;
    if (size > UINT32_MAX / 2)
        return -ENOMEM;
    struct itable bigger = {.mask = (uint32_t)size - 1, .age = 1};
    bigger.entries = mem_alloc_array(size, sizeof(*bigger.entries));
    if (!bigger.entries)
        return -ENOMEM;
    for (size_t i = 0; table->entries && i <= table->mask; i++) {
        if (itable_full(table, (uint32_t)i))
            itable_set(&bigger, table->entries[i].key, table->entries[i].value);
    }
    mem_free(table->entries);
    *table = bigger;
    return 0;
}

void itable_clear(struct itable *table)
{
    table->count = 0;
    table->age++;
    if (table->age != 0 || !table->entries)
        return;
    for (size_t i = 0; i <= table->mask; i++)
        table->entries[i].age = 0;
    table->age = 1;
}

uint32_t itable_get(const struct itable *table, uint64_t key)
{
    if (table->count == 0)
        return 0;
    uint32_t i = itable_find(table, key);
    return itable_full(table, i) ? table->entries[i].value : 0;
}

void itable_set(struct itable *table, uint64_t key, uint32_t value)
{
    uint32_t i = itable_find(table, key);
    table->count += !itable_full(table, i);
    table->entries[i] = (struct itable_entry){key, value, table->age};
}

void itable_remove(struct itable *table, uint64_t key)
{
    if (table->count == 0)
        return;
    uint32_t hole = itable_find(table, key);
    if (!itable_full(table, hole))
        return;
    for (uint32_t j = (hole + 1) & table->mask; itable_full(table, j); j = (j + 1) & table->mask) {
        uint32_t home = itable_home(table, table->entries[j].key);
        if (((j - home) & table->mask) >= ((j - hole) & table->mask)) {
            table->entries[hole] = table->entries[j];
            hole = j;
        }
    }
    table->entries[hole].age = table->age - 1;
    table->count--;
}
