/* api/reservations.h - "ipv4": {"reservations": [{"mac": ..., "address": ...}]} */
#ifndef API_RESERVATIONS_H
#define API_RESERVATIONS_H

#include "api/json_fields.h"
#include "api/network_spec.h"

/* 'ipv4' is open; absent: as they are. */
void reservations_read(struct fields *ipv4, struct network_spec *spec);
json_t *reservations_write(const struct network_spec *spec);

/* Row i and those before it: in the subnet, a guest's, and each address and MAC once. Returns 0 or -1 with
 * *error. */
int reservation_check(const struct network_spec *spec, uint32_t i, struct spec_error *error);

#endif
