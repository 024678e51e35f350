"""What is kept of tasks beside bodies and outcomes, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.notes import Ending, TaskNotes
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.lease import AttemptError
    from taskscheduler.domain.task import TaskId


class MemoryNotes:
    """``Notes`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def of(self, task_id: TaskId) -> TaskNotes:
        """See ``Notes.of``."""
        return TaskNotes(result=self._state.results.get(task_id))

    async def endings(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Ending | None]:
        """See ``Notes.endings``."""
        found: dict[TaskId, Ending | None] = {}
        for task_id in task_ids:
            task = self._state.tasks.get(task_id)
            if task is None:
                found[task_id] = None
            elif task.status is TaskStatus.COMPLETED:
                found[task_id] = Ending(task.status, self._state.results.get(task_id))
            elif task.status.is_final:
                found[task_id] = Ending(task.status, error=self._last_error(task_id))
        return found

    def _last_error(self, task_id: TaskId) -> AttemptError | None:
        errors = [attempt.error for attempt in self._state.history.get(task_id, ())]
        return next((error for error in reversed(errors) if error is not None), None)
