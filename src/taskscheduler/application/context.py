"""What a handler is told of its task, and what it may ask for."""

from __future__ import annotations

from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.application.blocking import for_this_thread
from taskscheduler.application.results import encode_result
from taskscheduler.domain.errors import LeaseLost
from taskscheduler.domain.notes import RESULT_BYTES_MAX
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime

    from taskscheduler.application.scheduler import Scheduler
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.task import TaskId, WorkerId


class Context:
    """One attempt, as its handler sees it. Handlers in threads may read it too."""

    __slots__ = (
        "_lease",
        "_loop",
        "_max_attempts",
        "_result_bytes_max",
        "_scheduler",
        "_worker_id",
        "cancelled",
        "lease_lost",
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
    ) -> None:
        """Made by the worker, once for each attempt; ``loop`` is the one that it runs on."""
        self._lease = lease
        self._worker_id = worker_id
        self._max_attempts = max_attempts
        self._scheduler = scheduler
        self._loop = loop
        self._result_bytes_max = result_bytes_max
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
    def payload(self) -> bytes:
        """The payload as it is stored: JSON text."""
        return self._lease.payload

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
        except LeaseLost as error:
            self.lease_lost = error.task_id == self.id
            raise
        self.settled = True

    def _kept(self) -> bytes | None:
        return encode_result(self.result, self._result_bytes_max)


CURRENT: Final[ContextVar[Context | None]] = ContextVar("taskscheduler_context", default=None)
"""The attempt that the current code runs for, if any. Logs read it."""
