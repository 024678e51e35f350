"""What every call keeps to: its parameters, and HEAD; and how long histories come."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from taskscheduler.domain.lease import AttemptError
from taskscheduler.domain.query import PAGE_BYTES_MAX
from taskscheduler.domain.status import Event
from taskscheduler.entrypoints.http.app import create_app
from taskscheduler.entrypoints.http.responses import ATTEMPTS_SHOWN
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import end, join, lease_again, put

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.domain.values import TaskId

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def scheduler() -> Scheduler:
    return in_memory(ManualClock())


@pytest.fixture
async def client(scheduler: Scheduler) -> AsyncGenerator[httpx.AsyncClient]:
    app: Any = create_app(scheduler, kinds={"mail": 500})
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.lifespan(), httpx.AsyncClient(transport=transport, base_url="http://t") as asked:
        yield asked


def paths(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 400, answer.text
    return [each["path"] for each in answer.json()["errors"]]


@pytest.mark.parametrize(
    ("call", "path"),
    [
        ("GET /tasks?limit=1e2", "limit"),
        ("GET /tasks?limit=1.0", "limit"),
        ("GET /tasks?limit=%2B5", "limit"),
        ("GET /tasks?limit=5%20", "limit"),
        ("GET /tasks?limit=0x5", "limit"),
        ("GET /tasks?limit=%D9%A5", "limit"),
        ("GET /tasks?limit=", "limit"),
        ("GET /tasks?limit=null", "limit"),
        ("GET /tasks?limit=1&limit=2", "limit"),
        ("GET /tasks?cursor=a&cursor=b", "cursor"),
        ("GET /tasks?status=Failed", "status"),
        ("GET /tasks/{id}?attempts=5", "attempts"),
        ("GET /tasks/{id}/why?verbose=1", "verbose"),
        ("GET /tasks/{id}/attempts?limit=0", "limit"),
        ("GET /tasks/{id}/attempts?cursor=x", "cursor"),
        ("GET /tasks/{id}/attempts?before=1", "before"),
        ("PUT /tasks?queue=a", "queue"),
        ("POST /tasks/batch?queue=a", "queue"),
        ("PATCH /tasks/{id}?force=true", "force"),
        ("DELETE /tasks/{id}?forced=true", "forced"),
        ("DELETE /tasks/{id}?force=true&force=false", "force"),
        ("POST /tasks/{id}/cancel?force=true", "force"),
        ("POST /tasks/{id}/retry?at=now&at=now", "at"),
        ("POST /tasks/{id}/run?at=now", "at"),
        ("POST /tasks/cancel?all=true&limit=1e1", "limit"),
        ("POST /tasks/cancel?all=true&at=now", "at"),
        ("POST /tasks/retry?all=true&all=false", "all"),
        ("GET /events?kind=mail", "kind"),
        ("GET /schedules?limit=1e1", "limit"),
        ("GET /schedules/x?verbose=1", "verbose"),
        ("GET /schedules/x/preview?n=1e1", "n"),
        ("POST /schedules/x/trigger?at=now", "at"),
        ("PUT /schedules/x?force=true", "force"),
        ("GET /queues?state=paused", "state"),
        ("GET /queues/default?state=paused", "state"),
        ("POST /queues/default/pause?for=1h", "for"),
        ("GET /workers?alive=true", "alive"),
        ("GET /audit?limit=1e1", "limit"),
        ("GET /audit?who=me", "who"),
    ],
)
async def test_parameters_are_known_and_mean_what_they_say(
    client: httpx.AsyncClient, scheduler: Scheduler, call: str, path: str
):
    task_id = await put(scheduler.store)
    method, address = call.replace("{id}", str(task_id)).split(" ")
    assert paths(await client.request(method, address)) == [path]
    assert (await scheduler.get(task_id)).status == "Pending"


async def test_what_may_be_repeated_is(client: httpx.AsyncClient, scheduler: Scheduler):
    task_id = await put(scheduler.store)
    query = "filter=kind:mail&filter=status:Failed&filter=status:Pending&limit=5"
    found = (await client.get(f"/tasks?{query}")).json()
    assert [task["id"] for task in found] == [str(task_id)]
    assert (await client.options("/tasks?x=1")).status_code == 204


@pytest.mark.parametrize(
    "path",
    [
        "/tasks",
        "/tasks?filter=nonsense",
        "/tasks/{id}",
        "/tasks/{id}/why",
        "/tasks/{id}/attempts",
        "/tasks/7",
        "/schedules",
        "/schedules/none",
        "/queues",
        "/workers",
        "/healthz",
        "/readyz",
        "/metrics",
        "/audit",
        "/schema/openapi.json",
        "/",
        "/nowhere",
    ],
)
async def test_head_is_get_without_its_body(
    client: httpx.AsyncClient, scheduler: Scheduler, path: str
):
    at = path.replace("{id}", str(await put(scheduler.store)))
    whole, head = await client.get(at), await client.head(at)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    differing = (
        {"x-request-id", "content-length"} if path in {"/metrics", "/readyz"} else {"x-request-id"}
    )
    for name, value in whole.headers.items():
        if name not in differing:
            assert head.headers[name] == value


async def test_head_of_a_stream_ends(client: httpx.AsyncClient):
    """Its answer has begun, and that is all that was asked for."""
    async with asyncio.timeout(20):
        head = await client.head("/events")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/event-stream")


async def test_head_is_no_other_method(client: httpx.AsyncClient):
    assert (await client.head("/tasks/cancel?all=true")).status_code in {400, 405}
    refused = await client.put("/queues")
    assert (refused.status_code, "HEAD" in refused.headers["allow"]) == (405, True)


async def test_the_metrics_name_their_charset_once(client: httpx.AsyncClient):
    found = (await client.get("/metrics")).headers["content-type"]
    assert found == "text/plain; version=0.0.4; charset=utf-8"


async def tried(scheduler: Scheduler, number: int, error: AttemptError) -> TaskId:
    """Return a task of which ``number`` attempts have failed."""
    task_id = await put(scheduler.store, max_attempts=number + 1)
    worker_id = await join(scheduler.store)
    for _ in range(number):
        await end(
            scheduler.store, await lease_again(scheduler.store, worker_id), Event.RETRY, error=error
        )
    return task_id


async def follow(client: httpx.AsyncClient, address: str | None) -> list[list[int]]:
    found: list[list[int]] = []
    while address is not None:
        answer = await client.get(address)
        assert answer.status_code == 200, answer.text
        found.append([each["number"] for each in answer.json()])
        address = answer.links.get("next", {}).get("url")
    return found


async def test_a_long_history_comes_in_pages(client: httpx.AsyncClient, scheduler: Scheduler):
    """The last attempts with their task, and those before them by its link."""
    number = ATTEMPTS_SHOWN + 30
    task_id = await tried(scheduler, number, AttemptError("ValueError", "no"))
    answer = await client.get(f"/tasks/{task_id}")
    shown = [each["number"] for each in answer.json()["attempts"]]
    assert shown == list(range(31, number + 1))
    assert await follow(client, answer.links["next"]["url"]) == [list(range(30, 0, -1))]
    pages = await follow(client, f"/tasks/{task_id}/attempts?limit=50")
    assert [len(page) for page in pages] == [50, 50, 30]
    assert [each for page in pages for each in page] == list(range(number, 0, -1))
    tag = answer.headers["etag"]
    changed = await client.patch(
        f"/tasks/{task_id}", json={"priority": 1}, headers={"If-Match": tag}
    )
    assert changed.status_code == 200
    assert "link" in changed.headers


async def test_a_short_history_has_no_pages(client: httpx.AsyncClient, scheduler: Scheduler):
    task_id = await tried(scheduler, ATTEMPTS_SHOWN, AttemptError("ValueError", "no"))
    answer = await client.get(f"/tasks/{task_id}")
    assert len(answer.json()["attempts"]) == ATTEMPTS_SHOWN
    assert "link" not in answer.headers
    nobodys = scheduler.store.new_task_id()
    assert (await client.get(f"/tasks/{nobodys}/attempts")).status_code == 404


async def test_a_page_of_a_history_ends_by_its_bytes(
    client: httpx.AsyncClient, scheduler: Scheduler
):
    error = AttemptError("ValueError", "m" * (PAGE_BYTES_MAX // 4), "t" * (PAGE_BYTES_MAX // 8))
    task_id = await tried(scheduler, 5, error)
    assert await follow(client, f"/tasks/{task_id}/attempts") == [[5, 4], [3, 2], [1]]
