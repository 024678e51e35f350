"""``GET /tasks/<id>/result``, and the result in ``GET /tasks/<id>``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taskscheduler import Context, Discard, Handlers, Worker
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.routes.events import end_streams

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Scheduler

pytestmark = pytest.mark.anyio

handlers = Handlers()


@handlers.register("sum")
async def add(_: Context, numbers: list[int]) -> dict[str, int]:
    if not numbers:
        raise Discard("nothing")
    return {"sum": sum(numbers)}


@pytest.fixture
def app(scheduler_in_memory: Scheduler) -> Any:
    return create_app(scheduler_in_memory, kinds={"sum": 1})


@pytest.fixture
async def client(app: Any) -> AsyncGenerator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):
        yield client


async def put(client: httpx.AsyncClient, *numbers: int) -> str:
    answer = await client.put("/tasks", json={"kind": "sum", "payload": numbers})
    return answer.json()["id"]


async def work(scheduler: Scheduler) -> None:
    worker = Worker(scheduler, handlers)
    await worker.drain()
    await worker.deregister()


async def test_a_result_is_shown(client: httpx.AsyncClient, scheduler_in_memory: Scheduler):
    task_id = await put(client, 1, 2)
    before = await client.get(f"/tasks/{task_id}/result")
    assert (before.status_code, before.json()) == (202, {"status": "Pending"})
    waiting = asyncio.create_task(client.get(f"/tasks/{task_id}/result?wait_s=60"))
    await work(scheduler_in_memory)
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json() == {"status": "Completed", "result": {"sum": 3}, "error": None}
    assert (await client.get(f"/tasks/{task_id}")).json()["result"] == {"sum": 3}
    assert (await client.get(f"/tasks/{task_id}/result")).json() == answer.json()


async def test_a_failure_is_shown(client: httpx.AsyncClient, scheduler_in_memory: Scheduler):
    task_id = await put(client)
    await work(scheduler_in_memory)
    answer = await client.get(f"/tasks/{task_id}/result")
    assert answer.status_code == 200
    assert answer.json() == {
        "status": "Failed",
        "result": None,
        "error": {"type": "Discard", "message": "nothing", "traceback": None},
    }


async def test_a_wait_ends(client: httpx.AsyncClient):
    task_id = await put(client, 1)
    answer = await client.get(f"/tasks/{task_id}/result?wait_s=0.01")
    assert (answer.status_code, answer.json()) == (202, {"status": "Pending"})


async def test_a_service_that_stops_is_not_waited_for(client: httpx.AsyncClient, app: Any):
    task_id = await put(client, 1)
    end_streams(app)
    answer = await client.get(f"/tasks/{task_id}/result?wait_s=60")
    assert answer.status_code == 202


@pytest.mark.parametrize("query", ["wait_s=61", "wait_s=-1", "wait_s=nan", "wait_s=x", "wait=1"])
async def test_what_makes_no_sense_is_refused(client: httpx.AsyncClient, query: str):
    task_id = await put(client, 1)
    answer = await client.get(f"/tasks/{task_id}/result?{query}")
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    unknown = await client.get("/tasks/01a22e0a-430a-71bb-9699-b08735490a43/result?wait_s=60")
    assert unknown.status_code == 404
