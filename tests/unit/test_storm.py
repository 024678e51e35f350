"""Workers crash and come back as a seed wills it; nothing that was promised breaks."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

import pytest

from taskscheduler.adapters.memory.store import memory_store
from taskscheduler.adapters.memory.tasks import MemoryTaskRepository
from taskscheduler.adapters.system import new_task_id
from taskscheduler.domain.lease import Lease
from taskscheduler.domain.status import TaskStatus
from taskscheduler.domain.values import WorkerId
from taskscheduler.domain.worker import Subscription
from taskscheduler.testing import ManualClock
from tests.support.storm import storm

pytestmark = pytest.mark.anyio

SEEDS = 600
BATCH = 50


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Crashes by the hundred are not news here."""
    caplog.set_level(logging.CRITICAL, "taskscheduler")


@pytest.mark.parametrize("first", range(0, SEEDS, BATCH))
async def test_no_seed_breaks_a_promise(first: int) -> None:
    """One that does is run again by ``storm(store, clock, seed)``."""
    broken: dict[int, list[str]] = {}
    for seed in range(first, first + BATCH):
        clock = ManualClock()
        complaints = await storm(memory_store(clock, new_task_id), clock, seed)
        if complaints:
            broken[seed] = complaints
    assert not broken


class Forgetful(MemoryTaskRepository):
    """Claims what has ended as well as what has not."""

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        for task in list(self._state.tasks.values()):
            if task.status.is_final:
                self._state.save(
                    replace(task, status=TaskStatus.PENDING, process_at=self._state.now())
                )
        return await super().claim(worker_id, subscription, limit)


class Hasty(MemoryTaskRepository):
    """Claims a second early."""

    async def claim(
        self, worker_id: WorkerId, subscription: Subscription, limit: int
    ) -> Sequence[Lease]:
        now = self._state.now
        self._state.now = lambda: now().replace(year=2040)
        try:
            return await super().claim(worker_id, subscription, limit)
        finally:
            self._state.now = now


@pytest.mark.parametrize("mutant", [Forgetful, Hasty])
async def test_a_broken_store_is_found_out(mutant: type[MemoryTaskRepository]) -> None:
    """Within a few seeds."""
    for seed in range(50):
        clock = ManualClock()
        store = memory_store(clock, new_task_id)
        assert isinstance(store.tasks, MemoryTaskRepository)
        tasks = mutant(store.tasks._state, store.tasks._followers, on_cancellation=lambda: None)  # pyright: ignore[reportPrivateUsage]
        if await storm(replace(store, tasks=tasks), clock, seed):
            return
    pytest.fail("no seed noticed")
