"""From the gateway's error answers to OpenAI's; docs/openai.md has the table."""

from typing import Any

import orjson

from mistralwire.gateway._errors import UNAUTHORIZED, UNPROCESSABLE, HttpAnswer

_BAD_REQUEST = 400
_TYPES = {UNAUTHORIZED: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def to_openai_error(answer: HttpAnswer) -> HttpAnswer:
    """Convert an error answer of the gateway; its headers are unchanged."""
    status = _BAD_REQUEST if answer.status == UNPROCESSABLE else answer.status
    body = orjson.loads(answer.body)
    error = {name: value for name, value in body["error"].items() if name != "object"}
    code = error["code"]
    if status == UNAUTHORIZED:
        code = "invalid_api_key"
    elif not isinstance(code, str) or code.isdigit():
        code = error["type"]
    other = "server_error" if status >= 500 else "invalid_request_error"
    param = error["param"]
    if param is None and isinstance(body["detail"], list):
        param = _path(body["detail"][0]["loc"])
    error |= {"type": _TYPES.get(status, other), "param": param, "code": code}
    return HttpAnswer(status, orjson.dumps({"error": error}), answer.headers)


def _path(loc: list[Any]) -> str | None:
    """Return the JSON path of a place in a body: `body`, `messages`, 0, `role` becomes `messages[0].role`."""
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc[1:])
    return steps.removeprefix(".") or None
