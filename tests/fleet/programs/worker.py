"""Does what lines of JSON on standard input say, and answers each with a line: a process of one contract.

A line is `[name, arguments]`; bytes are Latin-1 text in both directions. The answer has a `result`, an
`error` with the attributes of a package's error, or a `failure` with the stack of any other. Whatever is
logged comes in `logs` with the next answer.
"""

import json
import logging
import sys
import traceback
from typing import Any

import grpc
from google.protobuf import text_format
from google.rpc import error_details_pb2, status_pb2

import mistralwire
from mistralwire import codec, v1
from mistralwire.client import SyncClient
from mistralwire.v1.chat_completion_service_pb2 import ChatCompletionStreamResponse
from mistralwire.v1.chat_completion_service_pb2_grpc import ChatCompletionServiceStub

Json = dict[str, Any]

_logs: list[str] = []
_clients: dict[tuple[str, int], SyncClient] = {}
_stubs: dict[str, ChatCompletionServiceStub] = {}
DEADLINE_S = 60


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        _logs.append(record.getMessage())


def revision() -> int:
    return v1.CONTRACT_REVISION


def to_binary(kind: str, text: str, **options: Any) -> str:
    return codec.json_to_binary(_type(kind), text, **options).decode("latin-1")


def to_json(kind: str, data: str) -> str:
    return codec.binary_to_json(_type(kind), data.encode("latin-1")).decode()


def relay(kind: str, data: str) -> str:
    """Parse and serialize, and nothing else."""
    return _written(_parsed(kind, data))


def lower(kind: str, data: str, revision: int) -> str:
    return _written(codec.lower(_parsed(kind, data), revision))


def lift(kind: str, data: str) -> str:
    """Show what a program gets to see of bytes that arrived."""
    return _shown(codec.lift(_parsed(kind, data)))


def show(kind: str, data: str) -> str:
    return _shown(_parsed(kind, data))


def batch(data: str) -> list[str]:
    """Read a stored message of a stream, and return its chunks as JSON."""
    message = ChatCompletionStreamResponse.FromString(data.encode("latin-1"))
    return [codec.to_json(codec.lift(chunk)).decode() for chunk in message.chunks]


def losses() -> list[list[Any]]:
    return [[*place, count] for place, count in sorted(mistralwire.losses().items())]


def complete(target: str, text: str, *, kind: str = "ChatCompletion", revision: int = 1) -> Json:
    """Call a service with the client, and say what comes back: as JSON, and as the program sees it."""
    response = _client(target, revision).complete(_built(f"{kind}Request", text))
    return {"json": codec.to_json(response).decode(), "seen": _shown(response)}


def stream(target: str, text: str, *, kind: str = "ChatCompletion", revision: int = 1) -> list[Json]:
    chunks = _client(target, revision).stream(_built(f"{kind}StreamRequest", text))
    return [{"json": codec.to_json(chunk).decode(), "seen": _shown(chunk)} for chunk in chunks]


def batches(target: str, text: str) -> list[str]:
    """Call for a stream in order to store it, and return the bytes of each message."""
    found = _client(target, 1).stream_batches(_built("ChatCompletionStreamRequest", text))
    return [batch.data.decode("latin-1") for batch in found]


def publish(target: str, response_id: str, texts: list[str], *, revision: int = 1) -> int:
    """Publish a response; return how many events of it are stored."""
    with _client(target, revision).publish(response_id) as publisher:
        for text in texts:
            publisher.send(_built("CompletionChunk", text))
    return publisher.acknowledged_sequence


def follow(target: str, response_id: str) -> list[Json]:
    events = _client(target, 1).subscribe(response_id)
    return [
        {"json": codec.to_json(event.message).decode(), "seen": _shown(event.message)} for event in events
    ]


def stub(target: str, text: str, metadata: list[list[str]] = []) -> Json:  # noqa: B006 - never changed
    """Call with the generated stub alone, the request with all that this contract knows in its fields."""
    call = _stub(target).ChatCompletion.with_call
    pairs = tuple((name, value) for name, value in metadata)
    request = _built("ChatCompletionRequest", text)
    response, ended = call(request, timeout=DEADLINE_S, metadata=pairs)
    trailing = {name: value for name, value in ended.trailing_metadata() if isinstance(value, str)}
    return {
        "json": codec.to_json(response).decode(),
        "seen": _shown(response),
        "trailing": trailing,
    }


def _type(kind: str) -> Any:
    return getattr(v1, kind)


def _parsed(kind: str, data: str) -> Any:
    return _type(kind).FromString(data.encode("latin-1"))


def _written(message: Any) -> str:
    data: bytes = message.SerializeToString()
    return data.decode("latin-1")


def _built(kind: str, text: str) -> Any:
    return codec.from_json(_type(kind), text, validate=False)


def _shown(message: Any) -> str:
    return str(text_format.MessageToString(message, as_one_line=True, as_utf8=True))


def _client(target: str, revision: int) -> SyncClient:
    key = target, revision
    if key not in _clients:
        _clients[key] = SyncClient(target, contract_revision=revision, attempts_max=1, deadline_s=DEADLINE_S)
    return _clients[key]


def _stub(target: str) -> ChatCompletionServiceStub:
    if target not in _stubs:
        _stubs[target] = ChatCompletionServiceStub(grpc.insecure_channel(target))
    return _stubs[target]


def _described(error: Any) -> Json:
    if isinstance(error, mistralwire.MistralwireError):
        metadata = getattr(error, "metadata", {})
        return {"code": error.code, "reason": error.reason, "message": error.message, "metadata": metadata}
    trailing = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return {
        "code": error.code().name,
        "reason": info.reason,
        "message": error.details(),
        "metadata": dict(info.metadata),
        "trailing": {name: value for name, value in trailing.items() if isinstance(value, str)},
    }


_COMMANDS = (
    *(revision, to_binary, to_json, relay, lower, lift, show, batch, losses, complete, stream, batches, stub),
    *(publish, follow),
)


def main() -> None:
    logging.basicConfig(level=logging.WARNING, handlers=[_Handler()])
    commands = {command.__name__: command for command in _COMMANDS}
    for line in sys.stdin:
        name, arguments = json.loads(line)
        answer: Json = {}
        try:
            answer["result"] = commands[name](**arguments)
        except (mistralwire.MistralwireError, grpc.RpcError) as error:
            answer["error"] = _described(error)
        except Exception:  # noqa: BLE001 - it is told
            answer["failure"] = traceback.format_exc()
        answer["logs"] = _logs[:]
        _logs.clear()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
