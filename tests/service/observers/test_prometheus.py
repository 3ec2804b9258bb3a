"""The page of metrics for Prometheus, read over HTTP."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mistralwire._serving import metrics_page
from mistralwire.codec import SseDecoder, to_json
from mistralwire.errors import MistralwireError
from mistralwire.service import CallObserver, ServerConfig, create_server
from mistralwire.service._observers._call_telemetry import CallTelemetry
from mistralwire.service._observers._telemetry import PrometheusEndpoint, start_prometheus
from mistralwire.v1 import CompletionChunk, UsageInfo
from mistralwire.v1 import chat_completion_service_pb2_grpc as service_grpc
from tests.service.relay.relays import Producer, batch, calling, ending, opening, publish, relaying
from tests.service.upstreams import STREAM_REQUEST, EagerUpstream


@pytest.fixture
def endpoint() -> Iterator[PrometheusEndpoint]:
    with contextlib.closing(start_prometheus(port=0)) as endpoint:
        yield endpoint


async def page_of(endpoint: PrometheusEndpoint) -> str:
    def fetch() -> str:
        with urllib.request.urlopen(f"http://{endpoint.host}:{endpoint.port}/metrics", timeout=30) as answer:
            return str(answer.read(), "utf-8")

    return await asyncio.to_thread(fetch)


def stub_of(channel: grpc.aio.Channel) -> Any:
    stub: Any = service_grpc.ChatCompletionServiceStub
    return stub(channel)


@contextlib.asynccontextmanager
async def called(*observers: CallObserver) -> AsyncIterator[None]:
    """Make a call with a stream of three chunks."""
    async with (
        asyncio.timeout(30),
        create_server(EagerUpstream(3), ServerConfig(port=0), observers) as server,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        async for _ in stub_of(channel).ChatCompletionStream(STREAM_REQUEST):
            pass
        yield


def sample(page: str, name: str) -> tuple[str, float]:
    """Return the labels and the value of the one sample with that name."""
    # Some versions write no braces without labels.
    (found,) = re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", page, re.MULTILINE)
    return found[0], float(found[1])


async def test_the_page_has_the_metrics_of_calls(endpoint: PrometheusEndpoint) -> None:
    async with called(endpoint.observer):
        page = await page_of(endpoint)
    labels, value = sample(page, "rpc_server_call_duration_seconds_count")
    assert value == 1
    assert 'rpc_response_status_code="OK"' in labels
    assert 'rpc_method="mistralwire.v1.ChatCompletionService/ChatCompletionStream"' in labels
    labels, value = sample(page, "gen_ai_client_operation_time_to_first_chunk_seconds_count")
    assert value == 1
    assert 'gen_ai_request_model="m"' in labels
    assert sample(page, "gen_ai_client_operation_time_per_output_chunk_seconds_count")[1] == 2
    assert 'le="81.92"' in page


@pytest.mark.usefixtures("no_losses")
async def test_the_page_counts_what_was_lost_of_newer_contracts(endpoint: PrometheusEndpoint) -> None:
    async with called(endpoint.observer):
        assert "mistralwire_contract_losses" not in await page_of(endpoint)
        for _ in range(3):
            to_json(UsageInfo.FromString(b"\xd0\x06\x01"))
        page = await page_of(endpoint)
    labels, value = sample(page, "mistralwire_contract_losses_total")
    assert value == 3
    assert 'mistralwire_field="106"' in labels
    assert 'mistralwire_message="UsageInfo"' in labels


@pytest.mark.usefixtures("no_dropped_events")
async def test_the_page_counts_dropped_events(endpoint: PrometheusEndpoint) -> None:
    async with called(endpoint.observer):
        for _ in range(2):
            assert list(SseDecoder(CompletionChunk).feed(b"event: ping\ndata: {}\n\n")) == []
        page = await page_of(endpoint)
    labels, value = sample(page, "mistralwire_events_dropped_total")
    assert value == 2
    assert 'mistralwire_event="ping"' in labels


async def test_the_page_has_the_metrics_of_the_relay(endpoint: PrometheusEndpoint) -> None:
    async with relaying(observers=[endpoint.observer]) as (_, server), calling(server) as stub:
        await publish(stub, opening("ended"), batch(1, "a", "b"), ending())
        async with Producer(stub, opening()) as producer:
            await producer.acknowledged(0)
            page = await page_of(endpoint)
    names = ("events_total", "followers", "responses_running", "responses_not_stored_total")
    assert [sample(page, f"mistralwire_relay_{name}")[1] for name in names] == [2, 0, 1, 0]
    assert sample(page, "mistralwire_relay_acknowledgement_duration_seconds_count")[1] == 1
    labels = sample(page, "rpc_server_call_duration_seconds_count")[0]
    assert 'rpc_method="mistralwire.v1.ResponseRelayService/Publish"' in labels


@pytest.mark.parametrize("name", ["mistralwire", "from-the-environment"])
async def test_the_page_says_whose_it_is(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name != "mistralwire":
        monkeypatch.setenv("OTEL_SERVICE_NAME", name)
    with contextlib.closing(start_prometheus(port=0)) as endpoint:
        async with called(endpoint.observer):
            page = await page_of(endpoint)
    assert f'service_name="{name}"' in sample(page, "target_info")[0]


async def test_the_programs_own_traces_and_metrics_go_on(endpoint: PrometheusEndpoint) -> None:
    exporter, reader, tracers = InMemorySpanExporter(), InMemoryMetricReader(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    async with called(CallTelemetry(tracers, MeterProvider([reader])), endpoint.observer):
        page = await page_of(endpoint)
    assert sample(page, "rpc_server_call_duration_seconds_count")[1] == 1
    assert len(exporter.get_finished_spans()) == 2
    assert reader.get_metrics_data() is not None


def test_the_page_is_for_this_machine_alone_by_default(endpoint: PrometheusEndpoint) -> None:
    assert endpoint.host == "127.0.0.1"
    with socket.create_connection(("127.0.0.1", endpoint.port), 30) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


@pytest.mark.slow
def test_a_closed_endpoint_leaves_its_port_and_the_process_to_the_next() -> None:
    first = start_prometheus(port=0)
    first.close()
    first.close()
    with contextlib.closing(start_prometheus(port=first.port)) as second:
        assert second.port == first.port


def test_a_port_in_use_is_an_error_that_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MistralwireError) as caught:
            start_prometheus(port=port)
    assert caught.value.reason == "CANNOT_LISTEN"
    assert caught.value.message == (
        f"the address of the metrics, port {port} of 127.0.0.1, is in use; stop what listens there, or take "
        "another port"
    )
    start_prometheus(port=0).close()


@pytest.mark.parametrize(
    ("host", "found"),
    [
        ("no.such.host.invalid", "does not resolve"),
        ("x" * 64, "does not resolve"),
        ("192.0.2.1", "cannot assign"),
    ],
)
def test_an_address_that_is_not_of_this_machine_is_an_error(host: str, found: str) -> None:
    with pytest.raises(MistralwireError, match=found) as caught:
        start_prometheus(host, 0)
    assert caught.value.reason == "CANNOT_LISTEN"


def test_a_port_that_is_none_leaves_nothing_behind() -> None:
    with pytest.raises(OverflowError):
        start_prometheus(port=65_536)
    start_prometheus(port=0).close()


def test_a_second_endpoint_in_a_process_is_an_error(endpoint: PrometheusEndpoint) -> None:
    with pytest.raises(MistralwireError) as caught:
        start_prometheus(port=0)
    assert caught.value.reason == "PROMETHEUS_TAKEN"


def test_who_asks_for_nothing_is_hung_up_on_in_silence(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics_page, "_STALLED_S", 0.05)
    with (
        contextlib.closing(start_prometheus(port=0)) as endpoint,
        socket.create_connection(("127.0.0.1", endpoint.port), 30) as connection,
    ):
        assert connection.recv(1) == b""
    assert capfd.readouterr() == ("", "")


@pytest.mark.process
@pytest.mark.parametrize("missing", ["opentelemetry", "opentelemetry.sdk", "prometheus_client"])
def test_without_the_packages_the_error_says_what_to_install(missing: str) -> None:
    program = f"""
import sys

class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if (name + ".").startswith({missing!r} + "."):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Forbidden())
from mistralwire.errors import MistralwireError
from mistralwire.service._observers._telemetry import start_prometheus

try:
    start_prometheus(port=0)
except MistralwireError as error:
    print(error.reason, error.message)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == (
        "EXTRA_MISSING a page of metrics needs the package opentelemetry-exporter-prometheus, found none; "
        "in a checkout of mistralwire run pip install '.[otel]'\n"
    )
