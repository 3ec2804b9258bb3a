"""`mistralwire call` as a process of its own, against a real server."""

import asyncio
import contextlib
import functools
import json
import os
import pathlib
import pty
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from typing import Any

import grpc
import pytest
import trustme
from click.testing import CliRunner

from mistralwire import explode, from_json, to_dict, to_json
from mistralwire.cli import main
from mistralwire.client import Client
from mistralwire.errors import CallError, OverloadError, UpstreamError, Violation
from mistralwire.service import Server, ServerConfig, create_server
from mistralwire.v1 import (
    AgentsCompletionRequest,
    AgentsCompletionStreamRequest,
    AssistantMessage,
    ChatCompletionChoice,
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    CompletionChunk,
    CompletionResponseStreamChoice,
    ContentChunk,
    ContentChunkList,
    DeltaMessage,
    FIMCompletionRequest,
    FIMCompletionResponse,
    FIMCompletionStreamRequest,
    FinishReason,
    FunctionCall,
    TextChunk,
    ThinkChunk,
    ToolCall,
)
from tests.client.peers import ANSWER, server_of
from tests.service.upstreams import REQUEST, HeldUpstream, chunk

from .serving import SETTINGS, started
from .serving import serving as serving_process

pytestmark = pytest.mark.process

COMMAND = (sys.executable, "-m", "mistralwire", "call")
DONE = FinishReason.FINISH_REASON_STOP


calling = functools.partial(started, "call")


async def call(*arguments: str, stdin: bytes | None = None, **env: str) -> tuple[int | None, str, str]:
    """Run the command in a thread, which starts sooner than a process; return its code and what it prints."""
    runner = CliRunner(env={**dict.fromkeys(SETTINGS), **env})
    async with asyncio.timeout(60):
        result = await asyncio.to_thread(runner.invoke, main, ["call", *arguments], input=stdin)
    return result.exit_code, result.stdout, result.stderr


def serving(*items: Any) -> tuple[HeldUpstream, Server]:
    upstream = HeldUpstream()
    for item in items:
        upstream.items.put_nowait(item)
    return upstream, create_server(upstream, ServerConfig(port=0))


def piece(index: int = 0, **delta: Any) -> CompletionChunk:
    choice = CompletionResponseStreamChoice(index=index, delta=DeltaMessage(**delta))
    return CompletionChunk(id="c", model="m", choices=[choice])


def response(*messages: AssistantMessage) -> ChatCompletionResponse:
    choices = [
        ChatCompletionChoice(index=index, finish_reason=DONE, message=message)
        for index, message in enumerate(messages)
    ]
    return ChatCompletionResponse(id="r", model="m", choices=choices)


async def test_text_is_printed_as_it_arrives() -> None:
    upstream, server = serving(chunk(0, "Hel"))
    async with server, calling("hello", "--target", server.address) as process:
        assert process.stdout is not None
        assert await process.stdout.readexactly(3) == b"Hel"
        upstream.items.put_nowait(chunk(1, "lo"))
        assert await process.stdout.readexactly(2) == b"lo"
        upstream.items.put_nowait(None)
        output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (0, b"\n", b"")


async def test_the_request_is_made_of_the_arguments() -> None:
    upstream, server = serving(chunk(0), None)
    async with server:
        code, _, errors = await call(
            "Hi",
            "--model",
            "large",
            "--system",
            "Be kind.",
            "--request-id",
            "r-1",
            "--target",
            server.address,
        )

    assert (code, errors) == (0, "")
    document = (
        b'{"model": "large", "stream": true, "messages": [{"role": "system", "content": "Be kind."},'
        b' {"role": "user", "content": "Hi"}]}'
    )
    assert upstream.requests == [from_json(ChatCompletionStreamRequest, document)]
    assert upstream.contexts[0].request_id == "r-1"
    # gRPC rounds timeouts up.
    assert 0 < (upstream.contexts[0].remaining_s() or 0) < 65


@pytest.mark.parametrize("arguments", [(), ("-",)])
async def test_the_prompt_can_come_from_standard_input(arguments: tuple[str, ...]) -> None:
    upstream, server = serving(chunk(0), None)
    async with server:
        code, _, _ = await call(*arguments, stdin="Grüße\n".encode(), MISTRALWIRE_CALL_TARGET=server.address)

    assert code == 0
    request = upstream.requests[0]
    assert isinstance(request, ChatCompletionStreamRequest)
    assert request.messages[0].user.content_string == "Grüße\n"


@pytest.mark.parametrize("is_stream", [True, False])
async def test_fim_fills_the_gap_between_prompt_and_suffix(is_stream: bool) -> None:
    upstream, server = serving()
    if is_stream:
        upstream.items.put_nowait(chunk(0, "gap"))
        upstream.items.put_nowait(None)
    else:
        chat = response(AssistantMessage(content_string="gap"))
        fim = from_json(FIMCompletionResponse, to_json(chat), validate=False)
        upstream.items.put_nowait(fim)
    arguments = ["--fim", "def f(", "--suffix", "return 1", "--model", "code"]
    async with server:
        more = [] if is_stream else ["--no-stream"]
        code, output, _ = await call(*arguments, *more, "--target", server.address)

    assert (code, output) == (0, "gap\n")
    expected: Any = FIMCompletionRequest(model="code", prompt="def f(", suffix="return 1")
    if is_stream:
        expected = FIMCompletionStreamRequest(model="code", prompt="def f(", suffix="return 1", stream=True)
    assert upstream.requests == [expected]


@pytest.mark.parametrize("is_stream", [True, False])
async def test_an_agent_answers_instead_of_a_model(is_stream: bool) -> None:
    answer = [chunk(0, "new"), None] if is_stream else [response(AssistantMessage(content_string="new"))]
    upstream, server = serving(*answer)
    arguments = ["What is new?", "--agent", "ag_1", "--system", "Be brief."]
    async with server:
        more = [] if is_stream else ["--no-stream"]
        code, output, _ = await call(*arguments, *more, "--target", server.address)

    assert (code, output) == (0, "new\n")
    [request] = upstream.requests
    assert type(request) is (AgentsCompletionStreamRequest if is_stream else AgentsCompletionRequest)
    document = to_dict(request)
    assert (document["agent_id"], document.get("stream", False)) == ("ag_1", is_stream)
    assert [message["content"] for message in document["messages"]] == ["Be brief.", "What is new?"]


ANSWERED = response(
    AssistantMessage(
        content_array=ContentChunkList(
            items=[
                ContentChunk(thinking=ThinkChunk(closed=True)),
                ContentChunk(text=TextChunk(text="first", type="text")),
            ]
        ),
        tool_calls=[
            ToolCall(id="1", function=FunctionCall(name="look", arguments_string='{"at": 1}')),
            ToolCall(id="2", function=FunctionCall(name="go", arguments_object='{"to":2}')),
        ],
    ),
    AssistantMessage(content_string="second"),
)
SHOWN = 'first\ntool call: look({"at": 1})\ntool call: go({"to":2})\n--- choice 1 ---\nsecond\n'


async def test_tool_calls_and_other_choices_follow_the_text() -> None:
    _, server = serving(*explode(ANSWERED), None, ANSWERED)
    async with server:
        streamed = await call("hi", "--target", server.address)
        whole = await call("hi", "--no-stream", "--target", server.address)

    assert streamed == (0, SHOWN, "")
    assert whole == (0, SHOWN, "")


async def test_the_choice_that_comes_first_is_printed_as_it_arrives_whatever_its_index() -> None:
    calls = [ToolCall(id="1", function=FunctionCall(name="look", arguments_string="{}"))]
    _, server = serving(
        piece(2, content_string="one"), piece(2, tool_calls=calls), piece(1, content_string="two"), None
    )
    async with server:
        code, output, _ = await call("hi", "--target", server.address)

    assert (code, output) == (0, "one\ntool call: look({})\n--- choice 1 ---\ntwo\n")


async def test_json_is_a_line_per_chunk_or_the_response() -> None:
    chunks = [chunk(0), chunk(1)]
    _, server = serving(*chunks, None, ANSWERED)
    async with server:
        code, output, _ = await call("hi", "--json", "--target", server.address)
        _, whole, _ = await call("hi", "--json", "--no-stream", "--target", server.address)

    assert code == 0
    lines = output.splitlines()
    assert [from_json(CompletionChunk, line, validate=False) for line in lines] == chunks
    assert whole == to_json(ANSWERED).decode() + "\n"


@pytest.mark.parametrize(
    ("document", "arguments", "expected"),
    [
        ({"stream": True}, (), ChatCompletionStreamRequest),
        ({}, (), ChatCompletionStreamRequest),
        ({"stream": False}, (), ChatCompletionRequest),
        ({"stream": True}, ("--no-stream",), ChatCompletionRequest),
    ],
)
async def test_a_whole_request_can_be_given(
    document: dict[str, Any], arguments: tuple[str, ...], expected: type, tmp_path: pathlib.Path
) -> None:
    upstream, server = serving(response() if expected is ChatCompletionRequest else None)
    text = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], "new": 1, **document})
    file = tmp_path / "request.json"
    file.write_text(text)
    async with server:
        code, _, errors = await call("--request", str(file), *arguments, "--target", server.address)

    assert (code, errors) == (0, "")
    request = upstream.requests[0]
    assert type(request) is expected
    assert request.stream is (document.get("stream", False) and not arguments)
    assert request.json_extra.members == '{"new":1}'


async def test_a_fim_request_is_known_by_its_prompt() -> None:
    upstream, server = serving(None)
    async with server:
        document = b'{"model": "m", "prompt": "p"}'
        code, _, _ = await call("--request", "-", "--target", server.address, stdin=document)

    assert code == 0
    assert upstream.requests == [FIMCompletionStreamRequest(model="m", prompt="p")]


@pytest.mark.parametrize(("arguments", "is_stream"), [((), True), (("--no-stream",), False)])
async def test_a_request_for_an_agent_is_known_by_its_id(arguments: tuple[str, ...], is_stream: bool) -> None:
    upstream, server = serving(None if is_stream else response())
    async with server:
        document = b'{"agent_id": "ag_1", "messages": [{"role": "user", "content": "hi"}]}'
        code, _, _ = await call("--request", "-", *arguments, "--target", server.address, stdin=document)

    assert code == 0
    [request] = upstream.requests
    assert type(request) is (AgentsCompletionStreamRequest if is_stream else AgentsCompletionRequest)
    assert to_dict(request)["agent_id"] == "ag_1"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b'{"model": 7, "messages": []}', "standard input: model: expected a string, found the number 7"),
        (b'{"model":\n oops}', "standard input:2: expected "),
        (b"[]", "standard input: expected "),
        (b"", "standard input"),
        (b"\xff", "standard input"),
    ],
)
async def test_a_request_that_breaks_the_contract_is_not_sent(document: bytes, said: str) -> None:
    code, output, errors = await call("--request", "-", "--target", "127.0.0.1:1", stdin=document)

    assert (code, output) == (1, "")
    assert said in errors
    assert "request id" not in errors


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("hi", "--request", "-"), "leave out PROMPT"),
        (("--request", "-", "--model", "m", "--fim"), "leave out --model, --fim"),
        (("hi", "--suffix", "x"), "it needs --fim"),
        (("hi", "--fim", "--system", "x"), "--system is for chat"),
        (("hi", "--fim", "--agent", "x"), "--agent answers messages"),
        (("hi", "--model", "m", "--agent", "x"), "leave out --agent or --model"),
        (("--request", "-", "--agent", "x"), "leave out --agent"),
        (("hi", "--request-id", "a b"), "request_id must be 1 to 128 characters"),
        (("hi", "--deadline", "0"), "--deadline': expected seconds above 0, at most 31622400, found 0"),
        (("hi", "--deadline", "nan"), "--deadline': expected seconds above 0"),
        (("hi", "--deadline", "soon"), "--deadline': 'soon' is not a valid float"),
        (("hi", "--target", "http://localhost:1"), "not a URL: 'http://localhost:1'"),
        (("hi", "--target", ""), "target must be an address such as 'localhost:50051', not empty"),
        (("hi", "--target", "127.0.0.1:115617"), "with one of the ports 1 to 65535, not"),
        (("hi", "--tls-key", __file__), "tls_certificate and tls_key go together"),
        (("hi", "--tls-ca", __file__), "must be a PEM file"),
        (("hi", "--token-file", "/dev/null"), "no comment, found none"),
        (("hi", "--token-file", "no-such-file"), "--token-file"),
    ],
)
def test_an_invalid_command_line_is_a_usage_error(arguments: tuple[str, ...], said: str) -> None:
    result = CliRunner().invoke(main, ["call", *arguments])

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("Usage: ")
    assert said in " ".join(result.stderr.split())


async def test_no_prompt_at_all_is_an_error() -> None:
    assert (await call(stdin=b""))[::2] == (1, "Error: standard input: expected a prompt, found nothing\n")
    code, _, errors = await call(stdin=b"\xff")
    assert (code, errors) == (1, "Error: standard input: expected text in UTF-8, found other bytes\n")


async def test_an_error_follows_the_text_before_it() -> None:
    error = UpstreamError("it \x1b[31mbroke", reason="UPSTREAM_FAILED")
    upstream, server = serving(chunk(0, "Hel"))
    async with server:
        arguments = ("hi", "--request-id", "r-7", "--target", server.address)
        async with calling(*arguments) as process:
            assert process.stdout is not None
            assert await process.stdout.readexactly(3) == b"Hel"
            upstream.items.put_nowait(error)
            output, errors = await process.communicate()

    assert (process.returncode, output) == (1, b"\n")
    assert errors.decode() == (
        "Error: UNAVAILABLE (UPSTREAM_FAILED): it \\x1b[31mbroke\n"
        "  the answer above is incomplete\n"
        "  request id: r-7\n"
    )


@pytest.mark.parametrize("arguments", [(), ("--no-stream",), ("--json",)])
async def test_a_model_that_failed_is_a_failure(arguments: tuple[str, ...]) -> None:
    failed = FinishReason.FINISH_REASON_ERROR
    last = piece(content_string="Hel")
    last.choices[0].finish_reason = failed
    whole = response(AssistantMessage(content_string="Hel"))
    whole.choices[0].finish_reason = failed
    items = (whole,) if arguments == ("--no-stream",) else (last, None)
    _, server = serving(*items)
    async with server:
        status, output, errors = await call("hi", *arguments, "--target", server.address)

    assert (status, errors) == (
        1,
        'Error: the model failed (finish_reason "error"): the answer above is incomplete\n',
    )
    assert "Hel" in output


async def test_an_error_lists_its_violations() -> None:
    violation = Violation("messages[0].role", "a role", "none")
    error = CallError("not valid", code="INVALID_ARGUMENT", reason="REFUSED", violations=[violation])
    upstream, server = serving(error)
    async with server:
        code, output, errors = await call("hi", "--no-stream", "--target", server.address)

    assert (code, output) == (1, "")
    assert errors.startswith("Error: INVALID_ARGUMENT (REFUSED): ")
    assert "\n  messages[0].role: expected a role, found none\n  request id: " in errors
    assert len(upstream.requests) == 1


async def test_an_overload_is_reported_with_the_time_to_wait() -> None:
    _, server = serving(OverloadError("busy", retry_after_s=2.5))
    async with server:
        _, _, errors = await call("hi", "--target", server.address)

    assert "RESOURCE_EXHAUSTED (OVERLOADED): busy" in errors
    assert "\n  retry after 2.5 s\n" in errors


async def test_a_deadline_in_the_middle_of_an_answer_names_its_flag() -> None:
    _, server = serving(piece(content_string="Hel"))
    async with server:
        code, output, errors = await call("hi", "--deadline", "3", "--target", server.address)

    assert (code, output.strip()) == (1, "Hel")
    first, *rest = errors.splitlines()
    assert first == "Error: DEADLINE_EXCEEDED: Deadline Exceeded"
    assert rest[:2] == ["  the answer above is incomplete", "  allow more with --deadline"]


async def test_a_service_that_is_lost_leaves_a_command_for_what_it_has_stored(tmp_path: pathlib.Path) -> None:
    first, delay, second = b'{"choices":[', b": delay 600000\n", b'{"choices":[]}'
    text = b'{"index":0,"delta":{"content":"Hel"},"finish_reason":null}]}'
    recording = tmp_path / "paused.sse"
    recording.write_bytes(b"data: %b%b\n\n%bdata: %b\n\ndata: [DONE]\n\n" % (first, text, delay, second))
    arguments = ("--data", str(tmp_path / "data"), str(recording))
    async with (
        serving_process(*arguments) as (server, address, _),
        calling("hi", "--target", address) as process,
    ):
        assert process.stdout is not None
        assert await process.stdout.readexactly(3) == b"Hel"
        async with Client(address) as client:
            [info] = (await client.list_responses()).responses
            async with contextlib.aclosing(client.subscribe(info.response_id)) as events:
                await anext(events)
        server.kill()
        output, errors = await process.communicate()
    command = f"mistralwire follow --target {address} {info.response_id} --after 1"
    assert (process.returncode, output) == (1, b"\n")
    assert errors.decode().splitlines()[1:3] == [
        "  the answer above is incomplete",
        f"  what is stored of the rest: {command}",
    ]

    port = address.rpartition(":")[2]
    async with serving_process("--port", port, *arguments):
        result = await asyncio.to_thread(CliRunner().invoke, main, command.split()[1:])
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("Error: UNAVAILABLE (PRODUCER_LOST): ")


async def test_no_service_and_no_time_left_are_errors() -> None:
    _, server = serving()
    async with server:
        code, _, errors = await call("hi", "--deadline", "0.5", "--target", server.address)
    assert (code, errors[:24]) == (1, "Error: DEADLINE_EXCEEDED")
    assert "\n  allow more with --deadline, or check that " in errors

    code, _, errors = await call("hi", "--target", server.address)
    assert (code, errors[:19]) == (1, "Error: UNAVAILABLE:")
    assert f"\n  check that a service runs at {server.address}, and " in errors


async def test_nothing_but_the_error_is_printed_when_tls_meets_plaintext(tmp_path: pathlib.Path) -> None:
    trustme.CA().cert_pem.write_to_path(tmp_path / "ca")
    _, server = serving()
    async with server:
        port = server.address.rpartition(":")[2]
        arguments = ("hi", "--target", f"localhost:{port}", "--tls-ca", str(tmp_path / "ca"))
        code, _, errors = await call(*arguments)

    first, *more = errors.splitlines()
    assert (code, first[:19]) == (1, "Error: UNAVAILABLE:")
    assert all(line.startswith("  ") for line in more)


async def test_a_missing_or_invalid_token_names_the_option_for_it(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tokens").write_text("a-token-of-the-service\n")
    (tmp_path / "other").write_text("another-token\n")
    async with create_server(HeldUpstream(), ServerConfig(port=0, token_file=tmp_path / "tokens")) as server:
        _, _, missing = await call("hi", "--target", server.address)
        _, _, invalid = await call("hi", "--target", server.address, "--token-file", str(tmp_path / "other"))

    assert "UNAUTHENTICATED (TOKEN_MISSING)" in missing
    assert "UNAUTHENTICATED (TOKEN_INVALID)" in invalid
    for errors in (missing, invalid):
        assert "\n  name the file with a token of this service with --token-file\n" in errors


async def test_an_unknown_variable_is_an_error() -> None:
    code, _, errors = await call("hi", MISTRALWIRE_CALL_TOKENFILE="token")

    assert code == 2
    assert "did you mean MISTRALWIRE_CALL_TOKEN_FILE?" in " ".join(errors.split())


@pytest.mark.parametrize("has_text", [True, False])
async def test_control_c_cancels_the_upstream(has_text: bool) -> None:
    upstream, server = serving(*[chunk(0, "Hel")] * has_text)
    async with server, calling("hi", "--target", server.address) as process:
        assert process.stdout is not None
        await upstream.started.wait()
        if has_text:
            assert await process.stdout.readexactly(3) == b"Hel"
        process.send_signal(signal.SIGINT)
        await upstream.closed.wait()
        output, errors = await process.communicate()

    assert (process.returncode, output, errors) == (130, b"\n" * has_text, b"interrupted\n")


async def test_a_reader_that_closes_the_output_cancels_the_upstream() -> None:
    upstream, server = serving(chunk(0, "Hel"))
    reading, writing = os.pipe()
    async with server, calling("hi", "--target", server.address, stdout=writing) as process:
        os.close(writing)
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, os.read, reading, 100) == b"Hel"
        os.close(reading)
        upstream.items.put_nowait(chunk(1, "lo"))
        await upstream.closed.wait()
        _, errors = await process.communicate()

    assert (process.returncode, errors) == (141, b"")


async def test_a_closed_output_is_an_error_before_anything_is_sent() -> None:
    upstream, server = serving()
    async with server:
        line = f"{' '.join(COMMAND)} hi --target {server.address} >&-"
        process = await asyncio.create_subprocess_shell(line, stderr=PIPE, stdin=DEVNULL)
        _, errors = await process.communicate()

    assert process.returncode == 1
    assert b"standard output is closed" in errors
    assert upstream.requests == []


CONTROLS = "red \x1b[31m\x07 \x9b2J tab\t 👩\u200d💻\r\nend"


async def in_terminal(*arguments: str) -> str:
    """Run the command with a terminal as its output, and return what the terminal gets."""
    leader, follower = pty.openpty()
    try:
        async with calling(*arguments, stdout=follower, PYTHONIOENCODING="utf-8") as process:
            os.close(follower)
            loop, output = asyncio.get_running_loop(), b""
            # Reading from a terminal whose other side is closed is an error.
            with contextlib.suppress(OSError):
                while data := await loop.run_in_executor(None, os.read, leader, 1000):
                    output += data
            await process.communicate()
    finally:
        os.close(leader)
    return output.decode()


async def test_control_characters_are_escaped_on_a_terminal() -> None:
    call_ = ToolCall(id="1", function=FunctionCall(name="f\x1b", arguments_string="\x1b"))
    _, server = serving(piece(content_string=CONTROLS), piece(tool_calls=[call_]), None)
    async with server:
        output = await in_terminal("hi", "--target", server.address)

    assert output == (
        "red \\x1b[31m\\x07 \\x9b2J tab\t 👩\u200d💻\\x0d\r\nend\r\ntool call: f\\x1b(\\x1b)\r\n"
    )


async def test_a_pipe_gets_the_text_unchanged() -> None:
    _, server = serving(piece(content_string=CONTROLS), None)
    async with server, calling("hi", "--target", server.address, PYTHONIOENCODING="ascii") as process:
        output, _ = await process.communicate()

    assert output.decode() == CONTROLS + "\n"


async def test_tls_and_a_token_are_files(tmp_path: pathlib.Path) -> None:
    seen: list[Any] = []

    async def answer(context: Any) -> None:
        seen.append(dict(context.invocation_metadata()).get("authorization"))
        await context.write(ANSWER)

    authority = trustme.CA()
    certificate, own = authority.issue_cert("localhost"), authority.issue_cert("me@example.com")
    files = {name: tmp_path / name for name in ("ca", "certificate", "key", "token")}
    authority.cert_pem.write_to_path(files["ca"])
    own.cert_chain_pems[0].write_to_path(files["certificate"])
    own.private_key_pem.write_to_path(files["key"])
    files["token"].write_text("s3cret\n")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    server = server_of(answer)
    credentials = grpc.ssl_server_credentials([pair], authority.cert_pem.bytes(), require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        options = [f"--tls-{name}={files[name]}" for name in ("ca", "certificate", "key")]
        arguments = ("hi", "--no-stream", "--target", f"localhost:{port}", *options)
        code, _, errors = await call(*arguments, MISTRALWIRE_CALL_TOKEN_FILE=str(files["token"]))
    finally:
        await server.stop(None)

    assert (code, errors, seen) == (0, "", ["Bearer s3cret"])


async def test_a_token_is_never_sent_in_plaintext_to_another_machine(tmp_path: pathlib.Path) -> None:
    (tmp_path / "token").write_text("s3cret")
    code, _, errors = await call(
        "hi", "--insecure", "--target", "example.com:1", "--token-file", str(tmp_path / "token")
    )

    assert code == 2
    assert "would be sent in plaintext" in " ".join(errors.split())
    assert "s3cret" not in errors


async def test_the_service_sees_the_same_as_from_a_program() -> None:
    upstream, server = serving(response(), response())
    async with server:
        await call("hello", "--model", "m", "--no-stream", "--target", server.address)
        async with Client(server.address) as client:
            await client.complete(REQUEST)

    assert upstream.requests[0] == upstream.requests[1]
