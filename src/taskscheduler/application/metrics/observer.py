"""What a worker tells of its work, batch by batch, to whoever wants to know.

Nobody wants to know unless metrics are asked for: then the worker's journal is None, and a task
costs one look at that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from taskscheduler.domain.status import Event

FIRES: Final[tuple[str, ...]] = (
    "stored",
    "missed",
    "overlapped",
    "buffered",
    "paused",
    "failed",
)
"""What becomes of a fire: its task is stored; it passed in an outage and is let go; the task before
has not ended; it waits until that has; its schedule was paused because its tasks fail; it could not
be made here, and is tried again."""


class Ran(NamedTuple):
    """One attempt that has ended in this process, on its monotonic clock (seconds).

    ``event`` is what it is settled by; None if it was dropped, or its lease lost.
    """

    kind: str
    process_at: datetime
    began_s: float
    ended_s: float
    event: Event | None


class Observer(Protocol):
    """Takes note. Called on the event loop, for batches; must be quick and must not raise."""

    def claimed(self, tasks: int) -> None:
        """Note a claim that was answered with so many tasks."""
        ...

    def ran(self, attempts: Sequence[Ran]) -> None:
        """Note attempts that have ended since the last call."""
        ...

    def faulted(self, part: str) -> None:
        """Note that a part of the worker's rounds failed in a way that nobody foresaw."""
        ...

    def rescued(self, tasks: int) -> None:
        """Note that so many tasks were taken from workers that fell silent."""
        ...

    def fired(self, outcomes: Mapping[str, int]) -> None:
        """Note what became of fires of schedules: ``FIRES``, and how many of each."""
        ...
