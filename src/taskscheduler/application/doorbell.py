"""A doorbell: hints that gather while the last one is sent, and never hold anybody up.

Whoever rings goes on at once. What is rung within the same few milliseconds goes out as one hint.
While hints cannot be sent they are dropped: a worker that polls finds the work all the same.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Final

from taskscheduler.application.ear import CANCELLATION, hint_of, reason_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

RING_EVERY_S: Final = 0.01
"""The least time between two hints, so that a busy producer does not wake everybody for each."""

log = logging.getLogger("taskscheduler.wakeups")


class Doorbell:
    """Sends hints through ``send``, in the background, one at a time."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        *,
        bytes_max: int,
        failures: tuple[type[BaseException], ...],
        every_s: float = RING_EVERY_S,
    ) -> None:
        """``send`` raises one of ``failures`` where a hint cannot be sent."""
        self._send = send
        self._bytes_max = bytes_max
        self._failures = failures
        self._every_s = every_s
        self._queues: set[str] = set()
        self._cancellation = False
        self._ringing: asyncio.Task[None] | None = None
        self.degraded: str | None = None
        """Why the last hint could not be sent, or None."""

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        if queues:
            self._queues.update(queues)
            self._start()

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""
        self._cancellation = True
        self._start()

    async def finish(self) -> None:
        """Wait until the last hint has been sent, or could not be."""
        if self._ringing is not None:
            with suppress(asyncio.CancelledError):
                await self._ringing

    def _start(self) -> None:
        if self._ringing is None or self._ringing.done():
            # Done for many: no log line of it belongs to the one that began it.
            self._ringing = asyncio.get_running_loop().create_task(
                self._ring(), context=Variables()
            )

    async def _ring(self) -> None:
        while self._queues or self._cancellation:
            hints: list[str] = []
            if self._cancellation:
                hints.append(CANCELLATION)
            if self._queues:
                hints.append(hint_of(self._queues, bytes_max=self._bytes_max))
            self._cancellation = False
            self._queues.clear()
            try:
                for hint in hints:
                    await self._send(hint)
            except self._failures as error:
                reason = reason_of(error)
                if self.degraded is None:
                    log.warning("wake-ups cannot be sent, workers find work by polling: %s", reason)
                self.degraded = reason
            else:
                if self.degraded is not None:
                    log.info("wake-ups are sent again")
                self.degraded = None
            await asyncio.sleep(self._every_s)
