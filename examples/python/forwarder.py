"""A gRPC service for an OpenAI-compatible server, such as vLLM: `python forwarder.py URL [PORT]`."""

import asyncio
import sys

from mistralwire.service import ServerConfig, create_server
from mistralwire.upstream import MistralUpstream


async def main(url: str, port: str = "50051") -> None:
    async with (
        MistralUpstream(url) as upstream,
        create_server(upstream, ServerConfig(port=int(port))) as server,
    ):
        print(f"listening on {server.address}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
