"""A fleet of processes, started when they are first needed and ended together."""

import contextlib
import itertools
import pathlib
from typing import NamedTuple

from tests.fleet.model_api import ModelApi
from tests.fleet.processes import NEW, OLD, PROGRAMS, Gateway, Packages, Process

CONTRACTS = (OLD, NEW)


class Chain(NamedTuple):
    """The contracts of the processes between a caller and the model API; no relay if that is empty."""

    gateway: str
    relay: str
    service: str


CHAINS = [Chain(*contracts) for contracts in itertools.product(CONTRACTS, ("", *CONTRACTS), CONTRACTS)]


class Fleet:
    """Processes of both contracts.

    Args:
        packages: Starts them.
        api: What the services ask.
        logs: Folder for their logs.
        stack: Ends them.
    """

    def __init__(
        self, packages: Packages, api: ModelApi, logs: pathlib.Path, stack: contextlib.ExitStack
    ) -> None:
        self._packages = packages
        self._api = api
        self._logs = logs
        self._stack = stack
        self._processes: dict[tuple[str, ...], Process] = {}

    def worker(self, contract: str) -> Process:
        """Return a worker: see its program."""
        return self._started(contract, str(PROGRAMS / "worker.py"))

    def service(self, contract: str, revision: int = 1, *, strict: bool = False) -> Process:
        """Return `mistralwire serve` that writes for a revision, and passes on what the model API answers."""
        options = ["serve", "--port", "0", "--upstream-url", self._api.url]
        if strict:
            options.append("--strict")
        return self._started(contract, "-m", "mistralwire", *options, *_written_for(revision))

    def storing(self, contract: str) -> Process:
        """Return `mistralwire serve` that stores responses."""
        return self._started(contract, "-m", "mistralwire", "serve", "--port", "0", "--log", "memory")

    def author(self, contract: str, revision: int = 1) -> str:
        """Return the address of a service with an upstream of its own."""
        return self.author_process(contract, revision).line().strip()

    def author_process(self, contract: str, revision: int = 1) -> Process:
        """Return its process."""
        return self._started(contract, str(PROGRAMS / "author.py"), str(revision))

    def relay(self, contract: str, service: str) -> str:
        """Return the address of a relay that calls the service of a contract."""
        targets = [self.service(each).address for each in CONTRACTS]
        process = self._started(contract, str(PROGRAMS / "relay.py"), *targets)
        return process.line(CONTRACTS.index(service)).strip()

    def gateway_process(self, contract: str, target: str, revision: int = 1) -> Process:
        """Return the process of `mistralwire gateway` that calls a service."""
        options = ("gateway", "--port", "0", "--metrics", "--service", target)
        return self._started(contract, "-m", "mistralwire", *options, *_written_for(revision))

    def gateway(self, contract: str, target: str, revision: int = 1) -> Gateway:
        """Return a gateway that calls a service."""
        return Gateway(self.gateway_process(contract, target, revision).address)

    def embedded(self, contract: str, *, strict: bool = False) -> Gateway:
        """Return a gateway with the service in its own process."""
        options = ["gateway", "--port", "0", "--upstream-url", self._api.url]
        if strict:
            options.append("--strict")
        return Gateway(self._started(contract, "-m", "mistralwire", *options).address)

    def start(self) -> None:
        """Start all that the chains need, each kind at one time."""
        for contract in CONTRACTS:
            self.service(contract)
        for contract in CONTRACTS:
            self.relay(contract, OLD)
        for chain in CHAINS:
            self.gateway_process(chain.gateway, self._target(chain))

    def gateway_of(self, chain: Chain) -> Gateway:
        """Return the gateway at the head of a chain."""
        return self.gateway(chain.gateway, self._target(chain))

    def _target(self, chain: Chain) -> str:
        if chain.relay:
            return self.relay(chain.relay, chain.service)
        return self.service(chain.service).address

    def _started(self, contract: str, *arguments: str) -> Process:
        key = (contract, *arguments)
        if key not in self._processes:
            log = self._logs / f"{contract}-{len(self._processes)}.log"
            process = self._packages.start(contract, *arguments, log=log)
            self._processes[key] = self._stack.enter_context(process)
        return self._processes[key]


def _written_for(revision: int) -> tuple[str, ...]:
    return () if revision == 1 else ("--contract-revision", str(revision))
