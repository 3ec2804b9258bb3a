"""The gateway's OpenAPI document, with types from the contract.

Source: https://spec.openapis.org/oas/v3.1.0
"""

import itertools

from mistralwire.errors import REQUEST_ID_PATTERN
from mistralwire.gateway._config import PASSTHROUGH_PATHS
from mistralwire.v1 import (
    AgentsCompletionRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    CompletionChunk,
    FIMCompletionRequest,
    FIMCompletionResponse,
    ValidationError,
)
from tools.generate.contract import Contract
from tools.openapi.operations import (
    ERROR_BODY,
    ERRORS,
    RESPONSE_PARAMETERS,
    Object,
    completion_paths,
    content,
    gateway_paths,
    vertex_paths,
)
from tools.openapi.responses import response_headers, response_paths, response_schemas
from tools.openapi.schema import Schema, message_schemas, record, reference
from tools.openapi.streams import stream_paths

_ABOUT = """\
Chat, fill-in-the-middle and agents completions over HTTP, carried internally as Protobuf over gRPC.

Members that are not documented here are forwarded unchanged, in requests and in answers, and so are \
strings that an enum does not list and objects with another `type` or `role`. Where a member may be absent, \
null counts as absent. An upstream's answers are forwarded even if they do not match this documentation.

Some further routes are forwarded unread to an upstream, if the gateway has one that serves them: those of \
the setting `passthrough_paths`. By default these are {passthrough}. With the setting `openai` there are \
OpenAI-compatible routes at `/openai/v1` too.

A key is needed only if the gateway has a token file. Send it as a bearer token."""

_TYPES = (
    *(ChatCompletionRequest, ChatCompletionResponse, FIMCompletionRequest, FIMCompletionResponse),
    *(AgentsCompletionRequest, CompletionChunk, ValidationError),
)
_RETRY_STATUSES = ("429", "503")
_ERROR_MEMBER = "Error"
_ERROR_BODY_DESCRIPTION = (
    "The body of an error answer, or the data of an error event in a stream. Clients of both Mistral's and "
    "OpenAI's API understand it."
)


def openapi_document(contract: Contract, version: str) -> Object:
    """Make the document.

    Args:
        contract: The contract, with its comments.
        version: The version of the package.

    Returns:
        An OpenAPI 3.1.0 document, as a JSON object, with every route in the format of Mistral's API.
    """
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mistralwire gateway",
            "version": version,
            "description": _ABOUT.replace(
                "{passthrough}", ", ".join(f"`{path}`" for path in PASSTHROUGH_PATHS)
            ),
            "license": {"name": "Apache License 2.0", "identifier": "Apache-2.0"},
        },
        "tags": [
            {"name": "completions", "description": "Completions, as in Mistral's API."},
            {
                "name": "responses",
                "description": "Stored responses, to be read, followed, resumed and cancelled. Without "
                "`--data` or `--log` there are none, and these routes answer with 404.",
            },
            {
                "name": "streams",
                "description": "Durable streams that callers name, by the open protocol of that name. "
                "Without `--data` or `--log` there are none, and these routes answer with 404.",
            },
            {"name": "vertex", "description": "Completions, as in Vertex AI."},
            {"name": "gateway", "description": "Models, status, metrics and documentation of the gateway."},
        ],
        "paths": _merged(
            completion_paths(), response_paths(), stream_paths(), vertex_paths(), gateway_paths()
        ),
        "components": {
            "schemas": dict(
                sorted({**message_schemas(contract, _TYPES), **_own_schemas(), **response_schemas()}.items())
            ),
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "parameters": {"RequestId": _request_id(), **_response_parameters()},
            "headers": {**_headers(), **response_headers()},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _error(status: str) -> Object:
    response = content(ERRORS[status], reference(ERROR_BODY))
    if status in _RETRY_STATUSES:
        response["headers"] = {"retry-after": {"$ref": "#/components/headers/RetryAfter"}}
    return response


def _request_id() -> Object:
    return {
        "name": "x-request-id",
        "in": "header",
        "description": "The caller's own id for the request. If it is absent or does not match the pattern, "
        "the gateway creates one.",
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID_PATTERN.pattern}$"},
    }


def _response_parameters() -> Object:
    def header(name: str, description: str) -> Object:
        text = {"type": "string", "minLength": 1, "maxLength": 255}
        return {"name": name, "in": "header", "description": description, "schema": text}

    ids, disconnect, own = RESPONSE_PARAMETERS
    return {
        ids: header(
            "idempotency-key",
            "If responses are stored: the same request with the same key again joins the first response, and "
            "never asks the model.",
        ),
        disconnect: header(
            "x-mistralwire-on-disconnect",
            "If responses are stored: what happens to it when the caller hangs up: `cancel`, `finish`, or "
            "`keep 30` for a time in seconds.",
        ),
        own: header(
            "x-mistralwire-response-id",
            "If responses are stored: the id for this one, up to 128 letters, digits, - and _, best random.",
        ),
    }


def _headers() -> Object:
    return {
        "RequestId": {
            "description": "The id of the request, which is also in the logs of gateway and service.",
            "schema": {"type": "string"},
        },
        "RetryAfter": {
            "description": "Seconds to wait before a retry, if known.",
            "schema": {"type": "integer", "minimum": 0},
        },
    }


def _own_schemas() -> dict[str, Schema]:
    """Return the schemas of what is not in the contract."""
    text = {"type": "string"}
    model = {
        "id": {**text, "description": "Name of the model."},
        "object": {**text, "const": "model", "description": "Kind of the object."},
        "created": {"type": "integer", "description": "Unix time in seconds; 0 if unknown."},
        "owned_by": {**text, "description": "Owner of the model."},
        "type": {**text, "description": "Kind of the model, such as base."},
        "capabilities": {"type": "object", "description": "What the model can do; empty if unknown."},
    }
    models = {
        "object": {**text, "const": "list", "description": "Kind of the object."},
        "data": {"type": "array", "items": reference("Model"), "description": "The models."},
    }
    status = {"status": {**text, "description": "The state, as text for people."}}
    error = {
        "message": {**text, "description": "What was expected, what was found and what to do, for people."},
        "type": {**text, "description": "Kind of the error, for programs: the upstream's own type, if any."},
        "param": {"type": ["string", "null"], "description": "The request's member that caused the error."},
        "code": {"type": ["string", "integer", "null"], "description": "The upstream's own code, if any."},
    }
    violations = {"type": "array", "items": reference(ValidationError.DESCRIPTOR.name)}
    body = {
        "object": {**text, "const": "error", "description": "Kind of the object."},
        **error,
        "detail": {
            "anyOf": [text, violations],
            "description": "The message again; with 422 the violations, each with its path.",
        },
        "error": {
            **reference(_ERROR_MEMBER),
            "description": "The error again, where clients of OpenAI's API expect it.",
        },
    }
    return {
        ERROR_BODY: record(_ERROR_BODY_DESCRIPTION, body),
        _ERROR_MEMBER: record("The error, as clients of OpenAI's API read it.", error),
        "Model": record("A model. Further members that an upstream lists are forwarded.", model),
        "ModelList": record("The gateway's models.", models),
        "Status": record("The state of the gateway.", status),
    }


def _merged(*paths: Object) -> Object:
    """Join paths; those that occur twice have other methods."""
    merged: Object = {}
    for path, item in itertools.chain.from_iterable(each.items() for each in paths):
        merged[path] = {**merged.get(path, {}), **item}
    return merged
