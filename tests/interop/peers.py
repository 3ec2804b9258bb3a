"""Running the programs of other languages.

A client is called as `CLIENT ADDRESS CALL [ARGUMENT]`. It writes one JSON object to its standard output and
ends with 0, whatever the status of its gRPC call. Its usual request has the model mistral-small-latest, one
message of the user with the text "Grüezi 👋", the temperature 0 and the seed 9007199254740993.

    unary REQUEST_ID    ChatCompletion of the usual request, with the metadata x-request-id
    stream REQUEST_ID   ChatCompletionStream of it, with the same metadata
    broken              ChatCompletion without a model; its messages: user with "hello", tool without content
    deadline MS         ChatCompletion of the usual request with a deadline
    cancel COUNT        ChatCompletionStream of it, which the client cancels after COUNT chunks
    relay               parse a ChatCompletionRequest from standard input, call ChatCompletion, and serialize
                        the response
    publish ID          (Go) publish a response whose chunks are the lines of standard input
    follow ID           (TypeScript) follow a stored response to its end
    reencode TYPE       parse a message from standard input and serialize it; needs no server

Members of the object, where they apply: `code` (the name of the gRPC status), `message` (of the status),
`request_id` (trailing metadata); `id`, `text`, `finish_reason`, `total_tokens` of an answer; `messages`,
`chunks`, `text`, `finish_reasons` (one for each choice of each chunk) of a stream; `reason`, `domain`,
`violations` (of `field` and `description`) and `retry_after_s` of an error's details; `bytes`, in base64. A
finish reason is null, or its `number` and its `string`. `acknowledged` and `ended` of the last answer to a
producer; `last_sequence` and `state` of a response that was followed.

A server is called as `SERVER PORT`, prints `listening on 127.0.0.1:PORT`, and serves until it is ended.
"""

import base64
import contextlib
import json
import shlex
import tempfile
from collections.abc import AsyncIterator
from typing import Any

from tests.interop.languages import Language, environment_of
from tests.interop.processes import listening, run, serving
from tests.upstream_server import Answer, UpstreamServer


async def call(language: Language, *arguments: str, stdin: bytes = b"") -> dict[str, Any]:
    """Run the client of a language; return what it wrote, with `bytes` decoded."""
    code, output, errors = await run(
        *shlex.split(language.client),
        *arguments,
        stdin=stdin,
        cwd=language.folder,
        env=environment_of(language),
    )
    assert code == 0, f"exit code {code}\n{output}\n{errors}"
    outcome: dict[str, Any] = json.loads(output)
    if "bytes" in outcome:
        outcome["bytes"] = base64.b64decode(outcome["bytes"], validate=True)
    return outcome


@contextlib.asynccontextmanager
async def model_api(*answers: Answer, strict: bool = False) -> AsyncIterator[tuple[UpstreamServer, str]]:
    """Run a model API and `mistralwire serve` in front of it; yield the API and the service's address."""
    flags = ["--strict"] if strict else []
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        async with UpstreamServer(*answers) as api:
            # A failed request is not made again, which would take as long as the model API says.
            config.write(f'[[upstreams]]\nkind = "mistral"\nbase_url = "{api.url}"\nattempts_max = 1\n')
            config.flush()
            async with serving("--config", config.name, *flags) as (_, address):
                yield api, address


@contextlib.asynccontextmanager
async def server_of(language: Language) -> AsyncIterator[str]:
    """Run the server of a language on a free port; yield its address."""
    assert language.server is not None
    command = [*shlex.split(language.server), "0"]
    async with listening(*command, cwd=language.folder, env=environment_of(language)) as (_, address):
        yield address
