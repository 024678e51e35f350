"""How often the store is asked for what is hardly ever there."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from taskscheduler.application.maintenance.rescuer import ORPHANS_EVERY_S, Rescuer
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import join
from tests.support.faults import Faulty

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.parametrize("lease_s", [2.0, 30.0, 600.0])
async def test_orphans_are_looked_for_seldom_and_within_the_shortest_lease(lease_s: float) -> None:
    """Two workers look around every half second for a minute."""
    clock = ManualClock()
    scheduler = in_memory(clock)
    workers: Any = Faulty(scheduler.store.workers)
    store = replace(scheduler.store, workers=workers)
    ids = [await join(store, lease=timedelta(seconds=each)) for each in (600.0, lease_s)]
    rescuer = Rescuer(store.workers, clock)
    for _ in range(120):
        for worker_id in ids:
            await store.workers.heartbeat(worker_id)
        await rescuer.turn()
        clock.advance(seconds=0.5)
    every_s = min(lease_s, ORPHANS_EVERY_S)
    assert workers.calls["rescue_orphans"] == 60 / every_s
