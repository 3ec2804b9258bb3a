"""Networks for tests: a namespace behind a cable that can be pulled."""

import contextlib
import random
import subprocess
from collections.abc import Iterator


class Namespace:
    """A network namespace with one cable to this one.

    Attributes:
        address: Its address.
        outside: The address of this one at the other end of the cable.
        command: What a command begins with that runs in it.
    """

    def __init__(self, name: str, subnet: str) -> None:
        self.name = name
        self.address = f"{subnet}.2"
        self.outside = f"{subnet}.1"
        self.command = ("ip", "netns", "exec", name)

    def pull(self) -> None:
        """Pull the cable: packets are lost, and no connection is closed."""
        _ip("link", "set", self.name, "down")

    def plug(self) -> None:
        """Plug it in again."""
        _ip("link", "set", self.name, "up")


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Make a namespace."""
    number = random.randrange(1 << 16)
    made = Namespace(f"faults{number}", f"10.{100 + number // 256 % 100}.{number % 256}")
    inside = (*made.command, "ip")
    _ip("netns", "add", made.name)
    try:
        _ip("link", "add", made.name, "type", "veth", "peer", "name", "cable", "netns", made.name)
        _ip("addr", "add", f"{made.outside}/24", "dev", made.name)
        _ip("link", "set", made.name, "up")
        for words in (
            ("addr", "add", f"{made.address}/24", "dev", "cable"),
            ("link", "set", "cable", "up"),
            ("link", "set", "lo", "up"),
        ):
            subprocess.run([*inside, *words], check=True)
        yield made
    finally:
        # The cable goes with it.
        _ip("netns", "delete", made.name)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
