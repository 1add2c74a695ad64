#include "daemon/netlink.h"

#include <errno.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* The macros of the kernel's headers cast const away, which clang says wherever they are used. */
#pragma GCC diagnostic ignored "-Wcast-qual"

/* The kernel fills at most 32 KiB at once (net/netlink/af_netlink.c, netlink_dump). */
enum { ANSWER_BYTES = 32 * 1024, DUMP_SEQUENCE = 1 };

struct request {
    struct nlmsghdr header;
    struct rtgenmsg body; /* the family, which is what all kinds of questions begin with */
};

static int ask(int fd, uint16_t type, uint8_t family)
{
    const struct request request = {
        .header = {.nlmsg_len = NLMSG_LENGTH(sizeof(struct rtgenmsg)),
                   .nlmsg_type = type,
                   .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP,
                   .nlmsg_seq = DUMP_SEQUENCE},
        .body = {.rtgen_family = family},
    };
    return send(fd, &request, sizeof(request), 0) < 0 ? -errno : 0;
}

/* Returns 1 if the end has come, 0 if more does, or a negative errno. */
static int take(void *answer, size_t len, netlink_fn *fn, void *ctx)
{
    struct nlmsghdr *entry = answer;
    for (unsigned left = (unsigned)len; NLMSG_OK(entry, left); entry = NLMSG_NEXT(entry, left)) {
        if (entry->nlmsg_type == NLMSG_DONE)
            return 1;
        if (entry->nlmsg_type == NLMSG_ERROR) {
            const struct nlmsgerr *error = NLMSG_DATA(entry);
            return entry->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) && error->error ? error->error : -EPROTO;
        }
        if (!fn(ctx, entry))
            return 1;
    }
    return 0;
}

int netlink_dump(uint16_t type, uint8_t family, netlink_fn *fn, void *ctx)
{
    static _Alignas(struct nlmsghdr) char answer[ANSWER_BYTES]; /* each role has one thread */
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    int r = ask(fd, type, family);
    while (r == 0) {
        ssize_t n = recv(fd, answer, sizeof(answer), 0);
        if (n < 0 && errno == EINTR)
            continue;
        r = n < 0 ? -errno : n == 0 ? -EPROTO : take(answer, (size_t)n, fn, ctx);
    }
    close(fd);
    return r > 0 ? 0 : r;
}

int netlink_ask(const struct nlmsghdr *request)
{
    struct {
        struct nlmsghdr header;
        struct nlmsgerr error;
        char rest[512]; /* the request again, if it was refused */
    } answer;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    if (fd < 0)
        return -errno;
    int r = send(fd, request, request->nlmsg_len, 0) < 0 ? -errno : 0;
    ssize_t n = r < 0 ? r : recv(fd, &answer, sizeof(answer), 0);
    if (r == 0 && n < 0)
        r = -errno;
    else if (r == 0 && ((size_t)n < sizeof(answer.header) + sizeof(answer.error) ||
                        answer.header.nlmsg_type != NLMSG_ERROR))
        r = -EPROTO;
    close(fd);
    return r < 0 ? r : answer.error.error;
}
