#include <stdio.h>
#include <string.h>

#include "daemon/vmnet_helper.h"

int helper_socket_make(struct helper_socket *made, const char *path, char *why, size_t size)
{
    struct keep_order order;
    int fd = -1;
    memset(&order, 0, sizeof(order));
    order.kind = SOCKET_DGRAM;
    order.mode = HELPER_SOCKET_MODE;
    order.uid = order.gid = UINT32_MAX;
    snprintf(order.socket_path, sizeof(order.socket_path), "%s", path);
    made->is_taken = true;
    return keeper_files_take(&made->files, &order, &fd, why, size) < 0 ? -1 : fd;
}

void helper_socket_remove(struct helper_socket *made)
{
    if (made->is_taken)
        keeper_files_remove(&made->files);
    made->is_taken = false;
}
