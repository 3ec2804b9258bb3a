package main

import (
	"context"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

// reencode parses a message and serializes it, like a program that only forwards messages. Nothing is lost as
// long as the whole message is forwarded, json_extra included.
func reencode(name string, input io.Reader) (outcome, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("mistralwire.v1." + name))
	if err != nil {
		return nil, err
	}
	data, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	message := kind.New().Interface()
	if err := proto.Unmarshal(data, message); err != nil {
		return nil, err
	}
	again, err := proto.Marshal(message)
	return outcome{"bytes": again}, err // encoding/json writes bytes in base64
}

// relay forwards a request, and its answer back.
func relay(client mistralwirev1.ChatCompletionServiceClient, input io.Reader) (outcome, error) {
	data, err := io.ReadAll(input)
	if err != nil {
		return nil, err
	}
	request := &mistralwirev1.ChatCompletionRequest{}
	if err := proto.Unmarshal(data, request); err != nil {
		return nil, err
	}
	var trailer metadata.MD
	response, err := client.ChatCompletion(context.Background(), request, grpc.Trailer(&trailer))
	result := outcomeOf(err, trailer)
	if err != nil {
		return result, nil
	}
	result["bytes"], err = proto.Marshal(response)
	return result, err
}
