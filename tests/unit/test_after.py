"""Tasks that come after others: by the library, a worker, HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import httpx
import pytest

from taskscheduler import Handlers, InvalidTask, TaskNotFound, Worker, chain, gather
from taskscheduler.application.client.results import TaskCancelled, TaskFailed
from taskscheduler.domain.after import AFTER_MAX, After, Otherwise
from taskscheduler.domain.verdicts import Cancel, Discard
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


async def test_results_come_in_the_order_of_the_parents(scheduler: Scheduler):
    handlers = Handlers()
    seen: list[Any] = []

    @handlers.register("part")
    async def part(context: Context, number: int) -> int | None:
        if number == 3:
            raise Discard("gone")
        if number == 4:
            raise Cancel("no")
        return None if number == 2 else number * 10

    @handlers.register("whole")
    async def whole(context: Context) -> Any:
        seen.extend([each async for each in context.results()])
        assert len(await context.results()) == len(seen)
        with pytest.raises(TypeError, match="async for"):
            list(context.results())
        return "done"

    @handlers.register("in_a_thread")
    def in_a_thread(context: Context) -> int:
        return sum(each for each in context.results() if isinstance(each, int))

    parts = [await scheduler.schedule("part", number) for number in (5, 1, 2, 3, 4)]
    gone = await scheduler.schedule("part", 9)
    last = await scheduler.schedule("whole", after=[*parts, gone], otherwise="run")
    sums = await scheduler.schedule("in_a_thread", after=parts[:2])
    await scheduler.delete(gone)
    await Worker(scheduler, handlers).drain()
    assert await scheduler.result(last, timeout=0) == "done"
    assert await scheduler.result(sums, timeout=0) == 60
    assert seen[:3] == [50, 10, None]
    assert [type(each) for each in seen[3:]] == [TaskFailed, TaskCancelled, TaskNotFound]
    assert [each.task_id for each in seen[3:]] == [*parts[3:], gone]


async def test_who_comes_after_nobody_has_no_results(scheduler: Scheduler):
    handlers = Handlers()

    @handlers.register("alone")
    async def alone(context: Context) -> int:
        return len(await context.results())

    task_id = await scheduler.schedule("alone")
    await Worker(scheduler, handlers).drain()
    assert await scheduler.result(task_id, timeout=0) == 0


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"after": []}, "after"),
        ({"after": [NOBODYS] * (AFTER_MAX + 1)}, "after"),
        ({"after": ["nonsense"]}, "after"),
        ({"after": str(NOBODYS)}, "after"),
        ({"after": NOBODYS}, "after"),
        ({"after": [NOBODYS], "when": "failed"}, "when"),
        ({"after": [NOBODYS], "when": "Ended"}, "when"),
        ({"after": [NOBODYS], "otherwise": "fail"}, "otherwise"),
        ({"when": "ended"}, "when"),
        ({"otherwise": "run"}, "otherwise"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    scheduler: Scheduler, options: dict[str, Any], field: str
):
    with pytest.raises(InvalidTask) as refused:
        await scheduler.schedule("Foo", **options)
    assert refused.value.field == field


async def test_chains_and_gatherings(scheduler: Scheduler):
    a, b, c = (scheduler.prepare("Foo", number) for number in range(3))
    linked = chain(a, b, c, when="ended")
    assert [each.after and each.after.task_ids for each in linked] == [None, (a.id,), (b.id,)]
    assert await scheduler.schedule_many(linked) == [a.id, b.id, c.id]
    d, e, f = (scheduler.prepare("Foo", number) for number in range(3))
    gathered = gather(d, e).then(f, otherwise="run")
    assert gathered[-1].after == After((d.id, e.id), otherwise=Otherwise.RUN)
    assert await scheduler.schedule_many(gathered) == [d.id, e.id, f.id]
    assert chain() == []
    for twice in (lambda: chain(a, linked[1]), lambda: gather(a).then(linked[1])):
        with pytest.raises(InvalidTask, match="twice"):
            twice()
    with pytest.raises(InvalidTask):
        gather().then(f)


async def test_an_id_that_is_given_twice_counts_once():
    assert After((NOBODYS, NOBODYS)).task_ids == (NOBODYS,)  # pyright: ignore[reportArgumentType]


async def test_nobody_waits_for_himself(scheduler: Scheduler):
    own = scheduler.store.new_task_id()
    with pytest.raises(InvalidTask, match="itself"):
        await scheduler.schedule("Foo", id=own, after=[own])
    first = scheduler.prepare("Foo", after=[own])
    second = scheduler.prepare("Foo", after=[first.id], id=own)
    plain = scheduler.prepare("Foo")
    for tasks in ([plain, first, second], [first, second]):
        with pytest.raises(InvalidTask, match="one another") as refused:
            await scheduler.schedule_many(tasks)
        assert refused.value.field == "after"
    for task in (plain, first, second):
        with pytest.raises(TaskNotFound):
            await scheduler.get(task.id)


async def stored(client: httpx.AsyncClient, **fields: Any) -> str:
    answer = await client.put("/tasks", json={"kind": "Foo", **fields})
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


async def test_by_http(client: httpx.AsyncClient):
    first, second = await stored(client), await stored(client)
    child = await stored(client, after=[first, second], when="ended", otherwise="hold")
    shown = (await client.get(f"/tasks/{child}")).json()
    assert (shown["after"], shown["when"], shown["otherwise"]) == ([first, second], "ended", "hold")
    assert shown["status"] == "Pending"
    assert shown["process_at"] == shown["execute_at"]
    plain = (await client.get(f"/tasks/{first}")).json()
    assert plain["after"] is plain["when"] is plain["otherwise"] is None
    why = (await client.get(f"/tasks/{child}/why")).json()
    (reason,) = [each for each in why["reasons"] if each["reason"] == "WaitingFor"]
    assert reason["left"] == 2
    assert sorted(reason["task_ids"]) == sorted([first, second])
    assert "2 of 2" in reason["detail"]
    await client.post(f"/tasks/{first}/cancel")
    why = (await client.get(f"/tasks/{child}/why")).json()
    assert "WaitingFor" in {each["reason"] for each in why["reasons"]}
    await client.delete(f"/tasks/{second}")
    why = (await client.get(f"/tasks/{child}/why")).json()
    assert "WaitingFor" not in {each["reason"] for each in why["reasons"]}


async def test_what_a_failure_cancels_says_why(client: httpx.AsyncClient):
    parent = await stored(client)
    child = await stored(client, after=[parent])
    assert (await client.post(f"/tasks/{parent}/cancel")).status_code == 200
    shown = (await client.get(f"/tasks/{child}")).json()
    assert shown["status"] == "Cancelled"
    assert shown["attempts"][-1]["error"]["type"] == "ParentCancelled"
    ended = (await client.get(f"/tasks/{child}/result")).json()
    assert ended["status"] == "Cancelled"
    assert parent in ended["error"]["message"]


async def test_a_batch_by_http(client: httpx.AsyncClient, scheduler: Scheduler):
    ids = [str(scheduler.store.new_task_id()) for _ in range(3)]
    tasks = [
        {"kind": "Foo", "id": ids[2], "after": ids[:2]},
        {"kind": "Foo", "id": ids[0]},
        {"kind": "Foo", "id": ids[1], "after": [ids[0]]},
    ]
    answer = await client.post("/tasks/batch", json=tasks)
    assert answer.status_code == 201
    circle: list[dict[str, Any]] = [
        {"kind": "Foo", "id": (a := str(scheduler.store.new_task_id()))},
        {"kind": "Foo", "id": (b := str(scheduler.store.new_task_id())), "after": [a]},
    ]
    circle[0]["after"] = [b]
    answer = await client.post("/tasks/batch", json=circle)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["path"] in {"$[0].after", "$[1].after"}


@pytest.mark.parametrize(
    ("fields", "status", "path"),
    [
        ({"after": []}, 400, "$.after"),
        ({"after": "x"}, 400, "$.after"),
        ({"after": ["x"]}, 400, "$.after[...]"),
        ({"after": [str(NOBODYS)], "when": "failed"}, 400, "$.when"),
        ({"after": [str(NOBODYS)], "otherwise": "Cancel"}, 400, "$.otherwise"),
        ({"when": "ended"}, 400, "$.when"),
        ({"otherwise": "hold"}, 400, "$.otherwise"),
        ({"after": [str(NOBODYS)]}, 404, None),
    ],
)
async def test_what_http_refuses(
    client: httpx.AsyncClient, fields: dict[str, Any], status: int, path: str | None
):
    for answer in (
        await client.put("/tasks", json={"kind": "Foo", **fields}),
        await client.post("/tasks", json={"kind": "Foo", **fields}),
        await client.post("/tasks/batch", json=[{"kind": "Foo", **fields}]),
    ):
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        if path is not None:
            assert answer.json()["errors"][0]["path"].replace("$[0]", "$").startswith(path[:7])
    assert (await client.get("/tasks")).json() == []
