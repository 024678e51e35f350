"""One trace from whoever stores a task to its handler; and nothing at all when nobody traces."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest
from opentelemetry.trace import NoOpTracerProvider, SpanKind, StatusCode, format_trace_id

from taskscheduler import (
    Cancel,
    Context,
    Discard,
    Handlers,
    InvalidTask,
    Retry,
    RetryPolicy,
    Snooze,
    StoreUnavailable,
    TaskId,
    Worker,
)
from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.otel.tracing import OtelTracing
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller
from taskscheduler.domain.trace import TraceContext
from taskscheduler.testing import ManualClock
from tests.support.faults import Faulty
from tests.unit.spans import Spans, carried, facts, ids, ids_of_link, parent, traces, with_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


pytestmark = pytest.mark.anyio

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID: Final = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID: Final = 0xB7AD6B7169203331
PATIENCE_S: Final = 20.0
SOON: Final = RetryPolicy(max_attempts=2, base=timedelta(0))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def scheduler(spans: Spans, clock: ManualClock) -> AsyncGenerator[Scheduler]:
    store = memory_store(clock, new_task_id)
    async with Scheduler(store, OtelTracing(spans.provider)) as scheduler:
        yield scheduler


@pytest.fixture
def handlers(spans: Spans) -> Handlers:
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(_: Context) -> None:
        with spans.tracer.start_as_current_span("in the handler"):
            await asyncio.sleep(0)

    @handlers.register("plain")
    def plain(_: Context) -> None:
        with spans.tracer.start_as_current_span("in the handler"):
            pass

    @handlers.register("chain")
    async def chain(context: Context) -> None:
        await context.scheduler.schedule("mail")

    @handlers.register("number")
    async def number(_: Context, number: int) -> None:
        assert number >= 0

    @handlers.register("raise", retry=SOON)
    async def raise_(context: Context, reason: str) -> None:
        raise {
            "error": ValueError("no such address"),
            "retry": Retry(),
            "snooze": Snooze(timedelta(0)),
            "cancel": Cancel("not needed"),
            "discard": Discard("hopeless"),
            "once": LookupError("first") if context.attempt == 1 else Cancel("then"),
        }[reason]

    return handlers


# -- from the one who stores to the handler ------------------------------------------------------


@pytest.mark.parametrize("kind", ["mail", "plain"])
async def test_one_trace_from_storing_to_the_handler(
    scheduler: Scheduler, handlers: Handlers, spans: Spans, kind: str
) -> None:
    with spans.tracer.start_as_current_span("the caller's own"):
        task_id = await scheduler.schedule(kind, queue="default")
    assert await Worker(scheduler, handlers).turn() == 1
    outer, stored, ran, within = (
        spans.one(name) for name in ("the caller", f"schedule {kind}", f"process {kind}", "in the")
    )
    assert parent(stored) == ids(outer)
    assert await traces(scheduler, [task_id]) == {task_id: carried(stored)}
    assert parent(ran) == ids(stored)
    assert [ids_of_link(link) for link in ran.links] == [ids(stored)]
    assert parent(within) == ids(ran)
    assert (stored.kind, ran.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    shared = {
        "messaging.system": "taskscheduler",
        "messaging.destination.name": "default",
        "messaging.message.id": str(task_id),
        "taskscheduler.task.kind": kind,
    }
    assert facts(stored) == shared | {
        "messaging.operation.name": "schedule",
        "messaging.operation.type": "send",
    }
    assert facts(ran) == shared | {
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "taskscheduler.task.attempt": 1,
        "taskscheduler.task.outcome": "complete",
    }
    assert ran.status.status_code is StatusCode.UNSET


async def test_what_a_handler_stores_goes_on_with_its_trace(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    await scheduler.schedule("chain")
    await Worker(scheduler, handlers).drain()
    assert parent(spans.one("schedule mail")) == ids(spans.one("process chain"))
    assert parent(spans.one("process mail")) == ids(spans.one("schedule mail"))
    assert parent(spans.one("schedule chain")) is None


async def test_many_at_once_are_one_span(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    task_ids = await scheduler.schedule_many([("number", n) for n in range(5)] + [("mail", None)])
    stored = spans.one("schedule")
    assert stored.name == "schedule"
    assert facts(stored)["messaging.batch.message_count"] == 6
    assert "messaging.message.id" not in facts(stored)
    assert await traces(scheduler, task_ids) == dict.fromkeys(task_ids, carried(stored))
    await Worker(scheduler, handlers).turn()
    assert [parent(span) for span in spans.named("process")] == [ids(stored)] * 6


async def test_tasks_of_several_callers_keep_their_traces_apart(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    """Though they share a commit, and a batch with tasks that have no trace."""

    async def call(number: int) -> TaskId:
        with spans.tracer.start_as_current_span(f"call {number}"):
            return await scheduler.schedule("number", number)

    task_ids = await asyncio.gather(*map(call, range(8)))
    plain = await Scheduler(scheduler.store).schedule("number", 8)
    assert plain not in await traces(scheduler, [*task_ids, plain])
    await Worker(scheduler, handlers).turn()
    by_task = {facts(span)["messaging.message.id"]: span for span in spans.named("process")}
    for number, task_id in enumerate(task_ids):
        assert ids(by_task[str(task_id)])[0] == ids(spans.one(f"call {number}"))[0]
    assert parent(by_task[str(plain)]) is None


async def test_each_attempt_is_a_part_of_the_trace(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    await scheduler.schedule("raise", "error")
    await Worker(scheduler, handlers).drain()
    first, second = spans.named("process")
    stored = spans.one("schedule")
    for number, span in enumerate((first, second), start=1):
        assert parent(span) == ids(stored)
        assert facts(span)["taskscheduler.task.attempt"] == number
        assert facts(span)["error.type"] == "ValueError"
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description == "no such address"
        (event,) = span.events
        assert event.name == "exception"
        told = dict(event.attributes or {})
        assert "raise_" in str(told.pop("exception.stacktrace"))
        assert told == {"exception.type": "ValueError", "exception.message": "no such address"}
    assert facts(first)["taskscheduler.task.outcome"] == "retry"
    assert facts(second)["taskscheduler.task.outcome"] == "fail"


@pytest.mark.parametrize(
    ("reason", "outcome", "error"),
    [
        ("retry", "retry", "Retry"),
        ("snooze", "snooze", None),
        ("cancel", "cancel", None),
        ("discard", "fail", "Discard"),
    ],
)
async def test_a_verdict_is_told_as_what_it_is(
    scheduler: Scheduler,
    handlers: Handlers,
    spans: Spans,
    reason: str,
    outcome: str,
    error: str | None,
) -> None:
    await scheduler.schedule("raise", reason)
    await Worker(scheduler, handlers).turn()
    span = spans.one("process")
    assert facts(span)["taskscheduler.task.outcome"] == outcome
    assert facts(span).get("error.type") == error
    assert span.status.is_ok is (error is None)


async def test_a_payload_that_does_not_fit_is_an_error_of_the_span(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    await scheduler.schedule("number", "many")
    await Worker(scheduler, handlers).turn()
    assert facts(spans.one("process"))["error.type"] == "InvalidPayload"


async def test_an_attempt_that_is_called_off_ends_its_span(
    scheduler: Scheduler, spans: Spans
) -> None:
    handlers, began = Handlers(), asyncio.Event()

    @handlers.register("long")
    async def long(_: Context) -> None:
        began.set()
        await asyncio.Event().wait()

    task_id = await scheduler.schedule("long")
    worker = Worker(scheduler, handlers)
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(PATIENCE_S):
        await began.wait()
        await scheduler.cancel(task_id)
        while not spans.named("process"):
            await asyncio.sleep(0.001)
        worker.stop()
        await run
    span = spans.one("process")
    assert facts(span)["taskscheduler.task.outcome"] == "stopped"
    assert span.status.status_code is StatusCode.ERROR


async def test_storing_in_vain_is_an_error_of_the_span(scheduler: Scheduler, spans: Spans) -> None:
    faulty = Faulty(scheduler.store.tasks)
    faulty.refuse("put")
    broken = Scheduler(with_tasks(scheduler, faulty), scheduler.tracing)
    with pytest.raises(StoreUnavailable):
        await broken.schedule("mail")
    span = spans.one("schedule")
    assert facts(span)["error.type"] == "StoreUnavailable"
    assert span.status.status_code is StatusCode.ERROR


async def test_a_trace_that_cannot_be_looked_up_costs_no_attempt(
    scheduler: Scheduler, handlers: Handlers, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    faulty = Faulty(scheduler.store.tasks)
    faulty.refuse("traces_of")
    task_id = await scheduler.schedule("mail")
    worker = Worker(Scheduler(with_tasks(scheduler, faulty), scheduler.tracing), handlers)
    assert await worker.turn() == 1
    assert (await scheduler.get(task_id)).status.value == "Completed"
    assert parent(spans.one("process")) is None
    assert "the traces of 1 tasks are not known" in caplog.text


async def test_one_look_finds_the_traces_of_a_batch(
    scheduler: Scheduler, handlers: Handlers
) -> None:
    faulty = Faulty(scheduler.store.tasks)
    await scheduler.schedule_many([("number", n) for n in range(10)])
    worker = Worker(Scheduler(with_tasks(scheduler, faulty), scheduler.tracing), handlers)
    assert await worker.drain() == 10
    assert faulty.calls["traces_of"] == 1


async def test_what_a_key_stores_is_traced_too(scheduler: Scheduler, spans: Spans) -> None:
    acting = TenantScheduler(scheduler, Caller(name="ada", queue_prefix="ada."))
    one = await acting.schedule("mail", queue="ada.mails")
    (many,) = await acting.schedule_many([acting.prepare("mail", queue="ada.mails")])
    first, second = spans.named("schedule mail")
    assert await traces(scheduler, [one, many]) == {one: carried(first), many: carried(second)}


# -- off, or nobody there ------------------------------------------------------------------------


async def test_without_tracing_nothing_is_stored_or_asked(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    faulty = Faulty(scheduler.store.tasks)
    off = Scheduler(with_tasks(scheduler, faulty))
    with spans.tracer.start_as_current_span("the caller's own"):
        one = await off.schedule("mail")
        many = await off.schedule_many([("mail", None)] * 3)
    await Worker(off, handlers).drain()
    assert faulty.calls["traces_of"] == 0
    assert await traces(scheduler, [one, *many]) == {}
    assert spans.named("schedule") == spans.named("process") == []


async def test_without_a_provider_nothing_is_stored(clock: ManualClock, handlers: Handlers) -> None:
    store = memory_store(clock, new_task_id)
    async with Scheduler(store, OtelTracing(NoOpTracerProvider())) as scheduler:
        task_id = await scheduler.schedule("mail")
        assert await traces(scheduler, [task_id]) == {}
        assert await Worker(scheduler, handlers).turn() == 1


async def test_what_is_not_sampled_is_carried_on_unsampled(
    scheduler: Scheduler, handlers: Handlers, spans: Spans
) -> None:
    unsampled = TraceContext(PARENT[:-1] + "0", "vendor=1")
    traced, plain = scheduler.prepare("mail"), scheduler.prepare("number", 1)
    await scheduler.store.tasks.put([traced.but(trace=unsampled), plain])
    await Worker(scheduler, handlers).turn()
    assert [span.name for span in spans.named("process")] == ["process number"]


def test_nobody_who_does_not_trace_loads_opentelemetry() -> None:
    program = """
import asyncio, sys
sys.modules["fastapi"] = None  # which dependency-injector loads, and which loads opentelemetry
from taskscheduler import Handlers, Scheduler, Worker
from taskscheduler.entrypoints.http.app import create_app
async def main():
    handlers = Handlers()
    @handlers.register("mail")
    async def mail(context): ...
    async with Scheduler.in_memory() as scheduler:
        create_app(scheduler)
        await scheduler.schedule("mail")
        print(await Worker(scheduler, handlers).turn())
asyncio.run(main())
# Litestar asks for the names of attributes, which is all it loads.
parts = "opentelemetry.trace opentelemetry.sdk opentelemetry.exporter taskscheduler.adapters.otel"
print([name for name in sys.modules if name.startswith(tuple(parts.split()))])
"""
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines() == ["1", "[]"], ran.stderr


# -- the form ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("traceparent", "tracestate"),
    [
        ("", None),
        (PARENT.upper(), None),
        (PARENT + "\n", None),
        ("ff" + PARENT[2:], None),
        (PARENT, ""),
        (PARENT, "a=\n"),
        (PARENT, "é=1"),
        (PARENT, "a" * 513),
    ],
)
def test_only_what_has_the_form_is_stored(traceparent: str, tracestate: str | None) -> None:
    with pytest.raises(InvalidTask):
        TraceContext(traceparent, tracestate)


def test_the_current_span_is_told_in_hexadecimal(spans: Spans) -> None:
    tracing = OtelTracing(spans.provider)
    assert tracing.current() is None
    with spans.tracer.start_as_current_span("any") as span:
        context = span.get_span_context()
        assert tracing.current() == (format_trace_id(context.trace_id), f"{context.span_id:016x}")
