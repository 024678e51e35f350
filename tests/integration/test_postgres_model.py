"""PostgreSQL does what the model does, and what memory does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.testing import ManualClock
from taskscheduler.testing.postgres import PostgresClock, empty, postgres_store
from taskscheduler.testing.simulation import ids, simulate
from tests.support.stateful import RepositoryMachine

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.store import Store

SEEDS = range(4)
STEPS = 150


def test_whatever_is_done_it_does_what_the_model_does(any_postgres_url: str, schema: str) -> None:
    """Hypothesis draws the calls."""

    class Machine(RepositoryMachine):
        """The machine on PostgreSQL, emptied before each run."""

        @asynccontextmanager
        async def opened(self) -> AsyncGenerator[tuple[Store, ManualClock]]:
            """Open a store on the schema."""
            with PostgresClock(any_postgres_url, schema) as clock:
                async with postgres_store(any_postgres_url, schema, clock, pool_size=2) as store:
                    empty(any_postgres_url, schema)
                    yield store, clock

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=30,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow],
            phases=[Phase.generate],
        ),
    )


@pytest.mark.anyio
@pytest.mark.parametrize("seed", SEEDS)
async def test_one_seed_one_history(any_postgres_url: str, schema: str, seed: int) -> None:
    """The same calls are answered as memory answers them."""
    clock = ManualClock()
    expected = await simulate(memory_store(clock, ids()), clock, seed, STEPS)
    with PostgresClock(any_postgres_url, schema) as other_clock:
        async with postgres_store(
            any_postgres_url, schema, other_clock, new_task_id=ids()
        ) as store:
            found = await simulate(store, other_clock, seed, STEPS)
    assert found == expected
    assert len(found) > STEPS
