"""A process of producers that publish without an end, and print what is acknowledged.

`python -m tests.faults.publishing TARGET EPOCH RESPONSE...`
"""

import asyncio
import sys
from collections.abc import Sequence

from mistralwire.client import Client
from tests.faults.ledger import PrintedLedger
from tests.faults.services import produce


async def _main(target: str, epoch: int, responses: Sequence[str]) -> None:
    ledger, stop = PrintedLedger(), asyncio.Event()
    async with Client(target, connections=2) as client:
        await asyncio.gather(
            *(produce(client, ledger, response, stop, epoch=epoch) for response in responses)
        )


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
