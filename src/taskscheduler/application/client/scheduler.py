"""Storing tasks, looking at them, changing their course: what embedders and HTTP call."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypedDict, Unpack, cast, overload
from uuid import UUID

from taskscheduler.application.client.batches import Batches
from taskscheduler.application.client.group_commit import GroupCommit
from taskscheduler.application.client.kind_names import kind_of
from taskscheduler.application.client.limits import Limits
from taskscheduler.application.client.operations import Operations
from taskscheduler.application.client.quotas import Quotas
from taskscheduler.application.client.result_waiters import Waiters
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.application.client.task_batch import (
    LazyBatch,
    only_known,
    require_time,
    text_of,
    time_after,
    times_of,
    waits_of,
)
from taskscheduler.application.client.task_controls import TaskControls
from taskscheduler.domain.after import After, require_no_circle
from taskscheduler.domain.errors import InvalidTask, NotAConnection, UnknownKind
from taskscheduler.domain.ids import RecentIds
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.domain.values import (
    PRIORITY_DEFAULT,
    QUEUE_DEFAULT,
    TaskId,
    uuid_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType
    from uuid import UUID

    from taskscheduler.application.client.kind_names import Alone, Payload, Taking
    from taskscheduler.application.client.task_batch import TaskSpec
    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.batch import BatchId
    from taskscheduler.domain.conflict import OnConflict
    from taskscheduler.domain.idempotency import Idempotency
    from taskscheduler.domain.ports.engines import Engine
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.domain.task import Task

OWN: Final = object()
"""In place of a caller's connection: the scheduler's own transaction."""


class TaskOptions(TypedDict, total=False):
    """How a task may differ from the plainest one.

    ``execute_at`` is an aware time; ``delay`` counts from this process's now, so prefer
    ``execute_at`` where clocks differ. ``after`` are the ids of up to 100 tasks that must end
    first; ``when`` is what counts: ``"succeeded"``, or ``"ended"`` in whatever way; and
    ``otherwise`` what becomes of the task if one of them does not succeed: ``"cancel"``, ``"run"``
    or ``"hold"``. ``batch`` is the id of the batch that it is counted with. The rest is as in
    ``NewTask``.
    """

    execute_at: datetime | None
    delay: timedelta | None
    queue: str
    priority: int
    max_attempts: int | None
    timeout: timedelta | None
    unique_key: str | None
    expires_at: datetime | None
    group: str | None
    tags: Iterable[str]
    on_conflict: OnConflict | Literal["keep", "replace", "debounce"] | None
    max_delay: timedelta | None
    id: UUID | None
    payload_json: bytes
    after: Iterable[UUID] | None
    batch: UUID | None
    when: str | None
    otherwise: str | None


class TaskChanges(TypedDict, total=False):
    """What may be changed of a task that waits; see ``TaskEdit``.

    ``payload`` is anything that msgspec can encode as JSON, ``payload_json`` such text. None
    as ``group`` takes the task out of its group.
    """

    execute_at: datetime
    payload: object
    payload_json: bytes
    priority: int
    group: str | None


class Scheduler(TaskControls, Operations):
    """The way in. Use it as an async context manager; its methods may be called concurrently."""

    def __init__(
        self,
        store: Store,
        tracing: Tracing | None = None,
        *,
        commits: GroupCommit | None = None,
        engines: Callable[[str], Engine] | None = None,
    ) -> None:
        """Work on ``store``, opening it on entry and closing it on exit.

        With ``tracing``, what is stored belongs to the trace of whoever stores it. Single tasks are
        stored through ``commits``, where another view of the store has some. ``engines`` makes what
        runs handlers outside of the worker's process, by the word of ``runs_in``.
        """
        self.engines = engines
        self.store = store
        self.tracing = tracing
        self._single = GroupCommit(store.tasks) if commits is None else commits
        self._by: Caller | None = None
        self.quotas = Quotas(store)
        """What callers may store, where they have quotas."""
        self.waiters = Waiters(store.notes)
        self._stack = AsyncExitStack()
        self._known: frozenset[str] = frozenset()

    async def __aenter__(self) -> Self:
        """Open the store."""
        await self._stack.enter_async_context(self.store.opened())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Finish what callers wait for, and close the store."""
        await self.waiters.finish()
        await self._single.finish()
        await self._stack.aclose()

    @property
    def commits(self) -> GroupCommit:
        """What single tasks are stored through, to be shared by other views of this one."""
        return self._single

    @property
    def batches(self) -> Batches:
        """Tasks that are counted together."""
        return Batches(self.store, self._by)

    @property
    def limits(self) -> Limits:
        """How many tasks run, and how fast they begin."""
        return Limits(self.store, self._by)

    @property
    def schedules(self) -> Schedules:
        """What is stored again and again, by itself."""
        return Schedules(self.store, self.put, self._by)

    # -- storing ---------------------------------------------------------------------------------

    @overload
    def prepare(
        self, kind: str, payload: object = None, **options: Unpack[TaskOptions]
    ) -> NewTask: ...
    @overload
    def prepare(self, kind: Alone, **options: Unpack[TaskOptions]) -> NewTask: ...
    @overload
    def prepare(
        self, kind: Taking[Payload], payload: Payload, **options: Unpack[TaskOptions]
    ) -> NewTask: ...
    def prepare(
        self,
        kind: str | Callable[..., Any],
        payload: object = None,
        **options: Unpack[TaskOptions],
    ) -> NewTask:
        """Return the task that ``schedule`` would store, with its id. Nothing is stored.

        ``payload`` is anything that msgspec can encode as JSON; who has the text already gives it
        as ``payload_json`` instead, and it is kept to the letter. ``kind`` is a name, or the
        function that is registered under it, which must take the payload.

        Raises:
            InvalidTask: a field cannot be stored.
            TypeError: there is no such option.
        """
        only_known(options, TaskOptions.__annotations__)
        execute_at = options.get("execute_at")
        if (delay := options.get("delay")) is not None:
            if execute_at is not None:
                raise InvalidTask("delay", "give either execute_at or delay")
            execute_at = time_after(delay)
        task_id = options.get("id")
        encoded = text_of(options, payload)
        return NewTask(
            id=self.store.new_task_id() if task_id is None else TaskId(task_id),
            kind=kind_of(kind, encoded),
            payload_json=encoded,
            execute_at=execute_at,
            queue=options.get("queue", QUEUE_DEFAULT),
            priority=options.get("priority", PRIORITY_DEFAULT),
            max_attempts=options.get("max_attempts"),
            timeout=options.get("timeout"),
            unique_key=options.get("unique_key"),
            expires_at=options.get("expires_at"),
            group=options.get("group"),
            tags=options.get("tags", ()),
            on_conflict=options.get("on_conflict"),
            max_delay=options.get("max_delay"),
            after=After.of(options.get("after"), options.get("when"), options.get("otherwise")),
            batch=cast("BatchId | None", options.get("batch")),
        )

    @overload
    async def schedule(
        self,
        kind: str,
        payload: object = None,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId: ...
    @overload
    async def schedule(
        self, kind: Alone, *, connection: object = OWN, **options: Unpack[TaskOptions]
    ) -> TaskId: ...
    @overload
    async def schedule(
        self,
        kind: Taking[Payload],
        payload: Payload,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId: ...
    async def schedule(
        self,
        kind: str | Callable[..., Any],
        payload: object = None,
        *,
        connection: object = OWN,
        **options: Unpack[TaskOptions],
    ) -> TaskId:
        """Store one task and return its id once it is committed.

        ``options`` are those of ``prepare``. With ``connection``, the caller's own (for PostgreSQL
        a ``psycopg.AsyncConnection``, one of asyncpg's, or SQLAlchemy's ``AsyncSession`` or
        ``AsyncConnection`` over one of them), the task is part of its transaction: it exists when
        that commits and never if it does not. The transaction is the caller's to end; where the
        driver begins one with the first statement, this is as good as a statement.

        Raises:
            InvalidTask: a field cannot be stored.
            NotInTransaction: ``connection`` is in autocommit mode and no transaction is open on
                it, or that has failed, or it is None or anything else that cannot be joined.
            TaskExists: the id is taken by a task with other contents.
            TaskNotFound: a task that it is to come after is not there.
            BatchNotFound: its batch is not there; ``BatchSealed``: that takes no more tasks.
            StoreUnavailable: the store could not be reached; repeating with the same id is safe.
        """
        task = self.prepare(cast("str", kind), payload, **options)  # or a function: it looks
        if connection is not OWN:
            return (await self.put_many([task], connection=connection))[0]
        return await self.put(task)

    async def schedule_many(
        self,
        tasks: Iterable[TaskSpec],
        *,
        connection: object = OWN,
    ) -> Sequence[TaskId]:
        """Store all ``tasks`` in one transaction, or none; return their ids in the same order.

        Each is what ``prepare`` returns, or a tuple ``(kind, payload)`` or
        ``(kind, payload, execute_at)``. Raises as ``schedule`` does; ``InvalidTask.index`` tells
        which task is at fault.
        """
        prepared = LazyBatch(list(tasks), self.store.new_task_id)
        return await self.put_many(prepared, connection=connection)

    async def put(self, task: NewTask) -> TaskId:
        """Store one prepared task, sharing the commit with concurrent callers."""
        if task.after is not None or task.batch is not None:  # not with those who have neither
            return (await self.put_many([task]))[0]
        RecentIds(self.store.new_task_id()).check(task.id)
        if task.expires_at is not None:
            await require_time(self.store, [task])
        if self.tracing is None:
            task_id = await self._single.put(task)
        else:
            with self.tracing.scheduling([task]) as trace:
                task_id = await self._single.put(task if trace is None else task.but(trace=trace))
        self._ring([(task.queue, task.execute_at)])
        return task_id

    async def put_many(
        self,
        tasks: Sequence[NewTask],
        *,
        connection: object = OWN,
        idempotency: Idempotency | None = None,
    ) -> Sequence[TaskId]:
        """Store prepared tasks in one transaction; once only, if the request has a name."""
        if connection is None:
            raise NotAConnection(type(None))
        if not tasks:
            return []
        transaction = None if connection is OWN else connection
        if not isinstance(tasks, LazyBatch):
            recent = RecentIds(self.store.new_task_id())
            for index, task in enumerate(tasks):
                recent.check(task.id, index if len(tasks) > 1 else None)
        await require_time(self.store, tasks)
        if waits := waits_of(tasks):
            require_no_circle(waits, [task.id for task in tasks])
        if self.tracing is None:
            ids = await self.store.tasks.put(
                tasks, transaction=transaction, idempotency=idempotency
            )
        else:
            with self.tracing.scheduling(tasks) as trace:
                traced = tasks if trace is None else [task.but(trace=trace) for task in tasks]
                ids = await self.store.tasks.put(
                    traced, transaction=transaction, idempotency=idempotency
                )
        if transaction is None:
            self._ring(times_of(tasks))
        return ids

    async def require_known(self, kinds: Iterable[str]) -> None:
        """Check that every one of ``kinds`` has a handler somewhere.

        Raises:
            UnknownKind: one has none.
        """
        for kind in kinds:
            if kind not in self._known:
                self._known = await self.store.kinds.known()
                if kind not in self._known:
                    raise UnknownKind(kind, sorted(self._known))

    # -- changing --------------------------------------------------------------------------------

    async def edit(
        self, task_id: UUID, *, expected: Task | None = None, **changes: Unpack[TaskChanges]
    ) -> Task:
        """Change when a Pending task is to run, what with, or how urgently.

        With ``expected``, a task as it was returned, nothing is changed if it is different by now.

        Raises:
            InvalidTask: a value cannot be stored, or none is given.
            TaskNotFound: there is none.
            IllegalTransition: it is not Pending.
            TaskChanged: it is not as ``expected``.
            TypeError: there is no such field, or it cannot be changed.
        """
        only_known(changes, TaskChanges.__annotations__)
        edit = TaskEdit(
            execute_at=changes.get("execute_at"),
            payload_json=text_of(changes, changes.get("payload"))
            if changes.keys() & {"payload", "payload_json"}
            else None,
            priority=changes.get("priority"),
            group=(changes["group"] or "") if "group" in changes else None,
        )
        task = await self.store.tasks.edit(
            TaskId(uuid_of(task_id)), edit, expected=expected, by=self._by
        )
        self._ring([(task.queue, task.process_at)])
        return task
