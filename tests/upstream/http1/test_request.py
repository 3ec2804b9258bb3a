"""Heads of requests: what is written, and what is refused before anything is sent."""

import pytest

from mistralwire.upstream._http1._request import Origin, Proxy, encode_head, end_of_head, split_url


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
