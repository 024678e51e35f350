"""Settlements on their way to the store: gathered while one batch is written, sent as the next."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.application.backoff import Backoff
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable
from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from taskscheduler.domain.ports.tasks import TaskRepository

BATCH_MAX: Final = 2_000
AGAIN_S: Final = 60.0
"""How long a task waits whose outcome the store has refused, lest it is run again and again."""

log = logging.getLogger("taskscheduler.worker")


class Completer:
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
        self._aside: dict[int, Settlement] = {}
        self._filled = asyncio.Event()
        self._answer_lost = False
        self.fenced = 0
        """How many settlements came too late: the lease no longer held."""
        self.refused = 0
        """How many settlements the store refused for good: others were made in their place."""

    @property
    def backlog(self) -> int:
        """How many settlements the store does not have yet, but for those that it refuses."""
        return len(self._waiting) + len(self._sending)

    @property
    def tokens(self) -> Collection[int]:
        """The tokens of the leases that are still to be settled."""
        here = (*self._waiting, *self._sending, *self._aside.values())
        return {settlement.token for settlement in here}

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
            self._answer_lost = False
            self._sending = []
            self._on_room()
        self._filled.clear()

    async def _send(self, batch: list[Settlement]) -> None:
        try:
            await self._settle(batch)
        except (StoreUnavailable, SchemaMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - one of them is not to be stored: which?
            self._on_fault(error)
            for settlement in batch:
                await self._send_alone(settlement)

    async def _send_alone(self, settlement: Settlement) -> None:
        """Send one of a batch that was refused. What is refused twice is refused for good."""
        try:
            await self._settle([settlement])
        except (StoreUnavailable, SchemaMismatch):
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the others go on
            await self._replace(settlement, error)

    async def _settle(self, batch: list[Settlement]) -> None:
        try:
            not_held = await self._tasks.settle(batch)
        except BaseException:  # whatever it is, the store may have heard
            self._answer_lost = True
            raise
        if not_held:
            await self._report(batch, not_held)

    async def _replace(self, settlement: Settlement, why: Exception) -> None:
        """Settle a task otherwise whose outcome the store will not take.

        Kept as it is, that outcome would block all others, and the task would be InProgress for as
        long as this worker lives. So the task fails, in words; or where the store refuses that
        too, it is tried again later; or where its history cannot be written, put back unseen.
        """
        self.refused += 1
        which = {"task_id": str(settlement.task_id)}
        log.error(
            "the outcome (%s) of task %s cannot be stored",
            settlement.event.value,
            settlement.task_id,
            exc_info=why,
            extra=which,
        )
        for other in _in_its_place(settlement):
            try:
                await self._tasks.settle([other])
            except (StoreUnavailable, SchemaMismatch):
                raise
            except Exception as error:  # noqa: BLE001 - then the next
                log.error(  # noqa: TRY400 - its traceback was told above
                    "task %s cannot be settled by %s either: %s",
                    settlement.task_id,
                    other.event.value,
                    error,
                    extra=which,
                )
            else:
                return
        self._put_aside(settlement)

    def _put_aside(self, settlement: Settlement) -> None:
        """Try again in a minute, and so on: what the store refuses may be mended by somebody."""
        loop = asyncio.get_running_loop()
        self._aside[settlement.token] = settlement

        def again() -> None:
            if self._aside.pop(settlement.token, None) is not None:
                self.add(settlement)

        loop.call_later(AGAIN_S, again)

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


def _in_its_place(settlement: Settlement) -> Sequence[Settlement]:
    """Return what may be tried instead of a settlement that the store refuses, best first."""
    error = AttemptError("OutcomeNotStored", "the outcome could not be stored; see the log")
    task_id, token = settlement.task_id, settlement.token
    return (
        Settlement(task_id, token, Event.FAIL, error=error),
        Settlement(task_id, token, Event.RETRY, timedelta(seconds=AGAIN_S), error),
        Settlement(task_id, token, Event.SNOOZE, timedelta(seconds=AGAIN_S)),
    )
