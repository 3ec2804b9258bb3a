"""A service whose upstream is a program: it makes messages with everything that its contract has.

Its argument is the revision that it writes for. It prints its address. What its upstream is handed it says in
the text of its answer.
"""

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from typing import Any

from google.protobuf import text_format

from mistralwire import v1
from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import CallContext


class Author:
    """Answers with what it was asked."""

    async def complete(self, request: Any, context: CallContext) -> v1.ChatCompletionResponse:
        response = v1.ChatCompletionResponse(
            id="r-1", object="chat.completion", model=request.model, created=1, usage=v1.UsageInfo()
        )
        choice = response.choices.add(index=0)
        choice.finish_reason = v1.FinishReason.FINISH_REASON_STOP
        choice.message.role = "assistant"
        choice.message.content_array.items.add().text.text = _shown(request)
        if v1.CONTRACT_REVISION > 1:
            _add_news(response, choice, choice.message)
        return response

    async def stream(self, request: Any, context: CallContext) -> AsyncIterator[v1.CompletionChunk]:
        chunk = v1.CompletionChunk(id="r-1", model=request.model)
        chunk.choices.add(index=0).delta.content_string = _shown(request)
        yield chunk
        chunk = v1.CompletionChunk(id="r-1", model=request.model)
        choice = chunk.choices.add(index=0)
        choice.finish_reason = v1.FinishReason.FINISH_REASON_STOP
        if v1.CONTRACT_REVISION > 1:
            _add_news(chunk, choice, choice.delta)
        yield chunk


def _add_news(answer: Any, choice: Any, message: Any) -> None:
    choice.finish_reason = v1.FinishReason.Value("FINISH_REASON_CONTENT_FILTER")
    message.content_array.items.add().video_url.video_url = "https://example.com/v"
    call = message.tool_calls.add()
    call.id_object.value = "c-1"
    call.function.name = "f"
    call.function.arguments_array.items.append("a")
    answer.generation_report.region = "eu"


def _shown(request: Any) -> str:
    return str(text_format.MessageToString(request, as_one_line=True, as_utf8=True))


async def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    config = ServerConfig(port=0, contract_revision=int(sys.argv[1]))
    async with create_server(Author(), config) as server:
        print(server.address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
