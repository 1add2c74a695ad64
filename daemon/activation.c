#include "daemon/activation.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "io/log.h"
#include "switch/port.h"

static const char suffix_of_file[] = ".sock"; /* of those whose file is not called as they are */

static const char *ending_of(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot ? dot : "";
}

static bool is_datagram(const char *name)
{
    return strcmp(ending_of(name), ".dgram") == 0;
}

static bool name_is_known(const char *name)
{
    char network[NETWORK_NAME_SIZE];
    const char *ending = ending_of(name);
    if (strcmp(name, "api") == 0 || strcmp(name, "attach") == 0)
        return true;
    if (!is_datagram(name) && strcmp(ending, ".stream") != 0)
        return false;
    int len = snprintf(network, sizeof(network), "%.*s", (int)(ending - name), name);
    return len > 0 && (size_t)len < sizeof(network) && port_name_is_valid(network);
}

/* Where it is bound. Returns false if it is no unix socket with a path. */
static bool path_of(int fd, struct sockaddr_un *ret_address)
{
    socklen_t len = sizeof(*ret_address);
    *ret_address = (struct sockaddr_un){.sun_family = AF_UNSPEC};
    return getsockname(fd, (struct sockaddr *)ret_address, &len) == 0 && ret_address->sun_family == AF_UNIX &&
           len > offsetof(struct sockaddr_un, sun_path) && ret_address->sun_path[0] == '/';
}

static bool is_listening(int fd)
{
    int value = 0;
    socklen_t len = sizeof(value);
    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &len) == 0)
        return value != 0;
    return listen(fd, SOMAXCONN) == 0; /* macOS has the option and does not answer it */
}

/* What is wrong with the socket, and how to say it right; NULL: nothing. */
static const char *find_fault(const char *name, int fd)
{
    struct sockaddr_un address, peer;
    socklen_t peer_len = sizeof(peer);
    int type = 0;
    socklen_t len = sizeof(type);
    const bool is_dgram = is_datagram(name);
    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0)
        return "is not a socket";
    if (!path_of(fd, &address))
        return "is not a unix socket with a path; give it an absolute path, whose mode says who may use it";
    if (type != (is_dgram ? SOCK_DGRAM : SOCK_STREAM))
        return is_dgram ? "must be a datagram socket (systemd: ListenDatagram=; launchd: SockType dgram)"
                        : "must be a stream socket (systemd: ListenStream=; launchd: SockType stream)";
    if (getpeername(fd, (struct sockaddr *)&peer, &peer_len) == 0)
        return "is connected; pass the listening socket itself (systemd: Accept=no)";
    if (!is_dgram && !is_listening(fd))
        return "does not listen";
    return NULL;
}

static struct activation_socket *find(struct activation *activation, const char *name)
{
    for (unsigned i = 0; i < activation->n; i++)
        if (strcmp(activation->sockets[i].name, name) == 0)
            return &activation->sockets[i];
    return NULL;
}

int activation_add(struct activation *activation, const char *name, int fd, char *ret_why, size_t why_size)
{
    char shown[4 * ACTIVATION_NAME_SIZE];
    const char *fault = NULL;
    log_escape(name, shown, sizeof(shown));
    if (!name_is_known(name)) {
        log_warn("the service manager passes a socket called '%s', which is none of api, attach, "
                 "NETWORK.stream, NETWORK.dgram: closed; correct its name (systemd: FileDescriptorName=)",
                 shown);
        close(fd);
        return 0;
    }
    if (find(activation, name))
        fault = "is passed twice; name each socket for itself";
    else if (activation->n == ACTIVATION_MAX)
        fault = "is one more than there can be networks";
    else
        fault = find_fault(name, fd);
    if (fault) {
        snprintf(ret_why, why_size, "the socket '%s' of the service manager %s", shown, fault);
        close(fd);
        return -EINVAL;
    }
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    struct activation_socket *added = &activation->sockets[activation->n++];
    *added = (struct activation_socket){.fd = fd};
    snprintf(added->name, sizeof(added->name), "%s", name);
    return 0;
}

/* Returns it, NULL and 0 if there is none, or NULL and a negative errno. */
static struct activation_socket *find_or_ask(struct activation *activation, const char *name, int *ret_error,
                                             char *why, size_t size)
{
    struct activation_socket *found = find(activation, name);
    *ret_error = 0;
    if (found || !activation->may_ask)
        return found;
    int fd = activation_ask(activation, name, why, size);
    if (fd == -ENOENT)
        return NULL;
    *ret_error = fd < 0 ? fd : activation_add(activation, name, fd, why, size);
    return find(activation, name);
}

int activation_claim(struct activation *activation, const char *name, char *ret_why, size_t why_size)
{
    int error;
    struct activation_socket *found = find_or_ask(activation, name, &error, ret_why, why_size);
    if (!found)
        return error ? error : -ENOENT;
    if (!found->is_claimed)
        log_info("%s: the service manager's socket is used", name);
    found->is_claimed = true;
    return found->fd;
}

bool activation_has_file(struct activation *activation, int dir_fd, const char *file)
{
    char name[ACTIVATION_NAME_SIZE], why[256];
    struct sockaddr_un address;
    struct stat here, there;
    int error;
    const bool is_own_name = strcmp(ending_of(file), suffix_of_file) != 0;
    const size_t len = strlen(file) - (is_own_name ? 0 : strlen(suffix_of_file));
    if (len >= sizeof(name))
        return false;
    snprintf(name, sizeof(name), "%.*s", (int)len, file);
    const struct activation_socket *found =
        name_is_known(name) ? find_or_ask(activation, name, &error, why, sizeof(why)) : NULL;
    return found && path_of(found->fd, &address) && lstat(address.sun_path, &there) == 0 &&
           fstatat(dir_fd, file, &here, AT_SYMLINK_NOFOLLOW) == 0 && here.st_dev == there.st_dev &&
           here.st_ino == there.st_ino;
}

int activation_check_mode(int fd, const char *name, unsigned mode, char *ret_why, size_t why_size)
{
    struct sockaddr_un address;
    struct stat st;
    if (!path_of(fd, &address))
        return 0;
    if (lstat(address.sun_path, &st) < 0) {
        log_warn(
            "%s: %s, where the service manager bound it, is gone: nobody can connect; restart its socket",
            name, address.sun_path);
        return 0;
    }
    const unsigned wider = st.st_mode & (S_IWGRP | S_IWOTH) & ~mode; /* who may write may connect */
    if (wider & S_IWOTH) {
        snprintf(
            ret_why, why_size,
            "everybody may use %s, which the service manager made with the mode %04o; it should have %04o "
            "(systemd: SocketMode=; launchd: SockPathMode, a decimal number)",
            address.sun_path, (unsigned)(st.st_mode & 0777), mode);
        return -EPERM;
    }
    if (wider)
        log_warn("%s: the service manager gave %s the mode %04o, wider than %04o, to its group; it stays",
                 name, address.sun_path, (unsigned)(st.st_mode & 0777), mode);
    return 0;
}

gid_t activation_group(int fd)
{
    struct sockaddr_un address;
    struct stat st;
    return path_of(fd, &address) && lstat(address.sun_path, &st) == 0 ? st.st_gid : (gid_t)-1;
}

void activation_report_unclaimed(const struct activation *activation)
{
    for (unsigned i = 0; i < activation->n; i++)
        if (!activation->sockets[i].is_claimed)
            log_warn("%s: no such network uses the service manager's socket: who connects waits until there "
                     "is one",
                     activation->sockets[i].name);
}
