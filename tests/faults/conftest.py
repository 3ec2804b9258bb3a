"""The table of what the relay kept through each scenario."""

import os
from collections.abc import Callable, Iterator

import pytest

from tests.faults.ledger import Ledger

_LEDGERS = pytest.StashKey[list[Ledger]]()


@pytest.fixture(scope="session")
def seconds() -> float:
    """How long a scenario runs."""
    return float(os.environ.get("CHAOS_SECONDS", "3"))


@pytest.fixture
def new_ledger(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Ledger]]:
    """Return a ledger for a scenario; its row is printed at the end."""
    made: list[Ledger] = []

    def make(scenario: str) -> Ledger:
        made.append(Ledger(scenario))
        return made[-1]

    yield make
    request.config.stash.setdefault(_LEDGERS, []).extend(made)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    ledgers = config.stash.get(_LEDGERS, [])
    if ledgers:
        terminalreporter.section("what the relay kept")
        row = "{:<44} {:>12} {:>10} {:>8} {:>8} {:>10}"
        terminalreporter.write_line(
            row.format("scenario", "acknowledged", "delivered", "lost", "doubled", "recovery s")
        )
        for ledger in ledgers:
            result = ledger.result()
            recovery = f"{result.recovery_s:.2f}" if result.recovery_s else "-"
            terminalreporter.write_line(
                row.format(
                    ledger.scenario,
                    result.acknowledged,
                    result.delivered,
                    result.lost,
                    result.doubled,
                    recovery,
                )
            )
