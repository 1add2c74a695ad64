#!/bin/sh
# perf/targets/ovs.sh - Open vSwitch in user space, with a database, sockets and logs of its own in one folder
#
# usage: ovs.sh FOLDER                  runs ovsdb-server and ovs-vswitchd with a bridge br0; ends both on SIGTERM, or
#                                       when its standard input ends. FOLDER/ready appears when they are up
#        ovs.sh FOLDER WORD...          ovs-vsctl WORD... for them
set -eu
folder=$1
shift
export OVS_RUNDIR="$folder" OVS_LOGDIR="$folder" OVS_DBDIR="$folder"
database="unix:$folder/db.sock"

vsctl() { ovs-vsctl --timeout=10 --db="$database" "$@"; }
if [ $# -gt 0 ]; then
    vsctl "$@"
    exit
fi

mkdir -p "$folder"
exec 3<&0 # a job's own standard input is /dev/null
ovsdb-tool create "$folder/conf.db" /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server "$folder/conf.db" --remote="p$database" --pidfile="$folder/ovsdb-server.pid" --unixctl="$folder/db.ctl" &
jobs=$!
trap 'kill $jobs 2> /dev/null; wait; exit 0' TERM INT
while [ ! -S "$folder/db.sock" ]; do sleep 0.02; done
vsctl --no-wait init
ovs-vswitchd "$database" --pidfile="$folder/ovs-vswitchd.pid" --unixctl="$folder/vswitchd.ctl" &
jobs="$jobs $!"
vsctl add-br br0 -- set bridge br0 datapath_type=netdev fail-mode=standalone
: > "$folder/ready"
# As a job, so that the signal is not kept waiting.
cat <&3 > /dev/null &
jobs="$jobs $!"
wait $! || true
kill $jobs 2> /dev/null
wait
