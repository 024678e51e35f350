"""What a handler is told of its task, and what it may ask for."""

from __future__ import annotations

import inspect
from contextlib import asynccontextmanager
from contextvars import ContextVar
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from taskscheduler.application.client.blocking import done_here, for_this_thread, is_at_home
from taskscheduler.application.client.results import encode_result
from taskscheduler.application.worker.parents import ParentResults
from taskscheduler.application.worker.progress import Reporter, report_of
from taskscheduler.application.worker.steps import Steps
from taskscheduler.domain.errors import LeaseLost
from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.verdicts import Snooze

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.notes import Report
    from taskscheduler.domain.values import TaskId, WorkerId


class Context:
    """One attempt, as its handler sees it. Handlers in threads may read it too."""

    __slots__ = (
        "_lease",
        "_loop",
        "_max_attempts",
        "_reporter",
        "_result_bytes_max",
        "_scheduler",
        "_signals",
        "_steps",
        "_worker_id",
        "cancelled",
        "lease_lost",
        "reported",
        "result",
        "settled",
    )

    def __init__(
        self,
        lease: Lease,
        *,
        worker_id: WorkerId,
        max_attempts: int,
        scheduler: Scheduler,
        loop: asyncio.AbstractEventLoop | None = None,
        result_bytes_max: int = RESULT_BYTES_MAX,
        reporter: Reporter | None = None,
    ) -> None:
        """Made by the worker, once for each attempt; ``loop`` is the one that it runs on."""
        self._lease = lease
        self._worker_id = worker_id
        self._max_attempts = max_attempts
        self._scheduler = scheduler
        self._loop = loop
        self._result_bytes_max = result_bytes_max
        self._reporter = reporter
        self._steps: Steps | None = None
        self._signals: Mapping[str, bytes] | None = None
        self.reported = False
        """Whether ``progress`` was called."""
        self.cancelled = False
        """Set when the attempt should stop: cancelled, timed out, lease lost, or shutting down.

        An async handler is cancelled as well; one that runs in a thread must look here itself.
        """
        self.settled = False
        """Set once ``transaction`` has recorded the completion."""
        self.result: object = None
        """What to keep as the task's result, where the handler does not return it.

        To be set within ``transaction``, which completes the task before the handler returns.
        """
        self.lease_lost = False
        """Set once ``transaction`` has found that the lease no longer holds."""

    @property
    def lease(self) -> Lease:
        """What this attempt holds."""
        return self._lease

    @property
    def id(self) -> TaskId:
        """The task's id, the same in every attempt: a good idempotency key for calls elsewhere."""
        return self._lease.task_id

    @property
    def kind(self) -> str:
        """The task's kind."""
        return self._lease.kind

    @property
    def queue(self) -> str:
        """The queue that the task came from."""
        return self._lease.queue

    @property
    def priority(self) -> int:
        """0, the most urgent, to 9."""
        return self._lease.priority

    @property
    def group(self) -> str | None:
        """Whose task it is, if it was stored with a group."""
        return self._lease.group

    @property
    def attempt(self) -> int:
        """Which attempt this is, from 1."""
        return self._lease.attempt

    @property
    def max_attempts(self) -> int:
        """How many attempts the task has in all."""
        return self._max_attempts

    @property
    def is_last_attempt(self) -> bool:
        """True when a failure now is final."""
        lease = self._lease
        # No store counts further than the limit, so there is no attempt after that one either.
        return (
            lease.attempt - lease.excused >= self._max_attempts
            or lease.attempt >= MAX_ATTEMPTS_LIMIT
        )

    @property
    def process_at(self) -> datetime:
        """The time from which this attempt was allowed to start."""
        return self._lease.process_at

    @property
    def payload(self) -> Any:
        """The payload, of dictionaries, lists, strings, numbers, booleans and None.

        It is read anew each time that it is asked for. A handler's second parameter has it in the
        type that it is annotated with.
        """
        return self._lease.payload

    @property
    def payload_json(self) -> bytes:
        """The payload as it is stored: JSON text, to the letter."""
        return self._lease.payload_json

    @property
    def token(self) -> int:
        """The lease's fencing token: larger in every later attempt.

        A system that remembers the largest token it has seen can refuse a stale attempt's writes.
        """
        return self._lease.token

    @property
    def worker_id(self) -> WorkerId:
        """The worker that runs this attempt."""
        return self._worker_id

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler of the same store, to schedule further tasks.

        In a plain function, which runs in a thread, its methods are called without ``await``: each
        returns what it would return to who awaits it.
        """
        return for_this_thread(self._scheduler, self._loop)

    def transaction(self) -> AbstractAsyncContextManager[Any]:
        """Make the handler's own writes and the completion one commit.

        To be entered by ``async with``; in a plain function, which runs in a thread, by ``with``.

        Yields the store's connection (for PostgreSQL a ``psycopg.AsyncConnection``, whose methods
        are called without ``await`` in a plain function) with a transaction open. When the block
        ends, the task is Completed in that same transaction: either both happened or neither. What
        the block raises rolls both back.

        Raises:
            LeaseLost: the lease no longer holds; nothing was written.
        """
        return for_this_thread(self._transaction(), self._loop)

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Any]:
        try:
            async with self._scheduler.store.tasks.completing(self._lease, self._kept) as opened:
                yield opened
                if self.reported and self._reporter is not None:
                    await self._reporter.settle(self.token)
        except LeaseLost as error:
            self.lease_lost = error.task_id == self.id
            raise
        self.settled = True

    def progress(
        self, fraction: float | None = None, message: str | None = None, data: object = None
    ) -> Awaitable[None]:
        """Say how far the attempt is: 0 to 1, in words, and with whatever else is to be shown.

        To be awaited; in a plain function, which runs in a thread, it is called without ``await``.
        It may be called as often as is convenient: it is written twice a second at most, for all
        attempts of a worker at once, and before the outcome is. The last word counts.

        Raises:
            InvalidProgress: a value makes no sense, or is too large.
        """
        report = report_of(self._lease, fraction, message, data)
        self.reported = True
        return done_here(self._report(report), self._loop)

    async def _report(self, report: Report) -> None:
        if self._reporter is None:
            self._reporter = Reporter(self._scheduler.store.notes)
        self._reporter.add(report)

    def results(self) -> ParentResults:
        """Return what the tasks returned that this one was stored to come after, in their order.

        Iterate over it by ``async for``; in a plain function, which runs in a thread, by ``for``.
        Few are in memory at once. Or await it for a list.

        In place of the result of a task that did not succeed is its error: ``TaskFailed`` or
        ``TaskCancelled``, or ``TaskNotFound`` if it was deleted.
        """
        return for_this_thread(ParentResults(self._scheduler.store, self.id), self._loop)

    def signal(self, name: str) -> Any:
        """Return what came with the signal of this name, as from JSON; None if none has come.

        Those count that had come when the attempt began. To wait for one, return or raise ``Wait``.
        """
        if self._signals is None and not is_at_home(self._loop):
            self._signals = done_here(self._scheduler.store.notes.signals(self.id), self._loop)
        if self._signals is None:
            raise SignalsNotAskedFor
        value = self._signals.get(name)
        return None if value is None else msgspec.json.decode(value)

    async def ask_for_signals(self) -> None:
        """Ask which signals have come. The worker does it before a handler that wants to know."""
        self._signals = await self._scheduler.store.notes.signals(self.id)

    def has_signal(self, name: str) -> bool:
        """Tell whether the attempt has begun with a signal of this name."""
        return self._signals is not None and name in self._signals

    def step(
        self, name: str, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Any:
        """Call ``function``, unless an earlier attempt came past this step; return what it gave.

        To be awaited; in a plain function, which runs in a thread, it is called without ``await``.
        ``function`` may be a coroutine function. What it returns is kept as JSON, and given as from
        JSON in this attempt as in later ones; what it raises is raised, and nothing is kept. A
        worker that goes down between the call and the keeping calls it again: give what it talks
        to an idempotency key, such as ``context.id`` and the step's name.

        Raises:
            InvalidStep: this attempt has a step of the name already, or the value cannot be kept:
                all steps of a task may keep 1 MiB of JSON.
            LeaseLost: the lease no longer holds; nothing was kept.
        """
        call = partial(function, *arguments, **options)
        if is_at_home(self._loop):
            return self._step(name, call)
        return self._step_in_thread(name, call)

    async def _step(self, name: str, call: Callable[[], Any]) -> Any:
        steps = self._own_steps()
        known, value = await steps.begin(name)
        if known:
            return value
        made = call()
        return await steps.keep(name, await made if inspect.isawaitable(made) else made)

    def _step_in_thread(self, name: str, call: Callable[[], Any]) -> Any:
        steps: Any = for_this_thread(self._own_steps(), self._loop)
        known, value = steps.begin(name)
        if known:
            return value
        made = call()
        return steps.keep(name, done_here(made, self._loop) if inspect.isawaitable(made) else made)

    def _own_steps(self) -> Steps:
        if self._steps is None:
            self._steps = Steps(self._scheduler.store.notes, self._lease)
        return self._steps

    def _kept(self) -> bytes | None:
        return encode_result(self.result, self._result_bytes_max)


class SignalsNotAskedFor(Snooze):
    """Nobody saw that the handler would ask for signals. It is called again, with them."""

    def __init__(self) -> None:
        """At once."""
        super().__init__(timedelta(0))


CURRENT: Final[ContextVar[Context | None]] = ContextVar("taskscheduler_context", default=None)
"""The attempt that the current code runs for, if any. Logs read it."""
