/* daemon/guest_frame.h - which frames of a guest libslirp gets to see
 *
 * Frames come from guests that may be hostile, libslirp is C that has trusted too much before. So whatever is
 * not a well-formed start of ARP, IPv4 or IPv6 stays outside, and so does what would reach the host's
 * loopback past libslirp's own rule, which knows the gateway's address only: 127.0.0.0/8, 0.0.0.0/8, ::1, ::
 * and the IPv4-mapped addresses. Pure.
 */
#ifndef DAEMON_GUEST_FRAME_H
#define DAEMON_GUEST_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum guest_verdict {
    GUEST_OK,
    GUEST_TOO_SHORT,   /* for its header */
    GUEST_TOO_LONG,    /* for the MTU */
    GUEST_NOT_IP,      /* another EtherType; VLAN tags too: libslirp knows none */
    GUEST_BAD_HEADER,  /* version or lengths contradict each other */
    GUEST_BAD_ADDRESS, /* an address that must not be seen on a wire */
    GUEST_REFUSED,     /* a service that is off: TFTP */
    GUEST_N_VERDICTS
};

struct guest_rules {
    uint32_t gateway; /* host byte order */
    uint32_t mtu;
    bool has_ipv6;
};

enum guest_verdict guest_frame_check(const struct guest_rules *rules, const uint8_t *frame, size_t len);

const char *guest_verdict_name(enum guest_verdict verdict); /* "too_short" */

#endif
