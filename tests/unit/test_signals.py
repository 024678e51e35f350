"""A handler waits for a signal: an approval, in a plain function."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import (
    Context,
    Handlers,
    InvalidTask,
    Scheduler,
    SignalExists,
    TaskNotFound,
    TaskStatus,
    Wait,
    Worker,
)
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

TIMEOUT = timedelta(days=3)


calls: list[str] = []


async def order(context: Context) -> Any:
    charged = await context.step("charge", lambda: calls.append("charged") or 7)
    answer = context.signal("approval")
    if answer is None and len(calls) == 1:
        calls.append("asked")
        return Wait("approval", TIMEOUT)
    return [charged, answer]


def hidden(context: Context) -> Any:
    return getattr(context, "sig" + "nal")("approval")


async def elsewhere(context: Context) -> Any:
    answer = hidden(context)
    if answer is None and not calls:
        calls.append("asked")
        raise Wait("approval", timeout=TIMEOUT)
    return answer


def in_thread(context: Context) -> Any:
    answer = hidden(context)
    if answer is None and not calls:
        calls.append("asked")
        raise Wait("approval", timeout=TIMEOUT)
    return answer


HANDLERS = [order, elsewhere, in_thread]


def worker_of(scheduler: Scheduler, handler: Callable[..., Any]) -> Worker:
    calls.clear()
    return Worker(scheduler, handlers_of(handler))


def handlers_of(handler: Callable[..., Any]) -> Handlers:
    handlers = Handlers()
    handlers.register("job")(handler)
    return handlers


@pytest.mark.parametrize("handler", HANDLERS)
@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval(
    scheduler_in_memory: Scheduler,
    manual_clock: ManualClock,
    handler: Callable[..., Any],
    *,
    approved: bool,
):
    scheduler = scheduler_in_memory
    worker = worker_of(scheduler, handler)
    task_id = await scheduler.schedule("job", max_attempts=1)
    await worker.drain()
    task = await scheduler.get(task_id)
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
    (cause, *_) = (await scheduler.why(task_id)).causes
    assert (cause.reason.value, cause.until) == ("WaitingForSignal", manual_clock.now() + TIMEOUT)
    assert "'approval'" in cause.detail
    if approved:
        sent = await scheduler.signal(task_id, "approval", {"ok": True})
        assert sent.process_at == manual_clock.now()
    else:
        manual_clock.advance(TIMEOUT)
    await worker.deregister()
    worker = Worker(scheduler, handlers_of(handler))
    await worker.drain()
    await worker.deregister()
    answer = {"ok": True} if approved else None
    expected = [7, answer] if handler is order else answer
    assert await scheduler.result(task_id, timeout=0) == expected
    assert (await scheduler.get(task_id)).attempt == 1


async def test_who_waits_for_what_it_has_fails_in_words(scheduler_in_memory: Scheduler):
    async def muddled(context: Context) -> None:
        context.signal("approval")
        raise Wait("approval")

    worker = worker_of(scheduler_in_memory, muddled)
    task_id = await scheduler_in_memory.schedule("job")
    await scheduler_in_memory.signal(task_id, "approval")
    await worker.drain()
    await worker.deregister()
    (attempt,) = await scheduler_in_memory.attempts(task_id)
    assert attempt.error is not None
    assert attempt.error.message == "waits for the signal 'approval', which it has"


async def test_what_cannot_be_sent(scheduler_in_memory: Scheduler):
    task_id = await scheduler_in_memory.schedule("job")
    with pytest.raises(InvalidTask, match="name: must be"):
        await scheduler_in_memory.signal(task_id, "no name")
    await scheduler_in_memory.signal(task_id, "approval", 1)
    with pytest.raises(SignalExists):
        await scheduler_in_memory.signal(task_id, "approval", 1)
    stranger = TenantScheduler(scheduler_in_memory, Caller(name="bob", queue_prefix="bob."))
    with pytest.raises(TaskNotFound):
        await stranger.signal(task_id, "other", 1)


@pytest.mark.parametrize("name", ["", "no name", 5, "x" * 129])
def test_a_wait_has_a_name(name: Any):
    with pytest.raises(ValueError, match="the signal's name must be"):
        Wait(name)
    with pytest.raises(TypeError, match="Wait: timeout must be a timedelta"):
        Wait("approval", 5)  # pyright: ignore[reportArgumentType]
