// plug.go API_SOCKET NETWORK PORT COMMAND... - runs COMMAND with $VM_SOCKET, the datagram socket of its port
//
// e.g. go run plug.go /run/vmswitch/api.sock lab vm1 sh -c 'exec vfkit ... --device virtio-net,unixSocketPath=$VM_SOCKET'
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// The API answers one request a connection.
var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
	return new(net.Dialer).DialContext(ctx, "unix", os.Args[1])
}}}

func ask(method, path, body string) (answer map[string]any) {
	request, _ := http.NewRequest(method, "http://localhost"+path, strings.NewReader(body))
	response, err := client.Do(request)
	if err != nil {
		log.Fatal("plug.go: ", err)
	}
	json.NewDecoder(response.Body).Decode(&answer) // of a DELETE: nothing
	if response.StatusCode >= 300 {
		log.Fatal("plug.go: ", method, " ", path, ": ", answer["detail"])
	}
	return answer
}

func main() {
	log.SetFlags(0) // no time of day
	network, port := "/v1/networks/"+os.Args[2], "/v1/networks/"+os.Args[2]+"/ports/"+os.Args[3]
	ask("PUT", network, `{"mode": "internal"}`) // makes it if it is not there
	vm := exec.Command(os.Args[4], os.Args[5:]...)
	vm.Env = append(os.Environ(), fmt.Sprint("VM_SOCKET=", ask("PUT", port, "{}")["sockets"].(map[string]any)["datagram"]))
	vm.Stdout, vm.Stderr = os.Stdout, os.Stderr
	err := vm.Run()
	found := ask("GET", port, "") // a VM manager that has been restarted finds its port by name
	fmt.Println(found["state"], found["addresses"])
	ask("DELETE", port, "") // the network stays: others may be on it
	if err != nil {
		log.Fatal("plug.go: ", err)
	}
}
