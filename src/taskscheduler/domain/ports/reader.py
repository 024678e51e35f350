"""Reading tasks: lists, states, attempts and the place in the queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from taskscheduler.domain.change import TaskState
    from taskscheduler.domain.lease import Attempt
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId
    from taskscheduler.domain.why import GroupTurn, QueuePosition


class TaskReader(Protocol):
    """What may be read of tasks, beside a single one."""

    async def list(self, query: TaskQuery) -> Sequence[Task]:
        """Return up to ``query.limit`` tasks that match, newest id first.

        Ids that cannot be of now or before, for they are of another version or of a future day,
        come last (see ``domain/ids.py``). With ``query.bytes_max``, the list ends soon after the
        first task whose payload brings all of them to more bytes than that, and not before it: a
        reader with more in hand than fits knows that there are more; see ``fitting``.
        """
        ...

    async def states(
        self, query: TaskQuery, task_ids: Collection[TaskId] = ()
    ) -> Sequence[TaskState]:
        """Return the states of the tasks with ``task_ids``, or if none are given of ``list``'s.

        Bodies are not read: it costs the same however large they are.
        """
        ...

    async def attempts(
        self, task_id: TaskId, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """Return the task's attempts by number, the running one included.

        With ``before``, only those with smaller numbers; with ``limit``, the newest of them.
        Attempts that did not count (snoozed, released) are left out. Empty for an unknown task.
        """
        ...

    async def queue_position(self, task_id: TaskId, count_max: int) -> QueuePosition | None:
        """Return where a Pending task stands; None if it is not Pending, or not there.

        Before it come the due tasks of its queue, of whatever kind, that are more urgent, or as
        urgent and of an earlier time. They are counted up to ``count_max``; of a task that is not
        due nothing is counted.
        """
        ...

    async def group_turn(self, task_id: TaskId, count_max: int) -> GroupTurn | None:
        """Return how a due task waits for the turn of its group; None if it is none.

        Up to ``count_max`` are counted. Tasks without a group are one group.
        """
        ...
