"""The life of a task as a table: which event leads from which status to which.

The idea of keeping transitions as data is h11's (``_state.py``): the same table is executed,
tested exhaustively, and drawn in docs/how-it-works.md.
"""

from __future__ import annotations

from enum import StrEnum, auto
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import IllegalTransition

if TYPE_CHECKING:
    from collections.abc import Mapping


class TaskStatus(StrEnum):
    """Where a task is in its life. Spelt the same in Python, SQL and HTTP; case-sensitive."""

    PENDING = "Pending"
    IN_PROGRESS = "InProgress"
    COMPLETED = "Completed"
    FAILED = "Failed"
    CANCELLED = "Cancelled"

    @property
    def is_final(self) -> bool:
        """True for a status that no worker leaves again; only an operator's retry does."""
        return self in FINAL


FINAL: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED})


class Event(StrEnum):
    """What can happen to a task."""

    CLAIM = auto()
    """A worker leases the task for one attempt."""
    COMPLETE = auto()
    """The handler returned."""
    RETRY = auto()
    """The attempt failed and attempts are left."""
    SNOOZE = auto()
    """The handler asked to be called again later; the attempt does not count."""
    RELEASE = auto()
    """The worker gives the lease back unused; the attempt does not count."""
    RESCUE = auto()
    """The worker is gone and attempts are left; the attempt counts."""
    EXPIRE = auto()
    """Its time was up before the attempt could begin; the attempt does not count."""
    FAIL = auto()
    """Attempts are used up, or the handler discarded the task."""
    CANCEL = auto()
    """Someone, or the handler itself, called the task off."""
    REVIVE = auto()
    """An operator retries a task that had ended without success."""
    EDIT = auto()
    """Time, payload or priority change before the task starts; "run now" is one such change."""


TRANSITIONS: Final[Mapping[tuple[TaskStatus, Event], TaskStatus]] = {
    (TaskStatus.PENDING, Event.CLAIM): TaskStatus.IN_PROGRESS,
    (TaskStatus.PENDING, Event.CANCEL): TaskStatus.CANCELLED,
    (TaskStatus.PENDING, Event.EDIT): TaskStatus.PENDING,
    (TaskStatus.IN_PROGRESS, Event.COMPLETE): TaskStatus.COMPLETED,
    (TaskStatus.IN_PROGRESS, Event.RETRY): TaskStatus.PENDING,
    (TaskStatus.IN_PROGRESS, Event.SNOOZE): TaskStatus.PENDING,
    (TaskStatus.IN_PROGRESS, Event.RELEASE): TaskStatus.PENDING,
    (TaskStatus.IN_PROGRESS, Event.RESCUE): TaskStatus.PENDING,
    (TaskStatus.IN_PROGRESS, Event.EXPIRE): TaskStatus.FAILED,
    (TaskStatus.IN_PROGRESS, Event.FAIL): TaskStatus.FAILED,
    (TaskStatus.IN_PROGRESS, Event.CANCEL): TaskStatus.CANCELLED,
    (TaskStatus.FAILED, Event.REVIVE): TaskStatus.PENDING,
    (TaskStatus.CANCELLED, Event.REVIVE): TaskStatus.PENDING,
}
"""Every legal transition. A completed task has no way out: it is never run again."""


def after(status: TaskStatus, event: Event, *, verb: str | None = None) -> TaskStatus:
    """Return the status that ``event`` leads to; ``verb`` is what its caller calls it.

    Raises:
        IllegalTransition: ``event`` cannot happen to a task that is in ``status``.
    """
    try:
        return TRANSITIONS[status, event]
    except KeyError:
        raise IllegalTransition(status=status.value, event=event.value, verb=verb) from None
