"""A package of an extra that is missing is named, with a command that installs it."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process


def said_by(program: str, missing: str) -> str:
    """Run a program in a process in which a package can't be imported, and return what it prints."""
    blocked = f"import sys\nsys.modules[{missing!r}] = None\n"
    run = subprocess.run(
        [sys.executable, "-c", blocked + program], capture_output=True, text=True, check=False, timeout=60
    )
    return run.stdout + (run.stderr.strip().splitlines()[-1] if run.stderr else "")


@pytest.mark.parametrize(
    ("program", "missing", "purpose"),
    [
        ("from mistralwire.gateway import create_app", "starlette", "the gateway"),
        ("from mistralwire.gateway import GatewayServer", "uvicorn", "the gateway"),
        ("from mistralwire.gateway import create_app", "httptools", "the gateway"),
        ("from mistralwire.upstream import MistralUpstream", "httptools", "an upstream over HTTP"),
        ("from mistralwire.upstream import VertexUpstream", "aiohappyeyeballs", "an upstream over HTTP"),
    ],
)
def test_an_import_that_fails_says_what_to_install(program: str, missing: str, purpose: str) -> None:
    expected = f"{purpose} needs the package {missing}, found none; in a checkout of mistralwire run"
    assert said_by(program, missing) == f"ModuleNotFoundError: {expected} pip install '.[gateway]'"


def test_a_log_that_needs_a_package_says_what_to_install() -> None:
    program = "import asyncio\nfrom mistralwire.log import NatsLog\nasyncio.run(NatsLog('nats://a').start())"
    expected = (
        "a response log on NATS needs the package nats-py, found none; in a checkout of mistralwire run"
    )
    said = said_by(program, "nats")
    assert said == f"mistralwire.errors.MistralwireError: {expected} pip install '.[relay]'"


def test_an_import_that_fails_can_be_caught_with_the_name_of_the_package() -> None:
    attempt = "try:\n    from mistralwire.gateway import create_app\n"
    program = attempt + "except ImportError as error:\n    print(error.name)"
    assert said_by(program, "starlette") == "starlette\n"


def test_a_module_of_our_own_that_is_missing_is_no_extra() -> None:
    said = said_by("from mistralwire.gateway import create_app", "mistralwire.gateway._app")
    assert said.startswith("ModuleNotFoundError: import of mistralwire.gateway._app halted")
