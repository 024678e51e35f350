"""Notifications that work was stored, and the state of this process's notifier."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime


@dataclass(frozen=True, slots=True)
class Hints:
    """Hints that one process has given, and whether it still can.

    ``since`` is when it began to be as it is, by this process's own clock.
    """

    since: datetime
    sent: int = 0
    failed: int = 0
    """Attempts that did not get through. What they would have told is told by a later one."""
    degraded: str | None = None
    """Why the last hint could not be given, or None."""

    @property
    def untried(self) -> bool:
        """Whether there was nothing to tell yet."""
        return not self.sent and not self.failed

    def succeeded(self, now: datetime) -> Self:
        """Return what is so after one more hint was given."""
        since = now if self.untried or self.degraded is not None else self.since
        return replace(self, since=since, sent=self.sent + 1, degraded=None)

    def refused(self, reason: str, now: datetime) -> Self:
        """Return what is so after one more hint could not be given."""
        since = now if self.degraded is None else self.since
        return replace(self, since=since, failed=self.failed + 1, degraded=reason)


class Listener(Protocol):
    """What one worker hears wake-ups with."""

    @property
    def degraded(self) -> str | None:
        """Why wake-ups may be missed at present, or None. While they are, polling finds work."""
        ...

    @property
    def since(self) -> datetime:
        """When they began to be heard, or to be missed, by this process's own clock."""
        ...

    async def wait(self, within_s: float) -> bool:
        """Wait for a wake-up for at most ``within_s`` seconds; return whether one came.

        One that came between two waits counts for the later one. Several may come as one.
        """
        ...


class WakeUps(Protocol):
    """Hints that work was stored. Losing, doubling or reordering them costs latency, no task.

    There are four ways: PostgreSQL's own notices, RabbitMQ, SQS, and none at all. SQS hands a hint
    to one listener, the others to all. None carries more than the names of queues: what is to be
    done, and when, is asked of the repository.
    """

    @property
    def by(self) -> str:
        """Which way it is: ``postgres``, ``rabbitmq``, ``sqs``, ``poll`` or ``memory``."""
        ...

    @property
    def hints(self) -> Hints:
        """How giving hints goes; while it does not, workers find work by polling."""
        ...

    def opened(self) -> AbstractAsyncContextManager[None]:
        """Return the context within which hints are given. Leaving it takes seconds at most."""
        ...

    def ring(self, queues: Collection[str]) -> None:
        """Hint, after the commit, that ``queues`` have new work. Never raises, never blocks.

        What cannot be told is told later, as one hint, unless the process ends before.
        """
        ...

    def ring_cancellation(self) -> None:
        """Hint that some worker's lease was taken away. Never raises, never blocks."""
        ...

    def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AbstractAsyncContextManager[Listener]:
        """Listen for hints about ``queues``.

        ``on_cancellation`` is called when some worker's lease was taken away: the next heartbeat
        tells whose.
        """
        ...
