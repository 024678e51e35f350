"""Plain functions run in threads; one that does not stop keeps nobody's place."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, RetryPolicy, TaskStatus, Worker
from taskscheduler.application.worker import attempt
from taskscheduler.application.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
SOON = RetryPolicy(max_attempts=3, base=timedelta(0), jitter=0)


@pytest.fixture
def let_go(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let the threads go at the end of the test; abandon them soon."""
    monkeypatch.setattr(attempt, "THREAD_GRACE_S", 0.02)
    event = threading.Event()
    yield event
    event.set()


async def test_an_abandoned_threads_place_is_given_to_a_new_one(
    scheduler_in_memory: Scheduler, let_go: threading.Event
) -> None:
    """Two stuck functions at concurrency two, and a third task runs at its first attempt."""
    handlers = Handlers()
    called: list[Any] = []

    @handlers.register("stuck", timeout=timedelta(milliseconds=50))
    def stuck(_: Context) -> None:
        let_go.wait(PATIENCE_S)

    @handlers.register("plain", timeout=timedelta(seconds=5))
    def plain(context: Context) -> None:
        called.append(context.id)

    for _ in range(2):
        await scheduler_in_memory.schedule("stuck", max_attempts=1)
    worker = Worker(scheduler_in_memory, handlers, concurrency=2)
    async with asyncio.timeout(PATIENCE_S):
        assert await worker.turn() == 2
        assert worker.abandoned == 2
        third = await scheduler_in_memory.schedule("plain")
        assert await worker.turn() == 1
    task = await scheduler_in_memory.get(third)
    assert (task.status, task.attempt, called) == (TaskStatus.COMPLETED, 1, [third])
    await worker.turn()
    (registered,) = await scheduler_in_memory.store.workers.registered()
    assert registered.abandoned == 2
    let_go.set()
    async with asyncio.timeout(PATIENCE_S):
        while worker.abandoned:
            await asyncio.sleep(0.001)


class Late(Threads):
    """Its threads begin when the test says so."""

    gate = threading.Event()

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
        def begin() -> Any:
            assert self.gate.wait(PATIENCE_S)
            return function(*arguments, **options)

        return super().submit(begin)


async def test_the_time_of_a_plain_function_counts_from_when_it_begins(
    scheduler_in_memory: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long its thread was waited for."""
    monkeypatch.setattr("taskscheduler.application.worker.worker.Threads", Late)
    handlers = Handlers()

    @handlers.register("job", timeout=timedelta(milliseconds=200))
    def job(_: Context) -> None: ...

    task_id = await scheduler_in_memory.schedule("job", max_attempts=1)
    worker = Worker(scheduler_in_memory, handlers)
    turn = asyncio.create_task(worker.turn())
    await asyncio.sleep(0.4)
    Late.gate.set()
    async with asyncio.timeout(PATIENCE_S):
        assert await turn == 1
    assert (await scheduler_in_memory.get(task_id)).status is TaskStatus.COMPLETED


async def test_what_was_stopped_before_it_began_does_not_begin(
    scheduler_in_memory: Scheduler, monkeypatch: pytest.MonkeyPatch, let_go: threading.Event
) -> None:
    del let_go
    monkeypatch.setattr("taskscheduler.application.worker.worker.Threads", Late)
    monkeypatch.setattr(Late, "gate", threading.Event())
    handlers = Handlers()
    called: list[Context] = []
    handlers.register("job")(called.append)
    task_id = await scheduler_in_memory.schedule("job", max_attempts=1)
    worker = Worker(scheduler_in_memory, handlers)
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE_S):
        while not worker.busy:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        worker.stop()
        worker.stop()
        await run
    Late.gate.set()
    async with asyncio.timeout(PATIENCE_S):
        while worker.abandoned:
            await asyncio.sleep(0.001)
    task = await scheduler_in_memory.get(task_id)
    assert (task.status, task.attempt, called) == (TaskStatus.PENDING, 0, [])


async def test_where_there_can_be_no_thread_no_attempt_is_burned(
    scheduler_in_memory: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Threads):
        def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Any:
            message = "can't start new thread"
            raise RuntimeError(message)

    handlers = Handlers()
    called: list[Context] = []
    handlers.register("job")(called.append)
    task_id = await scheduler_in_memory.schedule("job", max_attempts=1)
    with monkeypatch.context() as patched:
        patched.setattr("taskscheduler.application.worker.worker.Threads", Full)
        assert await Worker(scheduler_in_memory, handlers).turn() == 1
    task = await scheduler_in_memory.get(task_id)
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
    assert task.process_at > task.created_at


def test_threads_are_used_again_and_end() -> None:
    threads = Threads(1)
    names = {threads.submit(threading.get_ident).result(PATIENCE_S) for _ in range(1)}
    done = threading.Event()
    first, second = threads.submit(done.wait), threads.submit(done.wait)
    done.set()
    assert first.result(PATIENCE_S)
    assert second.result(PATIENCE_S)
    assert names
    threads.shutdown()
    with pytest.raises(RuntimeError, match="no further calls"):
        threads.submit(print)


def test_a_thread_is_a_daemon_and_carries_exceptions() -> None:
    threads = Threads(1)
    assert threads.submit(lambda: threading.current_thread().daemon).result(PATIENCE_S)
    assert isinstance(threads.submit(fail).exception(PATIENCE_S), SystemExit)
    threads.shutdown()


def fail() -> None:
    raise SystemExit(3)
