"""No more handlers at once than there are slots, and nothing leaks from one into the next."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from taskscheduler import Context, Handlers
from taskscheduler.application.worker.attempt import AttemptRunner
from taskscheduler.application.worker.context import CURRENT
from taskscheduler.application.worker.executor import Executor
from taskscheduler.application.worker.threads import Threads
from taskscheduler.domain.lease import Lease, Settlement
from taskscheduler.domain.status import Event
from taskscheduler.domain.values import TaskId, WorkerId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio

VARIABLE: ContextVar[str] = ContextVar("VARIABLE", default="unset")


class Bench:
    """Slots for handlers of kind ``job``, and what they settled."""

    def __init__(self, scheduler: Scheduler, threads: Threads) -> None:
        self.handlers = Handlers()
        self.settled: list[Settlement | None] = []
        self._execution = AttemptRunner(
            scheduler, self.handlers, threads=threads, random=lambda: 0.0
        )
        self._leased = 0

    def slots(self, size: int, *, may_begin: Callable[[], bool] = lambda: True) -> Executor:
        return Executor(
            self._execution, size=size, on_settled=self.settled.append, may_begin=may_begin
        )

    def leases(self, count: int) -> list[Lease]:
        first = self._leased + 1
        self._leased += count
        return [lease(token) for token in range(first, first + count)]

    def outcomes(self) -> list[tuple[int, Event] | None]:
        return [each and (each.token, each.event) for each in self.settled]


def lease(token: int) -> Lease:
    return Lease(
        task_id=TaskId(UUID(int=token)),
        token=token,
        kind="job",
        queue="default",
        priority=5,
        attempt=1,
        max_attempts=None,
        process_at=datetime(2026, 1, 1, tzinfo=UTC),
        timeout=None,
        payload_json=b"null",
    )


ME = WorkerId(1)


@pytest.fixture
def bench(scheduler_in_memory: Scheduler) -> Iterator[Bench]:
    with Threads(2) as threads:
        yield Bench(scheduler_in_memory, threads)


async def turns(condition: Callable[[], bool]) -> None:
    """Let the event loop turn until ``condition`` holds."""
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize("size", [1, 3, 50])
async def test_never_more_at_once_than_slots(bench: Bench, size: int) -> None:
    running = most = 0
    finish = asyncio.Event()

    @bench.handlers.register("job")
    async def handle(_: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await finish.wait()
        running -= 1

    slots = bench.slots(size)
    slots.submit(bench.leases(60), ME)
    await turns(lambda: running == size)
    assert (slots.free, slots.waiting) == (0, 60 - size)
    assert len(slots.tokens) == 60
    finish.set()
    await slots.idle()
    assert most == size
    assert (slots.free, slots.waiting, slots.begun) == (size, 0, 60)
    assert len(bench.settled) == 60


async def test_nothing_begins_that_may_not(bench: Bench) -> None:
    begun: list[TaskId] = []

    @bench.handlers.register("job")
    async def handle(context: Context) -> None:
        begun.append(context.id)

    slots = bench.slots(1, may_begin=lambda: len(begun) < 2)
    leases = bench.leases(5)
    slots.submit(leases, ME)
    await turns(lambda: len(bench.settled) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert begun == [each.task_id for each in leases[:2]]
    assert slots.take_waiting() == leases[2:]


async def test_handlers_that_never_wait_let_the_loop_turn(bench: Bench) -> None:
    turned = 0

    async def turn_beside() -> None:
        nonlocal turned
        while True:
            await asyncio.sleep(0)
            turned += 1

    @bench.handlers.register("job")
    async def handle(_: Context) -> None: ...

    beside = asyncio.create_task(turn_beside())
    slots = bench.slots(1)
    slots.submit(bench.leases(1000), ME)
    await slots.idle()
    beside.cancel()
    assert turned >= 20


async def test_context_variables_do_not_leak(bench: Bench) -> None:
    seen: list[str] = []
    current: list[Context | None] = []

    @bench.handlers.register("job")
    async def handle(context: Context) -> None:
        seen.append(VARIABLE.get())
        current.append(CURRENT.get())
        VARIABLE.set(f"of {context.token}")
        if context.token % 2:
            await asyncio.sleep(0)

    slots = bench.slots(2)
    slots.submit(bench.leases(20), ME)
    await slots.idle()
    assert seen == ["unset"] * 20
    assert sorted(context.token for context in current if context) == list(range(1, 21))
    assert VARIABLE.get() == "unset"


async def test_a_cancellation_does_not_leak(bench: Bench) -> None:
    begun: list[int] = []

    @bench.handlers.register("job")
    async def handle(context: Context) -> None:
        begun.append(context.token)
        if context.token == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        await asyncio.sleep(0)

    slots = bench.slots(1)
    slots.submit(bench.leases(2), ME)
    await slots.idle()
    assert begun == [1, 2]
    assert bench.outcomes() == [(1, Event.RETRY), (2, Event.COMPLETE)]


async def test_a_cancellation_asked_for_and_never_met_does_not_leak(bench: Bench) -> None:
    """The handler returns before it could be delivered."""

    @bench.handlers.register("job")
    async def handle(context: Context) -> None:
        if context.token == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
        else:
            await asyncio.sleep(0)

    slots = bench.slots(1)
    slots.submit(bench.leases(2), ME)
    await slots.idle()
    outcomes = dict(each for each in bench.outcomes() if each is not None)
    assert outcomes[2] is Event.COMPLETE


async def test_what_is_dropped_is_stopped_and_settled_by_nobody(bench: Bench) -> None:
    stopped: list[int] = []

    @bench.handlers.register("job")
    async def handle(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            assert context.cancelled
            stopped.append(context.token)

    slots = bench.slots(2)
    slots.submit(bench.leases(3), ME)
    await turns(lambda: slots.free == 0)
    assert slots.drop(1)
    assert not slots.drop(1)
    assert not slots.drop(99)
    assert slots.drop(3)
    await turns(lambda: len(bench.settled) == 2)
    assert stopped == [1]
    assert slots.drop(2)
    await slots.idle()
    assert bench.outcomes() == [None, None, None]


async def test_a_handler_that_does_not_let_itself_be_stopped_settles_nothing(bench: Bench) -> None:
    @bench.handlers.register("job")
    async def handle(_: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return

    slots = bench.slots(1)
    slots.submit(bench.leases(1), ME)
    await turns(lambda: slots.free == 0)
    slots.drop(1)
    await slots.idle()
    assert bench.outcomes() == [None]


async def test_a_slot_stopped_takes_the_next(bench: Bench) -> None:
    gate = asyncio.Event()

    @bench.handlers.register("job")
    async def handle(_: Context) -> None:
        await gate.wait()

    slots = bench.slots(1)
    slots.submit(bench.leases(2), ME)
    await turns(lambda: slots.free == 0)
    slots.drop(1)
    gate.set()
    await slots.idle()
    assert bench.outcomes() == [None, (2, Event.COMPLETE)]


async def test_all_may_be_dropped(bench: Bench) -> None:
    @bench.handlers.register("job")
    async def handle(_: Context) -> None:
        await asyncio.Event().wait()

    slots = bench.slots(2)
    slots.submit(bench.leases(5), ME)
    await turns(lambda: slots.free == 0)
    assert {each.token for each in slots.drop_all()} == {1, 2, 3, 4, 5}
    await slots.idle()
    assert bench.outcomes() == [None] * 5
    slots.submit(bench.leases(1), ME)
    assert slots.waiting == 1
    assert [each.token for each in slots.take_waiting()] == [6]
    await slots.idle()


async def test_an_unfit_payload_does_not_stop_the_slot(bench: Bench) -> None:
    @bench.handlers.register("job")
    async def handle(_: Context, number: int) -> None: ...

    slots = bench.slots(1)
    slots.submit(
        [each._replace(payload_json=b"3") if each.token == 2 else each for each in bench.leases(2)],
        ME,
    )
    await slots.idle()
    assert bench.outcomes() == [(1, Event.FAIL), (2, Event.COMPLETE)]
