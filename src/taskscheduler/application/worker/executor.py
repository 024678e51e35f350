"""The slots in which a worker's handlers run: never more at once than its concurrency.

A slot is one asyncio task that runs attempt after attempt. Starting an asyncio task for every
attempt would cost a busy worker more than all its other work together; a slot costs that once,
and a handler still finds in it what it expects: a current task to cancel and to time out, and
context variables of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextvars import Context as Variables
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

from taskscheduler.application.metrics.observer import Ran
from taskscheduler.application.worker.context import CURRENT
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from taskscheduler.application.worker.attempt import AttemptRunner
    from taskscheduler.application.worker.context import Context
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.values import WorkerId

log = logging.getLogger("taskscheduler.worker")

ATTEMPTS_PER_SLICE: Final = 32
"""After so many attempts a slot gives way, so that the event loop turns: claims, settlements and
heartbeats live on the same loop, and a store that waits for them is a store that stands still."""


class Executor:
    """Runs leases in up to ``size`` slots and hands each settlement to ``on_settled``."""

    def __init__(
        self,
        execution: AttemptRunner,
        *,
        size: int,
        on_settled: Callable[[Settlement | None], None],
        may_begin: Callable[[], bool] = lambda: True,
        journal: list[Ran] | None = None,
    ) -> None:
        """``on_settled`` is called once for every lease, with None if nothing is to be settled.

        ``may_begin`` is asked before every attempt: a process that was stopped for a while and
        goes on must not begin what others have taken over meanwhile. ``journal``, if there is one,
        gets a line for every attempt that was begun.
        """
        self._execution = execution
        self._size = size
        self._on_settled = on_settled
        self._may_begin = may_begin
        self._journal = journal
        self._waiting: deque[Lease] = deque()
        self._executor: set[asyncio.Task[None]] = set()
        self._spare = False
        self._running: dict[int, tuple[Lease, Context, asyncio.Task[None]]] = {}
        self._dropped: dict[int, bool] = {}
        self._variables = copy_context()
        self._worker_id: WorkerId | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self.begun = 0
        """How many attempts were begun in all: the worker derives its pace from it."""

    @property
    def waiting(self) -> int:
        """How many leases wait for a slot."""
        return len(self._waiting)

    @property
    def free(self) -> int:
        """How many slots have no attempt."""
        return self._size - len(self._running)

    @property
    def tokens(self) -> Collection[int]:
        """The tokens of all leases held here, waiting or running."""
        return {*self._running, *(lease.token for lease in self._waiting)}

    def submit(self, leases: Iterable[Lease], worker_id: WorkerId) -> None:
        """Queue ``leases``, held by ``worker_id``, for the next free slots."""
        self._worker_id = worker_id
        self._waiting.extend(leases)
        if self._waiting:
            self._idle.clear()
            self._open_slot()

    async def idle(self) -> None:
        """Wait until no lease waits or runs."""
        await self._idle.wait()

    def take_waiting(self) -> list[Lease]:
        """Return the leases that no handler has seen yet, and forget them."""
        taken = list(self._waiting)
        self._waiting.clear()
        return taken

    def drop(self, token: int, *, give_back: bool = False) -> bool:
        """Stop the attempt under ``token``; its outcome does not count. Return whether it was here.

        With ``give_back`` the lease is released when the handler has ended, not before: the store
        may still hold it for this worker, and no two attempts should overlap.
        """
        for lease in self._waiting:
            if lease.token == token:
                self._waiting.remove(lease)
                self._on_settled(released(lease) if give_back else None)
                return True
        found = self._running.get(token)
        if found is None or token in self._dropped:
            return False
        _, context, slot = found
        self._dropped[token] = give_back
        context.cancelled = True
        slot.cancel()
        return True

    def drop_all(self, *, give_back: bool = False) -> list[Lease]:
        """Stop every attempt, as ``drop`` does; return the leases that were held here."""
        held = [*self._waiting, *(lease for lease, _, _ in self._running.values())]
        for lease in held:
            self.drop(lease.token, give_back=give_back)
        return held

    def _open_slot(self) -> None:
        """Open a slot for the next lease, unless one is about to begin.

        One at a time: of handlers that never wait only one slot's worth runs between two turns of
        the event loop, however many slots there are.
        """
        if self._waiting and not self._spare and len(self._executor) < self._size:
            self._spare = True
            # A fresh copy of the variables as they were when the worker started.
            variables: Variables = self._variables.run(copy_context)
            slot = asyncio.create_task(self._run_slot(), context=variables)
            self._executor.add(slot)
            slot.add_done_callback(self._close_slot)

    def _close_slot(self, slot: asyncio.Task[None]) -> None:
        self._executor.discard(slot)
        self._open_slot()
        if not self._executor and not self._waiting:
            self._idle.set()
        if not slot.cancelled() and (error := slot.exception()) is not None:
            asyncio.get_running_loop().call_exception_handler(
                {"message": "a slot of the worker failed", "exception": error, "task": slot}
            )

    async def _run_slot(self) -> None:
        slot = asyncio.current_task()
        assert slot is not None  # noqa: S101 - a coroutine runs in a task; for the type checker
        self._spare = False
        begun = 0
        while self._may_begin() and self._waiting and self._worker_id is not None:
            lease = self._waiting.popleft()
            # Should this attempt wait for something, the next slot takes the next lease.
            if not self._spare:
                self._open_slot()
            if not await self._run_attempt(lease, slot, self._worker_id):
                return
            begun += 1
            if begun == ATTEMPTS_PER_SLICE:
                if self._spare:
                    return
                begun = 0
                await asyncio.sleep(0)

    async def _run_attempt(
        self, lease: Lease, slot: asyncio.Task[None], worker_id: WorkerId
    ) -> bool:
        """Run one attempt; return whether the slot is as clean as before it.

        It is not when the handler left context variables changed or a cancellation behind: such
        a slot closes, so that nothing leaks from one task into the next. Comparing two copies
        costs nothing as long as nothing changed, for then they share one tree.
        """
        context = self._execution.context(lease, worker_id)
        self._running[lease.token] = (lease, context, slot)
        self.begun += 1
        CURRENT.set(context)
        before = copy_context()
        settlement: Settlement | None = None
        clean = False
        following = log.isEnabledFor(logging.DEBUG)
        measured = following or self._journal is not None
        began_s = time.monotonic() if measured else 0.0
        if following:
            log.debug("task %s (%s) begins attempt %d", lease.task_id, lease.kind, lease.attempt)
        try:
            settlement = await self._execution.run(lease, context)
            clean = copy_context() == before and not slot.cancelling()
        except BaseException as error:  # noqa: BLE001 - whatever ends an attempt settles it
            if lease.token not in self._dropped:
                # Nobody here asked for it. The handler let a cancellation of its own escape, or
                # something that closes coroutines, or a verdict that makes no sense.
                settlement = self._execution.failed(lease, context, error)
        finally:
            del self._running[lease.token]
            if lease.token in self._dropped:
                settlement = released(lease) if self._dropped.pop(lease.token) else None
                clean = False
            if measured:
                event = Event.COMPLETE if context.settled else settlement and settlement.event
                line = Ran(lease.kind, lease.process_at, began_s, time.monotonic(), event)
                if self._journal is not None:
                    self._journal.append(line)
                if following:
                    _tell_end(lease, line)
            self._on_settled(settlement)
        return clean


def _tell_end(lease: Lease, ran: Ran) -> None:
    outcome = "lost" if ran.event is None else ran.event.value
    log.debug(
        "task %s (%s) ends attempt %d: %s",
        lease.task_id,
        lease.kind,
        lease.attempt,
        outcome,
        extra={"outcome": outcome, "ms": round((ran.ended_s - ran.began_s) * 1000, 3)},
    )


def released(lease: Lease) -> Settlement:
    """Return the settlement that gives ``lease`` back, as if it had never been claimed."""
    return Settlement(lease.task_id, lease.token, Event.RELEASE)
