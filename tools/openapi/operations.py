"""The gateway's routes as OpenAPI path items: parameters, requests and responses."""

from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from mistralwire.gateway._routes import VERTEX_PATH
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
)
from tools.openapi.schema import Schema, reference

Object = dict[str, Any]

JSON = "application/json"
ERROR_BODY = "ErrorBody"
"""Name of the schema of error bodies."""

ERRORS = {
    "400": "The gateway or the upstream refused the request as invalid.",
    "401": "The key is missing or unknown to the gateway.",
    "403": "The request comes from a web page whose origin is not allowed.",
    "404": "What was requested does not exist, such as the model, the agent or the stored response.",
    "408": "The body took too long to arrive, at the gateway or the upstream.",
    "409": "The request conflicts with what there is, such as a stored response of the same id.",
    "413": "The body is too large for the gateway or the upstream.",
    "415": "The body is compressed, or the upstream does not support its content type.",
    "422": "The request is not JSON, or breaks the contract; the body lists each violation.",
    "424": "Something that the upstream needs for this request failed.",
    "429": "Too many requests for the gateway, the service or the upstream.",
    "451": "The upstream refused the request for legal reasons.",
    "499": "Somebody else has cancelled the stored response.",
    "500": "The gateway or the service is misconfigured, or has an internal error.",
    "501": "The upstream does not support the call.",
    "503": "The upstream or the service failed or is overloaded.",
    "504": "The answer took too long.",
}
"""The description of each error status of a completion."""

_MODEL_ERRORS = ("401", "403", "429", "500", "503", "504")
EVENT_STREAM = "text/event-stream"
"""Media type of server-sent events."""

REQUEST_ID: Object = {"$ref": "#/components/parameters/RequestId"}
"""The parameter with the id of a request."""

RESPONSE_PARAMETERS = ("IdempotencyKey", "OnDisconnect", "ChosenResponseId")
"""Names of the parameters of a completion whose response is stored."""

_STREAM = (
    "Server-sent events. Each has an `id`, counted from 0, or `{response_id}.{number}`, counted from 1, if "
    "the response is stored. Its `data` is one chunk. The data of the last one is `[DONE]`. If the stream "
    "breaks off after its first chunk, the last event is an error body instead, without a `[DONE]`. During "
    "pauses, comment lines are sent as heartbeats; ignore them."
)
_ANSWER: Object = {
    "id": "cmpl-2f6c",
    "object": "chat.completion",
    "created": 1789000000,
    "model": "mistral-small-latest",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!", "tool_calls": None},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
}
_CHUNKS = (
    'id: 0\ndata: {"id":"cmpl-2f6c","object":"chat.completion.chunk","created":1789000000,'
    '"model":"mistral-small-latest","choices":[{"index":0,"delta":{"role":"assistant","content":"Hello"},'
    '"finish_reason":null}]}\n\n'
    'id: 1\ndata: {"id":"cmpl-2f6c","object":"chat.completion.chunk","created":1789000000,'
    '"model":"mistral-small-latest","choices":[{"index":0,"delta":{"content":"!"},"finish_reason":"stop"}],'
    '"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
    "data: [DONE]\n\n"
)
_WHICH = "A request with `messages` is a chat request, one with a `prompt` a fill-in-the-middle request."
_QUESTION: Object = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "Say hello."}]}
_GAP: Object = {"model": "codestral-latest", "prompt": "def add(a, b):\n", "suffix": "\n    return total"}
_TASK: Object = {"agent_id": "ag_0123456789abcdef", "messages": _QUESTION["messages"]}
_CHAT_OR_GAP: Mapping[str, Object] = {"chat": _QUESTION, "middle": _GAP}


def completion_paths() -> Object:
    """Return the paths of completions, as in Mistral's API."""
    chat = _completion(
        "createChatCompletion",
        (
            "Continue a conversation",
            "Returns one response or, if `stream` is true, a stream of chunks.",
        ),
        [ChatCompletionRequest],
        _answers(ChatCompletionResponse, is_stream=True),
        {"answer": _QUESTION, "stream": {**_QUESTION, "stream": True}},
    )
    fim = _completion(
        "createFIMCompletion",
        (
            "Fill in the middle",
            "Returns the text between `prompt` and `suffix`, as one response or, if `stream` is true, as a "
            "stream of chunks.",
        ),
        [FIMCompletionRequest],
        _answers(FIMCompletionResponse, is_stream=True),
        {"answer": _GAP, "stream": {**_GAP, "stream": True}},
    )
    agents = _completion(
        "createAgentsCompletion",
        ("Ask an agent", "Returns one response or, if `stream` is true, a stream of chunks."),
        [AgentsCompletionRequest],
        _answers(ChatCompletionResponse, is_stream=True),
        {"answer": _TASK, "stream": {**_TASK, "stream": True}},
    )
    operations = {"chat": chat, "fim": fim, "agents": agents}
    return {f"/v1/{kind}/completions": {"post": operation} for kind, operation in operations.items()}


def vertex_paths() -> Object:
    """Return the paths of completions, as in Vertex AI."""
    requests = [ChatCompletionRequest, FIMCompletionRequest]
    whole = _completion(
        "rawPredict",
        ("Complete with one response", f"{_WHICH} The answer is never a stream; `stream` is ignored."),
        requests,
        _answers(ChatCompletionResponse, FIMCompletionResponse),
        _CHAT_OR_GAP,
    )
    stream = _completion(
        "streamRawPredict",
        ("Complete with a stream", f"{_WHICH} The answer is always a stream; `stream` is ignored."),
        requests,
        _answers(is_stream=True),
        _CHAT_OR_GAP,
    )
    parameters = [
        path_parameter("project", "Google Cloud project; any is accepted.", "my-project"),
        path_parameter("location", "Region; any is accepted.", "europe-west4"),
        path_parameter("publisher", "Publisher of the model; any is accepted.", "mistralai"),
        path_parameter(
            "model",
            "The model, perhaps with a version, as in `codestral@2405`. The body's `model` decides; if it "
            "has no version, the version is taken from here.",
            "mistral-small",
        ),
    ]
    return {
        f"{VERTEX_PATH}:rawPredict": {"parameters": parameters, "post": {**whole, "tags": ["vertex"]}},
        f"{VERTEX_PATH}:streamRawPredict": {"parameters": parameters, "post": {**stream, "tags": ["vertex"]}},
    }


def gateway_paths() -> Object:
    """Return the paths that describe the gateway itself."""
    status, text = reference("Status"), {"type": "string"}
    models = _about("listModels", "List the models", content("The models.", reference("ModelList")))
    models["description"] = (
        "The models that the gateway's settings name and, for patterns with wildcards, the matching models "
        "that the upstreams list."
    )
    model = _about("retrieveModel", "Describe a model", content("The model.", reference("Model")))
    model["description"] = "Finds the model by its id or by an alias."
    model["parameters"] = [
        path_parameter("model", "Id of the model; a slash in it may be escaped.", "mistral-small-latest")
    ]
    for operation in (models, model):
        operation["security"] = KEY_OR_NONE
        operation["responses"] |= error_answers(_MODEL_ERRORS)
    model["responses"] |= error_answers(["404"])
    ready = _about("checkReadiness", "Check readiness", content("Requests can be answered.", status))
    ready["responses"]["503"] = content("Requests can't be answered; the status names the cause.", status)
    metrics = _about(
        "getMetrics", "Get the metrics for Prometheus", content("The metrics.", text, "text/plain")
    )
    metrics["description"] = "This route exists only if the gateway was started with `--metrics`."
    operations = {
        "/v1/models": models,
        "/v1/models/{model}": model,
        "/healthz": _about("checkLiveness", "Check liveness", content("The gateway is alive.", status)),
        "/readyz": ready,
        "/metrics": metrics,
        "/openapi.json": _about(
            "getDocument", "Get this document", content("The OpenAPI document.", {"type": "object"})
        ),
        "/docs": _about("getDocs", "Get this document as a page", content("A page.", text, "text/html")),
    }
    return {path: {"get": operation} for path, operation in operations.items()}


def content(description: str, schema: Schema, media_type: str = JSON) -> Object:
    """Return an answer of one media type.

    Args:
        description: Its description.
        schema: Its body.
        media_type: The type of the body.
    """
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _completion(
    name: str,
    texts: tuple[str, str],
    requests: list[type[Message]],
    answers: Object,
    examples: Mapping[str, Object],
) -> Object:
    summary, description = texts
    body = {
        "schema": _any_of(requests),
        "examples": {title: {"value": value} for title, value in examples.items()},
    }
    answer = {
        "description": "The answer.",
        "headers": {
            "x-request-id": {"$ref": "#/components/headers/RequestId"},
            "x-mistralwire-response-id": {"$ref": "#/components/headers/ResponseId"},
        },
        "content": answers,
    }
    return {
        "operationId": name,
        "tags": ["completions"],
        "summary": summary,
        "description": description,
        "security": KEY_OR_NONE,
        "parameters": [
            REQUEST_ID,
            *({"$ref": f"#/components/parameters/{each}"} for each in RESPONSE_PARAMETERS),
        ],
        "requestBody": {"required": True, "content": {JSON: body}},
        "responses": {"200": answer, **error_answers(ERRORS)},
    }


def _answers(*types: type[Message], is_stream: bool = False) -> Object:
    answers: Object = {JSON: {"schema": _any_of(types), "example": _ANSWER}} if types else {}
    if is_stream:
        chunk_or_error = [reference(CompletionChunk.DESCRIPTOR.name), reference(ERROR_BODY)]
        schema = {"description": _STREAM, "anyOf": chunk_or_error}
        answers[EVENT_STREAM] = {"schema": schema, "example": _CHUNKS}
    return answers


def _any_of(types: Iterable[type[Message]]) -> Schema:
    references = [reference(each.DESCRIPTOR.name) for each in types]
    return references[0] if len(references) == 1 else {"anyOf": references}


def _about(name: str, summary: str, answer: Object) -> Object:
    return {
        "operationId": name,
        "tags": ["gateway"],
        "summary": summary,
        "security": [],
        "responses": {"200": answer},
    }


def error_answers(statuses: Iterable[str]) -> Object:
    return {status: {"$ref": f"#/components/responses/Error{status}"} for status in statuses}


def path_parameter(name: str, description: str, example: str) -> Object:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


KEY_OR_NONE: list[Object] = [{"key": []}, {}]
"""The security of a route that needs a key if the gateway has keys."""
