"""Requests about stored responses that have one answer: to list, read, cancel and delete them; tokens."""

import abc
import re
import time

import orjson

from mistralwire import _offload
from mistralwire.errors import CallError, CodecError
from mistralwire.gateway._errors import HttpAnswer, HttpError, unencodable_answer
from mistralwire.gateway._responses._read_token import make_read_token
from mistralwire.gateway._responses._response_exchange import ResponseExchange
from mistralwire.gateway._responses._response_json import info_headers, response_json, summary_of

_ORDERS = {"asc": True, "desc": False}
_PAGE_SIZE, _PAGE_SIZE_MAX = 20, 100
_PAGE_SIZE_DIGITS = re.compile("[0-9]{1,3}")


class AnswerExchange(ResponseExchange):
    """Answers a request with JSON."""

    def _start(self) -> None:
        self._run(self._ask(), self._answer_found)

    @abc.abstractmethod
    async def _find(self) -> HttpAnswer:
        """Return the answer."""

    async def _ask(self) -> HttpAnswer:
        try:
            return await self._find()
        except CallError as error:
            raise self._error_of(error) from None

    def _answer_found(self, answer: HttpAnswer) -> None:
        self._answer(answer)
        self._finish(None)


class GetExchange(AnswerExchange):
    """Answers with what there is of a response."""

    _takes_token = True

    async def _find(self) -> HttpAnswer:
        found = await self._state.client.get_response(self._id, **self._options())
        try:
            if found.ByteSize() <= _offload.LOOP_WEIGHT_MAX:
                text = response_json(found)
            else:
                text = await _offload.in_thread(response_json, found)
        except CodecError:
            raise unencodable_answer() from None
        return HttpAnswer(200, text, info_headers(found.info))


class DeleteExchange(AnswerExchange):
    """Deletes a response that has ended; answers with OpenAI's object."""

    async def _find(self) -> HttpAnswer:
        deleted = await self._state.client.delete_response(self._id, **self._options())
        info = deleted.info
        body = {"object": "chat.completion.deleted", "id": info.response_id, "deleted": True}
        return HttpAnswer(200, orjson.dumps(body), info_headers(info))


class CancelExchange(AnswerExchange):
    """Cancels a response that runs; answers with its end."""

    async def _find(self) -> HttpAnswer:
        cancelled = await self._state.client.cancel_response(self._id, **self._options())
        return HttpAnswer(200, orjson.dumps(summary_of(cancelled.info)), info_headers(cancelled.info))


class TokenExchange(AnswerExchange):
    """Makes a token that reads a response for a while."""

    async def _find(self) -> HttpAnswer:
        found = await self._state.client.get_response(self._id, info_only=True, **self._options())
        response_id = found.info.response_id
        token = make_read_token(self._key_digest, response_id, time.time())
        body = {
            "object": "chat.completion.token",
            "id": response_id,
            "token": token.text,
            "expires_at": token.expires_s,
        }
        return HttpAnswer(200, orjson.dumps(body), info_headers(found.info))


class ListExchange(AnswerExchange):
    """Answers with a page of the caller's responses."""

    async def _find(self) -> HttpAnswer:
        query = self._query
        order, limit = query.get("order", "asc"), query.get("limit", str(_PAGE_SIZE))
        if order not in _ORDERS:
            raise HttpError(400, "expected asc or desc as order, found something else")
        if not _PAGE_SIZE_DIGITS.fullmatch(limit) or not 1 <= int(limit) <= _PAGE_SIZE_MAX:
            raise HttpError(400, f"expected a limit from 1 to {_PAGE_SIZE_MAX}, found something else")
        if any(name.partition("[")[0] == "metadata" for name in query):
            raise HttpError(400, "expected no metadata, found some: responses are stored without any")
        after = token = query.get("after")
        try:
            while True:
                page = await self._state.client.list_responses(
                    page_size=int(limit),
                    page_token=token,
                    oldest_first=_ORDERS[order],
                    model=query.get("model"),
                    **self._options(),
                )
                token = page.next_page_token
                # OpenAI's SDK ends at a page without any; the caller goes on by the id of the last one.
                if page.responses or not token:
                    break
        except CallError as error:
            if after and error.violations:
                raise HttpError(400, "expected the id of a response as after, found something else") from None
            raise
        data = [summary_of(info) for info in page.responses]
        body = {
            "object": "list",
            "data": data,
            "first_id": data[0]["id"] if data else None,
            "last_id": data[-1]["id"] if data else None,
            "has_more": bool(page.next_page_token),
        }
        return HttpAnswer(200, orjson.dumps(body), [(b"cache-control", b"no-store")])
