/* daemon/interface_id.h - a VM's interface id: a UUID, and the address that goes with it */
#ifndef DAEMON_INTERFACE_ID_H
#define DAEMON_INTERFACE_ID_H

#include <stdbool.h>
#include <stdint.h>

enum { INTERFACE_ID_SIZE = 16, INTERFACE_ID_TEXT_SIZE = 37 };

/* Takes the 36 characters of a UUID in either case, nothing else. */
bool interface_id_parse(const char *text, uint8_t ret_id[INTERFACE_ID_SIZE]);

/* Upper case, as macOS writes them. */
void interface_id_format(const uint8_t id[INTERFACE_ID_SIZE], char text[INTERFACE_ID_TEXT_SIZE]);

/* A new one (RFC 9562, version 4). Returns 0 or a negative libuv code. */
int interface_id_make(uint8_t ret_id[INTERFACE_ID_SIZE]);

/* The same for the same id, always: clients keep the id and look leases up by the address. A unicast address,
 * locally administered; two ids have the same with a chance of 2^-46. */
uint64_t interface_id_mac(const uint8_t id[INTERFACE_ID_SIZE]);

/* A /48 for local use (RFC 4193) that is as constant; its last 10 bytes are 0. */
void interface_id_prefix(const uint8_t id[INTERFACE_ID_SIZE], uint8_t ret_prefix[16]);

#endif
