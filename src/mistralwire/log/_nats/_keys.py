"""Idempotency keys: a subject a key and holder, stored only if the key has no holder."""

import json
import secrets

from mistralwire.log._nats._connection import (
    EXPECTED_LAST,
    EXPECTED_LAST_SUBJECT,
    Connection,
    NoAnswerError,
    Outgoing,
    RefusedError,
)
from mistralwire.log._nats._records import digest
from mistralwire.log._response_log import KeyClaim


class Keys:
    """The keys of all callers.

    Args:
        connection: The connection.
        stream: Name of the stream.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def claim(self, owner: str, key: str, request: bytes, id: str) -> KeyClaim:
        """Claim a key; see `ResponseLog.claim_key`."""
        any_holder = self._subject(digest(owner, key), "*")
        subject = self._subject(digest(owner, key), digest(id))
        token = secrets.token_hex(8)
        headers = {EXPECTED_LAST: "0", EXPECTED_LAST_SUBJECT: any_holder}
        message = Outgoing(subject, headers, json.dumps((token, id, request.hex())).encode())

        async def attempt() -> KeyClaim:
            try:
                await self._connection.store([message])
            except (NoAnswerError, RefusedError):
                held = await self._connection.last(any_holder)
                if held is None:
                    raise
            else:
                return KeyClaim(id, request, is_new=True)
            held_token, held_id, held_request = json.loads(held.data)
            return KeyClaim(held_id, bytes.fromhex(held_request), is_new=held_token == token)

        return await self._connection.persist(attempt)

    async def release(self, owner: str, key: str, id: str) -> None:
        """Release a key if this response holds it."""
        await self._purge(self._subject(digest(owner, key), digest(id)))

    async def release_all(self, id: str) -> None:
        """Release the keys of a response."""
        await self._purge(self._subject("*", digest(id)))

    async def _purge(self, subject: str) -> None:
        await self._connection.persist(lambda: self._connection.purge(subject))

    def _subject(self, key: str, holder: str) -> str:
        return f"{self._stream}.k.{key}.{holder}"
