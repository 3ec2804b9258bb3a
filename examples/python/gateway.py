"""A gateway in front of Mistral's API: `MISTRAL_API_KEY=... python gateway.py [URL [PORT]]`."""

import asyncio
import sys

from mistralwire.client import Client
from mistralwire.gateway import GatewayConfig, GatewayServer, create_app
from mistralwire.service import LocalChannel
from mistralwire.upstream import Key, MistralUpstream


async def main(url: str = "https://api.mistral.ai", port: str = "8080") -> None:
    config = GatewayConfig(port=int(port))
    key = Key.from_environment("MISTRAL_API_KEY")
    async with (
        MistralUpstream(url, key=key) as upstream,
        Client.on(LocalChannel(upstream)) as client,
        GatewayServer(create_app(client, config), config) as gateway,
    ):
        print(f"listening on {gateway.url}", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
