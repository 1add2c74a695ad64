#include "daemon/tap.h"

#include <errno.h>
#include <stdio.h>

int tap_open(const struct tap_request *request, struct uplink_facts *ret_facts, char *ret_why,
             size_t why_size)
{
    (void)request;
    (void)ret_facts;
    snprintf(ret_why, why_size, "this system has no TAP interfaces");
    return -ENOTSUP;
}

void tap_remove_stale(void)
{
}
