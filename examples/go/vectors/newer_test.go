package vectors

import (
	"cmp"
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// place is a field of a message, by its number.
type place struct {
	Message string `json:"message"`
	Field   int32  `json:"field"`
}

// newerIn returns the places of what this contract does not know, because the sender has a newer one: fields,
// alternatives, and enum values. A program can detect this way that it should be upgraded; the content itself stays
// in the message.
func newerIn(message protoreflect.Message) []place {
	var found []place
	collect(message, &found)
	return sorted(found)
}

func collect(message protoreflect.Message, found *[]place) {
	name := string(message.Descriptor().Name())
	for unknown := message.GetUnknown(); len(unknown) > 0; {
		number, _, length := protowire.ConsumeField(unknown)
		*found = append(*found, place{name, int32(number)})
		unknown = unknown[length:]
	}
	message.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch {
		case field.IsList() && field.Message() != nil:
			for index := range value.List().Len() {
				collect(value.List().Get(index).Message(), found)
			}
		case field.Message() != nil:
			collect(value.Message(), found)
		case field.Enum() != nil && field.Enum().Values().ByNumber(value.Enum()) == nil:
			// json_extra may contain the value's string, for programs that do not know the number.
			if !hasMember(message, string(field.Name())) {
				*found = append(*found, place{name, int32(field.Number())})
			}
		}
		return true
	})
}

// hasMember reports whether the json_extra of a message has a member.
func hasMember(message protoreflect.Message, name string) bool {
	extra := message.Descriptor().Fields().ByName("json_extra")
	if extra == nil {
		return false
	}
	members := extra.Message().Fields().ByName("members")
	var texts map[string]json.RawMessage
	err := json.Unmarshal([]byte(message.Get(extra).Message().Get(members).String()), &texts)
	return err == nil && texts[name] != nil
}

func sorted(places []place) []place {
	slices.SortFunc(places, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.Message, b.Message), cmp.Compare(a.Field, b.Field))
	})
	return slices.Compact(places)
}
