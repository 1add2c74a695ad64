/* daemon/roles.h - one executable, six roles
 *
 * vmswitchd starts as the monitor, which starts the others by posix_spawn of itself as
 *   vmswitchd --role=network --name=shared --uid=U --gid=G      (descriptor 3: the channel to the monitor)
 * main() drops privileges for good before a role's main runs, but for vmnet's, which does so when the
 * interface has started, and nat's, which keeps two capabilities. Each returns an exit code.
 */
#ifndef DAEMON_ROLES_H
#define DAEMON_ROLES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    ROLE_CHANNEL_FD = 3,

    EXIT_OK = 0,
    EXIT_FAILED = 1,  /* could not start or go on; the log says why */
    EXIT_USAGE = 2,   /* wrong options */
    EXIT_CONFIG = 3,  /* the configuration is wrong; nothing was started */
    EXIT_RUNNING = 4, /* another vmswitchd has the runtime folder */
};

int control_main(int channel_fd);
int network_main(int channel_fd);
int uplink_main(int channel_fd);
int vmnet_main(int channel_fd, uint32_t uid, uint32_t gid);
int nat_main(int channel_fd, uint32_t uid, uint32_t gid);
/* On this system. */
bool vmnet_role_exists(void);
/* Where vmnet would not refuse for want of a privilege. */
bool vmnet_role_may_start(bool is_root);
bool nat_role_exists(void);

#endif
