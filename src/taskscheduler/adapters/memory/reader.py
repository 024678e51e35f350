"""Reading tasks in memory."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

from taskscheduler.domain.change import TaskState
from taskscheduler.domain.ids import newest_of, spans
from taskscheduler.domain.lease import Attempt
from taskscheduler.domain.queue import Count
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.why import GroupTurn, QueuePosition

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.values import TaskId


class MemoryTaskReader:
    """``TaskReader`` in memory."""

    def __init__(self, state: State, new_task_id: Callable[[], TaskId]) -> None:
        """Read ``state``; ``new_task_id`` tells which id can be the newest."""
        self._state = state
        self._new_task_id = new_task_id

    async def list(self, query: TaskQuery) -> Sequence[Task]:
        """See ``TaskReader.list``."""
        downwards = sorted(self._state.tasks.items(), reverse=True)
        found = (
            task
            for low, high in spans(query.before, newest_of(self._new_task_id()))
            for task_id, task in downwards
            if low <= task_id <= high and query.wants(task)
        )
        listed: list[Task] = []
        room = query.bytes_max
        for task in islice(found, query.limit):
            listed.append(task)
            if room is not None:
                room -= len(task.payload_json)
                if room < 0:
                    break
        return listed

    async def states(
        self, query: TaskQuery, task_ids: Collection[TaskId] = ()
    ) -> Sequence[TaskState]:
        """See ``TaskReader.states``."""
        if task_ids:
            known = (self._state.tasks.get(task_id) for task_id in set(task_ids))
            found = [task for task in known if task is not None]
        else:
            found = await self.list(replace(query, bytes_max=None))
        return [TaskState.of(task) for task in found]

    async def attempts(
        self, task_id: TaskId, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """See ``TaskReader.attempts``."""
        attempts = list(self._state.history.get(task_id, ()))
        task = self._state.tasks.get(task_id)
        if task is not None and task.status is TaskStatus.IN_PROGRESS:
            attempts.append(
                Attempt(
                    number=task.attempt,
                    started_at=task.started_at,
                    finished_at=None,
                    outcome=None,
                    worker_id=task.worker_id,
                )
            )
        attempts.sort(key=lambda attempt: attempt.number)
        wanted = [each for each in attempts if before is None or each.number < before]
        return wanted if limit is None else wanted[max(0, len(wanted) - limit) :]

    async def queue_position(self, task_id: TaskId, count_max: int) -> QueuePosition | None:
        """See ``TaskReader.queue_position``."""
        task = self._state.tasks.get(task_id)
        if task is None or task.status is not TaskStatus.PENDING:
            return None
        now = self._state.now()
        if task.process_at > now:
            return QueuePosition(is_due=False, before=Count(0))
        place = (task.priority, task.process_at, task.id)
        number = sum(
            each.queue == task.queue
            and each.status is TaskStatus.PENDING
            and each.process_at <= now
            and (each.priority, each.process_at, each.id) < place
            for each in self._state.tasks.values()
        )
        return QueuePosition(is_due=True, before=Count(min(number, count_max), number < count_max))

    async def group_turn(self, task_id: TaskId, count_max: int) -> GroupTurn | None:
        """See ``TaskReader.group_turn``."""
        task, now = self._state.tasks.get(task_id), self._state.now()
        if task is None or task.status is not TaskStatus.PENDING or task.process_at > now:
            return None
        beside = [
            each
            for each in self._state.tasks.values()
            if (each.queue, each.priority) == (task.queue, task.priority)
            and each.status is TaskStatus.PENDING
            and each.process_at <= now
        ]
        place = (task.process_at, task.id)
        ahead = sum(
            each.group == task.group and (each.process_at, each.id) < place for each in beside
        )
        return GroupTurn(min(ahead, count_max), any(each.group != task.group for each in beside))
