// A ChatCompletionService in Go whose model repeats the user's message, word for word.
//
// It sets the documented fields and nothing else. `mistralwire gateway --service ADDRESS` serves it over HTTP,
// to any SDK for the API.
package main

import (
	"fmt"
	"log"
	"net"
	"os"
	"os/signal"
	"syscall"

	"google.golang.org/grpc"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: server PORT")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	server := grpc.NewServer()
	mistralwirev1.RegisterChatCompletionServiceServer(server, &echo{})

	stopping := make(chan os.Signal, 1)
	signal.Notify(stopping, syscall.SIGTERM, os.Interrupt)
	go func() {
		<-stopping
		server.GracefulStop() // waits for running calls
	}()
	fmt.Println("listening on", listener.Addr())
	if err := server.Serve(listener); err != nil {
		log.Fatal(err)
	}
}
