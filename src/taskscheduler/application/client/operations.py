"""Operating queues and workers: the part of ``Scheduler`` that no tenant may use."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.domain.query import LIMIT_MAX
from taskscheduler.domain.queue import Count, check_queue
from taskscheduler.domain.worker import WorkerLoad

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.queue import Queue


class Operations:
    """Looks at the queues and workers of ``store``, and stops and starts queues."""

    store: Store
    _by: Caller | None

    async def queues(self, *, after: str = "", limit: int = LIMIT_MAX) -> Sequence[Queue]:
        """Return up to ``limit`` queues by name, those after ``after``."""
        return await self.store.queues.list(after=after, limit=limit)

    async def queue(self, name: str) -> Queue:
        """Return one queue; one that nobody has used yet is empty. Raises InvalidTask."""
        return await self.store.queues.get(check_queue(name))

    async def pause_queue(self, name: str) -> Queue:
        """Let no task of the queue begin until it is resumed; what is leased by now goes on.

        Raises:
            InvalidTask: no queue can be called so.
        """
        await self.store.queues.pause(check_queue(name), by=self._by)
        return await self.store.queues.get(name)

    async def resume_queue(self, name: str) -> Queue:
        """Let the tasks of a paused queue begin again, at once. Raises InvalidTask."""
        await self.store.queues.resume(check_queue(name), by=self._by)
        self.store.wakeups.ring({name})
        return await self.store.queues.get(name)

    async def workers(self) -> Sequence[WorkerLoad]:
        """Return the workers that are registered, those that have fallen silent included."""
        registered = await self.store.workers.registered()
        running, whole = await self.store.queues.running()
        return [WorkerLoad(each, Count(running.get(each.id, 0), whole)) for each in registered]
