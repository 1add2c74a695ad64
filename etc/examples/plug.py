#!/usr/bin/env python3
"""plug.py ATTACH_SOCKET API_SOCKET NETWORK COMMAND... - runs COMMAND with descriptor 3 plugged into the network

The port has no name or path. It lives as long as the lease, a connection that COMMAND inherits: nothing to clean up.
"""
import array, http.client, json, socket, subprocess, sys

def connect(path):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.connect(path)
    return s

def ask(method, path, body=None):
    connection = http.client.HTTPConnection("localhost")
    connection.sock = connect(api)
    connection.request(method, path, json.dumps(body) if body else None)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or "null")

attach, api, network, *command = sys.argv[1:]
status, answer = ask("POST", "/v1/networks", {"name": network, "mode": "internal"})
if status not in (201, 409):  # 409: it is there already, whoever made it
    sys.exit(f"plug.py: {answer['detail']} {answer.get('next_step', '')}")

ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)  # SOCK_DGRAM for VMs on datagrams
lease = connect(attach)
lease.sendmsg([json.dumps({"network": network}).encode() + b"\n"],
              [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [theirs.fileno()]))])
answer = json.loads(lease.makefile().readline())
if "port" not in answer:
    sys.exit(f"plug.py: {answer['detail']} {answer.get('next_step', '')}")
theirs.close()

vm = subprocess.Popen(["sh", "-c", f'exec "$@" 3<&{ours.fileno()}', "sh", *command], pass_fds=[ours.fileno(), lease.fileno()])
ours.close()
lease.close()
print(json.dumps(ask("GET", f"/v1/networks/{network}/ports/{answer['port']}")[1]))  # find it again
sys.exit(vm.wait())
