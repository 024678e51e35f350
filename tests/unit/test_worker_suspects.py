"""Tasks that bring workers down are found out, and cost others neither attempts nor time."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler import Context, Handlers, TaskStatus, Worker
from taskscheduler.application.worker.suspects import HOLD_S, LOOK_EVERY_S, PATIENCE_S, Suspicion
from taskscheduler.domain.lease import SUSPECT_AFTER, Suspects, company
from taskscheduler.domain.why import Reason
from taskscheduler.domain.worker import Subscription, WorkerProfile
from taskscheduler.testing import ManualClock, drain, in_memory
from taskscheduler.testing.contracts.steps import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import TaskId
    from taskscheduler.application.client.scheduler import Scheduler

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)
PATIENCE = 20.0


async def crash(
    scheduler: Scheduler, clock: ManualClock, kind: str = "quiet", *, begin: bool = True
) -> int:
    """Claim all that is due as a worker that then falls silent for ever."""
    store = scheduler.store
    profile = WorkerProfile(
        name="doomed",
        queues=frozenset({"default"}),
        kinds={kind: 20},
        concurrency=9,
        lease=LEASE,
    )
    worker_id = await store.workers.register(profile)
    wanted = Subscription(queues=profile.queues, kinds=frozenset(profile.kinds))
    leases = await store.tasks.claim(worker_id, wanted, 100)
    if begin:
        for lease in leases:
            await store.tasks.begin(lease)
    clock.advance(LEASE + timedelta(seconds=1))
    return len(await store.workers.declare_dead(worker_id, 0)) or len(leases)


class Bench:
    """Suspects of kind ``quiet``, and others: ``job`` waits to be let go, ``quick`` does not."""

    def __init__(self, scheduler: Scheduler, clock: ManualClock) -> None:
        self.scheduler = scheduler
        self.clock = clock
        self.handlers = Handlers()
        self.let_go = asyncio.Event()
        self.release_suspects = asyncio.Event()
        self.running: list[str] = []
        self.seen: list[set[str]] = []
        self.most = 0

        @self.handlers.register("quiet")
        async def quiet(context: Context) -> None:
            await self._run(context, self.release_suspects)

        @self.handlers.register("job")
        async def job(context: Context) -> None:
            await self._run(context, self.let_go)

        @self.handlers.register("quick")
        async def quick(context: Context) -> None:
            await self._run(context, None)

    async def _run(self, context: Context, gate: asyncio.Event | None) -> None:
        self.running.append(context.kind)
        self.seen.append(set(self.running))
        self.most = max(self.most, len(self.running))
        try:
            await asyncio.sleep(0)
            if gate is not None:
                await gate.wait()
        finally:
            self.running.remove(context.kind)

    async def suspects(self, number: int) -> list[TaskId]:
        """Store tasks and let workers go down with them until they are suspect."""
        ids = [await self.scheduler.schedule("quiet") for _ in range(number)]
        for _ in range(SUSPECT_AFTER):
            assert await crash(self.scheduler, self.clock) == number
        return ids

    @asynccontextmanager
    async def working(self, worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
        run = asyncio.create_task(worker.run())
        try:
            yield run
        finally:
            self.let_go.set()
            self.release_suspects.set()
            worker.stop()
            async with asyncio.timeout(PATIENCE):
                await run

    async def get_when(self, task_id: TaskId, status: TaskStatus) -> None:
        async with asyncio.timeout(PATIENCE):
            while (await self.scheduler.get(task_id)).status is not status:
                await asyncio.sleep(0.001)


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    clock = ManualClock()
    async with in_memory(clock) as scheduler:
        yield Bench(scheduler, clock)


def test_company_is_halved_with_each_crash_until_each_is_alone() -> None:
    assert [company(excused, 12) for excused in range(2, 7)] == [6, 3, 1, 1, 1]
    assert company(2, 1) == company(32_767, 50) == 1


async def test_suspects_run_half_as_many_at_once(bench: Bench) -> None:
    """In turns, after as many crashes in company as make a suspect."""
    ids = await bench.suspects(4)
    bench.release_suspects.set()
    worker = Worker(bench.scheduler, bench.handlers, concurrency=4)
    assert [await worker.turn() for _ in range(3)] == [2, 2, 0]
    assert bench.most == 2
    for task_id in ids:
        task = await bench.scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.COMPLETED, SUSPECT_AFTER + 1)


async def test_in_the_end_each_runs_alone(bench: Bench) -> None:
    await bench.suspects(3)
    await crash(bench.scheduler, bench.clock)
    bench.release_suspects.set()
    worker = Worker(bench.scheduler, bench.handlers, concurrency=4)
    assert [await worker.turn() for _ in range(4)] == [1, 1, 1, 0]


async def test_what_had_not_begun_is_never_suspect(bench: Bench) -> None:
    """However many workers go down that had claimed it ahead."""
    task_id = await bench.scheduler.schedule("quiet")
    other = await bench.scheduler.schedule("quiet")
    for _ in range(SUSPECT_AFTER + 2):
        await crash(bench.scheduler, bench.clock, begin=False)
    for each in (task_id, other):
        assert (await bench.scheduler.get(each)).excused < SUSPECT_AFTER


async def test_a_running_worker_sets_suspects_apart(bench: Bench) -> None:
    """What else it holds runs before or after them, never beside them."""
    await bench.suspects(2)
    others = [await bench.scheduler.schedule("quick") for _ in range(20)]
    bench.release_suspects.set()
    worker = Worker(bench.scheduler, bench.handlers)
    async with asyncio.timeout(PATIENCE):
        await worker.run(until_drained=True)
    for task_id in others:
        task = await bench.scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 1)
    assert {"quiet"} in bench.seen
    assert all(seen == {"quiet"} for seen in bench.seen if "quiet" in seen)


async def test_a_busy_worker_leaves_suspects_alone(bench: Bench) -> None:
    """Other work goes on meanwhile, and ``why`` says what the suspect waits for."""
    (suspect,) = (await bench.suspects(2))[:1]
    long = await bench.scheduler.schedule("job")
    worker = Worker(bench.scheduler, bench.handlers)
    async with bench.working(worker):
        await bench.get_when(long, TaskStatus.IN_PROGRESS)
        for _ in range(3):
            quick = await bench.scheduler.schedule("quick", priority=0)
            await bench.get_when(quick, TaskStatus.COMPLETED)
        assert (await bench.scheduler.get(suspect)).status is TaskStatus.PENDING
        assert worker.suspects == 2
        (cause,) = (await bench.scheduler.why(suspect)).causes
        assert cause.reason is Reason.SUSPECT
        assert "2 workers went down" in cause.detail
        bench.let_go.set()
        await bench.get_when(suspect, TaskStatus.IN_PROGRESS)
        assert worker.runs_suspects
        bench.release_suspects.set()
        await bench.get_when(suspect, TaskStatus.COMPLETED)
    assert all(seen == {"quiet"} for seen in bench.seen if "quiet" in seen)


@pytest.mark.parametrize("twice", [False, True])
async def test_a_worker_that_runs_suspects_hears_that_it_is_to_stop(
    bench: Bench, *, twice: bool
) -> None:
    """At once when told twice, or else after its patience; no attempt is used up."""
    ids = await bench.suspects(2)
    spent = timedelta(minutes=5) if twice else timedelta(milliseconds=10)
    worker = Worker(bench.scheduler, bench.handlers, shutdown_timeout=spent)
    run = asyncio.create_task(worker.run())
    await until(lambda: bench.running)
    worker.stop()
    if twice:
        worker.stop()
    async with asyncio.timeout(PATIENCE):
        await run
    for task_id in ids:
        task = await bench.scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, SUSPECT_AFTER)


def test_a_worker_that_never_idles_holds_others_back_now_and_then() -> None:
    clock = ManualClock()
    suspicion = Suspicion(clock)
    assert suspicion.should_look()
    assert suspicion.take(None) is None
    assert not suspicion.should_look()
    clock.advance(seconds=LOOK_EVERY_S)
    assert suspicion.should_look()
    suspicion.take(Suspects(2, 5))
    assert suspicion.hold_left_s == 0
    clock.advance(seconds=PATIENCE_S)
    suspicion.take(Suspects(2, 6))
    assert suspicion.hold_left_s == pytest.approx(HOLD_S)
    clock.advance(seconds=HOLD_S)
    assert suspicion.hold_left_s == 0
    clock.advance(seconds=PATIENCE_S)
    assert suspicion.hold_left_s == pytest.approx(HOLD_S)
    assert suspicion.begin(Suspects(2, 6), 50) == 6
    assert suspicion.at_work
    assert suspicion.hold_left_s == 0
    assert suspicion.should_look()
    suspicion.end()
    suspicion.take(None)
    clock.advance(seconds=2 * PATIENCE_S)
    assert suspicion.hold_left_s == 0


async def test_after_its_deadline_a_task_is_not_started() -> None:
    """It ends without an attempt, and says why."""
    clock, handlers = ManualClock(), Handlers()
    begun: list[Context] = []
    handlers.register("quiet")(begun.append)
    async with in_memory(clock) as scheduler:
        task_id = await scheduler.schedule("quiet", expires_at=clock.now() + timedelta(seconds=1))
        clock.advance(seconds=1)
        await drain(scheduler, handlers)
        task = await scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.FAILED, 0)
        assert list(await scheduler.attempts(task_id)) == []
        (cause,) = (await scheduler.why(task_id)).causes
        assert "expires_at" in cause.detail
        assert not begun
