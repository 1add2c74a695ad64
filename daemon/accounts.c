#include "daemon/accounts.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>

#include "io/log.h"

int accounts_find_service(const char *name, uid_t *ret_uid, gid_t *ret_gid, char *ret_why, size_t why_size)
{
    static const char *const names[] = {"_vmswitch", "vmswitch", "nobody"};
    enum { N_NAMES = sizeof(names) / sizeof(names[0]) };
    const struct passwd *user = NULL;
    if (name[0])
        user = getpwnam(name);
    for (int i = 0; i < N_NAMES && !name[0] && !user; i++) {
        user = getpwnam(names[i]);
        if (user && i == N_NAMES - 1)
            log_warn(
                "no user _vmswitch or vmswitch: running as nobody, which other services may share; make one "
                "(useradd --system --no-create-home vmswitch)");
    }
    if (!user) {
        snprintf(ret_why, why_size, "there is no user '%s' to run as; make one, or say --user",
                 name[0] ? name : "nobody");
        return -ENOENT;
    }
    if (user->pw_uid == 0 || user->pw_gid == 0) {
        snprintf(ret_why, why_size, "--user %s: not root, nor a member of root's group", user->pw_name);
        return -EPERM;
    }
    *ret_uid = user->pw_uid;
    *ret_gid = user->pw_gid;
    return 0;
}

bool accounts_find_dhcp(uid_t *ret_uid, gid_t *ret_gid)
{
    const struct passwd *user = getpwnam("dnsmasq");
    if (!user || user->pw_uid == 0)
        user = getpwnam("nobody");
    if (!user || user->pw_uid == 0)
        return false;
    const struct passwd found = *user;
    const struct group *group =
        getgrnam("nogroup"); /* Debian's dnsmasq has nogroup, whatever else is in it */
    *ret_uid = found.pw_uid;
    *ret_gid = found.pw_gid ? found.pw_gid : group ? group->gr_gid : (gid_t)found.pw_uid;
    return true;
}

bool accounts_find_group(const char *name, gid_t *ret_gid)
{
    const struct group *group = getgrnam(name);
    if (group)
        *ret_gid = group->gr_gid;
    return group != NULL;
}
