"""Changing the course of tasks: the part of ``Scheduler`` that needs no more than their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.client.bulk import change_page
from taskscheduler.application.client.task_batch import due_soon, encode_payload
from taskscheduler.application.client.task_queries import TaskQueries
from taskscheduler.domain.errors import InvalidTask, PayloadTooLarge
from taskscheduler.domain.values import NAME, NAME_FORM, PAYLOAD_BYTES_MAX, TaskId, in_utc, uuid_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.bulk import BulkCursor, BulkStep, BulkVerb
    from taskscheduler.domain.query import TaskQuery
    from taskscheduler.domain.task import Task


class TaskControls(TaskQueries):
    """Cancels, retries, signals and deletes tasks, in the name of whoever asks for it."""

    _by: Caller | None

    async def cancel(self, task_id: UUID) -> Task:
        """Cancel a task that has not ended. Raises TaskNotFound, IllegalTransition."""
        return await self.store.tasks.cancel(TaskId(uuid_of(task_id)), by=self._by)

    async def retry(self, task_id: UUID, *, at: datetime | None = None) -> Task:
        """Let a Failed or Cancelled task run again; its ``process_at`` tells when.

        A Failed task is due now. A Cancelled one is due at the time that was asked for when it was
        stored, or now if that has passed. With ``at``, it is due at that time instead; one in the
        past, such as ``AT_ONCE``, means now.

        Raises:
            InvalidTask: ``at`` cannot be its time.
            TaskNotFound: there is none.
            IllegalTransition: it has not ended, or is Completed.
        """
        at = None if at is None else in_utc("at", at)
        task = await self.store.tasks.retry(TaskId(uuid_of(task_id)), at=at, by=self._by)
        self._ring([(task.queue, task.process_at)])
        return task

    async def signal(self, task_id: UUID, name: str, payload: object = None) -> Task:
        """Send a task a signal, with whatever msgspec can encode; it is due if it waits for that.

        A signal that comes before anybody waits for it is kept.

        Raises:
            InvalidTask: no signal can have this name, or the payload cannot be stored.
            TaskNotFound: there is none.
            IllegalTransition: the task has ended.
            SignalExists: a signal of the name has come before.
        """
        if not isinstance(name, str) or NAME.fullmatch(name) is None:  # pyright: ignore[reportUnnecessaryIsInstance] - not every caller is checked
            raise InvalidTask("name", f"must be {NAME_FORM}")
        value = encode_payload(payload)
        if len(value) > PAYLOAD_BYTES_MAX:
            raise PayloadTooLarge(PAYLOAD_BYTES_MAX)
        await self.store.notes.signal(TaskId(uuid_of(task_id)), name, value, by=self._by)
        task = await self.get(task_id)
        self.store.wakeups.ring({task.queue})
        return task

    async def run_now(self, task_id: UUID) -> Task:
        """Make a Pending task due now. Raises TaskNotFound, IllegalTransition."""
        task = await self.store.tasks.run_now(TaskId(uuid_of(task_id)), by=self._by)
        self.store.wakeups.ring({task.queue})
        return task

    async def delete(self, task_id: UUID, *, force: bool = False) -> None:
        """Remove a task; ``force`` cancels one in progress first.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: it is in progress and ``force`` is not set.
        """
        await self.store.tasks.delete(TaskId(uuid_of(task_id)), force=force, by=self._by)

    async def change_page(
        self,
        verb: BulkVerb,
        query: TaskQuery,
        *,
        force: bool = False,
        cursor: BulkCursor | None = None,
        at: datetime | None = None,
    ) -> BulkStep:
        """Cancel, retry or delete up to ``query.limit`` tasks that match, from ``cursor`` on.

        Go on with the cursor that is returned until it is None. ``force`` deletes tasks in
        progress, too. ``at`` is when what is retried is due, as in ``retry``. Raises
        IllegalTransition: the query asks for a status that forbids it.
        """
        at = None if at is None else in_utc("at", at)
        return await change_page(
            self.store, verb, query, force=force, cursor=cursor, at=at, by=self._by
        )

    def _ring(self, times: Iterable[tuple[str, datetime | None]]) -> None:
        """Ring for the queues of tasks that are due soon, by the queue and time of each."""
        if queues := due_soon(times):
            self.store.wakeups.ring(queues)
