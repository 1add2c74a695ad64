/* tests/unit/switch/test_lan.c - the way of a frame: who gets it, in which order, and what is counted */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "switch/lan.h"
#include "switch/mac.h"
#include "tests/unit/switch/fake.h"

enum {
    N_VMS = 3,
    IPV4 = 0x0800,
    IPV6 = 0x86DD,
    VLAN = 0x8100,
    PLAIN_MAX = LAN_MTU_DEFAULT + FRAME_ETHER_HEADER,
    TAGGED_MAX = PLAIN_MAX + FRAME_VLAN_TAG,
};

#define VM_MAC(i) (UINT64_C(0x525400000001) + (uint64_t)(i))
#define GATEWAY UINT64_C(0x52550A000202)
#define UNKNOWN UINT64_C(0x5254000000FF)
#define BROADCAST UINT64_C(0xFFFFFFFFFFFF)

static const struct lan_options defaults = {
    .fdb = {.seed = {3, 4},
            .capacity = FDB_CAPACITY,
            .port_limit = FDB_PORT_LIMIT,
            .uplink_limit = FDB_UPLINK_LIMIT,
            .age_ms = FDB_AGE_MS,
            .hold_ms = FDB_HOLD_MS},
    .mtu = LAN_MTU_DEFAULT,
};

static struct lan *lan;
static struct fake uplink, vm[N_VMS];
static struct fake_frame one;

/* Three VMs, whose addresses are known, and an uplink with a static address. */
static int open_lan(void **state)
{
    (void)state;
    lan = lan_create(&defaults);
    assert_non_null(lan);
    fake_init(&uplink, lan, "uplink", PORT_UPLINK);
    assert_true(fdb_add_static(lan_fdb(lan), GATEWAY, &uplink.port));
    for (int i = 0; i < N_VMS; i++) {
        const char name[] = {'v', 'm', (char)('0' + i), '\0'};
        fake_init(&vm[i], lan, name, PORT_VM);
        fdb_learn(lan_fdb(lan), VM_MAC(i), &vm[i].port, 0);
    }
    return 0;
}

/* The sum rule holds after every test, and after everybody has left. */
static int close_lan(void **state)
{
    (void)state;
    assert_true(fake_sum_holds(lan));
    for (struct port *port = lan_next_port(lan, NULL); port; port = lan_next_port(lan, NULL)) {
        fake_unplug((struct fake *)port);
        lan_leave(lan, port);
        assert_true(fake_sum_holds(lan));
    }
    lan_destroy(lan);
    lan = NULL;
    return 0;
}

static void send_frame(struct fake *from, uint64_t destination, uint64_t source, uint16_t ethertype,
                       uint32_t len)
{
    fake_frame_fill(&one, destination, source, ethertype, len);
    assert_int_equal(lan_receive(lan, &from->port, &one.frame, 1, false, 1000), LAN_TAKEN);
}

/* How many frames the uplink, vm0, vm1 and vm2 got since the last time, as decimal digits. */
static unsigned take_received(void)
{
    unsigned received =
        (unsigned)(uplink.n_frames * 1000 + vm[0].n_frames * 100 + vm[1].n_frames * 10 + vm[2].n_frames);
    fake_clear(&uplink);
    for (int i = 0; i < N_VMS; i++)
        fake_clear(&vm[i]);
    return received;
}

static uint64_t drops(const struct fake *fake, enum drop_reason reason)
{
    return fake->port.counters.drops[reason];
}

static void known_unicast_goes_to_one_port_and_no_other(void **state)
{
    (void)state;
    send_frame(&vm[0], VM_MAC(2), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1);
    send_frame(&vm[0], GATEWAY, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1000);
    assert_int_equal(vm[0].port.counters.frames_in, 2);
    assert_int_equal(vm[0].port.counters.bytes_in, 120);
    assert_int_equal(vm[0].port.counters.flood_copies, 0);
}

static void unknown_unicast_goes_to_all_others(void **state)
{
    (void)state;
    send_frame(&vm[0], UNKNOWN, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1011);
    assert_int_equal(vm[0].port.counters.flood_copies, 2);
}

static void source_is_learned_from_its_first_frame(void **state)
{
    (void)state;
    send_frame(&vm[1], BROADCAST, UNKNOWN, IPV4, 60);
    take_received();
    send_frame(&vm[0], UNKNOWN, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 10);
}

/* Chosen: see lan.c. */
static void batch_is_learned_before_it_is_forwarded(void **state)
{
    (void)state;
    static struct fake_frame two[2];
    struct frame batch[2];

    fake_frame_fill(&two[0], UNKNOWN, VM_MAC(0), IPV4, 60);
    fake_frame_fill(&two[1], VM_MAC(1), UNKNOWN, IPV4, 60);
    batch[0] = two[0].frame;
    batch[1] = two[1].frame;
    lan_receive(lan, &vm[0].port, batch, 2, false, 1000);
    assert_int_equal(take_received(), 10);
    assert_int_equal(drops(&vm[0], DROP_same_port), 1);
}

/* mDNS, neighbour discovery, DHCP, and VLAN-tagged multicast as MAME, netatalk and others use. */
static void T12_group_frames_reach_all_others_unchanged(void **state)
{
    (void)state;
    static const struct {
        uint64_t destination;
        uint16_t ethertype;
        uint32_t len;
    } cases[] = {
        {UINT64_C(0x01005E0000FB), IPV4, 120},       /* mDNS */
        {UINT64_C(0x3333000000FB), IPV6, 140},       /* mDNS over IPv6 */
        {UINT64_C(0x3333FF123456), IPV6, 86},        /* neighbour solicitation */
        {UINT64_C(0x333300000001), IPV6, PLAIN_MAX}, /* router advertisement */
        {BROADCAST, IPV4, 342},                      /* DHCP */
        {UINT64_C(0x090007FFFFFF), VLAN, 64},        /* AppleTalk, tagged */
        {UINT64_C(0x0180C2000010), IPV4, 60},        /* just above the reserved block */
        {UINT64_C(0x01005E0000FB), VLAN, TAGGED_MAX},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        send_frame(&vm[1], cases[i].destination, VM_MAC(1), cases[i].ethertype, cases[i].len);
        assert_int_equal(uplink.frames[0]->len, cases[i].len);
        assert_memory_equal(uplink.last, one.bytes + FRAME_PREFIX, cases[i].len);
        assert_memory_equal(vm[0].last, one.bytes + FRAME_PREFIX, cases[i].len);
        assert_memory_equal(vm[2].last, one.bytes + FRAME_PREFIX, cases[i].len);
        assert_int_equal(take_received(), 1101);
        send_frame(&uplink, cases[i].destination, UNKNOWN, cases[i].ethertype, cases[i].len);
        assert_int_equal(take_received(), 111);
    }
}

static void L11_impossible_sources_are_dropped_and_not_learned(void **state)
{
    (void)state;
    uint32_t n_learned = fdb_n_learned(lan_fdb(lan));

    send_frame(&vm[0], VM_MAC(1), BROADCAST, IPV4, 60);
    send_frame(&vm[0], VM_MAC(1), UINT64_C(0x01005E000001), IPV4, 60);
    send_frame(&vm[0], BROADCAST, 0, IPV4, 60);
    assert_int_equal(drops(&vm[0], DROP_bad_source), 3);
    send_frame(&vm[0], VM_MAC(1), GATEWAY, IPV4, 60);
    send_frame(&vm[0], BROADCAST, GATEWAY, IPV4, 60);
    assert_int_equal(drops(&vm[0], DROP_uplink_source), 2);
    assert_int_equal(take_received(), 0);
    assert_int_equal(fdb_n_learned(lan_fdb(lan)), n_learned);
    assert_ptr_equal(fdb_find(lan_fdb(lan), GATEWAY), &uplink.port);

    send_frame(&uplink, VM_MAC(1), GATEWAY, IPV4, 60);
    assert_int_equal(take_received(), 10);
}

static void static_address_of_another_vm_is_not_learned_but_forwarded(void **state)
{
    (void)state;
    assert_true(fdb_add_static(lan_fdb(lan), UNKNOWN, &vm[2].port));
    send_frame(&vm[0], VM_MAC(1), UNKNOWN, IPV4, 60);
    assert_int_equal(take_received(), 10);
    assert_ptr_equal(fdb_find(lan_fdb(lan), UNKNOWN), &vm[2].port);
}

static void reserved_addresses_are_not_forwarded(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 16; i++)
        send_frame(&vm[0], UINT64_C(0x0180C2000000) + i, VM_MAC(0), IPV4, 60);
    send_frame(&uplink, UINT64_C(0x0180C200000E), GATEWAY, IPV4, 60);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[0], DROP_reserved), 16);
    assert_int_equal(drops(&uplink, DROP_reserved), 1);
}

static void longest_frame_passes_and_one_byte_more_does_not(void **state)
{
    (void)state;
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, PLAIN_MAX);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), VLAN, TAGGED_MAX);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), 0x88A8, TAGGED_MAX);
    assert_int_equal(take_received(), 30);
    send_frame(&vm[0], VM_MAC(1), UNKNOWN, IPV4, PLAIN_MAX + 1);
    send_frame(&vm[0], VM_MAC(1), UNKNOWN, VLAN, TAGGED_MAX + 1);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[0], DROP_oversize), 2);
    assert_null(fdb_find(lan_fdb(lan), UNKNOWN));
}

static void receiver_gets_nothing_longer_than_it_takes(void **state)
{
    (void)state;
    vm[1].port.frame_max = 1000;
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 1000);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), VLAN, 1004);
    assert_int_equal(take_received(), 20);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 1001);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), VLAN, 1005);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[1], DROP_too_big), 2);

    /* Of a flood, it is the one that goes without; its copy counts as one all the same. */
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 1001);
    assert_int_equal(take_received(), 1001);
    assert_int_equal(drops(&vm[1], DROP_too_big), 3);
    assert_int_equal(vm[0].port.counters.flood_copies, 2);
}

/* A small MTU on a tiny frame must not wrap around. */
static void receiver_that_takes_almost_nothing_gets_nothing(void **state)
{
    (void)state;
    vm[1].port.frame_max = 0;
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), VLAN, FRAME_LEN_MIN);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, FRAME_LEN_MIN);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[1], DROP_too_big), 2);
}

static void frame_for_its_own_port_is_dropped(void **state)
{
    (void)state;
    send_frame(&vm[0], VM_MAC(0), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[0], DROP_same_port), 1);
}

static void frame_for_a_port_without_a_link_is_dropped_not_flooded(void **state)
{
    (void)state;
    fake_unplug(&vm[1]);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    fake_plug(&vm[1]);
    vm[1].port.enabled = false;
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[1], DROP_link_down), 2);
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1001);
}

static void disabled_port_sends_nothing_and_teaches_nothing(void **state)
{
    (void)state;
    vm[0].port.enabled = false;
    send_frame(&vm[0], VM_MAC(1), UNKNOWN, IPV4, 60);
    send_frame(&vm[0], VM_MAC(1), 0, IPV4, PLAIN_MAX + 1); /* the first reason counts */
    assert_int_equal(take_received(), 0);
    assert_int_equal(drops(&vm[0], DROP_port_disabled), 2);
    assert_null(fdb_find(lan_fdb(lan), UNKNOWN));
}

static void frame_without_receivers_is_dropped_once(void **state)
{
    (void)state;
    for (int i = 1; i < N_VMS; i++)
        fake_unplug(&vm[i]);
    fake_unplug(&uplink);
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    assert_int_equal(drops(&vm[0], DROP_no_port), 1);
    assert_int_equal(vm[0].port.counters.flood_copies, 0);

    fake_plug(&vm[1]);
    vm[1].port.isolated = true;
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    assert_int_equal(drops(&vm[0], DROP_isolated), 1);
}

static void isolated_port_talks_to_the_uplink_only(void **state)
{
    (void)state;
    vm[0].port.isolated = true;
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(drops(&vm[0], DROP_isolated), 1);
    send_frame(&vm[1], VM_MAC(0), VM_MAC(1), IPV4, 60);
    assert_int_equal(drops(&vm[1], DROP_isolated), 1);
    assert_int_equal(take_received(), 0);
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1000);
    send_frame(&vm[1], BROADCAST, VM_MAC(1), IPV4, 60);
    assert_int_equal(take_received(), 1001);
    send_frame(&uplink, BROADCAST, GATEWAY, IPV4, 60);
    assert_int_equal(take_received(), 111);
    send_frame(&uplink, VM_MAC(0), GATEWAY, IPV4, 60);
    assert_int_equal(take_received(), 100);
    send_frame(&vm[0], GATEWAY, VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1000);
}

static void isolated_network_keeps_all_vms_apart(void **state)
{
    (void)state;
    lan_set_isolated(lan, true);
    send_frame(&vm[1], VM_MAC(2), VM_MAC(1), IPV4, 60);
    send_frame(&vm[1], BROADCAST, VM_MAC(1), IPV4, 60);
    assert_int_equal(take_received(), 1000);
    send_frame(&uplink, BROADCAST, GATEWAY, IPV4, 60);
    assert_int_equal(take_received(), 111);
    lan_set_isolated(lan, false);
    send_frame(&vm[1], BROADCAST, VM_MAC(1), IPV4, 60);
    assert_int_equal(take_received(), 1101);
}

static void T09_address_moves_with_its_first_frame(void **state)
{
    (void)state;
    fake_unplug(&vm[1]);
    send_frame(&vm[2], GATEWAY, VM_MAC(1), IPV4, 60);
    take_received();
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1);
}

static void T09_address_live_on_two_ports_is_a_flap(void **state)
{
    (void)state;
    send_frame(&vm[1], GATEWAY, VM_MAC(1), IPV4, 60);
    send_frame(&vm[2], GATEWAY, VM_MAC(1), IPV4, 60);
    take_received();
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 10);
    assert_int_equal(fdb_last_flap(lan_fdb(lan))->count, 1);
    assert_string_equal(fdb_last_flap(lan_fdb(lan))->port, "vm1");
    assert_string_equal(fdb_last_flap(lan_fdb(lan))->claimed, "vm2");
}

static void T10_echo_from_the_uplink_does_not_move_a_vm(void **state)
{
    (void)state;
    send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    send_frame(&uplink, BROADCAST, VM_MAC(0), IPV4, 60);
    take_received();
    send_frame(&vm[1], VM_MAC(0), VM_MAC(1), IPV4, 60);
    assert_int_equal(take_received(), 100);
}

/* An inventor of addresses gets none of its neighbours' traffic: nothing of theirs is ever flooded. */
static void L01_traffic_of_others_is_not_flooded_to_an_inventor_of_addresses(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252U;

    for (int i = 0; i < 100000; i++) {
        random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        send_frame(&vm[2], GATEWAY, (random >> 16 & UINT64_C(0xFCFFFFFFFFFF)) | UINT64_C(0x020000000000),
                   IPV4, 60);
        if (i % 100 == 0) {
            send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
            send_frame(&vm[1], VM_MAC(0), VM_MAC(1), IPV4, 60);
        }
    }
    assert_int_equal(vm[2].n_frames, 0);
    assert_int_equal(vm[0].n_frames, 1000);
    assert_int_equal(vm[1].n_frames, 1000);
    assert_int_equal(vm[2].port.fdb.n_learned, FDB_PORT_LIMIT);
}

/* Networks share nothing: the same addresses at a second one change neither table. */
static void L21_two_networks_with_the_same_addresses_stay_apart(void **state)
{
    (void)state;
    struct lan *other = lan_create(&defaults);
    static struct fake a, b;

    assert_non_null(other);
    fake_init(&a, other, "vm0", PORT_VM);
    fake_init(&b, other, "vm1", PORT_VM);
    for (int i = 0; i < 2; i++) {
        fake_frame_fill(&one, VM_MAC(0), VM_MAC(1), IPV4, 60);
        lan_receive(other, &a.port, &one.frame, 1, false, 1000);
        fake_frame_fill(&one, VM_MAC(1), VM_MAC(0), IPV4, 60);
        lan_receive(other, &b.port, &one.frame, 1, false, 1000);
    }
    assert_int_equal(take_received(), 0);
    assert_int_equal(a.n_frames, 2);
    assert_int_equal(b.n_frames, 2);
    assert_ptr_equal(fdb_find(lan_fdb(other), VM_MAC(1)), &a.port);
    assert_ptr_equal(fdb_find(lan_fdb(lan), VM_MAC(1)), &vm[1].port);
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 10);
    assert_int_equal(a.n_frames + b.n_frames, 4);
    assert_true(fake_sum_holds(other));

    fake_unplug(&a);
    fake_unplug(&b);
    lan_leave(other, &a.port);
    lan_leave(other, &b.port);
    lan_destroy(other);
}

static struct fake_frame many[LAN_BATCH_MAX];
static struct frame batch[LAN_BATCH_MAX];

static void fill_batch(size_t n, const uint64_t *destinations, size_t n_destinations)
{
    for (size_t i = 0; i < n; i++) {
        fake_frame_fill(&many[i], destinations[i % n_destinations], VM_MAC(0), IPV4, 60);
        batch[i] = many[i].frame;
    }
}

static void each_port_is_sent_its_frames_once_and_in_order(void **state)
{
    (void)state;
    const uint64_t destinations[] = {VM_MAC(1), BROADCAST, VM_MAC(2), VM_MAC(1), GATEWAY};
    size_t n1 = 0;
    size_t n2 = 0;

    fill_batch(LAN_BATCH_MAX, destinations, 5);
    lan_receive(lan, &vm[0].port, batch, LAN_BATCH_MAX, true, 1000);
    assert_int_equal(uplink.n_sends, 1);
    assert_int_equal(vm[0].n_sends, 0);
    assert_int_equal(vm[1].n_sends, 1);
    assert_int_equal(vm[2].n_sends, 1);
    for (size_t i = 0; i < LAN_BATCH_MAX; i++) {
        if (i % 5 == 0 || i % 5 == 1 || i % 5 == 3)
            assert_ptr_equal(vm[1].frames[n1++], &batch[i]);
        if (i % 5 == 1 || i % 5 == 2)
            assert_ptr_equal(vm[2].frames[n2++], &batch[i]);
    }
    assert_int_equal(vm[1].n_frames, n1);
    assert_int_equal(vm[2].n_frames, n2);

    /* The next batch starts afresh. */
    take_received();
    fill_batch(2, destinations, 1);
    lan_receive(lan, &vm[0].port, batch, 2, true, 1000);
    assert_int_equal(take_received(), 20);
}

static void source_waits_for_a_known_destination_that_pushes_back(void **state)
{
    (void)state;
    const uint64_t destinations[] = {BROADCAST, VM_MAC(1), VM_MAC(2)};
    struct counters before = vm[0].port.counters;

    vm[1].port.pushes_back = true;
    fill_batch(3, destinations, 3);
    fake_frame_fill(&many[2], VM_MAC(2), 0, IPV4, 60); /* is dropped, but not counted yet */
    batch[2] = many[2].frame;
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 3, true, 1000), LAN_WAIT);
    assert_int_equal(take_received(), 0);
    assert_memory_equal(&before, &vm[0].port.counters, sizeof(before));

    /* A source that cannot wait is not asked to. */
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 3, false, 1000), LAN_TAKEN);
    assert_int_equal(take_received(), 1021);
    vm[1].port.pushes_back = false;
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 3, true, 1000), LAN_TAKEN);
    assert_int_equal(take_received(), 1021);
    assert_int_equal(drops(&vm[0], DROP_bad_source), 2);
}

static void nobody_waits_for_what_would_not_be_delivered(void **state)
{
    (void)state;
    const uint64_t broadcast[] = {BROADCAST};
    const uint64_t first[] = {VM_MAC(1)};
    const uint64_t own[] = {VM_MAC(0)};

    vm[0].port.pushes_back = true;
    vm[1].port.pushes_back = true;
    fill_batch(1, broadcast, 1);
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_TAKEN);
    fill_batch(1, own, 1);
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_TAKEN);
    fill_batch(1, first, 1);
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_WAIT);
    vm[1].port.frame_max = 59;
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_TAKEN);
    vm[1].port.enabled = false;
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_TAKEN);
    vm[0].port.isolated = true;
    assert_int_equal(lan_receive(lan, &vm[0].port, batch, 1, true, 1000), LAN_TAKEN);
}

static void P22_sums_hold_over_queues_and_departures(void **state)
{
    (void)state;
    struct counters totals;
    uint64_t queued = 0;

    vm[1].queue_limit = 2;
    for (int i = 0; i < 5; i++)
        send_frame(&vm[0], BROADCAST, VM_MAC(0), IPV4, 60);
    assert_true(fake_sum_holds(lan));
    lan_totals(lan, &totals, &queued);
    assert_int_equal(queued, 2);
    assert_int_equal(totals.frames_in, 5);
    assert_int_equal(totals.flood_copies, 10);
    assert_int_equal(totals.frames_out, 10);
    assert_int_equal(totals.drops[DROP_queue_full], 3);

    fake_unplug(&vm[1]);
    lan_leave(lan, &vm[1].port);
    lan_totals(lan, &totals, NULL);
    assert_int_equal(totals.drops[DROP_queue_full], 3);
    assert_int_equal(totals.drops[DROP_link_closed], 2);
    assert_true(fake_sum_holds(lan));
    port_drop_in(&vm[0].port, DROP_runt, 13);
    assert_true(fake_sum_holds(lan));
}

static void ports_are_listed_in_order_of_joining(void **state)
{
    (void)state;
    const struct port *port = lan_next_port(lan, NULL);

    assert_ptr_equal(port, &uplink.port);
    fake_unplug(&vm[1]);
    lan_leave(lan, &vm[1].port);
    port = lan_next_port(lan, lan_next_port(lan, port));
    assert_ptr_equal(port, &vm[2].port);
    assert_null(lan_next_port(lan, port));
    assert_int_equal(lan_mtu(lan), LAN_MTU_DEFAULT);
}

static void tick_ages_the_table(void **state)
{
    (void)state;
    lan_tick(lan, FDB_AGE_MS - 1);
    assert_non_null(fdb_find(lan_fdb(lan), VM_MAC(0)));
    lan_tick(lan, FDB_AGE_MS);
    assert_null(fdb_find(lan_fdb(lan), VM_MAC(0)));
    send_frame(&vm[0], VM_MAC(1), VM_MAC(0), IPV4, 60);
    assert_int_equal(take_received(), 1011);
}

#define LAN_TEST(test) cmocka_unit_test_setup_teardown(test, open_lan, close_lan)

int main(void)
{
    const struct CMUnitTest tests[] = {
        LAN_TEST(known_unicast_goes_to_one_port_and_no_other),
        LAN_TEST(unknown_unicast_goes_to_all_others),
        LAN_TEST(source_is_learned_from_its_first_frame),
        LAN_TEST(batch_is_learned_before_it_is_forwarded),
        LAN_TEST(T12_group_frames_reach_all_others_unchanged),
        LAN_TEST(L11_impossible_sources_are_dropped_and_not_learned),
        LAN_TEST(static_address_of_another_vm_is_not_learned_but_forwarded),
        LAN_TEST(reserved_addresses_are_not_forwarded),
        LAN_TEST(longest_frame_passes_and_one_byte_more_does_not),
        LAN_TEST(receiver_gets_nothing_longer_than_it_takes),
        LAN_TEST(receiver_that_takes_almost_nothing_gets_nothing),
        LAN_TEST(frame_for_its_own_port_is_dropped),
        LAN_TEST(frame_for_a_port_without_a_link_is_dropped_not_flooded),
        LAN_TEST(disabled_port_sends_nothing_and_teaches_nothing),
        LAN_TEST(frame_without_receivers_is_dropped_once),
        LAN_TEST(isolated_port_talks_to_the_uplink_only),
        LAN_TEST(isolated_network_keeps_all_vms_apart),
        LAN_TEST(T09_address_moves_with_its_first_frame),
        LAN_TEST(T09_address_live_on_two_ports_is_a_flap),
        LAN_TEST(T10_echo_from_the_uplink_does_not_move_a_vm),
        LAN_TEST(L01_traffic_of_others_is_not_flooded_to_an_inventor_of_addresses),
        LAN_TEST(L21_two_networks_with_the_same_addresses_stay_apart),
        LAN_TEST(each_port_is_sent_its_frames_once_and_in_order),
        LAN_TEST(source_waits_for_a_known_destination_that_pushes_back),
        LAN_TEST(nobody_waits_for_what_would_not_be_delivered),
        LAN_TEST(P22_sums_hold_over_queues_and_departures),
        LAN_TEST(ports_are_listed_in_order_of_joining),
        LAN_TEST(tick_ages_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
