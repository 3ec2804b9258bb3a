"""What importing the client imports."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

BEYOND = ("click", "mistralwire.cli.", "mistralwire.service", "mistralwire.upstream", "opentelemetry")


def test_the_client_brings_neither_the_service_nor_telemetry() -> None:
    program = "import sys, mistralwire.client; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    modules = result.stdout.split()
    assert "mistralwire.client" in modules
    assert [name for name in modules if name.startswith(BEYOND)] == []
