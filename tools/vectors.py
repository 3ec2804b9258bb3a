"""Fill in the conformance vectors in proto/vectors.

Of each case a maintainer writes the name, the rule, the type, the mode and the input: `json`, `sse`, or the
`wire` of a program's message; where that is missing it is made from `text`. Everything else comes from the
codec: it becomes part of the contract once a maintainer has read the diff.

Run it with `make vectors`. The tests fail where a file is not current.
"""

import base64
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import text_format
from google.protobuf.message import Message

import mistralwire.v1
from mistralwire.codec import (
    Accumulator,
    SseDecoder,
    SseDone,
    SseError,
    check,
    check_request,
    encode_sse,
    from_json,
    losses,
    to_json,
)
from mistralwire.errors import DecodeError, EncodeError, MistralwireError, Violation

FOLDER = pathlib.Path(__file__).resolve().parents[1] / "proto" / "vectors"
# What is expected where a JSON parser has refused a text, in its own words.
_PARSED = ("JSON", "JSON in the field")

Case = dict[str, Any]


def message_type(case: Case, key: str = "type") -> Any:
    """Return the class of the message that a case names."""
    return getattr(mistralwire.v1, case[key])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _text(message: Message) -> str:
    return text_format.MessageToString(
        message, as_utf8=True, as_one_line=True, print_unknown_fields=True
    ).strip()


def violations_of(violations: list[Violation]) -> list[dict[str, str | None]]:
    """Return violations as the vectors have them: without the words of one JSON parser."""
    return [
        {"path": path, "expected": expected, "found": None if expected in _PARSED else found}
        for path, expected, found, *_ in violations
    ]


def fill_document(case: Case) -> Case:
    """Return a document that is accepted, with its message, both JSON texts and what validation says."""
    message = from_json(message_type(case), case["json"], validate=case["validate"])
    violations = [] if case["validate"] else _refusal(case, validate=True).violations
    return {
        **{key: case[key] for key in ("name", "rule", "type", "validate", "json")},
        "violations": violations_of(violations),
        "text": _text(message),
        "wire": _base64(message.SerializeToString()),
        "snake": to_json(message).decode(),
        "camel": to_json(message, names="camel").decode(),
    }


def _refusal(case: Case, *, validate: bool) -> DecodeError:
    data = base64.b64decode(case["json_base64"]) if "json_base64" in case else case["json"]
    try:
        from_json(message_type(case), data, validate=validate)
    except DecodeError as error:
        return error
    raise ValueError(f"{case['name']}: the document is accepted")


def fill_refused(case: Case) -> Case:
    """Return a document that is refused, with the reason and the violations."""
    error = _refusal(case, validate=case["validate"])
    data = "json" if "json" in case else "json_base64"
    return {
        **{key: case[key] for key in ("name", "rule", "type", "validate", data)},
        "reason": str(error.reason),
        "violations": violations_of(error.violations),
    }


def fill_stream(case: Case) -> Case:
    """Return a stream with its events, the same events written, and the response that they add up to."""
    decoder = SseDecoder(message_type(case), validate=case["validate"])
    response_type = message_type(case, "accumulated_type")
    accumulator: Accumulator[Any] = Accumulator(response_type)
    events, written = [], b""
    for item in _decoded(decoder, case["sse"].encode()):
        if isinstance(item, DecodeError):
            found = violations_of(item.violations)
            event = {"kind": "refused", "reason": str(item.reason), "violations": found}
        else:
            event = _event(item)
            written += encode_sse(item)
            if event["kind"] == "message":
                accumulator.add(item.message)
        events.append({"line": decoder.line, **event})
    accumulated = accumulator.result()
    return {
        **{key: case[key] for key in ("name", "rule", "type", "validate", "sse", "accumulated_type")},
        "events": events,
        "last_event_id": decoder.last_event_id,
        "retry_ms": decoder.retry_ms,
        "written": written.decode(),
        "accumulated": {
            "wire": _base64(accumulated.SerializeToString()),
            "snake": to_json(accumulated).decode(),
        },
    }


def _decoded(decoder: SseDecoder[Any], data: bytes) -> Iterator[Any]:
    decoder.feed(data)
    is_closed = False
    while True:
        try:
            if is_closed:
                yield next(decoder)
            else:
                yield from decoder
                is_closed = True
                decoder.close()
        except StopIteration:
            return
        except DecodeError as error:
            yield error


def _event(item: Any) -> dict[str, Any]:
    if isinstance(item, SseDone):
        return {"kind": "done"}
    kind, message = ("error", item.error) if isinstance(item, SseError) else ("message", item.message)
    wire, snake = _base64(message.SerializeToString()), to_json(message).decode()
    return {"kind": kind, "id": item.id, "event": item.event, "wire": wire, "snake": snake}


def fill_program(case: Case) -> Case:
    """Return a message that a program made, with its JSON texts, what is wrong with it and what is lost."""
    message = message_type(case)()
    if "wire" in case:
        message.ParseFromString(base64.b64decode(case["wire"]))
    else:
        text_format.Parse(case["text"], message)
    before = losses()
    snake, error = _written(message, "snake")
    lost = [place for place, count in losses().items() if count > before.get(place, 0)]
    return {
        **{key: case[key] for key in ("name", "rule", "type")},
        "text": _text(message),
        "wire": case.get("wire", _base64(message.SerializeToString())),
        "snake": snake,
        "camel": _written(message, "camel")[0],
        "error": error,
        "violations": violations_of(check(message)),
        "lost": [{"message": name, "field": number} for name, number in sorted(lost)],
        "request_reason": _request_reason(message) if case["type"].endswith("Request") else None,
    }


def _written(message: Message, names: Any) -> tuple[str | None, dict[str, str] | None]:
    try:
        return to_json(message, names=names).decode(), None
    except EncodeError as error:
        return None, {"path": error.path, "reason": str(error.reason)}


def _request_reason(message: Message) -> str | None:
    try:
        check_request(message)
    except MistralwireError as error:
        return str(error.reason)
    return None


FILLERS: dict[str, Callable[[Case], Case]] = {
    "documents": fill_document,
    "refused": fill_refused,
    "streams": fill_stream,
    "programs": fill_program,
}
"""What makes the rest of a case, by the name of its file."""


def load(name: str) -> list[Case]:
    """Return the cases of a file of vectors."""
    cases: list[Case] = json.loads((FOLDER / f"{name}.json").read_text())["cases"]
    return cases


def filled(name: str) -> str:
    """Return what the file of that name should hold."""
    cases = [FILLERS[name](case) for case in load(name)]
    return json.dumps({"cases": cases}, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    for name in FILLERS:
        (FOLDER / f"{name}.json").write_text(filled(name))


if __name__ == "__main__":
    main()
