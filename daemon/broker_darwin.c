/* daemon/broker_darwin.c - the broker's process
 *
 * The main thread waits for signals and for the word that it may end; everything else is on the broker's
 * queue. SIGTERM: those who hold a network keep it until they go, or until launchd's patience is nearly over,
 * for with this process the networks end. A second signal ends it at once.
 */
#include "daemon/broker_internal_darwin.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "daemon/address_watch.h"
#include "daemon/roles.h"
#include "io/log.h"

enum { SAY_SIGNAL = 'S', SAY_QUIT = 'Q', SAY_LOST = 'L' };

/* A signal handler has no other way to its process. */
static int say_fd = -1;

bool broker_exists(void)
{
    return true;
}

static void say(int fd, char what)
{
    const int error = errno;
    const ssize_t n = write(fd, &what, 1);
    (void)n; /* a full pipe has enough in it */
    errno = error;
}

static void on_signal(int number)
{
    (void)number;
    say(say_fd, SAY_SIGNAL);
}

static const int caught[] = {SIGTERM, SIGINT, SIGHUP};
enum { N_CAUGHT = sizeof(caught) / sizeof(caught[0]) };

/* Kept from the queues' threads: the main thread alone, which waits for nothing else, gets them. */
static void mask_signals(int how)
{
    sigset_t set;
    sigemptyset(&set);
    for (size_t i = 0; i < N_CAUGHT; i++)
        sigaddset(&set, caught[i]);
    pthread_sigmask(how, &set, NULL);
}

static int open_pipe(int fds[2])
{
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    if (pipe(fds) < 0)
        return -errno;
    for (int i = 0; i < 2; i++)
        fcntl(fds[i], F_SETFD, FD_CLOEXEC);
    fcntl(fds[1], F_SETFL, O_NONBLOCK);
    say_fd = fds[1];
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < N_CAUGHT; i++)
        sigaction(caught[i], &action, NULL);
    return 0;
}

/* ---- on the queue ---- */

void broker_quit(struct broker *broker)
{
    say(broker->quit_fd, SAY_QUIT);
}

static bool is_idle(const struct broker *broker)
{
    return !broker->networks && clients_holding(broker) == 0;
}

static void on_idle_for_long(struct broker *broker, uint64_t n_uses)
{
    if (broker->n_uses != n_uses || !is_idle(broker))
        return; /* or there will be another look */
    log_info("nothing has been in use for %u s: ended until somebody asks", broker->idle_s);
    broker_quit(broker);
}

void broker_look_idle(struct broker *broker)
{
    if (broker->is_ending && clients_holding(broker) == 0) {
        broker_quit(broker);
        return;
    }
    if (!is_idle(broker))
        return;
    const uint64_t n_uses = ++broker->n_uses;
    dispatch_after(dispatch_time(DISPATCH_TIME_NOW, broker->idle_s * 1000 * (int64_t)NSEC_PER_MSEC),
                   broker->queue, ^{
                     on_idle_for_long(broker, n_uses);
                   });
}

static void end(struct broker *broker)
{
    const unsigned n = clients_holding(broker);
    const uint32_t patience_s =
        broker->exit_timeout_s > BROKER_EXIT_RESERVE_S ? broker->exit_timeout_s - BROKER_EXIT_RESERVE_S : 0;
    broker->is_ending = true;
    if (n > 0) {
        log_warn("%u programs have networks or descriptors of ours, which end with us: waiting %u s for them",
                 n, patience_s);
        dispatch_after(
            dispatch_time(DISPATCH_TIME_NOW, patience_s * 1000 * (int64_t)NSEC_PER_MSEC), broker->queue, ^{
              log_warn("%u programs still have networks or descriptors of ours", clients_holding(broker));
              broker_quit(broker);
            });
    }
    broker_look_idle(broker);
}

static void begin(struct broker *broker)
{
    broker->listener = xpc_connection_create_mach_service(BROKER_SERVICE, broker->queue,
                                                          XPC_CONNECTION_MACH_SERVICE_LISTENER);
    xpc_connection_set_event_handler(broker->listener, ^(xpc_object_t event) {
      if (xpc_get_type(event) == XPC_TYPE_CONNECTION)
          client_accept(broker, (xpc_connection_t)event);
      else
          say(broker->quit_fd, SAY_LOST);
    });
    xpc_connection_resume(broker->listener);
    log_info("ready as " BROKER_SERVICE);
    broker_look_idle(broker);
}

/* ---- the main thread ---- */

/* Word of the host's addresses, or the end of it. Returns the descriptor to watch from now on. */
static int take_word(struct broker *broker, int watch_fd)
{
    const int found = address_watch_read(watch_fd);
    if (found == 0)
        return watch_fd;
    dispatch_async(broker->queue, ^{
      broker->is_told = found > 0;
      held_look_at_all(broker);
    });
    if (found > 0)
        return watch_fd;
    close(watch_fd);
    return -1;
}

static int wait_for_the_end(struct broker *broker, int fd, int watch_fd)
{
    bool is_ending = false;
    for (;;) {
        char what;
        struct pollfd set[] = {{.fd = fd, .events = POLLIN}, {.fd = watch_fd, .events = POLLIN}};
        if (poll(set, sizeof(set) / sizeof(set[0]), -1) < 0 && errno == EINTR)
            continue;
        if (set[1].revents)
            watch_fd = take_word(broker, watch_fd);
        if (!set[0].revents)
            continue;
        const ssize_t n = read(fd, &what, 1);
        if (n != 1 || what == SAY_QUIT || (what == SAY_SIGNAL && is_ending))
            return EXIT_OK;
        if (what == SAY_LOST) {
            log_error("the service " BROKER_SERVICE
                      " is not ours: start the broker by launchd, with MachServices in its plist");
            return EXIT_FAILED;
        }
        is_ending = true;
        dispatch_async(broker->queue, ^{
          end(broker);
        });
    }
}

int broker_main(const struct options *options)
{
    static struct broker broker; /* outlives this function: blocks may still run */
    int fds[2];
    log_open("broker", options->log_level);
    if (!network_objects_exist()) {
        log_error("the network broker needs macOS 26 or later; vmswitchd does without it here");
        return EXIT_FAILED;
    }
    const int r = open_pipe(fds);
    if (r < 0) {
        log_error("%s", strerror(-r));
        return EXIT_FAILED;
    }
    broker.idle_s = options->broker_idle_s;
    broker.exit_timeout_s = options->broker_exit_timeout_s;
    broker.quit_fd = fds[1];
    snprintf(broker.runtime_dir, sizeof(broker.runtime_dir), "%s", options->runtime_dir);
    mask_signals(SIG_BLOCK);
    broker.queue = dispatch_queue_create("vmswitch.broker", DISPATCH_QUEUE_SERIAL);
    broker.asks = dispatch_queue_create("vmswitch.broker.asks", DISPATCH_QUEUE_SERIAL);
    const int watch_fd = address_watch_open(); /* none: there are the looks now and then */
    broker.is_told = watch_fd >= 0;
    struct broker *all = &broker;
    dispatch_async(broker.queue, ^{
      begin(all);
    });
    mask_signals(SIG_UNBLOCK);
    return wait_for_the_end(&broker, fds[0], watch_fd);
}
