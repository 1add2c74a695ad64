/* tests/fake-sdk/fake_interfaces.c - the double's network cards: en0 is Wi-Fi, as on most Macs, and en7 an
 * adapter with a cable, which a test may pull out */
#include <net/if_media.h>
#include <stdarg.h>
#include <string.h>

#include "tests/fake-sdk/fake_panel.h"
#include "tests/fake-sdk/fake_vmnet_internal.h"

static const char *const names[] = {"en0", "en7"};

bool fake_interfaces_have(const char *name)
{
    const bool is_out = fake_panel()->script.is_unplugged;
    return strcmp(name, "en0") == 0 || (strcmp(name, "en7") == 0 && !is_out);
}

xpc_object_t vmnet_copy_shared_interface_list(void)
{
    xpc_object_t list = xpc_array_create(NULL, 0);
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (fake_interfaces_have(names[i]))
            xpc_array_set_string(list, XPC_ARRAY_APPEND, names[i]);
    return list;
}

static bool tell_media(struct ifmediareq *media)
{
    if (!fake_interfaces_have(media->ifm_name))
        return false;
    media->ifm_current = media->ifm_active = strcmp(media->ifm_name, "en0") == 0 ? IFM_IEEE80211 : IFM_ETHER;
    return true;
}

/* Linked with --wrap=ioctl. */
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
    va_list rest;
    va_start(rest, request);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    if (request == SIOCGIFMEDIA && tell_media(argument))
        return 0;
    return __real_ioctl(fd, request, argument);
}
