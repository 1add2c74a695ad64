/* daemon/broker_internal_darwin.h - shared by the files of the broker alone
 *
 *   broker_darwin.c           the process: signals, the listener, the end
 *   broker_clients_darwin.c     who is connected, and what each holds
 *   broker_networks_darwin.c  the networks: made, held, dropped
 *   broker_requests_darwin.c  what is asked and answered, in both protocols
 *
 * What is always true
 *   All of it runs on one serial queue, but for what the files of vmswitchd's sockets and of the system's
 * accounts have to say (the queue 'asks'), and the making of networks (io/vmnet_network_darwin.h): those come
 * back to it.
 */
#ifndef DAEMON_BROKER_INTERNAL_DARWIN_H
#define DAEMON_BROKER_INTERNAL_DARWIN_H

#include <xpc/xpc.h>

#include "daemon/broker.h"
#include "daemon/broker_settings_darwin.h"
#include "io/broker_protocol.h"
#include "daemon/broker_switch.h"
#include "io/code_identity_darwin.h"

enum {
    CLIENTS_MAX = 256,
    CLIENT_NETWORKS_MAX = 8,
    CLIENT_LEASES_MAX = 32,       /* descriptors handed out that are still plugged in */
    CLIENT_REQUESTS_MAX = 16,     /* at once */
    BRIDGE_CHECK_MS = 5000,       /* where nobody says that a bridge has gone */
    BRIDGE_CHECK_TOLD_MS = 30000, /* where address_watch.h does */
};

struct held;
struct request;

struct client {
    struct client *next;
    xpc_connection_t connection;
    unsigned refs; /* the connection, and each of its requests */
    bool is_gone;
    bool has_spoken; /* 'who' is of its first message, not of the connection */
    struct sender who;
    unsigned n_requests, n_holds, n_leases;
    struct held *holds[CLIENT_NETWORKS_MAX];
    bool watches[CLIENT_NETWORKS_MAX]; /* it wants to hear who else holds it */
    int leases[CLIENT_LEASES_MAX];
};

enum held_state {
    HELD_CREATING, /* -> UP, or gone, when vmnet has answered */
    HELD_UP,       /* -> gone, when nobody holds it and its bridge is not there */
};

struct held { /* a network */
    struct held *next;
    uint64_t serial; /* no other has had it: for a timer, which may outlive what it is about */
    char name[NETWORK_NAME_SIZE];
    enum held_state state;
    struct switch_network origin; /* as vmswitchd had it */
    bool is_builtin;              /* vmswitchd did not know it */
    struct network_settings settings;
    struct network_object *object;
    struct uplink_subnet subnet;
    uint8_t prefix[16];
    unsigned n_holders;
    bool is_checked;         /* the next look at its bridge is arranged */
    struct request *waiting; /* HELD_CREATING */
};

enum protocol { PROTOCOL_ACQUIRE, PROTOCOL_LIMA }; /* vmnet-broker's, Lima's */

enum broker_error { /* vmnet-broker's numbers */
                    BROKER_NOT_ALLOWED = 3,
                    BROKER_INVALID_REQUEST = 4,
                    BROKER_NOT_FOUND = 5,
                    BROKER_CREATE_FAILURE = 6,
                    BROKER_INTERNAL = 7,
};

struct request {
    struct request *next;
    struct client *client;
    xpc_object_t reply;
    struct sender from;
    enum protocol protocol;
    char name[NETWORK_NAME_SIZE];
    bool watches;
    bool is_uplink;  /* it says it is the uplink of the network */
    bool is_foreign; /* by another executable, on a macOS where that matters */
    bool wants_fd;
    struct held *held;        /* that it holds by this request; NULL: none, or it did before */
    struct switch_port port;  /* that the descriptor is to be */
    int fd, lease;            /* -1: none yet */
    enum switch_answer found; /* filled on 'asks', as the next three */
    struct switch_network network;
    bool is_allowed;
    char why[MESSAGE_WHY_SIZE];
};

struct broker {
    char runtime_dir[MESSAGE_PATH_SIZE];
    uint32_t idle_s, exit_timeout_s;
    dispatch_queue_t queue, asks;
    xpc_connection_t listener;
    struct client *clients;
    struct held *networks;
    unsigned n_clients;
    uint64_t n_uses; /* counts each use, so that a timer knows whether there was one since */
    uint64_t n_made; /* networks */
    bool is_told;    /* when an address of the host's goes */
    bool is_ending;
    int quit_fd; /* a byte here ends the process */
};

/* broker_darwin.c */
void broker_quit(struct broker *broker);
/* Something is not in use any more: is that all? */
void broker_look_idle(struct broker *broker);

/* broker_clients_darwin.c */
void client_accept(struct broker *broker, xpc_connection_t connection);
void client_unref(struct client *client);
bool client_holds(const struct client *client, const struct held *held);
/* Returns false if it holds as many as it may. */
bool client_hold(struct client *client, struct held *held, bool watches);
void client_let_go(struct broker *broker, struct client *client, struct held *held);
/* Takes the lease. Returns false if it has as many as it may: then it was closed. */
bool client_keep_lease(struct client *client, int lease);
unsigned clients_holding(const struct broker *broker); /* how many have a network, or a descriptor */
/* Tells those who watch the network who holds it now. */
void clients_tell(struct broker *broker, const struct held *held);

/* broker_networks_darwin.c */
struct held *held_find(struct broker *broker, const char *name);
/* Begins to make one; the request waits for it. */
void held_create(struct broker *broker, struct request *request, const struct network_settings *settings);
void held_drop(struct broker *broker, struct held *held); /* one holder less */
/* An address of the host's has gone: are there bridges that had it? */
void held_look_at_all(struct broker *broker);

/* broker_requests_darwin.c */
void request_take(struct broker *broker, struct client *client, xpc_object_t message);
/* Its network is up, or could not be made ('held' is NULL): goes on. */
void request_go_on(struct broker *broker, struct request *request, struct held *held, const char *why);

#endif
