"""A load generator: PUT /tasks over kept connections, from one process, by the standard library.

It writes ready-made bytes and reads an answer up to its declared length, so it costs far less than
a server that must parse them; ``ceiling`` says how far it gets against one that parses nothing.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Final, cast

BODY: Final = b'{"kind":"Foo","payload":10}'
REQUEST: Final = (
    b"PUT /tasks HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
ANSWER: Final = (
    b"HTTP/1.1 201 Created\r\ncontent-type: application/json\r\ncontent-length: 45\r\n\r\n"
    b'{"id":"01a20928-20ba-7686-92a6-36011161cc11"}'
)


class _Client(asyncio.Protocol):
    """Asks, waits for the answer, asks again, while there are requests left."""

    def __init__(self, hammer: _Hammer) -> None:
        self._hammer = hammer
        self._buffer = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        if len(body) >= length:
            self._buffer = b""
            self._hammer.answered(is_good=head.startswith(b"HTTP/1.1 201"))
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        self._hammer.lost()

    def _ask(self) -> None:
        if self._hammer.take():
            self._transport.write(REQUEST)
        else:
            self._transport.close()


class _Hammer:
    def __init__(self, requests: int, connections: int) -> None:
        self._left = requests
        self._connections = connections
        self.good = 0
        self.bad = 0
        self.done = asyncio.Event()

    def take(self) -> bool:
        self._left -= 1
        return self._left >= 0

    def answered(self, *, is_good: bool) -> None:
        self.good += is_good
        self.bad += not is_good

    def lost(self) -> None:
        self._connections -= 1
        if not self._connections:
            self.done.set()


class _Parrot(asyncio.Protocol):
    """Answers each request with the same bytes and looks at none."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"PUT ")):
            self._transport.write(ANSWER)


async def hammer(port: int, requests: int, connections: int) -> None:
    """Send, and print how many a second were answered well."""
    loop = asyncio.get_running_loop()
    state = _Hammer(requests, connections)
    began = time.perf_counter()
    for _ in range(connections):
        await loop.create_connection(lambda: _Client(state), "127.0.0.1", port)
    await state.done.wait()
    seconds = time.perf_counter() - began
    print(json.dumps({"good": state.good, "bad": state.bad, "seconds": seconds}))


async def parrot(port: int) -> None:
    """Answer until terminated."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Parrot, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    import uvloop

    if sys.argv[1] == "parrot":
        uvloop.run(parrot(int(sys.argv[2])))
    else:
        uvloop.run(hammer(*(int(argument) for argument in sys.argv[2:])))
