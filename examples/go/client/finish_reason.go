package main

import (
	"encoding/json"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	mistralwirev1 "mistralwire.example/interop/gen/stubs/mistralwire/v1"
)

type finishReason struct {
	Number int32  `json:"number"`
	String string `json:"string"`
}

// finishReasonOf returns why a model stopped, nil if it has not: the field is a pointer.
//
// A reason that the contract does not list is UNLISTED, and its string is in the message's json_extra.
func finishReasonOf(reason *mistralwirev1.FinishReason, extra *mistralwirev1.JsonExtra) *finishReason {
	if reason == nil {
		return nil
	}
	if *reason == mistralwirev1.FinishReason_FINISH_REASON_UNLISTED {
		return &finishReason{int32(*reason), memberOf(extra, "finish_reason")}
	}
	return &finishReason{int32(*reason), documentedString(*reason)}
}

// memberOf returns a string among the members of a JSON object that no field could hold.
func memberOf(extra *mistralwirev1.JsonExtra, name string) string {
	var members map[string]json.RawMessage
	var value string
	if json.Unmarshal([]byte(extra.GetMembers()), &members) != nil {
		return ""
	}
	_ = json.Unmarshal(members[name], &value) // a value of another type reads as ""
	return value
}

// documentedString returns the API's string for an enum value, from the contract's option json_value.
func documentedString(reason mistralwirev1.FinishReason) string {
	value := reason.Descriptor().Values().ByNumber(reason.Number())
	if value == nil {
		return "" // from a newer contract
	}
	options := value.Options().(*descriptorpb.EnumValueOptions)
	return proto.GetExtension(options, mistralwirev1.E_JsonValue).(*mistralwirev1.JsonValue).GetString_()
}
