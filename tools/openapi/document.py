"""The OpenAPI document of the gateway, its types from the contract.

Source: https://spec.openapis.org/oas/v3.1.0
"""

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
    Object,
    completion_paths,
    content,
    gateway_paths,
    vertex_paths,
)
from tools.openapi.schema import Schema, message_schemas, reference

_ABOUT = """\
Chat, fill-in-the-middle and agents completions over HTTP, with Protobuf and gRPC inside.

Members that are not documented here are passed on as they are, in requests and in answers, and so are \
strings outside an enum and objects with another `type` or `role`. Null counts as absent wherever a member \
may be absent. What an upstream answers is passed on even where it is not as documented.

Requests of further routes are passed on to an upstream as they are, and its answers back: those of the \
setting `passthrough_paths`, where the gateway has such an upstream. By default these are \
{passthrough}.

A key is needed only where the gateway was given keys; it is sent as a bearer token."""

_TYPES = (
    *(ChatCompletionRequest, ChatCompletionResponse, FIMCompletionRequest, FIMCompletionResponse),
    *(AgentsCompletionRequest, CompletionChunk, ValidationError),
)
_RETRY_STATUSES = ("429", "503")
_ERROR_MEMBER = "Error"
_ERROR_BODY_DESCRIPTION = (
    "The body of an error answer, or of an error event in a stream: one for the clients of Mistral's API and "
    "for those of OpenAI's."
)


def openapi_document(contract: Contract, version: str) -> Object:
    """Make the document.

    Args:
        contract: The contract, with its comments.
        version: The version of the package.

    Returns:
        An OpenAPI 3.1.0 document, as JSON has it, with every route that a gateway may have.
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
            {"name": "completions", "description": "Completions, as the API has them."},
            {"name": "vertex", "description": "Completions, as Vertex AI has them."},
            {"name": "gateway", "description": "Status and documentation of the gateway itself."},
        ],
        "paths": {**completion_paths(), **vertex_paths(), **gateway_paths()},
        "components": {
            "schemas": dict(sorted({**message_schemas(contract, _TYPES), **_own_schemas()}.items())),
            "responses": {f"Error{status}": _error(status) for status in ERRORS},
            "parameters": {"RequestId": _request_id()},
            "headers": _headers(),
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
        "description": "The caller's own id of the request. The gateway makes one where there is none, or "
        "none that fits.",
        "schema": {"type": "string", "pattern": f"^{REQUEST_ID_PATTERN.pattern}$"},
    }


def _headers() -> Object:
    return {
        "RequestId": {
            "description": "The id of the request, which the logs of gateway and service have too.",
            "schema": {"type": "string"},
        },
        "RetryAfter": {
            "description": "Seconds to wait before a retry, where that is known.",
            "schema": {"type": "integer", "minimum": 0},
        },
    }


def _own_schemas() -> dict[str, Schema]:
    """Return the schemas of what is not in the contract."""
    text = {"type": "string"}
    model = {
        "id": {**text, "description": "Name of the model."},
        "object": {**text, "const": "model", "description": "Kind of the object."},
        "created": {"type": "integer", "description": "Time as seconds since 1970; 0 if it is not known."},
        "owned_by": {**text, "description": "Who the model is from."},
        "type": {**text, "description": "Kind of the model, such as base."},
        "capabilities": {"type": "object", "description": "What it can do; empty if it is not known."},
    }
    models = {
        "object": {**text, "const": "list", "description": "Kind of the object."},
        "data": {"type": "array", "items": reference("Model"), "description": "The models."},
    }
    status = {"status": {**text, "description": "The state, for people."}}
    error = {
        "message": {**text, "description": "What was expected, what was found and what to do, for people."},
        "type": {**text, "description": "What happened, for programs; the upstream's own word, if any."},
        "param": {"type": ["string", "null"], "description": "Member of the request that is at fault."},
        "code": {"type": ["string", "integer", "null"], "description": "The upstream's own code, if any."},
    }
    violations = {"type": "array", "items": reference(ValidationError.DESCRIPTOR.name)}
    body = {
        "object": {**text, "const": "error", "description": "Kind of the object."},
        **error,
        "detail": {
            "anyOf": [text, violations],
            "description": "The message once more; with 422 the violations, each with its place.",
        },
        "error": {
            **reference(_ERROR_MEMBER),
            "description": "The error once more, where others look for it.",
        },
    }
    return {
        ERROR_BODY: _record(_ERROR_BODY_DESCRIPTION, body),
        _ERROR_MEMBER: _record("The error, as clients of OpenAI's API read it.", error),
        "Model": _record("One model. What an upstream lists is passed on, with further members.", model),
        "ModelList": _record("The models of the gateway.", models),
        "Status": _record("Whether all is well.", status),
    }


def _record(description: str, properties: Object) -> Schema:
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": True,
    }
