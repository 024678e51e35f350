"""Settlements on their way to the store: gathered while one batch is written, sent as the next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable, TaskSchedulerError
from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from taskscheduler.domain.ports import TaskRepository

BATCH_MAX: Final = 2_000

log = logging.getLogger("taskscheduler.worker")


class Outbox:
    """Keeps settlements until the store has them, whatever happens to the store meanwhile."""

    def __init__(
        self,
        tasks: TaskRepository,
        *,
        on_room: Callable[[], None],
        on_fault: Callable[[Exception], None] = lambda _: None,
    ) -> None:
        """``on_room`` is called whenever a batch has left, ``on_fault`` when one fails oddly."""
        self._on_fault = on_fault
        self._tasks = tasks
        self._on_room = on_room
        self._waiting: deque[Settlement] = deque()
        self._sending: list[Settlement] = []
        self._filled = asyncio.Event()
        self._answer_lost = False
        self.fenced = 0
        """How many settlements came too late: the lease no longer held."""

    @property
    def backlog(self) -> int:
        """How many settlements the store does not have yet."""
        return len(self._waiting) + len(self._sending)

    @property
    def tokens(self) -> Collection[int]:
        """The tokens of the leases that are still to be settled."""
        return {settlement.token for settlement in (*self._waiting, *self._sending)}

    def add(self, settlement: Settlement) -> None:
        """Take ``settlement`` over."""
        self._waiting.append(settlement)
        self._filled.set()

    async def run(self) -> None:
        """Send whatever comes, for ever; while the store is away, keep it and try again."""
        backoff = Backoff()
        while True:
            await self._filled.wait()
            try:
                await self.flush()
            except (StoreUnavailable, SchemaMismatch) as error:
                log.warning("%d outcomes wait for the store: %s", self.backlog, error)
                await backoff.sleep()
            except Exception as error:  # noqa: BLE001 - kept, and tried again: the worker goes on
                self._on_fault(error)
                await backoff.sleep()
            else:
                backoff.reset()

    async def flush(self) -> None:
        """Send all that waits now.

        Raises:
            StoreUnavailable: the rest is kept for the next call.
        """
        while self._sending or self._waiting:
            while self._waiting and len(self._sending) < BATCH_MAX:
                self._sending.append(self._waiting.popleft())
            await self._send(self._sending)
            self._sending = []
            self._on_room()
        self._filled.clear()

    async def _send(self, batch: list[Settlement]) -> None:
        try:
            not_held = await self._tasks.settle(batch)
        except (StoreUnavailable, asyncio.CancelledError):
            self._answer_lost = True
            raise
        except TaskSchedulerError:
            raise
        except Exception as error:  # noqa: BLE001 - one of them is not to be stored: which?
            if len(batch) == 1:
                await self._give_up(batch[0], error)
                return
            for settlement in batch:
                await self._send([settlement])
            return
        if not_held:
            await self._report(batch, not_held)
        self._answer_lost = False

    async def _give_up(self, settlement: Settlement, why: Exception) -> None:
        """Fail a task whose outcome the store will not take: kept, it would block all others."""
        which = {"task_id": str(settlement.task_id)}
        log.error(
            "the outcome of task %s cannot be stored",
            settlement.task_id,
            exc_info=why,
            extra=which,
        )
        error = AttemptError("OutcomeNotStored", "the outcome could not be stored; see the log")
        failed = Settlement(settlement.task_id, settlement.token, Event.FAIL, error=error)
        try:
            await self._tasks.settle([failed])
        except StoreUnavailable:
            raise
        except Exception:
            log.exception("task %s cannot be failed either", settlement.task_id, extra=which)

    async def _report(self, batch: list[Settlement], not_held: Collection[object]) -> None:
        lost = [settlement for settlement in batch if settlement.task_id in not_held]
        if self._answer_lost:
            # The first try may have been heard although its answer was not.
            made = await self._tasks.outcomes_of(lost)
            lost = [settlement for settlement in lost if settlement.task_id not in made]
        for settlement in lost:
            if settlement.event is Event.RELEASE:
                continue  # somebody else has it already: nothing is lost
            self.fenced += 1
            log.warning(
                "task %s: lease lost, its outcome (%s) does not count",
                settlement.task_id,
                settlement.event.value,
                extra={"task_id": str(settlement.task_id)},
            )
