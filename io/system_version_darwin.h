/* io/system_version_darwin.h - which macOS runs us, where the same executable may do more on a newer one */
#ifndef IO_SYSTEM_VERSION_DARWIN_H
#define IO_SYSTEM_VERSION_DARWIN_H

/* 1504 is 15.4. The oldest that this program runs on where the system does not say. */
int system_version(void);

/* For tests: from here on it is 'version'; 0: what the system says. Before other threads are there. */
void system_version_pretend(int version);

/* "15.4" is 1504, "15.4.1" too; 0 for what is no version. A macOS 26 that calls itself 16 to programs built
 * with an older SDK is 26. */
int system_version_parse(const char *text);

#endif
