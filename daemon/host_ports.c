#include "daemon/host_ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/address.h"

static bool is_same(const struct network_forward *a, const struct network_forward *b)
{
    return a->is_udp == b->is_udp && a->host_ip == b->host_ip && a->host_port == b->host_port &&
           a->guest_ip == b->guest_ip && a->guest_port == b->guest_port;
}

/* Returns the socket or a negative errno. */
static int bind_port(const struct network_forward *forward)
{
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons(forward->host_port),
                                        .sin_addr.s_addr = htonl(forward->host_ip)};
    int fd = socket(AF_INET, forward->is_udp ? SOCK_DGRAM : SOCK_STREAM, 0);
    if (fd < 0)
        return -errno;
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    const int error = errno;
    close(fd);
    return -error;
}

void host_ports_init(struct host_ports *ports)
{
    *ports = (struct host_ports){.n = 0};
}

static bool is_wanted(const struct network_spec *spec, const struct network_forward *forward)
{
    for (uint32_t i = 0; i < spec->n_forwards; i++)
        if (is_same(&spec->forwards[i], forward))
            return true;
    return false;
}

static bool is_known(const struct host_ports *ports, const struct network_forward *forward)
{
    for (uint32_t i = 0; i < ports->n; i++)
        if (is_same(&ports->entries[i].forward, forward))
            return true;
    return false;
}

static void remove_unwanted(struct host_ports *ports, const struct network_spec *spec)
{
    uint32_t n_kept = 0;
    for (uint32_t i = 0; i < ports->n; i++) {
        if (is_wanted(spec, &ports->entries[i].forward))
            ports->entries[n_kept++] = ports->entries[i];
        else if (ports->entries[i].fd >= 0)
            close(ports->entries[i].fd);
    }
    ports->n = n_kept;
}

void host_ports_apply(struct host_ports *ports, const struct network_spec *spec)
{
    remove_unwanted(ports, spec);
    for (uint32_t i = 0; i < spec->n_forwards; i++) {
        const struct network_forward *forward = &spec->forwards[i];
        if (is_known(ports, forward))
            continue;
        ports->entries[ports->n].forward = *forward;
        ports->entries[ports->n++].fd = bind_port(forward);
    }
}

bool host_ports_retry(struct host_ports *ports)
{
    bool has_changed = false;
    for (uint32_t i = 0; i < ports->n; i++) {
        if (ports->entries[i].fd >= 0)
            continue;
        ports->entries[i].fd = bind_port(&ports->entries[i].forward);
        has_changed = has_changed || ports->entries[i].fd >= 0;
    }
    return has_changed;
}

uint32_t host_ports_bound(const struct host_ports *ports,
                          struct network_forward ret_forwards[NETWORK_FORWARDS_MAX])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < ports->n; i++)
        if (ports->entries[i].fd >= 0)
            ret_forwards[n++] = ports->entries[i].forward;
    return n;
}

bool host_ports_failure(const struct host_ports *ports, char reason[UPLINK_REASON_SIZE])
{
    char host[ENDPOINT_TEXT_SIZE];
    for (uint32_t i = 0; i < ports->n; i++) {
        const struct network_forward *forward = &ports->entries[i].forward;
        if (ports->entries[i].fd >= 0)
            continue;
        endpoint_format(forward->host_ip, forward->host_port, host);
        snprintf(reason, UPLINK_REASON_SIZE, "forward %s %s: %s", forward->is_udp ? "udp" : "tcp", host,
                 strerror(-ports->entries[i].fd));
        return true;
    }
    return false;
}

void host_ports_close(struct host_ports *ports)
{
    for (uint32_t i = 0; i < ports->n; i++)
        if (ports->entries[i].fd >= 0)
            close(ports->entries[i].fd);
    ports->n = 0;
}
