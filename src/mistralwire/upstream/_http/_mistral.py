"""Mistral's API, or any server with the same one, as an upstream."""

import urllib.parse
from collections.abc import Mapping
from typing import Any

from mistralwire import _offload
from mistralwire._methods import METHODS_BY_REQUEST
from mistralwire.errors import UpstreamError
from mistralwire.upstream._credentials import Key
from mistralwire.upstream._http._base import HttpUpstream
from mistralwire.upstream._http._forward import ForwardCall, ForwardReceiver, ForwardRequest
from mistralwire.upstream._http._target import HEADERS, HttpLog
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._models import LIST_BYTES_MAX, Model, read_model_list

MISTRAL_URL = "https://api.mistral.ai"
"""Base URL of the public API."""

_PATHS = {
    request_type: f"/v1/{method.name.partition('Completion')[0].lower()}/completions"
    for request_type, method in METHODS_BY_REQUEST.items()
}


def checked_url(name: str, url: str) -> str:
    """Return the base URL of the setting `name` without a trailing slash or `/v1`, which paths begin with.

    Raises:
        ValueError: If it is not an http or https URL with a host, or has a password, a query or a fragment.
    """
    try:
        parts = urllib.parse.urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        # Raises UnicodeError, which is a ValueError, for labels that a host name can't have.
        (parts.hostname or "").encode("idna")
    except ValueError:
        is_url = False
    if not is_url or "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError(
            f"{name} must be a URL such as {MISTRAL_URL}, with http or https and a host, and without a "
            "password, query or fragment"
        )
    return url.rstrip("/").removesuffix("/v1")


class MistralUpstream(HttpUpstream):
    """Calls the public API, or a server with the same one: vLLM, llama.cpp, a proxy.

    Requests are forwarded unchanged, undocumented members included; only `stream` is set where it contradicts
    the call. Responses are not validated, so that none is lost.

    Args:
        base_url: Base URL of the API, with or without `/v1`.
        key: Authorizes the service; None for servers without authorization.
        settings: Timeouts and bounds.
        name: Name for logs; None for the host of the URL, with its port.

    Raises:
        ValueError: If `base_url` is not such a URL.
        MistralwireError: If the environment names an invalid proxy, with the reason PROXY.
    """

    def __init__(
        self,
        base_url: str = MISTRAL_URL,
        *,
        key: Key | None = None,
        settings: HttpSettings | None = None,
        name: str | None = None,
    ) -> None:
        self._api = _MistralTarget(checked_url("base_url", base_url), key)
        log = HttpLog(name or urllib.parse.urlsplit(base_url).netloc, _refused_key_message(key))
        super().__init__(self._api, settings or HttpSettings(), log)

    @property
    def base_url(self) -> str:
        """Base URL of the API, without `/v1`."""
        return self._api.base_url

    async def list_models(self) -> list[Model]:
        """Return at most MODELS_MAX available models, each as the API lists it.

        Raises:
            UpstreamError: If there is no list, or one beyond LIST_BYTES_MAX; or this upstream is closed.
        """
        headers = {"accept": "application/json", **self._api.credentials()}
        try:
            data = await self._get(self._api.probe_url, headers, LIST_BYTES_MAX)
        except UpstreamError as error:
            if error.status is not None:
                self._log.answered(error.status)
            raise
        return await _offload.in_thread_if_heavy(data, read_model_list, data)

    def forward(self, request: ForwardRequest, receiver: ForwardReceiver) -> ForwardCall:
        """Forward a request of another route unchanged, with the key and without retries.

        Raises:
            ValueError: If a header can't be sent.
            UpstreamError: If this upstream is closed, with the reason CLIENT_CLOSED.
        """
        return ForwardCall(
            self._opened(),
            self._settings,
            self._log,
            f"{self._api.base_url}{request.target}",
            request=request,
            headers={**HEADERS, **self._api.credentials()},
            receiver=receiver,
        )


def _refused_key_message(key: Key | None) -> str:
    if key is None:
        return (
            "the upstream requires a key (HTTP 401), and got none; name one with key_env or key_file, or in "
            "MISTRAL_API_KEY beside a URL of the command line"
        )
    return f"the key from {key.source} was refused (HTTP 401); replace it"


class _MistralTarget:
    def __init__(self, base_url: str, key: Key | None) -> None:
        self.base_url = base_url
        self._key = key

    @property
    def probe_url(self) -> str:
        return f"{self.base_url}/v1/models"

    def body_of(self, request: Any) -> Any:
        return request

    def authorize(self) -> None:
        """Do nothing: the key is read for each request."""

    def credentials(self) -> Mapping[str, str]:
        return {} if self._key is None else {"authorization": f"Bearer {self._key.read()}"}

    def address(self, request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:  # noqa: ARG002
        return f"{self.base_url}{_PATHS[type(request)]}", self.credentials()
