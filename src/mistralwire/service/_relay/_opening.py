"""The start of a recorded call: what its metadata ask for, and its response in the log, new or joined."""

import asyncio
import contextlib
import hashlib
import math
import re
import secrets
from typing import Any, NamedTuple, Protocol

from mistralwire import _offload, codec
from mistralwire._metadata import IDEMPOTENCY_KEY, ON_DISCONNECT, RESPONSE_ID, Metadata
from mistralwire._methods import Method
from mistralwire.errors import CodecError, DecodeError, OverloadError, Reason, ResponseError, Violation
from mistralwire.log import KeyClaim, Opening, StoredResponse, exists_error
from mistralwire.service._config import RelayConfig, parse_on_disconnect
from mistralwire.service._relay._recording import RecordedCall, Recorder, Recording
from mistralwire.service._relay._rules import (
    LOG_FAILURES,
    LOG_WAIT_S_MAX,
    MODEL_CHARS_MAX,
    RESPONSE_ID_PATTERN,
    log_id,
    reserve,
)
from mistralwire.v1 import ResponseKind, ResponseState

_KEY = re.compile("[ -~]{1,255}")
_RANDOM_BYTES = 16
# Of a key, in the state of a response that was opened for it; the digest of the request follows.
_MARK_BYTES = 16
_KINDS = {
    "ChatCompletion": ResponseKind.RESPONSE_KIND_CHAT,
    "FIMCompletion": ResponseKind.RESPONSE_KIND_FIM,
    "AgentsCompletion": ResponseKind.RESPONSE_KIND_AGENTS,
}


class OpeningCall(RecordedCall, Protocol):
    """A call whose response is being opened."""

    is_over: bool

    def recorded(self, recording: Recording | None) -> None:
        """Go on, or end, with a response in the log; None if it is not stored."""

    def joined(self, id: str) -> None:
        """Answer with a response that is in the log already."""

    def failed(self, error: BaseException) -> None: ...


class RecordingOptions(NamedTuple):
    """What the metadata of a call ask for.

    Attributes:
        response_id: Id of the response: the caller's choice, or a random one.
        keep_s: Seconds for which the response waits for a caller who has gone; infinity to finish it.
        key: The idempotency key; None without one.
        is_chosen: Whether the caller has chosen the id.
    """

    response_id: str
    keep_s: float
    key: str | None
    is_chosen: bool


def options_of(metadata: Metadata, config: RelayConfig) -> RecordingOptions:
    """Return what the metadata of a call ask for.

    Raises:
        DecodeError: If a value is invalid.
    """
    values = {
        name: value for name, value in metadata if name in (RESPONSE_ID, ON_DISCONNECT, IDEMPOTENCY_KEY)
    }
    response_id, key = values.get(RESPONSE_ID), values.get(IDEMPOTENCY_KEY)
    policy = values.get(ON_DISCONNECT, config.on_disconnect)
    if response_id is not None and not _is_valid(response_id, RESPONSE_ID_PATTERN):
        raise _invalid(RESPONSE_ID, "1 to 128 letters, digits and -_ characters")
    if key is not None and not _is_valid(key, _KEY):
        raise _invalid(IDEMPOTENCY_KEY, "1 to 255 printable ASCII characters")
    keep_s = parse_on_disconnect(policy) if isinstance(policy, str) else None
    if keep_s is None:
        raise _invalid(ON_DISCONNECT, 'cancel, finish, or keep with seconds, such as "keep 30"')
    return RecordingOptions(
        str(response_id or f"resp_{secrets.token_hex(_RANDOM_BYTES)}"),
        keep_s,
        None if key is None else str(key),
        response_id is not None,
    )


class ResponseOpener:
    """Opens the response of one call in the log, or finds the one that the call joins.

    The call goes on at once, and the response is opened meanwhile. It goes on without being stored if the log
    fails, or the caller's stored responses have as many bytes as they may. A call with an idempotency key
    waits for the log, and is refused then: without it, nobody knows whether the model was asked.

    Args:
        recorder: The log, and its limits.
        call: Learns the outcome, unless it is over by then.
        owner: Whom the response belongs to.
        method: The method of the call.
        request: Its request.
        options: What its metadata ask for.
    """

    def __init__(
        self,
        recorder: Recorder,
        call: OpeningCall,
        *,
        owner: str,
        method: Method,
        request: Any,
        options: RecordingOptions,
    ) -> None:
        self._recorder = recorder
        self._log = recorder.log
        self._call = call
        self._owner = owner
        self._method = method
        self._request = request
        self._options = options
        self._id = log_id(owner, options.response_id)
        self._deadline_s = math.inf
        self._timer: asyncio.TimerHandle | None = None
        # Whether the call waits no longer, and whether the response is in the log.
        self._is_late = self._is_open = False
        self._is_reserved = False
        # The recording of a call that does not wait until it is.
        self._opening: Recording | None = None

    def start(self) -> None:
        if not self._recorder.has_room:
            self._fail(_log_error("the response log fails"))
            return
        loop = asyncio.get_running_loop()
        self._deadline_s = loop.time() + LOG_WAIT_S_MAX
        self._timer = loop.call_at(self._deadline_s, self._give_up)
        self._recorder.run(self._run())

    async def _run(self) -> None:
        try:
            await self._open_or_join()
            if self._opening is not None:
                await self._finish_opening(self._opening)
        finally:
            if self._is_reserved:
                self._log.unreserve(self._id, self._owner)
            if self._timer is not None:
                self._timer.cancel()

    async def _open_or_join(self) -> None:
        key = self._options.key
        try:
            joined_id = await (self._open() if key is None else self._open_with_key(key))
        except Exception as error:  # noqa: BLE001 - it ends the call
            # A log that fails may have opened it all the same.
            if self._is_open or (_is_of_log(error) and not self._recorder.is_held(self._id)):
                self._end_later()
            if not self._is_late:
                self._fail(error)
        else:
            if joined_id is not None:
                if not self._is_unwanted:
                    self._call.joined(joined_id)
            elif self._is_open:
                self._begin()

    def _begin(self) -> None:
        if self._is_late:
            self._end_later()
            return
        self._call.recorded(self._recording())

    async def _finish_opening(self, recording: Recording) -> None:
        """Open the response of a call that goes on meanwhile."""
        try:
            await self._create()
        except Exception as error:  # noqa: BLE001 - the call must not end by it
            recording.not_opened(error)
        else:
            recording.opened()

    def _end_later(self) -> None:
        """End the response, which is in the log, without the call."""
        recording = self._recording()
        recording.leave()
        self._recorder.dropped(recording)

    def _recording(self, *, is_open: bool = True) -> Recording:
        left_s = self._deadline_s - asyncio.get_running_loop().time()
        recording = Recording(
            self._recorder,
            self._call,
            self._id,
            keep_s=self._options.keep_s,
            wait_s=left_s,
            is_open=is_open,
        )
        self._recorder.begin(recording)
        return recording

    def _fail(self, error: Exception) -> None:
        if self._options.key is None and (_is_of_log(error) or _is_of_bytes(error)):
            if _is_of_log(error):
                self._recorder.count(self._id, str(error))
            else:
                self._recorder.count_without_bytes()
            self._call.recorded(None)
        elif not self._call.is_over:
            self._call.failed(error)

    def _give_up(self) -> None:
        if self._opening is not None:
            self._opening.drop("the log is too slow")
            return
        self._fail(_log_error("the response log is too slow"))
        self._is_late = True

    async def _open(self) -> None:
        """Let the call begin, unless its id was used before: then it waits for the log, too."""
        try:
            await self._reserve()
        except OverloadError as error:
            if _is_of_bytes(error) and self._options.is_chosen and not await self._is_free():
                raise exists_error() from None
            raise
        if self._options.is_chosen and await self._log.describe(self._id) is not None:
            exists = await self._create_if_new()
            if exists is not None:
                raise exists
        elif self._recorder.is_held(self._id):
            raise exists_error()
        elif not self._is_unwanted:
            self._opening = self._recording(is_open=False)
            self._call.recorded(self._opening)

    async def _open_with_key(self, key: str) -> str | None:
        """Open the response, and claim the key for it; return the response that has it instead, if one has.

        The response is open before it has the key: a key never belongs to one that does not exist yet.
        """
        log, owner = self._log, self._owner
        digest = await request_digest(self._method, self._request)
        mark = hashlib.blake2b(key.encode(), digest_size=_MARK_BYTES).digest()
        overload = None
        try:
            await self._reserve()
        except OverloadError as error:
            # Who joins needs no place.
            overload = error
        # Two that find the key free again must not both take it.
        async with self._recorder.lock(owner, key):
            while not self._is_unwanted:
                exists = None if self._is_open else await self._create_if_new(mark + digest)
                if self._is_unwanted:
                    break
                claim = await self._claim(key, mark, digest, has_opened=exists is None)
                if claim.is_new:
                    if exists is None:
                        break
                    await log.release_key(owner, key, self._id)
                    if not await self._is_free():
                        raise exists
                    continue
                stored = await log.describe(claim.id)
                # One that has the id and no such key holds the key for a moment, as above.
                if stored is not None and not _has_failed_early(stored) and stored.state.startswith(mark):
                    await self._discard()
                    if claim.digest != digest:
                        raise _reused_error()
                    return claim.id
                await log.release_key(owner, key, claim.id)
        if overload is not None:
            await self._discard()
            raise overload
        return None

    @property
    def _is_unwanted(self) -> bool:
        """Whether the call has ended, or was refused: nobody must join what it opens."""
        return self._is_late or self._call.is_over

    async def _claim(self, key: str, mark: bytes, digest: bytes, *, has_opened: bool) -> KeyClaim:
        """Claim the key, unless another node has opened the response for it, and has not claimed it yet."""
        if not has_opened:
            stored = await self._log.describe(self._id)
            if stored is not None and stored.state.startswith(mark):
                return KeyClaim(self._id, stored.state[_MARK_BYTES:], is_new=False)
        return await self._log.claim_key(self._owner, key, digest, self._id)

    async def _reserve(self) -> None:
        await reserve(self._log, self._id, self._owner, self._recorder.config)
        self._is_reserved = True

    async def _create(self, state: bytes = b"") -> None:
        name = self._method.name.removesuffix("Stream")
        model = getattr(self._request, "model", "")[:MODEL_CHARS_MAX]
        await self._log.open(
            Opening(id=self._id, owner=self._owner, kind=_KINDS[name], model=model, state=state, is_new=True)
        )
        self._is_open = True

    async def _create_if_new(self, state: bytes = b"") -> ResponseError | None:
        """Open the response, or return the error if it exists; one that has failed early is replaced.

        So a call that gRPC retries after such a failure, with the same id, is answered.

        Args:
            state: What tells of its key and its request.
        """
        while True:
            try:
                await self._create(state)
            except ResponseError as error:
                if error.reason != Reason.RESPONSE_EXISTS:
                    raise
                exists = error
            else:
                return None
            async with self._recorder.lock(self._id):
                stored = await self._log.describe(self._id)
                if stored is not None and not _has_failed_early(stored):
                    return exists
                if stored is not None:
                    await self._delete(stored)

    async def _delete(self, stored: StoredResponse) -> None:
        """Delete a response, unless another node has done that, or has opened a new one with its id."""
        try:
            await self._log.delete(stored.id, revision=stored.revision)
        except ResponseError as error:
            if error.reason not in (Reason.RESPONSE_NOT_FOUND, Reason.LOG_CONFLICT):
                raise

    async def _is_free(self) -> bool:
        """Check whether no response has the id, or one that has failed early."""
        stored = await self._log.describe(self._id)
        return stored is None or _has_failed_early(stored)

    async def _discard(self) -> None:
        """Delete the response, which is not needed, with its keys."""
        if self._is_open:
            await self._log.delete(self._id)
            self._is_open = False


async def request_digest(method: Method, request: Any) -> bytes:
    """Return what tells a request from others: the same for JSON and for messages of any contract revision.

    That the answer is a stream belongs to the method, so it makes no difference whether the request says so.
    """

    def digest() -> bytes:
        lifted = request
        with contextlib.suppress(CodecError):
            lifted = codec.lift(request)
        own: Any = type(lifted)()
        own.CopyFrom(lifted)
        if "stream" in own.DESCRIPTOR.fields_by_name:
            own.ClearField("stream")
        data = method.name.encode() + b"\0" + own.SerializeToString(deterministic=True)
        return hashlib.sha256(data).digest()

    return await _offload.in_thread_if_heavy(request.SerializeToString(), digest)


def _log_error(cause: str) -> ResponseError:
    return ResponseError(f"{cause}; retry later", code="UNAVAILABLE", reason=Reason.LOG_UNAVAILABLE)


def _is_of_log(error: Exception) -> bool:
    return isinstance(error, ResponseError) and error.reason in LOG_FAILURES


def _is_of_bytes(error: Exception) -> bool:
    """Check whether the stored responses of the caller have as many bytes as they may."""
    return isinstance(error, OverloadError) and error.reason == Reason.TOO_MANY_STORED_BYTES


def _has_failed_early(stored: StoredResponse) -> bool:
    """Check whether a response has ended before its first event: its id and its key are then free again."""
    return (
        stored.end is not None
        and not stored.last
        and (stored.end.state != ResponseState.RESPONSE_STATE_FINISHED)
    )


def _reused_error() -> ResponseError:
    return ResponseError(
        "another request was sent with this idempotency-key; use a new key for each request",
        code="INVALID_ARGUMENT",
        reason=Reason.IDEMPOTENCY_KEY_REUSED,
    )


def _is_valid(value: str | bytes, pattern: re.Pattern[str]) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _invalid(name: str, expected: str) -> DecodeError:
    return DecodeError([Violation(name, expected, "something else")], type_name="the metadata")
