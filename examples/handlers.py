"""Handlers for workers of their own: ``taskscheduler worker --app handlers:handlers``.

``charge_order`` finishes what ``producer_in_transaction.py`` begins.
"""

# ruff: noqa: TRY003 - an example gives its reasons where they are read
from __future__ import annotations

from datetime import timedelta

import msgspec

from taskscheduler import Context, Discard, Handlers, RetryPolicy

handlers = Handlers()


class Order(msgspec.Struct):
    """The payload of ``charge_order``."""

    number: int


@handlers.register(
    "charge_order",
    retry=RetryPolicy(max_attempts=8, base=timedelta(seconds=2)),
    timeout=timedelta(minutes=1),
)
async def charge_order(context: Context, order: Order) -> None:
    """Charge an order exactly once, as far as the database can tell."""
    async with context.transaction() as connection:
        # This update and the task's completion are one commit: both happen or neither.
        charged = await connection.execute(
            "UPDATE example_orders SET charges = charges + 1 WHERE number = %s", [order.number]
        )
        if charged.rowcount == 0:
            raise Discard("there is no such order")
    print(f"charge_order: {order.number} in attempt {context.attempt}", flush=True)
