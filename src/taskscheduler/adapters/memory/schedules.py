"""Schedules in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import ScheduleChanged, ScheduleExists, ScheduleNotFound
from taskscheduler.domain.schedule import Overlap

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime, timedelta

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.ports import TaskRepository
    from taskscheduler.domain.schedule import Schedule
    from taskscheduler.domain.task import NewTask, TaskId


class MemoryScheduleRepository:
    """``ScheduleRepository`` in memory."""

    def __init__(self, state: State, tasks: TaskRepository) -> None:
        """Work on ``state``; store what is fired into ``tasks``."""
        self._state = state
        self._tasks = tasks

    async def now(self) -> datetime:
        """See ``ScheduleRepository.now``."""
        return self._state.now()

    async def add(self, schedule: Schedule, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.add``."""
        if schedule.name in self._state.schedules:
            raise ScheduleExists(schedule.name)
        self._state.schedules[schedule.name] = schedule
        self._state.tell(by, Action.SCHEDULE_ADDED, target=schedule.name)

    async def get(self, name: str) -> Schedule:
        """See ``ScheduleRepository.get``."""
        try:
            return self._state.schedules[name]
        except KeyError:
            raise ScheduleNotFound(name) from None

    async def list(
        self, *, after: str = "", limit: int, queue_prefix: str | None = None
    ) -> Sequence[Schedule]:
        """See ``ScheduleRepository.list``."""
        found = [
            schedule
            for name, schedule in sorted(self._state.schedules.items())
            if name > after and schedule.definition.queue.startswith(queue_prefix or "")
        ]
        return found[:limit]

    async def replace(
        self, old: Schedule, new: Schedule, *, action: Action, by: Caller | None = None
    ) -> None:
        """See ``ScheduleRepository.replace``."""
        if (await self.get(old.name)).revision != old.revision:
            raise ScheduleChanged(old.name)
        self._state.schedules[old.name] = new
        self._state.tell(by, action, target=old.name)

    async def delete(self, name: str, *, by: Caller | None = None) -> None:
        """See ``ScheduleRepository.delete``."""
        await self.get(name)
        del self._state.schedules[name]
        self._state.tell(by, Action.SCHEDULE_DELETED, target=name)

    async def next_fire_in(self) -> timedelta | None:
        """See ``ScheduleRepository.next_fire_in``."""
        first = min(self._waiting(), default=None)
        return None if first is None else first[0] - self._state.now()

    async def due(self, limit: int) -> Sequence[Schedule]:
        """See ``ScheduleRepository.due``."""
        now = self._state.now()
        due = sorted(fire for fire in self._waiting() if fire[0] <= now)
        return [self._state.schedules[name] for _, name in due[:limit]]

    async def fire(
        self,
        schedule: Schedule,
        tasks: Sequence[NewTask],
        *,
        fired_at: datetime | None,
        next_fire_at: datetime | None,
    ) -> Sequence[TaskId] | None:
        """See ``ScheduleRepository.fire``."""
        kept = self._state.schedules.get(schedule.name)
        if kept is None or kept.revision != schedule.revision:
            return None
        last = None if kept.last_task_id is None else self._state.tasks.get(kept.last_task_id)
        if kept.definition.overlap is Overlap.SKIP and last is not None:
            tasks = tasks if last.status.is_final else ()
        stored = await self._tasks.put(tasks)
        self._state.schedules[kept.name] = kept.fire(
            fired_at=fired_at, next_fire_at=next_fire_at, task_ids=stored
        )
        return stored

    def _waiting(self) -> list[tuple[datetime, str]]:
        return [
            (schedule.next_fire_at, name)
            for name, schedule in self._state.schedules.items()
            if schedule.next_fire_at is not None
        ]
