"""Changing many tasks at once, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple, Self
from uuid import UUID

from taskscheduler.domain.errors import IllegalTransition
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

PAGE_MAX: Final = 1000


class BulkVerb(StrEnum):
    """What may be done to many tasks at once."""

    CANCEL = "cancel"
    RETRY = "retry"
    DELETE = "delete"


ALLOWED: Final[Mapping[BulkVerb, Sequence[TaskStatus]]] = {
    BulkVerb.CANCEL: (TaskStatus.PENDING, TaskStatus.IN_PROGRESS),
    BulkVerb.RETRY: (TaskStatus.FAILED, TaskStatus.CANCELLED),
    BulkVerb.DELETE: (
        TaskStatus.PENDING,
        TaskStatus.COMPLETED,
        TaskStatus.FAILED,
        TaskStatus.CANCELLED,
    ),
}
"""In which statuses, one after another. Deleting what is in progress must be forced."""


def statuses_of(
    verb: BulkVerb, asked: Collection[TaskStatus] | None, *, force: bool = False
) -> Sequence[TaskStatus]:
    """Return the statuses to work through, those ``asked`` for alone if there are any.

    Raises:
        IllegalTransition: ``verb`` cannot be done to a task in one of them.
    """
    allowed = ALLOWED[verb]
    if verb is BulkVerb.DELETE and force:
        allowed = (*allowed, TaskStatus.IN_PROGRESS)
    if asked is None:
        return allowed
    for status in sorted(asked):
        if status not in allowed:
            raise IllegalTransition(status=status.value, event=verb.value)
    return tuple(status for status in allowed if status in asked)


@dataclass(frozen=True, slots=True)
class BulkCursor:
    """How far one got: within ``status``, tasks whose id is smaller than ``before`` are left."""

    status: TaskStatus
    before: UUID | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the cursor that ``str`` made ``text`` of. Raises ValueError."""
        status, _, before = text.partition(":")
        return cls(TaskStatus(status), UUID(before) if before else None)

    def __str__(self) -> str:
        """Return the text that ``parse`` takes."""
        return f"{self.status.value}:{self.before or ''}"


class BulkStep(NamedTuple):
    """What one step did: tasks looked at, tasks changed, and where to go on; None at the end.

    ``waiting`` is how many of those that were retried wait for a time that is still to come.
    """

    looked_at: int
    changed: int
    cursor: BulkCursor | None
    waiting: int = 0
