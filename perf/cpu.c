/* perf/cpu.c - see cpu.h */
#include "perf/cpu.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

uint64_t cpu_of_process_ns(long pid)
{
    char path[320];
    uint64_t sum = 0;
    struct dirent *entry;
    DIR *tasks;

    snprintf(path, sizeof(path), "/proc/%ld/task", pid);
    tasks = opendir(path);
    if (tasks == NULL)
        return 0;
    while ((entry = readdir(tasks)) != NULL) {
        uint64_t ns;
        FILE *file;

        snprintf(path, sizeof(path), "/proc/%ld/task/%s/schedstat", pid, entry->d_name);
        file = entry->d_name[0] == '.' ? NULL : fopen(path, "re");
        if (file == NULL)
            continue;
        if (fscanf(file, "%" SCNu64, &ns) == 1)
            sum += ns;
        fclose(file);
    }
    closedir(tasks);
    return sum;
}

uint64_t cpu_of_machine_ns(void)
{
    uint64_t user = 0, nice = 0, system = 0, idle, iowait, irq = 0, softirq = 0;
    FILE *file = fopen("/proc/stat", "re");
    long hz = sysconf(_SC_CLK_TCK);

    if (file == NULL)
        return 0;
    if (fscanf(file, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &user, &nice, &system, &idle, &iowait, &irq, &softirq) != 7)
        user = 0;
    fclose(file);
    return (user + nice + system + irq + softirq) * (1000000000u / (uint64_t)hz);
}
