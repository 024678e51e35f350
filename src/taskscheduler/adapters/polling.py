"""No wake-ups at all: workers look at their poll interval, and when they know work to be due."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from taskscheduler.application.wakeups.listener import WakeUpListener
from taskscheduler.domain.ports.wakeups import Hints

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection


class PollingWakeUps:
    """``WakeUps`` that nobody hears. That is what was asked for, so nothing is degraded."""

    by: str = "poll"

    def __init__(self) -> None:
        """There is nothing to connect to."""
        self.hints = Hints(since=datetime.now(UTC))

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """See ``WakeUps.opened``."""
        yield

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""

    @asynccontextmanager
    async def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AsyncGenerator[WakeUpListener]:
        """See ``WakeUps.listen``."""
        yield WakeUpListener(queues, on_cancellation)
