"""Batches, by the library, a worker and HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import pytest

from taskscheduler import (
    BatchNotFound,
    BatchSealed,
    Handlers,
    InvalidTask,
    SyncScheduler,
    TaskFailed,
    TaskStatus,
    Worker,
)
from taskscheduler.domain.verdicts import Discard
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.testing import ManualClock, in_memory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Context, Scheduler

pytestmark = pytest.mark.anyio

NOBODYS: Final = UUID("018e917e-0000-7000-8000-000000000000")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def scheduler() -> AsyncGenerator[Scheduler]:
    async with in_memory(ManualClock()) as scheduler:
        yield scheduler


@pytest.fixture
async def client(scheduler: Scheduler) -> AsyncGenerator[httpx.AsyncClient]:
    app: Any = create_app(scheduler, kinds={"Foo": 1})
    async with (
        app.lifespan(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield client


async def test_the_follower_reads_what_the_others_returned(scheduler: Scheduler):
    handlers = Handlers()

    @handlers.register("part")
    async def part(context: Context, number: int) -> int:
        if number == 7:
            raise Discard("no")
        return number

    @handlers.register("sum")
    async def add_up(context: Context) -> dict[str, int]:
        numbers = failed = 0
        async for each in context.results():
            if isinstance(each, TaskFailed):
                failed += 1
            else:
                numbers += each
        return {"sum": numbers, "failed": failed}

    batch = await scheduler.batches.make("all", then=("sum", None), when="ended")
    assert batch.then is not None
    await scheduler.schedule_many(
        [scheduler.prepare("part", number, batch=batch.id) for number in range(2_500)]
    )
    await Worker(scheduler, handlers).drain()
    assert (await scheduler.get(batch.then)).status is TaskStatus.PENDING
    assert (await scheduler.batches.seal(batch.id)).ended_at is not None
    await Worker(scheduler, handlers).drain()
    found = await scheduler.result(batch.then, timeout=0)
    assert found == {"sum": sum(range(2_500)) - 7, "failed": 1}
    assert len(await scheduler.batches.tasks(batch.id, limit=10)) == 10


async def test_an_empty_batch_has_no_results(scheduler: Scheduler):
    handlers = Handlers()

    @handlers.register("sum")
    async def add_up(context: Context) -> int:
        return len(await context.results())

    batch = await scheduler.batches.make(then=scheduler.prepare("sum"))
    assert batch.then is not None
    await scheduler.batches.seal(batch.id)
    await Worker(scheduler, handlers).drain()
    assert await scheduler.result(batch.then, timeout=0) == 0


async def test_what_cannot_be_made(scheduler: Scheduler):
    for options in (
        {"name": ""},
        {"name": "x" * 257},
        {"name": "a\nb"},
        {"when": "ended"},
        {"then": ("Foo", None), "otherwise": "no"},
        {"then": scheduler.prepare("Foo", after=[NOBODYS])},
    ):
        with pytest.raises(InvalidTask):
            await scheduler.batches.make(**options)  # pyright: ignore[reportArgumentType]
    assert await scheduler.batches.list() == []
    with pytest.raises(BatchNotFound):
        await scheduler.schedule("Foo", batch=NOBODYS)
    batch = await scheduler.batches.make()
    await scheduler.batches.seal(batch.id)
    with pytest.raises(BatchSealed):
        await scheduler.schedule("Foo", batch=batch.id)


def test_blocking():
    with SyncScheduler.in_memory() as scheduler:
        batch = scheduler.batches.make("b", then=("Foo", None))
        scheduler.schedule("Foo", batch=batch.id)
        assert scheduler.batches.get(batch.id).total == 1
        assert [each.id for each in scheduler.batches.list()] == [batch.id]
        assert scheduler.batches.seal(batch.id).sealed_at is not None


async def test_by_http(client: httpx.AsyncClient):
    then = {"kind": "Foo", "payload": {"a": 1}, "when": "ended", "otherwise": "run"}
    answer = await client.post("/batches", json={"name": "import", "then": then})
    assert answer.status_code == 201, answer.text
    batch_id = answer.json()["id"]
    assert list(answer.json()) == ["id"]
    assert answer.headers["location"] == f"/batches/{batch_id}"
    ids = []
    for _ in range(2):
        stored = await client.put("/tasks", json={"kind": "Foo", "batch": batch_id})
        assert stored.status_code == 201
        ids.append(stored.json()["id"])
    many = [{"kind": "Foo", "batch": batch_id}, {"kind": "Foo"}]
    ids += (await client.post("/tasks/batch", json=many)).json()["ids"][:1]
    batch = (await client.get(f"/batches/{batch_id}")).json()
    assert {key: batch[key] for key in ("id", "name", "sealed_at", "ended_at", "total")} == {
        "id": batch_id,
        "name": "import",
        "sealed_at": None,
        "ended_at": None,
        "total": 3,
    }
    counts = ("pending", "completed", "failed", "cancelled")
    assert [batch[key] for key in counts] == [3, 0, 0, 0]
    assert batch["then"]["kind"] == "Foo"
    assert batch["then"]["status"] == "Pending"
    assert (batch["then"]["when"], batch["then"]["otherwise"]) == ("ended", "run")
    follower = batch["then"]["id"]
    why = (await client.get(f"/tasks/{follower}/why")).json()
    (reason,) = [each for each in why["reasons"] if each["reason"] == "WaitingFor"]
    assert reason["left"] == 3
    assert (await client.get(f"/tasks/{ids[0]}")).json()["batch"] == batch_id
    for task_id in ids:
        await client.post(f"/tasks/{task_id}/cancel")
    sealed = await client.post(f"/batches/{batch_id}/seal")
    assert sealed.status_code == 200
    assert sealed.json()["cancelled"] == 3
    assert sealed.json()["sealed_at"] is not None
    assert (await client.post(f"/batches/{batch_id}/seal")).json() == sealed.json()
    late = await client.put("/tasks", json={"kind": "Foo", "batch": batch_id})
    assert late.status_code == 409
    assert late.headers["content-type"] == "application/problem+json"
    why = (await client.get(f"/tasks/{follower}/why")).json()
    assert "WaitingFor" not in {each["reason"] for each in why["reasons"]}


async def test_batches_are_listed_by_http(client: httpx.AsyncClient):
    ids = [(await client.post("/batches", json={})).json()["id"] for _ in range(3)]
    ids.append((await client.post("/batches")).json()["id"])
    first = await client.get("/batches", params={"limit": 3})
    assert [each["id"] for each in first.json()] == ids[:0:-1]
    following = first.links["next"]["url"]
    assert [each["id"] for each in (await client.get(following)).json()] == ids[:1]
    assert first.json()[0]["then"] is None


@pytest.mark.parametrize(
    ("body", "status", "path"),
    [
        ({"names": "x"}, 400, "$"),
        ({"name": ""}, 400, "$.name"),
        ({"name": 7}, 400, "$.name"),
        ({"then": {}}, 400, "$.then"),
        ({"then": {"kind": "Fo"}}, 400, "$.then.kind"),
        ({"then": {"kind": "Foo", "priority": 10}}, 400, "$.then.priority"),
        ({"then": {"kind": "Foo", "when": "x"}}, 400, "$.then.when"),
        ({"then": {"kind": "Foo", "after": [str(NOBODYS)]}}, 400, "$.then.after"),
        ({"then": {"kind": "Foo", "tags": ["a b"]}}, 400, "$.then.tags"),
    ],
)
async def test_what_http_refuses(
    client: httpx.AsyncClient, body: dict[str, Any], status: int, path: str
):
    answer = await client.post("/batches", json=body)
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["path"].startswith(path)
    assert (await client.get("/batches")).json() == []


async def test_batches_that_are_not_there(client: httpx.AsyncClient):
    for answer in (
        await client.get(f"/batches/{NOBODYS}"),
        await client.post(f"/batches/{NOBODYS}/seal"),
        await client.put("/tasks", json={"kind": "Foo", "batch": str(NOBODYS)}),
    ):
        assert answer.status_code == 404, answer.text
    assert (await client.get("/batches/7")).status_code == 400
    assert (await client.get("/batches", params={"cursor": "7"})).status_code == 400
