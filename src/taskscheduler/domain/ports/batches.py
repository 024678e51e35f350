"""Batches of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.batch import Batch, BatchId, NewBatch
    from taskscheduler.domain.values import TaskId


class Batches(Protocol):
    """Batches. Tasks come to them by ``TaskRepository.put``, until they are sealed.

    Counts are exact at the moment of the look. A task that is retried has not ended, and what is
    dropped by retention counts as it ended.
    """

    async def make(self, batch: NewBatch, *, by: Caller | None = None) -> Batch:
        """Store a batch, and the task that comes after it. Repeating changes nothing.

        Raises:
            TaskExists: the id of that task is taken by another.
        """
        ...

    async def get(self, batch_id: BatchId) -> Batch:
        """Return the batch as it is now.

        Raises:
            BatchNotFound: there is none.
        """
        ...

    async def list(self, *, before: BatchId | None = None, limit: int) -> Sequence[Batch]:
        """Return up to ``limit`` batches, the largest id first, those ``before`` one."""
        ...

    async def seal(self, batch_id: BatchId, *, by: Caller | None = None) -> Batch:
        """Let no more tasks come to the batch, and return it. One without any has ended then.

        Those count that were stored before, also in a transaction that was open: it is waited for.
        Repeating changes nothing.

        Raises:
            BatchNotFound: there is none.
        """
        ...

    async def members(
        self, batch_id: BatchId, *, after: TaskId | None = None, limit: int
    ) -> Sequence[TaskId]:
        """Return up to ``limit`` ids of its tasks, the smallest first, those ``after`` one."""
        ...
