"""A key with a quota, over HTTP: 429 where it helps to come again, 403 where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler.application.client.api_keys import STALE_AFTER_S
from taskscheduler.domain.access import Scope
from taskscheduler.domain.quota import Quota
from tests.integration.http.answers import problem
from tests.integration.http.test_http_access import NIGHTLY, Service, serve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def service() -> AsyncGenerator[Service]:
    async for service in serve():
        await service.key(
            "shop",
            scope=Scope.WRITE,
            queue_prefix="shop.",
            quota=Quota(queues=2, waiting=5, waiting_bytes=500, schedules=1),
        )
        yield service


TASK: dict[str, Any] = {"kind": "Foo", "queue": "shop.a"}


async def test_too_many_that_wait_are_refused_until_some_have_begun(service: Service) -> None:
    """By each way of storing; and it is said when to come again."""
    for _ in range(4):
        await service.store("shop", queue="shop.a")
    told = problem(await service.ask("POST", "/tasks/batch", "shop", json=[TASK, TASK]), 429)
    assert "5 tasks may wait" in told["detail"]
    await service.store("shop", queue="shop.a")
    for method in ("PUT", "POST"):
        answer = await service.ask(method, "/tasks", "shop", json=TASK)
        problem(answer, 429)
        assert int(answer.headers["Retry-After"]) > 0
    assert len((await service.ask("GET", "/tasks", "shop")).json()) == 5
    await service.store("write", queue="shop.a")  # another key has no such quota


async def test_too_large_ones_are_refused_too(service: Service) -> None:
    """By all their payloads together."""
    await service.store("shop", queue="shop.a", payload="x" * 300)
    told = problem(
        await service.ask("PUT", "/tasks", "shop", json={**TASK, "payload": "x" * 300}), 429
    )
    assert "500 bytes" in told["detail"]


async def test_what_comes_back_counts_as_what_is_stored_does(service: Service) -> None:
    """A task that is retried waits again; a payload that grows takes more room."""
    first = await service.store("shop", queue="shop.a")
    await service.ask("POST", f"/tasks/{first}/cancel", "shop")
    service.clock.advance(seconds=1)  # so that what waits is counted anew
    kept = range(5)
    ids = [await service.store("shop", queue="shop.a", payload="x" * 90) for _ in kept]
    problem(await service.ask("POST", f"/tasks/{first}/retry", "shop"), 429)
    larger = {"payload": "x" * 190}
    problem(await service.ask("PATCH", f"/tasks/{ids[0]}", "shop", json=larger), 429)
    smaller = await service.ask("PATCH", f"/tasks/{ids[0]}", "shop", json={"payload": "x" * 80})
    assert smaller.status_code == 200, smaller.text
    await service.ask("DELETE", f"/tasks/{ids[1]}", "shop")
    service.clock.advance(seconds=1)
    answer = await service.ask("POST", f"/tasks/{first}/retry", "shop")
    assert answer.status_code == 200, answer.text


async def test_what_comes_back_by_filter_counts_too(service: Service) -> None:
    """For a key with a quota that reaches all queues; what was done before is told."""
    await service.key("all", scope=Scope.WRITE, quota=Quota(waiting=3))
    for _ in range(4):
        task_id = await service.store("all", queue="a")
        await service.ask("POST", f"/tasks/{task_id}/cancel", "all")
        service.clock.advance(seconds=1)
    query = {"filter": "queue:a"}
    problem(await service.ask("POST", "/tasks/retry", "all", params=query), 429)
    kept = (await service.ask("GET", "/tasks", "all")).json()
    assert [task["status"] for task in kept] == ["Cancelled"] * 4
    answer = await service.ask("POST", "/tasks/retry", "all", params={**query, "limit": 3})
    assert answer.json()["changed"] == 3


async def test_a_quota_is_changed_while_its_key_is_in_use(service: Service) -> None:
    """Within the seconds for which keys are remembered."""
    for _ in range(5):
        await service.store("shop", queue="shop.a")
    problem(await service.ask("PUT", "/tasks", "shop", json=TASK), 429)
    (key,) = [each for each in await service.scheduler.store.keys.list() if each.name == "shop"]
    await service.scheduler.store.keys.limit(key.id, Quota(waiting=6))
    service.clock.advance(seconds=STALE_AFTER_S)
    await service.store("shop", queue="shop.a")
    problem(await service.ask("PUT", "/tasks", "shop", json=TASK), 429)


async def test_more_queues_and_schedules_are_forbidden(service: Service) -> None:
    """Coming again does not help."""
    for queue in ("shop.a", "shop.b"):
        await service.store("shop", queue=queue)
    told = problem(
        await service.ask("PUT", "/tasks", "shop", json={**TASK, "queue": "shop.c"}), 403
    )
    assert "2 queues" in told["detail"]
    nightly = {**NIGHTLY, "queue": "shop.a"}
    await service.schedule("one", "shop", queue="shop.a")
    answer = await service.ask("PUT", "/schedules/one", "shop", json=nightly)
    assert answer.status_code == 200, answer.text
    for method, path, body in (
        ("PUT", "/schedules/two", nightly),
        ("POST", "/schedules", {**nightly, "name": "two"}),
    ):
        assert (
            "1 schedules"
            in problem(await service.ask(method, path, "shop", json=body), 403)["detail"]
        )
