"""What is kept of tasks beside bodies and outcomes, in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import IllegalTransition, LeaseLost, SignalExists
from taskscheduler.domain.notes import Ending, Progress, TaskNotes
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.lease import AttemptError, Lease
    from taskscheduler.domain.notes import Awaited, Report
    from taskscheduler.domain.values import TaskId


class MemoryNotes:
    """``Notes`` in memory."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def of(self, task_id: TaskId) -> TaskNotes:
        """See ``Notes.of``."""
        state = self._state
        return TaskNotes(
            state.results.get(task_id),
            state.progress.get(task_id),
            state.after.get(task_id),
            state.batch_of.get(task_id),
        )

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

    async def report(self, reports: Sequence[Report]) -> None:
        """See ``Notes.report``."""
        for task_id, token, fraction, message, data in reports:
            if self._holds(task_id, token):
                now = self._state.now()
                self._state.progress[task_id] = Progress(fraction, message, data, now)

    async def progress(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Progress]:
        """See ``Notes.progress``."""
        known = self._state.progress
        return {task_id: known[task_id] for task_id in task_ids if task_id in known}

    async def steps(self, task_id: TaskId) -> Mapping[str, bytes]:
        """See ``Notes.steps``."""
        return dict(self._state.steps.get(task_id, {}))

    async def keep_step(self, lease: Lease, name: str, value: bytes) -> None:
        """See ``Notes.keep_step``."""
        if not self._holds(lease.task_id, lease.token):
            raise LeaseLost(lease.task_id)
        self._state.steps.setdefault(lease.task_id, {})[name] = value

    async def signal(
        self, task_id: TaskId, name: str, value: bytes, *, by: Caller | None = None
    ) -> None:
        """See ``Notes.signal``."""
        task = self._state.task(task_id)
        if task.status.is_final:
            raise IllegalTransition(status=task.status.value, event="signal")
        known = self._state.signals.setdefault(task_id, {})
        if name in known:
            raise SignalExists(task_id, name)
        known[name] = value
        self._state.tell(by, Action.SIGNALLED, task_id=task_id)
        awaited = self._state.awaited.get(task_id)
        if task.status is TaskStatus.PENDING and awaited == (name, task.process_at):
            self._state.save(task.run_now(now=self._state.now()))

    async def signals(self, task_id: TaskId) -> Mapping[str, bytes]:
        """See ``Notes.signals``."""
        return dict(self._state.signals.get(task_id, {}))

    async def awaited(self, task_id: TaskId) -> Awaited | None:
        """See ``Notes.awaited``."""
        return self._state.awaited.get(task_id)

    def _holds(self, task_id: TaskId, token: int) -> bool:
        task = self._state.tasks.get(task_id)
        return task is not None and task.token == token

    def _last_error(self, task_id: TaskId) -> AttemptError | None:
        errors = [attempt.error for attempt in self._state.history.get(task_id, ())]
        return next((error for error in reversed(errors) if error is not None), None)
