"""The moment before a server stops: calls neither begin nor end until their connections are told to end."""

import asyncio

from mistralwire.errors import OverloadError, Reason

RETRY_S = 0.15
"""Seconds after which a refused call makes sense again, elsewhere. Less than the client's first pause."""


class Drain:
    """Holds the new calls of a server, and the ends of running ones, until connections are told to end.

    A caller who hears of an end makes the next call. On the same connection it would arrive in the moment
    gRPC stops, which ends such calls with CANCELLED, and no client may retry those.

    Attributes:
        is_holding: Whether beginnings and ends are held.
        arrived: How many new calls were held or refused.
    """

    def __init__(self) -> None:
        self.is_holding = False
        self.arrived = 0
        self._is_over = asyncio.Event()

    def hold(self) -> None:
        """Hold what begins and ends from now on."""
        self.is_holding = True

    def release(self) -> None:
        """Let calls end; those that are new are refused."""
        self._is_over.set()

    async def wait(self) -> None:
        """Wait until calls may end."""
        await self._is_over.wait()

    async def refusal(self) -> OverloadError:
        """Wait as a new call until it is to be refused; return why."""
        self.arrived += 1
        await self.wait()
        return OverloadError(
            "the server stops and accepts no new calls; try again, on a new connection",
            code="UNAVAILABLE",
            reason=Reason.DRAINING,
            retry_after_s=RETRY_S,
        )
