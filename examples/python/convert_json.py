"""Convert a response from JSON to protobuf and back: `python convert_json.py response.json`."""

import json
import pathlib
import sys

from mistralwire import from_json, text_of, to_json
from mistralwire.v1 import ChatCompletionResponse


def main(path: str) -> None:
    text = pathlib.Path(path).read_bytes()
    # Responses are accepted as they are. Requests should be validated, which is the default.
    response = from_json(ChatCompletionResponse, text, validate=False)
    print(text_of(response))

    wire = response.SerializeToString()
    print(f"JSON {len(text)} bytes, protobuf {len(wire)} bytes")

    again = to_json(ChatCompletionResponse.FromString(wire))
    assert json.loads(again) == json.loads(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
