"""What counts as this machine alone: the addresses where plain text is safe."""

import ipaddress
import re

_ADDRESS = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d+)?")


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine and no other.

    Args:
        host: An IP address, or a name. Of the names, only `localhost` is certain.
    """
    host = host.removeprefix("[").removesuffix("]")
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_loopback_target(target: str) -> bool:
    """Say whether a gRPC target is this machine and no other.

    Args:
        target: As gRPC takes it: `host:port`, `dns:///host:port`, `ipv4:address:port`, `ipv6:[address]:port`,
            or a Unix domain socket.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    if target.startswith(("unix:", "unix-abstract:")):
        return True
    for prefix in ("dns:///", "dns:", "ipv4:", "ipv6:"):
        target = target.removeprefix(prefix)
    matches = [_ADDRESS.fullmatch(address) for address in target.split(",")]
    return all(match and is_loopback(match[1]) for match in matches)
