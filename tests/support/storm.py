"""A storm: workers that turn, crash and come back on one store, all drawn from one seed.

The idea is TigerBeetle's simulator: everything that may happen is chosen by a seeded generator, so
a seed that breaks a promise breaks it again at will. What is simulated here is a worker's whole
turn on any store: the crash comes at a chosen call to the store, before it was heard or after,
and takes with it all that the worker had in memory.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from random import Random
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.worker.handlers import Handlers
from taskscheduler.application.worker.worker import Worker
from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.query import LIMIT_MAX, TaskQuery
from taskscheduler.domain.retry import RetryPolicy
from taskscheduler.domain.verdicts import Cancel, Discard, Retry, Snooze
from taskscheduler.testing.clock import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from taskscheduler.application.store import Store
    from taskscheduler.application.worker.context import Context
    from taskscheduler.domain.values import TaskId

LEASE: Final = timedelta(seconds=10)
WORKERS: Final = 3
CALM_TURNS: Final = 200
MAX_ATTEMPTS: Final = 4


class Crash(BaseException):
    """The process is gone. No code of it may catch this and go on."""


@dataclass(slots=True)
class Witness:
    """What the handlers and the producer saw, outside the store."""

    acknowledged: dict[TaskId, datetime] = field(default_factory=dict)
    deleted: set[TaskId] = field(default_factory=set)
    ended: set[TaskId] = field(default_factory=set)
    begun: list[tuple[TaskId, int]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


class Doomed:
    """Stands before a port; at a chosen call the whole process crashes."""

    def __init__(self, port: Any, fate: Fate) -> None:
        """Hand calls on to ``port`` as long as ``fate`` allows."""
        self._port = port
        self._fate = fate

    def __getattr__(self, name: str) -> Any:
        """Return the port's method, which may be the last that is called."""
        method = getattr(self._port, name)
        if not inspect.iscoroutinefunction(method):
            return method

        async def call(*arguments: Any, **named: Any) -> Any:
            self._fate.check(heard=False)
            answer = await method(*arguments, **named)
            self._fate.check(heard=True)
            return answer

        setattr(self, name, call)  # found at once the next time
        return call


@dataclass(slots=True)
class Fate:
    """Counts down to the crash, if one is due; ``heard`` says on which side of the call."""

    calls: int | None = None
    heard: bool = False
    crashed: bool = False

    def check(self, *, heard: bool) -> None:
        """Crash here if it is time; after the crash every call crashes."""
        if self.crashed:
            raise Crash
        if self.calls is None:
            return
        if self.calls == 0 and heard == self.heard:
            self.crashed = True
            raise Crash
        if heard and self.calls > 0:
            self.calls -= 1


class Storm:
    """One run. ``blow`` makes the weather, ``calm`` lets it end, ``complaints`` judges it."""

    def __init__(self, store: Store, clock: ManualClock, seed: int) -> None:
        """Simulate on an empty ``store`` whose time is ``clock``'s."""
        self._store = store
        self._clock = clock
        self._random = Random(seed)
        self._witness = Witness()
        self._producer = Scheduler(store)
        self._handlers = self._make_handlers()
        self._workers = [self._make_worker() for _ in range(WORKERS)]
        self.crashes = 0

    async def blow(self, steps: int) -> None:
        """Do ``steps`` things, drawn at random."""
        choices: list[tuple[int, Callable[[], Any]]] = [
            (5, self._produce),
            (6, self._turn),
            (2, self._crash),
            (3, self._pass_time),
            (1, self._jump),
            (1, self._meddle),
        ]
        weights = [weight for weight, _ in choices]
        actions = [action for _, action in choices]
        for action in self._random.choices(actions, weights, k=steps):
            await action()

    async def calm(self) -> None:
        """Let live workers finish everything: whatever was acknowledged must come to an end."""
        for _ in range(CALM_TURNS):
            # Long steps: a clock that was set back by hours has to make up for them.
            self._clock.advance(minutes=20)
            await self._turn(self._workers[0])
            if await self._is_over():
                return

    async def complaints(self) -> list[str]:
        """Return what broke a promise, in words."""
        found = list(self._witness.complaints)
        for task_id in self._witness.acknowledged.keys() - self._witness.deleted:
            try:
                task = await self._producer.get(task_id)
            except TaskSchedulerError:
                found.append(f"lost: {task_id}")
                continue
            if not task.status.is_final:
                found.append(f"never ended: {task_id} is {task.status}")
            if task.attempt - task.excused > (task.max_attempts or MAX_ATTEMPTS):
                found.append(f"too many attempts: {task_id} had {task.attempt}")
        twice = {each for each in self._witness.begun if self._witness.begun.count(each) > 1}
        found.extend(f"two handlers under one token: {each}" for each in twice)
        return found

    # -- what may happen -------------------------------------------------------------------------

    async def _produce(self) -> None:
        delay = timedelta(seconds=self._random.choice((0, 0, 1, 30)))
        execute_at = self._clock.now() + delay
        task_id = await self._producer.schedule(
            self._random.choice(("good", "bad", "odd")),
            execute_at=execute_at,
            priority=self._random.randrange(10),
            max_attempts=MAX_ATTEMPTS,
        )
        self._witness.acknowledged[task_id] = execute_at

    async def _turn(self, worker: tuple[Worker, Fate] | None = None) -> None:
        turning, fate = worker or self._random.choice(self._workers)
        try:
            await turning.turn()
        except (Crash, BaseExceptionGroup):
            if not fate.crashed:
                raise
            self._bury(turning)
        await self._note_endings()

    async def _crash(self) -> None:
        turning, fate = self._random.choice(self._workers)
        fate.calls = self._random.randrange(8)
        fate.heard = self._random.random() < 0.5
        await self._turn((turning, fate))

    async def _pass_time(self) -> None:
        self._clock.advance(seconds=self._random.choice((1, 5, 11, 25)))

    async def _jump(self) -> None:
        self._clock.jump(hours=self._random.choice((-1, 1)))
        # A store clock set back may not undo what has been: the checks below go by its own time.

    async def _meddle(self) -> None:
        if not self._witness.acknowledged:
            return
        task_id = self._random.choice(list(self._witness.acknowledged))
        verb = self._random.choice(("cancel", "retry", "run_now", "delete"))
        with suppress(TaskSchedulerError):
            await getattr(self._producer, verb)(task_id)
            if verb == "delete":
                self._witness.deleted.add(task_id)
            if verb == "retry":
                self._witness.ended.discard(task_id)

    # -- pieces ----------------------------------------------------------------------------------

    def _make_worker(self) -> tuple[Worker, Fate]:
        fate = Fate()
        ports: Mapping[str, Any] = {
            name: Doomed(getattr(self._store, name), fate) for name in ("tasks", "workers")
        }
        scheduler = Scheduler(replace(self._store, **ports))
        worker = Worker(scheduler, self._handlers, concurrency=4, lease=LEASE, random=lambda: 0.0)
        return worker, fate

    def _bury(self, crashed: Worker) -> None:
        self.crashes += 1
        alive = [pair for pair in self._workers if pair[0] is not crashed]
        self._workers = [*alive, self._make_worker()]

    def _make_handlers(self) -> Handlers:
        handlers = Handlers()
        again = RetryPolicy(base=timedelta(seconds=1), jitter=0)

        @handlers.register("good", retry=again)
        async def good(context: Context) -> None:  # pyright: ignore[reportUnusedFunction]
            self._begin(context)

        @handlers.register("bad", retry=again)
        async def bad(context: Context) -> None:  # pyright: ignore[reportUnusedFunction]
            self._begin(context)
            message = "it failed"
            raise RuntimeError(message)

        @handlers.register("odd", retry=again)
        async def odd(context: Context) -> None:  # pyright: ignore[reportUnusedFunction]
            self._begin(context)
            number = self._random.randrange(100)
            if number < 20:
                raise Snooze(timedelta(seconds=3))
            if number < 40:
                raise Retry(timedelta(seconds=1))
            if number < 60:
                raise Cancel
            if number < 80:
                raise Discard

        return handlers

    def _begin(self, context: Context) -> None:
        self._witness.begun.append((context.id, context.token))
        if context.process_at > self._clock.now():
            self._witness.complaints.append(f"early: {context.id}")
        if context.id in self._witness.ended:
            self._witness.complaints.append(f"run after its end: {context.id}")

    async def _note_endings(self) -> None:
        tasks = await self._producer.list(TaskQuery(limit=LIMIT_MAX))
        self._witness.ended.update(task.id for task in tasks if task.status.is_final)

    async def _is_over(self) -> bool:
        tasks = await self._producer.list(TaskQuery(limit=LIMIT_MAX))
        return all(task.status.is_final for task in tasks)


async def storm(store: Store, clock: ManualClock, seed: int, steps: int = 40) -> list[str]:
    """Run the storm of ``seed`` on an empty ``store``; return the promises it broke, in words."""
    run = Storm(store, clock, seed)
    await run.blow(steps)
    await run.calm()
    return await run.complaints()


def storms_in_memory(first: int, last: int) -> dict[int, list[str]]:
    """Run the storms of the seeds from ``first`` up to ``last`` in memory; return the broken ones.

    Its own event loop runs them, so that several processes can share a long range.
    """

    async def run() -> dict[int, list[str]]:
        broken: dict[int, list[str]] = {}
        for seed in range(first, last):
            clock = ManualClock()
            if complaints := await storm(memory_store(clock, new_task_id), clock, seed):
                broken[seed] = complaints
        return broken

    logging.getLogger("taskscheduler").setLevel(logging.CRITICAL)  # crashes are no news here
    return asyncio.run(run())
