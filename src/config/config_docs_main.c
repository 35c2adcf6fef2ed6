/* SPDX-License-Identifier: Apache-2.0 */
/* Prints docs/configuration.md ("markdown") or packaging/agentcored.yaml ("example"). */
#include <stdio.h>
#include <string.h>

#include "base/io.h"
#include "config/config.h"

int main(int argc, char **argv)
{
    struct buf out CLEANUP(buf_done) = {0};
    int r;
    if (argc == 2 && strcmp(argv[1], "markdown") == 0) {
        r = config_write_markdown(&out);
    } else if (argc == 2 && strcmp(argv[1], "example") == 0) {
        r = config_write_example(&out);
    } else {
        fprintf(stderr, "usage: config-docs markdown|example\n");
        return 2;
    }
    if (r == 0)
        r = io_write_all(STDOUT_FILENO, out.data, out.size);
    return r < 0 ? 1 : 0;
}
