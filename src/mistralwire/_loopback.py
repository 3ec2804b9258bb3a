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


def check_exposure(host: str, *, insecure: bool, certificate: object, key: object, what: str) -> None:
    """Check that plain text for other machines is what was meant.

    Args:
        host: The address to listen on.
        insecure: Whether it is.
        certificate: The setting `tls_certificate`; None for plain text.
        key: The setting `tls_key`.
        what: What would travel, such as `calls`.

    Raises:
        ValueError: If it was not said, or the settings contradict each other; the message names them.
    """
    if not host:
        raise ValueError("host must not be empty; 127.0.0.1 is this machine, 0.0.0.0 all of its addresses")
    if not host.isprintable():
        raise ValueError(f"host must be an address or a name such as 127.0.0.1, not {host!r}")
    if (certificate is None) != (key is None):
        raise ValueError("tls_certificate and tls_key go together: expected both or none, found one")
    if insecure and certificate is not None:
        raise ValueError("expected insecure or tls_certificate, found both")
    if not is_loopback(host) and not insecure and certificate is None:
        raise ValueError(
            f"host must be a loopback address such as 127.0.0.1, not {host!r}: {what} from other machines "
            "would travel in plain text; set tls_certificate and tls_key, or insecure to allow that"
        )
