/* SPDX-License-Identifier: Apache-2.0 */
/* What texts in the configuration must look like: each says what is wrong, or NULL. Nothing is
 * opened or looked up: a configuration can be checked on another machine. */
#ifndef AC_CONFIG_CHECK_H
#define AC_CONFIG_CHECK_H

#include <stdbool.h>

const char *check_path(const char *text);        /* an absolute path */
const char *check_socket(const char *text);      /* one that fits a socket address */
const char *check_state(const char *text);       /* an absolute path, or "none" */
const char *check_gpu_library(const char *text); /* auto, off, or an absolute path */
const char *check_group(const char *text);       /* a group's name */
const char *check_listen(const char *text);      /* ADDRESS:PORT, "[ADDRESS]:PORT" */

/* Whether a text that check_listen accepts names a loopback address. */
bool listen_is_loopback(const char *text);

#endif
