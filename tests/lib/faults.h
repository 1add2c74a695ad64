/* tests/lib/faults.h - calls that fail when a test says so (M06, D14)
 *
 * Linked into a program, the definitions of faults.c take the place of the C library's for the program and
 * every library it uses: each counts its calls, and fails those that it is told to. A test in the same
 * process says so here. One in another process writes to what vmswitchd_faulty maps (see faults.c).
 */
#ifndef TESTS_LIB_FAULTS_H
#define TESTS_LIB_FAULTS_H

#include <stdint.h>

enum fault_kind {
    FAULT_MEMORY, /* malloc, calloc, realloc, aligned_alloc, strdup */
    FAULT_ACCEPT,
    FAULT_RECVMSG,
    FAULT_SENDMSG,
    FAULT_RECV,
    FAULT_SEND,
    FAULT_RECVMMSG,
    FAULT_SENDMMSG,
    FAULT_SOCKET,
    FAULT_SOCKETPAIR,
    FAULT_OPENAT,
    FAULT_CONNECT,
    FAULT_WAIT, /* epoll_wait, epoll_pwait and poll: how often a process wakes up */
    FAULT_N
};

/* As it lies in the file: tests/system/faulty.py reads and writes it. */
struct fault {
    uint64_t calls;       /* so far */
    uint64_t from, until; /* calls of these numbers fail, counted from 0, 'until' not included */
    uint64_t hits;        /* that have failed */
    uint64_t error;       /* errno of those */
};

/* Lets the next call but 'k' fail (0: the next one), and 'n' in all; sets hits to 0. */
void faults_arm(enum fault_kind kind, uint64_t k, uint64_t n, int error);

/* No call fails any more. Returns how many have since faults_arm(). */
uint64_t faults_disarm(enum fault_kind kind);

uint64_t faults_calls(enum fault_kind kind);

#endif
