"""The scheduler as one caller sees it: nothing outside that caller's queues."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack, cast

from taskscheduler.application.client.bulk import change_page
from taskscheduler.application.client.explain import explain
from taskscheduler.application.client.scheduler import OWN, Scheduler, TaskChanges
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.application.client.task_batch import text_of, waits_of
from taskscheduler.domain.bulk import BulkVerb, statuses_of
from taskscheduler.domain.errors import (
    BatchNotFound,
    Forbidden,
    IdempotencyConflict,
    ScheduleNotFound,
    TaskNotFound,
)
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.values import TaskId, in_utc

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from taskscheduler.application.client.quotas import Quotas
    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.bulk import BulkCursor, BulkStep
    from taskscheduler.domain.lease import Attempt
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.notes import Ending, TaskNotes
    from taskscheduler.domain.schedule import NewSchedule, Schedule
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.why import Why


class TenantScheduler(Scheduler):
    """``whole``, as far as ``caller`` reaches. Made for one request, and neither opened nor closed.

    What is done is written into the audit trail under the caller's name. To a caller with a queue
    prefix, tasks in other queues are not there, and none can be put there. Its unique and
    idempotency keys are its own: they are kept under its prefix.
    """

    def __init__(self, whole: Scheduler, caller: Caller) -> None:
        """Show ``whole`` to ``caller``."""
        # Callers share their commits; whose task it is, each task says for itself.
        super().__init__(whole.store, whole.tracing, commits=whole.commits)
        self._whole = whole
        self.waiters = whole.waiters
        self._by = self._caller = caller
        self._space = caller.key_space

    @property
    def schedules(self) -> Schedules:
        """As ``Scheduler.schedules``; no more can be made than the caller's quota says."""
        return ActingSchedules(self.store, self.put, self._caller, self._whole.quotas)

    async def put(self, task: NewTask) -> TaskId:
        """As ``Scheduler.put``. Raises Forbidden, QuotaUsedUp, TooMuchWaiting too."""
        if task.after is not None or task.batch is not None:
            return (await self.put_many([task]))[0]
        task = self._inward(task)
        if self._caller.quota is not None:
            await self._whole.quotas.admit(self._caller, [task])
        return await super().put(task)

    async def put_many(
        self,
        tasks: Sequence[NewTask],
        *,
        connection: object = OWN,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """As ``Scheduler.put_many``. Raises Forbidden, QuotaUsedUp, TooMuchWaiting too."""
        inward = [self._inward(task) for task in tasks]
        if self._space is not None:
            await self._require_parents(inward)
            if of_batch := next((task for task in inward if task.batch is not None), None):
                raise BatchNotFound(cast("UUID", of_batch.batch))  # they are not for tenants
        if self._caller.quota is not None:
            await self._whole.quotas.admit(self._caller, inward)
        if idempotency is None or self._space is None:
            return await super().put_many(inward, connection=connection, idempotency=idempotency)
        # Hashed, because with the prefix it might be too long.
        own = hashlib.sha256((self._space + idempotency.key).encode()).hexdigest()
        try:
            return await super().put_many(
                inward,
                connection=connection,
                idempotency=Idempotency(own, idempotency.fingerprint),
            )
        except IdempotencyConflict:
            raise IdempotencyConflict(idempotency.key) from None

    async def require_known(self, kinds: Iterable[str]) -> None:
        """As ``Scheduler.require_known``: kinds are everybody's."""
        await self._whole.require_known(kinds)

    async def get(self, task_id: UUID) -> Task:
        """As ``Scheduler.get``."""
        return self._reached(await super().get(task_id))

    async def list(self, query: TaskQuery | None = None) -> Sequence[Task]:
        """As ``Scheduler.list``."""
        query = query or TaskQuery()
        if self._caller.queue_prefix is not None:
            query = replace(query, queue_prefix=self._caller.queue_prefix)
        return [self._outward(task) for task in await super().list(query)]

    async def attempts(
        self, task_id: UUID, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """As ``Scheduler.attempts``."""
        await self._require_reach(task_id)
        return await super().attempts(task_id, before=before, limit=limit)

    async def notes(self, task_id: UUID) -> TaskNotes:
        """As ``Scheduler.notes``."""
        await self._require_reach(task_id)
        return await super().notes(task_id)

    async def ending(self, task_id: UUID, *, within_s: float = 0) -> Ending | None:
        """As ``Scheduler.ending``."""
        await self._require_reach(task_id)
        return await super().ending(task_id, within_s=within_s)

    async def why(self, task_id: UUID) -> Why:
        """As ``Scheduler.why``."""
        await self._require_reach(task_id)
        # Tenants are told that a worker holds it, and not on which machine.
        return await explain(self.store, TaskId(task_id), name_workers=self._space is None)

    async def cancel(self, task_id: UUID) -> Task:
        """As ``Scheduler.cancel``."""
        await self._require_reach(task_id)
        return self._outward(await super().cancel(task_id))

    async def retry(self, task_id: UUID, *, at: datetime | None = None) -> Task:
        """As ``Scheduler.retry``. Raises QuotaUsedUp, TooMuchWaiting too."""
        await self._require_reach(task_id)
        if self._caller.quota is not None:
            task = await super().get(task_id)
            if task.status in statuses_of(BulkVerb.RETRY, None):
                size = len(task.payload_json)
                await self._whole.quotas.admit_more(self._caller, [task.queue], size)
        return self._outward(await super().retry(task_id, at=at))

    async def signal(self, task_id: UUID, name: str, payload: object = None) -> Task:
        """As ``Scheduler.signal``."""
        await self._require_reach(task_id)
        return self._outward(await super().signal(task_id, name, payload))

    async def run_now(self, task_id: UUID) -> Task:
        """As ``Scheduler.run_now``."""
        await self._require_reach(task_id)
        return self._outward(await super().run_now(task_id))

    async def edit(
        self, task_id: UUID, *, expected: Task | None = None, **changes: Unpack[TaskChanges]
    ) -> Task:
        """As ``Scheduler.edit``. Raises TooMuchWaiting too, where the payload grows."""
        if self._caller.quota is not None and changes.keys() & {"payload", "payload_json"}:
            text = text_of(changes, changes.get("payload"))
            more = len(text) - len((await super().get(task_id)).payload_json)
            if more > 0:
                await self._whole.quotas.admit_more(self._caller, [], more)
        if self._space is not None:
            task = await super().get(task_id)
            # As it is kept, not as it was shown.
            if expected == self._reached(task):
                expected = task
        return self._outward(await super().edit(task_id, expected=expected, **changes))

    async def change_page(
        self,
        verb: BulkVerb,
        query: TaskQuery,
        *,
        force: bool = False,
        cursor: BulkCursor | None = None,
        at: datetime | None = None,
    ) -> BulkStep:
        """As ``Scheduler.change_page``. Raises QuotaUsedUp, TooMuchWaiting too: for a retry.

        How large their payloads are is seen when what waits is counted next.
        """
        limited = self._caller.quota is not None and verb is BulkVerb.RETRY

        async def admit(queues: Sequence[str]) -> None:
            await self._whole.quotas.admit_more(self._caller, queues, 0)

        return await change_page(
            self.store,
            verb,
            query,
            force=force,
            cursor=cursor,
            at=None if at is None else in_utc("at", at),
            by=self._by,
            admit=admit if limited else None,
        )

    async def delete(self, task_id: UUID, *, force: bool = False) -> None:
        """As ``Scheduler.delete``."""
        await self._require_reach(task_id)
        await super().delete(task_id, force=force)

    async def _require_reach(self, task_id: UUID) -> None:
        # A task's queue never changes, so what is looked at first is still so afterwards.
        if self._space is not None:
            await self.get(task_id)

    async def _require_parents(self, tasks: Sequence[NewTask]) -> None:
        """Refuse to wait for tasks that are not there for this caller. Raises TaskNotFound."""
        own = {task.id for task in tasks}
        asked = dict.fromkeys(
            each for after in waits_of(tasks).values() for each in after.task_ids if each not in own
        )
        if not asked:
            return
        found = await self.store.board.states(TaskQuery(), list(asked))
        reached = {each.id for each in found if self._caller.may_use(each.queue)}
        for task_id in asked:
            if task_id not in reached:
                raise TaskNotFound(task_id)

    def _reached(self, task: Task) -> Task:
        if not self._caller.may_use(task.queue):
            raise TaskNotFound(task.id)
        return self._outward(task)

    def _inward(self, task: NewTask) -> NewTask:
        if not self._caller.may_use(task.queue):
            message = f"this key reaches only queues that begin with {self._caller.queue_prefix!r}"
            raise Forbidden(message)
        if self._space is None or task.unique_key is None:
            return task.but(by=self._caller)
        return task.but(by=self._caller, unique_key=self._space + task.unique_key)

    def _outward(self, task: Task) -> Task:
        if self._space is None or task.unique_key is None:
            return task
        return replace(task, unique_key=task.unique_key.removeprefix(self._space))


class ActingSchedules(Schedules):
    """Schedules as one caller sees them, within its quota."""

    def __init__(
        self,
        store: Store,
        put: Callable[[NewTask], Awaitable[TaskId]],
        by: Caller,
        quotas: Quotas,
    ) -> None:
        """Work on ``store`` in the name of ``by``."""
        super().__init__(store, put, by)
        self._caller = by
        self._quotas = quotas

    async def make(self, definition: NewSchedule) -> Schedule:
        """As ``Schedules.make``. Raises QuotaUsedUp too."""
        if self._caller.quota is not None:
            try:
                await self.get(definition.name)
            except ScheduleNotFound:
                await self._quotas.admit_schedule(self._caller)
        return await super().make(definition)

    async def _admit(self, schedule: Schedule, tasks: Sequence[tuple[TaskId, datetime]]) -> None:
        if self._caller.quota is not None and tasks:
            wanted = [schedule.definition.task(*each) for each in tasks]
            await self._quotas.admit(self._caller, wanted)
