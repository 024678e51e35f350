"""Wake-ups within one process."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskscheduler.application.wakeups.listener import WakeUpListener
from taskscheduler.domain.ports.wakeups import Hints

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection


class MemoryWakeUps:
    """``WakeUps`` within one process."""

    by: str = "memory"

    def __init__(self) -> None:
        """Start with nobody listening."""
        self._listeners: set[WakeUpListener] = set()
        self.hints = Hints(since=datetime.now(UTC))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """See ``WakeUps.opened``."""
        yield

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        if queues:
            self.hints = self.hints.succeeded(datetime.now(UTC))
        for listener in self._listeners:
            listener.hear(queues)

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""
        for listener in self._listeners:
            listener.hear_cancellation()

    @asynccontextmanager
    async def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AsyncGenerator[WakeUpListener]:
        """See ``WakeUps.listen``."""
        listener = WakeUpListener(queues, on_cancellation)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
