#include "daemon/broker_rights.h"

#include <grp.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>

#include "daemon/accounts.h"

enum { OTHERS_MAY_WRITE = 0002, GROUP_MAY_WRITE = 0020 };

static bool is_member(uid_t uid, const char *group)
{
    const struct passwd *user = getpwuid(uid);
    const struct group *entry = user && group[0] ? getgrnam(group) : NULL;
    if (!entry)
        return false;
    if (entry->gr_gid == user->pw_gid)
        return true;
    for (char **name = entry->gr_mem; *name; name++)
        if (strcmp(*name, user->pw_name) == 0)
            return true;
    return false;
}

bool broker_may_use(uid_t uid, const struct switch_network *network)
{
    if (uid == 0 || uid == geteuid() || is_member(uid, ACCOUNTS_API_GROUP))
        return true;
    if (!network)
        return false;
    return uid == network->owner || (network->spec.sockets.mode & OTHERS_MAY_WRITE) ||
           ((network->spec.sockets.mode & GROUP_MAY_WRITE) && is_member(uid, network->spec.sockets.group));
}
