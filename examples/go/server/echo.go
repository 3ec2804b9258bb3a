package main

import (
	"context"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

// echo answers chat completions; the embedded type answers all other methods with UNIMPLEMENTED.
type echo struct {
	mistralwirev1.UnimplementedChatCompletionServiceServer
}

const id = "echo-1"

func (*echo) ChatCompletion(
	_ context.Context, request *mistralwirev1.ChatCompletionRequest,
) (*mistralwirev1.ChatCompletionResponse, error) {
	text, err := lastText(request.GetMessages())
	if err != nil {
		return nil, err
	}
	message := &mistralwirev1.AssistantMessage{
		Role:    proto.String("assistant"),
		Content: &mistralwirev1.AssistantMessage_ContentString{ContentString: text},
	}
	choice := &mistralwirev1.ChatCompletionChoice{
		Index:        proto.Int32(0),
		FinishReason: mistralwirev1.FinishReason_FINISH_REASON_STOP.Enum(),
		Message:      message,
	}
	return &mistralwirev1.ChatCompletionResponse{
		Id:      proto.String(id),
		Object:  proto.String("chat.completion"),
		Model:   request.Model,
		Created: proto.Int64(time.Now().Unix()),
		Choices: []*mistralwirev1.ChatCompletionChoice{choice},
		Usage:   usage(text),
	}, nil
}

func (*echo) ChatCompletionStream(
	request *mistralwirev1.ChatCompletionStreamRequest,
	stream grpc.ServerStreamingServer[mistralwirev1.ChatCompletionStreamResponse],
) error {
	text, err := lastText(request.GetMessages())
	if err != nil {
		return err
	}
	created := time.Now().Unix()
	send := func(usage *mistralwirev1.UsageInfo, choices ...*mistralwirev1.CompletionResponseStreamChoice) error {
		chunk := &mistralwirev1.CompletionChunk{
			Id:      proto.String(id),
			Object:  proto.String("chat.completion.chunk"),
			Model:   request.Model,
			Created: &created,
			Choices: choices,
			Usage:   usage,
		}
		chunks := []*mistralwirev1.CompletionChunk{chunk}
		return stream.Send(&mistralwirev1.ChatCompletionStreamResponse{Chunks: chunks})
	}

	// One chunk per word; then the finish reason; then the usage, without a choice.
	for _, word := range strings.SplitAfter(text, " ") {
		delta := &mistralwirev1.DeltaMessage{Content: &mistralwirev1.DeltaMessage_ContentString{ContentString: word}}
		choice := &mistralwirev1.CompletionResponseStreamChoice{Index: proto.Int32(0), Delta: delta}
		if err := send(nil, choice); err != nil {
			return err // the caller has disconnected
		}
	}
	last := &mistralwirev1.CompletionResponseStreamChoice{
		Index:        proto.Int32(0),
		FinishReason: mistralwirev1.FinishReason_FINISH_REASON_STOP.Enum(),
	}
	if err := send(nil, last); err != nil {
		return err
	}
	return send(usage(text))
}

// lastText returns the text of the last message, which must be a user's.
func lastText(messages []*mistralwirev1.ChatMessage) (string, error) {
	if len(messages) == 0 || messages[len(messages)-1].GetUser() == nil {
		return "", status.Error(codes.InvalidArgument, "the last message must be one of the user")
	}
	text := messages[len(messages)-1].GetUser().GetContentString()
	if text == "" {
		return "", status.Error(codes.InvalidArgument, "this model repeats text only")
	}
	return text, nil
}

// usage counts words as tokens.
func usage(text string) *mistralwirev1.UsageInfo {
	words := int32(len(strings.Fields(text)))
	return &mistralwirev1.UsageInfo{
		PromptTokens:     proto.Int32(words),
		CompletionTokens: proto.Int32(words),
		TotalTokens:      proto.Int32(2 * words),
	}
}
