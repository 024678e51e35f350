"""A key with a quota, over HTTP: 429 where it helps to come again, 403 where it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

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
