"""Which addresses count as loopback: only those that are certainly this machine."""

import pytest

from mistralwire._addresses import is_loopback, is_loopback_target


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.10", "::1", "[::1]", "localhost", "LocalHost"])
def test_a_loopback_host_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "10.0.0.1", "", "example.com", "localhost.example.com", "127.0.0.1.example.com"]
)
def test_any_other_host_is_not(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:50051",
        "localhost:50051",
        "localhost",
        "[::1]:50051",
        "dns:localhost:50051",
        "dns:///localhost:50051",
        "ipv4:127.0.0.1:50051",
        "ipv6:[::1]:50051",
        "unix:/run/socket",
        "unix:///run/socket",
        "unix-abstract:name",
    ],
)
def test_a_loopback_target_is_known(target: str) -> None:
    assert is_loopback_target(target)


@pytest.mark.parametrize(
    "target",
    [
        "",
        "10.0.0.1:50051",
        "example.com:50051",
        "dns:///example.com:50051",
        "dns://192.0.2.1/localhost:50051",
        "xds:///localhost",
        "ipv4:127.0.0.1:50051,10.0.0.1:50051",
        "localhost@example.com:50051",
        "example.com/localhost:50051",
    ],
)
def test_any_other_target_is_not(target: str) -> None:
    assert not is_loopback_target(target)
