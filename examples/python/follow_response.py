"""A consumer of a stored response: `python follow_response.py ID [AFTER [ADDRESS]]`.

It prints what `publish_response.py` publishes, resumes after the event AFTER, and survives restarts of the
service.
"""

import asyncio
import sys

from mistralwire import text_of
from mistralwire.client import Client
from mistralwire.errors import CallError


async def main(response_id: str, after: str = "0", address: str = "localhost:50051") -> None:
    last = int(after)
    async with Client(address) as client:
        try:
            async for event in client.subscribe(response_id, after=last):
                print(text_of(event.message), end="", flush=True)
                last = event.sequence
        except CallError as error:
            sys.exit(f"\n{error.code} ({error.reason}) after event {last}: {error.message}")
    print()


asyncio.run(main(*sys.argv[1:]))
