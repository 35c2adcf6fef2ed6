/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs a fuzz target without libFuzzer: replay NAME DIRECTORY gives it the empty input, every file
 * of the directory, and every beginning of each file up to a length. Prints one TAP case.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PREFIXES_UP_TO 512
#define INPUT_MAX      (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char now_running[512] = "the empty input\n";

static void tell_which(int signal_number)
{
    (void)signal_number;
    ssize_t n = write(STDERR_FILENO, now_running, strlen(now_running));
    _exit(n < 0 ? 2 : 1);
}

/* A copy of its exact size, so that the sanitizer sees every byte read too far. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static size_t run_file(int dir, const char *name)
{
    static uint8_t input[INPUT_MAX];
    size_t runs = 0, size = 0;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    for (ssize_t n = 1; n > 0 && size<sizeof(input); size += n> 0 ? (size_t)n : 0)
        n = read(fd, input + size, sizeof(input) - size);
    close(fd);
    snprintf(now_running, sizeof(now_running), "the input is %.200s, or a beginning of it\n", name);
    for (; runs < size && runs < PREFIXES_UP_TO; runs++)
        run_one(input, runs);
    run_one(input, size);
    return runs + 1;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: %s NAME DIRECTORY\n", argv[0]);
        return 2;
    }
    signal(SIGABRT, tell_which);
    DIR *dir = opendir(argv[2]);
    size_t files = 0, runs = 1;
    run_one((const uint8_t *)"", 0);
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir)) {
        size_t n = entry->d_name[0] == '.' ? 0 : run_file(dirfd(dir), entry->d_name);
        files += n > 0;
        runs += n;
    }
    if (dir)
        closedir(dir);
    printf("%s 1 - %s survives %zu inputs\n1..1\n", files > 0 ? "ok" : "not ok", argv[1], runs);
    if (files == 0)
        printf("# %s holds no seeds\n", argv[2]);
    return files == 0;
}
