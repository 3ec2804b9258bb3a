"""Upstreams from the tables of a configuration file: every key, and what is said of a wrong one."""

import datetime
import pathlib
import subprocess
import sys
import tomllib
from typing import Any

import pytest

from mistralwire import from_json
from mistralwire.errors import MistralwireError
from mistralwire.upstream import (
    DEMONSTRATION,
    CallContext,
    HttpSettings,
    MistralUpstream,
    ReplayUpstream,
    Route,
    RoutedUpstream,
    VertexUpstream,
    check_upstream_tables,
    routed_from_tables,
)
from mistralwire.v1 import ChatCompletionRequest
from tests.upstream_server import UpstreamServer, json_answer

HERE = pathlib.Path()
CONTEXT = CallContext()
REQUEST = from_json(ChatCompletionRequest, b'{"model":"m","messages":[{"role":"user","content":"hi"}]}')
ANSWER = json_answer(b'{"id":"1","model":"m","choices":[{"index":0}]}')
SECRET = "Wq7rT2mZx9LbC4vN8sKd1fGh5jPy0aEu"
VERTEX = {"kind": "vertex", "project": "p", "region": "global"}
TEXT = "a non-empty string without null characters"
TEXTS = "a non-empty array of strings"
SECONDS = "a number above 0"
HTTP = {"connect_s": 1, "first_byte_s": 2.5, "silence_s": 3, "attempts_max": 4}
HTTP_SETTINGS = HttpSettings(connect_s=1, first_byte_s=2.5, silence_s=3, attempts_max=4)


def _routes(toml: str, folder: pathlib.Path = HERE) -> tuple[Route, ...]:
    return routed_from_tables(tomllib.loads(toml)["upstreams"], folder).routes


def _refusal(tables: Any, folder: pathlib.Path = HERE, *, reason: str = "UPSTREAMS") -> str:
    with pytest.raises(MistralwireError) as raised:
        routed_from_tables(tables, folder)
    assert (raised.value.code, raised.value.reason) == ("FAILED_PRECONDITION", reason)
    assert SECRET not in repr(raised.value)
    return raised.value.message


def test_the_order_names_and_defaults_are_those_of_the_tables() -> None:
    first, second, third = _routes(
        """
        [[upstreams]]
        kind = "mistral"
        [[upstreams]]
        kind = "vertex"
        project = "my-project"
        region = "europe-west4"
        name = "google"
        models = ["mistral-*", "codestral-2501"]
        weight = 0
        [[upstreams]]
        kind = "replay"
        """
    )
    assert (first.name, first.models, first.weight) == ("mistral", ("*",), 1.0)
    assert (second.name, second.models, second.weight) == ("google", ("mistral-*", "codestral-2501"), 0.0)
    assert (third.name, third.models, third.weight) == ("replay", ("*",), 1.0)
    assert isinstance(first.upstream, MistralUpstream)
    assert first.upstream._target.probe_url == "https://api.mistral.ai/v1/models"
    assert isinstance(second.upstream, VertexUpstream)
    assert second.upstream._target.probe_url == "https://europe-west4-aiplatform.googleapis.com"
    assert isinstance(third.upstream, ReplayUpstream)


@pytest.mark.parametrize("table", [{"kind": "mistral"}, VERTEX])
def test_times_and_bounds_reach_the_upstream(table: dict[str, Any]) -> None:
    (route,) = routed_from_tables([{**table, **HTTP}], HERE).routes
    (untold,) = routed_from_tables([table], HERE).routes
    assert isinstance(route.upstream, MistralUpstream | VertexUpstream)
    assert isinstance(untold.upstream, MistralUpstream | VertexUpstream)
    assert route.upstream._settings == HTTP_SETTINGS
    assert untold.upstream._settings == HttpSettings()


@pytest.mark.parametrize(
    "name", ["connect_s", "first_byte_s", "silence_s", "attempts_max", "answer_bytes_max"]
)
@pytest.mark.parametrize(
    ("value", "error"),
    [(0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError), (None, TypeError)],
)
def test_a_program_can_not_set_what_a_table_can_not(name: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"^{name} must be an? (integer from 1 up|number above 0), not "):
        HttpSettings(**{name: value})


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 10**400])
def test_a_time_is_finite(value: float) -> None:
    with pytest.raises(ValueError, match=r"^silence_s must be a number above 0, not "):
        HttpSettings(silence_s=value)


@pytest.mark.parametrize("source", ["key_env", "key_file", "none"])
async def test_the_key_is_where_the_table_says(
    source: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_KEY", SECRET)
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "one").write_text(f"{SECRET}\n")
    entry = {"key_env": 'key_env = "SOME_KEY"', "key_file": 'key_file = "keys/one"', "none": ""}[source]
    async with UpstreamServer(ANSWER) as server:
        (route,) = _routes(
            f'[[upstreams]]\nkind = "mistral"\nbase_url = "{server.url}/v1"\n{entry}', tmp_path
        )
        await route.upstream.complete(REQUEST, CONTEXT)
        await RoutedUpstream([route]).close()
    expected = None if source == "none" else f"Bearer {SECRET}"
    assert server.received[0].headers.get("authorization") == expected
    assert SECRET not in repr(route)


def test_an_absolute_path_stays_what_it_is(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "key"
    file.write_text(SECRET)
    assert routed_from_tables([{"kind": "mistral", "key_file": str(file)}], tmp_path / "other").routes


def test_vertex_may_be_elsewhere() -> None:
    (route,) = routed_from_tables([{**VERTEX, "base_url": "http://127.0.0.1:1/"}], HERE).routes
    assert isinstance(route.upstream, VertexUpstream)
    assert route.upstream._target.probe_url == "http://127.0.0.1:1"


async def test_recordings_are_looked_for_beside_the_file(tmp_path: pathlib.Path) -> None:
    (tmp_path / "mine.json").write_bytes((DEMONSTRATION / "answer.json").read_bytes())
    table = {"kind": "replay", "recordings": ["mine.json"], "chunks_per_second": 10}
    mine = await routed_from_tables([table], tmp_path).complete(REQUEST, CONTEXT)
    own = await ReplayUpstream(DEMONSTRATION / "answer.json").complete(REQUEST, CONTEXT)
    shown = await routed_from_tables([{"kind": "replay"}], tmp_path).complete(REQUEST, CONTEXT)
    assert mine == own
    assert shown == await ReplayUpstream(DEMONSTRATION).complete(REQUEST, CONTEXT)


@pytest.mark.parametrize("tables", [[], {}, None, "x", ["x"], [{"kind": "replay"}, 1]])
def test_what_is_no_array_of_tables_is_refused(tables: Any) -> None:
    assert _refusal(tables) == "upstreams: expected tables [[upstreams]], found something else"


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        (None, "none"),
        ("openai", "'openai'"),
        (["mistral"], "an array"),
        (1, "1"),
        ({}, "a table"),
    ],
)
def test_a_kind_is_one_of_three(kind: Any, found: str) -> None:
    table = {} if kind is None else {"kind": kind}
    message = _refusal([{"kind": "replay"}, table])
    assert message == f"upstreams[1].kind: expected one of mistral, vertex, replay, found {found}"


@pytest.mark.parametrize("kind", ["mistral", "vertex", "replay"])
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        *(({"name": value}, TEXT) for value in ("", 1, True, ["a"], "a\0")),
        *(({"models": value}, TEXTS) for value in ([], "m", [""], ["m", 1], {"m": 1})),
        *(
            ({"weight": value}, "a number from 0 up")
            for value in (-1, -0.5, True, "1", float("nan"), float("inf"), 10**400)
        ),
    ],
)
def test_what_every_kind_has_is_checked(kind: str, entry: dict[str, Any], expected: str) -> None:
    ((name, _),) = entry.items()
    message = _refusal([{**VERTEX, "kind": kind, **entry}] if kind == "vertex" else [{"kind": kind, **entry}])
    assert message.startswith(f"upstreams[0].{name}: expected {expected}, found ")


@pytest.mark.parametrize("table", [{"kind": "mistral"}, VERTEX])
@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        *(
            ({name: value}, SECONDS)
            for name in ("connect_s", "first_byte_s", "silence_s")
            for value in (0, -1, "1", True, float("inf"), float("nan"), 10**400, datetime.time(1))
        ),
        *(({"attempts_max": value}, "an integer from 1 up") for value in (0, -1, 1.0, "1", True)),
        *(({"base_url": value}, TEXT) for value in ("", 1, ["http://h"])),
    ],
)
def test_what_upstreams_over_http_have_is_checked(
    table: dict[str, Any], entry: dict[str, Any], expected: str
) -> None:
    ((name, _),) = entry.items()
    assert _refusal([{**table, **entry}]).startswith(f"upstreams[0].{name}: expected {expected}, found ")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "mistral", "key_env": ""}, f".key_env: expected {TEXT}, found an empty string"),
        ({"kind": "mistral", "key_file": 1}, f".key_file: expected {TEXT}, found 1"),
        (
            {"kind": "mistral", "key_env": "A", "key_file": "b"},
            ": expected key_env or key_file, found both",
        ),
        ({**VERTEX, "project": ""}, f".project: expected {TEXT}, found an empty string"),
        ({"kind": "vertex", "region": "r"}, f".project: expected {TEXT}, found none"),
        ({"kind": "vertex", "project": "p"}, f".region: expected {TEXT}, found none"),
        ({**VERTEX, "region": 1.5}, f".region: expected {TEXT}, found 1.5"),
        ({**VERTEX, "region": "a/b"}, ": region must be lower-case letters, digits and hyphens"),
        ({"kind": "replay", "recordings": "a"}, f".recordings: expected {TEXTS}, found a string"),
        ({"kind": "replay", "recordings": []}, f".recordings: expected {TEXTS}, found an empty array"),
        ({"kind": "replay", "chunks_per_second": 0}, f".chunks_per_second: expected {SECONDS}, found 0"),
        ({"kind": "mistral", "base_url": "ftp://x"}, ": base_url must be a URL"),
        ({"kind": "mistral", "base_url": f"https://u:{SECRET}@x"}, ": base_url must be a URL"),
        ({**VERTEX, "base_url": f"https://x?key={SECRET}"}, ": base_url must be a URL"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(table: dict[str, Any], message: str) -> None:
    tables = [{"kind": "replay", "name": "first"}, table]
    assert _refusal(tables).startswith(f"upstreams[1]{message}")


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("mistral", "project"),
        ("mistral", "recordings"),
        ("mistral", "answer_bytes_max"),
        ("vertex", "key_env"),
        ("replay", "base_url"),
        ("replay", "connect_s"),
        ("mistral", "password"),
    ],
)
def test_an_unknown_key_is_refused_with_those_there_are(kind: str, name: str) -> None:
    message = _refusal([{"kind": kind, name: SECRET}])
    assert message.startswith(
        f"upstreams[0]: expected a key of the kind {kind} (name, kind, models, weight, "
    )
    assert message.endswith(f"), found '{name}'")


@pytest.mark.parametrize("kind", ["mistral", "vertex", "replay"])
@pytest.mark.parametrize("name", ["key", "api_key", "token"])
def test_a_key_in_the_file_is_refused_and_never_quoted(kind: str, name: str) -> None:
    message = _refusal([{"kind": kind, name: SECRET}])
    assert message.startswith(f"upstreams[0].{name}: expected no key in this file, found one; name its place")


def test_two_upstreams_of_one_name_are_refused() -> None:
    tables = [{"kind": "replay"}, {"kind": "replay"}]
    assert _refusal(tables) == (
        "upstreams[1].name: expected a unique name, found one that another upstream has"
    )


def test_tables_are_checked_without_what_they_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    tables = [{"kind": "mistral", "key_env": "SOME_KEY"}, {"kind": "replay", "recordings": ["none"]}]
    check_upstream_tables(tables)
    for wrong in ([], [*tables, {"kind": "replay"}], [*tables, {"kind": "x"}], [*tables, {**VERTEX, "a": 1}]):
        with pytest.raises(MistralwireError) as raised:
            check_upstream_tables(wrong)
        assert raised.value.message == _refusal(wrong)


def test_what_a_table_names_must_be_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    message = _refusal([{"kind": "mistral", "key_env": "SOME_KEY"}], tmp_path, reason="UPSTREAM_KEY")
    assert message == "upstreams[0]: expected a key in the environment variable SOME_KEY, found none"
    message = _refusal([{"kind": "mistral", "key_file": "none"}], tmp_path, reason="UPSTREAM_KEY")
    assert message.startswith(f"upstreams[0]: expected a file with a key at {tmp_path / 'none'}, found: ")
    for name, found in (
        ("none", "a .json file"),
        ("none.json", "a file that"),
        ("x" * 5000, "a folder that"),
    ):
        message = _refusal([{"kind": "replay", "recordings": [name]}], tmp_path, reason="BAD_RECORDING")
        assert message.startswith(f"upstreams[0]: {tmp_path / name}: expected {found}")


def test_a_proxy_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1")
    message = _refusal([{"kind": "mistral"}], reason="PROXY")
    assert message.startswith("upstreams[0]: expected an http URL in HTTPS_PROXY, found something else;")


@pytest.mark.process
@pytest.mark.parametrize(
    ("blocked", "kind", "extra"),
    [
        ("httptools", "mistral", "gateway"),
        ("aiohappyeyeballs", "vertex", "gateway"),
        ("google.auth", "vertex", "vertex"),
        ("requests", "vertex", "vertex"),
    ],
)
def test_a_package_that_is_missing_is_named_and_replay_needs_none(
    blocked: str, kind: str, extra: str
) -> None:
    program = f"""
import pathlib, sys
sys.modules[{blocked!r}] = None
from mistralwire.errors import MistralwireError
from mistralwire.upstream import routed_from_tables
routed_from_tables([{{"kind": "replay"}}], pathlib.Path())
try:
    routed_from_tables([{{**{VERTEX if kind == "vertex" else {}}, "kind": {kind!r}}}], pathlib.Path())
except MistralwireError as error:
    print(error.reason, error.message)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.startswith("EXTRA_MISSING upstreams[0]: ")
    assert result.stdout.endswith(f"found none; in a checkout of mistralwire run pip install '.[{extra}]'\n")
