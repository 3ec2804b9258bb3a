"""What can only be measured in a process of its own: import time and peak memory."""

import pathlib
import statistics
import subprocess
import sys
import tempfile

from benchmarks import documents

_IMPORT = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"
_IMPORTS = {
    "mistralwire": "mistralwire",
    "protobuf's json_format": "google.protobuf.json_format",
    "mistralai SDK's models": "mistralai.client.models",
}
_LOAD = """
import time
import mistralwire.codec as codec
from mistralwire.codec import _native, _plan
module = __import__("mistralwire_native")
_plan._newest.clear(), _plan._published.clear(), _plan._planner.cache_clear(), _plan._camel.cache_clear()
start = time.perf_counter()
_native.make_engine(module)
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
    "mistralwire": (
        "from mistralwire import from_json; from mistralwire.v1 import ChatCompletionResponse",
        "from_json(ChatCompletionResponse, text)",
    ),
    "mistralai SDK": (
        "from mistralai.client.models import ChatCompletionResponse",
        "ChatCompletionResponse.model_validate_json(text)",
    ),
    "orjson": ("import orjson", "orjson.loads(text)"),
}


def import_times_ms(rounds: int) -> dict[str, float]:
    """Give the median time of importing each contender, in milliseconds, in interleaved runs."""
    times: dict[str, list[float]] = {name: [] for name in _IMPORTS}
    for _ in range(rounds):
        for name, module in _IMPORTS.items():
            times[name].append(float(_run(_IMPORT.format(module=module))) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def load_time_ms(rounds: int) -> float:
    """Return the median time of making all plans and packing them for the native engine, in milliseconds."""
    return statistics.median(float(_run(_LOAD)) * 1e3 for _ in range(rounds))


def peak_memory_mb() -> dict[str, dict[str, float]]:
    """Give what reading a document of 10 MB adds to the peak memory, in MB, by document and reader."""
    texts = {"one long text": documents.large_text(), "98,000 tool calls": documents.large_structure()}
    result: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in texts.items():
            path = pathlib.Path(folder) / "document.json"
            path.write_bytes(text)
            result[name] = {
                reader: int(_run(_PEAK.format(setup=setup, read=read), str(path))) / 1024
                for reader, (setup, read) in _READERS.items()
            }
    return result


def _run(source: str, *arguments: str) -> str:
    command = [sys.executable, "-c", source, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
