// plug.go API_SOCKET NETWORK PORT COMMAND... - runs COMMAND with $VM_SOCKET, the datagram socket of its port
//
// e.g. go run plug.go /run/vmswitch/api.sock lab vm1 sh -c 'exec vfkit ... --device virtio-net,unixSocketPath=$VM_SOCKET'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

func main() {
	api, network, port, command := os.Args[1], "/v1/networks/"+os.Args[2], "/ports/"+os.Args[3], os.Args[4:]
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, // the API answers one request a connection
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", api)
		}}}
	ask := func(method, path, body string) (answer struct {
		Detail    string
		State     string
		Addresses []string
		Sockets   struct{ Datagram string }
	}) {
		request, err := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
		check(err)
		response, err := client.Do(request)
		check(err)
		defer response.Body.Close()
		if response.StatusCode != http.StatusNoContent {
			check(json.NewDecoder(response.Body).Decode(&answer))
		}
		if response.StatusCode >= 300 {
			check(fmt.Errorf("%s %s: %s", method, path, answer.Detail))
		}
		return answer
	}
	ask("PUT", network, `{"mode": "internal"}`) // makes it if it is not there
	vm := exec.Command(command[0], command[1:]...)
	vm.Env = append(os.Environ(), "VM_SOCKET="+ask("PUT", network+port, "{}").Sockets.Datagram)
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	err := vm.Run()
	found := ask("GET", network+port, "") // a VM manager that has been restarted finds its port by name
	fmt.Println(found.State, found.Addresses)
	ask("DELETE", network+port, "") // the network stays: others may be on it
	check(err)
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "plug.go:", err)
		os.Exit(1)
	}
}
