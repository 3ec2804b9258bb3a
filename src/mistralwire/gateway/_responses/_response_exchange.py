"""A request about stored responses, and its answer."""

import abc
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any, ClassVar

from mistralwire.errors import CallError, MistralwireError, Reason
from mistralwire.gateway._errors import HttpError, unknown_response_error
from mistralwire.gateway._exchanges import HttpExchange, Responder
from mistralwire.gateway._responses._read_token import find_signer
from mistralwire.gateway._state import GatewayState, owner_of_key

READ_TOKEN = "token"  # noqa: S105 - the name of a parameter
"""The parameter of the query with a token, in place of a key."""

_NO_LOG = (
    "expected a gateway that stores responses, found one that does not; start it, or the service that it "
    "calls, with --data or --log"
)


class ResponseExchange(HttpExchange):
    """Answers a request about stored responses by a call of the service.

    Args:
        state: See HttpExchange, like `method`, `headers` and `responder`.
        route: Path of the route.
        response_id: The id in the path, or an empty string.
        query: The query, without a question mark.
    """

    # Whether a token may take the place of the key.
    _takes_token: ClassVar[bool] = False

    def __init__(
        self,
        state: GatewayState,
        route: str,
        method: str,
        headers: Mapping[bytes, bytes],
        responder: Responder,
        *,
        response_id: str,
        query: str,
    ) -> None:
        super().__init__(state, route, method, headers, responder)
        self._id = response_id
        self._query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self._key_digest = b""

    def receive(self, part: bytes) -> None:
        """Ignore the body, which has no meaning, up to its limit."""
        self._size += len(part)
        if not self.is_over and self._size > self._state.config.body_bytes_max:
            self._refuse_size()

    def receive_end(self) -> None:
        if not self.is_over and self._arrive_if_room():
            self._take_body(lambda _: self._start())

    def _admit(self) -> None:
        state, headers = self._state, self._headers
        token = self._query.get(READ_TOKEN) if self._takes_token else None
        if token is None:
            super()._admit()
            self._key_digest = state.key_digest_of(headers)
        else:
            state.check_origin(headers)
            self._key_digest = find_signer(state.key_digests, self._id, token, time.time())
            state.check_room()

    @abc.abstractmethod
    def _start(self) -> None:
        """Request the answer."""

    def _error_of(self, error: CallError) -> MistralwireError:
        if error.code == "UNIMPLEMENTED":
            # An older service does not even know the method.
            return HttpError(404, _NO_LOG, reason=Reason.NO_RESPONSE_LOG)
        if error.violations:
            return unknown_response_error()
        return self._state.error_for_caller(error)

    def _options(self) -> Any:
        return self._call_options(owner_of_key(self._key_digest))

    def _log_names(self) -> list[tuple[str, str]]:
        return [("response_id", self._id)]
