/* sys/sysctl.h - Darwin's, for the double */
#ifndef SYS_SYSCTL_H
#define SYS_SYSCTL_H

#include <stddef.h>

int sysctlbyname(const char *name, void *value, size_t *size, const void *new_value, size_t new_size);

#endif
