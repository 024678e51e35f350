"""What the tasks came to that an attempt's task was stored to come after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.client.results import value_of
from taskscheduler.domain.batch import BatchId
from taskscheduler.domain.errors import BatchNotFound, TaskEnded, TaskNotFound

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import TaskId

PAGE: Final = 1_000
"""So many results are read by one statement, when somebody comes to them."""


class ParentResults:
    """The results in the order in which the tasks were named, one by one as they are asked for.

    In place of what a task returned that failed, was cancelled, has been deleted or has not ended,
    is the error that ``Scheduler.result`` would raise, as ``asyncio.gather`` gives it with
    ``return_exceptions``. Await it for all of them in a list.
    """

    def __init__(self, store: Store, task_id: TaskId) -> None:
        """Read from ``store`` what ``task_id`` came after. Nothing is read yet."""
        self._store = store
        self._task_id = task_id

    def __aiter__(self) -> AsyncIterator[Any]:
        """Begin with the first."""
        return self._each()

    def __iter__(self) -> Iterator[Any]:
        """Refuse: only what stands before this one in a thread is iterated over like that."""
        message = "results() is to be iterated over by async for, or awaited; by for in a thread"
        raise TypeError(message)

    def __await__(self) -> Generator[Any, None, list[Any]]:
        """Return all of them."""
        return self._all().__await__()

    async def _all(self) -> list[Any]:
        return [each async for each in self._each()]

    async def _each(self) -> AsyncGenerator[Any]:
        async for ids in self._pages():
            endings = await self._store.notes.endings(ids)
            for task_id in ids:
                if task_id not in endings:
                    yield TimeoutError(f"task {task_id} has not ended")
                elif (ending := endings[task_id]) is None:
                    yield TaskNotFound(task_id)
                else:
                    try:
                        found = value_of(task_id, ending)
                    except TaskEnded as error:
                        found = error
                    yield found

    async def _pages(self) -> AsyncGenerator[list[TaskId]]:
        after = await self._store.followers.after(self._task_id)
        if after is None:
            return
        # Whoever comes after a batch comes after its tasks.
        batch_id = BatchId(after.task_ids[0])
        page = await self._store.batches.members(batch_id, limit=PAGE)
        if not page and not await self._is_batch(batch_id):
            yield list(after.task_ids)
        while page:
            yield list(page)
            page = await self._store.batches.members(batch_id, after=page[-1], limit=PAGE)

    async def _is_batch(self, batch_id: BatchId) -> bool:
        try:
            await self._store.batches.get(batch_id)
        except BatchNotFound:
            return False
        return True
