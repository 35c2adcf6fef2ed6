/* SPDX-License-Identifier: Apache-2.0 */
#include "config/config_check.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/un.h>

#include "base/parse.h"

enum { PATH_SIZE_MAX = 4096, GROUP_SIZE_MAX = 32 };

const char *check_path(const char *text)
{
    if (text[0] != '/')
        return "is not an absolute path";
    if (strlen(text) >= PATH_SIZE_MAX)
        return "is longer than a path may be";
    return NULL;
}

const char *check_socket(const char *text)
{
    if (strlen(text) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return "is longer than the 107 bytes that a socket's path may have";
    return check_path(text);
}

const char *check_state(const char *text)
{
    if (strcmp(text, "none") == 0)
        return NULL;
    return text[0] == '/' ? check_path(text) : "is neither an absolute path nor none";
}

const char *check_gpu_library(const char *text)
{
    if (strcmp(text, "auto") == 0 || strcmp(text, "off") == 0)
        return NULL;
    return text[0] == '/' ? check_path(text) : "is neither auto, off nor an absolute path";
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

const char *check_group(const char *text)
{
    bool good = is_letter(text[0]) && strlen(text) <= GROUP_SIZE_MAX;
    for (const char *c = text; good && *c; c++)
        good = is_letter(*c) || (*c >= '0' && *c <= '9') || *c == '-' || *c == '.';
    return good ? NULL : "is not a group's name";
}

/* Splits at the last colon; brackets around an IPv6 address go. Returns the family, 0 where it
 * is neither. */
static int listen_parse(const char *text, uint8_t ret_address[16], uint64_t *ret_port)
{
    char host[64];
    const char *colon = strrchr(text, ':');
    if (!colon || parse_u64(colon + 1, strlen(colon + 1), ret_port) < 0)
        return 0;
    bool bracket = text[0] == '[' && colon[-1] == ']';
    size_t length = (size_t)(colon - text) - (bracket ? 2 : 0);
    if (length == 0 || length >= sizeof(host))
        return 0;
    memcpy(host, text + bracket, length);
    host[length] = 0;
    int family = bracket ? AF_INET6 : AF_INET;
    return inet_pton(family, host, ret_address) == 1 ? family : 0;
}

const char *check_listen(const char *text)
{
    uint8_t address[16];
    uint64_t port;
    if (listen_parse(text, address, &port) == 0)
        return "is not an address and port such as 127.0.0.1:9464 or \"[::1]:9464\"";
    return port <= UINT16_MAX ? NULL : "has a port outside 0 to 65535";
}

bool listen_is_loopback(const char *text)
{
    static const uint8_t mapped[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    uint8_t address[16];
    uint64_t port;
    int family = listen_parse(text, address, &port);
    if (family == AF_INET)
        return address[0] == 127;
    return family == AF_INET6 && (memcmp(address, &in6addr_loopback, sizeof(address)) == 0 ||
                                     memcmp(address, mapped, sizeof(mapped)) == 0);
}
