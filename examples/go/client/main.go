// Makes one call of a ChatCompletionService, and prints its outcome as JSON.
//
// An example of a client in Go: calls.go makes calls, errors.go reads why they failed, finish_reason.go decodes
// finish reasons, publish.go publishes a response, and reencode.go forwards messages without losing anything.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

// outcome is the result of a call, as the JSON object that is printed.
type outcome map[string]any

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: client ADDRESS CALL [ARGUMENT]")
		os.Exit(2)
	}
	result, err := run(os.Args[1], os.Args[2], os.Args[3:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address, call string, arguments []string) (outcome, error) {
	// One connection carries any number of concurrent calls; a program needs only one.
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer connection.Close()
	client := mistralwirev1.NewChatCompletionServiceClient(connection)

	argument := ""
	if len(arguments) > 0 {
		argument = arguments[0]
	}
	switch call {
	case "unary":
		return unary(client, argument)
	case "stream":
		return stream(client, argument)
	case "broken":
		return broken(client)
	case "publish":
		return publish(mistralwirev1.NewResponseRelayServiceClient(connection), argument, os.Stdin)
	case "relay":
		return relay(client, os.Stdin)
	case "reencode":
		return reencode(argument, os.Stdin)
	}
	number, err := strconv.Atoi(argument)
	if err != nil {
		return nil, err
	}
	switch call {
	case "deadline":
		return deadline(client, number)
	case "cancel":
		return cancel(client, number)
	}
	return nil, fmt.Errorf("no such call: %s", call)
}
