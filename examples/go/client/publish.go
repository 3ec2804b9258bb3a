package main

import (
	"bufio"
	"context"
	"errors"
	"io"

	"google.golang.org/protobuf/proto"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

// publish publishes a response whose chunks are the lines of a text, and waits until it is stored. After a lost
// connection a producer opens the response again, and resumes after the event that the first answer names.
func publish(client mistralwirev1.ResponseRelayServiceClient, responseID string, text io.Reader) (outcome, error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	call, err := client.Publish(ctx)
	if err != nil {
		return nil, err
	}
	open := &mistralwirev1.PublishOpen{ResponseId: proto.String(responseID)}
	requests := []*mistralwirev1.PublishRequest{{Step: &mistralwirev1.PublishRequest_Open{Open: open}}}
	lines := bufio.NewScanner(text)
	for lines.Scan() {
		requests = append(requests, batchOf(int32(len(requests)), lines.Text()))
	}
	finished := mistralwirev1.ResponseState_RESPONSE_STATE_FINISHED
	end := &mistralwirev1.PublishRequest_End{End: &mistralwirev1.ResponseEnd{State: &finished}}
	requests = append(requests, &mistralwirev1.PublishRequest{Step: end})

	for _, request := range requests {
		// An error is that of Recv: the call has ended.
		if call.Send(request) != nil {
			break
		}
	}
	result := outcome{}
	for {
		answer, err := call.Recv()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			for name, value := range outcomeOf(err, call.Trailer()) {
				result[name] = value
			}
			return result, nil
		}
		result["acknowledged"], result["ended"] = answer.GetAcknowledgedSequence(), answer.GetEnded()
	}
}

// batchOf returns a message with one event, which has this number.
func batchOf(number int32, text string) *mistralwirev1.PublishRequest {
	chunk := &mistralwirev1.CompletionChunk{
		Id:    proto.String("cmpl-1"),
		Model: proto.String("mistral-small-latest"),
		Choices: []*mistralwirev1.CompletionResponseStreamChoice{{
			Index: proto.Int32(0),
			Delta: &mistralwirev1.DeltaMessage{
				Content: &mistralwirev1.DeltaMessage_ContentString{ContentString: text},
			},
		}},
	}
	events := &mistralwirev1.ResponseEvents{Chunks: []*mistralwirev1.CompletionChunk{chunk}}
	batch := &mistralwirev1.PublishBatch{FirstSequence: proto.Int32(number), Events: events}
	return &mistralwirev1.PublishRequest{Step: &mistralwirev1.PublishRequest_Batch{Batch: batch}}
}
