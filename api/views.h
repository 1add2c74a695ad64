/* api/views.h - flat snapshots -> JSON; each returns a new reference, or NULL if memory is short */
#ifndef API_VIEWS_H
#define API_VIEWS_H

#include <jansson.h>

#include "api/network_spec.h"
#include "io/broker_client.h"
#include "switch/snapshot.h"

/* What control knows of a network beside its spec. */
struct network_status {
    const char *source;  /* "api", "configuration" (its file in 'file'), "default" */
    const char *file;    /* or NULL */
    const char *health;  /* "starting", "up", "degraded", "failed", "unresponsive" */
    const char *reason;  /* a sentence, or NULL when up */
    const char *warning; /* what is known to go badly although it runs, or NULL */
    int pid;             /* of its network process; 0: none runs */
    unsigned owner_uid;
    enum uplink_kind uplink_kind;
    enum uplink_state uplink_state;
    const char *uplink_reason;                             /* or NULL */
    int uplink_pid;                                        /* of its uplink process, 0: it has none */
    const char *ifname;                                    /* of a TAP, or NULL */
    const struct uplink_counters *uplink_counters;         /* of its process, or NULL */
    struct uplink_subnet subnet;                           /* what vmnet has; all 0: nothing to tell */
    const struct broker_holders *holders;                  /* of a network of the broker's, or NULL */
    const char *stream_path, *datagram_path, *attach_path; /* absolute, or NULL */
    const struct lan_snapshot *lan;                        /* NULL: not known (unresponsive) */
    json_t *needs_restart; /* fields of the configuration that wait for a restart; borrowed; NULL: none */
};

json_t *view_network(const struct network_spec *spec, const struct network_status *status);
json_t *view_health_entry(const char *name, const struct network_status *status);

/* 'fdb' gives the addresses. 'stream_path' and 'datagram_path' are those of a named port, else NULL. */
json_t *view_port(const struct port_snapshot *port, const struct fdb_snapshot *fdb, uint32_t n_fdb,
                  const char *stream_path, const char *datagram_path);
json_t *view_fdb_entry(const struct fdb_snapshot *entry);
json_t *
view_counters(const struct counters *counters); /* frames_in ... and "drops": {reason: count}, all reasons */

#endif
