"""Batches in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from taskscheduler.domain.audit import Action
from taskscheduler.domain.batch import Batch, BatchId
from taskscheduler.domain.errors import BatchNotFound, BatchSealed, InvalidTask
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from taskscheduler.adapters.memory.followers import MemoryFollowers
    from taskscheduler.adapters.memory.state import State
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.batch import NewBatch
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.values import TaskId


@dataclass(slots=True)
class Bag:
    """A batch, and what its tasks came to that are not there any more."""

    id: BatchId
    name: str | None
    created_at: datetime
    then: NewTask | None
    sealed_at: datetime | None = None
    ended_at: datetime | None = None
    members: dict[TaskId, TaskStatus | None] = field(default_factory=dict)


def statuses(state: State, bag: Bag) -> Counter[TaskStatus]:
    """Count what the tasks of a batch have come to."""
    return Counter(gone or state.tasks[task_id].status for task_id, gone in bag.members.items())


def outcome(state: State, bag: Bag) -> TaskStatus | None:
    """Return what a batch has come to; None while it goes on."""
    found = statuses(state, bag)
    if bag.sealed_at is None or any(not status.is_final for status in found):
        return None
    for status in (TaskStatus.FAILED, TaskStatus.CANCELLED):
        if found[status]:
            return status
    return TaskStatus.COMPLETED


class MemoryBatches:
    """``Batches`` in memory."""

    def __init__(self, state: State, tasks: TaskRepository, followers: MemoryFollowers) -> None:
        """Work on ``state``; what comes after a batch is stored in ``tasks``."""
        self._state = state
        self._tasks = tasks
        self._followers = followers

    async def make(self, batch: NewBatch, *, by: Caller | None = None) -> Batch:
        """See ``Batches.make``."""
        then = batch.then
        if batch.id not in self._state.batches:
            self._state.batches[batch.id] = Bag(batch.id, batch.name, self._state.now(), then)
            self._state.tell(by, Action.BATCH_ADDED, target=str(batch.id))
            if then is not None:
                try:
                    await self._tasks.put([then])
                except BaseException:
                    del self._state.batches[batch.id]
                    raise
        return await self.get(batch.id)

    async def get(self, batch_id: BatchId) -> Batch:
        """See ``Batches.get``."""
        bag = self._bag(batch_id)
        found = statuses(self._state, bag)
        after = None if bag.then is None else bag.then.after
        return Batch(
            id=bag.id,
            name=bag.name,
            created_at=bag.created_at,
            sealed_at=bag.sealed_at,
            ended_at=bag.ended_at,
            total=len(bag.members),
            completed=found[TaskStatus.COMPLETED],
            failed=found[TaskStatus.FAILED],
            cancelled=found[TaskStatus.CANCELLED],
            then=None if bag.then is None else bag.then.id,
            when=None if after is None else after.when,
            otherwise=None if after is None else after.otherwise,
        )

    async def list(self, *, before: BatchId | None = None, limit: int) -> Sequence[Batch]:
        """See ``Batches.list``."""
        ids = sorted(self._state.batches, reverse=True)
        wanted = [BatchId(each) for each in ids if before is None or each < before]
        return [await self.get(each) for each in wanted[:limit]]

    async def seal(self, batch_id: BatchId, *, by: Caller | None = None) -> Batch:
        """See ``Batches.seal``."""
        bag = self._bag(batch_id)
        if bag.sealed_at is None:
            bag.sealed_at = self._state.now()
            self._state.tell(by, Action.BATCH_SEALED, target=str(batch_id))
            self._followers.judge(batch_id)
        return await self.get(batch_id)

    async def members(
        self, batch_id: BatchId, *, after: TaskId | None = None, limit: int
    ) -> Sequence[TaskId]:
        """See ``Batches.members``."""
        bag = self._state.batches.get(batch_id)
        ids = sorted(() if bag is None else bag.members)
        return [each for each in ids if after is None or each > after][:limit]

    def _bag(self, batch_id: BatchId) -> Bag:
        try:
            return self._state.batches[batch_id]
        except KeyError:
            raise BatchNotFound(batch_id) from None


def require_open(state: State, tasks: Iterable[NewTask]) -> None:
    """Check that the batches of ``tasks`` take them.

    Raises:
        BatchNotFound: one is not there.
        BatchSealed: one takes no more.
        InvalidTask: a task waits for its own batch.
    """
    tasks = list(tasks)
    coming = {task.id: task.after for task in tasks}
    for task in tasks:
        if task.batch is None:
            continue
        bag = state.batches.get(task.batch)
        if bag is None:
            raise BatchNotFound(task.batch)
        if bag.sealed_at is not None:
            raise BatchSealed(task.batch)
        seen: set[object] = set()
        above: list[object] = [task.id]
        while above:
            each = above.pop()
            if each in seen:
                continue
            seen.add(each)
            if each == task.batch:
                reason = f"the task waits for the batch {task.batch} itself"
                raise InvalidTask("batch", reason)
            after = coming.get(each) or state.after.get(each)  # pyright: ignore[reportArgumentType, reportCallIssue]
            above += () if after is None else after.task_ids
            inner = state.batches.get(each)  # pyright: ignore[reportArgumentType, reportCallIssue]
            above += () if inner is None else inner.members
