"""Tests whose registry does not answer are skipped, and `make check` lists them at its end."""

import contextlib
from collections.abc import Iterator

import pytest

from tools.downloads import RegistryError, note_not_run


@contextlib.contextmanager
def skipped_without_answer(what: str) -> Iterator[None]:
    """Skip the test, in CI too, if a registry did not answer twice; `what` says what needs it."""
    try:
        yield
    except RegistryError as error:
        reason = f"{what}: {error}"
        note_not_run(reason)
        pytest.skip(reason)
