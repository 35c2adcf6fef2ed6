/* SPDX-License-Identifier: Apache-2.0 */
#include "net/listen.h"

#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/io.h"
#include "base/parse.h"

#define BACKLOG   128
#define TOKEN_MIN 16
#define TOKEN_MAX 512
#define PEM_MAX   (1u << 20)

/* ---- The unix socket */

/* Makes the directory of @path where it is missing. One that others can write to would let them
 * put a socket of their own in our place, or a link that chmod and chown follow. */
static int check_directory(const char *path, struct ac_error *error)
{
    struct buf directory CLEANUP(buf_done) = {0};
    struct stat info;
    const char *slash = strrchr(path, '/');
    if (!slash)
        buf_append_str(&directory, ".");
    else
        buf_append(&directory, path, slash == path ? 1 : (size_t)(slash - path));
    if (directory.failed)
        return error_set(error, -ENOMEM, "out of memory");
    if (mkdir(directory.data, geteuid() == 0 ? 0755 : 0700) < 0 && errno != EEXIST)
        return error_errno(error, -errno, "socket %s: directory %s", path, directory.data);
    if (stat(directory.data, &info) < 0)
        return error_errno(error, -errno, "socket %s: directory %s", path, directory.data);
    bool foreign = info.st_uid != geteuid() && info.st_uid != 0;
    bool others = foreign || ((info.st_mode & S_IWOTH) && !(info.st_mode & S_ISVTX));
    if (others)
        return error_set(error, -EPERM,
            "socket %s: other users can replace files in %s; use a directory of your own", path,
            directory.data);
    return 0;
}

static int connect_to(const struct sockaddr_un *address)
{
    int fd cleanup_close = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    return connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 ? -errno : 0;
}

/* Removes the file of a daemon that is gone. */
static int remove_stale(const struct sockaddr_un *address, struct ac_error *error)
{
    struct stat info;
    const char *path = address->sun_path;
    if (lstat(path, &info) < 0)
        return errno == ENOENT ? 0 : error_errno(error, -errno, "socket %s", path);
    if (!S_ISSOCK(info.st_mode))
        return error_set(error, -ENOTSOCK,
            "socket %s: a file that is no socket is in the way; remove it, or use --socket", path);
    int r = connect_to(address);
    if (r == 0 || r == -EAGAIN)
        return error_set(error, -EADDRINUSE,
            "socket %s: a daemon answers there already; stop it, or use --socket", path);
    if (r != -ECONNREFUSED)
        return error_errno(error, r, "socket %s", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return error_errno(error, -errno, "socket %s: left over, and cannot be removed", path);
    return 0;
}

static int bind_unix(int fd, const struct sockaddr_un *address, struct ac_error *error)
{
    const struct sockaddr *any = (const struct sockaddr *)address;
    if (bind(fd, any, sizeof(*address)) == 0)
        return 0;
    if (errno != EADDRINUSE)
        return error_errno(error, -errno, "socket %s", address->sun_path);
    int r = remove_stale(address, error);
    if (r < 0)
        return r;
    if (bind(fd, any, sizeof(*address)) < 0)
        return error_errno(error, -errno, "socket %s", address->sun_path);
    return 0;
}

static int open_to(const struct sockaddr_un *address, mode_t mode, gid_t gid,
    struct unix_listener *listener, struct ac_error *error)
{
    struct stat info;
    if (gid != (gid_t)-1 && chown(address->sun_path, (uid_t)-1, gid) < 0)
        return error_errno(error, -errno, "socket %s: group", address->sun_path);
    if (chmod(address->sun_path, mode) < 0 || lstat(address->sun_path, &info) < 0)
        return error_errno(error, -errno, "socket %s", address->sun_path);
    listener->device = info.st_dev;
    listener->inode = info.st_ino;
    return 0;
}

int listen_unix_open(const char *path, mode_t mode, gid_t gid, struct unix_listener *ret_listener,
    struct ac_error *error)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!*path || strlen(path) >= sizeof(address.sun_path))
        return error_set(error, -ENAMETOOLONG, "socket %s: longer than %zu bytes", path,
            sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int r = check_directory(path, error);
    if (r < 0)
        return r;
    int fd cleanup_close = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || fchmod(fd, 0600) < 0) /* the file starts with this mode, not with the umask's */
        return error_errno(error, -errno, "socket %s", path);
    r = bind_unix(fd, &address, error);
    if (r < 0)
        return r;
    struct unix_listener listener = {.fd = fd, .path = mem_strdup(path)};
    r = listener.path ? open_to(&address, mode, gid, &listener, error) : -ENOMEM;
    if (r == 0 && listen(fd, BACKLOG) < 0)
        r = error_errno(error, -errno, "socket %s", path);
    if (r < 0) {
        unlink(path);
        mem_free(listener.path);
        return r == -ENOMEM ? error_set(error, r, "out of memory") : r;
    }
    fd = -1; /* the listener's now */
    *ret_listener = listener;
    return 0;
}

void listen_unix_close(struct unix_listener *listener)
{
    struct stat info;
    if (listener->path && lstat(listener->path, &info) == 0 && info.st_dev == listener->device &&
        info.st_ino == listener->inode)
        unlink(listener->path);
    mem_free(listener->path);
    listener->path = NULL;
    io_closep(&listener->fd);
}

int listen_group(const char *name, gid_t *ret_gid)
{
    struct group entry, *found = NULL;
    char buffer[16384];
    int r = getgrnam_r(name, &entry, buffer, sizeof(buffer), &found);
    if (r != 0 || !found)
        return -ENOENT;
    *ret_gid = entry.gr_gid;
    return 0;
}

/* ---- Peers */

static bool has_group(int fd, gid_t gid)
{
    gid_t few[64], *groups = few, *many cleanup_free = NULL;
    socklen_t size = sizeof(few);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, few, &size) < 0) {
        if (errno != ERANGE || size > sizeof(gid_t) * 65536)
            return false;
        groups = many = mem_alloc(size);
        if (!many || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, many, &size) < 0)
            return false;
    }
    for (size_t i = 0; i < size / sizeof(gid_t); i++) {
        if (groups[i] == gid)
            return true;
    }
    return false;
}

int listen_peer(int fd, gid_t gid, struct net_peer *ret_peer)
{
    struct ucred peer;
    socklen_t size = sizeof(peer);
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
        return -errno;
    bool member = gid != (gid_t)-1 && (peer.gid == gid || has_group(fd, gid));
    *ret_peer = (struct net_peer){.authenticated = true,
        .pid = peer.pid,
        .privileged = peer.uid == 0 || peer.uid == geteuid() || member,
        .uid = peer.uid};
    return 0;
}

/* ---- TCP */

/* Splits "host:port" and "[host]:port". */
static int split_address(
    const char *address, char *host, size_t capacity, bool *ret_v6, uint16_t *ret_port)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;
    if (!colon || parse_u64(colon + 1, strlen(colon + 1), &port) < 0 || port > UINT16_MAX)
        return -EINVAL;
    size_t length = (size_t)(colon - address);
    bool v6 = address[0] == '[';
    if (v6 && (length < 3 || address[length - 1] != ']'))
        return -EINVAL;
    length -= v6 ? 2 : 0;
    if (length == 0 || length >= capacity)
        return -EINVAL;
    memcpy(host, address + v6, length);
    host[length] = 0;
    *ret_v6 = v6;
    *ret_port = (uint16_t)port;
    return 0;
}

union any_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static int parse_address(
    const char *text, union any_address *ret_address, socklen_t *ret_size, bool *ret_loopback)
{
    char host[64];
    bool v6;
    uint16_t port;
    union any_address address = {0};
    if (split_address(text, host, sizeof(host), &v6, &port) < 0)
        return -EINVAL;
    if (v6) {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        if (inet_pton(AF_INET6, host, &address.v6.sin6_addr) != 1)
            return -EINVAL;
        *ret_loopback = IN6_IS_ADDR_LOOPBACK(&address.v6.sin6_addr);
    } else {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        if (inet_pton(AF_INET, strcmp(host, "localhost") == 0 ? "127.0.0.1" : host,
                &address.v4.sin_addr) != 1)
            return -EINVAL;
        *ret_loopback = ntohl(address.v4.sin_addr.s_addr) >> 24 == 127;
    }
    *ret_size = v6 ? sizeof(address.v6) : sizeof(address.v4);
    *ret_address = address;
    return 0;
}

int listen_tcp_open(const char *address, int *ret_fd, uint16_t *ret_port, bool *ret_loopback,
    struct ac_error *error)
{
    union any_address at;
    socklen_t size;
    bool loopback;
    int yes = 1;
    if (parse_address(address, &at, &size, &loopback) < 0)
        return error_set(error, -EINVAL,
            "http.listen: \"%s\" is not an address with a port, such as 127.0.0.1:9464 or "
            "[::1]:9464",
            address);
    int fd cleanup_close = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(error, -errno, "http.listen: %s", address);
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)) < 0 ||
        bind(fd, &at.any, size) < 0 || listen(fd, BACKLOG) < 0 ||
        getsockname(fd, &at.any, &size) < 0)
        return error_errno(error, -errno, "http.listen: %s", address);
    *ret_port = ntohs(at.any.sa_family == AF_INET6 ? at.v6.sin6_port : at.v4.sin_port);
    *ret_loopback = loopback;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

/* ---- Secrets */

static int read_secret(const char *key, const char *path, bool secret, size_t most, char **ret_text,
    struct ac_error *error)
{
    struct stat info;
    int fd cleanup_close = io_openat(AT_FDCWD, path, O_RDONLY | O_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(error, fd, "%s: %s", key, path);
    if (fstat(fd, &info) < 0)
        return error_errno(error, -errno, "%s: %s", key, path);
    if (!S_ISREG(info.st_mode) || (uint64_t)info.st_size > most)
        return error_set(
            error, -EINVAL, "%s: %s is not a file of at most %zu bytes", key, path, most);
    if (secret && (info.st_mode & (S_IRWXG | S_IRWXO)))
        return error_set(error, -EACCES,
            "%s: %s can be read by other users; make it yours alone (chmod 600)", key, path);
    char *text cleanup_free = mem_alloc(most + 2);
    if (!text)
        return error_set(error, -ENOMEM, "out of memory");
    ssize_t size = io_read_again(fd, text, most + 1);
    if (size < 0)
        return error_errno(error, (int)size, "%s: %s", key, path);
    *ret_text = TAKE_PTR(text);
    return 0;
}

int listen_read_token(const char *path, char **ret_token, struct ac_error *error)
{
    char *token cleanup_free = NULL;
    int r = read_secret("http.token_file", path, true, TOKEN_MAX + 2, &token, error);
    if (r < 0)
        return r;
    size_t size = strlen(token);
    while (size > 0 && (token[size - 1] == '\n' || token[size - 1] == '\r'))
        token[--size] = 0;
    bool clean = size >= TOKEN_MIN && size <= TOKEN_MAX;
    for (size_t i = 0; i < size; i++)
        clean = clean && token[i] > ' ' && token[i] <= '~';
    if (!clean)
        return error_set(error, -EINVAL,
            "http.token_file: %s: expected one line of %d to %d printable characters without "
            "spaces",
            path, TOKEN_MIN, TOKEN_MAX);
    *ret_token = TAKE_PTR(token);
    return 0;
}

int listen_read_pem(const char *path, bool secret, char **ret_text, struct ac_error *error)
{
    const char *key = secret ? "http.tls_key" : "http.tls_certificate";
    return read_secret(key, path, secret, PEM_MAX, ret_text, error);
}

bool token_matches(const char *token, const char *authorization)
{
    static const char scheme[] = "Bearer ";
    size_t skip = sizeof(scheme) - 1, length = strlen(token);
    if (!authorization || strncasecmp(authorization, scheme, skip) != 0)
        return false;
    const char *given = authorization + skip;
    size_t given_length = strlen(given);
    volatile unsigned char difference = given_length != length;
    for (size_t i = 0; i < given_length; i++)
        difference |= (unsigned char)(given[i] ^ token[length > 0 ? i % length : 0]);
    return difference == 0;
}
