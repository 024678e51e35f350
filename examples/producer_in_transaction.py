"""Schedule within your own transaction: the row and its task exist together or not at all.

Run it with ``DATABASE_URL`` set, after ``taskscheduler migrate``. Then let a worker run what was
scheduled: ``taskscheduler worker --app handlers:handlers --drain``.
"""

from __future__ import annotations

import asyncio
import os

import psycopg

from taskscheduler import Scheduler, TaskId

TABLE = """
CREATE TABLE IF NOT EXISTS example_orders (
    number integer PRIMARY KEY,
    charges integer NOT NULL DEFAULT 0
)"""


async def place_order(
    connection: psycopg.AsyncConnection, scheduler: Scheduler, number: int
) -> TaskId:
    """Schedule an order's charge and store the order, both or neither."""
    async with connection.transaction():
        task_id = await scheduler.schedule(
            "charge_order", {"number": number}, connection=connection
        )
        await connection.execute("INSERT INTO example_orders (number) VALUES (%s)", [number])
    return task_id


async def main() -> None:
    """Place an order, and place it again."""
    url = os.environ["DATABASE_URL"]
    schema = os.environ.get("TASKSCHEDULER_SCHEMA", "taskscheduler")
    async with (
        Scheduler.postgres(url, schema=schema) as scheduler,
        await psycopg.AsyncConnection.connect(url, autocommit=True) as connection,
    ):
        await connection.execute(TABLE)
        for _ in range(2):
            try:
                print(f"stored order 1 and task {await place_order(connection, scheduler, 1)}")
            except psycopg.errors.UniqueViolation:
                print("order 1 is there already: its second task was rolled back")


if __name__ == "__main__":
    asyncio.run(main())
