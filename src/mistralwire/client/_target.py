"""The target of a client: a name as gRPC takes it, with a port that there is."""

import re

_PORT_MAX = 65_535
# What has no port, or one that is not this module's to judge.
_WITHOUT_PORT = ("unix:", "unix-abstract:", "vsock:", "xds:", "google-c2p:")
_DNS = re.compile("dns:(?://[^/]*/)?")
_DIGITS = re.compile("0*[0-9]{1,5}")


def checked_target(target: str) -> str:
    """Check a target; one whose form is unknown is left to gRPC.

    gRPC takes a port modulo 65536, and would call another service without a word.

    Args:
        target: As gRPC takes it: `host:port`, `dns:///host:port`, `ipv4:address:port,address:port`,
            `ipv6:[address]:port`, `unix:path`.

    Returns:
        The same target.

    Raises:
        TypeError: If it is no string.
        ValueError: If it is empty or a URL, or has a port that is not 1 to 65535.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    if not isinstance(target, str):
        raise TypeError(f"target must be a string such as 'localhost:50051', not {target!r}")
    if not target:
        raise ValueError("target must not be empty, but such as 'localhost:50051'")
    lower = target.lower()
    if lower.startswith(("http://", "https://")):
        raise ValueError(f"target must be such as 'localhost:50051', not a URL: {target!r}")
    for address in _addresses(lower):
        port = _port_of(address)
        if port is not None and not (_DIGITS.fullmatch(port) and 0 < int(port) <= _PORT_MAX):
            raise ValueError(
                f"target must be such as 'localhost:50051', with one of the ports 1 to 65535, not {target!r}"
            )
    return target


def _addresses(target: str) -> list[str]:
    """Return the hosts of a target, each with its port if it has one."""
    if target.startswith(("ipv4:", "ipv6:")):
        return target[5:].split(",")
    if scheme := _DNS.match(target):
        target = target[scheme.end() :]
    return [] if target.startswith(_WITHOUT_PORT) or "://" in target else [target]


def _port_of(address: str) -> str | None:
    """Return what stands in the place of a port; None for a host alone, such as an IPv6 address."""
    if address.startswith("["):
        address = address.rpartition("]")[2]
    return address.partition(":")[2] if address.count(":") == 1 else None
