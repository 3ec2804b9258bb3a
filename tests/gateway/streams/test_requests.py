"""What requests for streams may look like."""

import pytest

from mistralwire.gateway._streams._requests import (
    find_stream,
    read_appending,
    read_creation,
    read_reading,
    split_messages,
    stream_name,
)
from mistralwire.gateway._streams._stream import Producer, StreamError

JSON = {b"content-type": b"application/json; charset=utf-8"}


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        (b'[1.0,1e400 , -0,123456789012345678901234567890,{"a" : 1.10}]', None),
        (b'\t[ "a,]\\"[" ,\n[[1,2]], {} ]\r\n', [b'"a,]\\"["', b"[[1,2]]", b"{}"]),
        (b' {"a": [1, 2]} ', [b'{"a": [1, 2]}']),
        (b'"\\ud800"', [b'"\\ud800"']),
        ('["é", "\U0001f600"]'.encode(), ['"é"'.encode(), '"\U0001f600"'.encode()]),
        (b"[" + b"9" * 5000 + b"]", [b"9" * 5000]),
        (b"[ ]", []),
    ],
)
def test_json_is_split_without_a_change(body: bytes, messages: list[bytes] | None) -> None:
    if messages is None:
        messages = [b"1.0", b"1e400", b"-0", b"123456789012345678901234567890", b'{"a" : 1.10}']
    assert split_messages("application/json", body) == messages


@pytest.mark.parametrize(
    "body",
    [
        *(b"[1,]", b"[1 2]", b"[1]2", b"1 2", b"[", b"{", b"NaN", b"[Infinity]", b"'a'", b'"\x01"', b"\xff"),
        *(b"\xef\xbb\xbf1", b"[01]", b" ", b"[" * 100_000),
    ],
    ids=lambda body: repr(body[:8]),
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(StreamError, match="expected JSON") as raised:
        split_messages("application/json", body)
    assert raised.value.status == 400


def test_a_request_has_a_bounded_number_of_messages() -> None:
    with pytest.raises(StreamError, match="at most 100000 messages"):
        split_messages("application/json", b"[" + b"1," * 100_000 + b"1]")


@pytest.mark.parametrize(
    ("path", "name"),
    [(b"a", "a"), (b"a/b/", "a/b"), (b"a%20b/%C3%A9", "a b/é"), (b"a.b/..c", "a.b/..c"), (b"a:b@c", "a:b@c")],
)
def test_a_path_is_the_name_of_a_stream(path: bytes, name: str) -> None:
    assert stream_name(path) == name


@pytest.mark.parametrize(
    "path",
    [
        *(b"..", b"a/../b", b"a/./b", b"a//b", b"/a", b"a%2Fb", b"a/%2e%2e/b", b"%2E", b"a\\b", b"a%5Cb"),
        *(b"a%00", b"a%0A", b"%FF", b"\xff", b"a" * 401, b"%ED%A0%80"),
    ],
    ids=repr,
)
def test_a_path_that_others_may_read_in_another_way_is_refused(path: bytes) -> None:
    with pytest.raises(StreamError, match="as the path of a stream") as raised:
        stream_name(path)
    assert raised.value.status == 400


def test_the_paths_of_subscriptions_are_reserved() -> None:
    with pytest.raises(StreamError, match="no subscriptions") as raised:
        stream_name(b"__ds/subscriptions/a")
    assert raised.value.status == 404


@pytest.mark.parametrize("target", [b"/v1/stream", b"/v1/stream/", b"/v1/streams/a", b"/v1/chat", b"*"])
def test_other_targets_are_no_streams(target: bytes) -> None:
    assert find_stream(target) is None


@pytest.mark.parametrize(
    "headers",
    [
        {b"stream-ttl": b"-1"},
        {b"stream-ttl": b"1", b"stream-expires-at": b"2100-01-01T00:00:00Z"},
        {b"stream-expires-at": b"2100-02-30T00:00:00Z"},
        {b"stream-expires-at": b"21000101T000000Z"},
        {b"stream-fork-offset": b"-1"},
        {b"stream-forked-from": b"/v1/stream/a", b"stream-fork-offset": b"now"},
        {b"stream-forked-from": b"/v1/stream/a/../b"},
        {b"stream-forked-from": b"/v1/chat/completions"},
        {b"content-type": b"json"},
        {b"content-type": b"text/plain\x0bx"},
        {b"content-type": b"text/" + b"a" * 300},
    ],
    ids=repr,
)
def test_headers_of_a_creation_are_checked(headers: dict[bytes, bytes]) -> None:
    with pytest.raises(StreamError, match="expected"):
        read_creation(headers, "")


def test_a_source_is_named_by_its_path_with_and_without_that_of_the_application() -> None:
    for path in (b"/v1/stream/a%20b", b"/edge/v1/stream/a%20b"):
        assert read_creation({b"stream-forked-from": path}, "/edge").source == "a b"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({}, b"a"),
        (JSON, b"[]"),
        (JSON | {b"producer-id": b"a"}, b"1"),
        (JSON | {b"producer-id": b"", b"producer-epoch": b"0", b"producer-seq": b"0"}, b"1"),
        (JSON | {b"producer-id": b"a", b"producer-epoch": b"0", b"producer-seq": b"9007199254740992"}, b"1"),
        (JSON | {b"producer-id": b"a", b"producer-epoch": b"0", b"producer-seq": b"9" * 200}, b"1"),
        (JSON | {b"producer-id": b"a" * 257, b"producer-epoch": b"0", b"producer-seq": b"0"}, b"1"),
        (JSON | {b"stream-seq": b"a" * 257}, b"1"),
    ],
    ids=repr,
)
def test_headers_of_an_append_are_checked(headers: dict[bytes, bytes], body: bytes) -> None:
    with pytest.raises(StreamError, match="expected") as raised:
        read_appending(headers, body)
    assert raised.value.status == 400


def test_an_append_has_its_producer() -> None:
    headers = JSON | {b"producer-id": b"a", b"producer-epoch": b"2", b"producer-seq": b"07"}
    request = read_appending(headers | {b"stream-closed": b"TRUE"}, b"[1,2]")
    assert request.producer == Producer("a", 2, 7)
    assert (request.contents, request.is_closing) == ([b"1", b"2"], True)


@pytest.mark.parametrize(
    "query",
    [
        *(
            b"offset=",
            b"offset=1",
            b"offset=-1&offset=-1",
            b"live=sse",
            b"offset=-1&live=x",
            b"offset=-1&live=",
        ),
        *(b"offset=0000000000000001_0000000000000001", b"&".join([b"a=1"] * 100)),
    ],
)
def test_queries_are_checked(query: bytes) -> None:
    with pytest.raises(StreamError, match="expected") as raised:
        read_reading(query)
    assert raised.value.status == 400
