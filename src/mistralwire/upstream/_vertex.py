"""The upstream that asks Mistral's models on Vertex AI."""

import asyncio
import re
import urllib.parse
from collections.abc import Coroutine, Mapping
from typing import Any

from mistralwire._extras import missing_error
from mistralwire.errors import Reason, UpstreamError
from mistralwire.upstream._http import HttpUpstream
from mistralwire.upstream._http_log import HttpLog
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.upstream._mistral import checked_url
from mistralwire.v1 import AgentsCompletionRequest, AgentsCompletionStreamRequest

_REGION = re.compile("[a-z0-9-]+")
_REFUSAL = "the token of the Google credentials was refused (HTTP 401); replace the credentials"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# Models whose version stands behind an @ in the path, and not at all in the body.
# Source: LEGACY_MODEL_ID_FORMAT of Mistral's public SDK for Vertex AI.
_VERSIONED = {
    "codestral-2405": ("codestral@2405", "codestral"),
    "mistral-large-2407": ("mistral-large@2407", "mistral-large"),
    "mistral-nemo-2407": ("mistral-nemo@2407", "mistral-nemo"),
}


class VertexUpstream(HttpUpstream):
    """Asks Mistral's models on Vertex AI, by `:rawPredict` and `:streamRawPredict`.

    Vertex AI has no agents: a request for one is an UpstreamError with the reason UPSTREAM_UNSUPPORTED, and
    is not sent.

    Args:
        project: The Google Cloud project that pays.
        region: Where the models run, such as `europe-west4`; or `global`.
        credentials: Of `google-auth`; None for the application default ones, found with the first call.
        base_url: Where Vertex AI is; None for that of the region.
        settings: Times and bounds.
        name: What logs call it; None for its host.

    Raises:
        MistralwireError: If google-auth is not installed, with the reason EXTRA_MISSING.
            Or if the environment names a proxy that is none, with the reason PROXY.
        ValueError: If the project is empty, the region no name of one, or `base_url` no URL.
    """

    def __init__(
        self,
        project: str,
        region: str,
        *,
        credentials: Any = None,
        base_url: str | None = None,
        settings: HttpSettings | None = None,
        name: str | None = None,
    ) -> None:
        if not project:
            raise ValueError("project must not be empty")
        # It becomes a part of the host that gets the token.
        if not _REGION.fullmatch(region):
            raise ValueError("region must be small letters, digits and hyphens, such as europe-west4")
        host = "aiplatform" if region == "global" else f"{region}-aiplatform"
        base = checked_url("base_url", base_url or f"https://{host}.googleapis.com")
        quoted = urllib.parse.quote(project, safe="")
        models = f"{base}/v1/projects/{quoted}/locations/{region}/publishers/mistralai/models"
        target = _VertexTarget(base, models, _Credentials(credentials))
        log = HttpLog(name or urllib.parse.urlsplit(base).netloc, _REFUSAL)
        super().__init__(target, settings or HttpSettings(), log)


class _VertexTarget:
    def __init__(self, base_url: str, models_url: str, credentials: "_Credentials") -> None:
        self.probe_url = base_url
        self._models_url = models_url
        self._credentials = credentials

    def body_of(self, request: Any) -> Any:
        if isinstance(request, AgentsCompletionRequest | AgentsCompletionStreamRequest):
            message = "expected a request for a model, found one for an agent: Vertex AI has no agents"
            raise UpstreamError(message, code="UNIMPLEMENTED", reason=Reason.UPSTREAM_UNSUPPORTED)
        versioned = _VERSIONED.get(request.model)
        if versioned is None:
            return request
        copy = type(request)()
        copy.CopyFrom(request)
        copy.model = versioned[1]
        return copy

    def authorize(self) -> Coroutine[Any, Any, None] | None:
        return None if self._credentials.token else self._credentials.renew()

    def address(self, request: Any, *, is_stream: bool) -> tuple[str, Mapping[str, str]]:
        model, _ = _VERSIONED.get(request.model, (request.model, ""))
        method = "streamRawPredict" if is_stream else "rawPredict"
        url = f"{self._models_url}/{urllib.parse.quote(model, safe='@')}:{method}"
        return url, {"authorization": f"Bearer {self._credentials.token}"}


class _Credentials:
    """Tokens of Google, asked for when there is none that is valid."""

    def __init__(self, credentials: Any) -> None:
        try:
            import google.auth  # noqa: PLC0415 - an extra
            import google.auth.transport.requests  # noqa: PLC0415 - an extra
        except ImportError as error:
            # Not only ModuleNotFoundError: google-auth raises this one for requests.
            raise missing_error("Vertex AI", "the packages google-auth and requests", "vertex") from error
        self._auth = google.auth
        self._credentials = credentials
        self._refreshing: asyncio.Task[None] | None = None

    @property
    def token(self) -> str:
        """A token that is valid; empty if there is none."""
        credentials = self._credentials
        return str(credentials.token) if credentials is not None and credentials.valid else ""

    async def renew(self) -> None:
        """Ask for a new token.

        Raises:
            UpstreamError: If there is none: with the reason UPSTREAM_UNREACHABLE if Google can't be reached,
                else UPSTREAM_UNAUTHENTICATED.
        """
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(asyncio.to_thread(self._refresh))
            self._refreshing.add_done_callback(self._refreshed)
        # One for all calls that wait: it goes on if one of them is cancelled.
        await asyncio.shield(self._refreshing)

    def _refresh(self) -> None:
        try:
            if self._credentials is None:
                self._credentials, _ = self._auth.default(scopes=[_SCOPE])
            self._credentials.refresh(self._auth.transport.requests.Request())
        except (self._auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
            # The texts quote what Google answered, and parts of files. OSError and ValueError: a file of
            # credentials that can't be read.
            is_lost = isinstance(error, self._auth.exceptions.TransportError)
            raise UpstreamError(
                f"Google gave no token for the service: {type(error).__name__}",
                code="UNAVAILABLE" if is_lost else "FAILED_PRECONDITION",
                reason=Reason.UPSTREAM_UNREACHABLE if is_lost else Reason.UPSTREAM_UNAUTHENTICATED,
            ) from None

    def _refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            # Nobody may be left to take it.
            task.exception()
