"""What is measured in fresh processes, or beside another thread: first calls, imports, memory, gaps."""

import functools
import gc
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from benchmarks import documents
from benchmarks.documents import MESSAGE_TYPES
from benchmarks.measure import Run, seconds, show
from mistralwire.codec import ENGINE, binary_to_json, from_json, json_to_binary
from mistralwire.v1 import ChatCompletionResponse

DOCUMENTS = 2_000
TICK_S = 0.0005

_IMPORT = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
_IMPORTS = {
    "mistralwire.codec": "mistralwire.codec",
    "protobuf's json_format": "google.protobuf.json_format",
    "mistralai SDK's models": "mistralai.client.models",
}
_LOAD = """
import os, time
os.environ["MISTRALWIRE_ENGINE"] = "python"  # makes no plans
from mistralwire.codec import _native
import mistralwire_native
start = time.perf_counter()
_native.make_engine(mistralwire_native)
print(time.perf_counter() - start)
"""
_PEAK = """
import pathlib, re, sys
{setup}

def peak_kb():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\\s+(\\d+)", status)[1])

text = pathlib.Path(sys.argv[1]).read_bytes()
before = peak_kb()
result = {read}
print(peak_kb() - before)
"""
_READERS = {
    "from_json": (
        "from mistralwire import from_json; from mistralwire.v1 import ChatCompletionResponse",
        "from_json(ChatCompletionResponse, text)",
    ),
    "mistralai SDK": (
        "from mistralai.client.models import ChatCompletionResponse",
        "ChatCompletionResponse.model_validate_json(text)",
    ),
    "orjson.loads": ("import orjson", "orjson.loads(text)"),
}


def first_pass() -> dict[str, float]:
    """Return what the first pass over many different documents takes after the engine was loaded.

    Must be the first thing that a process converts.

    Returns:
        Microseconds, there and back, of the very first call, and of a document in the first and second pass.
    """
    show(f"{ENGINE}: first calls")
    made = [(MESSAGE_TYPES[document.kind], document.text) for document in documents.different(DOCUMENTS)]

    def convert(message_type: Any, text: bytes) -> None:
        binary_to_json(message_type, json_to_binary(message_type, text, validate=False))

    def convert_all() -> None:
        for message_type, text in made[1:]:
            convert(message_type, text)

    gc.collect()
    gc.disable()
    first_call = seconds(lambda: convert(*made[0]))
    first, second = (seconds(convert_all) / (len(made) - 1) * 1e6 for _ in range(2))
    return {"first_call_us": first_call * 1e6, "first_us": first, "second_us": second}


def large(rounds: int) -> dict[str, dict[str, dict[str, float]]]:
    """Return processor time and the longest gap of another thread, for documents of 10 MB.

    Returns:
        For each document and function: `cpu_ms` and `gap_ms`, medians of interleaved runs.
    """
    result: dict[str, dict[str, dict[str, float]]] = {}
    for name, make in documents.LARGE.items():
        text = make()
        wire = json_to_binary(ChatCompletionResponse, text)
        value = orjson.loads(text)
        runs: dict[str, Run] = {
            "json_to_binary": functools.partial(json_to_binary, ChatCompletionResponse, text),
            "from_json": functools.partial(from_json, ChatCompletionResponse, text),
            "orjson.loads": functools.partial(orjson.loads, text),
            "binary_to_json": functools.partial(binary_to_json, ChatCompletionResponse, wire),
            "orjson.dumps": functools.partial(orjson.dumps, value),
        }
        figures: dict[str, list[tuple[float, float]]] = {step: [] for step in runs}
        for _ in range(rounds):
            for step, run in runs.items():
                show(f"{ENGINE}: 10 MB, {name}, {step}")
                figures[step].append((_processor_ms(run), _gap_ms(run)))
        result[name] = {
            step: dict(
                zip(("cpu_ms", "gap_ms"), map(statistics.median, zip(*pairs, strict=True)), strict=True)
            )
            for step, pairs in figures.items()
        }
    return result


def _processor_ms(run: Run) -> float:
    start = time.process_time()
    run()
    return (time.process_time() - start) * 1e3


def _gap_ms(run: Run) -> float:
    """Return for how long a thread that wakes every half millisecond does not run while a call lasts."""
    with _ticking() as gaps:
        run()
    return max(gaps) * 1e3


@contextmanager
def _ticking() -> Iterator[list[float]]:
    gaps: list[float] = []
    stopped, started = threading.Event(), threading.Event()

    def tick() -> None:
        last = time.perf_counter()
        while not stopped.is_set():
            time.sleep(TICK_S)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now
            started.set()

    thread = threading.Thread(target=tick)
    thread.start()
    started.wait()
    try:
        yield gaps
    finally:
        stopped.set()
        thread.join()


def import_times_ms(rounds: int) -> dict[str, float]:
    """Return the median time of importing each contender, in milliseconds, in interleaved runs."""
    times: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(rounds):
        for name, module in _IMPORTS.items():
            show(f"import of {module}")
            times[name].append(float(_run(_IMPORT.format(module=module))) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def load_time_ms(rounds: int) -> float:
    """Return the median time of making all plans and packing them for the native engine, in milliseconds."""
    show("loading the native engine")
    return statistics.median(float(_run(_LOAD)) * 1e3 for _ in range(rounds))


def peak_memory_mb() -> dict[str, dict[str, float]]:
    """Return what reading a document of 10 MB adds to the peak memory, in MB, by document and reader."""
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, make in documents.LARGE.items():
            show(f"memory of {name}")
            path = pathlib.Path(folder) / "document.json"
            path.write_bytes(make())
            result[name] = {
                reader: int(_run(_PEAK.format(setup=setup, read=read), str(path))) / 1024
                for reader, (setup, read) in _READERS.items()
            }
    return result


def _run(source: str, *arguments: str) -> str:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
