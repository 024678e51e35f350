"""Wake-ups within one process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection


class MemoryListener:
    """``Listener`` within one process."""

    degraded: str | None = None

    def __init__(self, queues: Collection[str], on_cancellation: Callable[[], None]) -> None:
        """Listen for ``queues``."""
        self.queues = frozenset(queues)
        self.on_cancellation = on_cancellation
        self.rung = asyncio.Event()

    async def wait(self, within_s: float) -> bool:
        """See ``Listener.wait``."""
        try:
            async with asyncio.timeout(within_s):
                await self.rung.wait()
        except TimeoutError:
            return False
        self.rung.clear()
        return True


class MemoryWakeUps:
    """``WakeUps`` within one process."""

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._listeners: set[MemoryListener] = set()

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        for listener in self._listeners:
            if not listener.queues.isdisjoint(queues):
                listener.rung.set()

    def ring_cancellation(self) -> None:
        """Tell every listener that some worker's lease was taken away."""
        for listener in self._listeners:
            listener.on_cancellation()

    @asynccontextmanager
    async def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AsyncGenerator[MemoryListener]:
        """See ``WakeUps.listen``."""
        listener = MemoryListener(queues, on_cancellation)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
