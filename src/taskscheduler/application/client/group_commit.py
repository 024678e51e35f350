"""Callers who store tasks at the same moment share one commit.

While one commit is under way, those who come gather for the next. A lone caller never waits:
there is no timer, only the commit before. Where several shared the last commit, the first who comes
back lets the event loop turn once, so that the others, who were told in the same turn, come along.
PostgreSQL's own ``commit_delay`` groups the flushes of
many connections; this groups the statements and round trips of one process as well.
"""

from __future__ import annotations

import asyncio
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.ports.tasks import TaskRepository
    from taskscheduler.domain.values import TaskId

BATCH_MAX: Final = 500


class GroupCommit:
    """Stores single tasks for many concurrent callers, a batch at a time."""

    def __init__(self, tasks: TaskRepository) -> None:
        """Store into ``tasks``."""
        self._tasks = tasks
        self._gathered: list[tuple[NewTask, asyncio.Future[TaskId]]] = []
        self._busy = False
        self._in_company = False
        self._rounds: set[asyncio.Task[None]] = set()

    async def put(self, task: NewTask) -> TaskId:
        """Store ``task`` and return its id once that is committed. Raises what the port raises."""
        if not self._busy and not self._in_company:
            self._busy = True
            try:
                return (await self._tasks.put([task]))[0]
            finally:
                self._next()
        committed: asyncio.Future[TaskId] = asyncio.get_running_loop().create_future()
        self._gathered.append((task, committed))
        if not self._busy:
            self._busy = True
            self._start_round()
        return await committed

    async def finish(self) -> None:
        """Wait for the commits that are under way."""
        while self._rounds:
            await asyncio.wait(self._rounds)

    def _next(self) -> None:
        self._busy = bool(self._gathered)
        if self._busy:
            self._start_round()

    def _start_round(self) -> None:
        # Done for many: no log line of it belongs to the one that began it.
        round_ = asyncio.create_task(self._run_round(), context=Variables())
        self._rounds.add(round_)
        round_.add_done_callback(self._rounds.discard)

    async def _run_round(self) -> None:
        waiting = [(task, waiter) for task, waiter in self._gathered if not waiter.done()]
        batch, self._gathered = waiting[:BATCH_MAX], waiting[BATCH_MAX:]
        self._in_company = len(batch) > 1
        if batch:
            await self._commit(batch)
        else:
            self._next()

    async def _commit(self, batch: list[tuple[NewTask, asyncio.Future[TaskId]]]) -> None:
        try:
            try:
                ids = await self._tasks.put([task for task, _ in batch])
            except Exception as error:  # noqa: BLE001 - whatever it is, it may be one caller's alone
                if len(batch) == 1:
                    _fail(batch[0][1], error)
                else:
                    await self._commit_one_by_one(batch)
            else:
                for (_, waiter), task_id in zip(batch, ids, strict=True):
                    if not waiter.done():
                        waiter.set_result(task_id)
        except BaseException as error:
            for _, waiter in batch:
                _fail(waiter, error)
            raise
        finally:
            self._next()

    async def _commit_one_by_one(self, batch: list[tuple[NewTask, asyncio.Future[TaskId]]]) -> None:
        """Give each caller its own answer: one caller's fault is not the others'."""
        for task, waiter in batch:
            try:
                (task_id,) = await self._tasks.put([task])
            except Exception as error:  # noqa: BLE001 - its caller's to hear, and nobody else's
                _fail(waiter, error)
            else:
                if not waiter.done():
                    waiter.set_result(task_id)


def _fail(waiter: asyncio.Future[TaskId], error: BaseException) -> None:
    if not waiter.done():
        waiter.set_exception(error)
