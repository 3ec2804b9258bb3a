"""A producer of a response that others follow: `python publish_response.py ID [ADDRESS]`.

The service stores the response, with `mistralwire serve --data responses`; `follow_response.py` prints it,
from anywhere and as often as you like. If this program is killed, run it again within the service's `lease_s`
(30 seconds): it resumes after the last word that is stored. Later the response has failed, which is
RESPONSE_ENDED: take another ID.
"""

import asyncio
import sys

from mistralwire.client import Client
from mistralwire.v1 import CompletionChunk, CompletionResponseStreamChoice, DeltaMessage, FinishReason

WORDS = ["An", "acknowledged", "event", "survives", "a", "crash."]


def chunk_of(number: int) -> CompletionChunk:
    """Return what a model of your own would produce next."""
    is_last = number == len(WORDS) - 1
    choice = CompletionResponseStreamChoice(
        index=0,
        delta=DeltaMessage(content_string=WORDS[number] if is_last else f"{WORDS[number]} "),
        finish_reason=FinishReason.FINISH_REASON_STOP if is_last else None,
    )
    return CompletionChunk(id="my-answer", model="my-model", choices=[choice])


async def main(response_id: str, address: str = "localhost:50051") -> None:
    async with Client(address) as client, client.publish(response_id) as publisher:
        # 0 at first; after a crash, how many the service has.
        for number in range(publisher.acknowledged_sequence, len(WORDS)):
            await asyncio.sleep(0.2)
            await publisher.send(chunk_of(number))
    # An exception in the block would have failed the response, and Ctrl-C cancelled it.
    print(f"{response_id} is finished")


asyncio.run(main(*sys.argv[1:]))
