/* io/peer_linux.c - SO_PEERCRED and SO_PEERGROUPS, see peer.h */
#include "io/peer.h"

#include <sys/socket.h>

/* NGROUPS_MAX is 65536; nobody is in so many, and a peer with more is refused rather than believed. */
enum { PEER_GROUPS = 1024 };

void peer_of(int fd, struct peer *ret_peer)
{
    struct ucred cred;
    socklen_t len = sizeof cred;

    *ret_peer = (struct peer){.is_known = false};
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 || len != sizeof cred)
        return;
    /* An unconnected socket answers with (0, -1, -1). */
    if (cred.uid == (uid_t)-1)
        return;
    *ret_peer = (struct peer){.is_known = true, .uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
}

bool peer_is_member(int fd, gid_t gid)
{
    struct peer peer;
    gid_t groups[PEER_GROUPS];
    socklen_t len = sizeof groups;

    peer_of(fd, &peer);
    if (!peer.is_known)
        return false;
    if (peer.gid == gid)
        return true;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &len) < 0)
        return false;
    for (size_t i = 0; i < len / sizeof groups[0]; i++)
        if (groups[i] == gid)
            return true;
    return false;
}
