"""Which engine runs: the native one where it is installed and fits, unless MISTRALWIRE_ENGINE says no."""

import logging
import os
import random
import subprocess
import sys
import types

import pytest

from mistralwire._engine import INTERFACE
from mistralwire.codec import DEFAULT_LIMITS, _native
from mistralwire.codec._native import pack
from mistralwire.codec._plan import plan_for
from mistralwire.v1 import ChatCompletionRequest, UsageInfo
from tests.codec import engines

_SHOW = (
    "from mistralwire import codec, json_to_binary, v1;"
    "print(codec.ENGINE, json_to_binary(v1.UsageInfo, b'{\"prompt_tokens\": 1}').hex())"
)


def _run(engine: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MISTRALWIRE_ENGINE": engine}
    return subprocess.run(
        [sys.executable, "-c", _SHOW], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.process
def test_the_variable_turns_the_native_engine_off() -> None:
    assert _run("python").stdout == "python 1001\n"


@pytest.mark.process
@pytest.mark.skipif(not engines.has_native_engine(), reason=engines.WHY_SKIPPED)
@pytest.mark.parametrize("engine", ["", "native"])
def test_the_native_engine_runs_where_it_is_installed(engine: str) -> None:
    run = _run(engine)
    assert run.stdout == "native 1001\n", run.stderr


@pytest.mark.process
def test_the_variable_has_no_other_values() -> None:
    run = _run("rust")
    assert run.returncode == 1
    assert "ValueError: MISTRALWIRE_ENGINE must be native, python or empty, not 'rust'" in run.stderr


@pytest.mark.process
@pytest.mark.parametrize("arguments", [["--version"], ["convert", "-"]])
def test_a_command_says_in_a_line_that_the_variable_has_another_value(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "mistralwire", *arguments]
    environment = {**os.environ, "MISTRALWIRE_ENGINE": "rust"}
    run = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    expected = "Error: MISTRALWIRE_ENGINE must be native, python or empty, not 'rust'\n"
    assert (run.returncode, run.stdout, run.stderr) == (2, "", expected)


@pytest.mark.process
def test_the_package_imports_the_codec_with_its_first_name() -> None:
    code = "import sys, mistralwire; " + "; ".join(
        [
            "print('mistralwire.codec' in sys.modules, 'to_json' in dir(mistralwire))",
            "print(mistralwire.codec.to_json is mistralwire.to_json)",
            "from mistralwire import *",
            "print(to_json is mistralwire.to_json, hasattr(mistralwire, 'no_name'))",
        ]
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.stdout == "False True\nTrue\nTrue False\n", run.stderr


def test_without_the_native_engine_the_python_engine_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mistralwire_native", None)
    monkeypatch.delenv("MISTRALWIRE_ENGINE", raising=False)
    with caplog.at_level(logging.WARNING):
        assert _native.load_engine() is None
    assert not caplog.records


def test_who_insists_on_the_native_engine_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mistralwire_native", None)
    monkeypatch.setenv("MISTRALWIRE_ENGINE", "native")
    with pytest.raises(ModuleNotFoundError, match="make native"):
        _native.load_engine()


@pytest.fixture
def newer_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("mistralwire_native")
    vars(module).update(INTERFACE=INTERFACE + 1, __version__="9.9")
    monkeypatch.setitem(sys.modules, "mistralwire_native", module)


@pytest.mark.usefixtures("newer_module")
def test_an_engine_with_another_interface_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("MISTRALWIRE_ENGINE", raising=False)
    with caplog.at_level(logging.WARNING):
        assert _native.load_engine() is None
    (record,) = caplog.records
    assert f"mistralwire_native 9.9 has the interface {INTERFACE + 1}" in record.getMessage()


def test_a_folder_that_an_engine_has_left_behind_is_no_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "mistralwire_native", types.ModuleType("mistralwire_native"))
    monkeypatch.delenv("MISTRALWIRE_ENGINE", raising=False)
    with caplog.at_level(logging.WARNING):
        assert _native.load_engine() is None
    assert "has the interface None" in caplog.text


@pytest.mark.usefixtures("newer_module")
def test_an_engine_with_another_interface_is_an_error_for_who_insists(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MISTRALWIRE_ENGINE", "native")
    with pytest.raises(ImportError, match=f"this package needs {INTERFACE}"):
        _native.load_engine()


def test_plans_that_end_early_are_refused() -> None:
    module = engines.native_module()
    packed, index = pack([plan_for(ChatCompletionRequest)])
    roots = [(ChatCompletionRequest, 1, index[plan_for(ChatCompletionRequest)])]
    engine = module.Engine(packed, roots, DEFAULT_LIMITS)
    assert engine.json_to_binary(ChatCompletionRequest, b'{"n":1}', False, DEFAULT_LIMITS, 1) is not None
    for size in range(0, len(packed), 7):
        with pytest.raises(ValueError, match=r"plans|size|unknown"):
            module.Engine(packed[:size], roots, DEFAULT_LIMITS)
    with pytest.raises(ValueError, match="a root that is no plan"):
        module.Engine(packed, [(UsageInfo, 1, len(index))], DEFAULT_LIMITS)


def test_plans_that_were_tampered_with_are_refused_or_used_and_never_panic() -> None:
    module = engines.native_module()
    packed, index = pack([plan_for(UsageInfo)])
    roots = [(UsageInfo, 1, index[plan_for(UsageInfo)])]
    chance = random.Random(1)
    for _ in range(2_000):
        edited = bytearray(packed)
        edited[chance.randrange(len(edited))] = chance.randrange(256)
        try:
            engine = module.Engine(bytes(edited), roots, DEFAULT_LIMITS)
        except ValueError:
            continue
        engine.json_to_binary(UsageInfo, b'{"prompt_tokens":1,"p":[]}', False, DEFAULT_LIMITS, 1)
        assert engine.handovers()["panic"] == 0


def test_a_plan_of_another_version_is_refused() -> None:
    module = engines.native_module()
    packed, _ = pack([plan_for(UsageInfo)])
    other = (INTERFACE + 1).to_bytes(4, "little") + packed[4:]
    with pytest.raises(ValueError, match="another version"):
        module.Engine(other, [], DEFAULT_LIMITS)


def test_a_contract_beyond_the_engines_bounds_is_left_to_the_python_engine(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    module = engines.native_module()
    monkeypatch.delenv("MISTRALWIRE_ENGINE", raising=False)
    monkeypatch.setitem(sys.modules, "mistralwire_native", module)
    monkeypatch.setattr(_native, "pack", lambda plans: (b"", dict.fromkeys(plans, 0)))
    with caplog.at_level(logging.WARNING):
        assert _native.load_engine() is None
    (record,) = caplog.records
    assert "does not take the contract: the plans end early" in record.getMessage()
