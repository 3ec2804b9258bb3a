"""Targets: a port that gRPC would wrap is refused, every other form stays valid."""

import pytest

from mistralwire.client import Client


@pytest.mark.parametrize(
    "target",
    [
        "127.0.0.1:115617",
        "localhost:99999",
        "localhost:65536",
        "localhost:0",
        "localhost:-1",
        "localhost:+80",
        "localhost:",
        "localhost:\u0661",
        "localhost:" + "9" * 5000,
        "x:y",
        "[::1]:115617",
        "dns:localhost:115617",
        "dns:///localhost:115617",
        "DNS:///localhost:115617",
        "dns://8.8.8.8:53/localhost:115617",
        "ipv4:127.0.0.1:50051,127.0.0.1:115617",
        "ipv6:[::1]:50051,[::1]:115617",
    ],
)
def test_a_port_that_is_none_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"target must be .* with one of the ports 1 to 65535") as raised:
        Client(target, insecure=True)
    assert str(raised.value).endswith(f"not {target!r}")


@pytest.mark.parametrize(
    "target",
    [
        "localhost",
        "localhost:1",
        "localhost:65535",
        "localhost:050051",
        "::1",
        "[::1]",
        "[::1]:50051",
        "[fe80::1%25eth0]:50051",
        "dns:localhost",
        "dns:///localhost:50051",
        "dns://8.8.8.8:99999/localhost:50051",
        "ipv4:127.0.0.1:50051,127.0.0.2:50051",
        "ipv6:[::1]:50051",
        "ipv6:[::1]:50051,[fe80::1]:50051",
        "unix:path:115617",
        "unix:a path",
        "unix:///path:115617",
        "unix-abstract:name:115617",
        "vsock:2:115617",
        "xds:///service:115617",
        "other://authority/name:115617",
    ],
)
def test_other_forms_stay_valid(target: str) -> None:
    Client(target, insecure=True)


@pytest.mark.parametrize(
    "target", ["local host", "localhost: 80", "localhost:80\n", "ipv4:127.0.0.1:1, 127.0.0.2:1"]
)
def test_a_target_with_a_space_is_refused(target: str) -> None:
    with pytest.raises(ValueError, match=r"target must be .* without spaces, not "):
        Client(target, insecure=True)
