"""`mistralwire gateway` as a process of its own."""

import asyncio
import json
import pathlib
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import trustme

from tests.upstream_server import UpstreamServer, json_answer

from .serving import REPLAY, serving
from .serving import refused as serving_refused

pytestmark = pytest.mark.process

COMMAND = (sys.executable, "-m", "mistralwire", "gateway")
CHAT = "/v1/chat/completions"
QUESTION = {"model": "mistral-small-latest", "messages": [{"role": "user", "content": "hi"}]}
ANSWER = (REPLAY / "chat.json").read_bytes()
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def lines_until_curl(process: asyncio.subprocess.Process) -> tuple[list[str], str]:
    """Return what is printed below the first line, and the command to paste."""
    assert process.stdout is not None
    lines: list[str] = []
    while not lines or not lines[-1].startswith("curl "):
        async with asyncio.timeout(60):
            lines.append((await process.stdout.readline()).decode().strip())
    return [line for line in lines[:-1] if line], lines[-1]


def refused(*arguments: str | pathlib.Path) -> str:
    """Return the message of a usage error, in one line."""
    return serving_refused(2, *arguments, command=COMMAND)


def unusable(*arguments: str | pathlib.Path) -> str:
    """Return the message of an error that comes before the gateway listens, in one line."""
    return serving_refused(1, *arguments, command=COMMAND)


def failed(*arguments: str | pathlib.Path) -> str:
    """Return the message of an error that keeps the gateway from listening, in one line."""
    command = [*COMMAND, "--port", "0", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode == 1, result.stderr
    return " ".join(result.stderr.partition("Error: ")[2].split())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("arguments", [(), ("--embedded",)], ids=["alone", "embedded"])
async def test_the_demonstration_runs_with_nothing_else_and_ends_on_a_signal(
    number: signal.Signals, arguments: tuple[str, ...], http: aiohttp.ClientSession
) -> None:
    async with serving("--log-level", "warning", *arguments, command=COMMAND) as (process, url, line):
        async with http.post(url + CHAT, json=QUESTION) as response:
            answer = await response.json()
        async with http.get(f"{url}/readyz") as ready:
            assert ready.status == 200
        async with http.get(f"{url}/v1/models") as models:
            listed = [model["id"] for model in (await models.json())["data"]]
        process.send_signal(number)
        _, errors = await process.communicate()

    assert listed == ["codestral-latest", "mistral-small-latest"]
    assert line == f"listening on {url}, replaying the demonstration; press Ctrl-C to stop\n"
    assert url.startswith("http://127.0.0.1:")
    assert answer["choices"][0]["message"]["role"] == "assistant"
    assert (process.returncode, errors) == (0, b"")


async def test_the_metrics_count_what_is_stored(http: aiohttp.ClientSession) -> None:
    async with serving("--log", "memory", "--metrics", command=COMMAND) as (_, url, _):
        async with http.post(url + CHAT, json=QUESTION) as response:
            assert response.status == 200
        lines: list[str] = []
        # It is stored after the answer was sent.
        async with asyncio.timeout(60):
            while "mistralwire_relay_responses_running 0.0" not in lines:
                async with http.get(f"{url}/metrics") as page:
                    lines = (await page.text()).splitlines()
    assert "mistralwire_relay_events_total 1.0" in lines
    assert "mistralwire_relay_responses_not_stored_total 0.0" in lines


@needs_curl
@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "tls"])
async def test_the_curl_command_that_is_printed_works(with_tls: bool, tmp_path: pathlib.Path) -> None:
    tokens = tmp_path / "the tokens"
    tokens.write_text("# of the callers\n\na-key-of-twenty-characters # first\nanother-key-of-them\n")
    arguments = ["--token-file", str(tokens)]
    if with_tls:
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(tmp_path / "certificate.pem")
        authority.cert_pem.write_to_path(tmp_path / "certificate.pem", append=True)
        arguments += ["--tls-certificate", str(tmp_path / "certificate.pem"), "--host", "localhost"]
        arguments += ["--tls-key", str(tmp_path / "key.pem")]

    async with serving(*arguments, command=COMMAND) as (process, _, line):
        _, curl = await lines_until_curl(process)
        asked = await asyncio.to_thread(
            subprocess.run, ["sh", "-c", curl], capture_output=True, timeout=60, check=True
        )

    assert ("with TLS, keys of callers" if with_tls else "with keys of callers") in line
    assert "a-key-of-twenty" not in curl
    assert asked.stdout.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("key", ["key-of-the-service", None])
async def test_one_url_is_asked_with_the_key_of_the_environment(
    key: str | None, http: aiohttp.ClientSession
) -> None:
    async with UpstreamServer(json_answer(ANSWER)) as upstream:
        env = {"MISTRAL_API_KEY": key or ""}
        arguments = ("--upstream-url", upstream.url)
        async with serving(*arguments, command=COMMAND, env=env) as (process, url, line):
            lines, _ = await lines_until_curl(process)
            async with http.post(url + CHAT, json=QUESTION) as response:
                answer = await response.json()
            process.send_signal(signal.SIGTERM)
            output, errors = await process.communicate()

    probed, asked = upstream.received
    assert lines == ["upstream: answers"]
    assert ("without a key: MISTRAL_API_KEY is not set" in line) == (key is None)
    assert probed.path == "/v1/models"
    assert asked.headers.get("authorization") == (None if key is None else f"Bearer {key}")
    assert (json.loads(asked.body), answer) == (QUESTION, json.loads(ANSWER))
    assert b"key-of-the-service" not in output + errors
    assert process.returncode == 0


async def test_the_models_are_those_that_one_url_lists(http: aiohttp.ClientSession) -> None:
    listed = json_answer(b'{"data": [{"id": "org/model", "created": 7}]}')
    async with UpstreamServer(listed) as upstream:
        arguments = ("--upstream-url", upstream.url)
        async with serving(*arguments, command=COMMAND) as (_, url, _):
            async with http.get(f"{url}/v1/models") as response:
                [model] = (await response.json())["data"]
            async with http.get(f"{url}/v1/models/org/model") as response:
                assert await response.json() == model
        async with (
            serving(*arguments, "--models", "other", command=COMMAND) as (_, url, _),
            http.get(f"{url}/v1/models") as response,
        ):
            assert [each["id"] for each in (await response.json())["data"]] == ["other"]

    assert (model["id"], model["object"], model["created"]) == ("org/model", "model", 7)


EMBEDDINGS = "/v1/embeddings"


async def test_other_routes_reach_the_first_upstream_of_the_kind_mistral(
    tmp_path: pathlib.Path, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "key").write_text("a-key\n")
    file = tmp_path / "m.toml"
    async with UpstreamServer(json_answer(b"[1]")) as first, UpstreamServer(json_answer(b"[2]")) as second:
        file.write_text(f"""
            [gateway]
            passthrough_paths = "{EMBEDDINGS}, /v1/audio/speech"
            [[upstreams]]
            kind = "replay"
            [[upstreams]]
            name = "first"
            kind = "mistral"
            base_url = "{first.url}/v1"
            key_file = "key"
            [[upstreams]]
            name = "second"
            kind = "mistral"
            base_url = "{second.url}"
            models = ["codestral-*"]
        """)
        async with serving("--config", str(file), command=COMMAND) as (_, url, _):
            for path, status in ((EMBEDDINGS, 200), ("/v1/audio/speech", 200), ("/v1/ocr", 404)):
                async with http.post(url + path, json={"model": "a"}) as response:
                    assert response.status == status
    asked = [request for request in first.received if request.method == "POST"]
    assert [request.path for request in asked] == [EMBEDDINGS, "/v1/audio/speech"]
    assert {request.headers["authorization"] for request in asked} == {"Bearer a-key"}


async def test_with_a_service_other_routes_need_a_url(
    tmp_path: pathlib.Path, http: aiohttp.ClientSession
) -> None:
    key = tmp_path / "key"
    key.write_text("a-key\n")
    async with (
        UpstreamServer(json_answer(b'{"data": [{"id": "m"}]}')) as upstream,
        serving(str(REPLAY / "chat.json")) as (_, target, _),
    ):
        async with (
            serving("--service", target, command=COMMAND) as (_, url, _),
            http.post(url + EMBEDDINGS, json={}) as response,
        ):
            assert response.status == 404
        arguments = ["--service", target, "--passthrough-url", upstream.url]
        arguments += ["--passthrough-key-file", str(key)]
        async with serving(*arguments, command=COMMAND) as (process, url, _):
            lines, _ = await lines_until_curl(process)
            async with http.post(url + EMBEDDINGS, json={}) as response:
                assert await response.json() == {"data": [{"id": "m"}]}
            async with http.get(f"{url}/v1/models/m") as response:
                assert response.status == 200
            async with http.post(url + CHAT, json=QUESTION) as response:
                assert await response.json() == json.loads(ANSWER)
    assert lines == ["service: answers", "passthrough: answers"]
    [asked] = [request for request in upstream.received if request.method == "POST"]
    assert (asked.path, asked.headers["authorization"]) == (EMBEDDINGS, "Bearer a-key")


@pytest.mark.parametrize("is_strict", [False, True])
async def test_strict_is_for_the_service_in_its_process(is_strict: bool, http: aiohttp.ClientSession) -> None:
    broken = {**QUESTION, "temperature": "warm"}
    async with UpstreamServer(json_answer(ANSWER)) as upstream:
        arguments = ("--upstream-url", upstream.url, *(["--strict"] if is_strict else []))
        async with serving(*arguments, command=COMMAND) as (process, url, _):
            await lines_until_curl(process)
            async with http.post(url + CHAT, json=broken) as response:
                assert response.status == (422 if is_strict else 200)

    asked = [json.loads(request.body) for request in upstream.received if request.path == CHAT]
    assert asked == ([] if is_strict else [broken])


async def test_the_upstreams_of_the_file_are_asked_and_listed(
    tmp_path: pathlib.Path, http: aiohttp.ClientSession
) -> None:
    (tmp_path / "key").write_text("a-key\n")
    file = tmp_path / "m.toml"
    async with UpstreamServer(json_answer(ANSWER)) as upstream, UpstreamServer() as dead:
        await dead.__aexit__(None, None, None)
        file.write_text(f"""
            [serve]
            port = 1
            [gateway]
            log_level = "warning"
            [[upstreams]]
            name = "first"
            kind = "mistral"
            base_url = "{dead.url}"
            attempts_max = 1
            models = ["mistral-small-latest", "ministral-*"]
            [[upstreams]]
            name = "spare"
            kind = "mistral"
            base_url = "{upstream.url}"
            key_file = "key"
            weight = 0
            models = ["*", "codestral-latest"]
        """)
        async with serving("--config", str(file), command=COMMAND) as (process, url, line):
            lines, curl = await lines_until_curl(process)
            async with http.post(url + CHAT, json=QUESTION) as response:
                answer = await response.json()
            async with http.get(f"{url}/v1/models") as response:
                models = [model["id"] for model in (await response.json())["data"]]

    assert "calling first at http://" in line
    assert f", spare at {upstream.url}" in line
    assert lines[0].startswith("first: does not answer: ")
    assert lines[1] == "spare: answers"
    assert json.loads(shlex.split(curl)[-1])["model"] == "codestral-latest"
    assert models == ["codestral-latest", "mistral-small-latest"]
    assert answer == json.loads(ANSWER)
    assert upstream.received[-1].headers["authorization"] == "Bearer a-key"


async def test_a_service_elsewhere_is_called(tmp_path: pathlib.Path, http: aiohttp.ClientSession) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-the-service\n")
    async with serving("--token-file", str(tokens), str(REPLAY / "chat.json")) as (service, target, _):
        arguments = ("--service", target, "--service-token-file", str(tokens), "--models", "one, two")
        async with serving(*arguments, command=COMMAND) as (process, url, line):
            lines, _ = await lines_until_curl(process)
            async with http.post(url + CHAT, json=QUESTION) as response:
                answer = await response.json()
            async with http.get(f"{url}/v1/models") as response:
                models = [model["id"] for model in (await response.json())["data"]]
            service.send_signal(signal.SIGTERM)
            await service.communicate()
            async with http.post(url + CHAT, json=QUESTION) as response:
                assert response.status == 503
            async with http.get(f"{url}/readyz") as ready:
                assert ready.status == 503

    assert line == f"listening on {url}, calling the service at {target}; press Ctrl-C to stop\n"
    assert (lines, answer, models) == (["service: answers"], json.loads(ANSWER), ["one", "two"])


async def test_a_service_that_is_not_there_is_said() -> None:
    async with serving("--service", "127.0.0.1:1", command=COMMAND) as (process, _, _):
        lines, _ = await lines_until_curl(process)

    assert lines == ["service: not serving: connection refused"]


async def test_a_service_that_refuses_the_token_is_said_at_the_start_and_in_the_log(
    tmp_path: pathlib.Path, http: aiohttp.ClientSession
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("a-token-of-the-service\n")
    async with (
        serving("--token-file", str(tokens), str(REPLAY / "chat.json")) as (_, target, _),
        serving("--service", target, command=COMMAND) as (process, url, _),
    ):
        lines, _ = await lines_until_curl(process)
        for _ in range(2):
            async with http.post(url + CHAT, json=QUESTION) as response:
                assert response.status == 500
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()

    assert lines == ["service: wants a token, and the gateway has none; see --service-token-file"]
    assert errors.count(b"--service-token-file") == 1


async def test_a_running_stream_is_drained_before_the_end(http: aiohttp.ClientSession) -> None:
    arguments = (str(REPLAY / "chat.sse"), "--chunks-per-second", "20")
    async with serving(*arguments, command=COMMAND) as (process, url, _):
        async with http.post(url + CHAT, json={**QUESTION, "stream": True}) as response:
            first = await response.content.readline()
            process.send_signal(signal.SIGTERM)
            rest = await response.read()
        await process.communicate()

    assert first == b"id: 0\n"
    assert rest.endswith(b"data: [DONE]\n\n")
    assert process.returncode == 0


async def test_a_second_signal_ends_it_at_once(http: aiohttp.ClientSession) -> None:
    arguments = (str(REPLAY / "chat.sse"), "--chunks-per-second", "0.01", "--drain-s", "600")
    async with serving(*arguments, command=COMMAND) as (process, url, _):
        response = await http.post(url + CHAT, json={**QUESTION, "stream": True})
        assert await response.content.readline()
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while b"refusing new calls" not in await process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            await process.communicate()
        response.close()

    assert process.returncode == -signal.SIGTERM


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--upstream-url", "http://a", REPLAY], "expected RECORDING or --upstream-url, found both"),
        (["--service", "a:1", "--embedded"], "expected --embedded or --service, found both"),
        (
            ["--service", "127.0.0.1:115617"],
            "--service must be an address such as 'localhost:50051', with one of the ports",
        ),
        (
            ["--service", "127.0.0.1:1", "--strict"],
            "expected --strict or --service, found both: the service checks requests",
        ),
        (
            ["--service", "127.0.0.1:1", REPLAY],
            "expected RECORDING or --service, found both: the service has upstreams",
        ),
        (["--service", "127.0.0.1:1", "--upstream-url", "http://a"], "expected --upstream-url or --service"),
        (["--service-token-file", "a"], "--service-token-file needs --service"),
        (["--service-insecure"], "--service-insecure needs --service"),
        (["--service", "127.0.0.1:1", "--service-tls-key", "a"], "--service-tls-key"),
        (["--service", ""], "--service must be an address such as 'localhost:50051', not empty"),
        (["--host", "0.0.0.0"], "--insecure to allow that"),
        (["--passthrough-key-file", "a"], "--passthrough-key-file needs --passthrough-url"),
        (["--passthrough-paths", "/v1/../files"], "--passthrough-paths must be paths"),
        (["--cors-origins", "foo"], "--cors-origins must be origins such as https://example.com"),
        (["--drain-s", "nan"], "expected a number from 0 to 86400, found 'nan'"),
        (["--port", "65536"], "Invalid value for --port"),
        (["--upstream-url", "ftp://a"], "--upstream-url: expected a URL such as https://api.mistral.ai"),
        (["--passthrough-url", "ftp://a"], "--passthrough-url: expected a URL such as"),
    ],
)
def test_what_does_not_go_together_is_said_with_its_flags(arguments: list[Any], said: str) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--token-file", "/nowhere"], "--token-file: "),
        (
            ["--service", "127.0.0.1:1", "--token-file", "/nowhere"],
            "--token-file: expected a file, found none",
        ),
        (["--service", "127.0.0.1:1", "--service-token-file", "/nowhere"], "/nowhere: No such file"),
        (
            ["--tls-certificate", "/nowhere", "--tls-key", "/nowhere"],
            "--tls-certificate: expected a file, found",
        ),
    ],
)
def test_what_can_not_be_used_is_said(arguments: list[str], said: str) -> None:
    assert said in unusable(*arguments)


def test_an_address_that_is_not_of_this_machine_is_said() -> None:
    said = "expected an address to listen on, found 192.0.2.1 port 0"
    assert said in failed("--host", "192.0.2.1", "--insecure")


def test_upstreams_go_with_no_other_source(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[[upstreams]]\nkind = "replay"\n')

    both = f"or the [[upstreams]] of {file}, found both"
    assert refused("--config", file, REPLAY) == f"expected recordings {both}"
    assert refused("--config", file, "--upstream-url", "http://a") == f"expected --upstream-url {both}"


def test_a_key_that_is_not_there_is_said_with_its_upstream(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[[upstreams]]\nkind = "mistral"\nkey_env = "NO_SUCH_VARIABLE"\n')

    said = "upstreams[0]: expected a key in the environment variable NO_SUCH_VARIABLE, found none"
    assert unusable("--config", file) == f"{file}: {said}"


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "httptools"])
def test_a_package_of_the_extra_that_is_missing_is_said(package: str) -> None:
    code = f"import sys; sys.modules[{package!r}] = None; from mistralwire.cli import main; main()"
    run = subprocess.run(
        [sys.executable, "-c", code, "gateway"], capture_output=True, text=True, check=False, timeout=60
    )

    said = f"the gateway needs the package {package}, found none; in a checkout of mistralwire run"
    assert (run.returncode, run.stderr) == (1, f"Error: {said} pip install '.[gateway]'\n")
