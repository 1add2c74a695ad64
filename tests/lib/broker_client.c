/* tests/lib/broker_client.c - a program on Virtualization.framework, as the network broker sees it
 *
 * usage: broker_client        (in a build with VMNET_DOUBLE)
 *
 * Reads one command a line and answers each with one line of JSON:
 *   acquire NAME | watch NAME          vmnet-broker's request, the second with "watch"
 *   raw KEY VALUE...                   a request of these strings
 *   lima NAME [FDTYPE [KEY]]           Lima's, with a vmnet key (tso, virtio, isolation) set in InterfaceDesc
 *   configuration NAME TEXT            Lima's, with that Configuration
 *   odd KEY TYPE [KEY VALUE]...        a request with one value of another type (number, bool, data, fd,
 * uuid, array, dictionary), and strings flood CONNECTIONS REQUESTS NAME    so many more connections, which
 * stay, and so many requests to acquire on each, at once: how many had which answer (-1: the connection is
 * invalid) voice child|reused|own             what is asked from now on is sent by a child of this process;
 * as if its pid had been another's; by itself start [isolated]                   an interface on the network
 * that came last send HEX | receive                 a frame by that interface fd-send HEX | fd-receive a
 * frame by the descriptor that came last events                             how often the service has said
 * who holds the network, and how many hold it
 */
#include <dlfcn.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/broker_protocol.h"
#include "io/vmnet_network_darwin.h"
#include "tests/fake-sdk/fake_xpc.h"

enum { LINE_SIZE = 8192, FRAME_SIZE = 2048, PATIENCE_MS = 3000, ERRORS = 9 };

static dispatch_queue_t queue;
static xpc_connection_t connection;
static xpc_object_t network; /* serialized */
static interface_ref interface;
static int fd = -1;
static bool is_stream;
static atomic_int n_events, n_holders, is_interrupted;

static void on_queue(dispatch_block_t block)
{
    atomic_int done, *at = &done;
    atomic_init(&done, 0);
    dispatch_async(queue, ^{
      block();
      atomic_store(at, 1);
    });
    while (!atomic_load(&done))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
}

static void on_event(xpc_object_t event)
{
    if (event == XPC_ERROR_CONNECTION_INTERRUPTED)
        atomic_store(&is_interrupted, 1);
    if (xpc_get_type(event) != XPC_TYPE_DICTIONARY || !xpc_dictionary_get_string(event, BROKER_EVENT))
        return;
    atomic_store(&n_holders, (int)xpc_array_get_count(xpc_dictionary_get_value(event, BROKER_PEERS)));
    atomic_fetch_add(&n_events, 1);
}

static void connect_to_broker(void)
{
    queue = dispatch_queue_create("client", DISPATCH_QUEUE_SERIAL);
    connection = xpc_connection_create_mach_service(BROKER_SERVICE, queue, 0);
    xpc_connection_set_event_handler(connection, ^(xpc_object_t event) {
      on_event(event);
    });
    xpc_connection_resume(connection);
}

/* ---- requests ---- */

static void print_data(xpc_object_t reply, const char *key)
{
    size_t len = 0;
    const char *data = xpc_dictionary_get_data(reply, key, &len);
    if (data)
        printf(", \"%s\": %.*s", key, (int)len, data);
}

static void keep(xpc_object_t reply)
{
    xpc_object_t got = xpc_dictionary_get_value(reply, BROKER_NETWORK);
    got = got ? got : xpc_dictionary_get_value(reply, LIMA_SERIALIZATION);
    if (got) {
        if (network)
            xpc_release(network);
        network = xpc_retain(got);
    }
    const int new_fd = xpc_dictionary_dup_fd(reply, LIMA_FILE_DESCRIPTOR);
    if (new_fd >= 0) {
        int type = 0;
        socklen_t size = sizeof(type);
        if (fd >= 0)
            close(fd);
        fd = new_fd;
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
        is_stream = type == SOCK_STREAM;
    }
    printf("{\"network\": %s, \"fd\": %s, \"error\": %lld", got ? "true" : "false",
           new_fd < 0  ? "null"
           : is_stream ? "\"stream\""
                       : "\"datagram\"",
           (long long)xpc_dictionary_get_int64(reply, BROKER_ERROR));
    const char *why = xpc_dictionary_get_string(reply, BROKER_MESSAGE);
    why = why ? why : xpc_dictionary_get_string(reply, LIMA_ERROR);
    printf(", \"why\": ");
    putchar('"');
    for (const char *at = why ? why : ""; *at; at++)
        printf(*at == '"' || *at == '\\' ? "\\%c" : "%c", *at);
    putchar('"');
    print_data(reply, LIMA_CONFIGURATION);
    printf("}\n");
}

static void ask(xpc_object_t request)
{
    xpc_object_t reply = xpc_connection_send_message_with_reply_sync(connection, request);
    if (xpc_get_type(reply) == XPC_TYPE_DICTIONARY)
        keep(reply);
    else
        printf("{\"network\": false, \"fd\": null, \"error\": -1, \"why\": \"%s\"}\n",
               reply == XPC_ERROR_CONNECTION_INTERRUPTED ? "interrupted" : "invalid");
    xpc_release(reply);
    xpc_release(request);
}

static void acquire(const char *name, bool watches)
{
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(request, BROKER_COMMAND, BROKER_COMMAND_ACQUIRE);
    xpc_dictionary_set_string(request, BROKER_NETWORK_NAME, name);
    if (watches)
        xpc_dictionary_set_bool(request, BROKER_WATCH, true);
    ask(request);
}

static void ask_raw(char *rest)
{
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    for (char *key = strtok(rest, " "); key; key = strtok(NULL, " "))
        xpc_dictionary_set_string(request, key, strtok(NULL, " "));
    ask(request);
}

static void set_desc(xpc_object_t request, const char *what)
{
    char symbol[64];
    snprintf(symbol, sizeof(symbol), "vmnet_enable_%s_key", what);
    const char *const *key = (const char *const *)dlsym(RTLD_DEFAULT, symbol);
    if (strcmp(what, "tso") == 0)
        key = &vmnet_enable_tso_key;
    else if (strcmp(what, "isolation") == 0)
        key = &vmnet_enable_isolation_key;
    xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
    if (key)
        xpc_dictionary_set_bool(desc, *key, true);
    xpc_dictionary_set_value(request, LIMA_INTERFACE_DESC, desc);
    xpc_release(desc);
}

static void ask_with_configuration(char *rest)
{
    const char *name = strtok(rest, " "), *text = strtok(NULL, "");
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(request, LIMA_NETWORK, name);
    xpc_dictionary_set_data(request, LIMA_CONFIGURATION, text, strlen(text));
    ask(request);
}

static void set_odd(xpc_object_t request, const char *key, const char *type)
{
    static const unsigned char uuid[16] = {1};
    xpc_object_t inner =
        strcmp(type, "array") == 0 ? xpc_array_create(NULL, 0) : xpc_dictionary_create(NULL, NULL, 0);
    if (strcmp(type, "number") == 0)
        xpc_dictionary_set_uint64(request, key, UINT64_MAX);
    else if (strcmp(type, "bool") == 0)
        xpc_dictionary_set_bool(request, key, true);
    else if (strcmp(type, "data") == 0)
        xpc_dictionary_set_data(request, key, "\xff\0shared", 8);
    else if (strcmp(type, "uuid") == 0)
        xpc_dictionary_set_uuid(request, key, uuid);
    else if (strcmp(type, "fd") == 0)
        xpc_dictionary_set_fd(request, key, STDERR_FILENO);
    else
        xpc_dictionary_set_value(request, key, inner);
    xpc_release(inner);
}

static void ask_odd(char *rest)
{
    const char *odd_key = strtok(rest, " "), *type = strtok(NULL, " ");
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    for (char *key = strtok(NULL, " "); key; key = strtok(NULL, " "))
        xpc_dictionary_set_string(request, key, strtok(NULL, " "));
    set_odd(request, odd_key, type);
    ask(request);
}

static atomic_int answers[ERRORS]; /* by their error; the last: of connections that are invalid */

static void count_answer(xpc_object_t reply)
{
    const bool is_one = xpc_get_type(reply) == XPC_TYPE_DICTIONARY;
    atomic_fetch_add(&answers[is_one ? xpc_dictionary_get_int64(reply, BROKER_ERROR) : ERRORS - 1], 1);
}

static void flood(char *rest)
{
    const int n = atoi(strtok(rest, " ")), n_each = atoi(strtok(NULL, " "));
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(request, BROKER_COMMAND, BROKER_COMMAND_ACQUIRE);
    xpc_dictionary_set_string(request, BROKER_NETWORK_NAME, strtok(NULL, " "));
    for (int i = 0; i < ERRORS; i++)
        atomic_store(&answers[i], 0);
    for (int i = 0; i < n; i++) {
        xpc_connection_t one = xpc_connection_create_mach_service(BROKER_SERVICE, queue, 0);
        xpc_connection_set_event_handler(one, ^(xpc_object_t event) {
          (void)event;
        });
        xpc_connection_resume(one);
        for (int j = 0; j < n_each; j++)
            xpc_connection_send_message_with_reply(one, request, queue, ^(xpc_object_t reply) {
              count_answer(reply);
            });
    }
    xpc_release(request);
    for (int total = 0; total < n * n_each;) {
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        total = 0;
        for (int i = 0; i < ERRORS; i++)
            total += atomic_load(&answers[i]);
    }
    printf("{\"-1\": %d", atomic_load(&answers[ERRORS - 1]));
    for (int i = 0; i < ERRORS - 1; i++)
        printf(", \"%d\": %d", i, atomic_load(&answers[i]));
    printf("}\n");
}

static void ask_lima(char *rest)
{
    static const char configuration[] = "{\"mode\": \"shared\"}";
    const char *name = strtok(rest, " "), *type = strtok(NULL, " "), *key = strtok(NULL, " ");
    xpc_object_t request = xpc_dictionary_create(NULL, NULL, 0);
    xpc_dictionary_set_string(request, LIMA_NETWORK, name);
    xpc_dictionary_set_data(request, LIMA_CONFIGURATION, configuration, strlen(configuration));
    if (type)
        xpc_dictionary_set_string(request, LIMA_FD_TYPE, type);
    if (key)
        set_desc(request, key);
    ask(request);
}

/* ---- frames ---- */

static size_t from_hex(const char *hex, uint8_t *bytes)
{
    size_t n = 0;
    while (n < FRAME_SIZE && sscanf(hex + 2 * n, "%2hhx", &bytes[n]) == 1)
        n++;
    return n;
}

static void print_frame(const uint8_t *frame, size_t len)
{
    printf("{\"frame\": \"");
    for (size_t i = 0; i < len; i++)
        printf("%02x", frame[i]);
    printf("\"}\n");
}

static void start(bool is_isolated)
{
    static atomic_int said;
    atomic_store(&said, 0);
    on_queue(^{
      uint32_t status = 0;
      char why[UPLINK_REASON_SIZE];
      struct network_object *object = network ? network_object_open(network, &status, why) : NULL;
      xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
      if (is_isolated)
          xpc_dictionary_set_bool(desc, vmnet_enable_isolation_key, true);
      if (object)
          interface = network_object_start(
              object, desc, queue,
              ^(vmnet_return_t answer, xpc_object_t param) {
                (void)param;
                atomic_store(&said, (int)answer);
              },
              &status);
      else
          atomic_store(&said, (int)status);
      network_object_release(object);
      xpc_release(desc);
    });
    while (!atomic_load(&said))
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    printf("{\"status\": %d}\n", atomic_load(&said));
}

static void send_frame(const char *hex)
{
    uint8_t frame[FRAME_SIZE];
    const size_t len = from_hex(hex, frame);
    struct iovec iov = {frame, len};
    struct vmpktdesc packet = {.vm_pkt_size = len, .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
    int n = 1;
    printf("{\"status\": %u}\n", vmnet_write(interface, &packet, &n));
}

static void receive_frame(void)
{
    static uint8_t frame[70 * 1024];
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms++) {
        struct iovec iov = {frame, sizeof(frame)};
        struct vmpktdesc packet = {.vm_pkt_size = sizeof(frame), .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
        int n = 1;
        const vmnet_return_t status = vmnet_read(interface, &packet, &n);
        if (status != VMNET_SUCCESS) {
            printf("{\"frame\": null, \"status\": %u}\n", status);
            return;
        }
        if (n == 1) {
            print_frame(frame, packet.vm_pkt_size);
            return;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    printf("{\"frame\": null, \"status\": 1000}\n");
}

static void send_by_fd(const char *hex)
{
    uint8_t frame[4 + FRAME_SIZE] = {0};
    const size_t len = from_hex(hex, frame + 4);
    frame[2] = (uint8_t)(len >> 8);
    frame[3] = (uint8_t)len;
    const ssize_t n =
        is_stream ? send(fd, frame, len + 4, MSG_NOSIGNAL) : send(fd, frame + 4, len, MSG_NOSIGNAL);
    printf("{\"sent\": %zd}\n", n);
}

static void receive_by_fd(void)
{
    uint8_t frame[4 + FRAME_SIZE];
    struct pollfd one = {.fd = fd, .events = POLLIN};
    if (poll(&one, 1, PATIENCE_MS) != 1) {
        printf("{\"frame\": null}\n");
        return;
    }
    ssize_t n = recv(fd, frame, is_stream ? 4 : sizeof(frame), MSG_WAITALL);
    if (is_stream && n == 4)
        n = recv(fd, frame, (size_t)(frame[2] << 8 | frame[3]), MSG_WAITALL);
    if (n <= 0)
        printf("{\"frame\": null, \"end\": true}\n");
    else
        print_frame(frame, (size_t)n);
}

static void speak_as(const char *who)
{
    fake_xpc_speak_as(who[0] == 'c'   ? FAKE_VOICE_CHILD
                      : who[0] == 'r' ? FAKE_VOICE_REUSED_PID
                                      : FAKE_VOICE_OWN);
    printf("{}\n");
}

int main(void)
{
    static char line[LINE_SIZE];
    connect_to_broker();
    while (fgets(line, sizeof(line), stdin)) {
        line[strcspn(line, "\n")] = '\0';
        char *rest = strchr(line, ' ');
        if (rest)
            *rest++ = '\0';
        if (strcmp(line, "acquire") == 0 || strcmp(line, "watch") == 0)
            acquire(rest, line[0] == 'w');
        else if (strcmp(line, "raw") == 0)
            ask_raw(rest);
        else if (strcmp(line, "lima") == 0)
            ask_lima(rest);
        else if (strcmp(line, "start") == 0)
            start(rest != NULL);
        else if (strcmp(line, "configuration") == 0)
            ask_with_configuration(rest);
        else if (strcmp(line, "odd") == 0)
            ask_odd(rest);
        else if (strcmp(line, "flood") == 0)
            flood(rest);
        else if (strcmp(line, "voice") == 0)
            speak_as(rest);
        else if (strcmp(line, "send") == 0)
            send_frame(rest);
        else if (strcmp(line, "receive") == 0)
            receive_frame();
        else if (strcmp(line, "fd-send") == 0)
            send_by_fd(rest);
        else if (strcmp(line, "fd-receive") == 0)
            receive_by_fd();
        else
            printf("{\"events\": %d, \"holders\": %d, \"interrupted\": %s}\n", atomic_load(&n_events),
                   atomic_load(&n_holders), atomic_load(&is_interrupted) ? "true" : "false");
        fflush(stdout);
    }
    return 0;
}
