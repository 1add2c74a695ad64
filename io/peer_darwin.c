/* io/peer_darwin.c - LOCAL_PEERCRED and LOCAL_PEERPID, see peer.h */
#include "io/peer.h"

#include <sys/socket.h>
#include <sys/ucred.h>
#include <sys/un.h>
#include <unistd.h>

static bool credentials_of(int fd, struct xucred *ret_cred)
{
    socklen_t len = sizeof *ret_cred;

    return getsockopt(fd, SOL_LOCAL, LOCAL_PEERCRED, ret_cred, &len) == 0 &&
           ret_cred->cr_version == XUCRED_VERSION && ret_cred->cr_ngroups > 0;
}

void peer_of(int fd, struct peer *ret_peer)
{
    struct xucred cred;
    pid_t pid = 0;
    socklen_t len = sizeof pid;

    *ret_peer = (struct peer){.is_known = false};
    if (!credentials_of(fd, &cred))
        return;
    if (getsockopt(fd, SOL_LOCAL, LOCAL_PEERPID, &pid, &len) < 0)
        pid = 0;
    *ret_peer = (struct peer){.is_known = true, .uid = cred.cr_uid, .gid = cred.cr_groups[0], .pid = pid};
}

bool peer_is_member(int fd, gid_t gid)
{
    struct xucred cred;

    if (!credentials_of(fd, &cred))
        return false;
    for (short i = 0; i < cred.cr_ngroups; i++)
        if (cred.cr_groups[i] == gid)
            return true;
    return false;
}
