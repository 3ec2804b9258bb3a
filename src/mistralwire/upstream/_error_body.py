"""Errors of upstreams: what an error body means, with its text and members that are safe to forward.

The others are for responses and streams that can't be read; they quote nothing of them.
"""

import itertools
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from mistralwire.codec import SseError, to_dict
from mistralwire.errors import DecodeError, EncodeError, Reason, UpstreamError, UpstreamViolation
from mistralwire.upstream._credentials import is_secret, redact
from mistralwire.upstream._error_table import ERROR_STATUSES, fault_of, is_hopeless
from mistralwire.v1 import ErrorResponse

LACKS_DONE = "the stream ended without [DONE], but each choice had a finish_reason; treated as complete"
"""Message for the log about a stream whose decoder `lacks_done`."""

MEMBERS_BYTES_MAX = 640
"""Bound on the forwarded members of an error body, as JSON text in bytes."""

_STATUS_TEXT = re.compile("[45][0-9]{2}")
_STATUS_NAMES = ("raw_status_code", "status_code", "statusCode", "status", "code")
_CODE_MAX = 10**64

_INPUT_CHARS_MAX = 4_000
_ERROR_TEXT_CHARS_MAX = 1_000
_TEXTS_MAX = 32
# As deep as the deepest known shape: error, message, detail, its items, msg.
_TEXT_DEPTH_MAX = 6
# Never `input` or `ctx` of a violation: they quote the request.
_TEXT_NAMES = ("message", "msg", "detail", "error")

_MEMBERS_MAX = 16
_ITEMS_MAX = 8
_MEMBER_DEPTH_MAX = 4
_MEMBER_NAME_CHARS_MAX = 64
_STRING_CHARS_MAX = 256
_MEMBER_INTEGER_BITS_MAX = 63
_MACHINE_READABLE = ("code", "type", "param")
# Texts and the shape, which are forwarded elsewhere; values of violations, which quote the request; and
# `choices`, which would turn the error into a chunk: clients skip one whose list is empty.
_LEFT_OUT = {*("message", "msg", "detail", "error", "object", "loc", "input", "ctx", "choices")}
_MEMBER_NAME = re.compile("[A-Za-z_][A-Za-z0-9_.-]*")
# An id looks like a key, but support of the upstream will ask for it.
_ID_NAME = re.compile("(?:[a-z0-9_.-]*[_.-])?id", re.IGNORECASE)
_ID_VALUE = re.compile("[A-Za-z0-9_.:-]{1,64}")

_VIOLATIONS_MAX = 32
_VIOLATION_TYPE = re.compile("[a-z][a-z0-9_.]{0,62}")
_PATH_STEPS_MAX = 16
_PATH_STEP = re.compile(r"[A-Za-z0-9_-]{1,64}")


def error_from_body(
    body: ErrorResponse, *, status: int | None = None, retry_after_s: float | None = None
) -> UpstreamError:
    """Convert an error body to an error.

    The HTTP status decides what the error means: that of the response, else one in the body. Without either,
    the body's own `code` and `type` decide.

    Args:
        body: The body of an error response or an error event, in any shape that is in use; an empty one for a
            response that is not JSON.
        status: HTTP status of the response; None to use the one in the body.
        retry_after_s: Seconds after which a retry makes sense, from the header Retry-After.

    Returns:
        The error, UNAVAILABLE where nothing is known. Its message is the upstream's own text, as one line of
        at most 1,000 characters, without anything that looks like a credential and without the values that
        violations quote. If the upstream refused the service itself, the message is ours, since the
        upstream's may quote the key. Other members of the body, and its violations, are kept within bounds.
    """
    try:
        document = to_dict(body)
    except EncodeError:
        # Built by a program, with text that JSON can't represent.
        document = {}
    inner = document.get("error")
    holders = [inner, document] if isinstance(inner, dict) else [document]
    if status not in ERROR_STATUSES:
        status = _status_in(holders) or status
    upstream_code, upstream_type = _word_in(holders, ("code",)), _word_in(holders, ("type", "status"))
    violations = violations_of(document)
    # A list of violations, as in the documented HTTPValidationError, means 422 even where no status says so.
    shape = "unprocessable_entity" if violations else None
    words = [word for word in (upstream_code, upstream_type, shape) if word]
    fault = fault_of(status, words)
    return UpstreamError(
        (error_text_of(document) if fault.is_quoted else "") or fault.text,
        status=status,
        code=fault.code,
        reason=fault.reason,
        upstream_code=upstream_code,
        upstream_type=upstream_type,
        upstream_param=_word_in(holders, ("param",)),
        retry_after_s=retry_after_s,
        violations=violations if fault.reason == Reason.UPSTREAM_INVALID_REQUEST else (),
        members=members_of(holders, is_quoted=fault.is_quoted),
        should_retry=not is_hopeless(fault.code, words),
    )


def stream_error(failure: SseError | DecodeError) -> UpstreamError:
    """Map what ended a stream to an error."""
    if isinstance(failure, SseError):
        return error_from_body(failure.error)
    if failure.reason == Reason.STREAM_TRUNCATED:
        return truncated_error("its end without it")
    if failure.reason == Reason.LIMIT_EXCEEDED:
        return too_large_error("the limits of an event")
    return unreadable_error("an event in its stream that is no chunk")


def truncated_error(found: str) -> UpstreamError:
    """Return the error for a stream that ends too early."""
    message = f"expected the stream to end with [DONE], found {found}"
    return UpstreamError(message, reason=Reason.STREAM_TRUNCATED)


def unreadable_error(
    found: str, status: int | None = None, *, expected: str = "a completion"
) -> UpstreamError:
    """Return the error for a response that can't be read."""
    message = f"expected {expected} from the upstream, found {found}"
    return UpstreamError(message, status=status, reason=Reason.UPSTREAM_UNREADABLE, should_retry=False)


def too_large_error(bound: str) -> UpstreamError:
    """Return the error for a response that exceeds a bound."""
    message = f"expected an answer of the upstream within {bound}, found a larger one"
    return UpstreamError(message, reason=Reason.UPSTREAM_ANSWER_TOO_LARGE, should_retry=False)


def _status_in(holders: list[dict[str, Any]]) -> int | None:
    for holder in reversed(holders):
        for value in map(holder.get, _STATUS_NAMES):
            if isinstance(value, str) and _STATUS_TEXT.fullmatch(value):
                return int(value)
            if type(value) is int and value in ERROR_STATUSES:
                return value
    return None


def _word_in(holders: list[dict[str, Any]], names: tuple[str, ...]) -> str | None:
    """Return the first of these members that is a machine-readable word and no key."""
    for holder in holders:
        for name in names:
            value = holder.get(name)
            # A number in `status` repeats the HTTP status and is no type.
            if name == "code" and type(value) is int and abs(value) < _CODE_MAX:
                return str(value)
            if isinstance(value, str) and value and not is_secret(value):
                return value
    return None


def error_text_of(document: dict[str, Any]) -> str:
    """Find the human-readable text in an error body, at any depth; empty if there is none.

    It is one line of at most 1,000 printable characters without anything that looks like a credential, with
    the paths of violations but not the values found there.
    """
    texts = itertools.islice(_texts_in(document, _TEXT_DEPTH_MAX), _TEXTS_MAX)
    return _redacted_line("; ".join(texts), _ERROR_TEXT_CHARS_MAX)


def _texts_in(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, str):
        if line := _one_line(value):
            yield line
    elif not depth:
        return
    elif isinstance(value, list):
        for item in value[:_TEXTS_MAX]:
            yield from _texts_in(item, depth - 1)
    elif isinstance(value, dict):
        path = _path_of(value.get("loc"))
        for name in _TEXT_NAMES:
            if texts := list(itertools.islice(_texts_in(value.get(name), depth - 1), _TEXTS_MAX)):
                yield from (f"{path}: {text}" for text in texts) if path else texts
                return


def _one_line(text: str) -> str:
    """Return a text as one line, cut at the end of a word: half a key does not look like one."""
    # One character more than the bound, to see whether there is more.
    start = "".join(c if c.isprintable() else " " for c in text[: _INPUT_CHARS_MAX + 1])
    if len(text) > _INPUT_CHARS_MAX:
        start = start.rpartition(" ")[0]
    return " ".join(start.split())


def _redacted_line(text: str, chars_max: int) -> str:
    line = redact(_one_line(text))
    return line if len(line) <= chars_max else f"{line[: chars_max - 3]}..."


def members_of(holders: Iterable[dict[str, Any]], *, is_quoted: bool) -> dict[str, Any]:
    """Return the members of an error body that are forwarded to the caller, as JSON values.

    They are at most 16 with at most 640 bytes of JSON text: code, type and param first, the others in their
    order. Strings are bounded and contain nothing that looks like a credential.

    Args:
        holders: The objects that have members, the inner one first.
        is_quoted: Whether all of them may be forwarded; otherwise only code, type and param, since the others
            may quote the service's credentials.
    """
    found: dict[str, Any] = {}
    for holder in holders:
        for name, value in holder.items():
            found.setdefault(name, value)
    names = [name for name in _MACHINE_READABLE if name in found]
    if is_quoted:
        names += [name for name in found if name not in (*_MACHINE_READABLE, *_LEFT_OUT)]
    members: dict[str, Any] = {}
    room = MEMBERS_BYTES_MAX
    for name in names:
        is_kept, value = _cleaned(name, found[name], _MEMBER_DEPTH_MAX)
        if not is_kept:
            continue
        room -= len(orjson.dumps({name: value}))
        if room < 0 or len(members) == _MEMBERS_MAX:
            break
        members[name] = value
    return members


def _cleaned(name: str, value: Any, depth: int) -> tuple[bool, Any]:
    """Return whether a value is kept, and what is kept of it."""
    if len(name) > _MEMBER_NAME_CHARS_MAX or not _MEMBER_NAME.fullmatch(name) or is_secret(name):
        return False, None
    match value:
        case bool() | None:
            return True, value
        case str():
            is_id = _ID_NAME.fullmatch(name) is not None and _ID_VALUE.fullmatch(value) is not None
            return True, value if is_id else _redacted_line(value, _STRING_CHARS_MAX)
        case int():
            return value.bit_length() <= _MEMBER_INTEGER_BITS_MAX, value
        case float():
            return math.isfinite(value), value
        case list() if depth:
            cleaned = [_cleaned(name, item, depth - 1) for item in value[:_ITEMS_MAX]]
            return True, [item for is_kept, item in cleaned if is_kept]
        case dict() if depth:
            pairs = [
                (key, _cleaned(key, item, depth - 1)) for key, item in list(value.items())[:_MEMBERS_MAX]
            ]
            return True, {key: item for key, (is_kept, item) in pairs if is_kept and key not in _LEFT_OUT}
    return False, None


def violations_of(document: dict[str, Any]) -> list[UpstreamViolation]:
    """Return the first 32 violations that an error body lists in FastAPI's form, without the values."""
    for holder in (document, document.get("message"), document.get("error")):
        if isinstance(holder, dict) and isinstance(holder.get("detail"), list):
            items = holder["detail"][:_VIOLATIONS_MAX]
            return [_violation_in(item) for item in items if _is_violation(item)]
    return []


def _is_violation(item: Any) -> bool:
    return isinstance(item, dict) and isinstance(item.get("msg"), str) and isinstance(item.get("loc"), list)


def _violation_in(item: dict[str, Any]) -> UpstreamViolation:
    kind = item.get("type")
    is_word = isinstance(kind, str) and _VIOLATION_TYPE.fullmatch(kind) is not None
    text = _redacted_line(item["msg"], _STRING_CHARS_MAX) or "a violation without a text"
    return UpstreamViolation(_path_of(item["loc"]), text, str(kind) if is_word else "")


def _path_of(loc: Any) -> str:
    """Return the path of a violation in this package's form, `messages[0].role`; empty if it is no list."""
    steps = loc[:_PATH_STEPS_MAX] if isinstance(loc, list) else []
    path = ""
    for step in steps[1:] if steps[:1] == ["body"] else steps:
        if type(step) is int:
            path += f"[{step % 10**9}]"
        else:
            name = step if isinstance(step, str) and _PATH_STEP.fullmatch(step) else "?"
            path += f".{name}" if path else name
    return path
