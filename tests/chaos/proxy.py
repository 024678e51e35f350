"""A TCP proxy that misbehaves on demand: it cuts, falls silent, delays, and swallows answers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
from dataclasses import dataclass
from typing import Self

COMMIT_REPLY = re.compile(rb"C\x00\x00\x00\x0bCOMMIT\x00")
STATEMENT_REPLY = re.compile(
    rb"C\x00\x00\x00.(?:SELECT|INSERT|UPDATE|DELETE) [\d ]+\x00", re.DOTALL
)
CHUNK = 65_536


@dataclass
class Swallow:
    """Lose the next answer of this form, after it was earned, and then the connection."""

    form: re.Pattern[bytes]
    left: int


class Proxy:
    """Stands between clients and one server, on a port of its own."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        """Forward to ``host`` and ``port``."""
        self._target = host, port
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._pairs: set[tuple[asyncio.StreamWriter, asyncio.StreamWriter]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.delay_s = 0.0
        """Each piece waits for up to this long."""
        self.swallow: Swallow | None = None
        self.swallowed = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        """Listen no more, and cut everybody."""
        assert self._server is not None
        self._server.close()
        self.flow()
        self.cut()

    # -- faults ----------------------------------------------------------------------------------

    def cut(self, share: float = 1.0) -> int:
        """Reset a share of the connections; return how many."""
        chosen = [pair for pair in self._pairs if self._random.random() < share]
        for pair in chosen:
            self._abort(pair)
        return len(chosen)

    def silence(self) -> None:
        """Forward nothing more, in neither direction, and say nothing of it."""
        self._flowing.clear()

    def flow(self) -> None:
        """Forward again, beginning with what was held back."""
        self._flowing.set()

    # -- forwarding ------------------------------------------------------------------------------

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            await self._flowing.wait()
            server, to_server = await asyncio.open_connection(*self._target)
        except OSError:
            to_client.transport.abort()
            return
        pair = (to_client, to_server)
        self._pairs.add(pair)
        ways = (
            asyncio.create_task(self._forward(client, to_server, pair)),
            asyncio.create_task(self._forward(server, to_client, pair, answers=True)),
        )
        # When the loop ends, this is cancelled, and a stream's callback complains of it.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*ways, return_exceptions=True)
        for way in ways:
            way.cancel()
        self._abort(pair)

    async def _forward(
        self,
        source: asyncio.StreamReader,
        target: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
        *,
        answers: bool = False,
    ) -> None:
        while piece := await source.read(CHUNK):
            await self._flowing.wait()
            if self.delay_s:
                await asyncio.sleep(self._random.uniform(0, self.delay_s))
            if answers and self._to_swallow(piece):
                break
            target.write(piece)
            await target.drain()
        self._abort(pair)

    def _to_swallow(self, piece: bytes) -> bool:
        armed = self.swallow
        if armed is None or armed.left <= 0 or armed.form.search(piece) is None:
            return False
        armed.left -= 1
        self.swallowed += 1
        return True

    def _abort(self, pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter]) -> None:
        self._pairs.discard(pair)
        for writer in pair:
            with contextlib.suppress(OSError):
                writer.transport.abort()
