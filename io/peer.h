/* io/peer.h - who is at the other end of a unix socket, as the kernel tells it (fixed at connect) */
#ifndef IO_PEER_H
#define IO_PEER_H

#include <stdbool.h>
#include <sys/types.h>

struct peer {
    bool is_known; /* uid and gid hold */
    uid_t uid;
    gid_t gid;
    pid_t pid; /* 0: the kernel does not tell. Never used to authorise: a pid is reused */
};

/* Reads the credentials of the connected unix socket 'fd'. An unknown peer is not an error. */
void peer_of(int fd, struct peer *ret_peer);

/* True if the peer of 'fd' has 'gid' as its group or one of its supplementary groups. */
bool peer_is_member(int fd, gid_t gid);

#endif
