/* SPDX-License-Identifier: Apache-2.0 */
/* What the server needs before the first request: listening sockets, secrets, and who a peer is. */
#ifndef AC_NET_LISTEN_H
#define AC_NET_LISTEN_H

#include <sys/stat.h>

#include "base/error.h"
#include "net/route.h"

/* A unix socket that listens at .path; the file is removed by listen_unix_close. */
struct unix_listener {
    int fd; /* -1 = none */
    char *path;
    dev_t device; /* of the socket file: only our own is removed */
    ino_t inode;
};

/* Makes the socket file with @mode and @gid ((gid_t)-1 = as it comes); makes its directory where
 * that is missing. A file that nothing answers on is taken over. Returns 0; -EADDRINUSE where a
 * daemon answers; -ENOTSOCK where something else is in the way; -EPERM for a directory that
 * others may write to; -errno. */
int listen_unix_open(const char *path, mode_t mode, gid_t gid, struct unix_listener *ret_listener,
    struct ac_error *error);
void listen_unix_close(struct unix_listener *listener);

/* "127.0.0.1:9464", "[::1]:9464": numbers only, port 0 = any. Returns 0, -EINVAL, -errno. */
int listen_tcp_open(const char *address, int *ret_fd, uint16_t *ret_port, bool *ret_loopback,
    struct ac_error *error);

/* The group's id: 0, or -ENOENT. */
int listen_group(const char *name, gid_t *ret_gid);

/* Who is at the other end of a unix connection; members of @gid ((gid_t)-1 = none) are
 * privileged, as are root and our own user. Returns 0 or -errno. */
int listen_peer(int fd, gid_t gid, struct net_peer *ret_peer);

/* Reads a bearer token: one line, 16 to 512 printable characters; the file must not be readable
 * by others. The caller frees *ret_token with mem_free. */
int listen_read_token(const char *path, char **ret_token, struct ac_error *error);

/* Reads a PEM file, at most 1 MiB. @secret: must not be readable by others. */
int listen_read_pem(const char *path, bool secret, char **ret_text, struct ac_error *error);

/* Whether an Authorization header is "Bearer " and the token. Takes the same time for all wrong
 * tokens of one length. */
bool token_matches(const char *token, const char *authorization);

#endif
