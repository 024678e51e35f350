"""Storing tasks, looking at them, changing their course: what embedders and HTTP call."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack, cast, overload
from uuid import UUID

from taskscheduler.application.client.bulk import change_page
from taskscheduler.application.client.explain import explain
from taskscheduler.application.client.group_commit import GroupCommit
from taskscheduler.application.client.kind_names import kind_of
from taskscheduler.application.client.limits import Limits
from taskscheduler.application.client.quotas import Quotas
from taskscheduler.application.client.result_waiters import Waiters, span_s
from taskscheduler.application.client.results import value_of
from taskscheduler.application.client.schedules import Schedules
from taskscheduler.application.client.task_batch import (
    LazyBatch,
    encode_payload,
    only_known,
    require_time,
    time_after,
    times_of,
)
from taskscheduler.domain.errors import InvalidTask, NotAConnection, PayloadTooLarge, UnknownKind
from taskscheduler.domain.ids import RecentIds
from taskscheduler.domain.query import LIMIT_MAX, TaskQuery
from taskscheduler.domain.queue import Count, check_queue
from taskscheduler.domain.task import (
    NAME,
    NAME_FORM,
    PAYLOAD_BYTES_MAX,
    PRIORITY_DEFAULT,
    QUEUE_DEFAULT,
    Idempotency,
    NewTask,
    TaskEdit,
    in_utc,
)
from taskscheduler.domain.values import TaskId
from taskscheduler.domain.worker import WorkerLoad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from types import TracebackType
    from uuid import UUID

    from taskscheduler.application.client.kind_names import Alone, Payload, Taking
    from taskscheduler.application.client.task_batch import TaskSpec
    from taskscheduler.application.store import Store
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.bulk import BulkCursor, BulkStep, BulkVerb
    from taskscheduler.domain.lease import Attempt
    from taskscheduler.domain.notes import Ending, TaskNotes
    from taskscheduler.domain.ports.tracing import Tracing
    from taskscheduler.domain.queue import Queue
    from taskscheduler.domain.task import Task
    from taskscheduler.domain.why import Why

OWN: Final = object()
"""In place of a caller's connection: the scheduler's own transaction."""
RING_AHEAD_S = 10.0
"""Tasks due later than this ring no bell: every worker looks again well before."""


class TaskOptions(TypedDict, total=False):
    """How a task may differ from the plainest one.

    ``execute_at`` is an aware time; ``delay`` counts from this process's now, so prefer
    ``execute_at`` where clocks differ. The rest is as in ``NewTask``.
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
    id: UUID | None


class TaskChanges(TypedDict, total=False):
    """What may be changed of a task that waits; see ``TaskEdit``.

    ``payload`` is anything that msgspec can encode as JSON. None as ``group`` takes the task out of
    its group.
    """

    execute_at: datetime
    payload: object
    priority: int
    group: str | None


class Scheduler:
    """The way in. Use it as an async context manager; its methods may be called concurrently."""

    def __init__(
        self,
        store: Store,
        tracing: Tracing | None = None,
        *,
        commits: GroupCommit | None = None,
    ) -> None:
        """Work on ``store``, opening it on entry and closing it on exit.

        With ``tracing``, what is stored belongs to the trace of whoever stores it. Single tasks are
        stored through ``commits``, where another view of the store has some.
        """
        self.store = store
        self.tracing = tracing
        self._single = GroupCommit(store.tasks) if commits is None else commits
        self._by: Caller | None = None
        self.quotas = Quotas(store)
        """What callers may store, where they have quotas."""
        self.waiters = Waiters(store.notes)
        """Those who wait for tasks to end."""
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

        ``payload`` is anything that msgspec can encode as JSON. ``kind`` is a name, or the function
        that is registered under it, which must take the payload.

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
        encoded = encode_payload(payload)
        return NewTask(
            id=self.store.new_task_id() if task_id is None else TaskId(task_id),
            kind=kind_of(kind, encoded),
            payload=encoded,
            execute_at=execute_at,
            queue=options.get("queue", QUEUE_DEFAULT),
            priority=options.get("priority", PRIORITY_DEFAULT),
            max_attempts=options.get("max_attempts"),
            timeout=options.get("timeout"),
            unique_key=options.get("unique_key"),
            expires_at=options.get("expires_at"),
            group=options.get("group"),
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

    # -- looking ---------------------------------------------------------------------------------

    async def get(self, task_id: UUID) -> Task:
        """Return the task. Raises TaskNotFound."""
        return await self.store.tasks.get(TaskId(task_id))

    async def list(self, query: TaskQuery | None = None) -> Sequence[Task]:
        """Return the tasks that match ``query``, newest first."""
        return await self.store.board.list(query or TaskQuery())

    async def attempts(
        self, task_id: UUID, *, before: int | None = None, limit: int | None = None
    ) -> Sequence[Attempt]:
        """Return the task's attempts so far, oldest first.

        With ``before``, only those with smaller numbers; with ``limit``, the newest of them.
        Raises TaskNotFound.
        """
        attempts = await self.store.board.attempts(TaskId(task_id), before=before, limit=limit)
        if not attempts:
            await self.get(task_id)
        return attempts

    async def notes(self, task_id: UUID) -> TaskNotes:
        """Return what the task has to show beside its fields, such as its result."""
        return await self.store.notes.of(TaskId(task_id))

    async def why(self, task_id: UUID) -> Why:
        """Return what keeps the task from running, or who runs it. Raises TaskNotFound."""
        return await explain(self.store, TaskId(task_id))

    async def ending(self, task_id: UUID, *, within_s: float = 0) -> Ending | None:
        """Return how the task ended, waiting for it for so many seconds; None if it goes on.

        Raises TaskNotFound.
        """
        return await self.waiters.ending(TaskId(task_id), within_s)

    async def result(self, task_id: UUID, *, timeout: float | timedelta | None = None) -> Any:  # noqa: ASYNC109 - as ``asyncio.wait_for`` has it
        """Wait until the task has ended, and return what its handler returned, as from JSON.

        ``timeout`` is in seconds; without it there is no limit. Any number may wait at once: all
        who wait in one process share each look into the store.

        Raises:
            TaskFailed: it failed for good; ``error`` is its last one.
            TaskCancelled: it was cancelled; ``error`` is its last one, if it had any.
            TaskNotFound: there is none, or it was deleted meanwhile.
            TimeoutError: it has not ended in time. It goes on all the same.
        """
        within_s = span_s(timeout)
        ending = await self.ending(task_id, within_s=within_s)
        if ending is None:
            message = f"task {task_id} has not ended within {within_s:g} s"
            raise TimeoutError(message)
        return value_of(TaskId(task_id), ending)

    # -- changing --------------------------------------------------------------------------------

    async def cancel(self, task_id: UUID) -> Task:
        """Cancel a task that has not ended. Raises TaskNotFound, IllegalTransition."""
        return await self.store.tasks.cancel(TaskId(task_id), by=self._by)

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
        task = await self.store.tasks.retry(TaskId(task_id), at=at, by=self._by)
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
        await self.store.notes.signal(TaskId(task_id), name, value, by=self._by)
        task = await self.get(task_id)
        self.store.wakeups.ring({task.queue})
        return task

    async def run_now(self, task_id: UUID) -> Task:
        """Make a Pending task due now. Raises TaskNotFound, IllegalTransition."""
        task = await self.store.tasks.run_now(TaskId(task_id), by=self._by)
        self.store.wakeups.ring({task.queue})
        return task

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
            payload=encode_payload(changes["payload"]) if "payload" in changes else None,
            priority=changes.get("priority"),
            group=(changes["group"] or "") if "group" in changes else None,
        )
        task = await self.store.tasks.edit(TaskId(task_id), edit, expected=expected, by=self._by)
        if task.process_at <= datetime.now(UTC) + timedelta(seconds=RING_AHEAD_S):
            self.store.wakeups.ring({task.queue})
        return task

    async def delete(self, task_id: UUID, *, force: bool = False) -> None:
        """Remove a task; ``force`` cancels one in progress first.

        Raises:
            TaskNotFound: there is none.
            IllegalTransition: it is in progress and ``force`` is not set.
        """
        await self.store.tasks.delete(TaskId(task_id), force=force, by=self._by)

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

    # -- operating -------------------------------------------------------------------------------

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

    # -- pieces ----------------------------------------------------------------------------------

    def _ring(self, times: Iterable[tuple[str, datetime | None]]) -> None:
        """Ring for the queues of tasks that are due soon, by the queue and time of each."""
        soon: datetime | None = None
        queues: set[str] = set()
        for queue, execute_at in times:
            if queue in queues:
                continue
            if execute_at is not None:
                soon = soon or datetime.now(UTC) + timedelta(seconds=RING_AHEAD_S)
                if execute_at > soon:
                    continue
            queues.add(queue)
        if queues:
            self.store.wakeups.ring(queues)
