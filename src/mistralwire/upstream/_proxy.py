"""The proxy between the service and an upstream, as the environment names it."""

import urllib.parse
import urllib.request

from mistralwire.errors import MistralwireError, Reason
from mistralwire.upstream._http1 import Proxy


def proxy_of(url: str) -> Proxy | None:
    """Find the proxy for an upstream: in HTTP_PROXY or HTTPS_PROXY, unless NO_PROXY has its host.

    Read once, and never from the user's `.netrc`, whose credentials would replace the key.

    Args:
        url: A URL of the upstream.

    Raises:
        MistralwireError: If it is no http URL with a host, or a proxy that itself is reached over TLS; with
            the code FAILED_PRECONDITION. The URL is not quoted.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    # As other programs take it: `proxy:3128` is one that speaks HTTP.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return Proxy.from_url(proxy)
    except ValueError:
        found = "something else"
        if proxy.lower().startswith("https://"):
            found = "an https one: TLS to the proxy itself is not supported"
        message = (
            f"expected an http URL in {parts.scheme.upper()}_PROXY, found {found}; "
            "correct it, or put the host of the upstream into NO_PROXY"
        )
    raise MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.PROXY)
