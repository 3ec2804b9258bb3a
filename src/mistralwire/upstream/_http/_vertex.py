"""Mistral's models on Vertex AI as an upstream."""

import asyncio
import re
import urllib.parse
from collections.abc import Coroutine, Mapping
from typing import Any

from mistralwire.errors import Reason, UpstreamError, missing_error
from mistralwire.upstream._http._base import HttpUpstream
from mistralwire.upstream._http._mistral import checked_url
from mistralwire.upstream._http._target import HttpLog
from mistralwire.upstream._http_settings import HttpSettings
from mistralwire.v1 import AgentsCompletionRequest, AgentsCompletionStreamRequest

_REGION = re.compile("[a-z0-9-]+")
_REFUSAL = "the token of the Google credentials was refused (HTTP 401); replace the credentials"
_SCOPE = "https://www.googleapis.com/auth/cloud-platform"

# Models whose version follows an @ in the path, and is missing in the body.
# Source: LEGACY_MODEL_ID_FORMAT of Mistral's public SDK for Vertex AI.
_VERSIONED = {
    "codestral-2405": ("codestral@2405", "codestral"),
    "mistral-large-2407": ("mistral-large@2407", "mistral-large"),
    "mistral-nemo-2407": ("mistral-nemo@2407", "mistral-nemo"),
}


class VertexUpstream(HttpUpstream):
    """Calls Mistral's models on Vertex AI, with `:rawPredict` and `:streamRawPredict`.

    Vertex AI has no agents: a request for one fails with the reason UPSTREAM_UNSUPPORTED, and is not sent.

    Args:
        project: The Google Cloud project to bill.
        region: Region of the models, such as `europe-west4`, or `global`.
        credentials: Credentials of `google-auth`; None for the application default credentials, which are
            looked up with the first call.
        base_url: Base URL of Vertex AI; None for that of the region.
        settings: Timeouts and bounds.
        name: Name for logs; None for the host.

    Raises:
        MistralwireError: If google-auth is not installed, with the reason EXTRA_MISSING; or the environment
            names an invalid proxy, with the reason PROXY.
        ValueError: If the project is empty, or the region or `base_url` is invalid.
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
        # It becomes part of the host that gets the token.
        if not _REGION.fullmatch(region):
            raise ValueError("region must be lower-case letters, digits and hyphens, such as europe-west4")
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
    """Access tokens of Google, renewed when the current one is not valid."""

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
        """A valid token; empty if there is none."""
        credentials = self._credentials
        return str(credentials.token) if credentials is not None and credentials.valid else ""

    async def renew(self) -> None:
        """Request a new token, once for all calls that wait for it; an UpstreamError if there is none."""
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(asyncio.to_thread(self._refresh))
            self._refreshing.add_done_callback(self._refreshed)
        # The cancellation of one call does not cancel it for the others.
        await asyncio.shield(self._refreshing)

    def _refresh(self) -> None:
        try:
            if self._credentials is None:
                self._credentials, _ = self._auth.default(scopes=[_SCOPE])
            self._credentials.refresh(self._auth.transport.requests.Request())
        except (self._auth.exceptions.GoogleAuthError, OSError, ValueError) as error:
            # Their texts quote Google's responses and parts of files. OSError and ValueError: a credentials
            # file that can't be read.
            is_unreachable = isinstance(error, self._auth.exceptions.TransportError)
            raise UpstreamError(
                f"could not get a token from Google: {type(error).__name__}",
                code="UNAVAILABLE" if is_unreachable else "FAILED_PRECONDITION",
                reason=Reason.UPSTREAM_UNREACHABLE if is_unreachable else Reason.UPSTREAM_UNAUTHENTICATED,
            ) from None

    def _refreshed(self, task: "asyncio.Task[None]") -> None:
        self._refreshing = None
        if not task.cancelled():
            # Retrieved here, since all calls that waited may be cancelled.
            task.exception()
