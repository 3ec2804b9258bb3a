"""The error reasons of the contract: their comments state what the code does, and the code has no others."""

import ast
import pathlib
import re
from http import HTTPStatus

import grpc
import pytest
from google.protobuf import descriptor_pb2

import mistralwire
from mistralwire.errors import DecodeError, EncodeError, OverloadError, Reason, UpstreamError
from mistralwire.upstream import http_status
from mistralwire.upstream._error_table import FAULTS, Fault
from mistralwire.v1 import ErrorReason
from tests.cases import each_case

ROOT = pathlib.Path(mistralwire.__file__).parent
CODES = {code.name for code in grpc.StatusCode}
PROMISE = re.compile(r"\b([A-Z_]+), HTTP (\d{3})\. \S")
# What the gateway refuses by itself has a status of HTTP's own (RFC 9110).
EDGE_STATUSES = {
    Reason.CALLER_SILENT: 408,
    Reason.NO_SUCH_ROUTE: 404,
    Reason.METHOD_NOT_ALLOWED: 405,
    Reason.BODY_TOO_LARGE: 413,
    Reason.EVENT_TOO_LARGE: 413,
    Reason.UNSUPPORTED_ENCODING: 415,
    Reason.ORIGIN_NOT_ALLOWED: 403,
    Reason.IDEMPOTENCY_KEY_REUSED: 422,
    Reason.NO_RESPONSE_LOG: 404,
    Reason.RESPONSE_ENDED: 409,
    Reason.RESPONSE_RUNNING: 409,
}
# A request with violations is 422, as the API answers.
VIOLATIONS = {
    *(Reason.CONTRACT_VIOLATION, Reason.NOT_JSON, Reason.NOT_PROTOBUF, Reason.LIMIT_EXCEEDED),
    *(Reason.NO_JSON_FORM, Reason.DATA_AFTER_DONE),
}


def _comments() -> dict[str, str]:
    files = descriptor_pb2.FileDescriptorSet.FromString((ROOT / "v1" / "descriptor_set.binpb").read_bytes())
    (file,) = (file for file in files.file if file.name.endswith("/error_reason.proto"))
    places = {tuple(place.path): place.leading_comments for place in file.source_code_info.location}
    return {
        value.name.removeprefix("ERROR_REASON_"): " ".join(places[5, 0, 2, index].split())
        for index, value in enumerate(file.enum_type[0].value)
        if value.number
    }


COMMENTS = _comments()


def _promise(reason: str) -> tuple[str, int]:
    ((code, status),) = PROMISE.findall(COMMENTS[reason])
    return code, int(status)


def _strings(path: pathlib.Path) -> list[str]:
    """Return the string constants of a module that are no names of gRPC's status codes."""
    nodes = ast.walk(ast.parse(path.read_text()))
    values = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [value for value in values if value not in CODES]


def test_reasons_are_the_values_of_the_enum_without_their_prefix() -> None:
    names = [value.name.removeprefix("ERROR_REASON_") for value in ErrorReason.DESCRIPTOR.values]
    assert names == ["UNSPECIFIED", *Reason]


@pytest.mark.slow
def test_no_module_has_a_reason_as_a_bare_string() -> None:
    bare = {
        str(path.relative_to(ROOT)): found
        for path in sorted(ROOT.rglob("*.py"))
        if path.parent.name != "v1" and (found := [value for value in _strings(path) if value in set(Reason)])
    }
    assert bare == {}


def test_every_reason_is_given_somewhere() -> None:
    text = "\n".join(path.read_text() for path in sorted(ROOT.rglob("*.py")) if path.parent.name != "v1")
    settings = {name.upper() for name in re.findall(r"(?:file_error|read_file)\(\"(\w+)\"", text)}
    assert set(re.findall(r"\bReason\.([A-Z_]+)", text)) | settings == set(Reason)


@each_case("reason", Reason)
def test_a_comment_has_the_code_and_its_http_status(reason: Reason) -> None:
    code, status = _promise(reason)

    assert code in CODES
    assert status in set(HTTPStatus) | {499}
    expected = 422 if reason in VIOLATIONS else EDGE_STATUSES.get(reason, http_status(code))
    assert status == expected


@each_case("fault", FAULTS, ids=lambda fault: fault.reason)
def test_an_upstreams_fault_has_the_code_and_the_status_of_the_table(fault: Fault) -> None:
    assert _promise(fault.reason) == (fault.code, http_status(fault.code))


def _raised() -> set[tuple[str, str]]:
    """Return the reasons that errors are made with in the source, each with its status code."""
    codes = {kind.__name__: kind.code for kind in (DecodeError, EncodeError, OverloadError, UpstreamError)}
    # The edge's own errors have an HTTP status, and their code is nobody's.
    codes |= {"MistralwireError": "INTERNAL"}
    found = set()
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            words = {word.arg: word.value for word in node.keywords}
            match words.get("reason"), words.get("code", ast.Constant(codes.get(node.func.id))):
                case ast.Attribute(value=ast.Name(id="Reason"), attr=reason), ast.Constant(value=str(code)):
                    found.add((reason, code))
    return found


@pytest.mark.slow
def test_errors_are_made_with_a_code_that_the_comment_of_their_reason_has() -> None:
    raised = _raised()
    assert len(raised) > 30
    undocumented = {
        (reason, code) for reason, code in raised if not re.search(rf"\b{code}\b", COMMENTS[reason])
    }
    assert undocumented == set()
