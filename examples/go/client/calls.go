package main

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

const requestIDKey = "x-request-id"

// messages returns a conversation. Scalar fields are pointers, since 0 and "" are distinct from absent:
// proto.String and similar functions create them.
func messages() []*mistralwirev1.ChatMessage {
	user := &mistralwirev1.UserMessage{
		Content: &mistralwirev1.UserMessage_ContentString{ContentString: "Grüezi 👋"},
	}
	return []*mistralwirev1.ChatMessage{{Kind: &mistralwirev1.ChatMessage_User{User: user}}}
}

func usualRequest() *mistralwirev1.ChatCompletionRequest {
	return &mistralwirev1.ChatCompletionRequest{
		Model:       proto.String("mistral-small-latest"),
		Messages:    messages(),
		Temperature: proto.Float64(0),
		RandomSeed:  proto.Int64(9007199254740993),
	}
}

func usualStreamRequest() *mistralwirev1.ChatCompletionStreamRequest {
	return &mistralwirev1.ChatCompletionStreamRequest{
		Model:       proto.String("mistral-small-latest"),
		Messages:    messages(),
		Temperature: proto.Float64(0),
		RandomSeed:  proto.Int64(9007199254740993),
	}
}

// unary requests a whole answer, with a request id that all servers on the way log.
func unary(client mistralwirev1.ChatCompletionServiceClient, requestID string) (outcome, error) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), requestIDKey, requestID)
	var trailer metadata.MD
	response, err := client.ChatCompletion(ctx, usualRequest(), grpc.Trailer(&trailer))
	result := outcomeOf(err, trailer)
	if err == nil {
		choice := response.GetChoices()[0]
		result["id"] = response.GetId()
		result["text"] = choice.GetMessage().GetContentString()
		result["finish_reason"] = finishReasonOf(choice.FinishReason, choice.GetJsonExtra())
		result["total_tokens"] = response.GetUsage().GetTotalTokens()
	}
	return result, nil
}

// stream requests an answer as a stream, and reads it to its end.
func stream(client mistralwirev1.ChatCompletionServiceClient, requestID string) (outcome, error) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), requestIDKey, requestID)
	return read(ctx, client, func(chunks int) {})
}

// cancel ends a stream after so many chunks: the service then cancels its request to the model.
func cancel(client mistralwirev1.ChatCompletionServiceClient, count int) (outcome, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	return read(ctx, client, func(chunks int) {
		if chunks >= count {
			stop()
		}
	})
}

// read reads a stream to its end or to an error; the chunks before an error are valid.
func read(
	ctx context.Context, client mistralwirev1.ChatCompletionServiceClient, received func(chunks int),
) (outcome, error) {
	responses, err := client.ChatCompletionStream(ctx, usualStreamRequest())
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	count, chunks, finishReasons := 0, 0, []*finishReason{}
	for {
		// A message contains all chunks that were ready when it was sent.
		response, err := responses.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			result := outcomeOf(err, responses.Trailer())
			result["messages"], result["chunks"], result["text"] = count, chunks, text.String()
			result["finish_reasons"] = finishReasons
			return result, nil
		}
		count++
		for _, chunk := range response.GetChunks() {
			chunks++
			for _, choice := range chunk.GetChoices() {
				text.WriteString(choice.GetDelta().GetContentString())
				finishReasons = append(finishReasons, finishReasonOf(choice.FinishReason, choice.GetJsonExtra()))
			}
		}
		received(chunks)
	}
}

// deadline makes a call with a deadline in milliseconds: when it expires, the model's work is cancelled.
func deadline(client mistralwirev1.ChatCompletionServiceClient, milliseconds int) (outcome, error) {
	ctx, stop := context.WithTimeout(context.Background(), time.Duration(milliseconds)*time.Millisecond)
	defer stop()
	var trailer metadata.MD
	_, err := client.ChatCompletion(ctx, usualRequest(), grpc.Trailer(&trailer))
	return outcomeOf(err, trailer), nil
}

// broken sends a request that breaks the contract; errors.go reads the violations.
func broken(client mistralwirev1.ChatCompletionServiceClient) (outcome, error) {
	user := &mistralwirev1.UserMessage{Content: &mistralwirev1.UserMessage_ContentString{ContentString: "hello"}}
	request := &mistralwirev1.ChatCompletionRequest{
		Messages: []*mistralwirev1.ChatMessage{
			{Kind: &mistralwirev1.ChatMessage_User{User: user}},
			{Kind: &mistralwirev1.ChatMessage_Tool{Tool: &mistralwirev1.ToolMessage{}}},
		},
	}
	var trailer metadata.MD
	_, err := client.ChatCompletion(context.Background(), request, grpc.Trailer(&trailer))
	return outcomeOf(err, trailer), nil
}
