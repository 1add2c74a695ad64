/* daemon/signal_pipe.h - signals as bytes that a poll loop reads: a handler has no other way to its loop
 *
 * One for the process. A full pipe has enough in it to wake the loop, so a signal may be lost that is one of
 * many; what it tells of (a child's end) is looked for anew each time.
 */
#ifndef DAEMON_SIGNAL_PIPE_H
#define DAEMON_SIGNAL_PIPE_H

#include <stddef.h>
#include <sys/types.h>

/* Catches these signals, a SIGCHLD only for ends. Returns the descriptor to poll, or a negative errno. */
int signal_pipe_open(const int *signals, size_t n);

/* The numbers of signals that have come, oldest first. Returns how many, 0 if there are none. */
size_t signal_pipe_read(unsigned char *ret_numbers, size_t max);

#endif
