/* gethostuuid.h - Darwin's, for the double */
#ifndef GETHOSTUUID_H
#define GETHOSTUUID_H

struct timespec;

int gethostuuid(unsigned char uuid[16], const struct timespec *wait);

#endif
