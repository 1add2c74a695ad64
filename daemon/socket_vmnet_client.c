/* daemon/socket_vmnet_client.c - connects to a socket and becomes a command that finds it at descriptor 3
 *
 * Says nothing when all is well: minikube takes any "error:" on stderr for a failure of the command.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PASSED_FD = 3, EXIT_BAD = 1 };

static const char usage[] = "Usage: socket_vmnet_client SOCKET [--] COMMAND [ARG]...\n"
                            "Connects to SOCKET and runs COMMAND, which has the connection at descriptor 3.\n"
                            "Example: socket_vmnet_client /var/run/socket_vmnet qemu-system-x86_64 \\\n"
                            "             -netdev socket,id=net0,fd=3 -device virtio-net-pci,netdev=net0\n";

static int say(const char *what, const char *name, int error)
{
    fprintf(stderr, "%s \"%s\": %s\n", what, name, strerror(error));
    return EXIT_BAD;
}

/* Returns a connected socket, or a negative errno. */
static int connect_to(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (fd < 0)
        return -errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

/* Whatever else is open, and whatever was there before: the command looks at this number. */
static int move_to_passed_fd(int fd)
{
    if (fd == PASSED_FD)
        return 0; /* socket() left it open across an exec */
    if (dup2(fd, PASSED_FD) < 0)
        return -errno;
    close(fd);
    return 0;
}

static void show(char **words)
{
    for (int i = 0; words[i]; i++)
        fprintf(stderr, "DEBUG| argv[%d]: %s\n", i, words[i]);
}

int main(int argc, char **argv)
{
    int command = argc > 2 && strcmp(argv[2], "--") == 0 ? 3 : 2;
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        fputs(usage, stdout);
        return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_BAD;
    }
    if (argc <= command) {
        fputs(usage, stderr);
        return EXIT_BAD;
    }
    if (getenv("DEBUG")) /* NOLINT(concurrency-mt-unsafe): one thread */
        show(argv + command);
    int fd = connect_to(argv[1]);
    if (fd < 0)
        return say("Failed to connect to", argv[1], -fd);
    int r = move_to_passed_fd(fd);
    if (r < 0)
        return say("Failed to pass on", argv[1], -r);
    execvp(argv[command], argv + command);
    return say("Failed to run", argv[command], errno);
}
