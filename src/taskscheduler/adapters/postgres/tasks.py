"""Tasks in PostgreSQL: stored, claimed, settled, and changed by hand."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import psycopg

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.bulk import Bulk
from taskscheduler.adapters.postgres.caller_transaction import joined
from taskscheduler.adapters.postgres.claim import Claims
from taskscheduler.adapters.postgres.copy_format import NotPlain, UnknownLane
from taskscheduler.adapters.postgres.database import translated
from taskscheduler.adapters.postgres.edit import Edits
from taskscheduler.adapters.postgres.insert_copy import COPIED_FROM, CopiedInserts
from taskscheduler.adapters.postgres.insert_idempotent import Inserts
from taskscheduler.adapters.postgres.insert_new import FreshInserts, is_plain
from taskscheduler.adapters.postgres.lanes import Lanes, lanes_of
from taskscheduler.adapters.postgres.mapping import read
from taskscheduler.adapters.postgres.settle import Settlements
from taskscheduler.adapters.postgres.tracing import TRACES, read_traces
from taskscheduler.adapters.postgres.wakeups import NOTIFY, PAYLOAD_BYTES_MAX
from taskscheduler.application.wakeups.listener import hint_of
from taskscheduler.domain.audit import Action
from taskscheduler.domain.errors import (
    IllegalTransition,
    StoreUnavailable,
    TaskChanged,
    TaskNotFound,
)
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT
from taskscheduler.domain.status import Event, TaskStatus, after

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime, timedelta

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.adapters.postgres.lanes import Lane
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.bulk import BulkVerb
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.lease import Lease, Settlement, Suspects
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.task_edit import TaskEdit
    from taskscheduler.domain.trace import TraceContext
    from taskscheduler.domain.values import TaskId, WorkerId
    from taskscheduler.domain.worker import Subscription

RACES_MAX: Final = 10
"""How often a change by hand is tried again when the task moved under it."""


class PostgresTaskRepository:
    """``TaskRepository`` on PostgreSQL. What a ``transaction`` may be, ``joining`` says."""

    def __init__(
        self,
        database: Database,
        lanes: Lanes,
        clock: Clock,
        *,
        channel: str | None,
        on_cancellation: Callable[[], None],
        unique_for: timedelta,
        followers: PostgresFollowers,
    ) -> None:
        """``channel`` is where tasks of a caller's own transaction are told of, at its commit.

        ``on_cancellation`` is called after a lease was taken away; ``unique_for`` is how long
        unique keys live; ``followers`` lets go what waits for tasks that end here.
        """
        self._database = database
        self._lanes = lanes
        self._channel = channel
        self._on_cancellation = on_cancellation
        self._fresh = FreshInserts(database)
        self._copied = CopiedInserts(database)
        self._followers = followers
        self._inserts = Inserts(database, unique_for, followers)
        self._trail = Trail(database)
        self._edits = Edits(database, lanes, self._trail)
        self._bulk = Bulk(database, self._trail, followers, on_cancellation=on_cancellation)
        self._claims = Claims(database, clock)
        self._settlements = Settlements(database, followers)
        lanes.on_new.append(self._claims.look_soon)
        self._epochs: dict[WorkerId, int] = {}
        sql = database.sql
        self._get = sql(s.GET)
        self._traces = sql(TRACES)
        self._begin = sql(s.BEGIN)
        self._next_epoch = sql(s.NEXT_EPOCH)
        self._release_unknown = sql(s.RELEASE_UNKNOWN)
        self._cancel = sql(s.CANCEL)
        self._retry = sql(s.RETRY)
        self._run_now = sql(s.RUN_NOW)
        self._delete = sql(s.DELETE)

    # -- storing ---------------------------------------------------------------------------------

    async def put(
        self,
        tasks: Sequence[NewTask],
        *,
        transaction: object | None = None,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """See ``TaskRepository.put``."""
        if transaction is None and idempotency is None and len(tasks) >= COPIED_FROM:
            with suppress(psycopg.errors.UniqueViolation, NotPlain):
                return await self._copy(tasks)
        tasks = list(tasks)  # to look at one may be what makes it
        wanted = lanes_of(tasks)

        async def put(lanes: Mapping[Lane, int]) -> Sequence[TaskId]:
            return await self._put(tasks, lanes, transaction, idempotency)

        ids = await self._lanes.queue_position(wanted, put)
        if transaction is None and any(task.after is not None for task in tasks):
            await self._followers.release()
        return ids

    async def _put(
        self,
        tasks: Sequence[NewTask],
        lanes: Mapping[Lane, int],
        transaction: object | None,
        idempotency: Idempotency | None,
    ) -> Sequence[TaskId]:
        wanted = lanes_of(tasks)
        if transaction is not None:
            with translated():
                async with joined(transaction) as connection:
                    ids = await self._inserts.insert_once(
                        connection, tasks, lanes, idempotency, held=True
                    )
                    if self._channel is not None:
                        # Told at the caller's commit, which nobody else hears of.
                        hint = hint_of({task.queue for task in tasks}, bytes_max=PAYLOAD_BYTES_MAX)
                        await connection.execute(
                            NOTIFY, {"channel": self._channel, "payload": hint}
                        )
                    return ids

        async def work(connection: PooledConnection) -> Sequence[TaskId]:
            if idempotency is None and all(is_plain(task) for task in tasks):
                try:
                    await self._fresh.insert(connection, tasks, [lanes[each] for each in wanted])
                except psycopg.errors.UniqueViolation:
                    # Asked for before, perhaps by ourselves and in vain for the answer.
                    pass
                else:
                    return [task.id for task in tasks]
            async with connection.transaction():
                return await self._inserts.insert_once(
                    connection, tasks, lanes, idempotency, held=False
                )

        return await self._database.run(work)

    async def _copy(self, tasks: Sequence[NewTask]) -> Sequence[TaskId]:
        async def work(connection: Connection) -> Sequence[TaskId]:
            return await self._copied.insert(connection, tasks, self._lanes)

        # Of the first one only: the server can work on it while the last are made.
        await self._lanes.numbers(lanes_of(islice(tasks, 1)))
        try:
            return await self._database.run(work)
        except UnknownLane:
            # Of another task, or it is not there any more: then all of them are asked for anew.
            wanted = lanes_of(tasks)
            self._lanes.forget(wanted)
            await self._lanes.numbers(wanted)
            return await self._database.run(work)

    # -- claiming and settling -------------------------------------------------------------------

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim``."""
        return await self._claims.claim(
            worker_id, subscription, limit, epoch=self._epochs.get(worker_id, 0)
        )

    async def suspects(self, subscription: Subscription) -> Suspects | None:
        """See ``TaskRepository.suspects``."""
        return await self._claims.suspects(subscription)

    async def claim_suspects(
        self, worker_id: WorkerId, subscription: Subscription, excused: int, limit: int
    ) -> Sequence[Lease]:
        """See ``TaskRepository.claim_suspects``."""
        epoch = self._epochs.get(worker_id, 0)
        return await self._claims.claim_suspects(
            worker_id, subscription, excused, limit, epoch=epoch
        )

    async def begin(self, lease: Lease) -> bool:
        """See ``TaskRepository.begin``."""
        values = {"id": lease.task_id, "token": lease.token}

        async def work(connection: Connection) -> bool:
            cursor = await connection.execute(self._begin, values)
            return await cursor.fetchone() is not None

        return await self._database.run(work)

    async def traces_of(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, TraceContext]:
        """See ``TaskRepository.traces_of``."""

        async def work(connection: Connection) -> Mapping[TaskId, TraceContext]:
            return await read_traces(connection, self._traces, task_ids)

        return await self._database.run(work)

    async def next_due(
        self, subscription: Subscription, *, roughly: bool = False
    ) -> timedelta | None:
        """See ``TaskRepository.next_due``."""
        return await self._claims.next_due(subscription, roughly=roughly)

    def are_held_back(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_held_back``."""
        return self._claims.are_held_back(subscription)

    def are_tight(self, subscription: Subscription) -> bool:
        """See ``TaskRepository.are_tight``."""
        return self._claims.are_tight(subscription)

    async def settle(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.settle``."""
        refused = await self._settlements.settle(settlements)
        self._claims.leases_ended()
        return refused

    def completing(
        self, lease: Lease, result: Callable[[], bytes | None] = lambda: None
    ) -> AbstractAsyncContextManager[object]:
        """See ``TaskRepository.completing``."""
        return self._settlements.completing(lease, result)

    async def outcomes_of(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.outcomes_of``."""
        return await self._settlements.outcomes_of(settlements)

    async def reconcile(self, worker_id: WorkerId, known: Collection[int]) -> int:
        """See ``TaskRepository.reconcile``."""
        async with self._database.connection() as connection, connection.transaction():
            cursor = await connection.execute(self._next_epoch, {"worker_id": worker_id})
            row = await cursor.fetchone()
            if row is None:
                return 0
            released = await connection.execute(
                self._release_unknown, {"worker_id": worker_id, "known": list(known)}
            )
        self._epochs[worker_id] = row[0]
        return released.rowcount

    # -- one task, by hand -----------------------------------------------------------------------

    async def get(self, task_id: TaskId) -> Task:
        """See ``TaskRepository.get``."""

        async def work(connection: Connection) -> Task:
            found = await read(connection, self._get, [task_id])
            if not found:
                raise TaskNotFound(task_id)
            return found[0]

        return await self._database.run(work)

    async def cancel(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """See ``TaskRepository.cancel``."""
        for _ in range(RACES_MAX):
            if await self._take_out(self._cancel, {"id": task_id}, by, Action.CANCELLED):
                return await self.get(task_id)
            task = await self.get(task_id)
            if task.status.is_final:
                raise IllegalTransition(status=task.status.value, event=Event.CANCEL.value)
        raise StoreUnavailable(_RACING)

    async def retry(
        self, task_id: TaskId, *, at: datetime | None = None, by: Caller | None = None
    ) -> Task:
        """See ``TaskRepository.retry``."""
        values = {"id": task_id, "granted": MAX_ATTEMPTS_DEFAULT, "at": at}
        return await self._change(self._retry, values, Event.REVIVE, by, Action.RETRIED)

    async def run_now(self, task_id: TaskId, *, by: Caller | None = None) -> Task:
        """See ``TaskRepository.run_now``."""
        return await self._change(self._run_now, {"id": task_id}, Event.EDIT, by, Action.RUN)

    async def edit(
        self,
        task_id: TaskId,
        edit: TaskEdit,
        *,
        expected: Task | None = None,
        by: Caller | None = None,
    ) -> Task:
        """See ``TaskRepository.edit``."""
        for _ in range(RACES_MAX):
            task = await self.get(task_id)
            task.require_editable(edit)
            if expected is not None and expected != task:
                raise TaskChanged(task_id)
            if await self._edits.edit(task, edit, strictly=expected is not None, by=by):
                return await self.get(task_id)
        raise StoreUnavailable(_RACING)

    async def change_all(
        self,
        verb: BulkVerb,
        status: TaskStatus,
        task_ids: Sequence[TaskId],
        *,
        at: datetime | None = None,
        by: Caller | None = None,
    ) -> Mapping[TaskId, bool]:
        """See ``TaskRepository.change_all``."""
        return await self._bulk.change(verb, status, task_ids, at=at, by=by)

    async def delete(
        self, task_id: TaskId, *, force: bool = False, by: Caller | None = None
    ) -> None:
        """See ``TaskRepository.delete``."""
        values = {"id": task_id, "force": force}
        for _ in range(RACES_MAX):
            if await self._take_out(self._delete, values, by, Action.DELETED):
                return
            task = await self.get(task_id)
            if task.status is TaskStatus.IN_PROGRESS and not force:
                raise IllegalTransition(status=task.status.value, event="delete")
        raise StoreUnavailable(_RACING)

    async def _take_out(
        self, statement: Any, values: Mapping[str, Any], by: Caller | None, action: Action
    ) -> bool:
        """Take a task out by ``statement``, which tells whether it was leased; tell its worker."""
        leased = followed = False

        async def work(connection: Connection) -> bool:
            async def change() -> bool:
                nonlocal leased, followed
                row = await (await connection.execute(statement, values)).fetchone()
                leased, followed = (False, False) if row is None else row
                return row is not None

            return await self._trail.told(connection, by, action, values["id"], change)

        taken = await self._database.run(work)
        if leased:
            self._on_cancellation()
        if followed:
            await self._followers.release()
        return taken

    async def _change(
        self,
        statement: Any,
        values: Mapping[str, Any],
        event: Event,
        by: Caller | None,
        action: Action,
    ) -> Task:
        task_id: TaskId = values["id"]

        async def work(connection: Connection) -> bool:
            async def change() -> bool:
                nonlocal waits
                row = await (await connection.execute(statement, values)).fetchone()
                waits = row is not None and row[0]
                return row is not None

            return await self._trail.told(connection, by, action, task_id, change)

        waits = False
        for _ in range(RACES_MAX):
            changed = await self._database.run(work)
            if waits:
                await self._followers.release()
            task = await self.get(task_id)
            if changed:
                return task
            # Raises, unless the task came into this status since it was to be changed.
            after(task.status, event, verb=action.value if action is Action.RUN else None)
        raise StoreUnavailable(_RACING)


_RACING: Final = "the task kept changing while it was to be changed; try again"
