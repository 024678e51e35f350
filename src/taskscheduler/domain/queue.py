"""A queue as an operator sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.values import NAME, NAME_FORM

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta


COUNT_MAX: Final = 10_000
"""As many of a queue are counted one by one; of more it is said that they are at least so many."""


class Count(NamedTuple):
    """How many there are: exactly ``number``, or at least so many."""

    number: int
    exact: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """What a queue holds at one look.

    ``due`` and ``later`` are Pending: their time has come on the store's clock, or has not.
    ``oldest_due_at`` is the earliest time of those that are due. ``paused_at`` is None unless the
    queue is paused: then no task of it begins.
    """

    name: str
    paused_at: datetime | None
    due: Count
    later: Count
    running: Count
    oldest_due_at: datetime | None

    @property
    def is_paused(self) -> bool:
        """Whether tasks are kept from beginning."""
        return self.paused_at is not None


def check_queue(name: str) -> str:
    """Return ``name`` if a queue may be called so. Raises InvalidTask."""
    if not isinstance(name, str) or NAME.fullmatch(name) is None:  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
        raise InvalidTask("queue", f"must be {NAME_FORM}")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDepth:
    """The Pending tasks of one queue.

    ``due`` ones could run now, ``scheduled`` ones later. ``oldest_due`` is how long the first of
    them has been due; None if none is. ``estimated`` says that they were too many to be counted.
    """

    due: int
    scheduled: int
    oldest_due: timedelta | None
    estimated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What waits, queue by queue, and the store's time of looking.

    ``left_out`` says that there is more: tasks wait in more lanes, or there are more queues, than
    are looked into.
    """

    now: datetime
    queues: Mapping[str, QueueDepth]
    left_out: bool = False
