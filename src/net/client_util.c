/* SPDX-License-Identifier: Apache-2.0 */
/* The client's parts that send nothing: finding the socket, paths, and the meaning of answers. */
#include "net/client.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/io.h"

#define SYSTEM_SOCKET "/run/agentcore/agentcore.sock"

static bool answers(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return false;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd cleanup_close = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return false;
    /* EAGAIN: somebody listens and has a full backlog. */
    return connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
}

/* Anybody may make a directory of that name in /tmp; only our own is believed. */
static bool is_own_directory(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == geteuid() &&
           (info.st_mode & (S_IWGRP | S_IWOTH)) == 0;
}

static int user_socket(char **ret_path, bool *ret_trusted)
{
    struct buf path CLEANUP(buf_done) = {0};
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    if (runtime && runtime[0] == '/') {
        buf_append_str(&path, runtime);
        *ret_trusted = true;
    } else {
        buf_printf(&path, "/tmp/agentcore-%u", (unsigned)geteuid());
        *ret_trusted = !path.failed && is_own_directory(path.data);
    }
    buf_append_str(&path, "/agentcore.sock");
    *ret_path = buf_take(&path, NULL);
    return *ret_path ? 0 : -ENOMEM;
}

static int found(const char *path, struct buf *places, char **ret_path, char **ret_places)
{
    char *copy cleanup_free = mem_strdup(path);
    char *text = buf_take(places, NULL);
    if (!copy || !text) {
        mem_free(text);
        return -ENOMEM;
    }
    *ret_path = TAKE_PTR(copy);
    *ret_places = text;
    return 0;
}

int client_find_socket(const char *option, char **ret_path, char **ret_places)
{
    char *user cleanup_free = NULL;
    struct buf places CLEANUP(buf_done) = {0};
    bool trusted;
    const char *named = option ? option : getenv("AGENTCORE_SOCKET");
    if (named && *named) {
        buf_printf(&places, "%s%s", named, option ? "" : " (from AGENTCORE_SOCKET)");
        return found(named, &places, ret_path, ret_places);
    }
    buf_append_str(&places, SYSTEM_SOCKET);
    if (answers(SYSTEM_SOCKET))
        return found(SYSTEM_SOCKET, &places, ret_path, ret_places);
    int r = user_socket(&user, &trusted);
    if (r < 0)
        return r;
    bool there = access(user, F_OK) == 0;
    buf_printf(&places, " or %s%s", user,
        there && !trusted ? " (left alone: its directory is not yours alone)" : "");
    bool of_system = trusted ? !answers(user) && access(SYSTEM_SOCKET, F_OK) == 0
                             : there || access(SYSTEM_SOCKET, F_OK) == 0;
    return found(of_system ? SYSTEM_SOCKET : user, &places, ret_path, ret_places);
}

static void append_encoded(struct buf *out, const char *text)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (strchr(plain, *c))
            buf_append_char(out, (char)*c);
        else
            buf_printf(out, "%%%02X", *c);
    }
}

void client_path_add(struct buf *path, const char *segment)
{
    buf_append_char(path, '/');
    append_encoded(path, segment);
}

void client_query_add(struct buf *path, const char *key, const char *value)
{
    bool first = path->size == 0 || !memchr(path->data, '?', path->size);
    buf_append_char(path, first ? '?' : '&');
    append_encoded(path, key);
    buf_append_char(path, '=');
    append_encoded(path, value);
}

static const struct {
    long status;
    int code;
} status_codes[] = {
    {400, -EINVAL},
    {401, -EACCES},
    {403, -EACCES},
    {404, -ENOENT},
    {405, -EOPNOTSUPP},
    {409, -EEXIST},
    {413, -E2BIG},
    {415, -EINVAL},
    {429, -EAGAIN},
    {503, -EAGAIN},
};

int client_check(long status, const json_t *answer, struct ac_error *error)
{
    int code = -EIO;
    if (status >= 200 && status < 300)
        return 0;
    for (size_t i = 0; i < ARRAY_SIZE(status_codes); i++) {
        if (status_codes[i].status == status)
            code = status_codes[i].code;
    }
    const char *text = json_string_value(json_object_get(answer, "detail"));
    if (!text)
        text = json_string_value(json_object_get(answer, "explanation"));
    if (!text)
        text = json_string_value(json_object_get(answer, "title"));
    if (!text)
        return error_set(error, code, "the daemon answered with status %ld", status);
    return error_set(error, code, "%s", text);
}
