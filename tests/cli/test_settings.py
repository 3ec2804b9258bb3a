"""The settings of a command: one name for a flag, a variable and a key of the file."""

import pathlib
import re
import tomllib
from collections.abc import Mapping
from typing import Any

import click
import click.testing
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mistralwire._settings import kind_of
from mistralwire.cli import main
from mistralwire.cli._server_settings import with_storage
from mistralwire.cli.gateway import GATEWAY
from mistralwire.cli.serve import SERVE
from mistralwire.cli.settings import SettingsDefinition, flag_of
from mistralwire.cli.settings._definition import _toml
from mistralwire.service import RelayConfig

from .serving import REPLAY

# Settings that do not go without others.
COMPANIONS = {
    "tls_certificate": ["--tls-key", "/key"],
    "tls_key": ["--tls-certificate", "/certificate"],
    "tls_client_ca": ["--tls-key", "/key", "--tls-certificate", "/certificate"],
    **{name: ["--service", "host:1"] for name in GATEWAY.fields if name.startswith("service_")},
    "passthrough_key_file": ["--passthrough-url", "http://host"],
    "log_durability": ["--log", "nats://host", "--log-replicas", "3"],
    "log_replicas": ["--log", "nats://host"],
    "log_monitors": ["--log", "nats://host"],
}
TEXT = "a non-empty string without null characters"
FIELDS = SERVE.fields
DEFINITIONS = (SERVE, GATEWAY)
SETTINGS = [
    pytest.param(definition, name, id=f"{definition.command}-{name}")
    for definition in DEFINITIONS
    for name in definition.fields
    if name != "recordings"
]


def serve(
    *arguments: str | pathlib.Path, env: Mapping[str, str | None] | None = None, command: str = "serve"
) -> click.testing.Result:
    return click.testing.CliRunner().invoke(main, [command, *map(str, arguments)], env=env)


def printed(
    *arguments: str | pathlib.Path, env: Mapping[str, str | None] | None = None, command: str = "serve"
) -> str:
    result = serve(*arguments, "--print-config", env=env, command=command)
    assert result.exit_code == 0, result.output
    return result.stdout


def values(text: str, command: str = "serve") -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads(text)[command]
    return table


def refused(*arguments: str | pathlib.Path, env: Mapping[str, str | None] | None = None) -> str:
    """Return the message of a usage error, in one line."""
    result = serve(*arguments, "--print-config", env=env)
    assert result.exit_code == 2, result.output
    return " ".join(result.output.partition("Error: ")[2].split())


def three_values(definition: SettingsDefinition, name: str) -> list[Any]:
    """Return three values that a setting may have, none of them its default."""
    match kind_of(definition.fields[name]):
        case kind if kind is bool:
            return [True, False, True]
        case kind if kind is int and name == "log_replicas":
            return [2, 3, 5]
        case kind if kind is int:
            least = int(definition.fields[name].metadata["setting"].least)
            return [least + 7, least + 8, least + 9]
        case kind if kind is float:
            return [1.25, 2.5, 3.75]
        case kind if kind is pathlib.Path:
            return ["/one", "/two", "/three"]
        case kind if kind is str and name == "cors_origins":
            return ["https://one.example", "https://two.example", "*"]
        case kind if kind is str and name == "passthrough_paths":
            return ["/v1/one", "/v1/two", "none"]
        case kind if kind is str and name == "log":
            return ["memory", "nats://one", "tls://two:4222"]
        case kind if kind is str and name == "log_monitors":
            return ["http://one:8222", "http://two:8222,https://three", "http://[::1]:8222"]
        case kind if kind is str and name == "on_disconnect":
            return ["finish", "keep 30", "keep 1"]
        case kind if kind is str:
            return ["127.0.0.2", "127.0.0.3", "127.0.0.4"]
        case _:
            return {
                "log_level": ["debug", "warning", "error"],
                "log_format": ["json", "text", "json"],
                "log_durability": ["replicated", "synced", "replicated"],
            }[name]


def toml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else repr(value).replace("'", '"')


@pytest.mark.parametrize(("definition", "name"), SETTINGS)
def test_a_flag_counts_before_a_variable_and_that_before_the_file(
    definition: SettingsDefinition, name: str, tmp_path: pathlib.Path
) -> None:
    first, second, third = three_values(definition, name)
    command = definition.command
    file = tmp_path / "m.toml"
    file.write_text(f"[{command}]\n{name} = {toml(first)}\n")
    flag = [flag_of(name)] if third is True else [flag_of(name), str(third)]
    config = ["--config", str(file), *COMPANIONS.get(name, [])]
    env = {definition.variable_of(name): str(second)}

    from_file, from_variable, from_flag = texts = (
        printed(*config, command=command),
        printed(*config, env=env, command=command),
        printed(*config, *flag, env=env, command=command),
    )

    assert [values(text, command)[name] for text in texts] == [first, second, third]
    origins = [
        re.search(rf"^{name} = .*  # (.*)$", text, re.MULTILINE)
        for text in (from_file, from_variable, from_flag)
    ]
    assert [origin and origin[1] for origin in origins] == [
        str(file),
        definition.variable_of(name),
        flag_of(name),
    ]


@pytest.mark.parametrize(("definition", "name"), SETTINGS)
def test_every_setting_is_printed_with_its_help_and_its_default(
    definition: SettingsDefinition, name: str
) -> None:
    text = printed(command=definition.command)
    field = definition.fields[name]

    help_ = field.metadata["setting"].help
    assert f"\n {help_}" in text.replace("\n# ", " ")
    if field.default is None:
        assert f"\n# {name} is not set\n" in text
    else:
        assert values(text, definition.command)[name] == field.default
        assert re.search(rf"^{name} = .*  # default$", text, re.MULTILINE)


@pytest.mark.parametrize("flag", ["--insecure", "--share-port", "--reflection", "--channelz"])
def test_a_flag_can_take_back_what_the_file_says(flag: str, tmp_path: pathlib.Path) -> None:
    name = flag.removeprefix("--").replace("-", "_")
    file = tmp_path / "m.toml"
    file.write_text(f"[serve]\n{name} = true\n")

    assert values(printed("--config", file))[name] is True
    assert values(printed("--config", file, f"--no-{flag.removeprefix('--')}"))[name] is False


def test_the_printed_configuration_can_be_fed_back(tmp_path: pathlib.Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / 'a "folder" of\n\ttwo \\ lines, é 😀'
    folder.mkdir()
    arguments = ["--port", "0", "--host", "localhost", "--drain-s", "1e-05", "--chunks-per-second", "3"]
    arguments += ["--tls-key", "key.pem", "--tls-certificate", "certificate.pem", "--workers", "3"]
    arguments += ["--no-reflection", "--prometheus-port", "9464", str(REPLAY / "chat.sse"), str(folder)]
    first = printed(*arguments)
    file = folder / "m.toml"
    file.write_text(first)

    again = printed("--config", file)

    assert values(again) == values(first)
    assert values(again)["recordings"] == [str(REPLAY / "chat.sse"), str(folder)]
    assert values(again)["tls_key"] == str(tmp_path / "key.pem")
    origins = {line.rpartition("  # ")[2] for line in again.splitlines() if " = " in line}
    assert origins == {str(file).replace("\n", "\\n").replace("\t", "\\t")}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_can_be_a_value_of_the_printed_file(text: str) -> None:
    assert tomllib.loads(f"x = {_toml(text)}  # comment")["x"] == text


def test_a_path_that_toml_can_not_hold_is_an_error() -> None:
    result = serve("--token-file", "a\udcff", "--print-config")

    assert result.exit_code == 1
    assert "found bytes that are not UTF-8" in result.output
    assert "\\udcff" in result.output


def test_paths_in_the_file_are_relative_to_its_folder(tmp_path: pathlib.Path) -> None:
    (tmp_path / "chat.json").write_bytes((REPLAY / "chat.json").read_bytes())
    file = tmp_path / "m.toml"
    file.write_text('[serve]\nrecordings = ["chat.json"]\ntoken_file = "../tokens"\n')

    found = values(printed("--config", file))

    assert found["recordings"] == [str(tmp_path / "chat.json")]
    assert found["token_file"] == str(tmp_path.parent / "tokens")


def test_recordings_in_the_environment_are_separated_as_in_path() -> None:
    paths = [str(REPLAY / name) for name in ("chat.json", "chat.sse")]
    env = {"MISTRALWIRE_SERVE_RECORDINGS": ":".join(paths)}

    assert values(printed(env=env))["recordings"] == paths
    assert values(printed(paths[0], env=env))["recordings"] == paths[:1]


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text("\ufeff[serve]\nport = 1\n")

    assert values(printed("--config", file))["port"] == 1


def test_the_environment_names_the_file(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text("[serve]\nport = 1\n")

    assert values(printed(env={"MISTRALWIRE_CONFIG": str(file)}))["port"] == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('port = "50"', "port: expected an integer from 0 to 65535, found a string"),
        ("port = 50.0", "port: expected an integer from 0 to 65535, found 50.0"),
        ("port = true", "port: expected an integer from 0 to 65535, found true"),
        ("port = 65536", "port: expected an integer from 0 to 65535, found 65536"),
        ('drain_s = "5"', "drain_s: expected a number from 0 to 86400, found a string"),
        ("drain_s = false", "drain_s: expected a number from 0 to 86400, found false"),
        ("drain_s = 2024-01-01", "drain_s: expected a number from 0 to 86400, found a date or time"),
        ("drain_s = nan", "drain_s: expected a number from 0 to 86400, found nan"),
        ("drain_s = -1", "drain_s: expected a number from 0 to 86400, found -1"),
        (f"drain_s = 1{'0' * 400}", "drain_s: expected a number from 0 to 86400, found 1000"),
        ("request_s = 0", "request_s: expected a number above 0 and at most 86400, found 0"),
        ('insecure = "yes"', "insecure: expected true or false, found a string"),
        ("insecure = 1", "insecure: expected true or false, found 1"),
        ("host = 5", f"host: expected {TEXT}, found 5"),
        ('host = "a\\u0000"', f"host: expected {TEXT}, found a string"),
        ('token_file = ""', f"token_file: expected {TEXT}, found an empty string"),
        ("log_level = 1", "log_level: expected one of debug, info, warning, error, found 1"),
        ('recordings = "a"', "recordings: expected an array of strings, found a string"),
        ("recordings = [1]", "recordings: expected an array of strings, found an array"),
        ("[serve.port]", "port: expected an integer from 0 to 65535, found a table"),
        ("drain-s = 5", '"drain-s" is not a setting of [serve]; did you mean drain_s?'),
        ("zzz = 5", '"zzz" is not a setting of [serve]'),
        ("port = 1\n[srve]", "expected the tables [serve], [gateway], [[upstreams]], found [srve]"),
        ('port = 1\n[call]\ntarget = "localhost:1"', "[[upstreams]], found [call]"),
        ("[[upstreams]]", "upstreams[0].kind: expected one of mistral, vertex, replay, found none"),
        ('[[upstreams]]\nkind = "replay"\n' * 2, "upstreams[1].name: expected a unique name"),
        ("[upstreams]", "upstreams: expected tables [[upstreams]], found something else"),
        ("port =", "not TOML: Invalid value (at line 2, column 7)"),
        ("port = 1\nport = 2", "not TOML: Cannot overwrite a value (at line 3"),
        (f"recordings = {'[' * 5000}", "not TOML: nested too deeply"),
        (f"port = {'9' * 5000}", "not TOML: "),
    ],
)
def test_what_is_wrong_in_the_file_is_said_with_file_and_key(
    content: str, said: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "m.toml"
    file.write_text(f"[serve]\n{content}\n")

    message = refused("--config", file)

    assert message.startswith(f"{file}: {said}") or (message.startswith(f"{file}: ") and said in message)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        ('log_level = "loud"', "log_level"),
        ('recordings = ["nowhere"]', "recordings"),
    ],
)
def test_what_click_refuses_in_the_file_is_said_with_file_and_key(
    content: str, name: str, tmp_path: pathlib.Path
) -> None:
    file = tmp_path / "m.toml"
    file.write_text(f"[serve]\n{content}\n")

    assert refused("--config", file).startswith(f"Invalid value for {name} in {file}: ")


def test_a_key_outside_of_a_table_is_an_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text("port = 1\n")

    assert refused("--config", file).endswith('expected tables such as [serve], found the key "port" outside')


def test_a_file_that_is_not_utf_8_is_said_with_its_line(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_bytes(b'[serve]\n\nhost = "\xff"\n')

    assert refused("--config", file).endswith("expected UTF-8, found other bytes (at line 3)")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("/nowhere/m.toml", "/nowhere/m.toml: can't be read: no such file or directory"),
        ("/dev/zero", "/dev/zero: expected at most 1048576 bytes, found more"),
    ],
)
def test_a_file_that_can_not_be_read_is_said(file: str, said: str) -> None:
    assert refused("--config", file) == said


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "MISTRALWIRE_SERVE_DRIAN_S",
            "DRIAN_S is not a setting of serve; did you mean MISTRALWIRE_SERVE_DRAIN_S?",
        ),
        ("MISTRALWIRE_SERVE_CONFIG", "did you mean MISTRALWIRE_"),
        ("MISTRALWIRE_SERVE_", "is not a setting of serve"),
    ],
)
def test_a_variable_that_is_no_setting_is_an_error(name: str, said: str) -> None:
    assert said in refused(env={name: "1"})


def links_of(service: str) -> dict[str, str]:
    """Return what Kubernetes sets for a Service with a named port."""
    return {
        f"{service}_SERVICE_HOST": "10.0.0.1",
        f"{service}_SERVICE_PORT": "8000",
        f"{service}_SERVICE_PORT_GRPC": "8000",
        f"{service}_PORT": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP": "tcp://10.0.0.1:8000",
        f"{service}_PORT_8000_TCP_PROTO": "tcp",
        f"{service}_PORT_8000_TCP_PORT": "8000",
        f"{service}_PORT_8000_TCP_ADDR": "10.0.0.1",
    }


@pytest.mark.parametrize("suffix", ["", "_PROMETHEUS", "_INTERNAL", "_PORT", "_SERVICE"])
def test_what_kubernetes_sets_for_a_service_is_ignored(suffix: str) -> None:
    assert values(printed(env=links_of(f"MISTRALWIRE_SERVE{suffix}"))) == values(printed())


def test_only_a_variable_of_a_port_can_be_one_of_kubernetes() -> None:
    printed_ = printed(env={"MISTRALWIRE_GATEWAY_SERVICE": "tcp://10.0.0.1:8000"}, command="gateway")

    assert values(printed_, "gateway")["service"] == "tcp://10.0.0.1:8000"


@pytest.mark.parametrize(
    "env",
    [
        {"MISTRALWIRE_SERVE_SERVICE_HOST": "10.0.0.1"},
        {"MISTRALWIRE_SERVE_PORT": "8000", "MISTRALWIRE_SERVE_SERVICE_PORT": "8000"},
        {**links_of("MISTRALWIRE_SERVE"), "MISTRALWIRE_SERVE_DRIAN_S": "1"},
        {**links_of("MISTRALWIRE_SERVE"), "MISTRALWIRE_SERVE_EXPORT": "1"},
    ],
)
def test_what_only_looks_like_a_variable_of_kubernetes_is_an_error(env: dict[str, str]) -> None:
    assert "is not a setting of serve" in refused(env=env)


@pytest.mark.parametrize(
    ("name", "value"), [("PORT", "x"), ("PORT", "65536"), ("DRAIN_S", "nan"), ("INSECURE", "maybe")]
)
def test_a_bad_value_of_a_variable_is_said_with_the_variable(name: str, value: str) -> None:
    message = refused(env={f"MISTRALWIRE_SERVE_{name}": value})

    assert message.startswith(f"Invalid value for MISTRALWIRE_SERVE_{name}: ")


@pytest.mark.parametrize(
    ("relay", "said"),
    [
        (RelayConfig(), "replaying"),
        (RelayConfig(data=pathlib.Path("folder\x1b")), "replaying, storing responses in folder\\x1b"),
        (RelayConfig(log="memory"), "replaying, storing responses in memory"),
        (RelayConfig(log="nats://user:secret@host"), "replaying, storing responses in NATS"),
    ],
)
def test_the_first_line_has_where_responses_are_stored(relay: RelayConfig, said: str) -> None:
    assert with_storage("replaying", relay) == said


def test_an_empty_path_is_not_the_working_directory() -> None:
    result = serve("--data", "")
    assert result.exit_code == 2
    assert "Invalid value for --data: expected a path, found an empty string" in result.stderr


def test_a_variable_without_a_value_is_as_good_as_none() -> None:
    assert values(printed(env={"MISTRALWIRE_SERVE_PORT": ""}))["port"] == 50051


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tls-key", "a"], "--tls-certificate and --tls-key go together: expected both or none, found one"),
        (["--tls-client-ca", "a"], "--tls-client-ca needs --tls-certificate and --tls-key"),
        (
            ["--insecure", "--tls-key", "a", "--tls-certificate", "b"],
            "expected --insecure or --tls-certificate, found both",
        ),
        (["--prometheus-port", "65535", "--workers", "2"], "--prometheus-port leaves too few ports above it"),
        (["--prometheus-host", ""], "--prometheus-host must not be empty"),
        (["--upstream-url", "http://a", str(REPLAY)], "expected RECORDING or --upstream-url, found both"),
        (["--data", "a", "--log", "memory"], "expected --data or --log, found both"),
        (["--log-replicas", "3"], "--log-replicas needs a log on NATS: set --log to its URL, such as"),
        (["--data", "a", "--log-monitors", "http://a"], "--log-monitors needs a log on NATS"),
        (["--log", "nats://a", "--log-monitors", "a:8222"], "--log-monitors must be URLs such as http://127"),
        (
            ["--data", "a", "--workers", "2"],
            "--workers must be 1 with --data, found 2: a single process uses those responses; for several, "
            "store them in NATS, such as nats://127.0.0.1:4222",
        ),
        (["--log", "memory", "--workers", "2"], "--workers must be 1 with --log, found 2"),
    ],
)
def test_values_that_do_not_go_together_are_said_with_their_flags(arguments: list[str], said: str) -> None:
    assert said in refused(*arguments)


def test_values_that_do_not_go_together_are_said_with_their_places(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text('[serve]\nhost = "0.0.0.0"\n')

    assert refused("--config", file).startswith(f"host in {file} must be a loopback address")
    message = refused(env={"MISTRALWIRE_SERVE_HOST": "::"})
    assert message.startswith("MISTRALWIRE_SERVE_HOST must be a loopback address")
    assert message.endswith("set --tls-certificate and --tls-key, or --insecure to allow that")


@pytest.mark.parametrize("host", ["host", "my.host", "host-1", "port.host.net"])
def test_the_words_of_a_value_stay_as_they_are(host: str) -> None:
    ctx = click.Context(click.Command("serve"))

    message = SERVE.with_places(ctx, f"host must be an address, not {host!r}")

    assert message == f"--host must be an address, not {host!r}"


@pytest.mark.parametrize("noun", ["the port", "a port", "an encoding without a port"])
def test_a_noun_that_is_a_setting_too_stays_a_noun(noun: str) -> None:
    ctx = click.Context(click.Command("serve"))

    assert SERVE.with_places(ctx, f"host: expected {noun}") == f"--host: expected {noun}"


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.command)
def test_the_help_shows_every_setting_under_a_heading(definition: SettingsDefinition) -> None:
    text = serve("--help", command=definition.command).stdout
    position = 0
    for heading, names in definition.groups().items():
        assert heading
        assert (position := text.index(f"\n{heading}:\n", position)) > 0
        for name in names:
            if name != "recordings":
                assert (position := text.index(f"\n  {flag_of(name)} ", position)) > 0
    assert text.index("--print-config  Print") > position


def test_the_upstreams_are_printed_with_absolute_paths(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "m.toml"
    file.write_text(
        '[[upstreams]]\nkind = "mistral"\nbase_url = "http://127.0.0.1:1"\nkey_file = "key"\nweight = 0.5\n'
        '[[upstreams]]\nkind = "replay"\nmodels = ["a", "b*"]\nrecordings = ["one", "two"]\n'
    )

    for command in ("serve", "gateway"):
        again = tmp_path.parent / "again.toml"
        again.write_text(printed("--config", file, command=command))
        for text in (again.read_text(), printed("--config", again, command=command)):
            assert tomllib.loads(text)["upstreams"] == [
                {
                    "kind": "mistral",
                    "base_url": "http://127.0.0.1:1",
                    "key_file": str(tmp_path / "key"),
                    "weight": 0.5,
                },
                {
                    "kind": "replay",
                    "models": ["a", "b*"],
                    "recordings": [str(tmp_path / "one"), str(tmp_path / "two")],
                },
            ]


def test_a_long_help_is_wrapped_in_the_printed_file() -> None:
    help_ = max((field.metadata["setting"].help for field in FIELDS.values()), key=len)

    lines = [line for line in printed().splitlines() if line.startswith("#")]

    assert len(help_) > 100
    assert max(map(len, lines)) <= 100
