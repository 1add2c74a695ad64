#include "daemon/privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The leak checker of a sanitizer build attaches to its own process as a debugger does, which needs a
 * dumpable one. */
#if defined(__SANITIZE_ADDRESS__)
enum { IS_DUMPABLE = 1 };
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
enum { IS_DUMPABLE = 1 };
#else
enum { IS_DUMPABLE = 0 };
#endif
#else
enum { IS_DUMPABLE = 0 };
#endif

static int fail(const char *step, char *why, size_t size)
{
    int error = errno ? errno : EPERM;
    snprintf(why, size, "cannot give up privileges: %s: %s", step, strerror(error));
    return -error;
}

/* The kernel knows more capabilities than the headers we were built with: until it says that there is none.
 */
static int drop_bounding_set(void)
{
    for (unsigned long capability = 0;; capability++) {
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0)
            continue;
        return errno == EINVAL && capability > 0 ? 0 : -1;
    }
}

static struct __user_cap_header_struct cap_header(void)
{
    return (struct __user_cap_header_struct){.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
}

/* Each capability used here is below 32: one word says which to keep. */
enum {
    KEEP_NONE = 0,
    KEEP_NAT = 1 << CAP_NET_ADMIN | 1 << CAP_NET_BIND_SERVICE,
};

static int set_capabilities(uint32_t keep)
{
    struct __user_cap_header_struct header = cap_header();
    const struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {
        {.effective = keep, .permitted = keep, .inheritable = keep}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -1;
    return (int)syscall(SYS_capset, &header, data);
}

/* Adds to what is inherited, and leaves the rest. */
static int set_inheritable(uint32_t keep)
{
    struct __user_cap_header_struct header = cap_header();
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return -1;
    data[0].inheritable |= keep;
    return (int)syscall(SYS_capset, &header, data);
}

/* Beside those kept. */
static bool has_capability(uint32_t keep)
{
    struct __user_cap_header_struct header = cap_header();
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    if (syscall(SYS_capget, &header, data) < 0)
        return true;
    for (int i = 0; i < _LINUX_CAPABILITY_U32S_3; i++) {
        const uint32_t allowed = i == 0 ? keep : 0;
        if ((data[i].effective | data[i].permitted | data[i].inheritable) & ~allowed)
            return true;
    }
    return false;
}

static bool has_all(uint32_t wanted)
{
    struct __user_cap_header_struct header = cap_header();
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
    return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & wanted) == wanted;
}

bool privileges_can_switch_user(void)
{
    return geteuid() == 0 || has_all(1 << CAP_SETUID | 1 << CAP_SETGID | 1 << CAP_SETPCAP | 1 << CAP_CHOWN);
}

void privileges_kill(pid_t pid, uint32_t uid)
{
    const uid_t own = geteuid();
    if (kill(pid, SIGKILL) == 0 || errno != EPERM || seteuid(uid) < 0)
        return;
    kill(pid, SIGKILL);
    if (seteuid(own) < 0)
        abort(); /* it cannot be: the real user is as before */
}

/* True if something privileged still works. */
static bool can_regain(uid_t uid, gid_t gid, uint32_t keep)
{
    uid_t real_uid, effective_uid, saved_uid;
    gid_t real_gid, effective_gid, saved_gid;
    if (getresuid(&real_uid, &effective_uid, &saved_uid) < 0 ||
        getresgid(&real_gid, &effective_gid, &saved_gid) < 0)
        return true;
    if (real_uid != uid || effective_uid != uid || saved_uid != uid || real_gid != gid ||
        effective_gid != gid || saved_gid != gid)
        return true;
    return has_capability(keep) || setuid(0) == 0 || seteuid(0) == 0 || setgid(0) == 0 ||
           setgroups(0, NULL) == 0;
}

static int drop(uint32_t uid, uint32_t gid, uint32_t keep, char *ret_why, size_t why_size)
{
    const bool is_root = geteuid() == 0 || getuid() == 0 || privileges_can_switch_user();
    errno = 0;
    if (is_root && (uid == 0 || gid == 0)) {
        errno = EINVAL;
        return fail("no other user was named", ret_why, why_size);
    }
    /* Else those that are to be kept went with the uid. */
    if (keep && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return fail("keepcaps", ret_why, why_size);
    /* The bounding set while we still may, the rest after the uid, which takes the capabilities along. What
     * is to be inherited must be so before that, and has no other effect. */
    if (is_root && keep && set_inheritable(keep) < 0)
        return fail("inheritable", ret_why, why_size);
    if (is_root && drop_bounding_set() < 0)
        return fail("capability bounding set", ret_why, why_size);
    if (is_root && setgroups(0, NULL) < 0)
        return fail("setgroups", ret_why, why_size);
    if (is_root && setresgid(gid, gid, gid) < 0)
        return fail("setresgid", ret_why, why_size);
    if (is_root && setresuid(uid, uid, uid) < 0)
        return fail("setresuid", ret_why, why_size);
    if (set_capabilities(keep) < 0)
        return fail("capset", ret_why, why_size);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fail("no_new_privs", ret_why, why_size);
    /* Nobody of the same user may attach a debugger or read our memory. */
    if (prctl(PR_SET_DUMPABLE, IS_DUMPABLE, 0, 0, 0) < 0)
        return fail("dumpable", ret_why, why_size);
    errno = 0;
    if (can_regain(is_root ? uid : getuid(), is_root ? gid : getgid(), keep))
        return fail("they can be had again", ret_why, why_size);
    return 0;
}

int privileges_drop(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size)
{
    return drop(uid, gid, KEEP_NONE, ret_why, why_size);
}

int privileges_drop_to_nat(uint32_t uid, uint32_t gid, char *ret_why, size_t why_size)
{
    return drop(uid, gid, KEEP_NAT, ret_why, why_size);
}

bool privileges_can_nat(void)
{
    return has_all(KEEP_NAT);
}

int privileges_hand_on(void)
{
    if (set_capabilities(KEEP_NAT) < 0 ||
        prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_ADMIN, 0, 0) < 0)
        return -1;
    return prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_NET_BIND_SERVICE, 0, 0);
}
