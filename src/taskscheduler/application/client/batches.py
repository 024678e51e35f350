"""Batches: what embedders, HTTP and the command line call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.client.task_batch import LazyBatch, require_time
from taskscheduler.domain.after import After
from taskscheduler.domain.batch import BatchId, NewBatch
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.query import LIMIT_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from taskscheduler.application.client.task_batch import TaskSpec
    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.batch import Batch
    from taskscheduler.domain.values import TaskId


class Batches:
    """Tasks that are counted together. They come to a batch by ``batch=`` when they are stored."""

    def __init__(self, store: Store, by: Caller | None = None) -> None:
        """Work on ``store``, in the name of ``by``."""
        self._store = store
        self._by = by

    async def make(
        self,
        name: str | None = None,
        *,
        then: TaskSpec | None = None,
        when: str | None = None,
        otherwise: str | None = None,
    ) -> Batch:
        """Make a batch and return it; tasks can come to it until it is sealed.

        ``then`` is a task, as ``Scheduler.prepare`` returns it, or ``(kind, payload)``. It is
        stored at once and waits until the batch is sealed and all of its tasks have ended. ``when``
        and ``otherwise`` say what counts, as for tasks that come ``after`` others.

        Raises:
            InvalidTask: the name or the task cannot be stored, or there is no such condition.
        """
        batch_id = BatchId(self._store.new_task_id())
        if then is None:
            After.of(None, when, otherwise)
            return await self._store.batches.make(NewBatch(batch_id, name), by=self._by)
        (task,) = LazyBatch([then], self._store.new_task_id)
        if task.after is not None:
            raise InvalidTask("after", "comes from the batch, for the task that follows it")
        await require_time(self._store, [task])
        follower = task.but(after=After.of([batch_id], when, otherwise), by=self._by or task.by)
        return await self._store.batches.make(NewBatch(batch_id, name, follower), by=self._by)

    async def get(self, batch_id: UUID) -> Batch:
        """Return the batch as it is now. Raises BatchNotFound."""
        return await self._store.batches.get(BatchId(batch_id))

    async def list(self, *, before: UUID | None = None, limit: int = LIMIT_MAX) -> Sequence[Batch]:
        """Return up to ``limit`` batches, the newest first, those ``before`` one."""
        last = None if before is None else BatchId(before)
        return await self._store.batches.list(before=last, limit=limit)

    async def seal(self, batch_id: UUID) -> Batch:
        """Let no more tasks come to the batch, and return it. Raises BatchNotFound."""
        return await self._store.batches.seal(BatchId(batch_id), by=self._by)

    async def tasks(
        self, batch_id: UUID, *, after: TaskId | None = None, limit: int = LIMIT_MAX
    ) -> Sequence[TaskId]:
        """Return up to ``limit`` ids of its tasks, the smallest first, those ``after`` one."""
        return await self._store.batches.members(BatchId(batch_id), after=after, limit=limit)
