"""What deploy/ has is valid, and names only settings, flags, files, ports, metrics and reasons that exist."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from typing import Any

import click
import click.testing
import pytest

from mistralwire.cli import main
from mistralwire.errors import Reason
from mistralwire.service import SERVICE_NAME
from tests.cli.relay import CHAT, invoke
from tests.cli.serving import serving
from tests.log.nats_servers import NatsServer, free_ports, running
from tests.prometheus_names import labels_by_metric
from tools.downloads import note_not_run

yaml = pytest.importorskip("yaml", reason="PyYAML, which mkdocs brings, is not installed")

ROOT = pathlib.Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").rglob("*.yaml"))
DOCKERFILE = DEPLOY / "Dockerfile"
ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
DASHBOARD = DEPLOY / "grafana" / "mistralwire.json"
UNIT = DEPLOY / "systemd" / "mistralwire@.service"
COMPOSE, WITH_NATS, WITH_DATA = (
    yaml.safe_load((DEPLOY / name).read_text())
    for name in ("compose.yaml", "compose.nats.yaml", "compose.data.yaml")
)
SETTINGS = tomllib.loads((DEPLOY / "mistralwire.toml").read_text())
FOLDER = "/etc/mistralwire"
# Seconds for a process to end after its last call: it waits 20 for a log on NATS that is away.
END_S = 25
# A process without calls takes this, rounded up.
BASE_BYTES = 100 * 2**20


def _run(program: str, *arguments: str | pathlib.Path, cwd: pathlib.Path = DEPLOY) -> str:
    """Run a checker, and return what it printed; skip the test where it isn't installed."""
    path = shutil.which(program, path=f"{sys.prefix}/bin:{os.environ['PATH']}")
    if path is None:
        note_not_run(f"deploy/: {program} is not installed")
        pytest.skip(f"{program} is not installed")
    done = subprocess.run(
        [path, *map(str, arguments)],
        cwd=cwd,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _documents() -> dict[tuple[str, str], dict[str, Any]]:
    """Return the resources for Kubernetes by kind and name."""
    documents = [document for path in KUBERNETES for document in yaml.safe_load_all(path.read_text())]
    return {(document["kind"], document["metadata"]["name"]): document for document in documents}


def _pod(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pod of a deployment, and its container."""
    pod = _documents()["Deployment", f"mistralwire-{name}"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    return pod, container


# The checkers of each format


@pytest.mark.process
def test_the_dockerfile_has_no_findings() -> None:
    assert _run("hadolint", "Dockerfile") == ""


@pytest.mark.process
def test_compose_accepts_its_files() -> None:
    files = [path.name for path in DEPLOY.glob("compose*.yaml")]
    assert len(files) == 3
    assert "ok" in _run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)


@pytest.mark.slow
def test_kubernetes_accepts_the_manifests() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    documents = _documents()
    assert len(documents) == 13
    for document in documents.values():
        kubernetes_validate.validate(document, "1.34", strict=True)


@pytest.mark.process
def test_prometheus_accepts_its_files() -> None:
    assert "is valid" in _run("promtool", "check", "config", "prometheus.yml", cwd=ALERTS.parent)


@pytest.mark.process
def test_systemd_accepts_the_unit_and_finds_it_hardened(tmp_path: pathlib.Path) -> None:
    unit = tmp_path / "mistralwire@gateway.service"
    # systemd-analyze wants the program to exist.
    unit.write_text(UNIT.read_text().replace("/opt/mistralwire/bin/mistralwire", sys.executable))
    assert _run("systemd-analyze", "verify", unit) == ""
    report = _run("systemd-analyze", "security", "--offline=true", "--no-pager", unit)
    assert float(report.partition("exposure level for")[2].split(":")[1].split()[0]) < 2


@pytest.mark.process
def test_envoy_accepts_its_configuration_as_compose_edits_it(tmp_path: pathlib.Path) -> None:
    edit, _, start = COMPOSE["services"]["envoy"]["entrypoint"][-1].partition(" && exec ")
    edited = tmp_path / "envoy.yaml"
    edit = edit.replace("/etc/envoy/mistralwire.yaml", str(DEPLOY / "envoy.yaml"))
    subprocess.run(["/bin/sh", "-c", edit.replace("/tmp/envoy.yaml", str(edited))], check=True)

    def addresses(cluster: dict[str, Any]) -> list[tuple[str, int]]:
        places = [
            place["endpoint"]["address"]
            for place in cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
        ]
        return [
            (place["socket_address"]["address"], place["socket_address"]["port_value"]) for place in places
        ]

    resources = yaml.safe_load(edited.read_text())["static_resources"]
    assert addresses(resources["clusters"][0]) == [("service", 50051)]
    listener = resources["listeners"][0]["address"]["socket_address"]
    assert listener == {"address": "0.0.0.0", "port_value": 8080}
    assert "OK" in _run("envoy", "--mode", "validate", *start.split()[1:2], edited)


# Settings, flags and files


def _settings(arguments: list[str], config: pathlib.Path) -> dict[str, Any]:
    """Return the settings that a command line has in effect, as the command itself prints them."""
    line = [str(config) if argument.endswith(".toml") else argument for argument in arguments]
    result = click.testing.CliRunner().invoke(main, [*line, "--print-config"])
    assert result.exit_code == 0, result.output
    settings: dict[str, Any] = tomllib.loads(result.stdout)[line[0]]
    return settings


COMMAND_LINES = {
    "compose service": COMPOSE["services"]["service"]["command"],
    "compose gateway": COMPOSE["services"]["gateway"]["command"],
    "compose with NATS, service": WITH_NATS["services"]["service"]["command"],
    "compose with NATS, gateway": WITH_NATS["services"]["gateway"]["command"],
    "compose with a folder, service": WITH_DATA["services"]["service"]["command"],
    "kubernetes service": _pod("service")[1]["args"],
    "kubernetes gateway": _pod("gateway")[1]["args"],
}


@pytest.mark.parametrize("place", COMMAND_LINES)
def test_a_command_line_is_accepted_with_the_settings(place: str) -> None:
    settings = _settings(COMMAND_LINES[place], DEPLOY / "mistralwire.toml")
    assert (settings["host"], settings["prometheus_port"]) == ("0.0.0.0", 9464)
    assert settings["port"] == (50051 if place.endswith("service") else 8080)


def test_what_is_added_to_compose_stores_responses_and_changes_nothing_else() -> None:
    for added, flag in ((WITH_NATS, "--log"), (WITH_DATA, "--data")):
        for name in added["services"].keys() & COMPOSE["services"].keys():
            *command, setting, _ = added["services"][name]["command"]
            assert (command, setting) == (COMPOSE["services"][name]["command"], flag)


def test_a_folder_of_responses_is_a_volume_that_the_image_may_write_to() -> None:
    service = WITH_DATA["services"]["service"]
    folder = service["command"][-1]
    assert service["volumes"] == [f"{next(iter(WITH_DATA['volumes']))}:{folder}"]
    assert service["deploy"]["replicas"] == 1
    made = re.findall(r"install --directory --owner=(\d+) .* (\S+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert made == [("10001", folder)]


@pytest.mark.process
async def test_the_service_stores_responses_in_nats_with_its_configuration(tmp_path: pathlib.Path) -> None:
    command = WITH_NATS["services"]["nats"]["command"]
    [place] = [config["target"] for config in WITH_NATS["services"]["nats"]["configs"]]
    file, store = DEPLOY / WITH_NATS["configs"]["nats"]["file"], tmp_path / "store"
    paths = {place: str(file), "/data": str(store)}
    nats = NatsServer(tmp_path / "nats", command=[paths.get(word, word) for word in command])
    with running(nats):
        async with serving("--log", nats.url, "--log-monitors", nats.monitor_url) as (_, address, line):
            published = await invoke(address, "publish", CHAT, "--id", "r")
            listed = await invoke(address, "responses", "--json")

    assert "storing responses in NATS" in line
    assert published == (0, "r\n", "")
    assert json.loads(listed[1])["state"] == "finished"
    assert [*store.iterdir()]


@pytest.mark.process
async def test_the_service_stores_responses_in_the_three_servers_of_kubernetes(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = _documents()
    pods = documents["StatefulSet", "mistralwire-nats"]["spec"]
    [container] = pods["template"]["spec"]["containers"]
    assert container["image"] == WITH_NATS["services"]["nats"]["image"]
    config = documents["ConfigMap", "mistralwire-nats"]["data"]["nats.conf"]
    file = tmp_path / "nats.conf"
    routes = re.findall('"nats://(.+:6222)"', config)
    addresses = [f"127.0.0.1:{port}" for port in free_ports(len(routes))]
    servers = []
    for number in range(pods["replicas"]):
        name = f"mistralwire-nats-{number}"
        assert routes[number] == f"{name}.{pods['serviceName']}:6222"
        paths = {"/etc/nats/nats.conf": str(file), "/data": str(tmp_path / "store" / name)}
        command = [paths.get(word, word) for word in container["args"]]
        command += ["--cluster", f"nats://{addresses[number]}"]
        servers.append(NatsServer(tmp_path / name, command=command))
    file.write_text(_replaced(config, dict(zip(routes, addresses, strict=True))))
    comment = (DEPLOY / "kubernetes" / "nats" / "nats.yaml").read_text().partition("apiVersion")[0]
    [log] = re.findall('log = "(.+)"', comment)
    urls = {
        f"nats://{route.removesuffix(':6222')}": server.url
        for route, server in zip(routes, servers, strict=True)
    }
    monitors = ",".join(server.monitor_url for server in servers)
    [replicas] = re.findall(r"log_replicas = (\d)", comment)
    with contextlib.ExitStack() as stack:
        for server in servers:
            monkeypatch.setenv("POD_NAME", server.name)
            server.launch()
            stack.callback(server.stop)
        for server in servers:
            server.wait()
        arguments = ("--log", _replaced(log, urls), "--log-replicas", replicas, "--log-monitors", monitors)
        async with serving(*arguments) as (_, address, _):
            assert await invoke(address, "publish", CHAT, "--id", "r") == (0, "r\n", "")


def _replaced(text: str, replacements: dict[str, str]) -> str:
    for old, new in replacements.items():
        assert old in text
        text = text.replace(old, new)
    return text


def test_a_gateway_without_a_service_takes_the_settings_without_those_for_it(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "mistralwire.toml"
    settings = (DEPLOY / "mistralwire.toml").read_text()
    config.write_text(re.sub("^service_.*\n", "", settings, flags=re.MULTILINE))
    assert "service_token_file" not in _settings(["gateway", "--config", str(config)], config)


@pytest.mark.parametrize("command", ["serve", "gateway"])
def test_the_units_command_line_is_accepted_with_its_settings(command: str) -> None:
    (line,) = re.findall(r"^ExecStart=\S+ (.+)$", UNIT.read_text(), re.MULTILINE)
    config = DEPLOY / "systemd" / "mistralwire.toml"
    settings = _settings(line.replace("%i", command).split(), config)
    (stop_s,) = map(int, re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(), re.MULTILINE))
    assert stop_s >= settings["drain_s"] + END_S

    loaded = dict(re.findall(r"^LoadCredential=(\S+?):(\S+)$", UNIT.read_text(), re.MULTILINE))
    assert loaded == {name: f"{FOLDER}/{name}" for name in loaded}
    assert loaded.keys() == _files(tomllib.loads(config.read_text())) | {config.name}


def _files(settings: dict[str, Any]) -> set[str]:
    """Return the files that a configuration names."""
    tables = [settings.get("serve", {}), settings.get("gateway", {}), *settings["upstreams"]]
    return {
        value
        for table in tables
        for key, value in table.items()
        if re.search("_(file|certificate|key)$", key)
    }


def _health_commands() -> Iterator[list[str]]:
    (check,) = re.findall(r"HEALTHCHECK .*?\n *CMD (\[.*\])", DOCKERFILE.read_text())
    yield json.loads(check)
    yield COMPOSE["services"]["service"]["healthcheck"]["test"][1:]


def test_the_health_checks_are_command_lines_for_the_ports_and_the_tokens(tmp_path: pathlib.Path) -> None:
    token_file = tmp_path / SETTINGS["serve"]["token_file"]
    token_file.touch()
    found = []
    for program, name, *arguments in _health_commands():
        assert program == "mistralwire"
        command = main.get_command(click.Context(main), name)
        assert command is not None
        values = command.make_context(
            name, [argument.replace(FOLDER, str(tmp_path)) for argument in arguments]
        ).params
        found.append((values["url"], values["target"], values["token_file"]))
    assert found == [
        ("http://127.0.0.1:8080", None, None),
        (None, "127.0.0.1:50051", str(token_file)),
    ]


def test_the_files_of_the_settings_are_mounted() -> None:
    for name, table in (("service", "serve"), ("gateway", "gateway")):
        needed = _files(
            {table: SETTINGS[table], "upstreams": SETTINGS["upstreams"] if name == "service" else []}
        )
        secrets = COMPOSE["services"][name]["secrets"]
        assert {secret["target"] for secret in secrets} == {f"{FOLDER}/{file}" for file in needed}
        assert {secret["source"] for secret in secrets} <= COMPOSE["secrets"].keys()

        pod, container = _pod(name)
        assert [mount["mountPath"] for mount in container["volumeMounts"]] == [FOLDER]
        ((config, secret),) = [volume["projected"]["sources"] for volume in pod["volumes"]]
        assert config["configMap"]["name"] == "mistralwire"
        assert {item["path"] for item in secret["secret"]["items"]} == needed
        created = (DEPLOY / "kubernetes" / "config.yaml").read_text().partition("apiVersion")[0]
        keys = set(re.findall(r"--from-(?:file|literal)=([\w-]+)", created))
        assert {item["key"] for item in secret["secret"]["items"]} <= keys


def test_the_config_map_has_the_file() -> None:
    data = _documents()["ConfigMap", "mistralwire"]["data"]
    assert data == {"mistralwire.toml": (DEPLOY / "mistralwire.toml").read_text()}


def test_the_files_that_compose_mounts_exist() -> None:
    for compose in (COMPOSE, WITH_NATS):
        for config in compose["configs"].values():
            assert (DEPLOY / config["file"]).is_file()
        services = compose["services"].values()
        mounted = [config for service in services for config in service.get("configs", [])]
        assert {config["source"] for config in mounted} == compose["configs"].keys()


def test_the_dockerfile_copies_what_exists_and_is_not_ignored() -> None:
    text = DOCKERFILE.read_text()
    lines = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    copied = {path for line in lines for path in line.split()}
    allowed = set(re.findall("^!(.+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    assert copied == allowed
    assert all((ROOT / path).exists() for path in copied)


def test_variables_of_the_program_exist() -> None:
    known = (ROOT / "docs" / "reference.md").read_text() + (
        ROOT / "src/mistralwire/codec/__init__.py"
    ).read_text()
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            for name in re.findall(r"\bMISTRALWIRE_[A-Z_]+", path.read_text()):
                assert name in known, (path, name)


def test_the_version_is_the_packages() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    for path in DEPLOY.rglob("*"):
        if path.is_file():
            for found in re.findall(r'\bmistralwire:(\d[\w.]*)|image\.version="([^"]+)"', path.read_text()):
                assert version in found, path


def test_images_are_pinned() -> None:
    images = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE.read_text(), re.MULTILINE)
    services = [*COMPOSE["services"].values(), WITH_NATS["services"]["nats"]]
    images += [service["image"] for service in services]
    assert len(images) == 9
    assert [image for image in images if not re.search(r":v?\d+\.\d+", image)] == []


# Ports, probes, times and sizes


def test_the_pods_ports_and_probes_fit_the_settings() -> None:
    for name in ("service", "gateway"):
        _, container = _pod(name)
        settings = _settings(container["args"], DEPLOY / "mistralwire.toml")
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        assert set(ports.values()) == {settings["port"], settings["prometheus_port"]}
        probes = [container[f"{kind}Probe"] for kind in ("startup", "readiness", "liveness")]
        for probe in probes:
            if name == "service":
                assert probe["grpc"]["port"] == settings["port"]
                assert probe["grpc"].get("service", SERVICE_NAME) == SERVICE_NAME
            else:
                assert ports[probe["httpGet"]["port"]] == settings["port"]
                assert f"`GET {probe['httpGet']['path']}`" in (ROOT / "docs" / "gateway.md").read_text()
        annotations = _documents()["Deployment", f"mistralwire-{name}"]["spec"]["template"]["metadata"][
            "annotations"
        ]
        assert annotations["prometheus.io/port"] == str(settings["prometheus_port"])
        service = _documents()["Service", f"mistralwire-{name}"]["spec"]
        assert ports[service["ports"][0]["targetPort"]] == settings["port"]
        assert (service.get("clusterIP") == "None") == (name == "service")
    target = _settings(_pod("gateway")[1]["args"], DEPLOY / "mistralwire.toml")["service"]
    assert target == f"dns:///mistralwire-service:{_settings(['serve'], DEPLOY)['port']}"


def test_processes_may_drain_before_they_are_killed() -> None:
    for name, table in (("service", "serve"), ("gateway", "gateway")):
        pod, container = _pod(name)
        least_s = SETTINGS[table]["drain_s"] + END_S
        stop_s = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
        assert pod["terminationGracePeriodSeconds"] >= least_s + stop_s
        assert int(COMPOSE["services"][name]["stop_grace_period"].removesuffix("s")) >= least_s
    probe = _pod("service")[1]["readinessProbe"]
    assert SETTINGS["serve"]["drain_notice_s"] > probe["periodSeconds"] * probe["failureThreshold"]
    defaults = _settings(["gateway"], DEPLOY)
    assert SETTINGS["serve"]["connection_age_s"] > defaults["deadline_s"]


def test_the_memory_covers_the_worst_case() -> None:
    serve = _settings(COMMAND_LINES["kubernetes service"], DEPLOY / "mistralwire.toml")
    answers = serve["calls_max"] * (serve["stream_buffer_bytes_max"] + serve["stream_message_bytes_max"])
    needed = BASE_BYTES + 3 * serve["bodies_bytes_max"] + answers
    for limit in (
        _pod("service")[1]["resources"]["limits"]["memory"],
        COMPOSE["services"]["service"]["mem_limit"],
    ):
        assert int(re.sub(r"\D", "", limit)) * 2**20 >= needed


# Metrics


def _queries() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m").replace("$instance", ".*")


def _walk(expression: Any) -> Iterator[Any]:
    """Yield an expression of PromQL and those in it."""
    yield expression
    for name in ("lhs", "rhs", "expr", "param", "vector_selector", "vs"):
        inner = getattr(expression, name, None)
        if inner is not None:
            yield from _walk(inner)
    for argument in getattr(expression, "args", None) or ():
        yield from _walk(argument)


def test_queries_use_metrics_and_labels_that_exist() -> None:
    promql_parser = pytest.importorskip("promql_parser")
    known = labels_by_metric()
    queries = [*_queries()]
    assert len(queries) > 40
    for query in queries:
        expressions = [*_walk(promql_parser.parse(query))]
        selectors = [one for one in expressions if isinstance(one, promql_parser.VectorSelector)]
        assert selectors, query
        labels = {"job", "instance"}
        for selector in selectors:
            assert selector.name in known, query
            labels |= known[selector.name]
            used = {matcher.name for matcher in selector.matchers.matchers}
            assert used <= known[selector.name] | {"job", "instance"}, query
        for one in expressions:
            if isinstance(one, promql_parser.AggregateExpr) and one.modifier is not None:
                assert set(one.modifier.labels) <= labels, query


def test_queries_use_reasons_jobs_and_limits_that_exist() -> None:
    text = ALERTS.read_text()
    values = re.findall(r'mistralwire_error_reason=~?"([A-Z_|]+)"', "".join(_queries()))
    reasons = {reason for value in values for reason in value.split("|")}
    assert len(reasons) > 10
    assert reasons <= {*Reason.__members__}
    jobs = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in jobs} == {"mistralwire-gateway", "mistralwire-service"}
    assert f"> {int(0.8 * SETTINGS['gateway']['requests_max'])}\n" in text


def _call_series(**values: str) -> dict[str, str]:
    """Return the series of calls by reason."""
    series = (
        'rpc_server_call_duration_seconds_count{{job="mistralwire-service", mistralwire_error_reason="{}"}}'
    )
    return {series.format(reason.strip("_")): value for reason, value in values.items()}


def _request_series(**values: str) -> dict[str, str]:
    """Return the series of requests by status."""
    series = 'mistralwire_gateway_requests_total{{job="mistralwire-gateway", status="{}"}}'
    return {series.format(status.strip("_")): value for status, value in values.items()}


_SERVICE = '{job="mistralwire-service", instance="a"}'
_CHUNK = 'gen_ai_client_operation_time_to_first_chunk_seconds_bucket{{job="mistralwire-service", le="{}"}}'
# For each alert an hour in which it fires: values of series, a minute apart.
FIRING = {
    "MistralwireDown": {f"up{_SERVICE}": "0x60"},
    "MistralwireRestarting": {f"process_start_time_seconds{_SERVICE}": "0+1x60"},
    "MistralwireFilesNearlyUsedUp": {
        f"process_open_fds{_SERVICE}": "900x60",
        f"process_max_fds{_SERVICE}": "1024x60",
    },
    "MistralwireGatewayErrors": _request_series(_200="0+90x60", _503="0+10x60"),
    "MistralwireGatewayRefusals": _request_series(_200="0+90x60", _429="0+10x60"),
    "MistralwireGatewayUnauthorized": _request_series(_200="0+70x60", _401="0+30x60"),
    "MistralwireBrokenAnswers": {
        **_request_series(_200="0+90x60"),
        'mistralwire_gateway_broken_total{job="mistralwire-gateway"}': "0+3x60",
    },
    "MistralwireGatewayNearlyFull": {f"mistralwire_gateway_requests_running{_SERVICE}": "900x60"},
    "MistralwireUpstreamRefusesKey": _call_series(UPSTREAM_UNAUTHENTICATED="0+1x60"),
    "MistralwireUpstreamFails": _call_series(_="0+90x60", UPSTREAM_UNREACHABLE="0+10x60"),
    "MistralwireUpstreamLimitsRates": _call_series(_="0+90x60", UPSTREAM_RATE_LIMITED="0+10x60"),
    "MistralwireServiceFull": _call_series(UPSTREAM_BUSY="0+1x60"),
    "MistralwireInternalErrors": _call_series(INTERNAL="0+1x60"),
    "MistralwireFirstChunkLate": {_CHUNK.format("10"): "0+1x60", _CHUNK.format("20"): "0+9x60"}
    | {_CHUNK.format("+Inf"): "0+9x60"},
    "MistralwireContractLosses": {f"mistralwire_contract_losses_total{_SERVICE}": "0+1x60"},
    "MistralwireNotStored": {f"mistralwire_relay_responses_not_stored_total{_SERVICE}": "0+1x60"},
    "MistralwireLogFails": _call_series(LOG_UNAVAILABLE="0+1x60"),
}
QUIET = {
    **_request_series(_200="0+99x60", _503="0+1x60", _429="0+1x60", _401="0+1x60"),
    **_call_series(_="0+99x60", UPSTREAM_FAILED="0+1x60", CONTRACT_VIOLATION="0+9x60", STALE_EPOCH="0+9x60"),
    f"up{_SERVICE}": "1x60",
    f"process_start_time_seconds{_SERVICE}": "7x60",
}


@pytest.mark.process
def test_each_alert_fires_in_its_case_and_none_fires_without_one(tmp_path: pathlib.Path) -> None:
    def case(series: dict[str, str], alert: str, samples: list[dict[str, Any]]) -> dict[str, Any]:
        query = f'count(ALERTS{{alertname=~"{alert}", alertstate="firing"}})'
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": query, "eval_time": "50m", "exp_samples": samples}],
        }

    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert [rule["alert"] for rule in rules] == [*FIRING]
    cases = [case(series, alert, [{"value": 1}]) for alert, series in FIRING.items()]
    test = {"rule_files": [str(ALERTS)], "tests": [*cases, case(QUIET, ".*", [])]}
    (tmp_path / "test.yaml").write_text(json.dumps(test))
    assert "SUCCESS" in _run("promtool", "test", "rules", tmp_path / "test.yaml")
