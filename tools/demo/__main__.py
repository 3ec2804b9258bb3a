"""`make demo`: a response and a stream go through JSON, protobuf and gRPC, and come out as they went in.

Exits with 0 only if both come out unchanged.
"""

import asyncio
import contextlib
import decimal
import json
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable

import click

from mistralwire import SseDecoder, SseMessage, accumulate, from_json, to_json
from mistralwire.client import Client
from mistralwire.v1 import (
    ChatCompletionRequest,
    ChatCompletionResponse,
    ChatCompletionStreamRequest,
    ChatMessage,
    CompletionChunk,
    UserMessage,
)
from tools.demo import edge
from tools.engine import engine_line

HERE = pathlib.Path(__file__).parent
START_S = 30.0


async def main() -> int:
    response_text = (HERE / "documented_response.json").read_bytes()
    stream_text = (HERE / "tool_calls.sse").read_bytes()
    click.echo("mistralwire: JSON -> protobuf -> gRPC -> protobuf -> JSON -> HTTP")
    click.echo(f"{engine_line()}\n")
    with tempfile.TemporaryDirectory() as folder:
        # The service gets its recordings as an upstream of Mistral's would answer: as JSON.
        (pathlib.Path(folder) / "response.json").write_bytes(response_text)
        (pathlib.Path(folder) / "stream.sse").write_bytes(stream_text)
        async with _running("serve", folder) as target, Client(target) as client:
            click.echo(f"A gRPC service in its own process listens on {target}.\n")
            equal = [await _show_response(client, response_text), await _show_stream(client, stream_text)]
        async with _running("gateway", folder) as url:
            equal.append(await _show_gateway(url, response_text, stream_text))
    click.secho("All documents are equal." if all(equal) else "NOT EQUAL: see above.", bold=True)
    command = pathlib.Path(sys.executable).with_name("mistralwire")
    click.echo(
        f"\nTo try the service, in two terminals:\n"
        f"  {_shown(command)} serve\n"
        f'  {_shown(command)} call "What is the weather in Paris?"'
        f"\nTo try the gateway, in two terminals:\n"
        f"  {_shown(command)} gateway"
    )
    for curl in edge.curl_commands("http://127.0.0.1:8080"):
        click.echo(f"  {curl}")
    click.echo("Its routes and types are at http://127.0.0.1:8080/docs.")
    return 0 if all(equal) else 1


def _shown(path: pathlib.Path) -> pathlib.Path:
    """Return a path as one would type it here."""
    folder = pathlib.Path.cwd()
    return path.relative_to(folder) if path.is_relative_to(folder) else path


@contextlib.asynccontextmanager
async def _running(command: str, folder: str) -> AsyncIterator[str]:
    """Run a server on a free port, with recordings, and return its address."""
    words = [sys.executable, "-m", "mistralwire", command, folder, "--port", "0", "--log-level", "warning"]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        line = (await asyncio.wait_for(process.stdout.readline(), START_S)).decode()
        if not line.startswith("listening on "):
            raise click.ClickException("the service did not start; what it said is above")
        yield line.split()[2].rstrip(",")
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def _show_response(client: Client, text: bytes) -> bool:
    _head("1. The documented ChatCompletionResponse, in the SDKs' camelCase")
    click.echo(f"in: {len(text)} bytes of JSON\n{_indented(text.decode())}")
    message = from_json(ChatCompletionResponse, text)
    start = time.perf_counter()
    answer = await client.complete(
        ChatCompletionRequest(model="mistral-small-latest", messages=[_question()])
    )
    call_ms = (time.perf_counter() - start) * 1e3
    out = to_json(answer, names="camel", indent=2)
    same = _exact(out) == _exact(text) and answer == message
    click.echo(f"out: {len(out)} bytes of JSON\n{_indented(out.decode())}")
    read_us = _median_us(lambda: from_json(ChatCompletionResponse, text))
    write_us = _median_us(lambda: to_json(answer, names="camel"))
    compact = len(to_json(answer, names="camel"))
    click.echo(f"size: {compact} bytes as compact JSON, {message.ByteSize()} as protobuf")
    click.echo(f"time: reading {read_us:.1f} us, writing {write_us:.1f} us, the call {call_ms:.1f} ms")
    return _verdict(same)


def _median_us(run: Callable[[], object]) -> float:
    """Return the median time of a call, in microseconds."""
    times = []
    for _ in range(500):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


async def _show_stream(client: Client, text: bytes) -> bool:
    _head("2. A recorded SSE stream with tool calls, over gRPC chunk by chunk")
    documents = [line[6:] for line in text.splitlines() if line.startswith(b"data: {")]
    ingested = _ingest(text)
    click.echo(f"in: {len(text)} bytes of SSE, {len(ingested)} chunks")
    for document in documents:
        # What comes before is the same in each.
        rest = document[document.index(b'"choices"') :].decode()
        click.echo(f"  {{... {_short(rest)}")
    request = ChatCompletionStreamRequest(model="mistral-small-latest", messages=[_question()])
    click.echo("received over gRPC:\n  at ms  bytes  delta")
    received = []
    elapsed_ms = 0.0
    start = time.perf_counter()
    async for chunk in client.stream(request):
        received.append(chunk)
        elapsed_ms = (time.perf_counter() - start) * 1e3
        delta = _short(to_json(chunk.choices[0].delta).decode())
        click.echo(f"  {elapsed_ms:>5.0f}  {chunk.ByteSize():>5}  {delta}")
    response = accumulate(received)
    out = to_json(response, indent=2)
    click.echo(f"out: accumulated, {len(out)} bytes of JSON\n{_indented(out.decode())}")
    accumulate_us = _median_us(lambda: accumulate(received))
    wire_bytes = sum(chunk.ByteSize() for chunk in received)
    click.echo(f"size: {sum(map(len, documents))} bytes as JSON, {wire_bytes} as protobuf")
    click.echo(
        f"time: the stream {elapsed_ms:.0f} ms with its recorded pauses, accumulating {accumulate_us:.0f} us"
    )
    same = [_exact(to_json(chunk)) for chunk in received] == [_exact(document) for document in documents]
    expected = (HERE / "expected_response.json").read_bytes()
    return _verdict(same and received == ingested and _exact(out) == _exact(expected))


async def _show_gateway(url: str, response_text: bytes, stream_text: bytes) -> bool:
    _head("3. The same over HTTP: the gateway, with its service in the same process")
    click.echo(f"A gateway in its own process listens on {url}.")
    answer, stream = await edge.ask(url)
    chunks = edge.show(url, answer, stream)
    same = _exact(to_json(from_json(ChatCompletionResponse, answer), names="camel")) == _exact(response_text)
    documents = [line[6:] for line in stream_text.splitlines() if line.startswith(b"data: {")]
    return _verdict(same and list(map(_exact, chunks)) == list(map(_exact, documents)))


def _short(text: str) -> str:
    return text if len(text) <= 96 else f"{text[:92]} ..."


def _ingest(text: bytes) -> list[CompletionChunk]:
    decoder = SseDecoder(CompletionChunk)
    events = [*decoder.feed(text), *decoder.close()]
    return [event.message for event in events if isinstance(event, SseMessage)]


def _question() -> ChatMessage:
    return ChatMessage(
        user=UserMessage(content_string="What do the tides and the weather look like in Brest?")
    )


def _exact(text: bytes) -> object:
    return json.loads(text, parse_float=decimal.Decimal)


def _head(text: str) -> None:
    click.secho(text, bold=True)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.strip().splitlines())


def _verdict(equal: bool) -> bool:
    click.secho(f"equal as JSON, exact numbers: {'yes' if equal else 'NO'}\n", fg="green" if equal else "red")
    return equal


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
