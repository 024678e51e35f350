"""Looking at tasks: the part of ``Scheduler`` that changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from taskscheduler.application.client.explain import explain
from taskscheduler.application.client.result_waiters import span_s
from taskscheduler.application.client.results import value_of
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.values import TaskId, uuid_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from uuid import UUID

    from taskscheduler.application.client.result_waiters import Waiters
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Attempt
    from taskscheduler.domain.notes import Ending, TaskNotes
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.why import Why


class TaskQueries:
    """Reads tasks, and what there is to each, from ``store``."""

    store: Store
    waiters: Waiters
    """Those who wait for tasks to end."""

    async def get(self, task_id: UUID) -> Task:
        """Return the task. Raises TaskNotFound."""
        return await self.store.tasks.get(TaskId(uuid_of(task_id)))

    async def list(self, query: TaskQuery | None = None) -> Sequence[Task]:
        """Return the tasks that match ``query``, newest first."""
        return await self.store.board.list(query or TaskQuery())

    async def attempts(
        self, task_id: UUID, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """Return the task's attempts so far, oldest first.

        With ``before``, only those with smaller numbers; with ``limit``, the newest of them.
        Raises TaskNotFound.
        """
        attempts = await self.store.board.attempts(
            TaskId(uuid_of(task_id)), before=before, limit=limit
        )
        if not attempts:
            await self.get(task_id)
        return attempts

    async def notes(self, task_id: UUID) -> TaskNotes:
        """Return what the task has to show beside its fields, such as its result."""
        return await self.store.notes.of(TaskId(uuid_of(task_id)))

    async def why(self, task_id: UUID) -> Why:
        """Return what keeps the task from running, or who runs it. Raises TaskNotFound."""
        return await explain(self.store, TaskId(uuid_of(task_id)))

    async def ending(self, task_id: UUID, *, within_s: float = 0) -> Ending | None:
        """Return how the task ended, waiting for it for so many seconds; None if it goes on.

        Raises TaskNotFound.
        """
        return await self.waiters.ending(TaskId(uuid_of(task_id)), within_s)

    async def result(self, task_id: UUID, *, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109 - as ``asyncio.wait_for`` has it
        """Wait until the task has ended, and return what its handler returned, as from JSON.

        ``timeout`` is in seconds; without it there is no limit. Any number may wait at once: all
        who wait in one process share each look into the store.

        Raises:
            TaskFailed: it failed for good; ``error`` is its last one.
            TaskCancelled: it was cancelled; ``error`` is its last one, if it had any.
            TaskNotFound: there is none, or it was deleted meanwhile.
            TimeoutError: it has not ended in time. It goes on all the same.
        """
        within_s = span_s(timeout)
        ending = await self.ending(task_id, within_s=within_s)
        if ending is None:
            message = f"task {task_id} has not ended within {within_s:g} s"
            raise TimeoutError(message)
        return value_of(TaskId(uuid_of(task_id)), ending)
