"""Requests: heads as they are written or refused, and bodies that are sent as they come."""

import pytest

from mistralwire.upstream._http1._request import Origin, Proxy, Upload, encode_head, end_of_head, split_url


def test_a_head_is_written_as_http_has_it() -> None:
    head = encode_head("POST", "/v1?a=b", "h:1", {"accept": "a/b"}) + end_of_head({"x-Odd": "\xe9 \t~"}, 3)
    expected = (
        b"POST /v1?a=b HTTP/1.1\r\nhost: h:1\r\naccept: a/b\r\nx-Odd: \xe9 \t~\r\ncontent-length: 3\r\n\r\n"
    )
    assert head == expected
    assert encode_head("GET", "/", "h", {}) + end_of_head({}, None) == b"GET / HTTP/1.1\r\nhost: h\r\n\r\n"


@pytest.mark.parametrize(
    "value",
    ["a\r\nx: y", "a\n", "\ra", "a\0", "a\x0bb", "a\x7f", "\u0100", "a\u2028b", "a\r\n\r\nGET / HTTP/1.1"],
)
def test_a_value_that_would_break_the_head_is_refused_unquoted(value: str) -> None:
    with pytest.raises(ValueError, match="expected a header of printable characters") as raised:
        encode_head("GET", "/", "h", {"x": value})
    assert str(raised.value) == "expected a header of printable characters, found others in 'x'"
    with pytest.raises(ValueError, match="expected a header of printable characters"):
        end_of_head({"x": value}, 1)


@pytest.mark.parametrize("name", ["", "a b", "a:", "a\r\nb", "a\n", "\xe9", "a\0", "(a)", " a"])
def test_a_name_that_is_no_token_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a header of printable characters"):
        encode_head("GET", "/", "h", {name: "x"})


@pytest.mark.parametrize("method", ["", "get", "GET /", "GET\r\n", "G\0"])
def test_a_method_that_is_none_is_refused(method: str) -> None:
    with pytest.raises(ValueError, match="expected a method of capital letters"):
        encode_head(method, "/", "h", {})


@pytest.mark.parametrize(
    ("url", "origin", "host", "path"),
    [
        ("http://h", Origin(False, "h", 80), "h", "/"),
        ("https://H.example/a/b?c=d#e", Origin(True, "h.example", 443), "h.example", "/a/b?c=d"),
        ("http://h:80/", Origin(False, "h", 80), "h", "/"),
        ("https://h:80/", Origin(True, "h", 80), "h:80", "/"),
        ("http://[::1]:8080/a", Origin(False, "::1", 8080), "[::1]:8080", "/a"),
        ("http://[::1]/", Origin(False, "::1", 80), "[::1]", "/"),
        (
            "http://b\xfccher.example/",
            Origin(False, "xn--bcher-kva.example", 80),
            "xn--bcher-kva.example",
            "/",
        ),
        ("http://h/a b/\xe9?\xe9=%20&x y", Origin(False, "h", 80), "h", "/a%20b/%C3%A9?%C3%A9=%20&x%20y"),
        ("http://h/m@1:rawPredict", Origin(False, "h", 80), "h", "/m@1:rawPredict"),
        ("http://h/a%2Fb", Origin(False, "h", 80), "h", "/a%2Fb"),
        ("http://h/\r\nx: y", Origin(False, "h", 80), "h", "/x:%20y"),
        ("http://h/a\0", Origin(False, "h", 80), "h", "/a%00"),
    ],
)
def test_a_url_is_taken_apart(url: str, origin: Origin, host: str, path: str) -> None:
    scheme = "https" if origin.is_tls else "http"
    assert split_url(url) == (origin, host, path, f"{scheme}://{host}{path}")


@pytest.mark.parametrize(
    "url", ["", "h", "ftp://h", "http://", "http://u:p@h", "http://h:99999", "http://a..b"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        split_url(url)


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy", Proxy("proxy", 80)),
        ("http://proxy:3128/", Proxy("proxy", 3128)),
        ("http://[::1]:3128", Proxy("::1", 3128)),
        ("http://user:p%40ss@proxy:1", Proxy("proxy", 1, "Basic dXNlcjpwQHNz")),
        ("http://user@proxy", Proxy("proxy", 80, "Basic dXNlcjo=")),
        ("http://\xe9:x@proxy", Proxy("proxy", 80, "Basic w6k6eA==")),
    ],
)
def test_a_proxy_is_read_from_its_url(url: str, proxy: Proxy) -> None:
    assert Proxy.from_url(url) == proxy


def test_a_proxy_does_not_show_its_credentials() -> None:
    assert repr(Proxy.from_url("http://user:secret@proxy")) == "Proxy(host='proxy', port=80)"


class Sender:
    """Takes a body, and says whether it takes more."""

    def __init__(self) -> None:
        self.sent = b""
        self.takes_more = True
        self.error: Exception | None = None

    def send_body(self, data: bytes) -> bool:
        self.sent += data
        return self.takes_more

    def fail(self, error: Exception) -> None:
        self.error = error


@pytest.mark.parametrize(
    ("length", "expected"),
    [(5, b"12345"), (None, b"2\r\n12\r\n3\r\n345\r\n0\r\n\r\n")],
    ids=["sized", "chunked"],
)
def test_what_comes_before_the_connection_waits_for_it(length: int | None, expected: bytes) -> None:
    drained: list[None] = []
    upload, sender = Upload(length, lambda: drained.append(None)), Sender()
    assert not upload.write(b"12")
    upload.attach(sender)
    assert drained == [None]
    assert upload.write(b"345")
    assert not upload.is_ended
    upload.end()
    assert upload.is_ended
    assert sender.sent == expected


def test_a_connection_that_takes_no_more_says_when_it_does() -> None:
    drained: list[None] = []
    upload, sender = Upload(1, lambda: drained.append(None)), Sender()
    sender.takes_more = False
    upload.attach(sender)
    assert not drained
    assert not upload.write(b"1")
    upload.resume()
    assert drained == [None]
    upload.end()
    upload.resume()
    assert drained == [None]


def test_what_comes_behind_the_end_of_the_exchange_is_dropped() -> None:
    upload, sender = Upload(None, lambda: None), Sender()
    upload.attach(sender)
    upload.detach()
    assert upload.write(b"1")
    upload.end()
    assert sender.sent == b""


def test_an_end_before_the_connection_is_sent_with_it() -> None:
    upload, sender = Upload(None, lambda: None), Sender()
    upload.write(b"1")
    upload.end()
    upload.attach(sender)
    assert sender.sent == b"1\r\n1\r\n0\r\n\r\n"
    assert upload.is_ended


@pytest.mark.parametrize("is_connected", [True, False])
@pytest.mark.parametrize(("pieces", "found"), [([b"12", b"34"], 4), ([b"12"], 2), ([], 0)])
def test_a_body_of_another_length_ends_the_exchange(
    is_connected: bool, pieces: list[bytes], found: int
) -> None:
    upload, sender = Upload(3, lambda: None), Sender()
    if is_connected:
        upload.attach(sender)
    for piece in pieces:
        upload.write(piece)
    upload.end()
    if not is_connected:
        upload.attach(sender)
    assert str(sender.error) == f"expected a body of 3 bytes, found {found}"
    assert not upload.is_ended
    assert len(sender.sent) <= 3
