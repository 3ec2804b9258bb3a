package main

import (
	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type violation struct {
	Field       string `json:"field"`
	Description string `json:"description"`
}

// outcomeOf returns how a call ended: its status, and the details that the comments of
// ChatCompletionService list.
func outcomeOf(err error, trailer metadata.MD) outcome {
	status := status.Convert(err) // of nil: OK
	result := outcome{"code": code.Code(status.Code()).String(), "request_id": nil}
	if ids := trailer.Get(requestIDKey); len(ids) > 0 {
		result["request_id"] = ids[0]
	}
	if err == nil {
		return result
	}
	result["message"], result["retry_after_s"] = status.Message(), nil
	violations := []violation{}
	for _, detail := range status.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			result["reason"], result["domain"] = detail.GetReason(), detail.GetDomain()
		case *errdetails.BadRequest:
			for _, each := range detail.GetFieldViolations() {
				violations = append(violations, violation{each.GetField(), each.GetDescription()})
			}
		case *errdetails.RetryInfo:
			result["retry_after_s"] = detail.GetRetryDelay().AsDuration().Seconds()
		}
	}
	result["violations"] = violations
	return result
}
