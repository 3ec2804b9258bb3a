"""The proxy between the service and an upstream, as the environment names it."""

import urllib.parse
import urllib.request

from mistralwire.errors import MistralwireError, Reason


def proxy_of(url: str) -> str | None:
    """Find the proxy for an upstream: in HTTP_PROXY or HTTPS_PROXY, unless NO_PROXY has its host.

    Not left to aiohttp, which looks anew for each request, and takes credentials from the user's `.netrc`
    along: those would replace the key.

    Args:
        url: A URL of the upstream.

    Returns:
        URL of the proxy, which may have credentials in it; None if there is none.

    Raises:
        MistralwireError: If it is no http or https URL with a host; with the code FAILED_PRECONDITION.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if not proxy or urllib.request.proxy_bypass(parts.netloc):
        return None
    # As other programs take it: `proxy:3128` is one that speaks HTTP.
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    try:
        found = urllib.parse.urlsplit(proxy)
        is_proxy = found.scheme in ("http", "https") and bool(found.hostname) and (found.port or 1) > 0
    except ValueError:
        is_proxy = False
    if not is_proxy:
        message = (
            f"expected an http or https URL in {parts.scheme.upper()}_PROXY, found something else; "
            "correct it, or put the host of the upstream into NO_PROXY"
        )
        raise MistralwireError(message, code="FAILED_PRECONDITION", reason=Reason.PROXY)
    return proxy
