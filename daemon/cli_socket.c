/* daemon/cli_socket.c - where the daemon's sockets are when nobody says
 *
 * In this order: --socket, VMSWITCH_SOCKET, the own daemon's folder, the system's (for root the system's
 * only). The own folder may lie in /tmp, where anybody can make one of that name: it counts only if it is
 * ours, for "run" hands a VM's network to whoever listens there.
 */
#include "daemon/cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/paths.h"

#define API_SOCKET "api.sock"

static bool is_our_folder(const char *path)
{
    struct stat status;

    return lstat(path, &status) == 0 && S_ISDIR(status.st_mode) && status.st_uid == geteuid();
}

/* As daemon/paths.c makes it. */
static int own_folder(char *folder, size_t size)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");

    if (runtime && runtime[0] == '/')
        return snprintf(folder, size, "%s/vmswitch", runtime);
    return snprintf(folder, size, "/tmp/vmswitch-%lu", (unsigned long)geteuid());
}

static int put(struct cli *cli, const char *folder, const char *name)
{
    int n = snprintf(cli->socket, sizeof cli->socket, "%s%s%s", folder, *folder ? "/" : "", name);

    return n > 0 && (size_t)n < sizeof cli->socket ? CLI_OK : cli_usage("the path of the socket is too long");
}

int cli_socket_find(struct cli *cli, const char *given)
{
    const char *from_environment = getenv("VMSWITCH_SOCKET");
    char own[CLI_PATH_SIZE];

    if (given)
        return *given ? put(cli, "", given) : cli_usage("--socket needs a path");
    if (from_environment && *from_environment)
        return put(cli, "", from_environment);
    int n = own_folder(own, sizeof own);
    if (geteuid() == 0 || n < 0 || (size_t)n >= sizeof own)
        return put(cli, paths_root_runtime_dir(), API_SOCKET);
    if (is_our_folder(own))
        return put(cli, own, API_SOCKET);
    /* The folder, not the socket: where a service is installed and stopped, that is what is to be said. */
    return access(paths_root_runtime_dir(), F_OK) == 0 ? put(cli, paths_root_runtime_dir(), API_SOCKET)
                                                       : put(cli, own, API_SOCKET);
}

bool cli_socket_beside(const struct cli *cli, const char *name, char *path, size_t size)
{
    const char *slash = strrchr(cli->socket, '/');
    int folder = slash ? (int)(slash - cli->socket) + 1 : 0;
    int n = snprintf(path, size, "%.*s%s", folder, cli->socket, name);

    return n > 0 && (size_t)n < size;
}
