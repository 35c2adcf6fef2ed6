/* SPDX-License-Identifier: Apache-2.0 */
/* A tree of small files in a temporary directory, as a stand-in for /proc, /sys and cgroupfs. */
#ifndef AC_TESTS_OS_TREE_H
#define AC_TESTS_OS_TREE_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tree {
    char root[64];
};

static inline void tree_init(struct tree *tree)
{
    snprintf(tree->root, sizeof(tree->root), "/tmp/agentcore-test-XXXXXX");
    assert_non_null(mkdtemp(tree->root));
}

static inline int tree_remove_one(
    const char *path, const struct stat *status, int type, struct FTW *ftw)
{
    (void)status, (void)type, (void)ftw;
    return remove(path);
}

static inline void tree_remove(struct tree *tree, const char *path)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", tree->root, path);
    nftw(full, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void tree_done(struct tree *tree)
{
    nftw(tree->root, tree_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The full path, in one of a few static buffers. */
static inline const char *tree_path(const struct tree *tree, const char *path)
{
    static char buffers[4][512];
    static unsigned next;
    char *full = buffers[next++ % 4];
    snprintf(full, sizeof(buffers[0]), "%s/%s", tree->root, path);
    return full;
}

/* Writes in place, so that descriptors kept open see it; makes the directories above. A path that
 * ends in '/' is a directory. */
static inline void tree_write(struct tree *tree, const char *path, const char *text)
{
    char full[512];
    snprintf(full, sizeof(full), "%s/%s", tree->root, path);
    for (char *c = full + strlen(tree->root) + 1; *c; c++) {
        if (*c != '/')
            continue;
        *c = 0;
        assert_true(mkdir(full, 0755) == 0 || errno == EEXIST);
        *c = '/';
    }
    if (full[strlen(full) - 1] == '/')
        return;
    int fd = open(full, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline unsigned open_descriptors(void)
{
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

#endif
