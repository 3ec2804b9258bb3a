"""Recordings are played as they were recorded."""

import asyncio
import json
import logging
import pathlib
import re
from typing import Any

import pytest

from mistralwire import to_json
from mistralwire.errors import UpstreamError
from mistralwire.upstream import DEMONSTRATION, CallContext, CompletionStreamRequest, ReplayUpstream
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
)
from tests.clock import JumpingLoop

REPLAY = pathlib.Path(__file__).parent.parent / "data" / "replay"


def recorded_chunks(name: str) -> list[Any]:
    lines = (REPLAY / name).read_text().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]


def recorded_response(name: str) -> Any:
    return json.loads((REPLAY / name).read_text())


def as_json(message: Any) -> Any:
    return json.loads(to_json(message))


async def play(
    upstream: ReplayUpstream,
    request: CompletionStreamRequest | None = None,
) -> list[Any]:
    return [
        as_json(chunk)
        async for chunk in upstream.stream(request or ChatCompletionStreamRequest(), CallContext())
    ]


@pytest.mark.parametrize("name", ["chat.sse", "tool-calls.sse", "paced.sse"])
async def test_a_stream_is_played_as_it_was_recorded(name: str) -> None:
    assert await play(ReplayUpstream(REPLAY / name)) == recorded_chunks(name)


async def test_a_response_is_played_as_it_was_recorded() -> None:
    upstream = ReplayUpstream(REPLAY / "chat.json")

    response = await upstream.complete(ChatCompletionRequest(), CallContext())

    assert isinstance(response, ChatCompletionResponse)
    assert as_json(response) == recorded_response("chat.json")


async def test_each_kind_of_request_picks_its_kind_of_recording() -> None:
    upstream = ReplayUpstream([REPLAY / "chat.json", REPLAY / "fim.json", REPLAY / "chat.sse"])

    fim = await upstream.complete(FIMCompletionRequest(), CallContext())

    assert isinstance(fim, FIMCompletionResponse)
    assert as_json(fim) == recorded_response("fim.json")
    assert as_json(await upstream.complete(ChatCompletionRequest(), CallContext())) == recorded_response(
        "chat.json"
    )
    assert await play(upstream) == recorded_chunks("chat.sse")
    assert (await play(upstream, FIMCompletionStreamRequest()))[0]["id"] == "fim-1"


async def test_requests_for_agents_are_answered_by_chat_recordings() -> None:
    upstream = ReplayUpstream([REPLAY / "fim.json", REPLAY / "chat.json", REPLAY / "chat.sse"])

    response = await upstream.complete(AgentsCompletionRequest(), CallContext())

    assert isinstance(response, ChatCompletionResponse)
    assert as_json(response) == recorded_response("chat.json")
    assert await play(upstream, AgentsCompletionStreamRequest()) == recorded_chunks("chat.sse")


async def test_a_chat_recording_answers_fim_requests_where_there_is_no_other() -> None:
    response = await ReplayUpstream(REPLAY / "chat.json").complete(FIMCompletionRequest(), CallContext())

    assert isinstance(response, FIMCompletionResponse)
    assert as_json(response) == recorded_response("chat.json")


async def test_a_stream_answers_unary_requests_put_together() -> None:
    upstream = ReplayUpstream(REPLAY / "tool-calls.sse")

    response = as_json(await upstream.complete(ChatCompletionRequest(), CallContext()))

    calls = response["choices"][0]["message"]["tool_calls"]
    assert [call["function"] for call in calls] == [
        {"name": "search", "arguments": '{"query": "owls"}'},
        {"name": "clock", "arguments": "{}"},
    ]


async def test_recordings_take_turns() -> None:
    upstream = ReplayUpstream([REPLAY / "chat.sse", REPLAY / "tool-calls.sse"])

    played = [(await play(upstream))[0]["id"] for _ in range(4)]

    assert played == ["stream-1", "stream-2", "stream-1", "stream-2"]


async def test_an_error_in_the_middle_comes_after_the_chunks_before_it() -> None:
    upstream = ReplayUpstream(REPLAY / "error-in-the-middle.sse")
    chunks = upstream.stream(ChatCompletionStreamRequest(), CallContext())

    played = [as_json(await anext(chunks)), as_json(await anext(chunks))]
    with pytest.raises(UpstreamError, match="the capacity of this tier is exceeded") as caught:
        await anext(chunks)

    assert played == recorded_chunks("error-in-the-middle.sse")[:2]
    assert (caught.value.status, caught.value.code) == (429, "RESOURCE_EXHAUSTED")
    with pytest.raises(UpstreamError, match="the capacity"):
        await upstream.complete(ChatCompletionRequest(), CallContext())


async def test_a_stream_without_done_is_complete_where_all_choices_have_ended(
    tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mistralwire.upstream")
    recording = tmp_path / "chat.sse"
    end = (
        b'data: {"id":"stream-4","choices":[{"index":0,"delta":{"content":" end."},"finish_reason":"stop"}]}'
    )
    recording.write_bytes((REPLAY / "without-done.sse").read_bytes() + end + b"\n\n")
    upstream = ReplayUpstream(recording)
    chunks = [chunk async for chunk in upstream.stream(ChatCompletionStreamRequest(), CallContext())]
    assert len(chunks) == 3
    response = as_json(await upstream.complete(ChatCompletionRequest(), CallContext()))
    assert response["choices"][0]["message"]["content"] == "This stream has no end."
    (remark,) = caplog.records
    expected = "the stream ended without [DONE], but each choice had a finish_reason; treated as complete"
    assert remark.getMessage() == f"{recording}:6: {expected}"


async def test_a_stream_without_done_breaks_at_its_end() -> None:
    chunks = ReplayUpstream(REPLAY / "without-done.sse").stream(ChatCompletionStreamRequest(), CallContext())

    played = [as_json(await anext(chunks)), as_json(await anext(chunks))]
    with pytest.raises(UpstreamError, match=r"found its end without it") as caught:
        await anext(chunks)

    assert played == recorded_chunks("without-done.sse")
    assert caught.value.reason == "STREAM_TRUNCATED"


def times_s(upstream: ReplayUpstream) -> list[float]:
    """Return when each chunk came, in seconds from the request."""

    async def play_timed() -> list[float]:
        loop = asyncio.get_running_loop()
        start_s = loop.time()
        return [
            loop.time() - start_s async for _ in upstream.stream(ChatCompletionStreamRequest(), CallContext())
        ]

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(play_timed())


def test_recorded_pauses_are_kept() -> None:
    assert times_s(ReplayUpstream(REPLAY / "paced.sse")) == pytest.approx([0, 0.04, 0.08])


def test_a_pace_replaces_the_pauses_and_the_first_chunk_does_not_wait() -> None:
    upstream = ReplayUpstream(REPLAY / "paced.sse", chunks_per_second=10)

    assert times_s(upstream) == pytest.approx([0, 0.1, 0.2])


def test_several_pauses_before_an_event_add_up(tmp_path: pathlib.Path) -> None:
    recording = tmp_path / "a.sse"
    recording.write_text(
        ": delay 100\n: delay 20\n\n:delay 3\ndata: {}\n\ndata: {}\n\n: delay 7\ndata: {}\n\ndata: [DONE]\n\n"
    )

    assert times_s(ReplayUpstream(recording)) == pytest.approx([0.123, 0.123, 0.13])


def test_the_recordings_of_a_folder_come_in_the_order_of_their_names(tmp_path: pathlib.Path) -> None:
    names = [f"{letter}.json" for letter in "hcafdgbe"]
    for name in names:
        (tmp_path / name).write_text('{"choices": []}')

    assert [file.name for file in ReplayUpstream(tmp_path).files] == sorted(names)


@pytest.mark.parametrize(
    ("body", "message", "code_and_reason"),
    [
        (
            {"object": "error", "message": "no such model", "raw_status_code": 404},
            "no such model",
            ("NOT_FOUND", "UPSTREAM_NOT_FOUND"),
        ),
        (
            {"detail": [{"loc": ["body"], "msg": "is missing"}]},
            "is missing",
            ("INVALID_ARGUMENT", "UPSTREAM_INVALID_REQUEST"),
        ),
        ({"detail": "not today"}, "not today", ("UNAVAILABLE", "UPSTREAM_FAILED")),
        (
            {"message": "Unauthorized", "status": 401},
            "refused the credentials of the service",
            ("FAILED_PRECONDITION", "UPSTREAM_UNAUTHENTICATED"),
        ),
        (
            {"error": {"message": "slow down", "code": 429}},
            "slow down",
            ("RESOURCE_EXHAUSTED", "UPSTREAM_RATE_LIMITED"),
        ),
        ({"error": "broken", "choices": None}, "broken", ("UNAVAILABLE", "UPSTREAM_FAILED")),
        ({"error": {"message": "broken"}, "choices": []}, "broken", ("UNAVAILABLE", "UPSTREAM_FAILED")),
    ],
)
@pytest.mark.parametrize("name", ["chat.json", "fim.json"])
async def test_a_recorded_error_body_is_an_error_for_every_request(
    tmp_path: pathlib.Path, name: str, body: dict[str, Any], message: str, code_and_reason: tuple[str, str]
) -> None:
    (tmp_path / name).write_text(json.dumps(body))
    upstream = ReplayUpstream(tmp_path, chunks_per_second=1000)

    for request in (ChatCompletionRequest(), FIMCompletionRequest()):
        with pytest.raises(UpstreamError, match=message) as caught:
            await upstream.complete(request, CallContext())
        assert (caught.value.code, caught.value.reason) == code_and_reason
    for stream_request in (ChatCompletionStreamRequest(), FIMCompletionStreamRequest()):
        with pytest.raises(UpstreamError, match=message) as caught:
            await play(upstream, stream_request)
        assert (caught.value.code, caught.value.reason) == code_and_reason


async def test_a_response_with_an_error_beside_its_choices_is_a_response(tmp_path: pathlib.Path) -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}
    body = {"id": "1", "choices": [choice], "error": {"message": "partly"}}
    (tmp_path / "chat.json").write_text(json.dumps(body))

    assert as_json(await ReplayUpstream(tmp_path).complete(ChatCompletionRequest(), CallContext())) == body


async def test_a_response_that_no_stream_can_carry_fails_streaming_requests_alone(
    tmp_path: pathlib.Path,
) -> None:
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "delta": {"b": 1}}]}
    (tmp_path / "chat.json").write_text(json.dumps(body))
    upstream = ReplayUpstream(tmp_path)

    assert as_json(await upstream.complete(ChatCompletionRequest(), CallContext())) == body
    with pytest.raises(UpstreamError, match=r"chat\.json: .*expected a response that a stream can") as caught:
        await play(upstream)
    assert caught.value.reason == "BAD_RECORDING"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("bad.json", "{\n  oops\n}", r"bad\.json: .*line 2"),
        ("bad.json", "[1]", r"bad\.json: document: expected an object, found an array"),
        (
            "bad.json",
            "{}",
            r"bad\.json: expected choices, or an error body, found an object that has neither",
        ),
        ("bad.json", '{"id": "1", "choices": null}', r"bad\.json: expected choices, or an error body"),
        ("bad.sse", 'data: {"id": "1", "cho', r"bad\.sse: expected the events .* inside the event at line 1"),
        ("bad.sse", ": remark\n\ndata: {}\n\ndata: {oops\n\n", r"bad\.sse:5: .*expected JSON"),
        ("bad.sse", "data: [DONE]\n\n", r"bad\.sse: expected the events of a stream, found none"),
        ("bad.sse", "", r"bad\.sse: expected the events of a stream, found none"),
        (
            "bad.sse",
            "data: {}\n\ndata: [DONE]\n\ndata: {}\n\n",
            r"bad\.sse:5: .*nothing after data: \[DONE\]",
        ),
        ("bad.txt", "{}", r"bad\.txt: expected a \.json file, an \.sse file or a folder"),
    ],
)
def test_a_bad_recording_fails_at_once_with_file_and_line(
    tmp_path: pathlib.Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(UpstreamError, match=message) as caught:
        ReplayUpstream(tmp_path / name)

    assert caught.value.reason == "BAD_RECORDING"


def test_no_recording_at_all_fails_at_once(tmp_path: pathlib.Path) -> None:
    with pytest.raises(
        UpstreamError, match=re.escape(f"expected a .json or .sse file in {tmp_path}, found none")
    ):
        ReplayUpstream(tmp_path)
    with pytest.raises(UpstreamError, match=r"gone\.json: expected a file that can be read"):
        ReplayUpstream(tmp_path / "gone.json")


@pytest.mark.parametrize("pace", [0, -1, float("nan")])
def test_a_pace_must_be_above_zero(pace: float) -> None:
    with pytest.raises(ValueError, match="chunks_per_second must be above 0"):
        ReplayUpstream(REPLAY, chunks_per_second=pace)


async def test_the_demonstration_answers_every_kind_of_request() -> None:
    upstream = ReplayUpstream(DEMONSTRATION, chunks_per_second=1000)

    assert (
        "recorded"
        in as_json(await upstream.complete(ChatCompletionRequest(), CallContext()))["choices"][0]["message"][
            "content"
        ]
    )
    assert (
        as_json(await upstream.complete(FIMCompletionRequest(), CallContext()))["model"] == "codestral-latest"
    )
    assert (await play(upstream))[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert (await play(upstream, FIMCompletionStreamRequest()))[0]["model"] == "codestral-latest"
