/* io/batch_darwin.c - recvmsg_x and sendmsg_x, see batch.h and batch_darwin.h
 *
 * How it works
 *   Both know MSG_DONTWAIT and no other flag, and return how many datagrams they have moved. sendmsg_x()
 * fails with ENOBUFS or EMSGSIZE only for the first of a batch, which is what batch_send() promises; who
 * wants the rest sent calls again, and meets the error then. What fails with ENOSYS or EOPNOTSUPP is not
 * called again.
 *
 * Descriptors
 *   recvmsg_x() installs all that come with a batch before it looks at our buffers, and tells them in the
 * first messages rather than in those that they came with. All are closed, so that does not matter. But if
 * they do not fit into the process's table, it fails and tells none: so a call takes no more datagrams than
 * may carry half the table.
 *
 * None of it has run on a Mac. The rules are XNU's source's (bsd/kern/uipc_syscalls.c, uipc_socket.c), and
 * the double of the unit test follows them.
 */
#include "io/batch_darwin.h"

#include <assert.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>

#include "io/batch.h"
#include "io/batch_posix.h"
#include "io/piece.h"
#include "switch/frame.h"

enum { RELEASE_MIN = 23 /* macOS 14 */ };

static_assert(sizeof(void *) != 8 || sizeof(struct msghdr_x) == 56, "as the kernel lays it out");

static struct batch_darwin calls;
static bool is_found;

static batch_darwin_fn *symbol(const char *name)
{
    void *found = dlsym(RTLD_DEFAULT, name);
    batch_darwin_fn *fn = NULL;

    static_assert(sizeof found == sizeof fn, "POSIX wants it so of dlsym()");
    memcpy(&fn, &found, sizeof fn);
    return fn;
}

void batch_darwin_find(struct batch_darwin *ret_calls, const char *release, uint64_t fds_max)
{
    uint64_t slots = fds_max / 2 / BATCH_FDS;

    *ret_calls = (struct batch_darwin){.slots = 0};
    if (strtol(release, NULL, 10) < RELEASE_MIN)
        return;
    ret_calls->send = symbol("sendmsg_x");
    if (slots > 1)
        ret_calls->receive = symbol("recvmsg_x");
    ret_calls->slots = slots < IO_DGRAM_SLOTS ? (unsigned)slots : IO_DGRAM_SLOTS;
}

void batch_darwin_use(const struct batch_darwin *use)
{
    calls = *use;
    is_found = true;
}

static void find_once(void)
{
    struct utsname name;
    struct rlimit limit;

    if (is_found)
        return;
    is_found = true;
    if (uname(&name) == 0 && getrlimit(RLIMIT_NOFILE, &limit) == 0)
        batch_darwin_find(&calls, name.release, limit.rlim_cur);
}

static bool is_not_offered(int error)
{
    return error == ENOSYS || error == EOPNOTSUPP;
}

static void close_descriptors(const struct msghdr_x *message)
{
    struct msghdr plain = {.msg_control = message->msg_control, .msg_controllen = message->msg_controllen};

    if (message->msg_controllen > 0)
        batch_close_descriptors(&plain);
}

int batch_receive(struct batch *batch, int fd, unsigned max, bool wants_sources)
{
    struct msghdr_x messages[IO_DGRAM_SLOTS];
    struct iovec iov[IO_DGRAM_SLOTS];
    struct batch_control controls[IO_DGRAM_SLOTS];
    ssize_t n;

    find_once();
    if (!calls.receive)
        return batch_posix_receive(batch, fd, max, wants_sources);
    if (max > calls.slots)
        max = calls.slots;
    for (unsigned i = 0; i < max; i++) {
        struct batch_slot *slot = &batch->slots[i];

        iov[i] = (struct iovec){.iov_base = slot->bytes, .iov_len = FRAME_LEN_MAX + 1};
        messages[i] = (struct msghdr_x){.msg_name = wants_sources ? &slot->from : NULL,
                                        .msg_namelen = wants_sources ? sizeof slot->from : 0,
                                        .msg_iov = &iov[i],
                                        .msg_iovlen = 1,
                                        .msg_control = &controls[i],
                                        .msg_controllen = sizeof controls[i]};
    }
    n = calls.receive(fd, messages, max, MSG_DONTWAIT);
    if (n < 0 && is_not_offered(errno)) {
        calls.receive = NULL;
        return batch_posix_receive(batch, fd, max, wants_sources);
    }
    if (n < 0)
        return -errno;
    for (ssize_t i = 0; i < n; i++) {
        close_descriptors(&messages[i]);
        batch->slots[i].len = (uint32_t)messages[i].msg_datalen;
        batch->slots[i].from_len = batch_from_len(messages[i].msg_namelen);
    }
    /* Nothing and no error: its receiving side has been shut down, and it is readable for ever. */
    return n > 0 ? (int)n : -EAGAIN;
}

int batch_send(struct batch *batch, int fd, const struct frame *const *frames, unsigned n,
               const struct sockaddr_un *to, socklen_t to_len)
{
    struct msghdr_x headers[IO_DGRAM_SLOTS];
    struct iovec pieces[IO_DGRAM_SLOTS][BATCH_PIECES];
    unsigned i;
    ssize_t sent;

    (void)batch;
    find_once();
    if (!calls.send || n < 2)
        return batch_posix_send(fd, frames, n, to, to_len);
    for (i = 0; i < n && i < IO_DGRAM_SLOTS && frames[i]->n_rest < BATCH_PIECES; i++)
        headers[i] = (struct msghdr_x){.msg_name = piece_base(to),
                                       .msg_namelen = to_len,
                                       .msg_iov = pieces[i],
                                       .msg_iovlen = (int)batch_lay_out(frames[i], pieces[i])};
    if (i == 0)
        return -EMSGSIZE;
    sent = calls.send(fd, headers, i, MSG_DONTWAIT);
    if (sent < 0 && is_not_offered(errno)) {
        calls.send = NULL;
        return batch_posix_send(fd, frames, n, to, to_len);
    }
    if (sent < 0)
        return -errno;
    /* None and no error: as if there were no room, since no wake-up was promised. */
    return sent > 0 ? (int)sent : -ENOBUFS;
}

ssize_t batch_read(int fd, uint8_t *bytes, size_t len)
{
    return batch_posix_read(fd, bytes, len);
}

bool batch_wakes_when_room(void)
{
    return false;
}
