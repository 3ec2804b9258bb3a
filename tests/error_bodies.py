"""The error bodies of the gateway: one for the clients of Mistral's API and for those of OpenAI's."""

from typing import Any


def flat_error(document: Any) -> dict[str, Any]:
    """Check that an error body has what each family of clients reads; give its members, each one once."""
    error: dict[str, Any] = document["error"]
    rest = dict(document)
    del rest["error"]
    detail = rest.pop("detail")
    assert rest == error
    assert error["object"] == "error"
    assert error.keys() == {"object", "message", "type", "param", "code"}
    if isinstance(detail, list):
        assert detail
        assert all(item["loc"][0] == "body" and item["msg"] and item["type"] for item in detail)
    else:
        assert detail == error["message"]
    return error
