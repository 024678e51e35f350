"""The notifier: hints that gather while the last one is sent, and never hold anybody up.

Whoever rings goes on at once. What is rung within the same few milliseconds goes out as one hint.
A hint that cannot be sent waits, and what is rung meanwhile joins it: whoever does not answer is
asked after growing pauses, not for every task. Workers that poll find the work all the same.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from contextvars import Context as Variables
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.wakeups.listener import CANCELLATION, hint_of, reason_of
from taskscheduler.domain.ports.wakeups import Hints

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

RING_EVERY_S: Final = 0.01
"""The least time between two hints, so that a busy producer does not wake everybody for each."""

log = logging.getLogger("taskscheduler.wakeups")


class WakeUpNotifier:
    """Sends hints through ``send``, in the background, one at a time."""

    def __init__(
        self,
        send: Callable[[str], Awaitable[None]],
        *,
        bytes_max: int,
        failures: tuple[type[BaseException], ...],
        every_s: float = RING_EVERY_S,
        backoff: Backoff | None = None,
    ) -> None:
        """``send`` raises one of ``failures`` if a hint cannot be sent; ``backoff`` waits then.

        Whatever else it raises is treated alike, and logged with its traceback.
        """
        self._send = send
        self._bytes_max = bytes_max
        self._failures = failures
        self._every_s = every_s
        self._backoff = backoff or Backoff()
        self._queues: set[str] = set()
        self._cancellation = False
        self._ringing: asyncio.Task[None] | None = None
        self._is_pausing = False
        self._is_finishing = False
        self.hints = Hints(since=datetime.now(UTC))
        """See ``WakeUps.hints``."""

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
        """Wait until the last hint has been sent, or could not be: then it is dropped."""
        self._is_finishing = True
        if self._ringing is not None:
            if self._is_pausing:
                self._ringing.cancel()
            with suppress(asyncio.CancelledError):
                await self._ringing
        self._is_finishing = self._is_pausing = self._cancellation = False
        self._queues.clear()

    def _start(self) -> None:
        if self._ringing is None or self._ringing.done():
            # Done for many: no log line of it belongs to the one that began it.
            self._ringing = asyncio.get_running_loop().create_task(
                self._ring(), context=Variables()
            )

    async def _ring(self) -> None:
        while self._queues or self._cancellation:
            queues, cancellation = self._queues, self._cancellation
            self._queues, self._cancellation = set(), False
            try:
                if cancellation:
                    await self._tell(CANCELLATION)
                    cancellation = False
                if queues:
                    await self._tell(hint_of(queues, bytes_max=self._bytes_max))
            except Exception as error:  # noqa: BLE001 - nothing may silence the bell for good
                self._note_failure(error)
                if self._is_finishing:
                    return
                self._queues |= queues
                self._cancellation |= cancellation
                self._is_pausing = True
                await self._backoff.sleep()
                self._is_pausing = False
            else:
                await asyncio.sleep(self._every_s)

    async def _tell(self, hint: str) -> None:
        await self._send(hint)
        if self.hints.degraded is not None:
            log.info("wake-ups are sent again")
        self.hints = self.hints.succeeded(datetime.now(UTC))
        self._backoff.reset()

    def _note_failure(self, error: Exception) -> None:
        reason = reason_of(error)
        if self.hints.degraded is None:
            log.warning(
                "wake-ups cannot be sent, workers find work by polling: %s",
                reason,
                exc_info=None if isinstance(error, self._failures) else error,
            )
        self.hints = self.hints.refused(reason, datetime.now(UTC))
