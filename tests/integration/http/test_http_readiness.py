"""GET /readyz: does the database answer, and does its schema fit?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient
from psycopg import sql

from taskscheduler import Scheduler
from taskscheduler.adapters.postgres.migrate import migrate, migrations
from taskscheduler.entrypoints.http.app import create_app

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx

pytestmark = pytest.mark.anyio

NEWEST = migrations()[-1].version


@pytest.fixture
async def local(postgres_url: str, schema: str) -> AsyncGenerator[AsyncTestClient[Litestar]]:
    """Serve within this process, from a schema that may be changed under it."""
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
        app = create_app(scheduler, open_scheduler=False)
        async with AsyncTestClient(app) as client:
            yield client


def set_version(url: str, schema: str, version: int) -> None:
    name = sql.Identifier(schema)
    with psycopg.connect(url) as connection:
        connection.execute(
            sql.SQL("DELETE FROM {}.migration WHERE version > %s").format(name), [version]
        )
        connection.execute(
            sql.SQL("INSERT INTO {}.migration VALUES (%s, 'x') ON CONFLICT DO NOTHING").format(
                name
            ),
            [version],
        )


def test_it_says_which_schema_it_found(client: httpx.Client):
    answer = client.get("/readyz").json()
    assert answer.pop("wakeups")["by"] == "postgres"
    assert answer == {
        "status": "ok",
        "detail": None,
        "schema": {"found": NEWEST, "expected": NEWEST},
    }


async def test_a_later_release_may_have_been_here(
    local: AsyncTestClient[Litestar], postgres_url: str, schema: str
):
    """While an upgrade is under way, the services of before go on."""
    set_version(postgres_url, schema, NEWEST + 1)
    answer = await local.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["schema"] == {"found": NEWEST + 1, "expected": NEWEST}


async def test_a_schema_that_is_too_old_is_not_ready(
    local: AsyncTestClient[Litestar], postgres_url: str, schema: str
):
    set_version(postgres_url, schema, 1)
    answer = await local.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["schema"] == {"found": 1, "expected": NEWEST}
    assert "taskscheduler migrate" in answer.json()["detail"]


async def test_a_schema_that_is_missing_is_not_ready(
    local: AsyncTestClient[Litestar], postgres_url: str, schema: str
):
    with psycopg.connect(postgres_url) as connection:
        connection.execute(sql.SQL("DROP TABLE {}.migration").format(sql.Identifier(schema)))
    answer = await local.get("/readyz")
    assert (answer.status_code, answer.json()["schema"]["found"]) == (503, 0)
