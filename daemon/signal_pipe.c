#include "daemon/signal_pipe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

static int ends[2] = {-1, -1};

static void on_signal(int signal_number)
{
    int error = errno;
    unsigned char byte = (unsigned char)signal_number;
    ssize_t n = write(ends[1], &byte, 1);
    (void)n;
    errno = error;
}

int signal_pipe_open(const int *signals, size_t n)
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART | SA_NOCLDSTOP};
    if (pipe(ends) < 0)
        return -errno;
    for (int i = 0; i < 2; i++) {
        fcntl(ends[i], F_SETFD, FD_CLOEXEC);
        fcntl(ends[i], F_SETFL, O_NONBLOCK);
    }
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < n; i++)
        sigaction(signals[i], &action, NULL);
    return ends[0];
}

size_t signal_pipe_read(unsigned char *ret_numbers, size_t max)
{
    ssize_t n = read(ends[0], ret_numbers, max);
    return n > 0 ? (size_t)n : 0;
}
