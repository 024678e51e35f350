"""Where a task stands, without its body: what is compared from one look to the next."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final, NamedTuple

from taskscheduler.domain.notes import Progress  # noqa: TC001 - a field of a tuple
from taskscheduler.domain.status import TaskStatus  # noqa: TC001 - a field of a tuple
from taskscheduler.domain.task import Task  # noqa: TC001 - a field of a tuple
from taskscheduler.domain.values import TaskId  # noqa: TC001 - a field of a tuple

WATCHED_MAX: Final = 1_000
"""How many tasks one look takes in: the newest that fit."""
LATE: Final = timedelta(seconds=5)
"""How long after its time a change may become visible and still be told to who comes back."""


class TaskState(NamedTuple):
    """A task's state at one look. ``started_at`` is None while it waits.

    ``progress`` is looked up while it runs.
    """

    id: TaskId
    kind: str
    queue: str
    status: TaskStatus
    attempt: int
    process_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress | None = None

    @classmethod
    def of(cls, task: Task) -> TaskState:
        """Return the state of ``task``, without its progress."""
        fields = (name for name in cls._fields if name != "progress")
        return cls(*(getattr(task, name) for name in fields))

    @property
    def changed_at(self) -> datetime | None:
        """When it began or ended, whichever came last; None while it waits."""
        return self.finished_at or self.started_at


def changes(
    before: dict[TaskId, TaskState], now: dict[TaskId, TaskState], *, newest_only: bool
) -> list[TaskState]:
    """Return the states of ``now`` that are new, oldest task first.

    With ``newest_only``, both are windows on the newest tasks. A task that was not there before may
    then be an old one, for which deletions have made room: it is left out.
    """
    floor = min(before) if newest_only and before else None
    return [
        state
        for task_id, state in sorted(now.items())
        if before.get(task_id) != state and (task_id in before or floor is None or task_id > floor)
    ]


def missed(now: dict[TaskId, TaskState], since: datetime) -> list[TaskState]:
    """Return what somebody must be told who last heard of a change at ``since``.

    What waits has no time of change, so all of it is told again.
    """
    return [
        state
        for _, state in sorted(now.items())
        if state.changed_at is None or state.changed_at >= since - LATE
    ]
