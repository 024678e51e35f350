"""What becomes of an attempt, by what its handler did."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import Cancel, Context, Discard, Handlers, Retry, RetryPolicy, Snooze, Worker
from taskscheduler.domain.status import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler import Attempt, Scheduler, Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(max_attempts=3, base=timedelta(seconds=10), jitter=0)
SOON = timedelta(minutes=5)


class Bench:
    """One handler of kind ``job``, and a worker that runs it once."""

    def __init__(self, scheduler: Scheduler, clock: ManualClock) -> None:
        """Start without a handler."""
        self.scheduler = scheduler
        self.clock = clock

    async def run(
        self,
        handler: Callable[..., Any],
        payload: object = None,
        *,
        timeout: timedelta | None = None,  # noqa: ASYNC109 - of the handler
        timeout_of_task: timedelta | None = None,
        **options: Any,
    ) -> tuple[Task, list[Attempt]]:
        """Run one task; return it as it is then, and its attempts."""
        handlers = Handlers()
        handlers.register("job", retry=POLICY, timeout=timeout)(handler)
        task_id = await self.scheduler.schedule("job", payload, timeout=timeout_of_task, **options)
        worker = Worker(self.scheduler, handlers, random=lambda: 0.0)
        assert await worker.turn() == 1
        await worker.deregister()
        task = await self.scheduler.get(task_id)
        return task, [*await self.scheduler.attempts(task_id)]


@pytest.fixture
def bench(scheduler_in_memory: Scheduler, manual_clock: ManualClock) -> Bench:
    """A bench on memory."""
    return Bench(scheduler_in_memory, manual_clock)


def raising(error: BaseException) -> Callable[[Context], Any]:
    """Return a handler that raises ``error``."""

    async def handle(_: Context) -> None:
        raise error

    return handle


def returning(value: object) -> Callable[[Context], Any]:
    """Return a handler that returns ``value``."""

    async def handle(_: Context) -> object:
        return value

    return handle


@pytest.mark.parametrize("value", [None, 3, {"rows": [1, None]}, "Retry"])
async def test_to_return_is_to_complete(bench: Bench, value: object) -> None:
    """Whatever is returned, unless it is a verdict."""
    task, attempts = await bench.run(returning(value))
    assert task.status is TaskStatus.COMPLETED
    assert [attempt.error for attempt in attempts] == [None]


async def test_to_raise_is_to_be_tried_again(bench: Bench) -> None:
    """After the policy's wait; what was raised is on record."""
    task, (attempt,) = await bench.run(raising(ValueError("no such address\0")))
    assert task.status is TaskStatus.PENDING
    assert task.process_at == bench.clock.now() + timedelta(seconds=10)
    assert attempt.error is not None
    assert (attempt.error.type, attempt.error.message) == ("ValueError", "no such address\\0")
    assert attempt.error.traceback is not None
    assert "in handle\n    raise error" in attempt.error.traceback
    assert "application/worker/attempt.py" not in attempt.error.traceback


async def test_the_last_attempt_fails(bench: Bench) -> None:
    """The task's own number of attempts holds before the policy's."""
    task, (attempt,) = await bench.run(raising(ValueError("no")), max_attempts=1)
    assert task.status is TaskStatus.FAILED
    assert attempt.error is not None


@pytest.mark.parametrize("speak", [raising, returning])
@pytest.mark.parametrize(
    ("verdict", "status", "wait", "error"),
    [
        (Snooze(SOON), TaskStatus.PENDING, SOON, None),
        (Snooze(-SOON), TaskStatus.PENDING, timedelta(0), None),
        (Retry(SOON), TaskStatus.PENDING, SOON, "Retry"),
        (Retry(), TaskStatus.PENDING, timedelta(seconds=10), "Retry"),
        (Retry(-SOON), TaskStatus.PENDING, timedelta(0), "Retry"),
        (Cancel("unwanted"), TaskStatus.CANCELLED, None, "Cancel"),
        (Discard("hopeless"), TaskStatus.FAILED, None, "Discard"),
    ],
    ids=repr,
)
async def test_a_verdict_is_followed(
    bench: Bench,
    speak: Callable[[Any], Any],
    verdict: Any,
    status: TaskStatus,
    wait: timedelta | None,
    error: str | None,
) -> None:
    """Raised or returned."""
    task, attempts = await bench.run(speak(verdict))
    assert task.status is status
    if wait is not None:
        assert task.process_at == bench.clock.now() + wait
    assert [each.error and each.error.type for each in attempts] == ([error] if error else [])


async def test_the_longest_snooze_is_bounded(bench: Bench) -> None:
    """What no clock can add is cut."""
    task, _ = await bench.run(raising(Snooze(timedelta.max)))
    assert task.status is TaskStatus.PENDING


async def test_a_retry_of_the_last_attempt_fails(bench: Bench) -> None:
    """``after`` replaces the wait, not the count."""
    task, _ = await bench.run(raising(Retry(SOON)), max_attempts=1)
    assert task.status is TaskStatus.FAILED


class Abrupt(BaseException):
    """An exception of the kind that passes most handlers by."""


@pytest.mark.parametrize(
    "error", [SystemExit(3), Abrupt(), asyncio.CancelledError("mine")], ids=repr
)
async def test_a_handler_cannot_stop_the_worker(bench: Bench, error: BaseException) -> None:
    """Nor pass off a cancellation of its own as the worker's."""
    task, (attempt,) = await bench.run(raising(error))
    assert task.status is TaskStatus.PENDING
    assert attempt.error is not None
    assert attempt.error.type == type(error).__name__


async def test_errors_are_kept_bounded(bench: Bench) -> None:
    """However long their message."""
    _, (attempt,) = await bench.run(raising(ValueError("x" * 1_000_000)))
    assert attempt.error is not None
    assert len(attempt.error.message) <= 5_000
    assert len(attempt.error.traceback or "") <= 20_000


async def test_an_error_that_cannot_be_shown_is_still_kept(bench: Bench) -> None:
    """A handler's exception may be broken itself."""

    class Broken(Exception):
        def __str__(self) -> str:
            message = "broken"
            raise RuntimeError(message)

    task, (attempt,) = await bench.run(raising(Broken()))
    assert task.status is TaskStatus.PENDING
    assert attempt.error is not None
    assert attempt.error.type.endswith("Broken")


# -- payloads ----------------------------------------------------------------------------------


class Letter(msgspec.Struct):
    """A payload with depth."""

    to: list[str]


async def test_the_payload_arrives_decoded(bench: Bench) -> None:
    """As the annotated type."""
    seen: list[Letter] = []

    async def handle(_: Context, letter: Letter) -> None:
        seen.append(letter)

    await bench.run(handle, Letter(["zoe"]))
    assert seen == [Letter(["zoe"])]


@pytest.mark.parametrize(
    ("payload", "path"),
    [({"to": ["zoe", 3]}, "$.to[1]"), ({}, "`to`"), (None, "Expected `object`")],
)
async def test_a_payload_that_does_not_fit_fails_without_retries(
    bench: Bench, payload: object, path: str
) -> None:
    """The error names the place; the handler is not called."""
    called = False

    async def handle(_: Context, letter: Letter) -> None:
        nonlocal called
        called = True

    task, (attempt,) = await bench.run(handle, payload)
    assert task.status is TaskStatus.FAILED
    assert attempt.error is not None
    assert attempt.error.type == "InvalidPayload"
    assert path in attempt.error.message
    assert not called


# -- time --------------------------------------------------------------------------------------


@pytest.mark.parametrize("own", [False, True])
async def test_a_handler_that_takes_too_long_is_stopped(bench: Bench, *, own: bool) -> None:
    """The task's own timeout holds before the handler's."""

    async def handle(_: Context) -> None:
        await asyncio.Event().wait()

    short, long = timedelta(milliseconds=10), timedelta(days=1)
    task, (attempt,) = await bench.run(
        handle,
        timeout=long if own else short,
        max_attempts=1,
        timeout_of_task=short if own else None,
    )
    assert task.status is TaskStatus.FAILED
    assert attempt.error is not None
    assert attempt.error.type == "AttemptTimedOut"
    assert "0.01 s" in attempt.error.message


async def test_a_handlers_own_timeout_error_is_its_own(bench: Bench) -> None:
    """It does not pass for the attempt's."""
    task, (attempt,) = await bench.run(raising(TimeoutError("theirs")), timeout=SOON)
    assert task.status is TaskStatus.PENDING
    assert attempt.error is not None
    assert attempt.error.type == "TimeoutError"


# -- threads -----------------------------------------------------------------------------------


async def test_a_plain_function_runs_in_a_thread(bench: Bench) -> None:
    """Its verdicts count as well."""
    seen: list[object] = []

    def handle(context: Context, letter: Letter) -> Snooze:
        seen.extend((threading.current_thread() is threading.main_thread(), letter))
        seen.append(context.attempt)
        return Snooze(SOON)

    task, _ = await bench.run(handle, {"to": []})
    assert seen == [False, Letter([]), 1]
    assert task.process_at == bench.clock.now() + SOON


@pytest.mark.parametrize("error", [ValueError("no"), StopIteration("no")], ids=repr)
async def test_what_a_plain_function_raises_counts(bench: Bench, error: Exception) -> None:
    """StopIteration too, which asyncio cannot carry."""

    def handle(_: Context) -> None:
        raise error

    task, (attempt,) = await bench.run(handle)
    assert task.status is TaskStatus.PENDING
    assert attempt.error is not None


def plain(function: Callable[[Context], object]) -> Callable[[Context], object]:
    """Return a function of one parameter that calls ``function``."""

    def handle(context: Context) -> object:
        return function(context)

    return handle


async def test_a_plain_function_around_a_coroutine_function_runs_whole(bench: Bench) -> None:
    """Such as a decorator makes."""
    done: list[str] = []

    async def inner(_: Context) -> None:
        await asyncio.sleep(0)
        done.append("inner")

    task, _ = await bench.run(plain(inner))
    assert done == ["inner"]
    assert task.status is TaskStatus.COMPLETED


async def test_a_thread_that_takes_too_long_is_asked_to_stop(bench: Bench) -> None:
    """It cannot be stopped from outside; the attempt ends when it does."""
    stopped = threading.Event()

    def handle(context: Context) -> None:
        while not context.cancelled:
            stopped.wait(0.001)
        stopped.set()

    task, (attempt,) = await bench.run(handle, timeout=timedelta(milliseconds=10))
    assert stopped.is_set()
    assert task.status is TaskStatus.PENDING
    assert attempt.error is not None
    assert attempt.error.type == "AttemptTimedOut"


# -- the context -------------------------------------------------------------------------------


async def test_the_context_tells_of_the_task(bench: Bench) -> None:
    """All that a handler may want to know."""
    seen: list[Context] = []

    async def handle(context: Context) -> None:
        seen.append(context)

    task, _ = await bench.run(handle, {"a": 1}, queue="default", priority=2, max_attempts=1)
    (context,) = seen
    assert (context.id, context.kind, context.queue, context.priority) == (
        task.id,
        "job",
        "default",
        2,
    )
    assert (context.attempt, context.max_attempts, context.is_last_attempt) == (1, 1, True)
    assert (context.payload, context.payload_json) == ({"a": 1}, b'{"a":1}')
    assert context.process_at == task.process_at
    assert context.scheduler is bench.scheduler
    assert context.token > 0
    assert context.worker_id > 0
    assert not context.cancelled


async def test_completing_in_the_handlers_transaction(bench: Bench) -> None:
    """What is raised after it changes nothing any more."""

    async def handle(context: Context) -> None:
        async with context.transaction():
            pass
        message = "too late"
        raise ValueError(message)

    task, attempts = await bench.run(handle)
    assert task.status is TaskStatus.COMPLETED
    assert [attempt.error for attempt in attempts] == [None]


async def test_a_transaction_that_raises_does_not_complete(bench: Bench) -> None:
    """The attempt failed."""

    async def handle(context: Context) -> None:
        async with context.transaction():
            message = "no"
            raise ValueError(message)

    task, _ = await bench.run(handle)
    assert task.status is TaskStatus.PENDING


async def test_a_lease_lost_in_the_transaction_settles_nothing(bench: Bench) -> None:
    """The outcome is whoever's who took it."""

    async def handle(context: Context) -> None:
        await context.scheduler.cancel(context.id)
        async with context.transaction():
            pass

    task, _ = await bench.run(handle)
    assert task.status is TaskStatus.CANCELLED
