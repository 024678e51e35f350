"""One worker's listener, which every way of waking up hands its hints to."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Collection

CANCELLATION: Final = "c"
ALL_QUEUES: Final = "*"

log = logging.getLogger("taskscheduler.wakeups")


class WakeUpListener:
    """``Listener``: hears hints about some queues, and remembers one that came between waits."""

    def __init__(
        self,
        queues: Collection[str],
        on_cancellation: Callable[[], None],
        *,
        degraded: str | None = None,
    ) -> None:
        """Listen for ``queues``; ``degraded`` until somebody says that hints come in."""
        self.queues = frozenset(queues)
        self.degraded = degraded
        self.since = datetime.now(UTC)
        self._on_cancellation = on_cancellation
        self._rung = asyncio.Event()

    async def wait(self, within_s: float) -> bool:
        """See ``Listener.wait``."""
        try:
            async with asyncio.timeout(within_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    def hear(self, queues: Collection[str]) -> bool:
        """Take a hint that ``queues`` have new work; return whether it concerns this listener."""
        concerned = ALL_QUEUES in queues or not self.queues.isdisjoint(queues)
        if concerned:
            self._rung.set()
        return concerned

    def hear_cancellation(self) -> None:
        """Take a hint that some worker's lease was taken away."""
        self._on_cancellation()

    def hear_text(self, text: str) -> bool:
        """Take a hint as ``hint_of`` writes it; whatever else is said is not for us."""
        if text == CANCELLATION:
            self.hear_cancellation()
            return True
        return text.startswith("q") and self.hear(text[1:].split(","))

    def become(self, degraded: str | None) -> None:
        """Take it that hints come in from now on, or why they do not."""
        if (degraded is None) != (self.degraded is None):
            self.since = datetime.now(UTC)
        self.degraded = degraded

    def look(self) -> None:
        """Take it that something was missed: whoever waits looks once."""
        self._rung.set()


Hear = Callable[[WakeUpListener, Callable[[], None]], Awaitable[None]]
"""Connects, calls its second argument once hints come in, and hands every hint to the listener."""


@asynccontextmanager
async def listening(
    queues: Collection[str],
    on_cancellation: Callable[[], None],
    hear: Hear,
    *,
    failures: tuple[type[BaseException], ...],
) -> AsyncGenerator[WakeUpListener]:
    """Listen by ``hear`` for as long as the block lasts: what ``WakeUps.listen`` returns."""
    listener = WakeUpListener(queues, on_cancellation, degraded="not listening yet")
    hearing = asyncio.create_task(_keep_hearing(listener, hear, failures))
    try:
        yield listener
    finally:
        hearing.cancel()
        with suppress(asyncio.CancelledError):
            await hearing


async def _keep_hearing(
    listener: WakeUpListener, hear: Hear, failures: tuple[type[BaseException], ...]
) -> None:
    """Call ``hear`` for ever; when it fails, say so in ``listener.degraded`` and try again later.

    It ends by one of ``failures``; what else a driver raises is logged with its traceback, and
    must not deafen the worker for good either.
    """
    backoff = Backoff()

    def on_hearing() -> None:
        if listener.degraded is not None:
            log.info("listening for wake-ups")
            listener.become(None)
            # Whatever was said while nobody listened is unknown: look once.
            listener.look()
        backoff.reset()

    while True:
        try:
            await hear(listener, on_hearing)
        except Exception as error:
            reason = reason_of(error)
            if listener.degraded != reason:
                unexpected = None if isinstance(error, failures) else error
                log.warning("wake-ups are lost, polling goes on: %s", reason, exc_info=unexpected)
            listener.become(reason)
        await backoff.sleep()


def reason_of(error: object) -> str:
    """Return the first line of what ``error`` says, or its type: one line, for a log."""
    return str(error).strip().partition("\n")[0] or type(error).__name__


def hint_of(queues: Collection[str], *, bytes_max: int) -> str:
    """Return the text that tells of ``queues``; of all of them where it would be too long.

    It carries names of queues and nothing else: the work stays in the store, and so does its time.
    """
    text = "q" + ",".join(sorted(queues))
    return text if len(text.encode()) <= bytes_max else "q" + ALL_QUEUES
