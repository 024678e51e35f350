"""Whatever a handler does, its task does not stay InProgress, and the attempt is counted."""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from taskscheduler import (
    Cancel,
    Context,
    Discard,
    Handlers,
    Retry,
    RetryPolicy,
    Snooze,
    TaskStatus,
    Worker,
)
from taskscheduler.domain.errors import InvalidHandler, LeaseLost
from taskscheduler.domain.values import TaskId

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler import Attempt, Scheduler, Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(max_attempts=3, base=timedelta(seconds=10), jitter=0)


class Bench:
    """A handler of kind ``job`` that runs once, and then another task, which must run as well."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler

    async def run(
        self, handler: Callable[..., Any], *, retry: Any = POLICY
    ) -> tuple[Task, list[Attempt]]:
        handlers = Handlers()
        handlers.register("job", retry=retry)(handler)

        @handlers.register("next")
        async def following(_: Context) -> None: ...

        task_id = await self.scheduler.schedule("job", {"a": 1})
        worker = Worker(self.scheduler, handlers, random=lambda: 0.0, concurrency=2)
        async with asyncio.timeout(20):
            assert await worker.turn() == 1
            other = await self.scheduler.schedule("next")
            assert await worker.turn() == 1
        assert worker.backlog == 0
        assert (await self.scheduler.get(other)).status is TaskStatus.COMPLETED
        await worker.deregister()
        task = await self.scheduler.get(task_id)
        return task, [*await self.scheduler.attempts(task_id)]


@pytest.fixture
def bench(scheduler_in_memory: Scheduler) -> Bench:
    return Bench(scheduler_in_memory)


def in_a_thread(act: Callable[[Context], Any]) -> Callable[[Context], Any]:
    def handle(context: Context) -> Any:
        return act(context)

    return handle


def on_the_loop(act: Callable[[Context], Any]) -> Callable[[Context], Any]:
    async def handle(context: Context) -> Any:
        return act(context)

    return handle


def fails(error: BaseException) -> Any:
    raise error


def tampered(verdict: Any, **facts: Any) -> Any:
    for name, value in facts.items():
        setattr(verdict, name, value)
    return verdict


class Mute(Exception):
    """Cannot be described."""

    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


class Fatal(Exception):
    """Ends whoever describes it."""

    def __str__(self) -> str:
        raise KeyboardInterrupt


class Noted(Exception):
    """Has notes that are none."""

    @property
    def __notes__(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        raise SystemExit(3)


class OddText(str):
    """A text with methods of its own."""

    __slots__ = ()

    def encode(self, *_: Any, **__: Any) -> bytes:
        raise RuntimeError


class Odd(Exception):
    """Says something that is hardly a text."""

    def __str__(self) -> str:
        return OddText("odd")


def with_broken_line() -> BaseException:
    error = SyntaxError("bad")
    error.text, error.lineno, error.offset = object(), object(), object()  # pyright: ignore[reportAttributeAccessIssue]
    return error


RETRIED: list[tuple[str, Callable[[Context], Any], str]] = [
    ("Snooze of a number", lambda _: fails(Snooze(30)), "TypeError"),  # pyright: ignore[reportArgumentType]
    ("Snooze of nothing", lambda _: fails(Snooze(None)), "TypeError"),  # pyright: ignore[reportArgumentType]
    ("Retry after a number", lambda _: fails(Retry(after=1)), "TypeError"),  # pyright: ignore[reportArgumentType]
    ("a verdict returned with a number", lambda _: tampered(Snooze(timedelta(1)), delay=3), ""),
    ("a wait that is none", lambda _: fails(tampered(Retry(), after="soon")), "Retry"),
    ("an own LeaseLost", lambda c: fails(LeaseLost(c.id)), "LeaseLost"),
    ("a foreign LeaseLost", lambda c: fails(LeaseLost(TaskId(c.id))), "LeaseLost"),
    ("GeneratorExit", lambda _: fails(GeneratorExit()), "GeneratorExit"),
    ("KeyboardInterrupt", lambda _: fails(KeyboardInterrupt()), "KeyboardInterrupt"),
    ("SystemExit", lambda _: fails(SystemExit(0)), "SystemExit"),
    ("CancelledError", lambda _: fails(asyncio.CancelledError()), "CancelledError"),
    ("MemoryError", lambda _: fails(MemoryError()), "MemoryError"),
    ("mute", lambda _: fails(Mute()), "Mute"),
    ("fatal", lambda _: fails(Fatal()), "Fatal"),
    ("notes", lambda _: fails(Noted()), "Noted"),
    ("odd", lambda _: fails(Odd()), "Odd"),
    ("line", lambda _: fails(with_broken_line()), "SyntaxError"),
    ("group", lambda _: fails(ExceptionGroup("g", [Mute(), ValueError("x")])), "ExceptionGroup"),
]


@pytest.mark.parametrize("where", [in_a_thread, on_the_loop])
@pytest.mark.parametrize(
    ("act", "error"), [each[1:] for each in RETRIED], ids=[each[0] for each in RETRIED]
)
async def test_it_is_tried_again_and_says_why(
    bench: Bench, where: Any, act: Callable[[Context], Any], error: str
) -> None:
    task, (attempt,) = await bench.run(where(act))
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 1)
    assert attempt.error is not None
    assert attempt.error.type == error or not error


ENDED: list[tuple[Callable[[], BaseException], TaskStatus, str]] = [
    (lambda: Discard(ValueError("no such order")), TaskStatus.FAILED, "ValueError: no such order"),
    (lambda: Discard(KeyError()), TaskStatus.FAILED, "KeyError"),
    (lambda: Discard(None), TaskStatus.FAILED, "None"),
    (lambda: Cancel(404), TaskStatus.CANCELLED, "404"),
    (lambda: Cancel(Mute()), TaskStatus.CANCELLED, "Mute, which cannot be described"),
    (lambda: tampered(Cancel(), reason=404), TaskStatus.CANCELLED, "404"),
    (lambda: tampered(Discard(), reason=b"\0"), TaskStatus.FAILED, "b'\\x00'"),
]


@pytest.mark.parametrize("where", [in_a_thread, on_the_loop])
@pytest.mark.parametrize(("verdict", "status", "message"), ENDED)
async def test_a_reason_may_be_anything(
    bench: Bench,
    where: Any,
    verdict: Callable[[], BaseException],
    status: TaskStatus,
    message: str,
) -> None:
    def speak(_: Context) -> Any:
        return fails(verdict())

    task, (attempt,) = await bench.run(where(speak))
    assert task.status is status
    assert attempt.error is not None
    assert attempt.error.message == message


@dataclasses.dataclass
class Raising:
    """A payload whose own code looks for something that is not there."""

    a: int

    def __post_init__(self) -> None:
        raise KeyError("rate")


class Interrupted(msgspec.Struct):
    """A payload whose own code ends by what ends programs."""

    a: int

    def __post_init__(self) -> None:
        raise KeyboardInterrupt


async def test_what_a_payloads_own_code_raises_fails_the_task(bench: Bench) -> None:
    async def handle(_: Context, payload: Raising) -> None: ...

    task, (attempt,) = await bench.run(handle)
    assert (task.status, task.attempt) == (TaskStatus.FAILED, 1)
    assert attempt.error is not None
    assert (attempt.error.type, attempt.error.message) == ("InvalidPayload", "KeyError: 'rate'")


async def test_a_payload_that_ends_programs_ends_an_attempt(bench: Bench) -> None:
    async def handle(_: Context, payload: Interrupted) -> None: ...

    task, (attempt,) = await bench.run(handle)
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 1)
    assert attempt.error is not None
    assert attempt.error.type == "KeyboardInterrupt"


class Broken(RetryPolicy):
    """A policy of a user's own."""

    def delay(self, attempt: int, random: Callable[[], float]) -> timedelta:
        del attempt, random
        raise ZeroDivisionError


class Numeric(RetryPolicy):
    """One that counts in seconds."""

    def delay(self, attempt: int, random: Callable[[], float]) -> Any:
        del attempt, random
        return 5


@pytest.mark.parametrize("policy", [Broken(), Numeric()])
async def test_a_policy_that_gives_no_wait_does_not_keep_the_task(
    bench: Bench, policy: RetryPolicy
) -> None:
    task, (attempt,) = await bench.run(on_the_loop(lambda _: fails(ValueError("x"))), retry=policy)
    assert task.status is TaskStatus.PENDING
    assert task.process_at > task.created_at
    assert attempt.error is not None
    assert attempt.error.type == "ValueError"


async def test_a_lost_lease_of_its_own_is_another_workers(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
) -> None:
    """What ``context.transaction`` found out is believed."""
    handlers = Handlers()

    @handlers.register("job")
    async def job(context: Context) -> None:
        await scheduler_in_memory.cancel(context.id)
        async with context.transaction():
            pass

    task_id = await scheduler_in_memory.schedule("job")
    worker = Worker(scheduler_in_memory, handlers)
    assert await worker.turn() == 1
    assert (worker.backlog, worker.fenced) == (0, 0)
    assert (await scheduler_in_memory.get(task_id)).status is TaskStatus.CANCELLED


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": 5},
        {"timeout": timedelta(0)},
        {"timeout": timedelta(seconds=-1)},
        {"timeout": timedelta.max},
        {"retry": 5},
        {"retry": None},
    ],
)
def test_options_that_make_no_sense_are_refused_when_registered(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidHandler, match="'job'"):
        Handlers().register("job", **options)


@pytest.mark.parametrize("kind", [print, 5, None, b"job"])
def test_a_kind_is_a_name(kind: Any) -> None:
    with pytest.raises(InvalidHandler, match="must be its name"):
        Handlers().register(kind)


@pytest.mark.parametrize(
    "options",
    [
        {"base": 5},
        {"cap": 3600},
        {"max_attempts": 2.5},
        {"max_attempts": True},
        {"max_attempts": "3"},
    ],
)
def test_a_policy_says_what_is_wrong_with_it(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a"):
        RetryPolicy(**options)
