/* tests/unit/vmnet/test_network.c - network objects of macOS 26 against the double, in one process and in two
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "io/system_version_darwin.h"
#include "io/vmnet_network_darwin.h"
#include "io/vmnet_status_darwin.h"
#include "tests/fake-sdk/blocks.h"
#include "tests/fake-sdk/fake_dispatch.h"
#include "tests/fake-sdk/fake_network.h"
#include "tests/fake-sdk/fake_vmnet.h"
#include "tests/fake-sdk/fake_xpc.h"

#define GATEWAY UINT32_C(0x0A010201)
#define NETMASK UINT32_C(0xFFFFFF00)

enum { PATIENCE_MS = 5000, FRAME_LEN = 60 };

static dispatch_queue_t queue;
static struct {
    atomic_int n;
    struct network_object *network;
    uint32_t status;
    char why[UPLINK_REASON_SIZE];
} made;

static void wait_for(atomic_int *counter, int wanted)
{
    for (int waited_ms = 0; waited_ms < PATIENCE_MS && atomic_load(counter) < wanted; waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(atomic_load(counter), wanted);
}

static void on_queue(dispatch_block_t block)
{
    atomic_int done, *at = &done;
    atomic_init(&done, 0);
    dispatch_async(queue, ^{
      block();
      atomic_store(at, 1);
    });
    wait_for(&done, 1);
}

static void on_created(void *ctx, struct network_object *network, uint32_t status, const char *why)
{
    assert_ptr_equal(ctx, &made);
    assert_true(fake_dispatch_is_on(queue));
    made.network = network;
    made.status = status;
    snprintf(made.why, sizeof(made.why), "%s", why);
    atomic_fetch_add(&made.n, 1);
}

/* Waits for the answer, which is the network or NULL. */
static struct network_object *create(const struct network_settings *settings, uint32_t deadline_ms)
{
    const int before = atomic_load(&made.n);
    network_object_create(settings, deadline_ms, queue, on_created, &made);
    wait_for(&made.n, before + 1);
    return made.network;
}

static void settings_at(struct network_settings *settings, uint32_t gateway)
{
    network_settings_init(settings, VMNET_MODE_SHARED);
    settings->gateway = gateway;
    settings->netmask = gateway ? NETMASK : 0;
}

static void release(struct network_object *network)
{
    on_queue(^{
      network_object_release(network);
    });
}

static int set_up(void **state)
{
    static const struct fake_network_script plain = {.version = 2602};
    char home[64];
    (void)state;
    snprintf(home, sizeof(home), "/nowhere/%ld", (long)getpid());
    setenv("HOME", home, 1);
    fake_network_set(&plain);
    fake_vmnet_reset(NULL);
    system_version_pretend(2602);
    memset(&made, 0, sizeof(made));
    queue = dispatch_queue_create("test", DISPATCH_QUEUE_SERIAL);
    return 0;
}

static int alive(void)
{
    return fake_network_alive() + fake_xpc_alive() + fake_dispatch_alive() + fake_blocks_alive();
}

static int tear_down(void **state)
{
    (void)state;
    dispatch_release(queue);
    fake_vmnet_reset(NULL);
    for (int waited_ms = 0; waited_ms < 2 * PATIENCE_MS && alive(); waited_ms++)
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    assert_int_equal(fake_network_alive(), 0);
    assert_int_equal(fake_xpc_alive(), 0);
    assert_int_equal(fake_dispatch_alive(), 0);
    assert_int_equal(fake_blocks_alive(), 0);
    return 0;
}

enum { SHORT_MS = 200 }; /* a deadline, whose delay has to have ended at the end of a test */

/* ---- settings ---- */

static void test_settings_that_macos_does_not_have_are_refused_by_name(void **state)
{
    struct network_settings settings;
    char why[UPLINK_REASON_SIZE] = "";
    (void)state;
    settings_at(&settings, GATEWAY);
    assert_int_equal(network_settings_check(&settings, why), 0);
    settings.gateway = GATEWAY + 4;
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "ipv4.gateway: "));
    assert_non_null(strstr(why, "say 10.1.2.1"));
    settings_at(&settings, GATEWAY);
    settings.netmask = 0xFFFFFFFF;
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "ipv4.netmask"));
    settings_at(&settings, 0);
    settings.mtu = 68;
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "mtu"));
    settings_at(&settings, 0);
    settings.has_prefix = true;
    settings.prefix[0] = 0x20;
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "ipv6.prefix"));
    network_settings_init(&settings, VMNET_MODE_HOST);
    settings.n_rules = 1;
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "forwards"));
    network_settings_init(&settings, VMNET_MODE_BRIDGED);
    assert_true(network_settings_check(&settings, why) < 0);
    assert_non_null(strstr(why, "mode"));
}

static void test_every_setting_reaches_vmnet(void **state)
{
    struct network_settings settings;
    (void)state;
    settings_at(&settings, GATEWAY);
    settings.has_dhcp = settings.has_nat44 = settings.has_nat66 = false;
    settings.has_dns_proxy = settings.has_router_advertisement = false;
    settings.mtu = 9000;
    settings.has_prefix = true;
    memcpy(settings.prefix, (uint8_t[]){0xFD, 1, 2, 3}, 4);
    snprintf(settings.external_interface, sizeof(settings.external_interface), "en7");
    settings.n_reserved = 1;
    settings.reserved[0] = (struct network_reserved){.mac = 0x020304050607, .address = GATEWAY + 9};
    settings.n_rules = 1;
    settings.rules[0] =
        (struct network_rule){.is_udp = true, .host_port = 8080, .guest_port = 80, .guest = GATEWAY + 9};
    struct network_object *network = create(&settings, SHORT_MS);
    assert_non_null(network);
    const struct fake_network_info info = fake_network_last();
    assert_int_equal(info.mode, VMNET_SHARED_MODE);
    assert_int_equal(info.gateway, GATEWAY); /* the host's address, never the subnet's */
    assert_int_equal(info.netmask, NETMASK);
    assert_int_equal(info.mtu, 9000);
    assert_false(info.has_dhcp || info.has_nat44 || info.has_nat66 || info.has_dns_proxy || info.has_ra);
    assert_memory_equal(info.prefix, ((uint8_t[]){0xFD, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}), 16);
    assert_string_equal(info.external_interface, "en7");
    assert_memory_equal(info.reservation.mac, ((uint8_t[]){2, 3, 4, 5, 6, 7}), 6);
    assert_int_equal(info.reservation.address, GATEWAY + 9);
    assert_int_equal(info.forward.protocol, IPPROTO_UDP);
    assert_int_equal(info.forward.external, 8080);
    assert_int_equal(info.forward.internal, 80);
    assert_int_equal(info.forward.address, GATEWAY + 9);
    release(network);
}

static void test_what_the_system_chose_is_told(void **state)
{
    struct network_settings settings;
    struct uplink_subnet subnet;
    uint8_t prefix[16];
    (void)state;
    network_settings_init(&settings, VMNET_MODE_HOST);
    struct network_object *first = create(&settings, SHORT_MS), *second = create(&settings, SHORT_MS);
    network_object_subnet(first, &subnet, prefix);
    assert_int_equal(subnet.gateway, 0xC0A88001);
    assert_int_equal(subnet.netmask, NETMASK);
    assert_int_equal(subnet.dhcp_end, 0xC0A880FE);
    assert_int_equal(prefix[0], 0xFD);
    network_object_subnet(second, &subnet, prefix);
    assert_int_equal(subnet.gateway, 0xC0A88101); /* the first is held */
    release(first);
    release(second);
}

/* ---- what goes wrong ---- */

static void test_a_subnet_that_is_held_is_said_to_be(void **state)
{
    struct network_settings settings;
    (void)state;
    settings_at(&settings, GATEWAY);
    struct network_object *first = create(&settings, SHORT_MS);
    assert_non_null(first);
    assert_null(create(&settings, SHORT_MS));
    assert_int_equal(made.status, VMNET_FAILURE);
    assert_non_null(strstr(made.why, "(1001): its subnet is in use"));
    settings.mode = VMNET_MODE_HOST;
    assert_null(create(&settings, SHORT_MS));
    assert_int_equal(made.status, VMNET_SHARING_SERVICE_BUSY);
    release(first);
    settings.mode = VMNET_MODE_SHARED;
    /* The subnet is free again when its holder is gone, which takes the double a moment. */
    struct network_object *again = NULL;
    for (int tries = 0; tries < 100 && !again; tries++)
        again = create(&settings, SHORT_MS);
    assert_non_null(again);
    release(again);
}

static void test_a_missing_entitlement_is_named(void **state)
{
    static const struct fake_network_script unsigned_one = {.version = 2602,
                                                            .create_status = VMNET_MEM_FAILURE};
    struct network_settings settings;
    (void)state;
    fake_network_set(&unsigned_one);
    settings_at(&settings, 0);
    assert_null(create(&settings, SHORT_MS));
    assert_int_equal(made.status, VMNET_MEM_FAILURE);
    assert_non_null(strstr(made.why, "com.apple.security.virtualization"));
}

static void test_a_creation_that_hangs_has_failed_and_what_comes_late_is_released(void **state)
{
    static const struct fake_network_script hanging = {.version = 2602, .hangs = true};
    struct network_settings settings;
    (void)state;
    fake_network_set(&hanging);
    settings_at(&settings, 0);
    assert_null(create(&settings, SHORT_MS));
    assert_int_equal(made.status, VMNET_STATUS_SILENT);
    assert_non_null(strstr(made.why, "no answer in time"));
    assert_int_equal(fake_network_alive(), 1); /* the configuration: the call still runs */
    fake_network_go_on();                      /* tear_down() looks whether the late network is gone */
}

static void test_before_macos_26_there_are_none(void **state)
{
    static const struct fake_network_script old = {.version = 1504};
    struct network_settings settings;
    (void)state;
    assert_true(network_objects_exist());
    system_version_pretend(1504);
    assert_false(network_objects_exist()); /* whatever there is by name */
    system_version_pretend(2600);
    assert_true(network_objects_exist());
    fake_network_set(&old);
    assert_false(network_objects_exist()); /* whatever it calls itself */
    settings_at(&settings, 0);
    assert_null(create(&settings, SHORT_MS));
    assert_int_equal(made.status, VMNET_STATUS_NO_OBJECTS);
    assert_non_null(strstr(made.why, "update to macOS 26"));
}

static void test_what_is_no_serialization_is_refused(void **state)
{
    (void)state;
    on_queue(^{
      uint32_t status = 0;
      char why[UPLINK_REASON_SIZE] = "";
      xpc_object_t nonsense = xpc_dictionary_create(NULL, NULL, 0);
      assert_null(network_object_open(nonsense, &status, why));
      assert_int_equal(status, VMNET_INVALID_ARGUMENT);
      assert_non_null(strstr(why, "could not be joined"));
      xpc_release(nonsense);
    });
}

/* ---- interfaces ---- */

static struct {
    atomic_int n_started, n_stopped;
    vmnet_return_t status;
    interface_ref interface;
} life;

static void start_on(struct network_object *network)
{
    memset(&life, 0, sizeof(life));
    on_queue(^{
      uint32_t status;
      xpc_object_t desc = xpc_dictionary_create(NULL, NULL, 0);
      life.interface = network_object_start(
          network, desc, queue,
          ^(vmnet_return_t said, xpc_object_t param) {
            life.status = said;
            assert_true(said != VMNET_SUCCESS || param);
            atomic_fetch_add(&life.n_started, 1);
          },
          &status);
      xpc_release(desc);
      assert_int_equal(status, VMNET_SUCCESS);
    });
    wait_for(&life.n_started, 1);
}

static void stop(void)
{
    on_queue(^{
      vmnet_stop_interface(life.interface, queue, ^(vmnet_return_t status) {
        assert_int_equal(status, VMNET_SUCCESS);
        atomic_fetch_add(&life.n_stopped, 1);
      });
    });
    wait_for(&life.n_stopped, 1);
}

static vmnet_return_t write_one(const char *text)
{
    uint8_t frame[FRAME_LEN] = {0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2, 0, 0, 0, 0, 1, 8, 0};
    struct iovec iov = {frame, sizeof(frame)};
    struct vmpktdesc packet = {.vm_pkt_size = sizeof(frame), .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
    int n = 1;
    snprintf((char *)frame + 14, sizeof(frame) - 14, "%s", text);
    return vmnet_write(life.interface, &packet, &n);
}

/* The text of the next frame. Returns what vmnet said. */
static vmnet_return_t read_one(char *text, size_t size)
{
    static uint8_t frame[2048];
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms++) {
        struct iovec iov = {frame, sizeof(frame)};
        struct vmpktdesc packet = {.vm_pkt_size = sizeof(frame), .vm_pkt_iov = &iov, .vm_pkt_iovcnt = 1};
        int n = 1;
        const vmnet_return_t status = vmnet_read(life.interface, &packet, &n);
        if (status != VMNET_SUCCESS)
            return status;
        if (n == 1) {
            snprintf(text, size, "%s", (char *)frame + 14);
            return status;
        }
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return VMNET_SUCCESS;
}

static void test_stopping_an_interface_leaves_the_network_to_its_creator(void **state)
{
    struct network_settings settings;
    (void)state;
    settings_at(&settings, GATEWAY);
    struct network_object *network = create(&settings, SHORT_MS);
    for (int i = 0; i < 2; i++) {
        start_on(network);
        assert_int_equal(life.status, VMNET_SUCCESS);
        assert_int_equal(write_one("hello"), VMNET_SUCCESS);
        stop();
        assert_int_equal(fake_network_alive(), 1);
    }
    release(network);
}

static void test_the_double_does_not_start_on_a_network_that_was_given_its_subnet(void **state)
{
    struct network_settings settings;
    (void)state;
    settings_at(&settings, GATEWAY - 1); /* as network_settings_check() does not let it be */
    struct network_object *network = create(&settings, SHORT_MS);
    assert_non_null(network);
    start_on(network);
    assert_int_equal(life.status, VMNET_FAILURE);
    release(network);
}

static void test_the_double_makes_no_network_on_a_concurrent_queue(void **state)
{
    (void)state;
    dispatch_queue_t concurrent = dispatch_queue_create("concurrent", DISPATCH_QUEUE_CONCURRENT);
    static atomic_int done;
    atomic_store(&done, 0);
    dispatch_async(concurrent, ^{
      vmnet_return_t status;
      void *(*make_configuration)(uint32_t, vmnet_return_t *);
      void *(*make)(void *, vmnet_return_t *);
      void (*let_go)(const void *);
      *(void **)&make_configuration = dlsym(RTLD_DEFAULT, "vmnet_network_configuration_create");
      *(void **)&make = dlsym(RTLD_DEFAULT, "vmnet_network_create");
      *(void **)&let_go = dlsym(RTLD_DEFAULT, "CFRelease");
      void *configuration = make_configuration(VMNET_SHARED_MODE, &status);
      assert_null(make(configuration, &status));
      assert_int_equal(status, VMNET_FAILURE);
      let_go(configuration);
      atomic_store(&done, 1);
    });
    wait_for(&done, 1);
    dispatch_release(concurrent);
}

/* ---- another process ----
 *
 * This program's second face joins the network whose serialization comes as hexadecimal, says "from there",
 * waits for "from here" and then for the end of the network. */

static void hex_of(struct network_object *network, char *hex)
{
    on_queue(^{
      char why[UPLINK_REASON_SIZE];
      size_t len = 0;
      xpc_object_t serialization = network_object_serialize(network, why);
      const uint8_t *data = xpc_dictionary_get_data(serialization, "networkSerialization", &len);
      for (size_t i = 0; i < len; i++)
          snprintf(hex + 2 * i, 3, "%02x", data[i]);
      xpc_release(serialization);
    });
}

static pid_t run_joiner(const char *program, const char *hex)
{
    const pid_t pid = fork();
    if (pid == 0) {
        execl(program, "test_network", hex, (char *)NULL);
        _exit(99);
    }
    return pid;
}

static struct network_object *open_hex(const char *hex)
{
    static uint8_t data[1024];
    static struct network_object *network;
    const size_t len = strlen(hex) / 2;
    for (size_t i = 0; i < len; i++)
        sscanf(hex + 2 * i, "%2hhx", &data[i]);
    on_queue(^{
      uint32_t status;
      char why[UPLINK_REASON_SIZE];
      xpc_object_t serialization = xpc_dictionary_create(NULL, NULL, 0);
      xpc_dictionary_set_data(serialization, "networkSerialization", data, len);
      network = network_object_open(serialization, &status, why);
      xpc_release(serialization);
    });
    return network;
}

static int join(const char *hex)
{
    char text[64] = "";
    fake_vmnet_reset(NULL);
    queue = dispatch_queue_create("joiner", DISPATCH_QUEUE_SERIAL);
    struct network_object *network = open_hex(hex);
    if (!network)
        return 10;
    start_on(network);
    if (life.status != VMNET_SUCCESS || write_one("from there") != VMNET_SUCCESS)
        return 11;
    if (read_one(text, sizeof(text)) != VMNET_SUCCESS || strcmp(text, "from here") != 0 ||
        write_one("heard") != VMNET_SUCCESS)
        return 12;
    if (read_one(text, sizeof(text)) != VMNET_FAILURE) /* the network is gone */
        return 13;
    release(network);
    return 0;
}

static void test_two_processes_share_a_network_that_ends_with_its_creator(void **state)
{
    struct network_settings settings;
    char text[64] = "", hex[1024];
    int status;
    (void)state;
    setenv("FAKE_MACOS_VERSION", "26.2", 1);
    settings_at(&settings, GATEWAY);
    struct network_object *network = create(&settings, SHORT_MS);
    start_on(network);
    hex_of(network, hex);
    const pid_t pid = run_joiner("/proc/self/exe", hex);
    assert_int_equal(read_one(text, sizeof(text)), VMNET_SUCCESS);
    assert_string_equal(text, "from there");
    assert_int_equal(write_one("from here"), VMNET_SUCCESS);
    assert_int_equal(read_one(text, sizeof(text)), VMNET_SUCCESS); /* what it has not read would go as well */
    assert_string_equal(text, "heard");
    stop();
    release(network);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

/* Another executable, as far as macOS can tell. */
static void copy_self(char *path, size_t size)
{
    struct stat st;
    off_t offset = 0;
    snprintf(path, size, "/tmp/vmsw-foreign-XXXXXX");
    const int to = mkstemp(path), from = open("/proc/self/exe", O_RDONLY);
    assert_true(to >= 0 && from >= 0);
    assert_int_equal(fstat(from, &st), 0);
    while (offset < st.st_size)
        assert_true(sendfile(to, from, &offset, (size_t)(st.st_size - offset)) > 0);
    assert_int_equal(fchmod(to, 0700), 0);
    close(to);
    close(from);
}

static void test_before_26_2_another_executable_is_killed_for_joining(void **state)
{
    static const struct fake_network_script first_26 = {.version = 2600};
    const struct rlimit no_core = {0};
    struct network_settings settings;
    char hex[1024], path[64];
    int status;
    (void)state;
    fake_network_set(&first_26);
    setenv("FAKE_MACOS_VERSION", "26.0", 1);
    setrlimit(RLIMIT_CORE, &no_core);
    settings_at(&settings, GATEWAY);
    struct network_object *network = create(&settings, SHORT_MS);
    hex_of(network, hex);
    copy_self(path, sizeof(path));
    const pid_t pid = run_joiner(path, hex);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    unlink(path);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
    release(network);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
        CASE(test_settings_that_macos_does_not_have_are_refused_by_name),
        CASE(test_every_setting_reaches_vmnet),
        CASE(test_what_the_system_chose_is_told),
        CASE(test_a_subnet_that_is_held_is_said_to_be),
        CASE(test_a_missing_entitlement_is_named),
        CASE(test_a_creation_that_hangs_has_failed_and_what_comes_late_is_released),
        CASE(test_before_macos_26_there_are_none),
        CASE(test_what_is_no_serialization_is_refused),
        CASE(test_stopping_an_interface_leaves_the_network_to_its_creator),
        CASE(test_the_double_does_not_start_on_a_network_that_was_given_its_subnet),
        CASE(test_the_double_makes_no_network_on_a_concurrent_queue),
        CASE(test_two_processes_share_a_network_that_ends_with_its_creator),
        CASE(test_before_26_2_another_executable_is_killed_for_joining),
    };
    if (argc > 1)
        return join(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
