#include "daemon/lease_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "daemon/dhcp_leases.h"
#include "daemon/text_file.h"
#include "io/log.h"

char *lease_file_read(const char *folder)
{
    size_t len;
    int error;
    return text_file_read(folder, LEASE_FILE, LEASE_FILE_MAX, &len, &error);
}

int lease_file_write(const char *folder, const char *text)
{
    return text_file_write(folder, LEASE_FILE, text);
}

static int set_aside(const char *folder)
{
    char path[1024], aside[1024];
    snprintf(path, sizeof(path), "%s/%s", folder, LEASE_FILE);
    snprintf(aside, sizeof(aside), "%s/%s", folder, LEASE_FILE_DAMAGED);
    return rename(path, aside) < 0 ? -errno : 0;
}

void lease_file_mend(const char *folder, uint32_t address, uint32_t netmask)
{
    size_t len = 0;
    int error = 0;
    char *text = text_file_read(folder, LEASE_FILE, LEASE_FILE_MAX, &len, &error);
    if (!text && error == -ENOENT) {
        lease_file_write(folder, ""); /* with our mode; dnsmasq's would let everybody read it */
        return;
    }
    for (size_t i = 0; text && i < len; i++)
        if (text[i] == '\0') /* of a disk that lost its power: what comes behind them counts, too */
            text[i] = '\a';
    const bool is_damaged = !text || dhcp_leases_keep_valid(text) > 0;
    const bool has_others = text && dhcp_leases_keep_subnet(text, address, netmask) > 0;
    int r = is_damaged ? set_aside(folder) : 0;
    if (r == 0 && text && (is_damaged || has_others))
        r = lease_file_write(folder, text);
    if (!is_damaged) {
        free(text);
        return;
    }
    log_warn("%s/%s is damaged (%s): it is kept as %s, and guests may get other addresses%s%s", folder,
             LEASE_FILE, text ? "not all of it are leases" : strerror(-error), LEASE_FILE_DAMAGED,
             r < 0 ? "; " : "", r < 0 ? strerror(-r) : "");
    free(text);
}
