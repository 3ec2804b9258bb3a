// Package vectors tests the generated code with the conformance vectors of the contract, for programs that read and
// forward messages. The environment variable CONTRACT names the folder of the contract.
package vectors

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	_ "mistralwire.example/interop/gen/stubs/mistralwire/v1" // registers the messages
)

// vector is what the cases of all files have in common that is used here; "wire" is base64, as []byte is.
type vector struct {
	Name            string  `json:"name"`
	Type            string  `json:"type"`
	Wire            []byte  `json:"wire"`
	Lost            []place `json:"lost"`
	Events          []event `json:"events"`
	AccumulatedType string  `json:"accumulated_type"`
	Accumulated     *event  `json:"accumulated"`
}

type event struct {
	Kind string `json:"kind"`
	Wire []byte `json:"wire"`
}

func TestDocumentsAreKeptAndHoldNothingNewer(t *testing.T) {
	for _, each := range read(t, "documents.json") {
		t.Run(each.Name, func(t *testing.T) {
			if found := newerIn(kept(t, each.Type, each.Wire)); len(found) > 0 {
				t.Error("not in this contract:", found)
			}
		})
	}
}

func TestWhatIsNewerInMessagesOfProgramsIsKeptAndFound(t *testing.T) {
	for _, each := range read(t, "programs.json") {
		t.Run(each.Name, func(t *testing.T) {
			found := newerIn(kept(t, each.Type, each.Wire))
			if !slices.Equal(found, sorted(each.Lost)) {
				t.Errorf("found %v, expected %v", found, each.Lost)
			}
		})
	}
}

func TestEventsOfStreamsAndTheirSumAreKept(t *testing.T) {
	for _, each := range read(t, "streams.json") {
		t.Run(each.Name, func(t *testing.T) {
			for _, event := range each.Events {
				switch event.Kind {
				case "message":
					kept(t, each.Type, event.Wire)
				case "error":
					kept(t, "ErrorResponse", event.Wire)
				}
			}
			if each.Accumulated != nil {
				kept(t, each.AccumulatedType, each.Accumulated.Wire)
			}
		})
	}
}

func read(t *testing.T, name string) []vector {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(os.Getenv("CONTRACT"), "vectors", name))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []vector `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) == 0 {
		t.Fatalf("%s has no cases", name)
	}
	return file.Cases
}

// kept returns a message that it parsed, after a check that serializing loses nothing of it.
func kept(t *testing.T, name string, wire []byte) protoreflect.Message {
	t.Helper()
	kind, err := protoregistry.GlobalTypes.FindMessageByName(protoreflect.FullName("mistralwire.v1." + name))
	if err != nil {
		t.Fatal(err)
	}
	message, again := kind.New().Interface(), kind.New().Interface()
	if err := proto.Unmarshal(wire, message); err != nil {
		t.Fatal(err)
	}
	data, err := proto.Marshal(message)
	if err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(data, again); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(message, again) {
		t.Errorf("parsed %v, serialized it and parsed %v", message, again)
	}
	return message.ProtoReflect()
}
