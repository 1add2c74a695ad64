/* perf/cpu.h - CPU time of processes and of the machine
 *
 * The scheduler's own nanosecond clock, /proc/PID/task/N/schedstat, summed over threads; it counts kernel
 * time inside the process's calls. The machine's busy time comes from /proc/stat, in ticks of 10 ms. Linux
 * only.
 */
#ifndef PERF_CPU_H
#define PERF_CPU_H

#include <stdint.h>

/* 0 if the process is gone. */
uint64_t cpu_of_process_ns(long pid);
uint64_t cpu_of_machine_ns(void);

#endif
