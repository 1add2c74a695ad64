/* daemon/activation_linux.c - systemd: descriptors from 3 on, counted and named by environment variables */
#include "daemon/activation.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FIRST_FD = 3 };

/* Returns -1 if there is no such variable or it is no number. */
static long number_of(const char *variable)
{
    const char *text = getenv(variable);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return -1;
    errno = 0;
    long number = strtol(text, &end, 10);
    return errno || *end ? -1 : number;
}

/* The next of the names between colons; "" if there is none any more. */
static void next_name(const char **at, char *ret_name, size_t size)
{
    const size_t len = strcspn(*at, ":");
    snprintf(ret_name, size, "%.*s", (int)(len < INT_MAX ? len : INT_MAX), *at);
    *at += len + ((*at)[len] == ':');
}

int activation_take(struct activation *ret_activation, char *ret_why, size_t why_size)
{
    const long n = number_of("LISTEN_FDS");
    const char *names = getenv("LISTEN_FDNAMES");
    names = names ? names : "";
    memset(ret_activation, 0, sizeof(*ret_activation));
    /* Variables that were meant for a process that started us, or for one before it. */
    if (!getenv("LISTEN_FDS") || number_of("LISTEN_PID") != getpid())
        return 0;
    if (n < 0 || n > ACTIVATION_MAX) {
        snprintf(ret_why, why_size, "LISTEN_FDS is no number from 0 to %d", ACTIVATION_MAX);
        return -EINVAL;
    }
    int r = 0;
    for (int i = 0; i < n && r == 0; i++) {
        char name[256]; /* systemd has no longer ones */
        next_name(&names, name, sizeof(name));
        if (!name[0]) {
            snprintf(ret_why, why_size,
                     "socket %d of the service manager has no name; set FileDescriptorName= in its unit",
                     i + 1);
            return -EINVAL;
        }
        r = activation_add(ret_activation, name, FIRST_FD + i, ret_why, why_size);
    }
    return r;
}

int activation_ask(struct activation *activation, const char *name, char *ret_why, size_t why_size)
{
    (void)activation;
    (void)name;
    (void)ret_why;
    (void)why_size;
    return -ENOENT; /* all of them were passed at the start */
}
