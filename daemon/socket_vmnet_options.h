/* daemon/socket_vmnet_options.h - socket_vmnet's command line as plain data
 *
 * getopt_long()'s rules, as the original's: "--option value" and "--option=value", unambiguous beginnings,
 * any order. A value that is empty or "<nil>" counts as not given: Lima writes both.
 */
#ifndef DAEMON_SOCKET_VMNET_OPTIONS_H
#define DAEMON_SOCKET_VMNET_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/message.h"

enum { UUID_SIZE = 16 };

struct socket_vmnet_options {
    bool help, version;
    const char *socket_path; /* these point into argv; NULL: not given */
    const char *socket_group;
    const char *pidfile;
    enum network_mode mode;
    const char *interface;
    bool has_gateway; /* else vmnet's own choice, where there is vmnet */
    bool disable_dhcp;
    struct network_spec spec; /* mode, addresses, interface; 'uplink' and 'name' are not set */
    bool has_interface_id, has_network_id;
    unsigned char interface_id[UUID_SIZE], network_id[UUID_SIZE];
};

/* Reads 'argv', whose order changes. getopt(3) prints what it does not know on stderr. Returns 0, or -1 with
 * a sentence in 'ret_why' ("" where getopt has said it). */
int socket_vmnet_options_parse(struct socket_vmnet_options *ret_options, int argc, char **argv, char *ret_why,
                               size_t why_size);

/* Whether guests get addresses, from vmnet or beside a TAP: in host mode too, but on a network with an
 * identifier. */
bool socket_vmnet_options_have_dhcp(const struct socket_vmnet_options *options);

/* Puts into 'spec', whose uplink is vmnet, what vmnet knows and no other uplink does. It serves DHCP in host
 * mode too, but on a network with an identifier; addresses that nobody named are its own choice. */
void socket_vmnet_options_fill_vmnet(const struct socket_vmnet_options *options, struct network_spec *spec);

const char *socket_vmnet_usage(void);

#endif
