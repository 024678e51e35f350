"""Who waits for a connection can be told to stop at any moment, also when one comes back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from taskscheduler.adapters.postgres.database import Database
from taskscheduler.testing.contracts.steps import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.adapters.postgres.fast_connection import PooledConnection

pytestmark = pytest.mark.anyio

STEPS = range(25)
"""More turns of the event loop than a connection takes from one hand to the next."""


@pytest.fixture
async def database(embedded_url: str) -> AsyncGenerator[Database]:
    database = Database(embedded_url, schema="taking", pool_size=1)
    async with database.opened():
        yield database


@pytest.mark.parametrize("way", ["run", "connection"])
async def test_who_is_told_to_stop_stops_in_whatever_moment(database: Database, way: str) -> None:
    for steps in STEPS:
        began = asyncio.Event()

        async def work(_: PooledConnection, began: asyncio.Event = began) -> None:
            began.set()
            await asyncio.Event().wait()

        async def take() -> None:
            if way == "run":
                await database.run(work)
            else:
                async with database.connection() as connection:
                    await work(connection)

        async with database.connection():
            taking = asyncio.create_task(take())
            await until(lambda: database.connections()["waiting"] == 1)
        for _ in range(steps):
            await asyncio.sleep(0)
        taking.cancel()
        await asyncio.wait([taking], timeout=5)
        assert taking.cancelled(), f"it goes on after {steps} steps"
        async with database.connection() as connection:  # which is back
            await connection.execute("SELECT 1")


async def test_a_handler_that_is_stopped_waits_for_no_loan(database: Database) -> None:
    for steps in STEPS:

        async def borrow() -> None:
            async with database.lent():
                await asyncio.Event().wait()

        async with database.lent():
            borrowing = asyncio.create_task(borrow())
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        borrowing.cancel()
        await asyncio.wait([borrowing], timeout=5)
        assert borrowing.cancelled(), f"it goes on after {steps} steps"
        async with database.lent() as connection:
            await connection.execute("SELECT 1")
