"""A way to Redis that is slow: every reply comes late."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

SLOW_SECONDS = 0.2
"""Five times what the service waits for a look-up."""


@contextmanager
def slowed(redis_url: str) -> Iterator[str]:
    """Gives the URL of the same Redis behind a proxy that keeps each reply back for `SLOW_SECONDS`."""
    redis_port = urlsplit(redis_url).port
    loop = asyncio.new_event_loop()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
        while content := await reader.read(65_536):
            await asyncio.sleep(seconds)
            writer.write(content)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_connection("127.0.0.1", redis_port)
        both = pump(reader, their_writer, 0), pump(their_reader, writer, SLOW_SECONDS)
        await asyncio.gather(*both, return_exceptions=True)

    server = loop.run_until_complete(asyncio.start_server(serve, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
