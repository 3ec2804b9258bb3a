"""Listening sockets that leave no connection open.

A server of asyncio in Python below 3.13 never closes a connection that arrives in the turn in which the
server is closed (https://github.com/python/cpython/issues/109564).
"""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def accepting(take: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port, and yield its address; `take` gets each connection, and closes it in the end.

    For clients that may connect at any moment, such as those of gRPC, which have threads of their own.
    """

    def accept() -> None:
        with contextlib.suppress(BlockingIOError):
            connection, _ = listener.accept()
            connection.setblocking(False)
            take(connection)

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        loop.add_reader(listener, accept)
        try:
            yield f"127.0.0.1:{listener.getsockname()[1]}"
        finally:
            loop.remove_reader(listener)


async def stop_listening(server: asyncio.Server) -> None:
    """Stop a server once it has every connection that arrived. Call this when no client connects any more."""
    # The connection is accepted in the first turn, gets its transport in the next ones, and then its handler.
    for _ in range(5):
        await asyncio.sleep(0)
    server.close()
