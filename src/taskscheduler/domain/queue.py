"""A queue as an operator sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.task import NAME, NAME_FORM

if TYPE_CHECKING:
    from datetime import datetime

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
    if NAME.fullmatch(name) is None:
        raise InvalidTask("queue", f"must be {NAME_FORM}")
    return name
