"""Heads that are refused whatever server has read them."""

from collections.abc import Iterable

from mistralwire._addresses import is_loopback, is_loopback_target
from mistralwire.errors import Reason
from mistralwire.gateway._config import GatewayConfig
from mistralwire.gateway._errors import EdgeError

# They say nothing of interest, and whatever probes them may use any name.
_BY_ANY_NAME = (b"/healthz", b"/readyz")

Header = tuple[bytes, bytes]


def problem_of_keys(headers: Iterable[Header]) -> str | None:
    """Describe what is wrong with the keys of a request: who reads the first may not be who reads the last.

    Args:
        headers: Its headers.
    """
    keys = sum(name == b"authorization" for name, _ in headers)
    return f"expected at most one authorization, found {keys}" if keys > 1 else None


def is_by_foreign_name(config: GatewayConfig, path: bytes, headers: Iterable[Header]) -> bool:
    """Check whether a page that DNS rebinding leads here may have sent a GET: it would have no Origin.

    A page's other requests have one, which `Edge.admit` looks at.

    Args:
        config: The settings of the gateway.
        path: The path of the request; a query behind it and a slash at its end do not count.
        headers: Its headers.
    """
    path = path.partition(b"?")[0].removesuffix(b"/")
    if path in _BY_ANY_NAME or config.token_file is not None or not is_loopback(config.host):
        return False
    host = next((value.decode("latin-1").strip() for name, value in headers if name == b"host"), None)
    if host is None or is_loopback_target(host):
        # Browsers always send a host.
        return False
    return not {"*", f"http://{host}", f"https://{host}"} & {*config.allowed_origins}


def foreign_name() -> EdgeError:
    """Return the error of a request by a name that may be anybody's."""
    message = (
        "expected a host that is this machine, such as localhost, found another name; without keys, "
        "a gateway on a loopback address takes those in cors_origins alone"
    )
    return EdgeError(403, message, reason=Reason.ORIGIN_NOT_ALLOWED)
