"""The fleet that all its tests share."""

import contextlib
import pathlib
from collections.abc import Iterator

import pytest

from tests.fleet.fleet import Fleet
from tests.fleet.model_api import ModelApi
from tests.fleet.processes import Packages


@pytest.fixture(scope="session")
def packages(next_year: pathlib.Path) -> Packages:
    return Packages(next_year)


@pytest.fixture(scope="session")
def api() -> Iterator[ModelApi]:
    with ModelApi() as running:
        yield running


@pytest.fixture(scope="session")
def fleet(packages: Packages, api: ModelApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with contextlib.ExitStack() as stack:
        yield Fleet(packages, api, tmp_path_factory.mktemp("logs"), stack)
