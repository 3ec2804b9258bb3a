"""Incomplete requests: the one that takes longest is refused, in all and on its connection."""

from collections.abc import Callable

import pytest

from mistralwire._serving.incomplete_requests import IncompleteRequests
from mistralwire.errors import OverloadError


class Refused:
    """Records which requests were refused, and checks the reason."""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def __getitem__(self, request: str) -> Callable[[OverloadError], None]:
        def refuse(error: OverloadError) -> None:
            assert (error.code, error.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_ARRIVING")
            self.requests.append(request)

        return refuse


@pytest.mark.parametrize("connections", [[None] * 6, list("abcdef")], ids=["without", "each its own"])
def test_the_request_that_takes_longest_gives_way(connections: list[str | None]) -> None:
    incomplete, refused = IncompleteRequests(4), Refused()
    for request, connection in zip("123456", connections, strict=True):
        incomplete.begin(request, refused[request], connection)
    assert refused.requests == ["1", "2"]
    assert len(incomplete) == 4


def test_what_has_arrived_does_not_count() -> None:
    incomplete, refused = IncompleteRequests(2), Refused()
    for request in "123456":
        incomplete.begin(request, refused[request], request)
        incomplete.end(request)
        incomplete.end(request)
    assert (len(incomplete), refused.requests) == (0, [])


def test_a_connection_has_a_quarter_and_others_are_left_alone() -> None:
    incomplete, refused = IncompleteRequests(8), Refused()
    incomplete.begin("other", refused["other"], "b")
    for request in "1234":
        incomplete.begin(request, refused[request], "a")
    assert refused.requests == ["1", "2"]
    incomplete.end("3")
    incomplete.begin("5", refused["5"], "a")
    assert refused.requests == ["1", "2"]
    assert len(incomplete) == 3


def test_a_connection_has_one_where_a_quarter_is_less() -> None:
    incomplete, refused = IncompleteRequests(1), Refused()
    for request in "12":
        incomplete.begin(request, refused[request], "a")
    assert refused.requests == ["1"]
