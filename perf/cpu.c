/* perf/cpu.c - see cpu.h */
#include "perf/cpu.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads the first line of a file of /proc. False if there is none. */
static bool first_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");
    bool is_read;

    if (file == NULL)
        return false;
    is_read = fgets(line, size, file) != NULL;
    fclose(file);
    return is_read;
}

uint64_t cpu_of_process_ns(long pid)
{
    char path[320], line[128];
    uint64_t sum = 0;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%ld/task", pid);
    tasks = opendir(path);
    if (tasks == NULL)
        return 0;
    while ((entry = readdir(tasks)) != NULL) {
        snprintf(path, sizeof(path), "/proc/%ld/task/%s/schedstat", pid, entry->d_name);
        if (entry->d_name[0] != '.' && first_line(path, line, sizeof(line)))
            sum += strtoull(line, NULL, 10);
    }
    closedir(tasks);
    return sum;
}

uint64_t cpu_of_machine_ns(void)
{
    enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, N_FIELDS };
    uint64_t ticks = 0, tick_ns = 1000000000u / (uint64_t)sysconf(_SC_CLK_TCK);
    char line[256];
    char *at = line + strlen("cpu ");

    if (!first_line("/proc/stat", line, sizeof(line)) || strncmp(line, "cpu ", strlen("cpu ")) != 0)
        return 0;
    for (int field = USER; field < N_FIELDS; field++) {
        uint64_t value = strtoull(at, &at, 10);

        if (field != IDLE && field != IOWAIT)
            ticks += value;
    }
    return ticks * tick_ns;
}
