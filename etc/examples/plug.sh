#!/bin/sh
# plug.sh API_SOCKET NETWORK PORT COMMAND... - runs COMMAND with $VM_SOCKET, the stream socket of its port
#
# e.g.  plug.sh /run/vmswitch/api.sock lab vm1 sh -c 'exec qemu-system-x86_64 ... -device virtio-net-pci,netdev=n0 \
#           -netdev stream,id=n0,server=off,addr.type=unix,addr.path="$VM_SOCKET"'
set -eu
api=$1 network=http://localhost/v1/networks/$2 port=http://localhost/v1/networks/$2/ports/$3
shift 3
ask() { curl --silent --show-error --fail-with-body --max-time 10 --unix-socket "$api" -X "$@"; }

# Make what is not there. Said again, both change nothing: PUT says how it should be.
ask PUT "$network" --data '{"mode": "internal"}' > /dev/null
VM_SOCKET=$(ask PUT "$port" --data '{}' | sed -n 's/.*"stream": *"\([^"]*\)".*/\1/p')
export VM_SOCKET

# Clean up, however the command ends. The network stays, others may be on it.
trap 'ask DELETE "$port"' EXIT
trap 'exit 143' INT TERM

# Plug the VM in, then find it again: state, addresses and counters of its port.
"$@" && status=0 || status=$?
ask GET "$port"
exit "$status"
