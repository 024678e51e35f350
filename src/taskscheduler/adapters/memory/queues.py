"""Queues in memory."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.queue import Count, Queue
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.values import WorkerId


class MemoryQueueRegistry:
    """``QueueRegistry`` in memory: everything is counted."""

    def __init__(self, state: State) -> None:
        """Work on ``state``."""
        self._state = state

    async def list(self, *, after: str = "", limit: int) -> Sequence[Queue]:
        """See ``QueueRegistry.list``."""
        names = {task.queue for task in self._state.tasks.values()} | self._state.paused.keys()
        for worker in self._state.workers.values():
            names |= worker.profile.queues
        later = sorted(name for name in names if name > after)
        return [await self.get(name) for name in later[:limit]]

    async def get(self, name: str) -> Queue:
        """See ``QueueRegistry.get``."""
        now = self._state.now()
        tasks = [task for task in self._state.tasks.values() if task.queue == name]
        waiting = [task.process_at for task in tasks if task.status is TaskStatus.PENDING]
        due = [process_at for process_at in waiting if process_at <= now]
        return Queue(
            name=name,
            paused_at=self._state.paused.get(name),
            due=Count(len(due)),
            later=Count(len(waiting) - len(due)),
            running=Count(sum(task.status is TaskStatus.IN_PROGRESS for task in tasks)),
            oldest_due_at=min(due, default=None),
        )

    async def pause(self, name: str, *, by: Caller | None = None) -> None:
        """See ``QueueRegistry.pause``."""
        if name not in self._state.paused:
            self._state.paused[name] = self._state.now()
            self._state.tell(by, Action.PAUSED, target=name)

    async def resume(self, name: str, *, by: Caller | None = None) -> None:
        """See ``QueueRegistry.resume``."""
        if self._state.paused.pop(name, None) is not None:
            self._state.tell(by, Action.RESUMED, target=name)

    async def running(self) -> tuple[Mapping[WorkerId, int], bool]:
        """See ``QueueRegistry.running``."""
        holders = (task.worker_id for task in self._state.tasks.values())
        return Counter(holder for holder in holders if holder is not None), True
