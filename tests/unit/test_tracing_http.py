"""A request is a span of its caller's trace, and so is what it stores."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from taskscheduler import TaskId
from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.otel.tracing import OtelTracing
from taskscheduler.adapters.system import new_task_id
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.trace import TraceContext
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.testing import ManualClock
from tests.support.faults import Faulty
from tests.unit.spans import Spans, facts, ids, parent, traces, with_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TRACE_ID: Final = 0x0AF7651916CD43DD8448EB211C80319C
SPAN_ID: Final = 0xB7AD6B7169203331


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def scheduler(spans: Spans) -> AsyncGenerator[Scheduler]:
    store = memory_store(ManualClock(), new_task_id)
    async with Scheduler(store, OtelTracing(spans.provider)) as scheduler:
        yield scheduler


@asynccontextmanager
async def calling(scheduler: Scheduler) -> AsyncGenerator[httpx.AsyncClient]:
    app = create_app(scheduler, kinds={"mail": 1}, open_scheduler=False)
    served: Any = app
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://t") as asked:
        yield asked


async def test_a_request_goes_on_with_its_callers_trace(scheduler: Scheduler, spans: Spans) -> None:
    headers = [("traceparent", PARENT), ("tracestate", "a=1"), ("tracestate", "b=2")]
    async with calling(scheduler) as client:
        answer = await client.put("/tasks", json={"kind": "mail"}, headers=headers)
    assert answer.status_code == 201
    task_id = answer.json()["id"]
    served, stored = spans.one("PUT"), spans.one("schedule")
    assert served.name == "PUT /tasks"
    assert served.kind is SpanKind.SERVER
    assert parent(served) == (TRACE_ID, SPAN_ID)
    assert facts(served) == {
        "http.request.method": "PUT",
        "url.path": "/tasks",
        "http.route": "/tasks",
        "http.response.status_code": 201,
    }
    assert parent(stored) == ids(served)
    assert facts(stored)["messaging.message.id"] == task_id
    (kept,) = (await traces(scheduler, [TaskId(UUID(task_id))])).values()
    assert kept == TraceContext(f"00-{TRACE_ID:032x}-{ids(stored)[1]:016x}-01", "a=1,b=2")


@pytest.mark.parametrize(
    "given",
    [
        "garbage",
        "",
        "00-" + "0" * 32 + "-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-" + "0" * 16 + "-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
        PARENT + "-more",
        "00-" + "é" * 32 + "-b7ad6b7169203331-01",
        "x" * 5_000,
    ],
)
async def test_a_malformed_context_is_as_good_as_none(
    scheduler: Scheduler, spans: Spans, given: str, caplog: pytest.LogCaptureFixture
) -> None:
    headers = [(b"traceparent", given.encode()), (b"tracestate", b"\xff==")]
    async with calling(scheduler) as client:
        answer = await client.put("/tasks", json={"kind": "mail"}, headers=headers)
    assert answer.status_code == 201
    assert parent(spans.one("PUT")) is None
    assert not [r for r in caplog.records if r.name.startswith("opentelemetry")]


async def test_two_contexts_are_as_good_as_none(scheduler: Scheduler, spans: Spans) -> None:
    async with calling(scheduler) as client:
        await client.get("/tasks", headers=[("traceparent", PARENT), ("traceparent", PARENT)])
    assert parent(spans.one("GET")) is None


async def test_a_span_says_what_was_answered(scheduler: Scheduler, spans: Spans) -> None:
    faulty = Faulty(scheduler.store.tasks)
    faulty.refuse("get")
    async with calling(Scheduler(with_tasks(scheduler, faulty), scheduler.tracing)) as client:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        assert spans.named("GET") == []
        path = f"/tasks/{new_task_id()}"
        assert (await client.get(f"{path}/attempts?limit=7")).status_code == 503
        assert (await client.get(path)).status_code == 404
        assert (await client.request("BREW", "/pot")).status_code == 404
    away, unknown = spans.named("GET /tasks/")
    assert facts(away)["url.path"] == f"{path}/attempts"
    assert facts(away)["error.type"] == "503"
    assert away.status.status_code is StatusCode.ERROR
    assert unknown.status.status_code is StatusCode.UNSET
    assert facts(spans.one("_OTHER"))["http.request.method"] == "_OTHER"
    assert "http.route" not in facts(spans.one("_OTHER"))
