"""Waiting for tasks to end: one look for all who wait in a process, however many they are.

The first look is taken at once, by all who come in the same turn of the event loop. While tasks go
on, looks come after growing pauses. A look over very many tasks takes its time, and the pause after
it is several times as long, so that waiting never keeps a process or its store busy.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context as Variables
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from taskscheduler.domain.errors import TaskNotFound, TaskSchedulerError

if TYPE_CHECKING:
    from taskscheduler.domain.notes import Ending
    from taskscheduler.domain.ports.results import Notes
    from taskscheduler.domain.values import TaskId

PAUSE_S: Final = 0.02
"""From the first look to the second."""
PAUSE_MAX_S: Final = 0.5
GROWTH: Final = 1.5
REST: Final = 10.0
"""A pause is so many times as long as the look before it, at least."""


FOR_EVER_S: Final = 1e9


def span_s(timeout: float | timedelta | None) -> float:
    """Return how many seconds ``timeout`` is. Raises TypeError, ValueError: it is no span."""
    if timeout is None:
        return FOR_EVER_S
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else float(timeout)
    if not seconds >= 0:
        message = f"timeout must be 0 or more seconds, not {timeout}"
        raise ValueError(message)
    return min(seconds, FOR_EVER_S)


class Waiters:
    """All who wait for tasks in one process."""

    def __init__(self, notes: Notes) -> None:
        """Look into ``notes``."""
        self._notes = notes
        self._waiting: dict[TaskId, set[asyncio.Future[Ending]]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._come = asyncio.Event()
        self._begun = 0
        self._taken = 0

    async def ending(self, task_id: TaskId, within_s: float) -> Ending | None:
        """Return how the task ended; None if it has not within so many seconds.

        Raises:
            TaskNotFound: there is no such task, or not any more.
            StoreUnavailable: the store cannot be asked.
        """
        ended: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(task_id, set())
        waiters.add(ended)
        self._come.set()
        comes_with = self._begun + 1
        if self._looking is None or self._looking.done():
            # Done for many: no log line of it belongs to the one that began it.
            self._looking = asyncio.create_task(self._look(), context=Variables())
        try:
            async with asyncio.timeout(within_s):
                return await ended
        except TimeoutError:
            if not ended.cancelled():
                return ended.result()  # it came in the same turn
            if self._taken >= comes_with:
                return None
        finally:
            waiters.discard(ended)
            if not waiters and self._waiting.get(task_id) is waiters:
                del self._waiting[task_id]
        # There was no time for any look: this is the one.
        found = await self._notes.endings([task_id])
        if task_id in found and found[task_id] is None:
            raise TaskNotFound(task_id)
        return found.get(task_id)

    async def finish(self) -> None:
        """Stop looking. Nobody waits any more."""
        if self._looking is not None:
            self._looking.cancel()
            with suppress(asyncio.CancelledError):
                await self._looking

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        pause_s = PAUSE_S
        while self._waiting:
            self._come.clear()
            began_s = loop.time()
            asked = list(self._waiting)
            self._begun += 1
            try:
                found = await self._notes.endings(asked)
            except TaskSchedulerError as error:
                for task_id in asked:
                    self._answer(task_id, error)
                continue
            self._taken = self._begun
            for task_id, ending in found.items():
                self._answer(task_id, TaskNotFound(task_id) if ending is None else ending)
            least_s = (loop.time() - began_s) * REST
            if await self._somebody_comes(max(pause_s, least_s)):
                # Let all who come at once be asked for at once.
                pause_s = max(PAUSE_S, least_s)
                await asyncio.sleep(min(PAUSE_S, least_s))
            else:
                pause_s = min(pause_s * GROWTH, PAUSE_MAX_S)

    async def _somebody_comes(self, within_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._come.wait()
        return self._come.is_set()

    def _answer(self, task_id: TaskId, answer: Ending | TaskSchedulerError) -> None:
        for waiter in self._waiting.pop(task_id, ()):
            if waiter.done():
                continue
            if isinstance(answer, TaskSchedulerError):
                waiter.set_exception(answer)
            else:
                waiter.set_result(answer)
