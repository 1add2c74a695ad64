#!/bin/sh
# perf/targets/vmnet-helper.sh - a vmnet-helper for each port, all on the host's network. Untested.
#
# usage: vmnet-helper.sh FOLDER PORTS        sockets are FOLDER/0, FOLDER/1, ...; ends all of them on SIGTERM
set -eu
jobs=
port=0
while [ "$port" -lt "$2" ]; do
    /opt/vmnet-helper/bin/vmnet-helper --socket "$1/$port" --operation-mode host &
    jobs="$jobs $!"
    port=$((port + 1))
done
trap 'kill $jobs 2> /dev/null; wait; exit 0' TERM INT
wait
