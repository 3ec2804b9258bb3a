"""Convert recorded responses, one JSON document per line, to length-delimited protobuf; show the progress.

python batch_convert.py responses.jsonl responses.binpb
"""

import pathlib
import sys

from google.protobuf import proto

from mistralwire import DecodeError, from_json
from mistralwire.v1 import ChatCompletionResponse


def main(source: str, target: str) -> int:
    size = pathlib.Path(source).stat().st_size
    number = done = bad = 0
    with open(source, "rb") as lines, open(target, "wb") as output:
        for number, line in enumerate(lines, 1):
            done += len(line)
            try:
                response = from_json(ChatCompletionResponse, line, validate=False)
            except DecodeError as error:
                bad += 1
                print(f"\r{source}, line {number}: {error}", file=sys.stderr)
            else:
                proto.serialize_length_prefixed(response, output)  # type: ignore[arg-type]  # takes any file
            if sys.stderr.isatty() and number % 100 == 0:
                print(f"\r{100 * done // size} %", end="", file=sys.stderr, flush=True)
    print(f"\r{number - bad} of {number} lines converted", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
