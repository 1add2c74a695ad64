/* net/if_media.h - what daemon/interface_kind_darwin.c uses of Darwin's, which Linux does not have; the rest
 * of it is in <net/if.h> and <sys/ioctl.h> there */
#ifndef NET_IF_MEDIA_H
#define NET_IF_MEDIA_H

#include <net/if.h>
#include <sys/ioctl.h>

enum { IFM_ETHER = 0x20, IFM_IEEE80211 = 0x80, IFM_NMASK = 0xE0 };
#define IFM_TYPE(word) ((word)&IFM_NMASK)

struct ifmediareq {
    char ifm_name[IFNAMSIZ];
    int ifm_current, ifm_mask, ifm_status, ifm_active, ifm_count;
    int *ifm_ulist;
};

#define SIOCGIFMEDIA 0x69385A5AUL /* none of Linux's */

#endif
