#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int fail(const char *step, char *why, size_t size)
{
    int error = errno ? errno : EPERM;
    snprintf(why, size, "cannot give up privileges: %s: %s", step, strerror(error));
    return -error;
}

int privileges_drop(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size)
{
    bool is_root = geteuid() == 0 || getuid() == 0;
    errno = 0;
    if (is_root && (uid == 0 || gid == 0)) {
        errno = EINVAL;
        return fail("no other user was named", ret_why, why_size);
    }
    gid_t only = gid;
    /* setgid() and setuid() of root set the saved ids too. The group list after the gid: its first member is
     * the effective group here. */
    if (is_root && (setgid(gid) < 0 || setgroups(1, &only) < 0))
        return fail("setgid", ret_why, why_size);
    if (is_root && setuid(uid) < 0)
        return fail("setuid", ret_why, why_size);
    errno = 0;
    if (is_root && (getuid() != uid || geteuid() != uid || getgid() != gid || getegid() != gid))
        return fail("setuid had no effect", ret_why, why_size);
    if (setuid(0) == 0 || seteuid(0) == 0 || (is_root && setgid(0) == 0))
        return fail("they can be had again", ret_why, why_size);
    return 0;
}

bool privileges_can_switch_user(void)
{
    return geteuid() == 0;
}

void privileges_kill(pid_t pid, uint32_t uid)
{
    (void)uid;
    kill(pid, SIGKILL);
}

bool privileges_can_nat(void)
{
    return false;
}
