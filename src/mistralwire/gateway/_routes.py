"""The routes of completions, and what a request of each becomes."""

import dataclasses
import re
import urllib.parse
from typing import Any, NamedTuple

import httptools
from google.protobuf.message import Message
from starlette.routing import compile_path

from mistralwire.codec import Limits, from_json, json_to_binary, read_request
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)

VALUES_MAX = 100_000
"""JSON values in one request: as many as the service takes."""

VERTEX_PATH = "/v1/projects/{project}/locations/{location}/publishers/{publisher}/models/{model}"
"""What a path of Vertex AI begins with; then follows `:rawPredict` or `:streamRawPredict`."""

_LIMITS = Limits(values_max=VALUES_MAX)


class Kind(NamedTuple):
    """A kind of completion.

    Attributes:
        request: The type of its requests for an answer in one piece; what it is in JSON.
        stream_request: The type of those for a stream: the same fields under the same numbers.
        response: The type of its answers in one piece.
    """

    request: type[Any]
    stream_request: type[Message]
    response: type[Message]


_CHAT = Kind(ChatCompletionRequest, ChatCompletionStreamRequest, ChatCompletionResponse)
_FIM = Kind(FIMCompletionRequest, FIMCompletionStreamRequest, FIMCompletionResponse)
_AGENTS = Kind(AgentsCompletionRequest, AgentsCompletionStreamRequest, ChatCompletionResponse)


class Route(NamedTuple):
    """A route that answers completions.

    Attributes:
        name: What logs and metrics call it.
        path: Its path, as Starlette takes it.
        pattern: What matches the path, with the group `model` where it names one.
        kind: The kind of its completions; None to see from the body, as Vertex AI has it.
        is_stream: Whether its answers are streams; None to see from the body.
    """

    name: str
    path: str
    pattern: re.Pattern[str]
    kind: Kind | None
    is_stream: bool | None


def _route(path: str, kind: Kind | None, *, name: str = "", is_stream: bool | None = None) -> Route:
    return Route(name or path, path, compile_path(path)[0], kind, is_stream)


ROUTES = (
    _route("/v1/chat/completions", _CHAT),
    _route("/v1/fim/completions", _FIM),
    _route("/v1/agents/completions", _AGENTS),
    _route(f"{VERTEX_PATH}:rawPredict", None, name=":rawPredict", is_stream=False),
    _route(f"{VERTEX_PATH}:streamRawPredict", None, name=":streamRawPredict", is_stream=True),
)
"""All routes that answer completions, by POST."""

_BY_URL = {path.encode(): route for route in ROUTES for path in (route.path, f"{route.path}/")}


def find_route(url: bytes) -> tuple[Route, str] | None:
    """Find the route of a request target.

    Args:
        url: The target, as it stands in the request line; a slash at the end of its path does not count.

    Returns:
        The route and the model that the path names, which is empty where it names none; None if it is none
        of these routes.
    """
    if route := _BY_URL.get(url):
        return route, ""
    try:
        # A slash that is escaped belongs to a name.
        raw_path = (httptools.parse_url(url).path or b"").removesuffix(b"/")
        path = urllib.parse.unquote(raw_path.decode("ascii"))
    except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
        return None
    for route in ROUTES:
        if match := route.pattern.match(path):
            return route, match.groupdict().get("model", "")
    return None


@dataclasses.dataclass(slots=True)
class Call:
    """A request as the service takes it.

    Attributes:
        kind: What it is a request for.
        is_stream: Whether for a stream.
        wire: Its wire bytes.
        request: Its message, of the kind's type for an answer in one piece.
        model: The model that is asked for; empty if there is none.
        agent_id: The agent that is asked; empty if there is none.
    """

    kind: Kind
    is_stream: bool
    wire: bytes
    request: Message
    model: str
    agent_id: str


def read_call(route: Route, path_model: str, contract_revision: int, body: bytes) -> Call:
    """Read the body of a request. Whether it keeps the contract is for the service to check.

    Args:
        route: Its route.
        path_model: The model that the path names, or empty.
        contract_revision: Revision of the oldest contract among the services.
        body: The body.

    Raises:
        DecodeError: If the body is no JSON object, or beyond a limit.
    """
    kind = route.kind or _kind_of(body)
    wire = json_to_binary(
        kind.request, body, validate=False, limits=_LIMITS, contract_revision=contract_revision
    )
    request = kind.request.FromString(wire)
    # On Vertex AI the path alone has the version of some models: codestral@2405 for codestral.
    name, _, version = path_model.partition("@")
    if version and request.model == name:
        request.model = f"{name}-{version}"
        wire = request.SerializeToString()
    is_stream = request.stream if route.is_stream is None else route.is_stream
    # Requests to agents have no model, and no others have an agent.
    model, agent_id = ("", request.agent_id) if kind is _AGENTS else (request.model, "")
    return Call(kind, is_stream, wire, request, model, agent_id)


def check_body(kind: Kind, contract_revision: int, body: bytes) -> None:
    """Check a body that the service has refused: it neither sees the order of members nor lists as much.

    Args:
        kind: What it is a request for.
        contract_revision: Revision of the oldest contract in the fleet: what it accepts is accepted.
        body: The body.

    Raises:
        DecodeError: If it breaks the contract, with all violations.
    """
    read_request(kind.request, body, oldest_revision=contract_revision, limits=_LIMITS)


def _kind_of(body: bytes) -> Kind:
    """Find out which kind of request came where the path does not tell."""
    if from_json(ChatCompletionRequest, body, validate=False, limits=_LIMITS).messages:
        return _CHAT
    is_fim = from_json(FIMCompletionRequest, body, validate=False, limits=_LIMITS).HasField("prompt")
    return _FIM if is_fim else _CHAT
